//! What can go wrong in `evaluate`.

use crate::data::DataError;
use crate::predictor::PredictError;
use crate::transforms::TransformError;
use std::path::PathBuf;

/// Errors of [`crate::evaluate`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// Nothing to evaluate on.
    #[error("{} holds no pictures", path.display())]
    Empty {
        /// The data set.
        path: PathBuf,
    },
    /// Pictures with several labels for a network that tells classes apart.
    #[error(
        "{}: its pictures have several labels, but of this network's outputs one is true (a softmax): \
         train one with --multi-label, or list one label a picture", path.display()
    )]
    SeveralLabels {
        /// The data set.
        path: PathBuf,
    },
    /// Classes of the data set that the network does not know.
    #[error(
        "{}: the network has no output called {}; it has {known}", path.display(), missing.join(", ")
    )]
    UnknownClasses {
        /// The data set.
        path: PathBuf,
        /// Their names, a few of them.
        missing: Vec<String>,
        /// The network's own, a few of them.
        known: String,
    },
    /// Another number of classes, and no names to go by.
    #[error(
        "{} has {found} classes, the network {outputs} outputs, and their names do not tell which is which: give the \
         weights a sidecar (NAME.json) with categories", path.display()
    )]
    ClassCount {
        /// The data set.
        path: PathBuf,
        /// Its classes.
        found: usize,
        /// The network's outputs.
        outputs: i64,
    },
    /// A class whose name two outputs have.
    #[error("{}: two outputs of the network are called {class:?}: rename one in the sidecar's categories", path.display())]
    AmbiguousClass {
        /// The data set.
        path: PathBuf,
        /// The name.
        class: String,
    },
    /// The network's answer is no number.
    #[error("{image}: the network's outputs are infinite or no numbers: its weights are damaged, or training diverged")]
    NotFinite {
        /// The picture.
        image: String,
    },
    /// Reading pictures failed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The transforms make no sense.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// The network refused its input.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// Result of [`crate::evaluate`].
pub type Result<T> = std::result::Result<T, EvaluateError>;
