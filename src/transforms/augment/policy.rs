//! One or two operations out of fourteen.

use super::super::draw::Rng;
use super::super::Result;
use super::{color, levels, refuse, warp};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// What a policy may do to a picture; torchvision's names, in torchvision's order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// Nothing.
    Identity,
    /// Columns a row.
    ShearX(f64),
    /// Rows a column.
    ShearY(f64),
    /// Pixels to the right, cut to whole ones.
    TranslateX(f64),
    /// Pixels down, cut to whole ones.
    TranslateY(f64),
    /// Degrees, counterclockwise.
    Rotate(f64),
    /// The factor is one more than this, and so are the next three.
    Brightness(f64),
    /// Saturation.
    Color(f64),
    /// Contrast.
    Contrast(f64),
    /// Sharpness.
    Sharpness(f64),
    /// Bits to keep, 1 to 8.
    Posterize(u8),
    /// The least level that is inverted.
    Solarize(f64),
    /// Each channel stretched.
    AutoContrast,
    /// Each channel made even.
    Equalize,
}

impl Operation {
    /// torchvision: `_apply_op` with nearest neighbours and black outside.
    pub fn apply(self, picture: RgbImage) -> RgbImage {
        match self {
            Operation::Identity => picture,
            Operation::ShearX(slope) => warp::shear_x(&picture, slope),
            Operation::ShearY(slope) => warp::shear_y(&picture, slope),
            Operation::TranslateX(pixels) => warp::translate(&picture, pixels as i32, 0),
            Operation::TranslateY(pixels) => warp::translate(&picture, 0, pixels as i32),
            Operation::Rotate(degrees) => warp::rotate(&picture, degrees),
            Operation::Brightness(more) => color::brightness(picture, 1.0 + more),
            Operation::Color(more) => color::saturation(picture, 1.0 + more),
            Operation::Contrast(more) => color::contrast(picture, 1.0 + more),
            Operation::Sharpness(more) => color::sharpness(&picture, 1.0 + more),
            Operation::Posterize(bits) => levels::posterize(picture, bits),
            Operation::Solarize(threshold) => levels::solarize(picture, threshold),
            Operation::AutoContrast => levels::autocontrast(picture),
            Operation::Equalize => levels::equalize(picture),
        }
    }
}

/// How strong a policy's operations can be.
struct Space {
    shear: f64,
    /// Columns and rows.
    translate: (f64, f64),
    rotate: f64,
    enhance: f64,
    /// Bits that go at most.
    posterize: f64,
}

/// Operations that [`Space::operation`] knows.
const OPERATIONS: u64 = 14;

impl Space {
    /// Operation number `index` at `bin` of `bins`; `negative` where a direction is drawn.
    fn operation(&self, index: u64, bin: usize, bins: usize, negative: bool) -> Result<Operation> {
        let level = |low: f64, high: f64| {
            let levels = Tensor::f_linspace(low, high, bins as i64, (Kind::Float, Device::Cpu))?;
            levels.f_double_value(&[bin as i64])
        };
        let signed = |high: f64| level(0.0, high).map(|level| if negative { -level } else { level });
        Ok(match index {
            0 => Operation::Identity,
            1 => Operation::ShearX(signed(self.shear)?),
            2 => Operation::ShearY(signed(self.shear)?),
            3 => Operation::TranslateX(signed(self.translate.0)?),
            4 => Operation::TranslateY(signed(self.translate.1)?),
            5 => Operation::Rotate(signed(self.rotate)?),
            6 => Operation::Brightness(signed(self.enhance)?),
            7 => Operation::Color(signed(self.enhance)?),
            8 => Operation::Contrast(signed(self.enhance)?),
            9 => Operation::Sharpness(signed(self.enhance)?),
            10 => {
                let bits = bin as f32 / ((bins - 1) as f64 / self.posterize) as f32;
                Operation::Posterize(8 - bits.round_ties_even() as u8)
            }
            11 => Operation::Solarize(level(255.0, 0.0)?),
            12 => Operation::AutoContrast,
            _ => Operation::Equalize,
        })
    }

    fn draw(&self, rng: &mut Rng, bins: usize, bin: Option<usize>) -> Result<Operation> {
        let index = rng.below(OPERATIONS);
        let bin = bin.unwrap_or_else(|| rng.below(bins as u64) as usize);
        self.operation(index, bin, bins, rng.chance(0.5))
    }
}

fn check_bins(step: &'static str, bins: usize) -> Result<()> {
    match (2..=1024).contains(&bins) {
        true => Ok(()),
        false => refuse(step, "num_magnitude_bins", bins, "must be from 2 to 1024"),
    }
}

/// One operation of any strength. torchvision: `TrivialAugmentWide`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrivialAugment {
    /// Strengths between none and the most, both included.
    pub num_magnitude_bins: usize,
}

impl Default for TrivialAugment {
    /// 31, as torchvision.
    fn default() -> Self {
        TrivialAugment { num_magnitude_bins: 31 }
    }
}

impl TrivialAugment {
    const SPACE: Space =
        Space { shear: 0.99, translate: (32.0, 32.0), rotate: 135.0, enhance: 0.99, posterize: 6.0 };

    /// Which operation.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn draw(&self, rng: &mut Rng) -> Result<Operation> {
        Self::SPACE.draw(rng, self.num_magnitude_bins, None)
    }

    /// The operation of a place in torchvision's list (0 to 13), at a strength (0 to `num_magnitude_bins` − 1).
    ///
    /// # Errors
    /// libtorch's own.
    pub fn operation(&self, index: u64, bin: usize, negative: bool) -> Result<Operation> {
        Self::SPACE.operation(index, bin, self.num_magnitude_bins, negative)
    }

    pub(super) fn validate(&self) -> Result<()> {
        check_bins("trivial_augment", self.num_magnitude_bins)
    }
}

/// Some operations of one strength, one after the other. torchvision: `RandAugment`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// How many operations.
    pub num_ops: usize,
    /// Their strength: 0 to `num_magnitude_bins` − 1.
    pub magnitude: usize,
    /// Strengths between none and the most, both included.
    pub num_magnitude_bins: usize,
}

impl Default for RandAugment {
    /// torchvision's: two operations at 9 of 31.
    fn default() -> Self {
        RandAugment { num_ops: 2, magnitude: 9, num_magnitude_bins: 31 }
    }
}

impl RandAugment {
    fn space(width: u32, height: u32) -> Space {
        let translate = (150.0 / 331.0 * f64::from(width), 150.0 / 331.0 * f64::from(height));
        Space { shear: 0.3, translate, rotate: 30.0, enhance: 0.9, posterize: 4.0 }
    }

    /// Which operations, for a picture of that size.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn draw(&self, rng: &mut Rng, width: u32, height: u32) -> Result<Vec<Operation>> {
        let space = Self::space(width, height);
        let draw = |_| space.draw(rng, self.num_magnitude_bins, Some(self.magnitude));
        (0..self.num_ops).map(draw).collect()
    }

    /// The operation of a place in torchvision's list (0 to 13), for a picture of that size.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn operation(&self, index: u64, width: u32, height: u32, negative: bool) -> Result<Operation> {
        Self::space(width, height).operation(index, self.magnitude, self.num_magnitude_bins, negative)
    }

    pub(super) fn validate(&self) -> Result<()> {
        check_bins("rand_augment", self.num_magnitude_bins)?;
        if self.num_ops > 16 {
            return refuse("rand_augment", "num_ops", self.num_ops, "must be 16 or fewer");
        }
        match self.magnitude < self.num_magnitude_bins {
            true => Ok(()),
            false => {
                refuse("rand_augment", "magnitude", self.magnitude, "must be less than num_magnitude_bins")
            }
        }
    }
}
