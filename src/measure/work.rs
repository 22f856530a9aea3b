//! How much a forward pass computes, from the network's layers.

use crate::model::Conv2d;
use crate::DenseNet;

/// Multiplications (each with its addition) of the convolutions and the classifier for one picture of `size` (height,
/// width): what torchvision's metadata calls GFLOPS, times 10⁹. An operation count has twice as many.
// tests/it/registry.rs compares it with torchvision's `_ops`.
pub fn multiply_adds(network: &DenseNet, size: [i64; 2]) -> i64 {
    let (stem, mut count, mut size) = (&network.features.stem, 0, size);
    for layer in &stem.convs {
        count += conv(layer, &mut size);
    }
    if stem.pool {
        size = size.map(|side| (side - 1) / 2 + 1);
    }
    for (index, block) in network.features.blocks.iter().enumerate() {
        for layer in &block.layers {
            count += conv(&layer.conv1, &mut size);
            count += layer.conv2.as_ref().map_or(0, |layer| conv(layer, &mut size));
        }
        if let Some(transition) = network.features.transitions.get(index) {
            count += conv(&transition.conv, &mut size);
            size = size.map(|side| side / 2);
        }
    }
    count + network.classifier.as_ref().map_or(0, |layer| layer.weight.numel() as i64)
}

/// Of one convolution; `size` becomes its output's.
fn conv(layer: &Conv2d, size: &mut [i64; 2]) -> i64 {
    let kernel = layer.weight.size().last().copied().unwrap_or(1);
    *size = size.map(|side| (side + 2 * layer.padding - kernel) / layer.stride.max(1) + 1);
    layer.weight.numel() as i64 * size[0] * size[1]
}
