//! What can go wrong in `weights`.

use crate::checkpoint::CheckpointError;
use crate::model::{ModelError, Stem};
use std::path::PathBuf;

/// Errors of [`crate::weights`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Neither a file nor a name there are weights for.
    #[error(
        "no weights are called {name:?} and no file has that name; weights that come with the crate: {known}"
    )]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Weights that a network of another shape was wanted from.
    #[error("{name} holds {found}, not the {wanted} that was asked for")]
    OtherArch {
        /// Which weights.
        name: String,
        /// What they are of.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A checkpoint could not be read, or its tensors make no network.
    #[error("{}", source.in_file(name))]
    Checkpoint {
        /// Which weights.
        name: String,
        /// Why.
        source: CheckpointError,
    },
    /// A network could not be built from what a checkpoint or sidecar says.
    #[error("{name}: {source}")]
    Model {
        /// Which weights.
        name: String,
        /// Why.
        source: ModelError,
    },
    /// A sidecar that is there could not be read.
    #[error("{}: {source}", path.display())]
    SidecarIo {
        /// The sidecar.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A sidecar that is no sidecar.
    #[error("{} is not a sidecar of weights: {source}; mend it, or move it away if it is something else", path.display())]
    SidecarJson {
        /// The sidecar.
        path: PathBuf,
        /// The parser's words, with line and column.
        source: serde_json::Error,
    },
    /// A list of class names of another length than the classifier.
    #[error("{name} has {categories} class names for {classes} classes")]
    CategoryCount {
        /// Whose names.
        name: String,
        /// How many names.
        categories: usize,
        /// How many outputs the network has.
        classes: i64,
    },
    /// Weights without a classifier, where one is needed.
    #[error(
        "{name} has no classifier (a backbone of {features} features): it cannot name classes{}",
        if notes.is_empty() { String::new() } else { format!("; {}", notes.join("; ")) }
    )]
    NoClassifier {
        /// Which weights.
        name: String,
        /// The width of its features.
        features: i64,
        /// What is known about such files.
        notes: Vec<String>,
    },
    /// A deep stem, of which no tensor says how it pools.
    #[error(
        "{name} has a deep stem, and no tensor tells whether it pools by maximum (deep) or blurs (deep_blur, timm's \
         densenetblur121d): say --stem deep or --stem deep_blur, or put timm's config.json or a sidecar beside it"
    )]
    UnknownStem {
        /// Which weights.
        name: String,
    },
    /// A stem was asked for that the tensors contradict.
    #[error("{name} has tensors of another stem than {asked}: {possible}")]
    OtherStem {
        /// Which weights.
        name: String,
        /// The stem asked for.
        asked: Stem,
        /// What the tensors allow.
        possible: String,
    },
}

/// `Result` of [`crate::weights`].
pub type Result<T> = std::result::Result<T, WeightsError>;
