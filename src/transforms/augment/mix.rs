//! Pictures of a batch mixed with each other, and what they show with them.

use super::super::draw::{Draw, Rng};
use super::super::{Result, TransformError};
use super::{check_probability, refuse, Region};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Mixup and cutmix by chance, a batch at a time; each picture with the one before it. torchvision: `v2.MixUp`, `v2.CutMix`
/// under `RandomChoice`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixing {
    /// How likely a batch is mixed at all.
    pub p: f64,
    /// Mixup's α: shares are Beta(α, α); 0 never mixes this way.
    pub mixup_alpha: f64,
    /// Cutmix's α: areas are Beta(α, α); 0 never mixes this way.
    pub cutmix_alpha: f64,
}

impl Default for Mixing {
    /// Every batch, one way or the other: those of torchvision's training recipe.
    fn default() -> Self {
        Mixing { p: 1.0, mixup_alpha: 0.2, cutmix_alpha: 1.0 }
    }
}

/// How a batch is mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// `own_share` of each picture, the rest of the one before it (the first: the last).
    Up {
        /// 0 to 1.
        own_share: f64,
    },
    /// A rectangle of the one before it.
    Cut {
        /// Where.
        region: Region,
        /// The share of the area that stays: 0 to 1.
        own_share: f64,
    },
}

impl Mixing {
    /// How to mix the batch of that number, for inputs of that size. `draw` is the run's seed and epoch.
    ///
    /// Batches draw under indices of their own, which no picture has.
    pub fn draw(&self, seed: u64, epoch: u64, batch: u64, height: u32, width: u32) -> Option<Mix> {
        let mut rng = Draw { seed, epoch, index: batch | 1 << 63 }.rng();
        if !rng.chance(self.p) {
            return None;
        }
        let cut = match (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0) {
            (true, true) => rng.chance(0.5),
            (false, false) => return None,
            (_, cut) => cut,
        };
        Some(if cut { self.draw_cut(&mut rng, height, width) } else { self.draw_up(&mut rng) })
    }

    fn draw_up(&self, rng: &mut Rng) -> Mix {
        Mix::Up { own_share: rng.symmetric_beta(self.mixup_alpha) }
    }

    /// A rectangle around a point anywhere; what of it lies outside is cut off and changes the share.
    fn draw_cut(&self, rng: &mut Rng, height: u32, width: u32) -> Mix {
        let half = 0.5 * (1.0 - rng.symmetric_beta(self.cutmix_alpha)).sqrt();
        let mut span = |size: u32| {
            let (centre, half) = (rng.below(size.into()) as u32, (half * f64::from(size)) as u32);
            (centre.saturating_sub(half), centre.saturating_add(half).min(size))
        };
        let ((left, right), (top, bottom)) = (span(width), span(height));
        let region = Region { top, left, height: bottom - top, width: right - left };
        Mix::cut(region, height, width)
    }

    pub(super) fn validate(&self) -> Result<()> {
        check_probability("mixing", self.p)?;
        for (field, alpha) in [("mixup_alpha", self.mixup_alpha), ("cutmix_alpha", self.cutmix_alpha)] {
            if !(alpha >= 0.0 && alpha.is_finite()) {
                return refuse("mixing", field, alpha, "must be 0 or more");
            }
        }
        Ok(())
    }
}

impl Mix {
    /// Cutmix with that rectangle of inputs of that size.
    pub fn cut(region: Region, height: u32, width: u32) -> Mix {
        let area = f64::from(height) * f64::from(width);
        let own_share = 1.0 - f64::from(region.width) * f64::from(region.height) / area;
        Mix::Cut { region, own_share }
    }

    /// How much of its own label a picture keeps.
    pub fn own_share(self) -> f64 {
        match self {
            Mix::Up { own_share } | Mix::Cut { own_share, .. } => own_share,
        }
    }

    /// Mixes `images` [N, C, H, W] into a new tensor.
    ///
    /// # Errors
    /// [`TransformError::OutsidePicture`] for a rectangle outside, or libtorch's own.
    pub fn apply(self, images: &Tensor) -> Result<Tensor> {
        let before = images.f_roll([1], [0])?;
        match self {
            Mix::Up { own_share } => mixed(images, before, own_share),
            Mix::Cut { region, .. } => {
                let (_, _, height, width) = images.size4()?;
                let Region { top, left, height: h, width: w } = region;
                if i64::from(top) + i64::from(h) > height || i64::from(left) + i64::from(w) > width {
                    let picture =
                        (width.try_into().unwrap_or(u32::MAX), height.try_into().unwrap_or(u32::MAX));
                    return Err(TransformError::OutsidePicture { region, picture });
                }
                let part = |tensor: &Tensor| {
                    tensor.f_narrow(2, top.into(), h.into())?.f_narrow(3, left.into(), w.into())
                };
                let out = images.copy();
                part(&out)?.f_copy_(&part(&before)?)?;
                Ok(out)
            }
        }
    }

    /// Mixes what they show: int64 \[N\] of class indices or f32 [N, classes] to f32 [N, classes].
    ///
    /// # Errors
    /// libtorch's own, on an index past `classes` for one.
    pub fn targets(self, targets: &Tensor, classes: i64) -> Result<Tensor> {
        let targets = match targets.dim() {
            1 => targets.f_one_hot(classes)?.f_to_kind(Kind::Float)?,
            _ => targets.f_to_kind(Kind::Float)?,
        };
        let before = targets.f_roll([1], [0])?;
        mixed(&targets, before, self.own_share())
    }
}

/// torchvision's `roll(1, 0).mul_(1 − λ).add_(x.mul(λ))`.
fn mixed(own: &Tensor, mut before: Tensor, own_share: f64) -> Result<Tensor> {
    let _ = before.f_mul_scalar_(1.0 - own_share)?;
    let _ = before.f_add_(&own.f_mul_scalar(own_share)?)?;
    Ok(before)
}
