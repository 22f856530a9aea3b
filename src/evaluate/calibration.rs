//! How far probabilities can be believed.

use serde::{Deserialize, Serialize};

/// Expected against observed. Guo et al., "On calibration of modern neural networks" (2017), section 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error: the mean distance between confidence and accuracy over bins, weighted by their counts.
    pub ece: f64,
    /// The largest of these distances.
    pub mce: f64,
    /// Equal ranges of confidence, ascending.
    pub bins: Vec<Bin>,
}

/// Predictions with a confidence in (low, high]; 0 belongs to the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Exclusive.
    pub low: f64,
    /// Inclusive.
    pub high: f64,
    /// Predictions in it.
    pub count: usize,
    /// Their mean probability; `None` of none.
    pub confidence: Option<f64>,
    /// The share of them that are right; `None` of none.
    pub accuracy: Option<f64>,
}

/// Adds predictions up.
pub(super) struct Reliability {
    bins: Vec<(usize, f64, usize)>,
}

impl Reliability {
    pub(super) fn new(bins: usize) -> Self {
        Reliability { bins: vec![(0, 0.0, 0); bins.max(1)] }
    }

    /// A prediction made with that probability, and whether it was right.
    pub(super) fn add(&mut self, probability: f64, right: bool) {
        let count = self.bins.len();
        let place = (probability * count as f64).ceil() as usize;
        let (predictions, confidence, hits) = &mut self.bins[place.saturating_sub(1).min(count - 1)];
        *predictions += 1;
        *confidence += probability;
        *hits += usize::from(right);
    }

    pub(super) fn finish(self) -> Calibration {
        let count = self.bins.len();
        let total: usize = self.bins.iter().map(|(predictions, ..)| predictions).sum();
        let mut calibration = Calibration { ece: 0.0, mce: 0.0, bins: Vec::with_capacity(count) };
        for (index, (predictions, confidence, hits)) in self.bins.into_iter().enumerate() {
            let mean = |sum: f64| (predictions > 0).then(|| sum / predictions as f64);
            let (confidence, accuracy) = (mean(confidence), mean(hits as f64));
            if let (Some(confidence), Some(accuracy)) = (confidence, accuracy) {
                let gap = (confidence - accuracy).abs();
                calibration.ece += gap * predictions as f64 / total as f64;
                calibration.mce = calibration.mce.max(gap);
            }
            let (low, high) = (index as f64 / count as f64, (index + 1) as f64 / count as f64);
            calibration.bins.push(Bin { low, high, count: predictions, confidence, accuracy });
        }
        calibration
    }
}
