//! torchvision's `ImageClassification` preset as data.

use super::error::{Result, TransformError};
use super::geometry::{crop_axis, resized_size, Crop};
use super::resize::{resize_window, Interpolation};
use image::{GrayImage, ImageBuffer, Pixel, RgbImage};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// How a picture becomes a network's input: torchvision's `ImageClassification`, its names and its defaults.
///
/// Resize the shorter side, cut out the middle, scale to 0–1, normalize each channel. As data it goes into a
/// checkpoint's sidecar; fields left out there have torchvision's defaults, unknown ones are refused. What torchvision's
/// preset does not have (`squash`, `range`) is for networks of other origins.
///
/// ```
/// use densenet::transforms::{ImageClassification, RgbImage};
///
/// let input = ImageClassification::default().apply(&RgbImage::new(640, 427))?;
/// assert_eq!(input.size(), [3, 224, 224]);
/// # Ok::<(), densenet::transforms::TransformError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageClassification {
    /// What the shorter side is resized to, in pixels; `None` (JSON `null`) leaves the size as it is.
    pub resize_size: Option<u32>,
    /// Resize both sides to `resize_size`, whatever that does to the proportions (torchvision: `Resize((n, n))`).
    pub squash: bool,
    /// Side of the square cut out of the middle, in pixels, padded with black where the picture is smaller; `None`
    /// keeps all of it.
    pub crop_size: Option<u32>,
    /// What black and white become before normalizing: 0 and 1, as torchvision has it, 0 and 255, −1024 and 1024 ….
    pub range: [f64; 2],
    /// Subtracted from each channel's values in that range; one number a channel.
    pub mean: Vec<f64>,
    /// What each channel is divided by after that; one number a channel.
    pub std: Vec<f64>,
    /// How resizing computes pixels.
    pub interpolation: Interpolation,
    /// Widen the filter when scaling down. PIL always does, so torchvision ignores `False` for pictures with a
    /// warning; here it is refused.
    pub antialias: bool,
    /// 3 for RGB, 1 for gray (PIL's `convert("L")`, before anything else).
    pub channels: u32,
}

impl Default for ImageClassification {
    /// Resize to 256, crop 224, ImageNet's mean and deviation, bilinear.
    fn default() -> Self {
        ImageClassification {
            resize_size: Some(256),
            crop_size: Some(224),
            squash: false,
            range: [0.0, 1.0],
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            interpolation: Interpolation::Bilinear,
            antialias: true,
            channels: 3,
        }
    }
}

impl ImageClassification {
    /// The tensor a network takes: [channels, H, W], f32, on the CPU; H = W = `crop_size` if there is one.
    ///
    /// Equal to the bit to torchvision's preset on the same pixels (`pil_to_tensor`, `convert_image_dtype`,
    /// `normalize`). Add the batch dimension with [`batch`] or `unsqueeze(0)`.
    ///
    /// # Errors
    /// [`TransformError::Preset`] as [`validate`](Self::validate) says, [`TransformError::EmptyPicture`] if there are
    /// no pixels, [`TransformError::TooLarge`] if the result would have more than [`MAX_PIXELS`](super::MAX_PIXELS).
    pub fn apply(&self, picture: &RgbImage) -> Result<Tensor> {
        self.validate()?;
        if self.channels == 1 {
            self.normalized(&self.resized_and_cropped(&to_gray(picture))?.frame())
        } else {
            self.normalized(&self.resized_and_cropped(picture)?.frame())
        }
    }

    /// All of a picture as it is, as a network's input: [`apply`](Self::apply) without resizing and cropping.
    pub(super) fn normalize(&self, picture: &RgbImage) -> Result<Tensor> {
        self.validate()?;
        if self.channels == 1 {
            self.normalized(&Frame::whole(&to_gray(picture)))
        } else {
            self.normalized(&Frame::whole(picture))
        }
    }

    /// The picture resized and not yet cropped: uint8 [channels, h, w], as PIL holds it at that point.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn resized(&self, picture: &RgbImage) -> Result<Tensor> {
        self.validate()?;
        let whole = ImageClassification { crop_size: None, ..self.clone() };
        if self.channels == 1 {
            planes(&whole.resized_and_cropped(&to_gray(picture))?.pixels)
        } else {
            planes(&whole.resized_and_cropped(picture)?.pixels)
        }
    }

    /// What the network sees, as a picture: resized and cropped, padded with black where the crop is larger, gray for a
    /// gray network.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn seen(&self, picture: &RgbImage) -> Result<RgbImage> {
        match self.channels {
            1 => self.cut(&image::DynamicImage::ImageLuma8(to_gray(picture)).into_rgb8()),
            _ => self.cut(picture),
        }
    }

    /// The picture resized and cropped in its own colours.
    pub(super) fn cut(&self, picture: &RgbImage) -> Result<RgbImage> {
        self.validate()?;
        let Cropped { pixels, columns, rows, size } = self.resized_and_cropped(picture)?;
        if pixels.dimensions() == size {
            return Ok(pixels);
        }
        let mut padded = RgbImage::new(size.0, size.1);
        image::imageops::replace(&mut padded, &pixels, columns.padding.into(), rows.padding.into());
        Ok(padded)
    }

    /// The size that a part of a picture of that size is scaled to, to be a network's input.
    pub(super) fn output_size(&self, width: u32, height: u32) -> (u32, u32) {
        match self.crop_size.or(self.resize_size) {
            Some(side) => (side, side),
            None => (width, height),
        }
    }

    /// Checks the fields against each other, as [`apply`](Self::apply) does.
    ///
    /// # Errors
    /// [`TransformError::Preset`]: `channels` other than 1 and 3, `mean` or `std` of another length, with a number
    /// that is not finite or a deviation of zero, an empty range, a size of zero, `antialias: false`.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, value: String, reason: &str| {
            Err(TransformError::Preset { field, value, reason: reason.to_string() })
        };
        if self.channels != 1 && self.channels != 3 {
            return refuse("channels", self.channels.to_string(), "must be 3 (RGB) or 1 (gray)");
        }
        for (field, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels as usize {
                let reason = format!("must have one number for each of {} channels", self.channels);
                return refuse(field, format!("{values:?}"), &reason);
            }
            if values.iter().any(|value| !(*value as f32).is_finite()) {
                return refuse(field, format!("{values:?}"), "must be finite");
            }
        }
        if self.std.iter().any(|value| *value as f32 == 0.0) {
            return refuse("std", format!("{:?}", self.std), "must not be zero in f32");
        }
        let [black, white] = self.range;
        if !(black < white && (black as f32).is_finite() && (white as f32).is_finite()) {
            return refuse(
                "range",
                format!("{:?}", self.range),
                "must be two finite numbers, the first smaller",
            );
        }
        for (field, size) in [("resize_size", self.resize_size), ("crop_size", self.crop_size)] {
            if size == Some(0) {
                return refuse(field, "0".to_string(), "must be at least 1 pixel");
            }
        }
        if !self.antialias {
            return refuse(
                "antialias",
                "false".to_string(),
                "but pictures are always antialiased, as PIL's are",
            );
        }
        Ok(())
    }

    /// Computes only the pixels that the crop keeps; they are those of the whole resize.
    fn resized_and_cropped<P: Pixel<Subpixel = u8>>(
        &self,
        picture: &ImageBuffer<P, Vec<u8>>,
    ) -> Result<Cropped<P>> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Err(TransformError::EmptyPicture { from: (width, height), to: (0, 0) });
        }
        let (width, height) = match self.resize_size {
            Some(side) if self.squash => (side, side),
            Some(short) => resized_size(width, height, short),
            None => (width, height),
        };
        let crop = |size| crop_axis(size, self.crop_size.unwrap_or(size));
        let (columns, rows) = (crop(width), crop(height));
        let pixels = resize_window(picture, (width, height), columns.taken, rows.taken, self.interpolation)?;
        let size = (self.crop_size.unwrap_or(width), self.crop_size.unwrap_or(height));
        super::check_size(size.0, size.1)?;
        Ok(Cropped { pixels, columns, rows, size })
    }

    /// u8 pixels to normalized planes.
    fn normalized<P: Pixel<Subpixel = u8>>(&self, frame: &Frame<P>) -> Result<Tensor> {
        let channels = self.channels as usize;
        let (width, height) = (frame.size.0 as usize, frame.size.1 as usize);
        let (left, top) = (frame.left as usize, frame.top as usize);
        let row_bytes = frame.pixels.width() as usize * channels;
        let mut values = Vec::with_capacity(width * height * channels);
        for (channel, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            let levels = levels(*mean, *std, self.range);
            let black = levels[0];
            let plane = values.len();
            values.resize(plane + top * width, black);
            for row in frame.pixels.as_raw().chunks_exact(row_bytes) {
                let start = values.len();
                values.resize(start + left, black);
                values.extend(row[channel..].iter().step_by(channels).map(|v| levels[*v as usize]));
                values.resize(start + width, black);
            }
            values.resize(plane + width * height, black);
        }
        let shape = [channels as i64, height as i64, width as i64];
        to_tensor(&values, &shape)
    }
}

/// What a crop keeps of the resized picture, and where that lies in the result.
struct Cropped<P: Pixel<Subpixel = u8>> {
    pixels: ImageBuffer<P, Vec<u8>>,
    columns: Crop,
    rows: Crop,
    size: (u32, u32),
}

impl<P: Pixel<Subpixel = u8>> Cropped<P> {
    fn frame(&self) -> Frame<'_, P> {
        Frame { pixels: &self.pixels, left: self.columns.padding, top: self.rows.padding, size: self.size }
    }
}

/// Pixels, where they lie in the result, and its size.
struct Frame<'a, P: Pixel<Subpixel = u8>> {
    pixels: &'a ImageBuffer<P, Vec<u8>>,
    left: u32,
    top: u32,
    size: (u32, u32),
}

impl<'a, P: Pixel<Subpixel = u8>> Frame<'a, P> {
    fn whole(pixels: &'a ImageBuffer<P, Vec<u8>>) -> Self {
        Frame { pixels, left: 0, top: 0, size: pixels.dimensions() }
    }
}

/// Pixels as they are: uint8 [channels, H, W].
fn planes<P: Pixel<Subpixel = u8>>(picture: &ImageBuffer<P, Vec<u8>>) -> Result<Tensor> {
    let (width, height) = picture.dimensions();
    let shape = [height.into(), width.into(), P::CHANNEL_COUNT.into()];
    let rows = Tensor::f_from_slice(picture.as_raw().as_slice())?.f_reshape(shape)?;
    Ok(rows.f_permute([2, 0, 1])?.f_contiguous()?)
}

/// The values as a tensor, by this thread alone.
///
/// tch's `from_slice` zeroes the tensor first, and from 32768 values on libtorch does that with all its threads: where
/// those are busy (a loader's workers, a loaded machine) waiting for them costs several times the whole preset. Smaller
/// pieces stay on the calling thread.
fn to_tensor(values: &[f32], shape: &[i64]) -> Result<Tensor> {
    const PIECE: usize = 1 << 14;
    let tensor = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
    let flat = tensor.f_view(-1)?;
    for (index, piece) in values.chunks(PIECE).enumerate() {
        let mut part = flat.f_narrow(0, (index * PIECE) as i64, piece.len() as i64)?;
        part.f_copy_(&Tensor::f_from_slice(piece)?)?;
    }
    Ok(tensor)
}

/// What each of the 256 values of a channel becomes. torchvision computes the same three operations in f32 on every
/// pixel (`to(float) / 255`, `sub_(mean)`, `div_(std)`), each rounded once, so a table gives its bits. Other ranges than
/// 0–1 are one more multiplication and addition, or, 255 wide, the value itself.
fn levels(mean: f64, std: f64, [black, white]: [f64; 2]) -> [f32; 256] {
    let (mean, std, black, span) = (mean as f32, std as f32, black as f32, (white - black) as f32);
    let scaled = |value: f32| if span == 255.0 { value + black } else { value / 255.0 * span + black };
    std::array::from_fn(|value| (scaled(value as f32) - mean) / std)
}

/// PIL's `convert("L")`: ITU-R 601-2 luma in 16-bit fixed point, rounded.
pub fn to_gray(picture: &RgbImage) -> GrayImage {
    let luma = |[r, g, b]: [u8; 3]| {
        let sum = u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471;
        ((sum + 0x8000) >> 16) as u8
    };
    let mut gray = GrayImage::new(picture.width(), picture.height());
    for (to, from) in gray.iter_mut().zip(picture.pixels()) {
        *to = luma(from.0);
    }
    gray
}

/// Puts tensors of one shape [C, H, W] together: [N, C, H, W].
///
/// # Errors
/// [`TransformError::EmptyBatch`], [`TransformError::UnequalShapes`].
pub fn batch(tensors: &[Tensor]) -> Result<Tensor> {
    let first = tensors.first().ok_or(TransformError::EmptyBatch)?.size();
    for (index, tensor) in tensors.iter().enumerate() {
        if tensor.size() != first {
            return Err(TransformError::UnequalShapes { index, got: tensor.size(), first });
        }
    }
    Ok(Tensor::f_stack(tensors, 0)?)
}
