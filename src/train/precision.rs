//! Half types: where operations gain from them, and how gradients stay numbers.

use super::{Result, TrainError};
use crate::autograd::{updates, with_autocast};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// What a forward pass computes in. Weights, gradients and the loss are f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// bfloat16 where it pays (`torch.autocast`), on CUDA and on CPUs that have it.
    Bf16,
    /// f16 where it pays, with the loss scaled so that small gradients do not vanish; CUDA alone.
    F16,
}

impl Precision {
    /// Refuses a type that the device has not.
    ///
    /// # Errors
    /// [`TrainError::Option`].
    pub fn check(self, device: Device) -> Result<()> {
        match (self, device) {
            (Precision::F16, Device::Cuda(_)) | (Precision::F32, _) => Ok(()),
            (Precision::Bf16, Device::Cuda(_) | Device::Cpu) => Ok(()),
            (precision, device) => Err(TrainError::Option {
                option: "the precision",
                value: format!("{precision:?} on {device:?}"),
                expected: "f32 or bf16 on the CPU, f32, bf16 or f16 on CUDA",
            }),
        }
    }

    /// Runs a forward pass in it.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn run<T>(self, device: Device, body: impl FnOnce() -> T) -> Result<T> {
        let kind = match self {
            Precision::F32 => return Ok(body()),
            Precision::Bf16 => Kind::BFloat16,
            Precision::F16 => Kind::Half,
        };
        Ok(with_autocast(device, kind, body)?)
    }
}

/// Scales the loss, so that gradients keep within f16, and finds the largest scale that works. torch:
/// `torch.amp.GradScaler` with its defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradScaler {
    scale: f64,
    /// Updates without an infinity since the scale last changed.
    good: u32,
}

impl Default for GradScaler {
    /// A scale of 65536.
    fn default() -> Self {
        GradScaler { scale: 65536.0, good: 0 }
    }
}

impl GradScaler {
    const GROWTH_INTERVAL: u32 = 2000;

    /// The scale of the next loss.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Takes the scale out of the gradients; whether all of them are finite, and the step is to be taken.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn unscale(&self, gradients: &[Tensor]) -> Result<bool> {
        Ok(updates::unscale(gradients, self.scale)?)
    }

    /// Halves the scale after gradients that were not finite; doubles it after 2000 that were.
    pub fn update(&mut self, finite: bool) {
        if !finite {
            self.scale *= 0.5;
            self.good = 0;
            return;
        }
        self.good += 1;
        if self.good == Self::GROWTH_INTERVAL {
            self.good = 0;
            // As torch: no further where f32 ends.
            if (self.scale * 2.0) as f32 != f32::INFINITY {
                self.scale *= 2.0;
            }
        }
    }
}
