//! Pictures to tensors, as torchvision's `ImageClassification` preset makes them of PIL images.
//!
//! - [`open`], [`decode()`] and [`DecodeOptions`]: bytes to RGB pixels, as Pillow's `Image.open(…).convert("RGB")`.
//! - [`resize()`] with an [`Interpolation`]: Pillow's resampling, to the bit.
//! - [`resized_size`], [`center_crop`]: torchvision's arithmetic.
//! - [`augment`]: pictures changed by chance, as torchvision changes PIL images, to the bit.
//! - [`Draw`]: random numbers for augmentation, the same on every machine.
//! - [`ImageClassification`]: the whole preset as data, applied to a picture; [`batch`] puts tensors together.
//!
//! Invariant: given the same pixels, everything after decoding equals PIL and torchvision to the bit, and so does
//! decoding itself for the lossless formats; [`DecodeOptions`] lists the exceptions. Nothing here panics on bytes from
//! outside, and no size from a file is allocated before it is checked.
//!
//! May use: `image`, tch. Sources: `torchvision/transforms/_presets.py`, `torchvision/transforms/functional.py`, and
//! Pillow's handbook, "Concepts".

pub mod augment;
mod decode;
mod draw;
mod error;
mod geometry;
mod gif;
mod jpeg;
#[cfg(feature = "libjpeg-turbo")]
mod libjpeg;
mod preset;
mod resize;
mod ten_crop;
mod tiff;

pub use decode::{decode, open, DecodeOptions, WideGray, MAX_FILE_BYTES};
pub use draw::{Draw, Rng};
pub use error::{Origin, Result, TransformError};
pub use geometry::{center_crop, resized_size};
pub use image::{GrayImage, RgbImage};
pub use preset::{batch, to_gray, ImageClassification};
pub use resize::{resize, Interpolation};

/// The most pixels a picture may have, read or made: where Pillow raises `DecompressionBombError`.
pub const MAX_PIXELS: u64 = 178_956_970;

/// What decodes JPEG files: chosen by the cargo feature `libjpeg-turbo`.
pub const JPEG_DECODER: &str = if cfg!(feature = "libjpeg-turbo") {
    "libjpeg-turbo, as Pillow"
} else {
    "zune-jpeg, within a level or two of Pillow's libjpeg-turbo"
};

/// Refuses to make a picture of more than [`MAX_PIXELS`].
fn check_size(width: u32, height: u32) -> Result<()> {
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(TransformError::TooLarge { width, height });
    }
    Ok(())
}
