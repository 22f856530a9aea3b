//! From a network's tensors to [`parts`](super::parts).

use super::parts::{
    Affine, Block, Bottleneck, Classifier, Conv3, Layer, Network, Stem, StemPool, Transition,
};
use crate::kernels::{conv1x1, stem, Level, Machine};
use crate::model::batch_norm::BatchNorm2d;
use crate::model::dense_layer::DenseLayer;
use crate::model::densenet::DenseNet;
use crate::model::error::{ModelError, Result};
use crate::model::layers::Conv2d;
use crate::model::stem::StemLayers;
use crate::model::transition;
use tch::{Device, Kind, Tensor};

/// Folds and packs all of it. Everything folded is computed in f64 and rounded once.
///
/// # Errors
/// [`ModelError::NotFusable`], or libtorch's own.
pub(super) fn prepare(network: &DenseNet, on: Machine) -> Result<Network> {
    let tensors = network.named_tensors();
    let weights = tensors.iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    for (name, tensor) in weights {
        if tensor.device() != Device::Cpu {
            let found = format!("{name} is on {:?}", tensor.device());
            return refuse(found, "move it with VarStore::set_device(Device::Cpu)");
        }
        if tensor.kind() != Kind::Float {
            let found = format!("{name} is {:?}", tensor.kind());
            return refuse(found, "convert it with VarStore::float()");
        }
    }
    let features = &network.features;
    if features.blocks.is_empty() || features.blocks.len() != features.transitions.len() + 1 {
        return changed("the blocks".to_string(), "a transition between any two blocks");
    }
    let stem = stem(&features.stem, on.level)?;
    let mut channels = stem.outputs();
    let mut blocks = Vec::new();
    for (index, block) in features.blocks.iter().enumerate() {
        let inputs = channels;
        let mut layers = Vec::new();
        for (layer_index, layer) in block.layers.iter().enumerate() {
            let name = format!("denseblock{}.denselayer{}", index + 1, layer_index + 1);
            layers.push(dense_layer(layer, channels, &name, on)?);
            channels += layers.last().map_or(0, |layer| layer.conv.outputs);
        }
        let transition = features.transitions.get(index);
        let name = format!("transition{}", index + 1);
        let transition = transition.map(|of| prepare_transition(of, channels, &name, on)).transpose()?;
        let (all, next) = (channels, transition.as_ref().map(|of| of.weight.outputs()));
        channels = next.unwrap_or(channels);
        blocks.push(Block { inputs, channels: all, layers, transition });
    }
    let norm = affine(&features.norm5, channels, "norm5")?;
    let classifier = network.classifier.as_ref().map(|linear| {
        let (outputs, inputs) = linear.weight.size2()?;
        if inputs != channels as i64 || linear.bias.size() != [outputs] {
            return changed("classifier".to_string(), "a weight and a bias for the last block's channels");
        }
        let mut weight = conv1x1::Packed::default();
        weight.pack(on, &numbers(&linear.weight)?, outputs as usize, channels);
        Ok(Classifier { weight, bias: numbers(&linear.bias)? })
    });
    Ok(Network { level: on.level, stem, blocks, norm, classifier: classifier.transpose()? })
}

fn refuse<T>(found: String, todo: &'static str) -> Result<T> {
    Err(ModelError::NotFusable { found, todo })
}

/// Refuses a layer whose fields were changed into something else.
fn changed<T>(name: String, wanted: &str) -> Result<T> {
    refuse(format!("{name} is not {wanted}"), "build the network from its configuration")
}

/// A tensor's numbers in torch's order, whatever its memory format.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    let flat = tensor.f_detach()?.f_contiguous()?.f_reshape([-1])?;
    Ok(Vec::try_from(&flat)?)
}

/// γ/√(var + ε) and β − mean·γ/√(var + ε).
fn scale_and_shift(norm: &BatchNorm2d, channels: usize, name: &str) -> Result<Vec<(f64, f64)>> {
    let tensors = [&norm.weight, &norm.bias, &norm.running_mean, &norm.running_var];
    if tensors.iter().any(|tensor| tensor.size() != [channels as i64]) {
        return changed(name.to_string(), &format!("a norm of {channels} channels"));
    }
    let [gamma, beta, mean, var] = tensors.map(numbers);
    let (gamma, beta, mean, var) = (gamma?, beta?, mean?, var?);
    let each = (0..channels).map(|c| {
        let scale = f64::from(gamma[c]) / (f64::from(var[c]) + norm.eps).sqrt();
        (scale, f64::from(beta[c]) - f64::from(mean[c]) * scale)
    });
    Ok(each.collect())
}

fn affine(norm: &BatchNorm2d, channels: usize, name: &str) -> Result<Affine> {
    let both = scale_and_shift(norm, channels, name)?;
    let (scale, shift): (Vec<f32>, Vec<f32>) =
        both.into_iter().map(|(scale, shift)| (scale as f32, shift as f32)).unzip();
    Ok(Affine::new(&scale, &shift))
}

/// A convolution's weight with the norm after it folded in, and the bias that is left of the norm.
fn folded(weight: &[f32], norm: &BatchNorm2d, outputs: usize, name: &str) -> Result<(Vec<f32>, Vec<f32>)> {
    let both = scale_and_shift(norm, outputs, name)?;
    let rows = weight.chunks_exact((weight.len() / outputs.max(1)).max(1));
    let weight = rows
        .zip(&both)
        .flat_map(|(row, (scale, _))| row.iter().map(move |weight| (f64::from(*weight) * scale) as f32));
    Ok((weight.collect(), both.iter().map(|(_, shift)| *shift as f32).collect()))
}

/// A square convolution with "same" padding: (weight, outputs, inputs, kernel).
fn conv(
    conv: &Conv2d,
    kernel: Option<i64>,
    stride: &[i64],
    name: &str,
) -> Result<(Vec<f32>, usize, usize, usize)> {
    let (outputs, inputs, height, width) = conv.weight.size4()?;
    let square = height == width && height % 2 == 1 && kernel.is_none_or(|kernel| kernel == height);
    if !square || conv.padding != height / 2 || !stride.contains(&conv.stride) || outputs * inputs == 0 {
        let kernel = kernel.map_or("an odd".to_string(), |kernel| format!("a {kernel}×{kernel}"));
        return changed(name.to_string(), &format!("{kernel} convolution that pads to the same size"));
    }
    Ok((numbers(&conv.weight)?, outputs as usize, inputs as usize, height as usize))
}

fn conv3(of: &Conv2d, channels: usize, name: &str) -> Result<Conv3> {
    let (weight, outputs, inputs, _) = conv(of, Some(3), &[1], name)?;
    if inputs != channels {
        return changed(name.to_string(), &format!("a convolution of {channels} channels"));
    }
    Ok(Conv3::new(weight, outputs, inputs))
}

fn stem(of: &StemLayers, level: Level) -> Result<Stem> {
    let plain = of.norms.is_empty() && of.convs.len() == 1 && !of.pool;
    if !plain && (of.norms.len() != of.convs.len() || !of.pool) {
        return changed("the stem".to_string(), "one of DenseNetConfig's stems");
    }
    let Some(first) = of.convs.first() else { return changed("the stem".to_string(), "a convolution") };
    let (weight, outputs, inputs, kernel) = conv(first, None, &[1, 2], "conv0")?;
    let (weight, bias) = match of.norms.first() {
        Some(norm) => folded(&weight, norm, outputs, "norm0")?,
        None => (weight, vec![0.0; outputs]),
    };
    let mut channels = outputs;
    let mut others = Vec::new();
    for (index, (conv, norm)) in of.convs.iter().zip(&of.norms).enumerate().skip(1) {
        let conv = conv3(conv, channels, &format!("conv{index}"))?;
        channels = conv.outputs;
        others.push((conv, affine(norm, channels, &format!("norm{index}"))?));
    }
    let pool = match (of.pool, of.blur) {
        (false, _) => StemPool::Nothing,
        (true, false) => StemPool::Max,
        (true, true) => StemPool::MaxBlur,
    };
    if pool == StemPool::MaxBlur && others.is_empty() {
        return changed("the stem".to_string(), "one of DenseNetConfig's stems");
    }
    let first = stem::Packed::new(level, &weight, &bias, inputs, kernel, first.stride as usize);
    Ok(Stem { first, relu: !plain, others, pool })
}

fn dense_layer(of: &DenseLayer, channels: usize, name: &str, on: Machine) -> Result<Layer> {
    let norm = affine(&of.norm1, channels, &format!("{name}.norm1"))?;
    let (Some(norm2), Some(conv2)) = (&of.norm2, &of.conv2) else {
        return Ok(Layer {
            norm,
            bottleneck: None,
            conv: conv3(&of.conv1, channels, &format!("{name}.conv1"))?,
        });
    };
    let (weight, outputs) = conv1(&of.conv1, channels, &format!("{name}.conv1"))?;
    let (weight, bias) = folded(&weight, norm2, outputs, &format!("{name}.norm2"))?;
    let mut packed = conv1x1::Packed::default();
    packed.pack(on, &weight, outputs, channels);
    let conv = conv3(conv2, outputs, &format!("{name}.conv2"))?;
    Ok(Layer { norm, bottleneck: Some(Bottleneck { weight: packed, bias }), conv })
}

fn conv1(of: &Conv2d, channels: usize, name: &str) -> Result<(Vec<f32>, usize)> {
    let (weight, outputs, inputs, _) = conv(of, Some(1), &[1], name)?;
    if inputs != channels {
        return changed(name.to_string(), &format!("a convolution of {channels} channels"));
    }
    Ok((weight, outputs))
}

fn prepare_transition(
    of: &transition::Transition,
    channels: usize,
    name: &str,
    on: Machine,
) -> Result<Transition> {
    let norm = affine(&of.norm, channels, &format!("{name}.norm"))?;
    let (weight, outputs) = conv1(&of.conv, channels, &format!("{name}.conv"))?;
    let mut packed = conv1x1::Packed::default();
    packed.pack(on, &weight, outputs, channels);
    Ok(Transition { norm, weight: packed })
}
