//! What can go wrong in `checkpoint`.

use super::read_error::{Origin, ReadError};

/// Errors of [`crate::checkpoint`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    // --- reading a file ---
    /// A file could not be read.
    #[error("{origin}: {reason}")]
    Read {
        /// Which file.
        origin: Origin,
        /// Why. Its words are part of this error's, so it is not its `source()`.
        reason: Box<ReadError>,
    },

    // --- filling tensors ---

    // --- writing a file ---
    /// A file could not be written; what was there before still is.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A dtype that the format has no name for.
    #[error("tensor {tensor} is {kind:?}, which safetensors cannot hold")]
    UnsupportedKind {
        /// The tensor's name.
        tensor: String,
        /// Its dtype.
        kind: tch::Kind,
    },

    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl CheckpointError {
    pub(super) fn read(origin: &Origin, reason: ReadError) -> Self {
        CheckpointError::Read { origin: origin.clone(), reason: Box::new(reason) }
    }
}

/// `Result` of [`crate::checkpoint`].
pub type Result<T> = std::result::Result<T, CheckpointError>;
