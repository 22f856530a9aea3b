//! Is this network the one PyTorch ran? Compares with tensors that PyTorch saved.
//!
//! A reference is a file of named tensors (safetensors or any checkpoint format): `input` [N, C, H, W] and what PyTorch
//! computed from it. [`evaluation`] knows `logits` and the outputs of torchvision's modules that
//! [`DenseNet::feature_info`] names (`features.relu0`, `features.denseblock1` …, `features.norm5`); [`training_step`]
//! knows `target`, `loss`, `logits`, `grad.<key>`, and running statistics under their keys. Uses `model` and
//! `checkpoint`.

use crate::checkpoint::{CheckpointError, StateDict};
use crate::model::{DenseNet, ModelError};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use tch::{no_grad, Kind, Tensor};

/// Errors of [`crate::parity`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParityError {
    /// The reference could not be read.
    #[error("{}", source.in_file(name))]
    Reference {
        /// The file.
        name: String,
        /// Why.
        source: CheckpointError,
    },
    /// The reference lacks a tensor that is needed.
    #[error("the reference has no {missing:?}; it has {}", found.join(", "))]
    Missing {
        /// The tensor's name.
        missing: &'static str,
        /// The names there are.
        found: Vec<String>,
    },
    /// The reference holds nothing that this network computes.
    #[error("the reference holds an input, but nothing to compare with: {}", known.join(", "))]
    NothingToCompare {
        /// The names that would be compared.
        known: Vec<String>,
    },
    /// A tensor of another shape than the network's.
    #[error("{stage} is {reference:?} in the reference, {ours:?} here: the reference is of another network or input")]
    Shape {
        /// The tensor's name.
        stage: String,
        /// Its shape in the reference.
        reference: Vec<i64>,
        /// Its shape here.
        ours: Vec<i64>,
    },
    /// The network refused the input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// `Result` of [`crate::parity`].
pub type Result<T> = std::result::Result<T, ParityError>;

/// How far one tensor is from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Values that are not the same bits.
    pub differing: usize,
    /// Largest absolute difference; infinite (`null` in JSON) where one is NaN and the other is not.
    pub max_abs: f64,
    /// Largest distance in units in the last place, of f32 (f64 where both are).
    pub max_ulp: u64,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParityReport {
    /// Over all tensors compared.
    pub max_abs: f64,
    /// Over all tensors compared.
    pub max_ulp: u64,
    /// Share of pictures whose likeliest class is the reference's; `None` without `logits`.
    pub top1_agreement: Option<f64>,
    /// The first tensor, in the order of computation, that is not the same bits.
    pub first_difference: Option<String>,
    /// Every tensor compared, in the order of computation.
    pub stages: Vec<Stage>,
}

/// The tensors PyTorch saved.
pub struct Reference(HashMap<String, Tensor>);

impl Reference {
    /// Reads all tensors of a file.
    ///
    /// # Errors
    /// [`ParityError::Reference`].
    pub fn open(path: &Path) -> Result<Reference> {
        let read = || -> crate::checkpoint::Result<HashMap<String, Tensor>> {
            let dict = StateDict::open(path)?;
            dict.tensors.iter().map(|(name, view)| Ok((name.clone(), view.to_tensor()?))).collect()
        };
        read()
            .map(Reference)
            .map_err(|source| ParityError::Reference { name: path.display().to_string(), source })
    }

    /// Tensors in memory.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Reference {
        Reference(tensors.into_iter().collect())
    }

    fn need(&self, name: &'static str) -> Result<&Tensor> {
        self.0.get(name).ok_or_else(|| {
            let mut found: Vec<String> = self.0.keys().cloned().collect();
            found.sort();
            ParityError::Missing { missing: name, found }
        })
    }
}

/// Compares the network in evaluation mode with the reference, stage by stage.
///
/// # Errors
/// Any [`ParityError`].
pub fn evaluation(network: &DenseNet, reference: &Reference) -> Result<ParityReport> {
    let input = reference.need("input")?.f_to(network.device())?;
    let infos = network.feature_info();
    let all: Vec<i64> = (0..infos.len() as i64).collect();
    let (maps, logits) = no_grad(|| {
        let (features, maps) = network.forward_intermediates(&input, &all, false)?;
        Ok::<_, ModelError>((maps, network.forward_head(&features, false)?))
    })?;
    let mut ours: Vec<(String, Tensor)> = infos.into_iter().map(|info| info.module).zip(maps).collect();
    ours.push(("logits".to_string(), logits));
    compare(ours, reference)
}

/// Runs one forward and backward in training mode (cross-entropy, mean over the batch) and compares what came out of it.
///
/// The network's gradients and running statistics change.
///
/// # Errors
/// Any [`ParityError`].
pub fn training_step(network: &DenseNet, reference: &Reference) -> Result<ParityReport> {
    let input = reference.need("input")?.f_to(network.device())?;
    let target = reference.need("target")?.f_to(network.device())?;
    let logits = network.try_forward(&input, true)?;
    let loss = logits.f_cross_entropy_loss(&target, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0)?;
    loss.f_backward()?;
    let mut ours = vec![("logits".to_string(), logits), ("loss".to_string(), loss)];
    let (parameters, buffers): (Vec<_>, Vec<_>) =
        network.named_tensors().into_iter().partition(|(_, tensor)| tensor.requires_grad());
    // Statistics move in the forward pass; gradients come after, the last layer's first.
    ours.extend(buffers);
    ours.extend(parameters.into_iter().rev().map(|(key, tensor)| (format!("grad.{key}"), tensor.grad())));
    compare(ours, reference)
}

fn compare(ours: Vec<(String, Tensor)>, reference: &Reference) -> Result<ParityReport> {
    let mut stages = Vec::new();
    let mut top1_agreement = None;
    let known = ours.iter().map(|(name, _)| name.clone()).collect();
    for (name, ours) in ours {
        let Some(theirs) = reference.0.get(&name) else { continue };
        if ours.size() != theirs.size() {
            return Err(ParityError::Shape { stage: name, reference: theirs.size(), ours: ours.size() });
        }
        if name == "logits" && ours.size()[0] > 0 {
            let ours = ours.f_argmax(1, false)?.f_to(tch::Device::Cpu)?;
            let same = ours.f_eq_tensor(&theirs.f_argmax(1, false)?)?.f_to_kind(Kind::Double)?;
            top1_agreement = Some(f64::try_from(same.f_mean(Kind::Double)?)?);
        }
        stages.push(stage(name, &ours, theirs)?);
    }
    if stages.is_empty() {
        return Err(ParityError::NothingToCompare { known });
    }
    Ok(ParityReport {
        max_abs: stages.iter().map(|stage| stage.max_abs).fold(0.0, f64::max),
        max_ulp: stages.iter().map(|stage| stage.max_ulp).max().unwrap_or(0),
        top1_agreement,
        first_difference: stages.iter().find(|stage| stage.differing > 0).map(|stage| stage.name.clone()),
        stages,
    })
}

fn stage(name: String, ours: &Tensor, theirs: &Tensor) -> Result<Stage> {
    let shape = ours.size();
    let mut stage = Stage { name, shape, differing: 0, max_abs: 0.0, max_ulp: 0 };
    let wide = ours.kind() == Kind::Double && theirs.kind() == Kind::Double;
    for (a, b) in values(ours)?.into_iter().zip(values(theirs)?) {
        let (same, ulp) = if wide {
            (a.to_bits() == b.to_bits(), ordered64(a).abs_diff(ordered64(b)))
        } else {
            let (a, b) = (a as f32, b as f32);
            (a.to_bits() == b.to_bits(), ordered32(a).abs_diff(ordered32(b)).into())
        };
        if !same {
            stage.differing += 1;
            stage.max_ulp = stage.max_ulp.max(ulp);
            let distance = (a - b).abs();
            stage.max_abs = stage.max_abs.max(if distance.is_nan() { f64::INFINITY } else { distance });
        }
    }
    Ok(stage)
}

/// All values as f64 (which holds every f32 and every count exactly), row-major.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let flat = tensor.f_detach()?.f_to(tch::Device::Cpu)?.f_to_kind(Kind::Double)?.f_reshape([-1])?;
    Ok(Vec::try_from(flat)?)
}

/// Integers in the order of the floats, neighbours one apart, both zeros at 0.
fn ordered32(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if bits < 0 {
        i32::MIN.wrapping_sub(bits)
    } else {
        bits
    }
}

fn ordered64(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    if bits < 0 {
        i64::MIN.wrapping_sub(bits)
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(ours: &[f32], theirs: &[f32]) -> Stage {
        stage("x".into(), &Tensor::from_slice(ours), &Tensor::from_slice(theirs)).unwrap()
    }

    #[test]
    fn ulps_count_representable_steps() {
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        assert_eq!(between(&[1.0, 2.0], &[1.0, 2.0]).max_ulp, 0);
        assert_eq!(between(&[1.0], &[next]).max_ulp, 1);
        assert_eq!(between(&[-1.0], &[-next]).max_ulp, 1);
        let tiny = f32::from_bits(1);
        assert_eq!(between(&[tiny], &[-tiny]).max_ulp, 2);
        assert_eq!(between(&[0.0], &[-0.0]), Stage { differing: 1, ..between(&[0.0], &[0.0]) });
    }

    #[test]
    fn nan_against_a_number_is_infinitely_far_and_against_itself_equal() {
        assert_eq!(between(&[f32::NAN], &[1.0]).max_abs, f64::INFINITY);
        assert_eq!(between(&[f32::NAN], &[f32::NAN]).differing, 0);
        assert_eq!(between(&[f32::INFINITY], &[f32::INFINITY]).differing, 0);
    }
}
