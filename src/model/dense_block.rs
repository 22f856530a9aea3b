//! Dense layers in a row, each reading all before it.

use super::config::DenseNetConfig;
use super::dense_layer::DenseLayer;
use super::error::Result;
use super::init::Init;
use tch::{nn, Tensor};

/// The paper's dense block (equation 2). torchvision: `_DenseBlock`.
#[derive(Debug)]
pub struct DenseBlock {
    /// `denselayer1`, `denselayer2`, ….
    pub layers: Vec<DenseLayer>,
}

impl DenseBlock {
    /// `num_layers` layers that start from `in_channels` channels, their tensors under `path`.
    ///
    /// # Errors
    /// [`super::ModelError::KeyTaken`], or libtorch's own.
    pub fn new(
        path: &nn::Path,
        num_layers: i64,
        in_channels: i64,
        config: &DenseNetConfig,
        init: Init,
    ) -> Result<Self> {
        let layers = (0..num_layers)
            .map(|i| {
                let path = path / format!("denselayer{}", i + 1);
                DenseLayer::new(&path, in_channels + i * config.growth_rate, config, init)
            })
            .collect::<Result<_>>()?;
        Ok(DenseBlock { layers })
    }

    /// [N, C, H, W] to [N, C + layers·k, H, W], the input first.
    ///
    /// # Errors
    /// [`super::ModelError::OneValuePerChannel`], or libtorch's own.
    pub fn try_forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut features = vec![xs.shallow_clone()];
        let mut forgotten = Vec::new();
        for layer in &self.layers {
            let (feature, segment) = layer.forward_in_block(&features, train)?;
            features.push(feature);
            forgotten.extend(segment);
        }
        let output = Tensor::f_cat(&features, 1)?;
        for segment in forgotten {
            segment.read_from(&output)?;
        }
        Ok(output)
    }
}
