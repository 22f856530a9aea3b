//! The crate's error: one variant a room, nothing of its own.

use crate::autograd::AutogradError;
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::evaluate::EvaluateError;
use crate::explain::ExplainError;
use crate::export::ExportError;
use crate::model::ModelError;
use crate::parity::ParityError;
use crate::predictor::PredictError;
use crate::report::ReportError;
use crate::runtime::RuntimeError;
use crate::train::TrainError;
use crate::transforms::TransformError;
use crate::weights::WeightsError;

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From [`crate::autograd`].
    #[error(transparent)]
    Autograd(#[from] AutogradError),
    /// From [`crate::checkpoint`].
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// From [`crate::data`].
    #[error(transparent)]
    Data(#[from] DataError),
    /// From [`crate::evaluate`].
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// From [`crate::explain`].
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// From [`crate::export`].
    #[error(transparent)]
    Export(#[from] ExportError),
    /// From [`crate::model`].
    #[error(transparent)]
    Model(#[from] ModelError),
    /// From [`crate::parity`].
    #[error(transparent)]
    Parity(#[from] ParityError),
    /// From [`crate::predictor`].
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// From [`crate::report`].
    #[error(transparent)]
    Report(#[from] ReportError),
    /// From [`crate::runtime`].
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// From [`crate::train`].
    #[error(transparent)]
    Train(#[from] TrainError),
    /// From [`crate::transforms`].
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// From [`crate::weights`].
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// `Result` with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
