//! The network a state dict belongs to, read off names and shapes.
//!
//! torchvision's names ([`super::normalize`]) and the widths they imply: after layer l of a block n₀ + l·k channels,
//! after a transition ⌊θ·C⌋ ("Densely Connected Convolutional Networks", section 3). Every shape is checked against
//! what the ones before it say; the first that contradicts is the error.

use super::error::{CheckpointError, Result};
use super::nearest;
use super::normalize::Normalized;
use compression::Transition;
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod compression;

/// What names and shapes say of a network; the fields are those of [`crate::DenseNetConfig`].
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct InferredConfig {
    /// k: how many channels each dense layer adds.
    pub growth_rate: i64,
    /// Dense layers in each block.
    pub block_config: Vec<i64>,
    /// Channels that enter the first block.
    pub num_init_features: i64,
    /// Bottleneck width in multiples of `growth_rate`; `None` without bottleneck.
    pub bn_size: Option<i64>,
    /// θ: a transition puts out ⌊θ·C⌋ of its C channels; 0.5 where there is no transition to tell.
    pub compression: f64,
    /// Rows of the classifier; 0 if there is none.
    pub num_classes: i64,
    /// Channels of the input.
    pub in_channels: i64,
    /// What stands before the first block.
    pub stem: InferredStem,
}

impl InferredConfig {
    /// The published network it is, else its numbers.
    pub(super) fn describe(&self) -> String {
        let InferredConfig { growth_rate, block_config, num_init_features, .. } = self;
        let plain = self.stem == InferredStem::Imagenet && self.bn_size == Some(4) && self.compression == 0.5;
        match nearest::published(*growth_rate, block_config, *num_init_features).filter(|_| plain) {
            Some(name) => name.to_string(),
            None => format!(
                "a network of growth rate {growth_rate}, blocks {block_config:?}, {num_init_features} initial features"
            ),
        }
    }
}

/// What stands before the first block, as far as names and shapes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InferredStem {
    /// `conv0` 7×7 and `norm0`.
    Imagenet,
    /// `conv0` 3×3 without `norm0`.
    Small,
    /// `conv0`, `conv1`, `conv2`, all 3×3, each with a norm. Whether a blur follows ([`crate::model::Stem::DeepBlur`])
    /// tensors do not tell.
    Deep,
}

/// Larger widths than this are not a network's; keeps all sums far from overflow.
const MAX_CHANNELS: i64 = 1 << 20;

/// Infers the network's configuration.
///
/// Tensors that no DenseNet has are not looked at: loading them into the network reports them.
///
/// # Errors
/// [`CheckpointError::NotDenseNet`] if there is no first convolution or no dense layer;
/// [`CheckpointError::Dimensions`] for 1-D and 3-D networks; [`CheckpointError::UnknownStem`];
/// [`CheckpointError::Gap`] in the numbering; [`CheckpointError::NoBatchNorm`] and [`CheckpointError::Incomplete`] for
/// missing tensors; [`CheckpointError::Contradiction`] for the first shape that contradicts the others.
pub fn infer(file: &Normalized<'_>) -> Result<InferredConfig> {
    let shapes = Shapes::new(file);
    let conv0 = shapes.get(CONV0).ok_or_else(|| shapes.not_densenet(CONV0))?;
    if conv0.len() != 4 {
        return Err(match conv0.len() {
            3 | 5 => CheckpointError::Dimensions { name: CONV0.to_string(), shape: conv0.to_vec() },
            _ => contradiction(CONV0, conv0, "[channels, in, k, k]", "it is a convolution's weight"),
        });
    }
    let in_channels = width(CONV0, conv0, 1)?;
    let (stem, num_init_features) = infer_stem(&shapes, conv0, in_channels)?;
    let layers = shapes.layers()?;
    let block_config: Vec<i64> = layers.iter().map(|&count| count as i64).collect();
    let (growth_rate, bn_size) = infer_layer(&shapes)?;
    if stem == InferredStem::Deep && conv0[0] != growth_rate {
        let expected = [growth_rate, in_channels, 3, 3];
        let because =
            format!("the deep stem's first convolutions have the growth rate's {growth_rate} channels");
        return Err(contradiction(CONV0, conv0, &format!("{expected:?}"), &because));
    }

    let mut channels = num_init_features;
    let mut transitions = Vec::new();
    for (block, &count) in layers.iter().enumerate() {
        for layer in 0..count {
            let module = format!("features.denseblock{}.denselayer{}", block + 1, layer + 1);
            check_layer(&shapes, &module, channels, growth_rate, bn_size)?;
            channels += growth_rate;
        }
        if block + 1 < layers.len() {
            let module = format!("features.transition{}", block + 1);
            shapes.norm(&format!("{module}.norm"), channels)?;
            let name = format!("{module}.conv.weight");
            let shape = shapes.require(&name, || format!("block {} has a transition", block + 1))?;
            let out = width(&name, shape, 0)?;
            shapes.expect(&name, &[out, channels, 1, 1], || {
                format!("block {} puts out {channels} channels", block + 1)
            })?;
            transitions.push(Transition { name, input: channels, output: out });
            channels = out;
        }
    }
    shapes.norm("features.norm5", channels)?;
    Ok(InferredConfig {
        growth_rate,
        block_config,
        num_init_features,
        bn_size,
        compression: compression::infer(&transitions)?,
        num_classes: infer_classes(&shapes, channels)?,
        in_channels,
        stem,
    })
}

const CONV0: &str = "features.conv0.weight";

/// The stem's kind and the channels it puts out.
fn infer_stem(shapes: &Shapes, conv0: &[i64], in_channels: i64) -> Result<(InferredStem, i64)> {
    let first = width(CONV0, conv0, 0)?;
    let kernel = [conv0[2], conv0[3]];
    let has_norm = shapes.get("features.norm0.weight").is_some();
    let conv2 = "features.conv2.weight";
    if let Some(shape) = shapes.get(conv2).filter(|_| kernel == [3, 3]) {
        let last = width(conv2, shape, 0)?;
        let stem = || "the deep stem has three 3×3 convolutions".to_string();
        shapes.expect(CONV0, &[first, in_channels, 3, 3], stem)?;
        shapes.norm("features.norm0", first)?;
        shapes.expect("features.conv1.weight", &[first, first, 3, 3], stem)?;
        shapes.norm("features.norm1", first)?;
        shapes.expect(conv2, &[last, first, 3, 3], stem)?;
        shapes.norm("features.norm2", last)?;
        return Ok((InferredStem::Deep, last));
    }
    match (kernel, has_norm) {
        ([7, 7], true) => {
            shapes.norm("features.norm0", first)?;
            Ok((InferredStem::Imagenet, first))
        }
        ([3, 3], false) => Ok((InferredStem::Small, first)),
        // Only batch norm has all of its tensors: the 7×7 stem without them has another normalization.
        ([7, 7], false) => Err(CheckpointError::NoBatchNorm { name: "features.norm0.weight".to_string() }),
        _ => Err(CheckpointError::UnknownStem {
            name: CONV0.to_string(),
            shape: conv0.to_vec(),
            norm: if has_norm { "with" } else { "without" },
        }),
    }
}

/// Growth rate and bottleneck width, from the first layer.
fn infer_layer(shapes: &Shapes) -> Result<(i64, Option<i64>)> {
    let conv1 = "features.denseblock1.denselayer1.conv1.weight";
    let conv2 = "features.denseblock1.denselayer1.conv2.weight";
    let first = shapes.require(conv1, || "every dense layer has a convolution".to_string())?;
    let bottleneck = width(conv1, first, 0)?;
    let Some(second) = shapes.get(conv2) else {
        return Ok((bottleneck, None));
    };
    let growth = width(conv2, second, 0)?;
    if bottleneck % growth != 0 {
        let because = format!("the bottleneck must be a multiple of the growth rate, {growth}");
        return Err(contradiction(conv1, first, &format!("[n·{growth}, …]"), &because));
    }
    Ok((growth, Some(bottleneck / growth)))
}

fn check_layer(shapes: &Shapes, module: &str, input: i64, growth: i64, bn_size: Option<i64>) -> Result<()> {
    let reads = || format!("the layer reads {input} channels and every layer adds {growth}");
    shapes.norm(&format!("{module}.norm1"), input)?;
    let conv1 = format!("{module}.conv1.weight");
    let Some(bn_size) = bn_size else {
        return shapes.expect(&conv1, &[growth, input, 3, 3], reads);
    };
    let bottleneck = bn_size * growth;
    shapes.expect(&conv1, &[bottleneck, input, 1, 1], reads)?;
    shapes.norm(&format!("{module}.norm2"), bottleneck)?;
    shapes.expect(&format!("{module}.conv2.weight"), &[growth, bottleneck, 3, 3], reads)
}

fn infer_classes(shapes: &Shapes, channels: i64) -> Result<i64> {
    let (weight, bias) = ("classifier.weight", "classifier.bias");
    let Some(shape) = shapes.get(weight) else {
        return match shapes.get(bias) {
            None => Ok(0),
            Some(_) => Err(CheckpointError::Incomplete {
                name: weight.to_string(),
                because: format!("{bias} is there"),
            }),
        };
    };
    let classes = shape.first().copied().filter(|&classes| classes > 0).unwrap_or(1);
    shapes.expect(weight, &[classes, channels], || format!("features.norm5 has {channels} channels"))?;
    shapes.expect(bias, &[classes], || format!("{weight} has {classes} rows"))?;
    Ok(classes)
}

/// Dimension `index` of a shape, as a number of channels.
fn width(name: &str, shape: &[i64], index: usize) -> Result<i64> {
    match shape.get(index) {
        Some(&channels) if (1..=MAX_CHANNELS).contains(&channels) => Ok(channels),
        _ => Err(contradiction(
            name,
            shape,
            "a convolution's weight",
            &format!("dimension {index} counts channels, 1 to {MAX_CHANNELS}"),
        )),
    }
}

pub(super) fn contradiction(name: &str, shape: &[i64], expected: &str, because: &str) -> CheckpointError {
    CheckpointError::Contradiction {
        name: name.to_string(),
        shape: shape.to_vec(),
        expected: expected.to_string(),
        because: because.to_string(),
    }
}

/// Names and shapes, with the checks on them.
struct Shapes<'a>(HashMap<&'a str, &'a [i64]>);

impl<'a> Shapes<'a> {
    fn new(file: &'a Normalized<'_>) -> Self {
        Shapes(file.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.view.shape())).collect())
    }

    fn get(&self, name: &str) -> Option<&'a [i64]> {
        self.0.get(name).copied()
    }

    fn require(&self, name: &str, because: impl FnOnce() -> String) -> Result<&'a [i64]> {
        self.get(name)
            .ok_or_else(|| CheckpointError::Incomplete { name: name.to_string(), because: because() })
    }

    fn expect(&self, name: &str, expected: &[i64], because: impl Fn() -> String) -> Result<()> {
        let shape = self.require(name, &because)?;
        if shape == expected {
            return Ok(());
        }
        Err(contradiction(name, shape, &format!("{expected:?}"), &because()))
    }

    /// A batch norm's four vectors; its counter may be missing, and may have the shape \[1\] of torch 0.3's files.
    fn norm(&self, module: &str, channels: i64) -> Result<()> {
        let because = || format!("{channels} channels reach this batch norm");
        for tensor in ["weight", "bias", "running_mean", "running_var"] {
            let name = format!("{module}.{tensor}");
            if self.get(&name).is_none() {
                return Err(CheckpointError::NoBatchNorm { name });
            }
            self.expect(&name, &[channels], because)?;
        }
        let counter = format!("{module}.num_batches_tracked");
        match self.get(&counter) {
            None | Some([]) | Some([1]) => Ok(()),
            Some(shape) => Err(contradiction(&counter, shape, "[]", "it counts batches")),
        }
    }

    /// How many layers each block has. Blocks, layers and transitions are numbered from 1 without gaps.
    fn layers(&self) -> Result<Vec<usize>> {
        let mut blocks: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut transitions: BTreeSet<u32> = BTreeSet::new();
        for name in self.0.keys() {
            if let Some((block, rest)) = numbered(name, "features.denseblock") {
                blocks.entry(block).or_default().extend(numbered(rest, "denselayer").map(|(layer, _)| layer));
            }
            transitions.extend(numbered(name, "features.transition").map(|(transition, _)| transition));
        }
        let last = blocks.len();
        if last == 0 {
            return Err(self.not_densenet("features.denseblock1"));
        }
        no_gap(blocks.keys(), "features.denseblock")?;
        for (block, layers) in &blocks {
            let module = format!("features.denseblock{block}");
            if layers.is_empty() {
                return Err(CheckpointError::Gap {
                    missing: format!("{module}.denselayer1"),
                    present: module,
                });
            }
            no_gap(layers, &format!("{module}.denselayer"))?;
        }
        no_gap(&transitions, "features.transition")?;
        // One transition between any two blocks.
        let gap = |missing, present| Err(CheckpointError::Gap { missing, present });
        match transitions.len() + 1 {
            count if count < last => {
                gap(format!("features.transition{count}"), format!("features.denseblock{}", count + 1))
            }
            count if count > last => {
                gap(format!("features.denseblock{}", last + 1), format!("features.transition{last}"))
            }
            _ => Ok(blocks.values().map(BTreeSet::len).collect()),
        }
    }

    fn not_densenet(&self, missing: &str) -> CheckpointError {
        let mut names: Vec<String> = self.0.keys().map(|name| name.to_string()).collect();
        names.sort();
        let tensors: Vec<_> = self.0.iter().map(|(name, shape)| (*name, *shape)).collect();
        CheckpointError::NotDenseNet { missing: missing.to_string(), names, hints: nearest::hints(&tensors) }
    }
}

/// The number right after `module`, up to the next dot, and what follows: (12, "conv1.weight") of
/// "denselayer12.conv1.weight".
fn numbered<'a>(name: &'a str, module: &str) -> Option<(u32, &'a str)> {
    let (digits, rest) = name.strip_prefix(module)?.split_once('.')?;
    let number: u32 = digits.parse().ok()?;
    // `denselayer01` and `denselayer+1` are other names than `denselayer1`.
    (number.to_string() == digits).then_some((number, rest))
}

fn no_gap<'a>(numbers: impl IntoIterator<Item = &'a u32>, module: &str) -> Result<()> {
    for (want, &number) in (1u32..).zip(numbers) {
        if number != want {
            return Err(CheckpointError::Gap {
                missing: format!("{module}{want}"),
                present: format!("{module}{number}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
