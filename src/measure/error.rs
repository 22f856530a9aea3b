//! What can go wrong in `measure`.

/// Errors of [`crate::measure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The system does not tell a process's memory, or not in the form that is read here.
    #[error("cannot read this process's memory from {from}: {reason} (measured on Linux only)")]
    Memory {
        /// The file asked.
        from: &'static str,
        /// What was wrong with it.
        reason: String,
    },
    /// A measurement of nothing.
    #[error("{what} is {value}, it must be at least 1")]
    Nothing {
        /// The option.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// The loss became infinite or NaN: what is timed then is no training.
    #[error("the loss is {loss} after step {step}: nothing measured from there on would be training")]
    Loss {
        /// Its value.
        loss: f64,
        /// Steps done, the first one counted.
        step: usize,
    },
    /// The network's.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// The predictor's: a network that cannot be fused, say.
    #[error(transparent)]
    Predict(#[from] crate::predictor::PredictError),
    /// Counting the tensors' memory failed.
    #[error(transparent)]
    Autograd(#[from] crate::autograd::AutogradError),
    /// libtorch's.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
}

/// Result of [`crate::measure`].
pub type Result<T> = std::result::Result<T, MeasureError>;
