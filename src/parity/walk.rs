//! A forward pass in evaluation mode that shows every module's output under torchvision's name.

use super::error::Result;
use crate::model::{DenseLayer, DenseNet, Transition};
use tch::Tensor;

/// Sees a module's name and output, in the order of computation.
pub(super) trait Tap {
    fn see(&mut self, name: &str, output: &Tensor) -> Result<()>;
}

impl<F: FnMut(&str, &Tensor) -> Result<()>> Tap for F {
    fn see(&mut self, name: &str, output: &Tensor) -> Result<()> {
        self(name, output)
    }
}

/// Pictures to logits. The operations are [`DenseNet::try_forward`]'s but for ReLUs, which write elsewhere, so that what
/// stood before them can be seen: the same values.
pub(super) fn walk(network: &DenseNet, input: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
    let features = &network.features;
    let mut xs = input.shallow_clone();
    for (i, conv) in features.stem.convs.iter().enumerate() {
        xs = conv.try_forward(&xs)?;
        tap.see(&format!("features.conv{i}"), &xs)?;
        if let Some(norm) = features.stem.norms.get(i) {
            xs = norm.try_forward(&xs, false)?;
            tap.see(&format!("features.norm{i}"), &xs)?;
            xs = xs.f_relu()?;
            tap.see(&format!("features.relu{i}"), &xs)?;
        }
    }
    if features.stem.pool {
        xs = features.stem.try_pool(&xs)?;
        tap.see("features.pool0", &xs)?;
    }
    for (i, block) in features.blocks.iter().enumerate() {
        let name = format!("features.denseblock{}", i + 1);
        let mut all = vec![xs];
        for (j, layer) in block.layers.iter().enumerate() {
            let new = dense_layer(layer, &all, &format!("{name}.denselayer{}", j + 1), tap)?;
            all.push(new);
        }
        xs = Tensor::f_cat(&all, 1)?;
        tap.see(&name, &xs)?;
        if let Some(transition_) = features.transitions.get(i) {
            xs = transition(transition_, &xs, &format!("features.transition{}", i + 1), tap)?;
        }
    }
    let xs = features.norm5.try_forward(&xs, false)?;
    tap.see("features.norm5", &xs)?;
    tap.see("features", &xs)?;
    Ok(network.forward_head(&xs, false)?)
}

fn dense_layer(layer: &DenseLayer, features: &[Tensor], name: &str, tap: &mut dyn Tap) -> Result<Tensor> {
    let mut xs = layer.norm1.try_forward(&Tensor::f_cat(features, 1)?, false)?;
    tap.see(&format!("{name}.norm1"), &xs)?;
    xs = xs.f_relu()?;
    tap.see(&format!("{name}.relu1"), &xs)?;
    xs = layer.conv1.try_forward(&xs)?;
    tap.see(&format!("{name}.conv1"), &xs)?;
    if let (Some(norm2), Some(conv2)) = (&layer.norm2, &layer.conv2) {
        xs = norm2.try_forward(&xs, false)?;
        tap.see(&format!("{name}.norm2"), &xs)?;
        xs = xs.f_relu()?;
        tap.see(&format!("{name}.relu2"), &xs)?;
        xs = conv2.try_forward(&xs)?;
        tap.see(&format!("{name}.conv2"), &xs)?;
    }
    tap.see(name, &xs)?;
    Ok(xs)
}

fn transition(transition: &Transition, xs: &Tensor, name: &str, tap: &mut dyn Tap) -> Result<Tensor> {
    let mut xs = transition.norm.try_forward(xs, false)?;
    tap.see(&format!("{name}.norm"), &xs)?;
    xs = xs.f_relu()?;
    tap.see(&format!("{name}.relu"), &xs)?;
    xs = transition.conv.try_forward(&xs)?;
    tap.see(&format!("{name}.conv"), &xs)?;
    xs = xs.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)?;
    tap.see(&format!("{name}.pool"), &xs)?;
    tap.see(name, &xs)?;
    Ok(xs)
}
