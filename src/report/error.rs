//! What can go wrong in `report`.

use std::path::PathBuf;

/// Errors of [`crate::report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A page in a format that is not written.
    #[error("{} ends in none of .md, .markdown, .html and .htm", path.display())]
    Ending {
        /// The file asked for.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A picture could not be encoded.
    #[error("cannot encode a picture: {0}")]
    Encode(#[from] image::ImageError),
}

/// Result of [`crate::report`].
pub type Result<T> = std::result::Result<T, ReportError>;
