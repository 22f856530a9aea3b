//! Weights ready to use: by file or by name, with what belongs to them.
//!
//! A checkpoint holds tensors; a [`Sidecar`] beside it says the rest (configuration, class names, transforms). Uses
//! `checkpoint`, `model` and the transforms' data.
//!
//! - [`Weights`]: the registry, torchvision's official weights and those compiled into the crate, by name.
//! - [`WeightsSource`]: what a person types for `--weights`, resolved once.
//! - [`Description`]: what is known of a source's network besides its numbers.
//! - [`LoadedNetwork`]: the network, filled.
//!
//! Files of official weights live where torch.hub keeps them, under its names: what PyTorch has fetched is used, and the
//! other way round. Invariant: a registry's file is used only if its SHA-256 is the official one.

mod categories;
mod description;
mod digest;
#[cfg(feature = "download")]
pub mod download;
mod error;
mod hub;
mod options;
mod progress;
mod registry;
mod sidecar;
mod source;

pub(crate) use categories::check_count;
pub use categories::imagenet_categories;
pub use description::Description;
pub use error::{Result, WeightsError};
pub use options::{NetworkOptions, Outputs};
pub use progress::{Note, Progress};
pub use registry::{Accuracy, CacheState, CategoryList, Entry, FetchOptions, Weights, MIRROR, OFFLINE};
pub use sidecar::Sidecar;
pub use source::{LoadedNetwork, WeightsSource};
