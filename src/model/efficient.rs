//! `Memory::Efficient`: the first half of a dense layer (concat, norm1, relu1, conv1) keeps its inputs and two vectors, and
//! makes the rest again in backward. torchvision: `memory_efficient=True`.
//!
//! The forward pass is the one of `Memory::Standard`, operation by operation, and so is backward: the graph's nodes are
//! libtorch's own, whose saved tensors are forgotten and made again when they are asked for. That makes outputs,
//! gradients and second derivatives equal to the bit, down to the order of additions. What is made again never touches
//! the running statistics: it normalizes by the statistics that the forward pass found. Source: Pleiss et al. 2017,
//! *Memory-Efficient Implementation of DenseNets*.

use super::batch_norm::BatchNorm2d;
use super::error;
use crate::autograd::{batch_statistics, make_again, BoxError, Kept, Snapshot};
use std::sync::{Arc, Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// What errors call the operation.
const OPERATION: &str = "DenseLayer";

/// What a forward pass of the segment made; `activated` is relu1's output, `output` is conv1's.
pub(super) struct Forward<'a> {
    pub features: &'a [Tensor],
    pub norm: &'a BatchNorm2d,
    pub train: bool,
    pub activated: &'a Tensor,
    pub output: &'a Tensor,
}

/// Makes the graph behind a forward pass forget the concatenation and relu1's output. Without a graph, does nothing.
///
/// # Errors
/// libtorch's own.
pub(super) fn forget(forward: &Forward<'_>) -> error::Result<()> {
    if !forward.output.requires_grad() {
        return Ok(());
    }
    let segment = Arc::new(Mutex::new(Segment::of(forward)?));
    let recipe = |part: Part| {
        let segment = Arc::clone(&segment);
        move || segment.lock().unwrap_or_else(PoisonError::into_inner).get(part)
    };
    // Under autocast conv1 has a cast copy.
    let cast = forward.output.kind();
    let input = recipe(Part::ConvolutionInput);
    let input = move || Ok(input()?.f_to_kind(cast)?);
    let nodes = [
        make_again(OPERATION, forward.output, Kept::ConvolutionInput, input)?,
        make_again(OPERATION, forward.activated, Kept::ReluResult, recipe(Part::ReluResult))?,
        make_again(OPERATION, forward.activated, Kept::BatchNormInput, recipe(Part::BatchNormInput))?,
    ];
    let mut segment = segment.lock().unwrap_or_else(PoisonError::into_inner);
    segment.parts = PARTS.into_iter().zip(nodes).filter_map(|(part, kept)| kept.then_some(part)).collect();
    Ok(())
}

/// What backward asks for, in the order in which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    ConvolutionInput,
    ReluResult,
    BatchNormInput,
}

const PARTS: [Part; 3] = [Part::ConvolutionInput, Part::ReluResult, Part::BatchNormInput];

/// What the segment is made again from.
#[derive(Debug)]
struct Segment {
    features: Vec<Snapshot>,
    weight: Snapshot,
    bias: Snapshot,
    statistics: Statistics,
    eps: f64,
    /// The parts that some node asks for.
    parts: Vec<Part>,
    /// Those it will still ask for in this pass, and what they need.
    pending: Vec<Part>,
    concatenated: Option<Tensor>,
    activated: Option<Tensor>,
}

/// What norm1 normalized by, each \[C\].
#[derive(Debug)]
enum Statistics {
    /// The batch's.
    Batch { mean: Tensor, invstd: Tensor },
    /// The batch's, to be computed again.
    BatchAgain,
    /// The running ones as they were.
    Running { mean: Tensor, var: Tensor },
}

impl Segment {
    fn of(forward: &Forward<'_>) -> error::Result<Segment> {
        let norm = forward.norm;
        let statistics = if !forward.train {
            Statistics::Running {
                mean: norm.running_mean.f_detach_copy()?,
                var: norm.running_var.f_detach_copy()?,
            }
        } else if forward.activated.device() != Device::Cpu
            || !matches!(norm.weight.kind(), Kind::Float | Kind::Double)
        {
            // `normalize` is exact for the CPU's kernels with vectors in the type they calculate in. Other devices have
            // kernels for training whose roundings are not those of evaluation.
            Statistics::BatchAgain
        } else {
            match batch_statistics(forward.activated)? {
                Some([mean, invstd]) => Statistics::Batch { mean, invstd },
                None => Statistics::BatchAgain,
            }
        };
        Ok(Segment {
            features: forward.features.iter().map(Snapshot::of).collect::<Result<_, _>>()?,
            weight: Snapshot::of(&norm.weight)?,
            bias: Snapshot::of(&norm.bias)?,
            statistics,
            eps: norm.eps,
            parts: Vec::new(),
            pending: Vec::new(),
            concatenated: None,
            activated: None,
        })
    }

    /// A part, made again with the others at the first question of a pass and kept until the last that needs it.
    fn get(&mut self, part: Part) -> Result<Tensor, BoxError> {
        let is_there = |segment: &Segment| match part {
            Part::ConvolutionInput | Part::ReluResult => segment.activated.is_some(),
            Part::BatchNormInput => segment.concatenated.is_some(),
        };
        if !self.pending.contains(&part) || !is_there(self) {
            let concatenated = self.concatenate()?;
            self.activated = Some(self.activate(&concatenated)?);
            self.concatenated = Some(concatenated);
            self.pending = self.parts.clone();
        }
        let tensor = match part {
            Part::ConvolutionInput | Part::ReluResult => &self.activated,
            Part::BatchNormInput => &self.concatenated,
        };
        let tensor = tensor.as_ref().map(Tensor::shallow_clone).ok_or("a part that was just made")?;
        self.pending.retain(|&other| other != part);
        if !self.pending.contains(&Part::BatchNormInput) {
            self.concatenated = None;
        }
        if self.pending.iter().all(|&other| other == Part::BatchNormInput) {
            self.activated = None;
        }
        Ok(tensor)
    }

    fn concatenate(&self) -> Result<Tensor, BoxError> {
        let features = self.features.iter().enumerate().map(|(i, feature)| feature.get(OPERATION, i));
        Ok(Tensor::f_cat(&features.collect::<Result<Vec<_>, _>>()?, 1)?)
    }

    fn activate(&self, concatenated: &Tensor) -> Result<Tensor, BoxError> {
        let weight = self.weight.get(OPERATION, self.features.len())?;
        let bias = self.bias.get(OPERATION, self.features.len() + 1)?;
        let mut normalized = match &self.statistics {
            Statistics::Batch { mean, invstd } => normalize(concatenated, weight, bias, mean, invstd)?,
            Statistics::BatchAgain => concatenated.f_batch_norm(
                Some(weight),
                Some(bias),
                None::<&Tensor>,
                None::<&Tensor>,
                true,
                0.0,
                self.eps,
                true,
            )?,
            Statistics::Running { mean, var } => concatenated.f_batch_norm(
                Some(weight),
                Some(bias),
                Some(mean),
                Some(var),
                false,
                0.0,
                self.eps,
                true,
            )?,
        };
        Ok(normalized.f_relu_()?)
    }
}

/// Batch norm of `xs` by statistics that are known, in the roundings of a training-mode batch norm on the CPU.
///
/// libtorch's kernel computes α = invstd·γ and β' = β − mean·α, then x·α + β', in training and in evaluation; the latter
/// takes invstd from a variance. With variance 1, ε 0 and a weight of invstd·γ it computes the very same α: if the vectors
/// have the type that the kernel calculates in (f32 for half-precision `xs`), so that the weight arrives unrounded.
fn normalize(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    mean: &Tensor,
    invstd: &Tensor,
) -> Result<Tensor, tch::TchError> {
    let alpha = invstd.f_mul(weight)?;
    let ones = mean.f_ones_like()?;
    xs.f_batch_norm(Some(&alpha), Some(bias), Some(mean), Some(&ones), false, 0.0, 0.0, true)
}
