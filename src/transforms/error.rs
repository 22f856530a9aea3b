//! What can go wrong in `transforms`.

use super::augment::{Augment, Region};
use image::{ImageError, ImageFormat};
use std::fmt;
use std::path::PathBuf;

/// Where a picture came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Bytes the caller held.
    Memory,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Memory => write!(f, "picture in memory"),
        }
    }
}

/// Errors of [`crate::transforms`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file is larger than any picture this crate reads.
    #[error("{}: more than {limit} bytes: too large to be read as a picture", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes read of one file.
        limit: u64,
    },
    /// The bytes start like no picture format.
    #[error("{picture}: not a picture (known: BMP, GIF, JPEG, PNG, PNM, TIFF, WebP)")]
    NotAPicture {
        /// Where it came from.
        picture: Origin,
    },
    /// A picture in a format or with a kind of pixel that is not read.
    #[error("{picture}: {what}: convert the picture to PNG or JPEG")]
    Unsupported {
        /// Where it came from.
        picture: Origin,
        /// What is not supported: the format, or the decoder's words.
        what: String,
    },
    /// The file ends before the picture does.
    #[error("{picture}: truncated {format:?}: {reason}")]
    Truncated {
        /// Where it came from.
        picture: Origin,
        /// The format its first bytes name.
        format: ImageFormat,
        /// What was missing.
        reason: String,
    },
    /// The decoder refused the picture.
    #[error("{picture}: cannot decode this {format:?}: {source}")]
    Decode {
        /// Where it came from.
        picture: Origin,
        /// The format its first bytes name.
        format: ImageFormat,
        /// The decoder's words.
        source: ImageError,
    },
    /// The picture's header asks for more pixels than allowed; nothing was allocated for them.
    #[error("{picture}: {width}x{height} pixels are more than the {limit} allowed")]
    TooManyPixels {
        /// Where it came from.
        picture: Origin,
        /// As the header says.
        width: u32,
        /// As the header says.
        height: u32,
        /// [`DecodeOptions::max_pixels`](super::DecodeOptions::max_pixels).
        limit: u64,
    },
    /// A resize or crop that would make too large a picture.
    #[error("a picture of {width}x{height} is more than the {} pixels a transform makes", super::MAX_PIXELS)]
    TooLarge {
        /// The width asked for.
        width: u32,
        /// The height asked for.
        height: u32,
    },
    /// A resize from or to a picture without pixels.
    #[error("cannot resize {}x{} pixels to {}x{}", from.0, from.1, to.0, to.1)]
    EmptyPicture {
        /// Width and height before.
        from: (u32, u32),
        /// Width and height after.
        to: (u32, u32),
    },
    /// A preset with a field that makes no sense.
    #[error("preprocessing: {field} is {value}, {reason}")]
    Preset {
        /// The field of [`ImageClassification`](super::ImageClassification).
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it must be.
        reason: String,
    },
    /// A step of an augmentation recipe with a number that makes no sense.
    #[error("augmentation: {step}: {field} is {value}, {reason}")]
    Augmentation {
        /// The step, as it is called in a recipe's JSON.
        step: &'static str,
        /// Its field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
    /// No recipe has this name.
    #[error("no augmentation is called {name:?}; there are {}", augmentations())]
    UnknownAugmentation {
        /// What was asked for.
        name: String,
    },
    /// A part that does not lie within its picture.
    #[error(
        "the part of {}x{} pixels at column {} and row {} does not lie within the picture of {}x{}",
        region.width, region.height, region.left, region.top, picture.0, picture.1
    )]
    OutsidePicture {
        /// The part.
        region: Region,
        /// Width and height.
        picture: (u32, u32),
    },
    /// Pictures of different sizes cannot be one batch.
    #[error("a batch of tensors of different shapes: number {index} is {got:?}, the first is {first:?}")]
    UnequalShapes {
        /// Which tensor differs.
        index: usize,
        /// Its shape.
        got: Vec<i64>,
        /// The first one's shape.
        first: Vec<i64>,
    },
    /// A batch of nothing.
    #[error("a batch needs at least one picture")]
    EmptyBatch,
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// `Result` of [`crate::transforms`].
pub type Result<T> = std::result::Result<T, TransformError>;

fn augmentations() -> String {
    Augment::NAMES.map(|(name, what)| format!("{name} ({what})")).join(", ")
}
