//! Who watches a run, and what they are told.

use crate::data::DataError;
use serde::{Deserialize, Serialize};

/// What a run is about to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outline {
    /// Passes over the data.
    pub epochs: usize,
    /// Those done before, by a run that goes on.
    pub epochs_done: usize,
    /// Steps an epoch.
    pub steps_per_epoch: usize,
    /// Pictures to learn from.
    pub train_images: usize,
    /// Pictures to be judged by.
    pub validation_images: usize,
    /// Classes.
    pub classes: usize,
    /// Numbers in the network's parameters, and in those that are trained at first.
    pub parameters: [i64; 2],
    /// What the user should know: decisions that were taken for them.
    pub notes: Vec<String>,
}

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Counted from 1.
    pub epoch: usize,
    /// Counted from 1, over all epochs.
    pub step: usize,
    /// Counted from 1, in this epoch.
    pub step_in_epoch: usize,
    /// Its mean loss.
    pub loss: f64,
    /// Its learning rate: the first group's.
    pub lr: f64,
    /// The gradients' norm before clipping; only where they are clipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// Pictures it learned from.
    pub images: usize,
}

/// Means over pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The mean loss; in validation without class weights and smoothing.
    pub loss: f64,
    /// The share of pictures whose likeliest class is right; the share of labels that are right, where a picture has several.
    pub accuracy: f64,
    /// The share of pictures whose class is among the five likeliest; in validation, of more than five classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// How many pictures.
    pub images: usize,
}

/// An epoch that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: usize,
    /// Steps so far.
    pub step: usize,
    /// The learning rate of its last step: the first group's.
    pub lr: f64,
    /// On the training pictures, as they were seen: augmented, by weights that changed meanwhile.
    pub train: Figures,
    /// On the validation pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Figures>,
    /// Whether it is the best so far.
    pub best: bool,
    /// The whole run so far, in seconds.
    pub seconds: f64,
    /// In training alone.
    pub images_per_second: f64,
}

/// Hears of a run as it goes. Nothing an observer does changes what is computed. `()` watches in silence.
pub trait Observer {
    /// The run begins, or goes on.
    fn begin(&mut self, _outline: &Outline) {}
    /// A step was taken.
    fn step(&mut self, _step: &StepReport) {}
    /// So many of so many validation batches are done.
    fn validated(&mut self, _batches: usize, _of: usize) {}
    /// An epoch is done, and saved.
    fn epoch(&mut self, _epoch: &EpochReport) {}
    /// A picture could not be read and was left out.
    fn skipped(&mut self, _error: &DataError) {}
    /// Asked after every step: whether to save and end, to be continued.
    fn wants_stop(&mut self) -> bool {
        false
    }
}

impl Observer for () {}
