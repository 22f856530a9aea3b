//! Labelled pictures: folders, idx files, lists; and the loader that makes batches of them on other threads.
//!
//! - [`Dataset`]: pictures by index, with their [`Target`]s and the names of the classes.
//! - [`ImageFolder`]: as torchvision's. [`Idx`]: MNIST's files. [`Manifest`]: CSV and JSON lines.
//! - [`Subset`] and [`split`]: parts of a data set.
//! - [`Pipeline`]: from a picture to a network's input; [`plain`] for evaluation, [`augmented`] for training.
//! - [`Loader`]: batches in an order that only seed and epoch decide.
//!
//! May use `transforms` and tch. Invariant: what a batch holds depends on the data set, the options and (seed, epoch,
//! batch number) alone, never on the number of workers or their timing.

mod dataset;
mod error;
mod folder;
mod idx;
mod loader;
mod manifest;
mod open;
mod pipeline;
mod subset;

pub(crate) use dataset::same_classes;
pub use dataset::{Dataset, Target};
pub use error::{DataError, Result};
pub use folder::{ImageFolder, IMG_EXTENSIONS};
pub use idx::Idx;
pub use loader::{Batch, Epoch, Loader, LoaderOptions, OnUnreadable, Skipped};
pub use manifest::Manifest;
pub use open::open_evaluation;
pub use pipeline::{augmented, plain, ten_crops, Pipeline};
pub use subset::{split, Subset};
