//! Networks whose blocks put a layer's new features before the older ones: the channels of everything that reads a
//! block's features, in torchvision's order.
//!
//! Block input of n₀ channels, growth k. What the m-th layer has left behind is [out_m … out_1, x₀] in such a network,
//! [x₀, out_1 … out_m] in torchvision. So torchvision's channel c < n₀ is theirs at m·k + c, and n₀ + (i−1)·k + j is
//! theirs at (m−i)·k + j.

use super::error::Result;
use super::infer::contradiction;
use super::normalize::NormalizedTensor;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Permutes what has to be permuted. Names are torchvision's already; shapes that make no block are an error.
pub(super) fn newest_first(tensors: &mut [NormalizedTensor]) -> Result<()> {
    let shapes: HashMap<String, Vec<i64>> =
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor.view.shape().to_vec())).collect();
    let size =
        |name: String, dimension: usize| shapes.get(&name).and_then(|shape| shape.get(dimension)).copied();
    let blocks = (1..)
        .take_while(|block| {
            shapes.contains_key(&format!("features.denseblock{block}.denselayer1.norm1.weight"))
        })
        .count();
    let mut orders: HashMap<(usize, i64), Arc<[i64]>> = HashMap::new();
    for tensor in tensors {
        let Some((block, dimension)) = reads(&tensor.name, blocks) else { continue };
        let layer = format!("features.denseblock{block}.denselayer1");
        let first = size(format!("{layer}.norm1.weight"), 0);
        let growth =
            size(format!("{layer}.conv2.weight"), 0).or_else(|| size(format!("{layer}.conv1.weight"), 0));
        let shape = tensor.view.shape();
        let (Some(first), Some(growth), Some(&width)) = (first, growth, shape.get(dimension)) else {
            continue;
        };
        if growth < 1 || first < 0 || width < first || (width - first) % growth != 0 {
            let expected = format!("{first} + n·{growth} in dimension {dimension}");
            return Err(contradiction(
                &tensor.name,
                shape,
                &expected,
                "so many channels make a block's features",
            ));
        }
        let order = orders.entry((block, width)).or_insert_with(|| order(first, growth, width));
        tensor.view = Cow::Owned(tensor.view.reordered(dimension as i64, order.clone()));
    }
    Ok(())
}

/// Which block's features a tensor belongs to, and in which of its dimensions.
fn reads(name: &str, blocks: usize) -> Option<(usize, usize)> {
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| (1..=blocks).contains(number));
    let leaf = |module: &str| ["weight", "bias", "running_mean", "running_var"].contains(&module);
    if name == "classifier.weight" {
        return Some((blocks, 1)).filter(|_| blocks > 0);
    }
    let parts: Vec<&str> = name.strip_prefix("features.")?.split('.').collect();
    match parts[..] {
        [block, _layer, "norm1", last] if leaf(last) => Some((number(block.strip_prefix("denseblock")?)?, 0)),
        [block, _layer, "conv1", "weight"] => Some((number(block.strip_prefix("denseblock")?)?, 1)),
        [transition, "norm", last] if leaf(last) => {
            Some((number(transition.strip_prefix("transition")?)?, 0))
        }
        [transition, "conv", "weight"] => Some((number(transition.strip_prefix("transition")?)?, 1)),
        ["norm5", last] if leaf(last) => Some((blocks, 0)).filter(|_| blocks > 0),
        _ => None,
    }
}

/// torchvision's order of `width` channels.
fn order(first: i64, growth: i64, width: i64) -> Arc<[i64]> {
    let layers = (width - first) / growth;
    let older = (0..first).map(|channel| layers * growth + channel);
    let newer = (1..=layers).flat_map(|layer| (0..growth).map(move |j| (layers - layer) * growth + j));
    older.chain(newer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_channels_come_first_and_each_layers_stay_together() {
        assert_eq!(*order(3, 2, 3), [0, 1, 2]);
        assert_eq!(*order(3, 2, 5), [2, 3, 4, 0, 1]);
        assert_eq!(*order(3, 2, 9), [6, 7, 8, 4, 5, 2, 3, 0, 1]);
    }

    #[test]
    fn what_reads_a_blocks_features_is_known_by_name() {
        for (name, want) in [
            ("features.conv0.weight", None),
            ("features.denseblock2.denselayer7.norm1.running_var", Some((2, 0))),
            ("features.denseblock2.denselayer7.norm1.num_batches_tracked", None),
            ("features.denseblock2.denselayer7.conv1.weight", Some((2, 1))),
            ("features.denseblock2.denselayer7.norm2.weight", None),
            ("features.denseblock2.denselayer7.conv2.weight", None),
            ("features.transition1.norm.bias", Some((1, 0))),
            ("features.transition1.conv.weight", Some((1, 1))),
            ("features.norm5.weight", Some((2, 0))),
            ("features.denseblock9.denselayer1.norm1.weight", None),
            ("classifier.weight", Some((2, 1))),
            ("classifier.bias", None),
        ] {
            assert_eq!(reads(name, 2), want, "{name}");
        }
    }
}
