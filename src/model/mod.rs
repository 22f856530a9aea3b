//! The network: torchvision's `densenet.py` in Rust.
//!
//! Holds the configuration ([`DenseNetConfig`], [`Arch`], [`Cifar`]), the layers as plain structs with public fields
//! under torchvision's names, and the network ([`DenseNet`]). Uses `tch` alone: it knows nothing of files.
//!
//! Every operation, and the order of operations, is torchvision's, so that on one libtorch, device, instruction set and
//! thread count logits, gradients, running statistics and updated weights are PyTorch's to the last bit.
//!
//! Source: Huang, Liu, van der Maaten, Weinberger, *Densely Connected Convolutional Networks* (CVPR 2017), and
//! `torchvision.models.densenet`.

mod batch_norm;
mod blur_pool;
mod cifar;
mod clock;
mod config;
mod dense_block;
mod dense_layer;
mod densenet;
mod efficient;
mod error;
mod fused;
pub mod inference;
mod init;
mod layers;
mod stem;
mod surgery;
mod transition;

pub use batch_norm::BatchNorm2d;
pub use cifar::{Cifar, Preset};
pub use config::{Arch, DenseNetConfig, Dropout, Memory, Stem};
pub use dense_block::DenseBlock;
pub use dense_layer::DenseLayer;
pub use densenet::{DenseNet, Features};
pub use error::{ModelError, Result};
pub use fused::Kernels;
pub use inference::{Numerics, Prepared, Threading};
pub use init::Init;
pub use layers::{channels_last, Conv2d, Linear};
pub use stem::StemLayers;
pub use surgery::FeatureInfo;
pub use transition::Transition;
