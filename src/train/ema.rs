//! A running mean of the weights.

use super::error::in_range;
use super::Result;
use crate::autograd::updates;
use serde::{Deserialize, Serialize};
use tch::{no_grad, Kind, Tensor};

/// How the mean is taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaOptions {
    /// The mean's weight against the newest weights, 0 to 1.
    pub decay: f64,
    /// Begin with less: min(decay, (1 + n)/(10 + n)) at update n, so that short runs have a mean too.
    pub warm_up: bool,
}

/// An exponential moving average of a network's tensors. torch: `swa_utils.AveragedModel` with `get_ema_multi_avg_fn` and
/// `use_buffers=True`: floating-point tensors are averaged, running statistics too; counters are copied.
#[derive(Debug)]
pub struct Ema {
    options: EmaOptions,
    mean: Vec<(String, Tensor)>,
    updates: usize,
}

impl Ema {
    /// A mean of the tensors as they are, which the first update replaces.
    ///
    /// # Errors
    /// [`TrainError::Option`](super::TrainError::Option) for a decay that is none; libtorch's own.
    pub fn new(options: EmaOptions, tensors: &[(String, Tensor)]) -> Result<Self> {
        in_range("the decay of the mean weights", options.decay, 0.0..=1.0, "0 to 1")?;
        let copy = |(name, tensor): &(String, Tensor)| -> Result<(String, Tensor)> {
            Ok((name.clone(), no_grad(|| tensor.f_detach_copy())?))
        };
        Ok(Ema { options, mean: tensors.iter().map(copy).collect::<Result<_>>()?, updates: 0 })
    }

    /// Takes in the tensors as they are now: those it was made with, in the same order.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn update(&mut self, tensors: &[(String, Tensor)]) -> Result<()> {
        let number = self.updates as f64;
        let decay = match self.options.warm_up {
            true => self.options.decay.min((1.0 + number) / (10.0 + number)),
            false => self.options.decay,
        };
        let (mut means, mut newest) = (Vec::new(), Vec::new());
        for ((_, mean), (_, tensor)) in self.mean.iter_mut().zip(tensors) {
            if self.updates == 0 || mean.kind() == Kind::Int64 {
                no_grad(|| mean.f_copy_(&tensor.detach()))?;
            } else {
                means.push(mean.shallow_clone());
                newest.push(tensor.f_detach()?);
            }
        }
        updates::lerp(&means, &newest, 1.0 - decay)?;
        self.updates += 1;
        Ok(())
    }

    /// Exchanges the mean and the network's tensors: once to use the mean, once more to go on training.
    pub fn swap(&mut self, tensors: &[(String, Tensor)]) {
        for ((_, mean), (_, tensor)) in self.mean.iter_mut().zip(tensors) {
            let (ours, theirs) = (mean.detach(), tensor.detach());
            mean.set_data(&theirs);
            tensor.shallow_clone().set_data(&ours);
        }
    }

    /// The mean.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.mean
    }

    /// Updates so far.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// Says how many updates the tensors hold that were put into [`tensors`](Self::tensors).
    pub(super) fn set_updates(&mut self, updates: usize) {
        self.updates = updates;
    }
}
