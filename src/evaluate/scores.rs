//! Precision, recall and what is made of them.

use serde::{Deserialize, Serialize};

/// How one class fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Its name.
    pub name: String,
    /// Its place among the network's outputs.
    pub output: usize,
    /// Pictures that show it.
    pub images: usize,
    /// Pictures that were taken for it.
    pub predicted: usize,
    /// Pictures that show it and were taken for it.
    pub hits: usize,
    /// The share of right ones among those taken for it; `None` where there were none.
    pub precision: Option<f64>,
    /// The share found of those that show it; `None` where there are none.
    pub recall: Option<f64>,
    /// The harmonic mean of both; `None` where neither exists.
    pub f1: Option<f64>,
    /// For labels: how likely a picture with the label is rated over one without.
    pub auroc: Option<f64>,
}

impl ClassScores {
    pub(super) fn new(name: String, output: usize, images: usize, predicted: usize, hits: usize) -> Self {
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        ClassScores {
            name,
            output,
            images,
            predicted,
            hits,
            precision: share(hits, predicted),
            recall: share(hits, images),
            f1: share(2 * hits, images + predicted),
            auroc: None,
        }
    }
}

/// The mean of a score over classes with pictures, `None` counting as 0.
pub(super) fn mean(classes: &[ClassScores], score: impl Fn(&ClassScores) -> Option<f64>) -> Option<f64> {
    average(classes.iter().filter(|class| class.images > 0).map(|class| score(class).unwrap_or(0.0)))
}

/// `None` of nothing.
pub(super) fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}
