//! A norm's vectors as the kernels take them.

use crate::autograd::f32_slice;
use crate::kernels::norm::Gradient;
use crate::kernels::{padded, Affine, Norm};
use tch::Tensor;

/// A norm over C channels with its statistics put in; each vector padded with zeros.
#[derive(Debug, Default)]
pub(in crate::model::fused) struct NormVectors {
    pub mean: Vec<f32>,
    pub invstd: Vec<f32>,
    /// γ·invstd.
    pub scale: Vec<f32>,
    /// β − mean·scale.
    pub shift: Vec<f32>,
}

impl NormVectors {
    /// From γ, β, mean and biased variance, \[C\] each. The same numbers give the same vectors: both passes see one ReLU.
    pub fn new(gamma: &[f32], beta: &[f32], mean: &[f32], var: &[f32], eps: f64) -> Self {
        let width = padded(gamma.len());
        let mut vectors = NormVectors {
            mean: vec![0.0; width],
            invstd: vec![0.0; width],
            scale: vec![0.0; width],
            shift: vec![0.0; width],
        };
        for c in 0..gamma.len() {
            let invstd = 1.0 / (f64::from(var[c]) + eps).sqrt();
            let scale = (f64::from(gamma[c]) * invstd) as f32;
            vectors.mean[c] = mean[c];
            vectors.invstd[c] = invstd as f32;
            vectors.scale[c] = scale;
            vectors.shift[c] = (f64::from(beta[c]) - f64::from(mean[c]) * f64::from(scale)) as f32;
        }
        vectors
    }

    /// As the forward's kernels take them.
    pub fn affine(&self) -> Affine<'_> {
        Affine { scale: &self.scale, shift: &self.shift }
    }

    /// As the backward's kernels take them.
    pub fn norm(&self) -> Norm<'_> {
        Norm { affine: self.affine(), mean: &self.mean, invstd: &self.invstd }
    }

    /// From tensors.
    pub fn from_tensors(gamma: &Tensor, beta: &Tensor, (mean, var): &(Tensor, Tensor), eps: f64) -> Self {
        Self::new(&numbers(gamma), &numbers(beta), &numbers(mean), &numbers(var), eps)
    }
}

/// A vector's numbers: as they are, or a copy where they are not in one piece.
pub(super) fn numbers(tensor: &Tensor) -> std::borrow::Cow<'_, [f32]> {
    match f32_slice(tensor) {
        Some(slice) => slice.into(),
        None => Vec::<f32>::try_from(tensor.detach().to_kind(tch::Kind::Float)).unwrap_or_default().into(),
    }
}

/// Sums as the numbers they are kept as.
pub(in crate::model::fused) fn single(sums: &[f64]) -> Vec<f32> {
    sums.iter().map(|sum| *sum as f32).collect()
}

/// The common second term of all norms that read a channel: Σ s·dβ and Σ s·invstd·dγ (s: γ·invstd), \[C\] each.
#[derive(Debug)]
pub(super) struct SecondTerm {
    beta: Vec<f64>,
    gamma: Vec<f64>,
}

/// [`Gradient`]'s vectors.
pub(in crate::model::fused) struct Terms {
    pub scale: Vec<f32>,
    pub mean: Vec<f32>,
    pub slope: Vec<f32>,
    pub offset: Vec<f32>,
}

impl Terms {
    /// As the kernels take them.
    pub fn gradient(&self) -> Gradient<'_> {
        Gradient { scale: &self.scale, mean: &self.mean, slope: &self.slope, offset: &self.offset }
    }
}

impl SecondTerm {
    pub fn new(channels: usize) -> Self {
        SecondTerm { beta: vec![0.0; channels], gamma: vec![0.0; channels] }
    }

    /// Takes in one norm's.
    pub fn add(&mut self, norm: &NormVectors, dgamma: &[f32], dbeta: &[f32]) {
        for c in 0..dgamma.len() {
            let scale = f64::from(norm.scale[c]);
            self.beta[c] += scale * f64::from(dbeta[c]);
            self.gamma[c] += scale * f64::from(norm.invstd[c]) * f64::from(dgamma[c]);
        }
    }

    /// For `count` channels from `from` on, over `rows` rows; with running statistics there is no second term.
    pub fn terms(&self, mean: &[f32], from: usize, count: usize, rows: usize, train: bool) -> Terms {
        let vector = |value: &dyn Fn(usize) -> f64| {
            let mut vector: Vec<f32> = (from..from + count).map(|c| value(c) as f32).collect();
            vector.resize(padded(count), 0.0);
            vector
        };
        let share = if train { -1.0 / rows as f64 } else { 0.0 };
        Terms {
            scale: vector(&|_| 1.0),
            mean: vector(&|c| f64::from(mean[c])),
            slope: vector(&|c| self.gamma[c] * share),
            offset: vector(&|c| self.beta[c] * share),
        }
    }
}

/// One norm's second stage: dx = a·v + (x − mean)·slope + offset.
pub(in crate::model::fused) fn second_stage(
    norm: &NormVectors,
    dgamma: &[f64],
    dbeta: &[f64],
    rows: usize,
    train: bool,
) -> Terms {
    let share = if train { -1.0 / rows as f64 } else { 0.0 };
    let vector = |value: &dyn Fn(usize) -> f64| {
        let mut vector: Vec<f32> = (0..dgamma.len()).map(|c| value(c) as f32).collect();
        vector.resize(norm.scale.len(), 0.0);
        vector
    };
    let scale = |c: usize| f64::from(norm.scale[c]) * share;
    Terms {
        scale: norm.scale.clone(),
        mean: norm.mean.clone(),
        slope: vector(&|c| scale(c) * f64::from(norm.invstd[c]) * dgamma[c]),
        offset: vector(&|c| scale(c) * dbeta[c]),
    }
}
