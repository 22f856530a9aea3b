//! How a network is trained, as data.

use super::ema::EmaOptions;
use super::error::in_range;
use super::loss::LossOptions;
use super::optimizer::{Rule, Sgd};
use super::parameters::{Freeze, Rates};
use super::precision::Precision;
use super::schedule::{Schedule, WarmUp};
use super::{Result, TrainError};
use crate::model::Memory;
use crate::transforms::augment::Augment;
use serde::{Deserialize, Serialize};

/// What batch norms do while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorms {
    /// They normalize by the batch's statistics and move the running ones.
    #[default]
    Live,
    /// They normalize by the running statistics, which stay; γ and β are trained unless frozen too.
    Frozen,
}

/// What tells the best epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Monitor {
    /// The validation loss, which should fall.
    Loss,
    /// The share of validation pictures (of labels, where a picture has several) that are right, which should rise.
    Accuracy,
}

/// Everything about training but network and data. `Default` fine-tunes: SGD with Nesterov momentum at 0.01, a cosine
/// down to nothing, 10 epochs of batches of 32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the data.
    pub epochs: usize,
    /// Pictures a batch.
    pub batch_size: usize,
    /// Batches whose gradients make one step; their mean counts, as if they were one batch (for all but batch norms).
    pub accumulate: usize,
    /// Leave out an epoch's last batch if it is not full.
    pub drop_last: bool,
    /// Another order of the pictures each epoch.
    pub shuffle: bool,
    /// Decides the initial weights, the order, every augmentation and dropout.
    pub seed: u64,
    /// The learning rate.
    pub lr: f64,
    /// Learning rates of parts, and decay.
    pub rates: Rates,
    /// What turns gradients into updates.
    pub optimizer: Rule,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// A rise before that.
    pub warm_up: Option<WarmUp>,
    /// What is not trained.
    pub freeze: Freeze,
    /// What batch norms do.
    pub batch_norms: BatchNorms,
    /// The loss.
    pub loss: LossOptions,
    /// Scale gradients down where their norm is above this. torch: `clip_grad_norm_`.
    pub clip_norm: Option<f64>,
    /// Keep a running mean of the weights, which is what is validated and handed out.
    pub ema: Option<EmaOptions>,
    /// What a forward pass computes in.
    pub precision: Precision,
    /// What a step keeps for its backward pass.
    pub memory: Memory,
    /// Lay convolutions' weights out channels-last.
    pub channels_last: bool,
    /// Dropout's rate; `None` leaves the network's own.
    pub drop_rate: Option<f64>,
    /// What happens to pictures before they are learned from.
    pub augment: Augment,
    /// What tells the best epoch; where absent the accuracy, or the loss where pictures have several labels.
    pub monitor: Option<Monitor>,
    /// End after so many epochs without a better one.
    pub patience: Option<usize>,
    /// Save after every so many steps too, not only after every epoch.
    pub save_every: Option<usize>,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            epochs: 10,
            batch_size: 32,
            accumulate: 1,
            drop_last: false,
            shuffle: true,
            seed: 0,
            lr: 0.01,
            rates: Rates { weight_decay: 1e-4, ..Rates::default() },
            optimizer: Rule::Sgd(Sgd::default()),
            schedule: Schedule::Cosine { min_lr: 0.0 },
            warm_up: None,
            freeze: Freeze::Nothing,
            batch_norms: BatchNorms::Live,
            loss: LossOptions::default(),
            clip_norm: None,
            ema: None,
            precision: Precision::F32,
            memory: Memory::Standard,
            channels_last: false,
            drop_rate: None,
            augment: Augment::default(),
            monitor: None,
            patience: None,
            save_every: None,
        }
    }
}

impl Recipe {
    /// Checks what no other part checks when it is made of the recipe.
    ///
    /// # Errors
    /// [`TrainError::Option`], [`TrainError::Transform`].
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("the number of epochs", Some(self.epochs)),
            ("the batch size", Some(self.batch_size)),
            ("the number of accumulated batches", Some(self.accumulate)),
            ("patience", self.patience),
            ("the number of steps between saves", self.save_every),
        ];
        for (option, value) in counts {
            if value == Some(0) {
                return Err(TrainError::Option { option, value: "0".to_string(), expected: "at least 1" });
            }
        }
        in_range("the learning rate", self.lr, 0.0..=f64::MAX, "at least 0")?;
        if let Some(norm) = self.clip_norm {
            in_range("the highest norm of gradients", norm, f64::MIN_POSITIVE..=f64::MAX, "over 0")?;
        }
        Ok(self.augment.validate()?)
    }

    /// Steps an epoch of `batches` batches has.
    pub fn steps_per_epoch(&self, batches: usize) -> usize {
        batches.div_ceil(self.accumulate.max(1))
    }
}
