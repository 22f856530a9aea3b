//! What a stage is made of, as data: which tensors it takes, and in what order.

use crate::model::batch_norm::BatchNorm2d;
use crate::model::config::Dropout;
use crate::model::dense_block::DenseBlock;
use crate::model::transition::Transition;
use tch::{TchError, Tensor};

/// What follows the block in its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Norm, ReLU, 2×2 average pooling, then the transition's 1×1 convolution: the pooling commutes with the convolution
    /// and leaves it a quarter of the work.
    Transition,
    /// The norm alone: `norm5` where its map is asked for, and a transition whose dropout stands between the convolution
    /// and the pooling.
    Norm,
    /// `norm5`, ReLU, global average pooling: what the classifier reads.
    Pool,
}

/// A stage of one forward pass: everything about it but the parameters' values.
#[derive(Debug)]
pub(super) struct Plan {
    /// Dense layers.
    pub layers: usize,
    /// Whether a 1×1 convolution stands before each 3×3.
    pub bottleneck: bool,
    pub tail: Tail,
    /// Batch statistics, or running ones.
    pub train: bool,
    /// Whether conv1's outputs are kept for the backward pass, or computed again.
    pub keep_bottlenecks: bool,
    /// Whether the block's features are handed out too (a copy of them).
    pub tap: bool,
    /// Probability of dropping a value after a layer's last convolution; 0 for none. Only in training.
    pub drop_rate: f64,
    /// Whether the same happens after conv1.
    pub drop_bottleneck: bool,
    /// The norms' settings and buffers: each layer's `norm1`, the tail's norm, then each layer's `norm2`.
    pub norms: Vec<NormState>,
}

/// A batch norm but for its γ and β.
#[derive(Debug)]
pub(super) struct NormState {
    pub running_mean: Tensor,
    pub running_var: Tensor,
    pub num_batches_tracked: Tensor,
    pub momentum: f64,
    pub eps: f64,
}

impl NormState {
    pub fn of(norm: &BatchNorm2d) -> Self {
        NormState {
            running_mean: norm.running_mean.shallow_clone(),
            running_var: norm.running_var.shallow_clone(),
            num_batches_tracked: norm.num_batches_tracked.shallow_clone(),
            momentum: norm.momentum,
            eps: norm.eps,
        }
    }

    /// (running mean, running variance): copies, as the originals may move before the backward pass.
    pub fn running(&self) -> Result<(Tensor, Tensor), TchError> {
        Ok((self.running_mean.f_detach_copy()?, self.running_var.f_detach_copy()?))
    }
}

/// What a stage ends with, by reference.
pub(super) enum End<'a> {
    Transition(&'a Transition),
    Norm(&'a BatchNorm2d),
    Pool(&'a BatchNorm2d),
}

impl End<'_> {
    /// Its batch norm.
    pub fn norm(&self) -> &BatchNorm2d {
        match self {
            End::Transition(transition) => &transition.norm,
            End::Norm(norm) | End::Pool(norm) => norm,
        }
    }
}

/// One dense layer's parameters.
pub(super) struct LayerParameters<'a> {
    pub gamma1: &'a Tensor,
    pub beta1: &'a Tensor,
    /// \[B, C, 1, 1\]; \[k, C, 3, 3\] without a bottleneck.
    pub conv1: &'a Tensor,
    pub second: Option<SecondParameters<'a>>,
}

/// The parameters after the bottleneck.
pub(super) struct SecondParameters<'a> {
    pub gamma2: &'a Tensor,
    pub beta2: &'a Tensor,
    /// \[k, B, 3, 3\].
    pub conv2: &'a Tensor,
}

impl Plan {
    /// The plan for one forward pass of `block` and its end, and the tensors it takes: the block's input, then the
    /// parameters.
    pub fn new(
        block: &DenseBlock,
        end: End,
        xs: &Tensor,
        train: bool,
        keep_bottlenecks: bool,
        tap: bool,
    ) -> (Plan, Vec<Tensor>) {
        let norm = end.norm();
        let (tail, conv) = match &end {
            End::Transition(transition) => (Tail::Transition, Some(&transition.conv)),
            End::Norm(_) => (Tail::Norm, None),
            End::Pool(_) => (Tail::Pool, None),
        };
        let first = &block.layers[0];
        let mut inputs = vec![xs.shallow_clone()];
        let mut norms = Vec::new();
        for layer in &block.layers {
            inputs.extend(
                [&layer.norm1.weight, &layer.norm1.bias, &layer.conv1.weight].map(Tensor::shallow_clone),
            );
            if let (Some(norm2), Some(conv2)) = (&layer.norm2, &layer.conv2) {
                inputs.extend([&norm2.weight, &norm2.bias, &conv2.weight].map(Tensor::shallow_clone));
            }
            norms.push(NormState::of(&layer.norm1));
        }
        norms.push(NormState::of(norm));
        norms.extend(block.layers.iter().filter_map(|layer| layer.norm2.as_ref()).map(NormState::of));
        inputs.extend([&norm.weight, &norm.bias].map(Tensor::shallow_clone));
        inputs.extend(conv.map(|conv| conv.weight.shallow_clone()));
        let plan = Plan {
            layers: block.layers.len(),
            bottleneck: first.conv2.is_some(),
            tail,
            train: norm.uses_batch(train),
            keep_bottlenecks,
            tap,
            drop_rate: if train { first.drop_rate } else { 0.0 },
            drop_bottleneck: train && first.drop_rate > 0.0 && first.dropout == Dropout::EveryConvolution,
            norms,
        };
        (plan, inputs)
    }

    /// Whether conv1's outputs are among what is kept.
    pub fn keeps_bottlenecks(&self) -> bool {
        self.bottleneck && self.keep_bottlenecks
    }

    /// Dropout's rate after conv1 of a layer with a bottleneck.
    pub fn bottleneck_drop_rate(&self) -> f64 {
        if self.drop_bottleneck {
            self.drop_rate
        } else {
            0.0
        }
    }

    /// Parameters of one layer.
    fn per_layer(&self) -> usize {
        if self.bottleneck {
            6
        } else {
            3
        }
    }

    /// Where a layer's parameters begin among the inputs: γ1, β1, conv1, γ2, β2, conv2.
    pub fn layer_at(&self, layer: usize) -> usize {
        1 + layer * self.per_layer()
    }

    /// Where the tail's parameters begin among the inputs: γ, β, the convolution.
    pub fn tail_at(&self) -> usize {
        self.layer_at(self.layers)
    }

    /// How many inputs there are.
    pub fn inputs(&self) -> usize {
        self.tail_at() + if self.tail == Tail::Transition { 3 } else { 2 }
    }

    /// A layer's parameters; `parameters` are the inputs without the first.
    pub fn layer<'a>(&self, parameters: &'a [Tensor], layer: usize) -> LayerParameters<'a> {
        let at = self.layer_at(layer) - 1;
        let second = self.bottleneck.then(|| SecondParameters {
            gamma2: &parameters[at + 3],
            beta2: &parameters[at + 4],
            conv2: &parameters[at + 5],
        });
        LayerParameters {
            gamma1: &parameters[at],
            beta1: &parameters[at + 1],
            conv1: &parameters[at + 2],
            second,
        }
    }

    /// The tail's γ, β and convolution.
    pub fn tail_parameters<'a>(
        &self,
        parameters: &'a [Tensor],
    ) -> (&'a Tensor, &'a Tensor, Option<&'a Tensor>) {
        let at = self.tail_at() - 1;
        (&parameters[at], &parameters[at + 1], parameters.get(at + 2))
    }

    /// Where a norm stands in [`Plan::norms`].
    pub fn norm1(&self, layer: usize) -> usize {
        layer
    }

    pub fn norm_tail(&self) -> usize {
        self.layers
    }

    pub fn norm2(&self, layer: usize) -> usize {
        self.layers + 1 + layer
    }
}
