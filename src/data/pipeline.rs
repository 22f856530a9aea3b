//! From a picture to a network's input.

use crate::transforms::augment::Augment;
use crate::transforms::{Draw, ImageClassification, Result, RgbImage};
use std::sync::Arc;
use tch::Tensor;

/// A picture to a network's input [C, H, W], f32 on the CPU; may draw from [`Draw::rng`]. Runs on the loader's threads.
pub type Pipeline = Arc<dyn Fn(&RgbImage, Draw) -> Result<Tensor> + Send + Sync>;

/// The preset alone: for evaluation.
///
/// # Errors
/// As [`ImageClassification::validate`].
pub fn plain(preset: ImageClassification) -> Result<Pipeline> {
    augmented(Augment::default(), preset)
}

/// A recipe and the preset: for training. The recipe's [`mixing`](Augment::mixing) is left to whoever trains.
///
/// # Errors
/// As [`Augment::validate`] and [`ImageClassification::validate`].
pub fn augmented(recipe: Augment, preset: ImageClassification) -> Result<Pipeline> {
    recipe.validate()?;
    preset.validate()?;
    Ok(Arc::new(move |picture, draw| recipe.apply(picture, draw, &preset)))
}

/// Ten parts of each picture: [10, C, H, W], as [`ImageClassification::ten_crops`] makes them.
///
/// # Errors
/// As [`ImageClassification::validate`].
pub fn ten_crops(preset: ImageClassification) -> Result<Pipeline> {
    preset.validate()?;
    Ok(Arc::new(move |picture, _| preset.ten_crops(picture)))
}
