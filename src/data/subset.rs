//! Parts of a data set.

use super::{DataError, Dataset, Result, Target};
use crate::transforms::{Draw, RgbImage};
use std::path::Path;
use std::sync::Arc;

/// Some of a data set's pictures. torch: `Subset`.
#[derive(Clone)]
pub struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Subset {
    /// The pictures at `indices`, in that order.
    ///
    /// # Errors
    /// [`DataError::Option`] for an index past the end.
    pub fn new(whole: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Self> {
        if let Some(index) = indices.iter().find(|index| **index >= whole.len()) {
            return Err(DataError::Option {
                option: "index",
                value: index.to_string(),
                expected: "below the data set's length",
            });
        }
        Ok(Subset { whole, indices })
    }

    /// Where its pictures stand in the whole.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn target(&self, index: usize) -> &Target {
        self.whole.target(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.whole.name(self.indices[index])
    }

    fn picture(&self, index: usize) -> Result<RgbImage> {
        self.whole.picture(self.indices[index])
    }

    fn root(&self) -> &Path {
        self.whole.root()
    }
}

/// Splits into training and validation, the same for the same seed: of each class `share` of its pictures (rounded, at
/// least one) go to validation. With several labels a picture, the share is taken of all. Both keep the order they had.
///
/// # Errors
/// [`DataError::Option`] for a share that is not over 0 and below 1; [`DataError::Split`] where a class has too few
/// pictures for both parts.
pub fn split(whole: Arc<dyn Dataset>, share: f64, seed: u64) -> Result<(Subset, Subset)> {
    if !(share > 0.0 && share < 1.0) {
        let (option, value) = ("the validation share", share.to_string());
        return Err(DataError::Option { option, value, expected: "over 0 and below 1" });
    }
    // Pictures by class, or all as one group.
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); whole.classes().len().max(1)];
    for index in 0..whole.len() {
        match whole.target(index) {
            Target::Class(class) => groups[*class].push(index),
            Target::Labels(_) => groups[0].push(index),
        }
    }
    let mut validation = vec![false; whole.len()];
    for (group, indices) in groups.iter().enumerate().filter(|(_, indices)| !indices.is_empty()) {
        let count = ((indices.len() as f64 * share).round() as usize).max(1);
        if count >= indices.len() {
            return Err(DataError::Split {
                path: whole.root().to_path_buf(),
                share,
                part: "training",
                class: whole.classes().get(group).cloned().unwrap_or_default(),
                pictures: indices.len(),
            });
        }
        let order = Draw { seed, epoch: 0, index: group as u64 }.rng().permutation(indices.len());
        order.iter().take(count).for_each(|&place| validation[indices[place]] = true);
    }
    let part = |wanted: bool| {
        let indices = (0..whole.len()).filter(|&index| validation[index] == wanted).collect();
        Subset::new(Arc::clone(&whole), indices)
    };
    Ok((part(false)?, part(true)?))
}
