//! What can go wrong in `model`.

use crate::autograd::AutogradError;
use tch::{Device, Kind, TchError};

/// Errors of [`crate::model`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A configuration that no DenseNet can be built from.
    #[error("DenseNet configuration: {field} is {value}, {reason}")]
    Config {
        /// The field of [`crate::DenseNetConfig`].
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it must be.
        reason: String,
    },
    /// A name that is no architecture.
    #[error("no architecture is called {name:?}; known: {known}")]
    UnknownArch {
        /// The name as given.
        name: String,
        /// The names there are.
        known: &'static str,
    },
    /// A name that is no stem.
    #[error("no stem is called {name:?}; known: {known}")]
    UnknownStem {
        /// The name as given.
        name: String,
        /// The names there are.
        known: &'static str,
    },
    /// A name that is no [`Numerics`](super::Numerics).
    #[error("no numerics are called {name:?}; known: {known}")]
    UnknownNumerics {
        /// The name as given.
        name: String,
        /// The names there are.
        known: &'static str,
    },
    /// A network that [`Prepared`](super::Prepared) cannot take over.
    #[error("Numerics::Fused takes f32 networks on the CPU with their layers as they were built, and {found}: {todo}, or use Numerics::Exact (Numerics::Auto chooses it by itself)")]
    NotFusable {
        /// What is otherwise.
        found: String,
        /// What would help.
        todo: &'static str,
    },
    /// An input tensor of the wrong rank, channel count or size.
    #[error("input is {got:?}, this network takes [N, {channels}, H, W], H and W at least {min}")]
    InputShape {
        /// The input's shape.
        got: Vec<i64>,
        /// The channels the network was built for.
        channels: i64,
        /// The smallest height and width that leave a pixel for every pooling.
        min: i64,
    },
    /// An input tensor of another dtype than the parameters.
    #[error("input is {got:?}, the network's parameters are {expected:?}: convert the input with to_kind({expected:?})")]
    InputKind {
        /// The input's dtype.
        got: Kind,
        /// The parameters' dtype.
        expected: Kind,
    },
    /// An input tensor on another device than the parameters.
    #[error("input is on {got:?}, the network's parameters are on {expected:?}: move the input with to_device({expected:?})")]
    InputDevice {
        /// The input's device.
        got: Device,
        /// The parameters' device.
        expected: Device,
    },
    /// Batch statistics of a single value: PyTorch refuses the same.
    #[error("expected more than 1 value per channel when training, got a batch norm input of {got:?}: use a larger batch or picture, or evaluation mode")]
    OneValuePerChannel {
        /// The shape that reached a batch norm.
        got: Vec<i64>,
    },
    /// The path already holds a tensor of that name (tch would silently store `name__N`).
    #[error("{key} already exists in this VarStore: build the network under another path")]
    KeyTaken {
        /// The full key.
        key: String,
    },
    /// The `VarStore` given is not the one the network's tensors are in.
    #[error("this VarStore does not hold the network's {key}: pass the one the network was built in")]
    ForeignVarStore {
        /// The key that was looked for.
        key: String,
    },
    /// An index past the network's feature maps.
    #[error("feature index {index}: this network has {count} feature maps, 0 to {} (or -{count} to -1)", count - 1)]
    FeatureIndex {
        /// The index as given.
        index: i64,
        /// How many feature maps there are.
        count: usize,
    },
    /// A custom autograd function failed.
    #[error(transparent)]
    Autograd(#[from] AutogradError),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

impl ModelError {
    pub(crate) fn config(field: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        ModelError::Config { field, value: value.to_string(), reason: reason.into() }
    }
}

/// `Result` of [`crate::model`].
pub type Result<T> = std::result::Result<T, ModelError>;
