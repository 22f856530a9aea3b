//! Bytes to RGB pixels, as Pillow's `Image.open(…).convert("RGB")` gives them.

use super::error::{Origin, Result, TransformError};
use super::{gif, jpeg, tiff};
use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

/// The most bytes read of one file.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The most bytes a decoder may allocate per allowed pixel: RGBA of 16 bits, once more between its stages.
const BYTES_PER_PIXEL: u64 = 16;

/// The formats read; any other is told from a file that is no picture at all.
const FORMATS: [ImageFormat; 7] = [
    ImageFormat::Bmp,
    ImageFormat::Gif,
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::Pnm,
    ImageFormat::Tiff,
    ImageFormat::WebP,
];

/// What a 16-bit gray picture becomes: the one place where Pillow's answer is rarely what anybody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WideGray {
    /// As Pillow: values above 255 become 255, so that most such pictures turn white.
    #[default]
    Clamp,
    /// The high byte: the picture as it looks.
    HighByte,
}

/// How pictures are read. The default is Pillow's `Image.open(…).convert("RGB")`, the loader of torchvision's
/// `ImageFolder`: the first frame or page, alpha dropped (transparent pixels keep the colour below), palettes looked
/// up, 16-bit colours cut to their high byte, CMYK taken as Adobe writes it (inverted), EXIF orientation ignored.
///
/// Where pixels differ from Pillow's:
/// - JPEG: another inverse transform, chroma upsampling and colour conversion than libjpeg-turbo's. Measured: gray and
///   CMYK differ in 1 % of the values by one level, 4:4:4 in 2 % by up to 2, 4:2:0 in 27 % by up to 5 (0.4 on average). None with the
///   cargo feature `libjpeg-turbo`;
/// - CMYK TIFF, BMP of 16 bits a pixel, PNM with another maximum than 255 or 65535: one level, from rounding.
///
/// What Pillow reads and this does not, an error each: TIFF with a palette, with gray and alpha, with gray of 2, 4 or
/// 32 bits, in YCbCr, or with JPEG inside; formats other than BMP, GIF, JPEG, PNG, PNM, TIFF and WebP. PAM (`P7`) is read here only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Turn and mirror the picture as its EXIF data say. Pillow does this by itself for TIFF only, and so do we.
    pub apply_orientation: bool,
    /// What a 16-bit gray picture becomes.
    pub wide_gray: WideGray,
    /// Pictures of more pixels are refused before anything is allocated for them.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    /// As Pillow: no orientation, clamped 16-bit gray, at most [`MAX_PIXELS`](super::MAX_PIXELS).
    fn default() -> Self {
        DecodeOptions {
            apply_orientation: false,
            wide_gray: WideGray::default(),
            max_pixels: super::MAX_PIXELS,
        }
    }
}

/// Reads a picture file with the default [`DecodeOptions`].
///
/// # Errors
/// As [`DecodeOptions::open`].
pub fn open(path: impl AsRef<Path>) -> Result<RgbImage> {
    DecodeOptions::default().open(path)
}

/// Reads a picture from bytes with the default [`DecodeOptions`].
///
/// # Errors
/// As [`DecodeOptions::decode`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage> {
    DecodeOptions::default().decode(bytes)
}

impl DecodeOptions {
    /// Reads a picture file; its format is told by its first bytes, never by its name.
    ///
    /// # Errors
    /// [`TransformError::Io`] and [`TransformError::FileTooLarge`], and those of [`decode`](Self::decode), with the
    /// path in them.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<RgbImage> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| TransformError::Io { path: path.to_path_buf(), source })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(TransformError::FileTooLarge { path: path.to_path_buf(), limit: MAX_FILE_BYTES });
        }
        self.decode_from(&bytes, Origin::File(path.to_path_buf()))
    }

    /// Reads a picture from bytes.
    ///
    /// # Errors
    /// [`TransformError::NotAPicture`] for bytes that start like none, [`TransformError::Unsupported`] for formats and
    /// pixels not read, [`TransformError::TooManyPixels`], and [`TransformError::Truncated`] or
    /// [`TransformError::Decode`] for damaged ones, with the decoder's words.
    pub fn decode(&self, bytes: &[u8]) -> Result<RgbImage> {
        self.decode_from(bytes, Origin::Memory)
    }

    fn decode_from(&self, bytes: &[u8], picture: Origin) -> Result<RgbImage> {
        let Ok(format) = image::guess_format(bytes) else {
            return Err(TransformError::NotAPicture { picture });
        };
        if !FORMATS.contains(&format) {
            return Err(TransformError::Unsupported { picture, what: format!("{format:?}") });
        }
        let failed = |source| of_decoder(source, picture.clone(), format);
        if format == ImageFormat::Gif {
            return gif::first_frame(bytes, |width, height| self.check_pixels(width, height, &picture))
                .map_err(|error| error.into_transform(picture.clone()));
        }
        if format == ImageFormat::Jpeg && !jpeg::has_end(bytes) {
            // The decoder would fill what is missing with gray.
            let reason = "the end-of-image marker is missing".to_string();
            return Err(TransformError::Truncated { picture, format, reason });
        }
        if let Some((tag, claimed)) = tiff::impossible_entry(bytes).filter(|_| format == ImageFormat::Tiff) {
            let reason = format!("tag {tag} has {claimed} bytes of values, the file {}", bytes.len());
            return Err(TransformError::Truncated { picture, format, reason });
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(self.max_pixels.saturating_mul(BYTES_PER_PIXEL));
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(failed)?;
        let (width, height) = decoder.dimensions();
        self.check_pixels(width, height, &picture)?;
        let orientation = if self.apply_orientation || format == ImageFormat::Tiff {
            decoder.orientation().map_err(failed)?
        } else {
            Orientation::NoTransforms
        };
        let pixels = pixels_of(decoder, bytes, format).map_err(failed)?;
        let narrow = if format == ImageFormat::Pnm { rounded } else { high_byte };
        let mut pixels = match self.convert(pixels, narrow) {
            Ok(pixels) => DynamicImage::ImageRgb8(pixels),
            Err(what) => return Err(TransformError::Unsupported { picture, what }),
        };
        pixels.apply_orientation(orientation);
        Ok(pixels.into_rgb8())
    }

    fn check_pixels(&self, width: u32, height: u32, picture: &Origin) -> Result<()> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            let limit = self.max_pixels;
            let picture = picture.clone();
            return Err(TransformError::TooManyPixels { picture, width, height, limit });
        }
        Ok(())
    }

    /// Pillow's `convert("RGB")`; `narrow` takes 16-bit colours to 8 bits. The error names the kind of pixel.
    fn convert(&self, pixels: DynamicImage, narrow: fn(u16) -> u8) -> std::result::Result<RgbImage, String> {
        let (width, height) = (pixels.width(), pixels.height());
        let gray: fn(u16) -> u8 = match self.wide_gray {
            WideGray::Clamp => |value| value.min(255) as u8,
            WideGray::HighByte => high_byte,
        };
        let bytes: Vec<u8> = match pixels {
            DynamicImage::ImageRgb8(pixels) => return Ok(pixels),
            DynamicImage::ImageRgba8(p) => p.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect(),
            DynamicImage::ImageLuma8(p) => p.pixels().flat_map(|p| [p[0]; 3]).collect(),
            DynamicImage::ImageLumaA8(p) => p.pixels().flat_map(|p| [p[0]; 3]).collect(),
            DynamicImage::ImageLuma16(p) => p.pixels().flat_map(|p| [gray(p[0]); 3]).collect(),
            // With alpha Pillow reads the high byte, not the clamped value.
            DynamicImage::ImageLumaA16(p) => p.pixels().flat_map(|p| [narrow(p[0]); 3]).collect(),
            DynamicImage::ImageRgb16(p) => p.pixels().flat_map(|p| [p[0], p[1], p[2]].map(narrow)).collect(),
            DynamicImage::ImageRgba16(p) => p.pixels().flat_map(|p| [p[0], p[1], p[2]].map(narrow)).collect(),
            other => return Err(format!("pixels of type {:?} are not supported", other.color())),
        };
        ImageBuffer::from_raw(width, height, bytes).ok_or_else(|| format!("{width}x{height} pixels"))
    }
}

/// A decoder's pixels; of JPEG files those that libjpeg-turbo gives, where it is compiled in.
fn pixels_of(
    decoder: impl ImageDecoder,
    #[cfg_attr(not(feature = "libjpeg-turbo"), allow(unused_variables))] bytes: &[u8],
    #[cfg_attr(not(feature = "libjpeg-turbo"), allow(unused_variables))] format: ImageFormat,
) -> std::result::Result<DynamicImage, ImageError> {
    #[cfg(feature = "libjpeg-turbo")]
    if format == ImageFormat::Jpeg {
        return super::libjpeg::decode(bytes).map(DynamicImage::ImageRgb8);
    }
    DynamicImage::from_decoder(decoder)
}

fn high_byte(value: u16) -> u8 {
    (value >> 8) as u8
}

/// 0–65535 to 0–255, as Pillow scales the samples of PNM files.
fn rounded(value: u16) -> u8 {
    ((u32::from(value) * 255 + 32767) / 65535) as u8
}

fn of_decoder(source: ImageError, picture: Origin, format: ImageFormat) -> TransformError {
    match source {
        ImageError::Unsupported(error) => TransformError::Unsupported { picture, what: error.to_string() },
        source if ends_early(&source) => {
            TransformError::Truncated { picture, format, reason: source.to_string() }
        }
        source => TransformError::Decode { picture, format, source },
    }
}

/// Whether an unexpected end of file is somewhere behind an error.
fn ends_early(error: &ImageError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = match error {
        // Its source is the inner error's source, not the inner error.
        ImageError::IoError(io) => Some(io),
        error => Some(error),
    };
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            if io.kind() == ErrorKind::UnexpectedEof {
                return true;
            }
        }
        next = error.source();
    }
    false
}
