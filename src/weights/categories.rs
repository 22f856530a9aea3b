//! Class names.

use super::error::{Result, WeightsError};

const IMAGENET: &str = include_str!("../../weights/imagenet_categories.txt");

/// The 1000 class names of ImageNet-1K in torchvision's order and spelling
/// (`DenseNet121_Weights.IMAGENET1K_V1.meta["categories"]`).
pub fn imagenet_categories() -> Vec<String> {
    IMAGENET.lines().map(str::to_string).collect()
}

/// A list of class names is empty or has one for each of the classifier's outputs; `name` says whose list it is.
pub(crate) fn check_count(name: &str, categories: &[String], classes: i64) -> Result<()> {
    if categories.is_empty() || categories.len() as i64 == classes {
        return Ok(());
    }
    Err(WeightsError::CategoryCount { name: name.to_string(), categories: categories.len(), classes })
}
