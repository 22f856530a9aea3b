//! A pass: pictures to logits.
//!
//! Pictures go through in *chunks*, smaller in the first blocks, whose maps are large, than in the later ones, whose weights
//! are: what a block works on stays in the processor's caches, each weight is read once a chunk, and the memory a pass takes
//! does not grow with the batch.

use super::parts::{Block, Layer, Network, StemPool, Transition};
use super::workspace::Workspace;
use crate::kernels::conv3x3::{self, Pictures};
use crate::kernels::norm::{self, MaxPool, Pool};
use crate::kernels::{conv1x1, padded, stem, Machine, Rows, RowsMut, Threads};
use crate::model::clock::Clock;

/// What the time went to, and in which block (from 1; the stem is 0).
pub(super) type Part = (&'static str, usize);

/// Bytes of features and bottlenecks that a chunk has at most, unless it is a single picture.
const CHUNK: usize = 8 << 20;

/// Logits of `input`'s pictures, one row after another without padding, to `logits`; pooled features where the network has
/// no classifier.
///
/// # Panics
/// Where a slice is too short, or a map shrinks to nothing.
pub(super) fn run(
    network: &Network,
    threads: &dyn Threads,
    work: &mut Workspace,
    input: stem::Input,
    logits: &mut [f32],
    clock: &mut Clock<Part>,
) {
    if input.count == 0 {
        return;
    }
    let on = Machine { level: network.level, threads };
    let stages = stages(network, input);
    work.features.resize_with(stages.len(), Default::default);
    for (stage, (block, features)) in stages.iter().zip(network.blocks.iter().zip(&mut work.features)) {
        features.take(stage.chunk * stage.pixels() * block.stride());
    }
    let mut filled = vec![0; stages.len()];
    let mut pass = Pass { network, on, work, stages: &stages, clock };
    let numbers = input.data.len() / input.count;
    let outputs = logits.len() / input.count;
    let mut done = 0;
    for start in (0..input.count).step_by(stages[0].chunk) {
        let count = stages[0].chunk.min(input.count - start);
        let last = start + count == input.count;
        pass.stem(stem::Input { data: &input.data[start * numbers..], count, ..input });
        filled[0] = count;
        for block in 0..stages.len() {
            let count = filled[block];
            if count < stages[block].chunk && !last {
                break;
            }
            filled[block] = 0;
            pass.block(block, count);
            match filled.get_mut(block + 1) {
                Some(next) => {
                    pass.transition(block, count, *next);
                    *next += count;
                }
                None => {
                    pass.head(count, &mut logits[done * outputs..][..count * outputs]);
                    done += count;
                }
            }
        }
    }
}

/// A block's maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stage {
    height: usize,
    width: usize,
    /// Pictures that go through together.
    chunk: usize,
}

impl Stage {
    fn pixels(self) -> usize {
        self.height * self.width
    }

    fn pictures(self, count: usize) -> Pictures {
        Pictures { count, height: self.height, width: self.width }
    }
}

/// The size of every block's maps, and how many pictures go through it together: a multiple of the block before.
fn stages(network: &Network, input: stem::Input) -> Vec<Stage> {
    let first = &network.stem.first;
    let halves = |size: usize| if network.stem.pool == StemPool::Nothing { size } else { size.div_ceil(2) };
    let (mut height, mut width) = (halves(first.along(input.height)), halves(first.along(input.width)));
    let mut chunk = 1;
    let mut stages = Vec::with_capacity(network.blocks.len());
    for block in &network.blocks {
        let row = block.stride() + padded(block.bottleneck());
        let fit = CHUNK / (height * width * row * size_of::<f32>()).max(1);
        chunk = (fit / chunk * chunk).clamp(chunk, input.count.next_multiple_of(chunk));
        stages.push(Stage { height, width, chunk });
        (height, width) = (height / 2, width / 2);
    }
    stages
}

struct Pass<'a> {
    network: &'a Network,
    on: Machine<'a>,
    work: &'a mut Workspace,
    stages: &'a [Stage],
    clock: &'a mut Clock<Part>,
}

impl Pass<'_> {
    /// Some pictures to the first block's first columns.
    fn stem(&mut self, input: stem::Input) {
        let (network, on, stage) = (self.network, self.on, self.stages[0]);
        let Workspace { stem: scratch, conv3, features, maps: [map, other], .. } = &mut *self.work;
        let ld = network.blocks[0].stride();
        let stem = &network.stem;
        let features = &mut features[0];
        if stem.others.is_empty() {
            let pool = stem.pool == StemPool::Max;
            let output = stem::Output { to: RowsMut::new(features, ld), relu: stem.relu, pool };
            stem::convolve(on, scratch, input, &stem.first, output);
            self.clock.lap(("stem", 0));
            return;
        }
        let (height, width) = (stem.first.along(input.height), stem.first.along(input.width));
        let pictures = Pictures { count: input.count, height, width };
        let mut channels = stem.first.outputs();
        let mut ld_map = padded(channels);
        let data = map.take(pictures.rows() * ld_map);
        let output = stem::Output { to: RowsMut::new(data, ld_map), relu: stem.relu, pool: false };
        stem::convolve(on, scratch, input, &stem.first, output);
        let mut affine: Option<&super::parts::Affine> = None;
        for (conv, norm) in &stem.others {
            let rows = Rows::new(map, ld_map);
            let input = conv3x3::Input { rows, norm: affine.map(|norm| norm.get()) };
            (channels, ld_map) = (conv.outputs, padded(conv.outputs));
            let data = other.take(pictures.rows() * ld_map);
            let output = conv3x3::Output { to: RowsMut::new(data, ld_map), at: 0, moments: None };
            conv3x3::forward(on, conv3, pictures, input, conv.packed(on, pictures), output);
            std::mem::swap(map, other);
            affine = Some(norm);
        }
        let Some(affine) = affine else { return };
        match stem.pool {
            StemPool::MaxBlur => {
                let of = stem::MaxBlur { count: input.count, height, width, channels, norm: affine.get() };
                let between = RowsMut::new(other.take(pictures.rows() * ld_map), ld_map);
                stem::max_blur(on, of, Rows::new(map, ld_map), between, RowsMut::new(features, ld));
            }
            StemPool::Max | StemPool::Nothing => {
                let pool = MaxPool { n: input.count, h: height, w: width, channels };
                let rows = Rows::new(map, ld_map);
                let to = &mut features[..input.count * stage.pixels() * ld];
                norm::max_pool(on, pool, affine.get(), rows, RowsMut::new(to, ld));
            }
        }
        self.clock.lap(("stem", 0));
    }

    /// All layers of a block.
    fn block(&mut self, index: usize, count: usize) {
        let block = &self.network.blocks[index];
        let mut channels = block.inputs;
        for layer in &block.layers {
            self.layer(index, block, layer, channels, count);
            channels += layer.conv.outputs;
        }
    }

    /// A layer's new columns, after the first `channels`.
    fn layer(&mut self, index: usize, block: &Block, layer: &Layer, channels: usize, count: usize) {
        let (on, ld) = (self.on, block.stride());
        let pictures = self.stages[index].pictures(count);
        let rows = pictures.rows();
        let Workspace { conv1, conv3, features, bottleneck: between, columns, .. } = &mut *self.work;
        let features = &mut features[index];
        let weight = layer.conv.packed(on, pictures);
        match &layer.bottleneck {
            Some(bottleneck) => {
                let width = padded(bottleneck.weight.outputs());
                let of = conv1x1::Forward {
                    rows,
                    x: Rows::new(features, ld),
                    norm: Some(layer.norm.get()),
                    weight: &bottleneck.weight,
                    bias: Some(&bottleneck.bias),
                    relu: true,
                };
                let data = between.take(rows * width);
                let to = RowsMut::new(data, width);
                conv1x1::forward(on, conv1, &of, to, None);
                self.clock.lap(("conv1", index + 1));
                let rows = Rows::new(between, width);
                let input = conv3x3::Input { rows, norm: None };
                let to = RowsMut::new(features, ld);
                let output = conv3x3::Output { to, at: channels, moments: None };
                conv3x3::forward(on, conv3, pictures, input, weight, output);
            }
            // Reads and writes the features: by way of a buffer.
            None => {
                let (growth, width) = (layer.conv.outputs, padded(layer.conv.outputs));
                let input = conv3x3::Input { rows: Rows::new(features, ld), norm: Some(layer.norm.get()) };
                let data = columns.take(rows * width);
                let output = conv3x3::Output { to: RowsMut::new(data, width), at: 0, moments: None };
                conv3x3::forward(on, conv3, pictures, input, weight, output);
                let end = padded(channels + growth);
                for (to, from) in features.chunks_exact_mut(ld).zip(columns.chunks_exact(width)) {
                    to[channels..channels + growth].copy_from_slice(&from[..growth]);
                    to[channels + growth..end].fill(0.0);
                }
            }
        }
        self.clock.lap(("conv2", index + 1));
    }

    /// A block's features to the first columns of the next one's, after `filled` pictures that are there.
    fn transition(&mut self, index: usize, count: usize, filled: usize) {
        let (block, next) = (&self.network.blocks[index], &self.network.blocks[index + 1]);
        let Some(Transition { norm, weight }) = &block.transition else { return };
        let (on, stage, stage_after) = (self.on, self.stages[index], self.stages[index + 1]);
        let (channels, ld) = (block.channels, next.stride());
        let pool = Pool { n: count, h: stage.height, w: stage.width, window: (2, 2), relu: true, channels };
        let Workspace { conv1, features, pooled, .. } = &mut *self.work;
        let (before, after) = features.split_at_mut(index + 1);
        let width = padded(channels);
        let pooled = pooled.take(pool.windows() * width);
        let from = Rows::new(&before[index], block.stride());
        norm::pool(on, pool, norm.get(), from, RowsMut::new(pooled, width));
        let of = conv1x1::Forward {
            rows: pool.windows(),
            x: Rows::new(pooled, width),
            norm: None,
            weight,
            bias: None,
            relu: false,
        };
        let data = &mut after[0][filled * stage_after.pixels() * ld..];
        conv1x1::forward(on, conv1, &of, RowsMut::new(data, ld), None);
        self.clock.lap(("transition", index + 1));
    }

    /// The last block's features to logits.
    fn head(&mut self, count: usize, logits: &mut [f32]) {
        let (network, on) = (self.network, self.on);
        let last = self.stages.len() - 1;
        let (block, stage) = (&network.blocks[last], self.stages[last]);
        let (channels, width) = (block.channels, padded(block.channels));
        let (h, w) = (stage.height, stage.width);
        let pool = Pool { n: count, h, w, window: (h, w), relu: true, channels };
        let Workspace { conv1, features, pooled, logits: padded_logits, .. } = &mut *self.work;
        let pooled = pooled.take(count * width);
        let from = Rows::new(&features[last], block.stride());
        norm::pool(on, pool, network.norm.get(), from, RowsMut::new(pooled, width));
        let (rows, ld, outputs) = match &network.classifier {
            None => (&*pooled, width, channels),
            Some(classifier) => {
                let outputs = classifier.weight.outputs();
                let stride = padded(outputs);
                let data = padded_logits.take(count * stride);
                let of = conv1x1::Forward {
                    rows: count,
                    x: Rows::new(pooled, width),
                    norm: None,
                    weight: &classifier.weight,
                    bias: Some(&classifier.bias),
                    relu: false,
                };
                conv1x1::forward(on, conv1, &of, RowsMut::new(data, stride), None);
                (&**padded_logits, stride, outputs)
            }
        };
        for (to, from) in logits.chunks_exact_mut(outputs).zip(rows.chunks_exact(ld)) {
            to.copy_from_slice(&from[..outputs]);
        }
        self.clock.lap(("head", last + 1));
    }
}
