//! Networks for programs that know nothing of this crate: TorchScript, for `torch::jit::load` in C++, `torch.jit.load` in
//! Python and Triton's PyTorch backend.
//!
//! Not traced but written: a trace through `tch` would hold every weight as a constant, which `to()` neither moves nor
//! converts; and nothing of a trace says that it holds for other sizes. Here the modules of the network become modules of
//! the file, under torchvision's names, and the code of their classes is the operations of `model` in evaluation mode,
//! word for word. Uses `model` and `checkpoint`.
#![doc = ""]
#![doc = include_str!("../../docs/deploy.md")]

mod network;
mod source;

use crate::checkpoint::{self, CheckpointError};
use crate::model::{DenseNet, ModelError};
use std::path::Path;
use tch::{no_grad, CModule, Kind, Tensor};

/// Errors of [`crate::export`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file could not be written, or a number does not fit the dtype.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The network could not be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device cannot run the network in the dtype asked for, so what was written could not be tried.
    #[error(
        "{device:?} does not run this network in {kind:?} ({reason}): export it in f32, or where a GPU is"
    )]
    Kind {
        /// Where it was tried.
        device: tch::Device,
        /// The dtype.
        kind: Kind,
        /// libtorch's words.
        reason: String,
    },
    /// What was written computes something else than the network. Nothing was left under the name.
    #[error(
        "the exported module's logits are off by {distance:e} where {allowed:e} is the most that rounding explains: \
         please report this with the weights' configuration"
    )]
    Differs {
        /// Largest absolute difference.
        distance: f64,
        /// Largest difference accepted.
        allowed: f64,
    },
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// `Result` of [`crate::export`].
pub type Result<T> = std::result::Result<T, ExportError>;

/// Differences to f32 that rounding explains, relative to the largest logit: f16 has 11 bits, bf16 8, and errors of the
/// layers add up.
const ALLOWED: [(Kind, f64); 3] = [(Kind::Float, 1e-3), (Kind::Half, 5e-2), (Kind::BFloat16, 3e-1)];

/// How to export.
#[derive(Debug, Clone)]
pub struct ScriptOptions<'a> {
    /// The dtype of the weights and of inputs and outputs: f32, f16 or bf16.
    pub kind: Kind,
    /// Files that travel inside the archive, by name; `torch.jit.load(_extra_files=…)` reads them.
    pub extra_files: Vec<(&'a str, Vec<u8>)>,
}

impl Default for ScriptOptions<'_> {
    fn default() -> Self {
        ScriptOptions { kind: Kind::Float, extra_files: Vec::new() }
    }
}

/// Writes the network as a TorchScript module in evaluation mode: `forward(input)` takes [N, in_channels, H, W] of any N
/// and of any H and W that the network takes, and gives logits [N, num_classes] (pooled features [N, C] without a head).
///
/// Parameters are parameters and buffers are buffers, under torchvision's names, none requiring gradients, all on the CPU;
/// `load` and `to` move them. Before the file takes its place it is loaded on the network's device and must give the
/// network's own logits. Returns how far they are apart: 0 in f32 on a CPU.
///
/// # Errors
/// Any [`ExportError`]; then nothing was left under `path`, and what was there still is.
pub fn torchscript(network: &DenseNet, path: &Path, options: &ScriptOptions) -> Result<f64> {
    let exported = network::module(network, options.kind);
    let extra: Vec<(&str, &[u8])> =
        options.extra_files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let mut written = checkpoint::begin_script(path, &exported.root, &[exported.source], &extra)?;
    let distance = check(network, written.temporary()?, options.kind)?;
    written.commit()?;
    Ok(distance)
}

/// The largest difference between the file's logits and the network's, of some random pictures.
fn check(network: &DenseNet, path: &Path, kind: Kind) -> Result<f64> {
    let device = network.device();
    // Twice: the second size is one that the first call could not have been specialized to.
    let sizes = [network.config.min_input_size(), network.config.min_input_size() + 35];
    let module = CModule::load_on_device(path, device)?;
    let allowed = ALLOWED.iter().find(|(known, _)| *known == kind).map_or(0.0, |(_, allowed)| *allowed);
    let mut distance = 0f64;
    for size in sizes {
        let numel = 2 * network.config.in_channels * size * size;
        // Not from the generator, whose state is the caller's.
        let input = (Tensor::f_arange(numel, (Kind::Float, device))? * 0.7).f_sin()?.f_reshape([
            2,
            network.config.in_channels,
            size,
            size,
        ])?;
        let (ours, theirs) = no_grad(|| -> Result<(Tensor, Tensor)> {
            let ours = network.try_forward(&input.f_to_kind(network.features.norm5.weight.kind())?, false)?;
            let theirs = module.forward_ts(&[input.f_to_kind(kind)?]).map_err(|error| match kind {
                Kind::Float => ExportError::Torch(error),
                _ => ExportError::Kind { device, kind, reason: first_line(&error.to_string()) },
            })?;
            Ok((ours.f_to_kind(Kind::Double)?, theirs.f_to_kind(Kind::Double)?))
        })?;
        let apart = f64::try_from((&ours - theirs).f_abs()?.f_max()?)?;
        let most = allowed * f64::try_from(ours.f_abs()?.f_max()?)?;
        // Written so that NaN, which no honest weights give, passes only where the network gives it too.
        if apart > most || apart.is_nan() {
            return Err(ExportError::Differs { distance: apart, allowed: most });
        }
        distance = distance.max(apart);
    }
    Ok(distance)
}

fn first_line(words: &str) -> String {
    words.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_string()
}
