//! Ten parts of a picture instead of its middle.

use super::augment::{crop, flip_horizontally, Region};
use super::preset::ImageClassification;
use super::{Result, TransformError};
use image::RgbImage;
use tch::Tensor;

impl ImageClassification {
    /// The four corners and the middle of the resized picture, and the same of its mirror image: [10, channels, crop,
    /// crop], each normalized. torchvision: `Resize`, `TenCrop`, then each as the preset has it; the original code's
    /// `-tenCrop` averages the network's outputs over them.
    ///
    /// # Errors
    /// As [`apply`](Self::apply); [`TransformError::Preset`] without a crop size;
    /// [`TransformError::OutsidePicture`] where the resized picture is smaller than the crop.
    pub fn ten_crops(&self, picture: &RgbImage) -> Result<Tensor> {
        let Some(side) = self.crop_size else {
            let reason = "but ten crops need one: use the whole picture once instead".to_string();
            return Err(TransformError::Preset { field: "crop_size", value: "null".to_string(), reason });
        };
        let whole = ImageClassification { crop_size: None, ..self.clone() };
        let picture = whole.cut(picture)?;
        let (width, height) = picture.dimensions();
        let (right, bottom) = (width.saturating_sub(side), height.saturating_sub(side));
        let middle = super::geometry::crop_axis;
        let (left, top) = (middle(width, side).taken.start, middle(height, side).taken.start);
        let places = [(0, 0), (right, 0), (0, bottom), (right, bottom), (left, top)];
        let mut parts = Vec::with_capacity(2 * places.len());
        for picture in [picture.clone(), flip_horizontally(picture)] {
            for (left, top) in places {
                let part = crop(&picture, Region { top, left, height: side, width: side })?;
                parts.push(self.normalize(&part)?);
            }
        }
        super::batch(&parts)
    }
}
