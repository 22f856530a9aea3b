//! What training makes smaller.

use super::error::in_range;
use super::{Result, TrainError};
use crate::data::{Dataset, Target};
use crate::weights::Outputs;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

/// torch's default `ignore_index`.
const IGNORE_NO_CLASS: i64 = -100;

/// How classes count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// Every picture the same.
    #[default]
    Equal,
    /// Every class the same: pictures / (classes · pictures of the class). With several labels a picture, a label's
    /// presence counts as much as its absence: pictures without it / pictures with it.
    Balanced,
    /// As given, one a class.
    Given(Vec<f64>),
}

/// The loss of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct LossOptions {
    /// Probability taken from the right class and given to all, in equal parts; 0 to below 1.
    pub label_smoothing: f64,
    /// How classes count.
    pub class_weights: ClassWeights,
}

/// Cross entropy of classes, or binary cross entropy of independent labels.
#[derive(Debug)]
pub struct Loss {
    outputs: Outputs,
    label_smoothing: f64,
    weights: Option<Tensor>,
    classes: usize,
}

impl Loss {
    /// The loss for `dataset`'s targets.
    ///
    /// # Errors
    /// [`TrainError::Option`]: smoothing out of range, weights that are not one a class, none of them over 0, or not finite.
    pub fn new(options: &LossOptions, dataset: &dyn Dataset, device: Device) -> Result<Self> {
        in_range("label smoothing", options.label_smoothing, 0.0..=1.0 - f64::EPSILON, "0 to below 1")?;
        let outputs = outputs_of(dataset);
        let classes = dataset.classes().len();
        let weights = match &options.class_weights {
            ClassWeights::Equal => None,
            ClassWeights::Balanced => {
                let (pictures, counts) = (dataset.len() as f64, dataset.counts());
                let weight = |count: f64| match outputs {
                    Outputs::Classes => pictures / (classes as f64 * count),
                    Outputs::Labels => (pictures - count) / count,
                };
                Some(counts.iter().map(|count| weight(*count as f64)).collect())
            }
            ClassWeights::Given(weights) => Some(weights.clone()),
        };
        if let Some(weights) = &weights {
            let fits = weights.len() == classes
                && weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
                && weights.iter().any(|weight| *weight > 0.0);
            if !fits {
                let value = format!("{weights:?}");
                let expected = "one finite number a class, at least 0, some of them over 0";
                return Err(TrainError::Option { option: "class weights", value, expected });
            }
        }
        let weights = weights
            .map(|weights| Tensor::f_from_slice(&weights)?.f_to_kind(Kind::Float)?.f_to_device(device))
            .transpose()?;
        Ok(Loss { outputs, label_smoothing: options.label_smoothing, weights, classes })
    }

    /// Cross entropy of so many classes, all of the same weight, nothing smoothed. torch: `CrossEntropyLoss()`.
    pub fn of_classes(classes: usize) -> Self {
        Loss { outputs: Outputs::Classes, label_smoothing: 0.0, weights: None, classes }
    }

    /// The mean loss of logits [N, classes] against int64 classes \[N\], or f32 probabilities or labels [N, classes];
    /// computed in f32.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn compute(&self, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let logits = logits.f_to_kind(Kind::Float)?;
        let weights = self.weights.as_ref();
        Ok(match self.outputs {
            Outputs::Classes => logits.f_cross_entropy_loss(
                targets,
                weights,
                Reduction::Mean,
                IGNORE_NO_CLASS,
                self.label_smoothing,
            )?,
            Outputs::Labels => {
                let smoothed = match self.label_smoothing {
                    0.0 => targets.shallow_clone(),
                    s => targets.f_mul_scalar(1.0 - s)?.f_add_scalar(s / 2.0)?,
                };
                logits.f_binary_cross_entropy_with_logits(
                    &smoothed,
                    None::<&Tensor>,
                    weights,
                    Reduction::Mean,
                )?
            }
        })
    }

    /// The loss without weights and smoothing, which validation reports.
    pub fn plain(&self) -> Loss {
        Loss { outputs: self.outputs, label_smoothing: 0.0, weights: None, classes: self.classes }
    }

    /// The loss of equal probabilities: what guessing gives.
    pub fn of_guessing(&self) -> f64 {
        match self.outputs {
            Outputs::Classes => (self.classes as f64).ln(),
            Outputs::Labels => 2f64.ln(),
        }
    }

    /// What the network's outputs mean.
    pub fn outputs(&self) -> Outputs {
        self.outputs
    }
}

/// What a data set's targets make of a network's outputs.
pub(super) fn outputs_of(dataset: &dyn Dataset) -> Outputs {
    match dataset.is_empty() {
        false if matches!(dataset.target(0), Target::Labels(_)) => Outputs::Labels,
        _ => Outputs::Classes,
    }
}
