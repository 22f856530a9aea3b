//! What can go wrong in `checkpoint`.

use super::read_error::{Origin, ReadError};
use super::report::{Hint, LoadReport};
use tch::Kind;

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
    /// The file's tensors are not the ones wanted; the report says which.
    #[error("the weights do not fit: {0}")]
    Mismatch(Box<LoadReport>),
    /// Everything fits but the number of classes.
    #[error(
        "the file's {name} has {file} classes, the network's has {target}: build the network with {file} classes, or \
         load the backbone only (LoadOptions {{ head: Head::Skip, .. }}) and train the head"
    )]
    ClassifierSize {
        /// The classifier's weight, under the network's name.
        name: String,
        /// Its rows in the file.
        file: i64,
        /// Its rows in the network.
        target: i64,
    },
    /// Two tensors of the file end up under one name.
    #[error("the file holds {name} twice, as {first} and as {second}: remove one of them")]
    DuplicateName {
        /// torchvision's name.
        name: String,
        /// The file's name of the first.
        first: String,
        /// The file's name of the second.
        second: String,
    },
    /// The file holds several networks.
    #[error("the file holds {} networks, under {}: choose one by its prefix (--prefix)", prefixes.len(), quoted(prefixes))]
    AmbiguousPrefix {
        /// The prefixes, the one with most tensors first.
        prefixes: Vec<String>,
    },
    /// No tensor of the file lies under the prefix that was asked for.
    #[error(
        "no tensor of the file has a name that starts with {prefix:?}; networks were found under {}",
        quoted(found)
    )]
    UnknownPrefix {
        /// The prefix.
        prefix: String,
        /// The prefixes under which there are networks.
        found: Vec<String>,
    },
    /// A rename that cannot be read.
    #[error("the rename {rename:?} cannot be used: {reason}")]
    BadRename {
        /// The rename, as `PATTERN=>REPLACEMENT`.
        rename: String,
        /// What is wrong.
        reason: String,
    },
    /// A network that cannot be built here whatever its tensors are called.
    #[error("{}cannot be used, as {name} shows: {reason}", if origin.is_empty() { "the file ".to_string() } else { format!("a network of {origin} ") })]
    Refused {
        /// The tensor that shows it.
        name: String,
        /// Whose network it is; empty where anybody's may be like that.
        origin: &'static str,
        /// Why, and the way out.
        reason: &'static str,
    },
    /// The list of tensors to fill names one twice.
    #[error("the list of tensors to fill holds {name} twice")]
    DuplicateTarget {
        /// The name.
        name: String,
    },
    /// A tensor to fill cannot be written in place.
    #[error("{name} cannot be filled in place: it is {reason}")]
    TargetNotWritable {
        /// The tensor's name.
        name: String,
        /// What it is.
        reason: &'static str,
    },
    /// No conversion between a tensor's dtype and the one wanted.
    #[error("{name} is {from:?} in the file, which is not converted to {to:?}")]
    Unconvertible {
        /// The tensor's name in the file.
        name: String,
        /// Its dtype there.
        from: Kind,
        /// The dtype wanted.
        to: Kind,
    },

    // --- inferring a configuration ---
    /// The names are not a DenseNet's.
    #[error(
        "these tensors are no DenseNet's: there is no {missing}; found {} tensors{}{}",
        names.len(),
        examples(names),
        hints.iter().map(|hint| format!("; {hint}")).collect::<String>()
    )]
    NotDenseNet {
        /// The name that was looked for.
        missing: String,
        /// All names there are.
        names: Vec<String>,
        /// What they look like.
        hints: Vec<Hint>,
    },
    /// A convolution of another number of dimensions.
    #[error("{name} is {shape:?}, a {}-D convolution's weight: only networks for pictures (2-D) can be built", shape.len() as i64 - 2)]
    Dimensions {
        /// The tensor's name.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// A kernel size and norm layers that belong to no known stem.
    #[error("{name} is {shape:?}, {norm} features.norm0: neither the 7×7 stem with it, the 3×3 stem without it, nor the deep 3×3 stem")]
    UnknownStem {
        /// The first convolution's weight.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
        /// "with" or "without".
        norm: &'static str,
    },
    /// Blocks, layers or transitions are not numbered 1, 2, 3 ….
    #[error("{missing} is missing although {present} is there")]
    Gap {
        /// The module that is missing.
        missing: String,
        /// The one found in its place.
        present: String,
    },
    /// A batch norm without all of its tensors.
    #[error("{name} is missing: the network has instance or group normalization, which cannot be built here, or the file is incomplete")]
    NoBatchNorm {
        /// The tensor that is missing.
        name: String,
    },
    /// A tensor is missing that a network of this shape must have.
    #[error("{name} is missing: {because}")]
    Incomplete {
        /// The tensor that is missing.
        name: String,
        /// Why it must be there.
        because: String,
    },
    /// A shape contradicts what the tensors before it say.
    #[error("{name} is {shape:?}, expected {expected}: {because}")]
    Contradiction {
        /// The first tensor that contradicts.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
        /// The shape expected, as text ("[128, 64, 1, 1]").
        expected: String,
        /// Where the expectation comes from.
        because: String,
    },

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
    #[error("tensor {tensor} is {kind:?}, which {format} cannot hold: convert it to another dtype first")]
    UnsupportedKind {
        /// The tensor's name.
        tensor: String,
        /// Its dtype.
        kind: tch::Kind,
        /// The format.
        format: &'static str,
    },
    /// A name that the format cannot hold.
    #[error("the name {tensor:?} {problem}: rename the tensor or choose another format")]
    UnwritableName {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two tensors to write have one name.
    #[error("two of the tensors to write are called {name}: rename one of them")]
    DuplicateEntry {
        /// The name.
        name: String,
    },
    /// Numbers of a tensor are finite and would not be in the dtype asked for.
    #[error("tensor {tensor} holds {value:e}, which {kind:?} cannot: choose bf16 or f32")]
    Overflow {
        /// The tensor's name.
        tensor: String,
        /// The largest of the numbers.
        value: f64,
        /// The dtype.
        kind: tch::Kind,
    },
    /// A file whose ending names no format.
    #[error("{} ends in none of .pth, .pt, .bin, .ckpt, .safetensors and .ot: name the format", path.display())]
    UnknownEnding {
        /// The file.
        path: std::path::PathBuf,
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

impl CheckpointError {
    /// Its words with the name of the file before them, which errors of reading have already.
    pub(crate) fn in_file(&self, name: &str) -> String {
        match self {
            CheckpointError::Read { .. } => self.to_string(),
            _ => format!("{name}: {self}"),
        }
    }
}

/// `Result` of [`crate::checkpoint`].
pub type Result<T> = std::result::Result<T, CheckpointError>;

/// `"a.", "b."`, the empty prefix as `""`.
fn quoted(prefixes: &[String]) -> String {
    match prefixes {
        [] => "no prefix".to_string(),
        _ => prefixes.iter().map(|prefix| format!("{prefix:?}")).collect::<Vec<_>>().join(", "),
    }
}

/// ` (a, b, c, …)`.
fn examples(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names {
        [] => String::new(),
        _ => {
            let more = if names.len() > SHOWN { ", …" } else { "" };
            let shown: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
            format!(" ({}{more})", shown.join(", "))
        }
    }
}
