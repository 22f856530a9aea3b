//! Memory that every layer, stage and step uses again.

use crate::kernels::{conv1x1, conv3x3, Aligned};
use crate::model::clock::Clock;

/// Grows to what the largest stage needs, [M, C] once and [M, bottleneck] once or twice, and stays until the network and
/// its graphs are gone. Holds nothing between passes.
#[derive(Debug, Default)]
pub(in crate::model::fused) struct Scratch {
    pub clock: Clock,
    pub conv1: conv1x1::Scratch,
    pub conv3: conv3x3::Scratch,
    pub packed1: conv1x1::Packed,
    pub packed3: conv3x3::Packed,
    /// What the norms that read the features hand back, summed: [M, C].
    pub g: Aligned,
    /// The gradient of a layer's output, [M, k].
    pub output: Aligned,
    /// The gradient of norm2's output, [M, B].
    pub v: Aligned,
    /// conv1's outputs where they are not kept, [M, B].
    pub y1: Aligned,
    /// The tail's pooled input.
    pub pooled: Aligned,
    /// Its gradient.
    pub pooled_gradient: Aligned,
    /// A gradient or an output whose rows are padded here and nowhere else.
    pub rows: Aligned,
}
