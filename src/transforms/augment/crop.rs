//! Where to cut, and whether to mirror.

use super::super::draw::Rng;
use super::super::{check_size, resize, Interpolation, Result, TransformError};
use super::{check_probability, check_range};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Rows above it.
    pub top: u32,
    /// Columns left of it.
    pub left: u32,
    /// Its rows.
    pub height: u32,
    /// Its columns.
    pub width: u32,
}

/// Cuts a part out. torchvision: `crop`.
///
/// # Errors
/// [`TransformError::OutsidePicture`] where it does not lie within the picture.
pub fn crop(picture: &RgbImage, region: Region) -> Result<RgbImage> {
    let (width, height) = picture.dimensions();
    let ends = (region.left.checked_add(region.width), region.top.checked_add(region.height));
    if !matches!(ends, (Some(right), Some(bottom)) if right <= width && bottom <= height) {
        return Err(TransformError::OutsidePicture { region, picture: (width, height) });
    }
    let row_bytes = width as usize * 3;
    let mut bytes = Vec::with_capacity(region.width as usize * region.height as usize * 3);
    for row in region.top..region.top + region.height {
        let start = row as usize * row_bytes + region.left as usize * 3;
        bytes.extend_from_slice(&picture.as_raw()[start..start + region.width as usize * 3]);
    }
    RgbImage::from_raw(region.width, region.height, bytes)
        .ok_or(TransformError::OutsidePicture { region, picture: (width, height) })
}

/// A part of random size and shape, scaled to the network's size. torchvision: `RandomResizedCrop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// The part's share of the picture's area: the least and the most.
    pub scale: [f64; 2],
    /// Width by height: the least and the most, drawn on a logarithmic scale.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    /// torchvision's: 8 to 100 % of the area, 3:4 to 4:3.
    fn default() -> Self {
        RandomResizedCrop { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl RandomResizedCrop {
    /// Which part of a picture of that size. After ten parts that do not fit, the largest in the middle whose shape is
    /// allowed.
    pub fn draw(&self, rng: &mut Rng, width: u32, height: u32) -> Region {
        let area = f64::from(width) * f64::from(height);
        let [narrow, wide] = self.ratio;
        for _ in 0..10 {
            let target = area * rng.between(self.scale[0], self.scale[1]);
            let ratio = rng.between(narrow.ln(), wide.ln()).exp();
            let w = (target * ratio).sqrt().round_ties_even();
            let h = (target / ratio).sqrt().round_ties_even();
            if (1.0..=f64::from(width)).contains(&w) && (1.0..=f64::from(height)).contains(&h) {
                let (w, h) = (w as u32, h as u32);
                let top = rng.below(u64::from(height - h) + 1) as u32;
                let left = rng.below(u64::from(width - w) + 1) as u32;
                return Region { top, left, height: h, width: w };
            }
        }
        self.middle(width, height)
    }

    /// torchvision's fallback.
    fn middle(&self, width: u32, height: u32) -> Region {
        let [narrow, wide] = self.ratio;
        let (w, h) = (f64::from(width), f64::from(height));
        let (w, h) = if w / h < narrow {
            (width, ((w / narrow).round_ties_even() as u32).clamp(1, height))
        } else if w / h > wide {
            (((h * wide).round_ties_even() as u32).clamp(1, width), height)
        } else {
            (width, height)
        };
        Region { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }

    /// Cuts the part out and scales it. torchvision: `resized_crop`.
    ///
    /// # Errors
    /// [`TransformError::OutsidePicture`], and those of [`resize`].
    pub fn apply(
        picture: &RgbImage,
        region: Region,
        width: u32,
        height: u32,
        interpolation: Interpolation,
    ) -> Result<RgbImage> {
        resize(&crop(picture, region)?, width, height, interpolation)
    }

    pub(super) fn validate(&self) -> Result<()> {
        check_range("random_resized_crop", "scale", self.scale)?;
        check_range("random_resized_crop", "ratio", self.ratio)
    }
}

/// A border all around, then a part of the picture's old size. torchvision: `RandomCrop(size, padding)`; the recipe of
/// the paper for CIFAR (section 4.1) with 4 pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomCrop {
    /// The border, in pixels.
    pub padding: u32,
    /// Its colour.
    pub fill: [u8; 3],
}

impl Default for RandomCrop {
    /// Four black pixels.
    fn default() -> Self {
        RandomCrop { padding: 4, fill: [0; 3] }
    }
}

/// Where in the picture with its border the part begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaddedCrop {
    /// Rows of it above, the border's included: 0 to twice the padding.
    pub top: u32,
    /// Columns of it on the left, the border's included.
    pub left: u32,
}

impl RandomCrop {
    /// Which part.
    pub fn draw(&self, rng: &mut Rng) -> PaddedCrop {
        let places = 2 * u64::from(self.padding) + 1;
        PaddedCrop { top: rng.below(places) as u32, left: rng.below(places) as u32 }
    }

    /// The part, as large as the picture. torchvision: `crop` of `pad`.
    pub fn apply(&self, picture: &RgbImage, at: PaddedCrop) -> RgbImage {
        let (width, height) = picture.dimensions();
        let source = |to: u32, start: u32, size: u32| {
            let from = i64::from(to) + i64::from(start) - i64::from(self.padding);
            u32::try_from(from).ok().filter(|from| *from < size)
        };
        let mut out = RgbImage::from_pixel(width, height, image::Rgb(self.fill));
        for y in 0..height {
            let Some(row) = source(y, at.top, height) else { continue };
            for x in 0..width {
                if let Some(column) = source(x, at.left, width) {
                    out.put_pixel(x, y, *picture.get_pixel(column, row));
                }
            }
        }
        out
    }

    pub(super) fn validate(&self) -> Result<()> {
        let side = self.padding.saturating_mul(2);
        check_size(side, side)
    }
}

/// Left for right. torchvision: `RandomHorizontalFlip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HorizontalFlip {
    /// How likely.
    pub p: f64,
}

impl Default for HorizontalFlip {
    /// Every other picture.
    fn default() -> Self {
        HorizontalFlip { p: 0.5 }
    }
}

impl HorizontalFlip {
    /// Whether this picture.
    pub fn draw(&self, rng: &mut Rng) -> bool {
        rng.chance(self.p)
    }

    pub(super) fn validate(&self) -> Result<()> {
        check_probability("horizontal_flip", self.p)
    }
}

/// The picture in a mirror. torchvision: `hflip`.
pub fn flip_horizontally(mut picture: RgbImage) -> RgbImage {
    image::imageops::flip_horizontal_in_place(&mut picture);
    picture
}
