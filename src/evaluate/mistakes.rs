//! The pictures a network is most wrong about.

use serde::{Deserialize, Serialize};

/// A picture that was taken for something else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Its name in the data set.
    pub image: String,
    /// Its place in the data set.
    pub index: usize,
    /// Its loss.
    pub loss: f64,
    /// What it shows: one class, or for labels those that were missed, each with the probability it was given.
    pub truth: Vec<(String, f64)>,
    /// What it was taken for: one class, or for labels those that are not there.
    pub predicted: Vec<(String, f64)>,
}

/// What is kept of a mistake until all are known: outputs instead of names.
pub(super) struct Candidate {
    pub index: usize,
    pub loss: f64,
    pub truth: Vec<(usize, f64)>,
    pub predicted: Vec<(usize, f64)>,
}

/// The `count` with the highest loss; of equal ones those that come first.
pub(super) fn worst(
    mut candidates: Vec<Candidate>,
    count: usize,
    name: impl Fn(usize) -> String,
    label: impl Fn(usize) -> String,
) -> Vec<Mistake> {
    candidates.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.index.cmp(&b.index)));
    candidates.truncate(count);
    let named = |outputs: Vec<(usize, f64)>| {
        outputs.into_iter().map(|(output, probability)| (label(output), probability)).collect()
    };
    let mistakes = candidates.into_iter().map(|Candidate { index, loss, truth, predicted }| Mistake {
        image: name(index),
        index,
        loss,
        truth: named(truth),
        predicted: named(predicted),
    });
    mistakes.collect()
}
