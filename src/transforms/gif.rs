//! The first frame of a GIF, as Pillow sees it: indices on the logical screen, looked up in a palette.

use super::error::{Origin, TransformError};
use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};
use image::{ImageError, ImageFormat, Rgb, RgbImage};
use std::io::ErrorKind;

/// Why there is no frame.
pub(super) enum GifError {
    Decoder(DecodingError),
    NoFrame,
    Refused(TransformError),
}

impl From<DecodingError> for GifError {
    fn from(error: DecodingError) -> Self {
        GifError::Decoder(error)
    }
}

impl GifError {
    pub(super) fn into_transform(self, picture: Origin) -> TransformError {
        let format = ImageFormat::Gif;
        match self {
            GifError::Refused(error) => error,
            GifError::NoFrame => {
                TransformError::Truncated { picture, format, reason: "it has no frame".to_string() }
            }
            GifError::Decoder(DecodingError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                TransformError::Truncated { picture, format, reason: error.to_string() }
            }
            GifError::Decoder(DecodingError::UnexpectedEof) => {
                let reason = DecodingError::UnexpectedEof.to_string();
                TransformError::Truncated { picture, format, reason }
            }
            GifError::Decoder(error) => {
                let source = image::error::DecodingError::new(format.into(), error);
                TransformError::Decode { picture, format, source: ImageError::Decoding(source) }
            }
        }
    }
}

/// Decodes the first frame onto the logical screen.
///
/// Transparent pixels keep their palette's colour (`convert("RGB")` drops transparency). Around a frame smaller than
/// the screen lies the transparent index, or index 0 where there is none, whatever the file's background says.
pub(super) fn first_frame(
    bytes: &[u8],
    check_pixels: impl FnOnce(u32, u32) -> Result<(), TransformError>,
) -> Result<RgbImage, GifError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // The frame is measured below, before its buffer is made.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = options.read_info(bytes)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let frame = decoder.next_frame_info()?.ok_or(GifError::NoFrame)?;
    let (left, top) = (u32::from(frame.left), u32::from(frame.top));
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    let around = frame.transparent.unwrap_or(0);
    // Pillow enlarges the screen to hold the frame.
    let screen = (screen.0.max(left + width), screen.1.max(top + height));
    check_pixels(screen.0, screen.1).map_err(GifError::Refused)?;
    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices)?;
    let palette = decoder.palette()?;
    let colour = |index: u8| {
        let at = usize::from(index) * 3;
        // An index past the palette is black, as in Pillow, whose palettes always have 256 entries.
        palette.get(at..at + 3).map_or(Rgb([0; 3]), |c| Rgb([c[0], c[1], c[2]]))
    };
    let mut picture = RgbImage::from_pixel(screen.0, screen.1, colour(around));
    if width > 0 {
        for (y, row) in (top..).zip(indices.chunks_exact(width as usize)) {
            for (x, index) in (left..).zip(row) {
                picture.put_pixel(x, y, colour(*index));
            }
        }
    }
    Ok(picture)
}
