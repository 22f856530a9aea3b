//! JPEG files decoded as Pillow decodes them: by libjpeg-turbo with its defaults (accurate inverse transform, fancy
//! upsampling), in the colour space that Pillow asks for.
//!
//! The C code is mozjpeg's copy, whose changes to libjpeg-turbo concern encoding; unlike libjpeg-turbo's own crates it needs
//! a C compiler and nothing else. An error in it unwinds to here. Source: Pillow's `JpegImagePlugin.py`, `JpegDecode.c`
//! and `Convert.c` (`cmyk2rgb`).

use image::error::{DecodingError, ImageError, ImageFormatHint};
use image::{ImageFormat, RgbImage};
use mozjpeg::{ColorSpace, Decompress};
use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Pillow's `Image.open(…).convert("RGB")`. The caller has checked the picture's size.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    // The closure owns all it changes: nothing half-done is seen after an unwinding.
    let decoded = catch_unwind(AssertUnwindSafe(|| decompress(bytes)));
    decoded.unwrap_or_else(|panic| Err(words_of(&*panic))).map_err(|words| {
        ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Jpeg), words))
    })
}

fn decompress(bytes: &[u8]) -> Result<RgbImage, String> {
    let io = |error: std::io::Error| error.to_string();
    let file = Decompress::new_mem(bytes).map_err(io)?;
    let components = file.components().len();
    let space = match components {
        1 => ColorSpace::JCS_GRAYSCALE,
        3 => ColorSpace::JCS_RGB,
        4 => ColorSpace::JCS_CMYK,
        other => return Err(format!("{other} components a pixel, not 1, 3 or 4")),
    };
    let mut started = file.to_colorspace(space).map_err(io)?;
    let (width, height) = (started.width(), started.height());
    let samples: Vec<u8> = started.read_scanlines::<u8>().map_err(io)?;
    started.finish().map_err(io)?;
    let pixels: Vec<u8> = match components {
        1 => samples.iter().flat_map(|gray| [*gray; 3]).collect(),
        3 => samples,
        _ => samples
            .chunks_exact(4)
            .flat_map(|inverted| cmyk([0, 1, 2, 3].map(|at| 255 - inverted[at])))
            .collect(),
    };
    let size = u32::try_from(width).ok().zip(u32::try_from(height).ok());
    size.and_then(|(width, height)| RgbImage::from_raw(width, height, pixels))
        .ok_or_else(|| "fewer lines than the header says".to_string())
}

/// Pillow's CMYK to RGB: what is not black, less its share of each ink, rounded.
fn cmyk([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = 255 - k;
    // MULDIV255: a·b / 255, rounded.
    let share = |ink: u8| {
        let product = u32::from(ink) * u32::from(white) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    [c, m, y].map(|ink| white.saturating_sub(share(ink)))
}

/// What the library's error handler, or a failed assertion of the wrapper, unwound with.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let words =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    words.unwrap_or("the decoder gave up").trim_start_matches("libjpeg fatal error: ").to_string()
}
