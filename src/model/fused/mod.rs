//! `Memory::Fused` and `Memory::Minimal`: a dense block and what follows it as one autograd function, a *stage*.
//!
//! The block's features live in one buffer, channels last; a layer writes its columns in place, so nothing is ever
//! concatenated. A channel's batch statistics are computed once, when it is produced, and shared by every norm that reads
//! it; on the way back, what those norms hand to a channel is summed, and their common second term applied once. Kept
//! between the passes are the features and (`Fused`) conv1's outputs: memory linear in depth.
//!
//! Two paths give the same within roundings: our kernels ([`crate::kernels`]) for f32 on the CPU, plain ATen operations for
//! every other type and device ([`Kernels`]). Source: Huang et al. 2017 (the network); Pleiss et al. 2017, *Memory-Efficient
//! Implementation of DenseNets* (what need not be kept).

mod fast;
mod generic;
mod kept;
mod norm;
mod plan;
mod stage;
mod stem;

pub use stage::Kernels;

use super::batch_norm::BatchNorm2d;
use super::dense_block::DenseBlock;
use super::dense_layer::drop;
use super::densenet::Features;
use super::error::{ModelError, Result};
use super::inference::{Numerics, Prepared};
use super::layers::{channels_last, Conv2d};
use super::stem::StemLayers;
use super::transition::Transition;
use plan::{End, NormState, Plan};
use stage::Stage;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stem::StemEnd;
use tch::Tensor;

/// What the fused passes of one network share.
#[derive(Debug, Default)]
pub(super) struct Engine {
    pub kernels: Kernels,
    /// How evaluation without gradients computes.
    pub numerics: Numerics,
    /// What computes it, made at the first such pass.
    pub prepared: Mutex<Option<Arc<Prepared>>>,
    scratch: SharedScratch,
}

/// A pass holds the lock while it runs. One that finds it taken, on another thread, makes memory of its own.
type SharedScratch = Arc<Mutex<fast::Scratch>>;

/// How one pass runs.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub train: bool,
    /// Whether conv1's outputs are kept, or computed again.
    pub keep_bottlenecks: bool,
}

impl Engine {
    /// See [`super::DenseNet::fused_profile`].
    pub fn profile(&self) -> Vec<(&'static str, Duration)> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).clock.take()
    }

    /// The stem with its pooling, [N, in, H, W] to the first block's input; `None` where our kernels do not apply and
    /// ATen's operations, one by one, are to run.
    ///
    /// # Errors
    /// [`ModelError::OneValuePerChannel`], or libtorch's own.
    pub fn stem(&self, stem: &StemLayers, xs: &Tensor, train: bool) -> Result<Option<Tensor>> {
        let (Some(norm), Some(last)) = (stem.norms.last(), stem.convs.last()) else { return Ok(None) };
        let inputs = [xs, &norm.weight, &norm.bias];
        let Some(level) = self.kernels.level().filter(|_| stem.pool && !stem.blur && fast::takes(inputs))
        else {
            return Ok(None);
        };
        // A convolution with a channels-last weight keeps its input as it is.
        let (mut dense, mut weight) = (xs.shallow_clone(), channels_last(&stem.convs[0].weight)?);
        for ((conv, norm), next) in stem.convs.iter().zip(&stem.norms).zip(&stem.convs[1..]) {
            dense = norm.try_forward(&conv.try_forward_with(&dense, &weight)?, train)?.f_relu_()?;
            weight = next.weight.shallow_clone();
        }
        dense = last.try_forward_with(&dense, &weight)?;
        let train = norm.uses_batch(train);
        let (n, _, h, w) = dense.size4()?;
        if train && n * h * w == 1 {
            return Err(ModelError::OneValuePerChannel { got: dense.size() });
        }
        if !fast::takes([&dense, &norm.weight, &norm.bias]) {
            // Autocast has made another type of it.
            let map = norm.try_forward(&dense, train)?.f_relu_()?;
            return Ok(Some(stem.try_pool(&map)?));
        }
        let end = StemEnd { norm: NormState::of(norm), train, level };
        Ok(crate::autograd::apply(end, &[&dense, &norm.weight, &norm.bias])?.pop())
    }

    /// Block number `index` and what follows it: its output [N, C', H', W'], and the block's own features [N, C, H, W] if
    /// `tap` (a copy that is the caller's). After the last block comes `norm5`; with `pooled` also its ReLU and global
    /// pooling, and the output is [N, C].
    ///
    /// # Errors
    /// [`ModelError::OneValuePerChannel`], or libtorch's own.
    pub fn stage(
        &self,
        features: &Features,
        index: usize,
        xs: &Tensor,
        run: Run,
        tap: bool,
        pooled: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        // Dropout before the pooling: the two do not commute.
        let dropped = |transition: &Transition| run.train && transition.drop_rate > 0.0;
        let transition = features.transitions.get(index);
        let end = match transition {
            Some(transition) if dropped(transition) => End::Norm(&transition.norm),
            Some(transition) => End::Transition(transition),
            None if pooled => End::Pool(&features.norm5),
            None => End::Norm(&features.norm5),
        };
        check(&features.blocks[index], end.norm(), transition)?;
        let (n, _, h, w) = xs.size4()?;
        if end.norm().uses_batch(run.train) && n * h * w == 1 {
            return Err(ModelError::OneValuePerChannel { got: xs.size() });
        }
        let (plan, inputs) =
            Plan::new(&features.blocks[index], end, xs, run.train, run.keep_bottlenecks, tap);
        let mut outputs =
            crate::autograd::apply(Stage::new(plan, &inputs, self.kernels, &self.scratch), &inputs)?
                .into_iter();
        let mut output = outputs.next().unwrap_or_default();
        if let Some(transition) = transition.filter(|transition| dropped(transition)) {
            let dense = transition.conv.try_forward(&output.f_relu_()?)?;
            output = drop(dense, transition.drop_rate, true)?.f_avg_pool2d(
                [2, 2],
                [2, 2],
                [0, 0],
                false,
                true,
                None,
            )?;
        }
        Ok((output, outputs.next()))
    }
}

/// Refuses what a stage does not compute: layers whose public fields were changed into something that differs from layer to
/// layer, or into another convolution.
fn check(block: &DenseBlock, end: &BatchNorm2d, transition: Option<&Transition>) -> Result<()> {
    let refuse = |reason: &str| {
        let reason = format!("{reason}: use Memory::Standard for such a network");
        Err(ModelError::config("memory", "Fused or Minimal", reason))
    };
    let plain = |conv: &Conv2d, padding: i64| conv.stride == 1 && conv.padding == padding;
    let Some(first) = block.layers.first() else { return refuse("needs a layer in every block") };
    for layer in &block.layers {
        let same = layer.drop_rate == first.drop_rate
            && layer.dropout == first.dropout
            && layer.conv2.is_some() == first.conv2.is_some()
            && layer.norm2.is_some() == layer.conv2.is_some();
        if !same {
            return refuse("needs layers of one kind and one dropout in a block");
        }
        if [Some(&layer.norm1), layer.norm2.as_ref()]
            .into_iter()
            .flatten()
            .any(|norm| norm.frozen != end.frozen)
        {
            return refuse(
                "needs the batch norms of a block and of what follows it frozen together or not at all",
            );
        }
        let convolutions = match &layer.conv2 {
            Some(conv2) => plain(&layer.conv1, 0) && plain(conv2, 1),
            None => plain(&layer.conv1, 1),
        };
        if !convolutions {
            return refuse("needs convolutions of stride 1 that keep height and width");
        }
    }
    match transition {
        Some(transition) if !plain(&transition.conv, 0) => {
            refuse("needs a transition's convolution as it was built")
        }
        _ => Ok(()),
    }
}
