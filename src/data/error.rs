//! What can go wrong in `data`.

use crate::transforms::TransformError;
use std::path::PathBuf;

/// Errors of [`crate::data`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A folder or file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A folder without a folder for each class.
    #[error("{} has no folders in it: one is needed for each class, with its pictures (root/CLASS/picture.jpg)", path.display())]
    NoClasses {
        /// The folder.
        path: PathBuf,
    },
    /// Classes without a single picture.
    #[error("{}: no pictures for {}: a picture ends in {known}; remove the folder or add some", path.display(), classes.join(", "))]
    EmptyClasses {
        /// The data set.
        path: PathBuf,
        /// Their names.
        classes: Vec<String>,
        /// What pictures end in.
        known: String,
    },
    /// One class, or none: nothing to tell apart.
    #[error("{}: {found}: at least two classes are needed to learn to tell them apart", path.display())]
    TooFewClasses {
        /// The data set.
        path: PathBuf,
        /// What there is.
        found: String,
    },
    /// Two parts of one data set that name other classes.
    #[error("{} and {} hold other classes: only the first has [{}], only the second [{}]", first.display(), second.display(), only_first.join(", "), only_second.join(", "))]
    OtherClasses {
        /// Usually the training part.
        first: PathBuf,
        /// Usually the validation part.
        second: PathBuf,
        /// Missing in the second.
        only_first: Vec<String>,
        /// Missing in the first.
        only_second: Vec<String>,
    },
    /// An idx file that is none, or is cut short.
    #[error("{}: not an idx file as MNIST's: {reason}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A line of a manifest that says nothing.
    #[error("{}, line {line}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// A share that leaves one part of a split empty.
    #[error("{}: a validation share of {share} leaves {part} without a picture of class {class} ({pictures} in all)", path.display())]
    Split {
        /// The data set.
        path: PathBuf,
        /// The share asked for.
        share: f64,
        /// `training` or `validation`.
        part: &'static str,
        /// The class.
        class: String,
        /// How many pictures it has.
        pictures: usize,
    },
    /// A folder to evaluate on that has a part to train on and no other.
    #[error(
        "{0} has a train folder and no val folder: evaluate on {0}/train if that is what you mean, or put pictures it was \
         not trained on in {0}/val", path.display()
    )]
    NoValidation {
        /// The folder.
        path: PathBuf,
    },
    /// An option out of range.
    #[error("{option} is {value}, it must be {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A picture could not be read or transformed; the words name it.
    #[error("{}", once(picture, source))]
    Picture {
        /// Path, or place in its file.
        picture: String,
        /// Why.
        #[source]
        source: Box<TransformError>,
    },
    /// No picture of a whole epoch could be read.
    #[error("none of {pictures} pictures could be read; the first: {first}")]
    AllUnreadable {
        /// How many were tried.
        pictures: usize,
        /// The first error's words.
        first: String,
    },
    /// A loader's worker ended by a panic: a defect, ours or of a transform.
    #[error("a worker of the loader panicked: {message}")]
    Worker {
        /// The panic's words.
        message: String,
    },
    /// libtorch's.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
}

/// Errors of files name them already.
fn once(picture: &str, source: &TransformError) -> String {
    let words = source.to_string();
    if words.contains(picture) {
        words
    } else {
        format!("{picture}: {words}")
    }
}

/// Result of [`crate::data`].
pub type Result<T> = std::result::Result<T, DataError>;
