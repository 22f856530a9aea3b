//! What can go wrong in `parity`.

use crate::checkpoint::CheckpointError;
use crate::model::ModelError;
use crate::report::ReportError;
use crate::transforms::TransformError;

/// Errors of [`crate::parity`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParityError {
    /// The reference could not be read.
    #[error("{}", source.in_file(name))]
    Reference {
        /// The file.
        name: String,
        /// Why.
        source: CheckpointError,
    },
    /// The reference lacks a tensor that is needed.
    #[error("the reference has no {missing:?}; it has {}", found.join(", "))]
    Missing {
        /// The tensor's name.
        missing: &'static str,
        /// The names there are.
        found: Vec<String>,
    },
    /// The reference holds nothing that this network computes.
    #[error("the reference holds an input, but nothing to compare with: {}", known.join(", "))]
    NothingToCompare {
        /// The names that would be compared.
        known: Vec<String>,
    },
    /// A tensor of another shape than the network's.
    #[error("{stage} is {reference:?} in the reference, {ours:?} here: the reference is of another network or input")]
    Shape {
        /// The tensor's name.
        stage: String,
        /// Its shape in the reference.
        reference: Vec<i64>,
        /// Its shape here.
        ours: Vec<i64>,
    },
    /// A tensor of the picture's way that is not what the name promises.
    #[error("the reference's {name:?} is {found}, expected {expected}")]
    Picture {
        /// The tensor's name.
        name: &'static str,
        /// Its dtype and shape.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The picture could not be decoded or transformed.
    #[error("the reference's picture: {0}")]
    Transform(#[from] TransformError),
    /// A report could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The network refused the input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// `Result` of [`crate::parity`].
pub type Result<T> = std::result::Result<T, ParityError>;
