//! Colours by chance.

use super::super::draw::Rng;
use super::super::Result;
use super::{color, refuse};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Brightness, contrast, saturation and hue by chance, in random order. torchvision: `ColorJitter`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Factors from 1 − this (0 at least) to 1 + this; 0 leaves brightness alone.
    pub brightness: f64,
    /// The same for contrast.
    pub contrast: f64,
    /// The same for saturation.
    pub saturation: f64,
    /// Turns from −this to this of the circle; 0.5 at most.
    pub hue: f64,
}

impl Default for ColorJitter {
    /// 0.4 each but hue: the recipe of the original code for ImageNet.
    fn default() -> Self {
        ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.0 }
    }
}

/// One change of colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Jitter {
    /// By this factor.
    Brightness(f64),
    /// By this factor.
    Contrast(f64),
    /// By this factor.
    Saturation(f64),
    /// By this much of the circle.
    Hue(f64),
}

impl ColorJitter {
    /// Which changes, in their order.
    pub fn draw(&self, rng: &mut Rng) -> Vec<Jitter> {
        let mut factor = |most: f64| rng.between((1.0 - most).max(0.0), 1.0 + most);
        let changes = [
            (self.brightness > 0.0).then(|| Jitter::Brightness(factor(self.brightness))),
            (self.contrast > 0.0).then(|| Jitter::Contrast(factor(self.contrast))),
            (self.saturation > 0.0).then(|| Jitter::Saturation(factor(self.saturation))),
        ];
        let hue = (self.hue > 0.0).then(|| Jitter::Hue(rng.between(-self.hue, self.hue)));
        let changes: Vec<Jitter> = changes.into_iter().chain([hue]).flatten().collect();
        rng.permutation(changes.len()).into_iter().map(|index| changes[index]).collect()
    }

    pub(super) fn validate(&self) -> Result<()> {
        let fields =
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)];
        for (field, value) in fields {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse("color_jitter", field, value, "must be 0 or more");
            }
        }
        match (0.0..=0.5).contains(&self.hue) {
            true => Ok(()),
            false => refuse("color_jitter", "hue", self.hue, "must be from 0 to 0.5"),
        }
    }
}

impl Jitter {
    /// torchvision: `adjust_brightness` and its kin.
    pub fn apply(self, picture: RgbImage) -> RgbImage {
        match self {
            Jitter::Brightness(factor) => color::brightness(picture, factor),
            Jitter::Contrast(factor) => color::contrast(picture, factor),
            Jitter::Saturation(factor) => color::saturation(picture, factor),
            Jitter::Hue(turn) => color::hue(picture, turn),
        }
    }
}
