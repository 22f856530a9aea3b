//! A prepared network's parts: numbers in the order in which the kernels read them, and nothing of libtorch's.

use crate::kernels::conv3x3::{self, Algorithm, Pass, Pictures};
use crate::kernels::{self, conv1x1, padded, spread, stem, Aligned, Level, Machine};
use std::sync::OnceLock;

/// Everything.
#[derive(Debug)]
pub(super) struct Network {
    pub level: Level,
    pub stem: Stem,
    /// At least one.
    pub blocks: Vec<Block>,
    /// `norm5`.
    pub norm: Affine,
    pub classifier: Option<Classifier>,
}

/// x·scale + shift, channel by channel; both padded with zeros.
#[derive(Debug)]
pub(super) struct Affine {
    pub scale: Aligned,
    pub shift: Aligned,
}

/// What stands before the first block.
#[derive(Debug)]
pub(super) struct Stem {
    /// With its norm folded, where it has one.
    pub first: stem::Packed,
    /// Whether a ReLU follows it.
    pub relu: bool,
    /// The deep stem's 3×3 convolutions, and the norm and ReLU after each.
    pub others: Vec<(Conv3, Affine)>,
    pub pool: StemPool,
}

/// What follows the stem's last ReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StemPool {
    Nothing,
    /// 3×3, stride 2.
    Max,
    /// 3×3, stride 1, and a blur of stride 2.
    MaxBlur,
}

/// Dense layers, and what leads to the next block.
#[derive(Debug)]
pub(super) struct Block {
    /// Channels that come in.
    pub inputs: usize,
    /// Channels of all features.
    pub channels: usize,
    pub layers: Vec<Layer>,
    /// `None` after the last block.
    pub transition: Option<Transition>,
}

/// norm1–ReLU, then a convolution or two.
#[derive(Debug)]
pub(super) struct Layer {
    pub norm: Affine,
    pub bottleneck: Option<Bottleneck>,
    pub conv: Conv3,
}

/// The 1×1 convolution with norm2 folded into it; a ReLU follows.
#[derive(Debug)]
pub(super) struct Bottleneck {
    pub weight: conv1x1::Packed,
    pub bias: Vec<f32>,
}

/// Norm–ReLU–pool, then the 1×1 convolution: it commutes with the pooling, which leaves it a quarter of the work.
#[derive(Debug)]
pub(super) struct Transition {
    pub norm: Affine,
    pub weight: conv1x1::Packed,
}

/// A linear layer.
#[derive(Debug)]
pub(super) struct Classifier {
    pub weight: conv1x1::Packed,
    pub bias: Vec<f32>,
}

impl Affine {
    /// x·scale\[c\] + shift\[c\].
    pub fn new(scale: &[f32], shift: &[f32]) -> Affine {
        let aligned = |from: &[f32]| {
            let mut to = Aligned::zeroed(padded(from.len()));
            to[..from.len()].copy_from_slice(from);
            to
        };
        Affine { scale: aligned(scale), shift: aligned(shift) }
    }

    /// As the kernels take it.
    pub fn get(&self) -> kernels::Affine<'_> {
        kernels::Affine { scale: &self.scale, shift: &self.shift }
    }
}

impl Network {
    /// Numbers a picture: the classes, or the pooled features.
    pub fn outputs(&self) -> usize {
        let features = || self.blocks.last().map_or(0, |block| block.channels);
        self.classifier.as_ref().map_or_else(features, |classifier| classifier.weight.outputs())
    }
}

impl Stem {
    /// Channels that come out.
    pub fn outputs(&self) -> usize {
        self.others.last().map_or(self.first.outputs(), |(conv, _)| conv.outputs)
    }
}

impl Block {
    /// From one row of its features to the next.
    pub fn stride(&self) -> usize {
        spread(self.channels)
    }

    /// The widest bottleneck.
    pub fn bottleneck(&self) -> usize {
        let widths = self.layers.iter().filter_map(|layer| layer.bottleneck.as_ref());
        widths.map(|bottleneck| bottleneck.weight.outputs()).max().unwrap_or(0)
    }
}

/// A 3×3 convolution. Which algorithm is best depends on the pictures, so each is packed when it is first wanted, once.
#[derive(Debug)]
pub(super) struct Conv3 {
    /// \[outputs, inputs, 3, 3\].
    weight: Vec<f32>,
    pub outputs: usize,
    pub inputs: usize,
    packed: [OnceLock<conv3x3::Packed>; Algorithm::ALL.len()],
}

impl Conv3 {
    /// From torch's weight \[outputs, inputs, 3, 3\].
    pub fn new(weight: Vec<f32>, outputs: usize, inputs: usize) -> Conv3 {
        Conv3 { weight, outputs, inputs, packed: Default::default() }
    }

    /// Packed for such pictures.
    pub fn packed(&self, on: Machine, pictures: Pictures) -> &conv3x3::Packed {
        let algorithm = Algorithm::fastest(Pass::Inference, pictures, self.inputs, self.outputs);
        let at = Algorithm::ALL.iter().position(|other| *other == algorithm).unwrap_or(0);
        self.packed[at].get_or_init(|| {
            let mut packed = conv3x3::Packed::lasting();
            packed.forward(on, algorithm, &self.weight, self.outputs, self.inputs);
            packed
        })
    }
}
