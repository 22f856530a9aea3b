//! What can go wrong in `weights`.

use super::registry::Weights;
use crate::checkpoint::CheckpointError;
use crate::model::{ModelError, Stem};
use std::path::PathBuf;

/// Errors of [`crate::weights`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Neither a file nor a name there are weights for.
    #[error(
        "no weights are called {name:?} and no file has that name; there are, the nearest first: {nearest}"
    )]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The names there are, the nearest first.
        nearest: String,
    },
    /// A tag, such as `imagenet1k_v1`, without the architecture that completes it.
    #[error("{tag} is half a name: say densenet121.{tag}, or give --arch where the command takes it")]
    TagAlone {
        /// The tag.
        tag: String,
    },
    /// Weights that are not in the cache and may not be downloaded.
    #[error("{weights} is not in the cache and {reason}: fetch {} by other means and put it at {}", weights.url().unwrap_or_default(), path.display())]
    NotCached {
        /// Which weights.
        weights: Weights,
        /// Where the file belongs.
        path: PathBuf,
        /// Why they are not downloaded.
        reason: &'static str,
    },
    /// A file in the cache has the right name and other content, and no other may be downloaded.
    #[error("{} is not {weights}: its SHA-256 begins {found}, not {expected}; {reason}: put {} there by other means", path.display(), weights.url().unwrap_or_default())]
    DamagedCache {
        /// Which weights.
        weights: Weights,
        /// The file.
        path: PathBuf,
        /// How its SHA-256 should begin.
        expected: &'static str,
        /// How it begins.
        found: String,
        /// Why it is not downloaded.
        reason: &'static str,
    },
    /// A file in the cache could not be read.
    #[error("cannot read {} in the cache: {source}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Nobody says where downloaded weights are kept.
    #[error(
        "no folder for downloaded weights: TORCH_HOME, XDG_CACHE_HOME and HOME are not set; set one of them"
    )]
    NoCacheFolder,
    /// A download failed.
    #[cfg(feature = "download")]
    #[error("cannot fetch {weights}: {source}; a file fetched by other means belongs at {}", path.display())]
    Download {
        /// Which weights.
        weights: Weights,
        /// Where the file belongs.
        path: PathBuf,
        /// Why.
        source: super::download::DownloadError,
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
