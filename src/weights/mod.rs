//! Weights ready to use: by file or by name, with what belongs to them.
//!
//! A checkpoint holds tensors; a [`Sidecar`] beside it says the rest (configuration, class names, transforms). Uses
//! `checkpoint`, `model` and the transforms' data.
//!
//! - [`Weights`]: the registry, torchvision's official weights and those compiled into the crate, by name.
//! - [`WeightsSource`]: what a person types for `--weights`, resolved once.
//! - [`LoadedNetwork`]: the network a source holds, filled.
//!
//! Files of official weights live where torch.hub keeps them, under its names: what PyTorch has fetched is used, and the
//! other way round. Invariant: a registry's file is used only if its SHA-256 is the official one.

mod categories;
mod digest;
#[cfg(feature = "download")]
pub mod download;
mod error;
mod progress;
mod registry;
mod sidecar;
mod source;

pub(crate) use categories::check_count;
pub use categories::imagenet_categories;
pub use error::{Result, WeightsError};
pub use progress::{Note, Progress};
pub use registry::{Accuracy, CacheState, CategoryList, Entry, FetchOptions, Weights, MIRROR, OFFLINE};
pub use sidecar::Sidecar;
pub use source::{LoadedNetwork, WeightsSource};
