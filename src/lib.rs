//! torchvision's DenseNet on libtorch, from Rust: the same names, the same weights, the same bits.

#![deny(rustdoc::broken_intra_doc_links)]

pub mod checkpoint;
pub mod model;
pub mod runtime;
pub mod transforms;

mod error;
pub use error::{Error, Result};
pub use model::{Arch, DenseNet, DenseNetConfig};

/// The `tch` this crate is built on, for dependents that need the same version.
pub use tch;
