//! Sizes and offsets as torchvision computes them, in integers.

use super::error::Result;
use image::{ImageBuffer, Pixel};

/// A run of samples along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    pub length: u32,
}

impl Span {
    /// One past the last sample.
    pub fn end(self) -> u32 {
        self.start + self.length
    }
}

/// The size that brings a picture's shorter side to `short` and keeps its shape (torchvision's
/// `_compute_resized_output_size` with one number and no `max_size`): (width, height).
///
/// torchvision cuts `int(short * long_side / short_side)` down in f64. Up to 2⁵³ that is integer division: the exact
/// quotient is at least 1/divisor below the next integer, more than f64 can round away. A side longer than `u32` holds
/// saturates; no picture of that size can be made.
pub fn resized_size(width: u32, height: u32, short: u32) -> (u32, u32) {
    let scale = |long: u32, side: u32| {
        let length = u64::from(short) * u64::from(long) / u64::from(side.max(1));
        u32::try_from(length).unwrap_or(u32::MAX)
    };
    if width <= height {
        (short, scale(height, width))
    } else {
        (scale(width, height), short)
    }
}

/// Where a centred crop of `crop` samples meets an axis of `size` samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crop {
    /// The samples taken from the picture.
    pub taken: Span,
    /// Zeros before them.
    pub padding: u32,
}

/// torchvision's `center_crop` along one axis: a larger picture is cut at `round(difference / 2)`, rounding half to
/// even as Python does; a smaller one is padded with the smaller half in front.
pub(super) fn crop_axis(size: u32, crop: u32) -> Crop {
    if crop > size {
        return Crop { taken: Span { start: 0, length: size }, padding: (crop - size) / 2 };
    }
    let difference = size - crop;
    let half = difference / 2;
    let start = if difference % 2 == 1 { half + half % 2 } else { half };
    Crop { taken: Span { start, length: crop }, padding: 0 }
}

/// Cuts `width` × `height` pixels out of the middle, padding with black what the picture lacks (torchvision's
/// `center_crop`).
///
/// # Errors
/// [`TransformError::TooLarge`](super::TransformError::TooLarge) past [`MAX_PIXELS`](super::MAX_PIXELS).
pub fn center_crop<P: Pixel<Subpixel = u8>>(
    picture: &ImageBuffer<P, Vec<u8>>,
    width: u32,
    height: u32,
) -> Result<ImageBuffer<P, Vec<u8>>> {
    let columns = crop_axis(picture.width(), width);
    let rows = crop_axis(picture.height(), height);
    super::check_size(width, height)?;
    let mut out = ImageBuffer::new(width, height);
    for y in 0..rows.taken.length {
        for x in 0..columns.taken.length {
            let pixel = picture.get_pixel(columns.taken.start + x, rows.taken.start + y);
            out.put_pixel(columns.padding + x, rows.padding + y, *pixel);
        }
    }
    Ok(out)
}
