//! A rectangle of the network's input wiped out.

use super::super::draw::Rng;
use super::super::{Result, TransformError};
use super::{check_probability, check_range, Region};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Wipes a rectangle out, after normalizing. torchvision: `RandomErasing`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// How likely.
    pub p: f64,
    /// The rectangle's share of the area: the least and the most.
    pub scale: [f64; 2],
    /// Height by width: the least and the most, drawn on a logarithmic scale.
    pub ratio: [f64; 2],
    /// Fill with standard normal numbers instead of zeros (torchvision: `value="random"`).
    pub noise: bool,
}

impl Default for RandomErasing {
    /// torchvision's: half of the inputs, 2 to 33 % of the area, zeros.
    fn default() -> Self {
        RandomErasing { p: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], noise: false }
    }
}

/// A rectangle and what stands there afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct Erasing {
    /// Where.
    pub region: Region,
    /// [C, height, width] in that order; empty for zeros.
    pub values: Vec<f32>,
}

impl RandomErasing {
    /// Whether and where, for an input [channels, height, width]; `None` also where ten rectangles did not fit.
    pub fn draw(&self, rng: &mut Rng, channels: usize, height: u32, width: u32) -> Option<Erasing> {
        if !rng.chance(self.p) {
            return None;
        }
        let area = f64::from(width) * f64::from(height);
        for _ in 0..10 {
            let target = area * rng.between(self.scale[0], self.scale[1]);
            let ratio = rng.between(self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let h = (target * ratio).sqrt().round_ties_even();
            let w = (target / ratio).sqrt().round_ties_even();
            if !(h < f64::from(height) && w < f64::from(width)) {
                continue;
            }
            let (h, w) = (h as u32, w as u32);
            let count = if self.noise { channels * h as usize * w as usize } else { 0 };
            let values = (0..count).map(|_| rng.normal() as f32).collect();
            let top = rng.below(u64::from(height - h) + 1) as u32;
            let left = rng.below(u64::from(width - w) + 1) as u32;
            return Some(Erasing { region: Region { top, left, height: h, width: w }, values });
        }
        None
    }

    pub(super) fn validate(&self) -> Result<()> {
        check_probability("random_erasing", self.p)?;
        check_range("random_erasing", "scale", self.scale)?;
        check_range("random_erasing", "ratio", self.ratio)
    }
}

impl Erasing {
    /// Wipes the rectangle out of `input` [C, H, W] in place. torchvision: `erase`.
    ///
    /// # Errors
    /// [`TransformError::OutsidePicture`] where the rectangle does not lie within it, libtorch's own where there is
    /// another number of values than the rectangle has.
    pub fn apply(&self, input: &Tensor) -> Result<()> {
        let (channels, height, width) = input.size3()?;
        let Region { top, left, height: h, width: w } = self.region;
        if i64::from(top) + i64::from(h) > height || i64::from(left) + i64::from(w) > width {
            let picture = (width.try_into().unwrap_or(u32::MAX), height.try_into().unwrap_or(u32::MAX));
            return Err(TransformError::OutsidePicture { region: self.region, picture });
        }
        let mut part = input.f_narrow(1, top.into(), h.into())?.f_narrow(2, left.into(), w.into())?;
        if self.values.is_empty() {
            let _ = part.f_zero_()?;
        } else {
            let values = Tensor::f_from_slice(&self.values)?;
            part.f_copy_(&values.f_view([channels, h.into(), w.into()])?)?;
        }
        Ok(())
    }
}
