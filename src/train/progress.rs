//! How far a run has come: what is saved, and put back.

use super::observer::Figures;
use super::precision::GradScaler;
use super::run::{check_finite, Run};
use super::run_dir::Weights;
use super::{Result, TrainError};
use crate::autograd::updates::{generator_state, set_generator_state};
use crate::model::{DenseNetConfig, Memory};
use crate::weights::Sidecar;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tch::{no_grad, Device, Tensor};

/// Everything that changes in a run and is no tensor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Epochs done.
    pub epoch: usize,
    /// The next batch of the epoch under way.
    pub batch: usize,
    /// Steps taken.
    pub step: usize,
    /// Of the epoch under way.
    pub sums: Sums,
    /// Of the steps since the last line of the metrics.
    pub since_line: Sums,
    /// The smoothed loss, and the weight of what went into it.
    pub smooth: (f64, f64),
    /// The best epoch.
    pub best: Option<Best>,
    /// Epochs since then.
    pub without_gain: usize,
    /// Validation's last figures.
    pub validation: Option<Figures>,
    /// Bytes of the metrics that tell of this.
    pub metrics: u64,
    /// Time in training.
    pub seconds: f64,
    pub scaler: Option<GradScaler>,
    /// Updates of the mean weights.
    pub ema_updates: usize,
    /// Whether the run has come to its end.
    pub finished: bool,
    /// Whether that was before the last epoch.
    pub stopped_early: bool,
}

/// Sums over batches.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sums {
    /// Losses times pictures.
    pub loss: f64,
    pub images: usize,
    pub right: f64,
    /// Seconds.
    pub time: f64,
}

/// The best epoch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: usize,
    /// On the validation pictures.
    pub figures: Figures,
}

impl Sums {
    pub fn figures(&self) -> Figures {
        let images = self.images.max(1) as f64;
        Figures { loss: self.loss / images, accuracy: self.right / images, top5: None, images: self.images }
    }
}

const NETWORK: &str = "network.";
const OPTIMIZER: &str = "optimizer.";
const MEAN: &str = "mean.";
const CPU_GENERATOR: &str = "generator.cpu";
const DEVICE_GENERATOR: &str = "generator.device";

impl Run {
    /// Saves the last weights, then the state: whoever is stopped in between goes on from the state before.
    ///
    /// # Errors
    /// [`TrainError::WeightsNotFinite`]; [`TrainError::Checkpoint`] and [`TrainError::RunIo`] for what could not be written.
    /// Each file is then as it was.
    pub(super) fn save(&mut self) -> Result<()> {
        check_finite(self.trainer.tensors(), self.progress.step)?;
        self.write_weights(Weights::Last)?;
        self.progress.metrics = self.metrics.length;
        self.progress.scaler.clone_from(&self.trainer.scaler);
        self.progress.ema_updates = self.trainer.ema.as_ref().map_or(0, |ema| ema.updates());
        let prefixed = |prefix: &str, tensors: &[(String, Tensor)]| -> Vec<(String, Tensor)> {
            tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone())).collect()
        };
        let mut tensors = prefixed(NETWORK, self.trainer.tensors());
        tensors.extend(prefixed(OPTIMIZER, &self.trainer.optimizer.state()));
        if let Some(ema) = &self.trainer.ema {
            tensors.extend(prefixed(MEAN, ema.tensors()));
        }
        tensors.push((CPU_GENERATOR.to_string(), generator_state(Device::Cpu)?));
        if self.device != Device::Cpu {
            tensors.push((DEVICE_GENERATOR.to_string(), generator_state(self.device)?));
        }
        self.dir.write_state(&tensors, &self.progress)
    }

    /// Writes weights for others: the mean ones, if there are any.
    pub(super) fn write_weights(&mut self, which: Weights) -> Result<()> {
        let sidecar = self.sidecar();
        let dir = &self.dir;
        self.trainer.with_mean_weights(|trainer| dir.write_weights(which, trainer.tensors(), &sidecar))
    }

    fn sidecar(&self) -> Sidecar {
        let object = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
        let metrics = self.progress.validation.map(|figures| {
            let mut metrics = serde_json::json!({
                "validation_loss": figures.loss,
                "validation_accuracy": figures.accuracy,
                "validation_images": figures.images,
            });
            if let Some(top5) = figures.top5 {
                metrics["validation_top5"] = top5.into();
            }
            metrics
        });
        Sidecar {
            config: Some(DenseNetConfig { memory: Memory::Standard, ..self.plan.config.clone() }),
            categories: self.plan.categories.clone(),
            transforms: Some(self.plan.transforms.clone()),
            outputs: Some(self.plan.outputs),
            metrics: metrics.map(object).unwrap_or_default(),
            provenance: object(serde_json::json!({
                "start": self.plan.start,
                "epoch": self.progress.epoch,
                "step": self.progress.step,
                "train_images": self.data.train.len(),
                "seconds": self.progress.seconds.round(),
                "recipe": self.plan.recipe,
            })),
        }
    }

    /// Puts back what [`save`](Self::save) wrote; [`Run::progress`] has been read already.
    pub(super) fn restore(&mut self, tensors: Vec<(String, Tensor)>) -> Result<()> {
        let mut by_name: HashMap<String, Tensor> = tensors.into_iter().collect();
        let problem = |reason: String| TrainError::NotARun { path: self.dir.path().to_path_buf(), reason };
        let mut fill = |prefix: &str, targets: &[(String, Tensor)]| -> Result<()> {
            for (name, target) in targets {
                let key = format!("{prefix}{name}");
                match by_name.remove(&key) {
                    Some(tensor) if tensor.size() == target.size() => {
                        no_grad(|| target.shallow_clone().f_copy_(&tensor))?;
                    }
                    Some(_) => return Err(problem(format!("its state's {key} has another shape"))),
                    None => return Err(problem(format!("its state has no {key}"))),
                }
            }
            Ok(())
        };
        fill(NETWORK, self.trainer.tensors())?;
        if let Some(ema) = &mut self.trainer.ema {
            fill(MEAN, ema.tensors())?;
            ema.set_updates(self.progress.ema_updates);
        }
        for (key, device) in [(CPU_GENERATOR, Device::Cpu), (DEVICE_GENERATOR, self.device)] {
            match by_name.remove(key) {
                Some(state) => set_generator_state(device, &state)?,
                // A run that moves to another kind of device draws anew there.
                None if key == DEVICE_GENERATOR => {}
                None => return Err(problem(format!("its state has no {key}"))),
            }
        }
        let state: Vec<(String, Tensor)> = by_name
            .into_iter()
            .filter_map(|(key, tensor)| Some((key.strip_prefix(OPTIMIZER)?.to_string(), tensor)))
            .collect();
        self.trainer.optimizer.load_state(&state)?;
        self.trainer.scaler.clone_from(&self.progress.scaler);
        self.trainer.advance_to(self.progress.step);
        Ok(())
    }
}
