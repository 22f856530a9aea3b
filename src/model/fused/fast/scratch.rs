//! Memory that every layer, stage and step uses again.

use crate::model::clock::Clock;
use crate::kernels::{conv1x1, conv3x3, Aligned, Level};

/// Grows to what the largest stage needs, [M, C] once and [M, bottleneck] once or twice, and stays until the network and
/// its graphs are gone. Holds nothing between passes.
#[derive(Debug)]
pub(in crate::model::fused) struct Scratch {
    level: Level,
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

impl Scratch {
    fn new(level: Level) -> Self {
        Scratch {
            level,
            clock: Default::default(),
            conv1: Default::default(),
            conv3: Default::default(),
            packed1: conv1x1::Packed::new(level),
            packed3: Default::default(),
            g: Default::default(),
            output: Default::default(),
            v: Default::default(),
            y1: Default::default(),
            pooled: Default::default(),
            pooled_gradient: Default::default(),
            rows: Default::default(),
        }
    }

    /// For work at `level`.
    pub fn at(scratch: &mut Option<Scratch>, level: Level) -> &mut Scratch {
        if scratch.as_ref().is_some_and(|scratch| scratch.level != level) {
            *scratch = None;
        }
        scratch.get_or_insert_with(|| Scratch::new(level))
    }
}
