//! Weights ready to use: by file or by name, with what belongs to them.
//!
//! A checkpoint holds tensors; a [`Sidecar`] beside it says the rest (configuration, class names, transforms). Uses
//! `checkpoint`, `model` and the transforms' data.
//!
//! - [`WeightsSource`]: what a person types for `--weights`, resolved once.
//! - [`Description`]: what is known of a source's network besides its numbers.
//! - [`LoadedNetwork`]: the network, filled.
//! - [`Embedded`]: the weights compiled into the crate.

mod categories;
mod description;
mod embedded;
mod error;
mod hub;
mod options;
mod sidecar;
mod source;

pub(crate) use categories::check_count;
pub use categories::{imagenet_categories, official_file};
pub use description::Description;
pub use embedded::Embedded;
pub use error::{Result, WeightsError};
pub use options::{NetworkOptions, Outputs};
pub use sidecar::Sidecar;
pub use source::{LoadedNetwork, WeightsSource};
