//! torchvision's DenseNet on libtorch, from Rust: the same names, the same weights, the same bits.
//!
//! - [`model`]: the network, its configurations, timm's surgery.
//! - [`checkpoint`]: state dicts in torch's formats, read without running anything in them.
//! - [`weights`]: weights by file or name, with class names and transforms.
//! - [`transforms`]: pictures to tensors, as PIL and torchvision make them.
//! - [`data`]: labelled pictures and the loader that makes batches of them.
//! - [`train`]: fine-tuning, start to finish.
//! - [`Predictor`]: all of that in one value for any number of threads.
//! - [`evaluate`]: how good a network is on labelled pictures.
//! - [`explain`]: where in a picture a network sees a class.
//! - [`export`]: TorchScript for servers that know nothing of this crate.
//! - [`parity`]: is this the network PyTorch ran?
//! - [`report`]: pages and pictures about an evaluation.
//! - [`measure`]: what a training step costs here.
//! - [`runtime`]: libtorch's devices, threads and memory.
//! - [`autograd`]: custom autograd functions for tch.
//!
//! ```
//! use densenet::tch::Device;
//! use densenet::transforms::RgbImage;
//! use densenet::Predictor;
//!
//! let predictor = Predictor::open("fashion_mnist", Device::Cpu)?;
//! let best = &predictor.predict(&[RgbImage::new(28, 28)], 1)?[0][0];
//! println!("{} {:.1} %", best.label, 100.0 * best.probability);
//! # Ok::<(), densenet::Error>(())
//! ```

#![deny(rustdoc::broken_intra_doc_links)]

pub mod autograd;
pub mod checkpoint;
pub mod data;
pub mod evaluate;
pub mod explain;
pub mod export;
pub mod kernels;
pub mod measure;
pub mod model;
pub mod parity;
pub mod predictor;
pub mod report;
pub mod runtime;
pub mod train;
pub mod transforms;
pub mod weights;

mod error;
pub use error::{Error, Result};
pub use model::{Arch, DenseNet, DenseNetConfig};
pub use predictor::Predictor;

/// The `tch` this crate is built on, for dependents that need the same version.
pub use tch;

/// Longer texts, as they stand in the repository's `docs/`.
pub mod guide {
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/checkpoints.md")]
    pub mod checkpoints {}
    #[doc = include_str!("../docs/kernels.md")]
    pub mod kernels {}
    #[doc = include_str!("../docs/security.md")]
    pub mod security {}
}

/// Runs the code in README.md as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
