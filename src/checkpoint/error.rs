//! What can go wrong in `checkpoint`.

/// Errors of [`crate::checkpoint`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    // --- reading a file ---

    // --- filling tensors ---

    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// `Result` of [`crate::checkpoint`].
pub type Result<T> = std::result::Result<T, CheckpointError>;
