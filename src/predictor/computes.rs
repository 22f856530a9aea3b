//! What a predictor computes with: a network, or its folded weights.

use super::{PredictError, Result};
use crate::model::{DenseNet, ModelError, Numerics, Prepared, Threading};
use tch::{Device, Tensor};

/// A network that nobody else can write to, or what was made of it.
#[derive(Debug)]
pub(super) enum Computes {
    Exact(Box<DenseNet>),
    /// The network is gone: its folded weights are all that is held.
    Fused(Box<Prepared>),
}

impl Computes {
    /// As the network is set to ([`DenseNet::numerics`]), and what is to be said where that was left open and came out as
    /// exact.
    ///
    /// # Errors
    /// [`ModelError::NotFusable`] where it is set to [`Numerics::Fused`] and cannot be.
    pub fn new(mut network: DenseNet) -> Result<(Computes, Option<String>)> {
        let prepared = match network.numerics() {
            Numerics::Exact => None,
            Numerics::Fused | Numerics::Auto => Some(Prepared::new(&network)),
        };
        let note = match prepared {
            None => None,
            Some(Ok(prepared)) => return Ok((Computes::Fused(Box::new(prepared)), None)),
            Some(Err(ModelError::NotFusable { found, .. })) if network.numerics() == Numerics::Auto => {
                Some(format!("numerics auto: exact, for fused takes f32 networks on the CPU and {found}"))
            }
            Some(Err(error)) => return Err(error.into()),
        };
        network.set_numerics(Numerics::Exact);
        for (_, tensor) in network.named_tensors() {
            if tensor.requires_grad() {
                let _ = tensor.set_requires_grad(false);
            }
        }
        Ok((Computes::Exact(Box::new(network)), note))
    }

    /// See [`super::Predictor::with_threading`].
    pub fn with_threading(self, threading: Threading) -> Result<Computes> {
        match (self, threading) {
            (Computes::Fused(prepared), _) => Ok(Computes::Fused(Box::new(prepared.with_threads(threading)))),
            (exact, Threading::Latency) => Ok(exact),
            (Computes::Exact(_), Threading::Throughput) => Err(PredictError::Threading),
        }
    }

    /// The network, for what `method` does with its layers.
    pub fn network(&self, method: &'static str) -> Result<&DenseNet> {
        match self {
            Computes::Exact(network) => Ok(network),
            Computes::Fused(_) => Err(PredictError::NeedsNetwork { method }),
        }
    }

    pub fn numerics(&self) -> Numerics {
        match self {
            Computes::Exact(_) => Numerics::Exact,
            Computes::Fused(_) => Numerics::Fused,
        }
    }

    /// Inputs, moved to where the network is, to logits.
    pub fn forward(&self, inputs: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Computes::Exact(network) => network.try_forward(&inputs.f_to(network.device())?, false)?,
            Computes::Fused(prepared) => prepared.forward(&inputs.f_to(Device::Cpu)?)?,
        })
    }
}
