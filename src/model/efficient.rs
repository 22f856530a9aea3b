//! `Memory::Efficient`: the first half of a dense layer (concat, norm1, relu1, conv1) keeps its inputs and two vectors, and
//! makes the rest again in backward. torchvision: `memory_efficient=True`. Once a block is done its output holds the
//! features of all its layers, so that the layers keep nothing of their own.
//!
//! The forward pass is the one of `Memory::Standard`, operation by operation, and so is backward: the graph's nodes are
//! libtorch's own, whose saved tensors are forgotten and made again when they are asked for. That makes outputs,
//! gradients and second derivatives equal to the bit, down to the order of additions. What is made again never touches
//! the running statistics: it normalizes by the statistics that the forward pass found. Source: Pleiss et al. 2017,
//! *Memory-Efficient Implementation of DenseNets*.

use super::batch_norm::BatchNorm2d;
use super::error;
use crate::autograd::{batch_statistics, make_again, BoxError, Kept, Snapshot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tch::{Device, Kind, Tensor};

/// What errors call the operation.
const OPERATION: &str = "DenseLayer";
/// What their index of a changed tensor means.
const FEATURES: usize = 0;
const WEIGHT: usize = 1;
const BIAS: usize = 2;

/// What a forward pass of the segment made: the concatenation, relu1's output, conv1's.
pub(super) struct Forward<'a> {
    pub features: &'a [Tensor],
    pub norm: &'a BatchNorm2d,
    pub train: bool,
    pub concatenated: &'a Tensor,
    pub activated: &'a Tensor,
    pub output: &'a Tensor,
}

/// A segment whose graph has forgotten what it can make again.
#[derive(Debug)]
pub(super) struct Forgotten(Arc<Mutex<Segment>>);

/// Makes the graph behind a forward pass forget the concatenation and relu1's output. `None` where there is no graph.
///
/// # Errors
/// libtorch's own.
pub(super) fn forget(forward: &Forward<'_>) -> error::Result<Option<Forgotten>> {
    if !forward.output.requires_grad() {
        return Ok(None);
    }
    let segment = Arc::new(Mutex::new(Segment::of(forward)?));
    let recipe = |part: Part| {
        let segment = Arc::clone(&segment);
        move || locked(&segment).get(part)
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
    locked(&segment).parts =
        PARTS.into_iter().zip(nodes).filter_map(|(part, kept)| kept.then_some(part)).collect();
    Ok(Some(Forgotten(segment)))
}

impl Forgotten {
    /// Takes the features from the block's output, which begins with them, instead of keeping them.
    ///
    /// # Errors
    /// libtorch's own.
    pub(super) fn read_from(&self, block: &Tensor) -> error::Result<()> {
        locked(&self.0).source = Source::Block(Snapshot::of(block)?);
        Ok(())
    }
}

fn locked(segment: &Mutex<Segment>) -> MutexGuard<'_, Segment> {
    segment.lock().unwrap_or_else(PoisonError::into_inner)
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
    source: Source,
    /// Of the concatenation.
    layout: Layout,
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

/// Where the features are.
#[derive(Debug)]
enum Source {
    Features(Vec<Snapshot>),
    /// [N, C', H, W], the features first.
    Block(Snapshot),
}

#[derive(Debug)]
struct Layout {
    size: Vec<i64>,
    stride: Vec<i64>,
    options: (Kind, Device),
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
        let concatenated = forward.concatenated;
        Ok(Segment {
            source: Source::Features(forward.features.iter().map(Snapshot::of).collect::<Result<_, _>>()?),
            layout: Layout {
                size: concatenated.size(),
                stride: concatenated.stride(),
                options: (concatenated.kind(), concatenated.device()),
            },
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
        match &self.source {
            Source::Features(features) => {
                let features = features.iter().map(|feature| feature.get(OPERATION, FEATURES));
                Ok(Tensor::f_cat(&features.collect::<Result<Vec<_>, _>>()?, 1)?)
            }
            Source::Block(block) => {
                let Layout { size, stride, options } = &self.layout;
                let mut concatenated = Tensor::f_empty_strided(size, stride, *options)?;
                concatenated.f_copy_(&block.get(OPERATION, FEATURES)?.f_narrow(1, 0, size[1])?)?;
                Ok(concatenated)
            }
        }
    }

    fn activate(&self, concatenated: &Tensor) -> Result<Tensor, BoxError> {
        let weight = self.weight.get(OPERATION, WEIGHT)?;
        let bias = self.bias.get(OPERATION, BIAS)?;
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
