//! The layer that gives the network its name.

use super::batch_norm::BatchNorm2d;
use super::config::{DenseNetConfig, Dropout, Memory};
use super::efficient::{self, Forgotten, Forward};
use super::error::Result;
use super::init::Init;
use super::layers::Conv2d;
use tch::{nn, Tensor};

/// H_l of the paper (section 3): BN-ReLU-Conv(1×1)-BN-ReLU-Conv(3×3) with a bottleneck (DenseNet-B), else
/// BN-ReLU-Conv(3×3). torchvision: `_DenseLayer`.
#[derive(Debug)]
pub struct DenseLayer {
    /// Over all earlier features.
    pub norm1: BatchNorm2d,
    /// 1×1 to `bn_size`·k channels; 3×3 to k channels in a layer without a bottleneck.
    pub conv1: Conv2d,
    /// Absent without a bottleneck.
    pub norm2: Option<BatchNorm2d>,
    /// 3×3 to k channels. Absent without a bottleneck.
    pub conv2: Option<Conv2d>,
    /// See [`DenseNetConfig::drop_rate`].
    pub drop_rate: f64,
    /// See [`DenseNetConfig::dropout`].
    pub dropout: Dropout,
    /// Whether training keeps the features alone of the first half, and makes the rest again ([`Memory::Efficient`]).
    pub memory_efficient: bool,
}

impl DenseLayer {
    /// A layer that reads `in_channels` channels of earlier features, its tensors under `path`.
    ///
    /// # Errors
    /// [`super::ModelError::KeyTaken`], or libtorch's own.
    pub fn new(path: &nn::Path, in_channels: i64, config: &DenseNetConfig, init: Init) -> Result<Self> {
        let growth_rate = config.growth_rate;
        let norm1 = BatchNorm2d::new(&(path / "norm1"), in_channels)?;
        let (conv1, norm2, conv2) = match config.bn_size {
            Some(bn_size) => {
                let width = bn_size * growth_rate;
                (
                    Conv2d::new(&(path / "conv1"), in_channels, width, 1, 1, init)?,
                    Some(BatchNorm2d::new(&(path / "norm2"), width)?),
                    Some(Conv2d::new(&(path / "conv2"), width, growth_rate, 3, 1, init)?),
                )
            }
            None => (Conv2d::new(&(path / "conv1"), in_channels, growth_rate, 3, 1, init)?, None, None),
        };
        Ok(DenseLayer {
            norm1,
            conv1,
            norm2,
            conv2,
            drop_rate: config.drop_rate,
            dropout: config.dropout,
            memory_efficient: config.memory == Memory::Efficient,
        })
    }

    /// Earlier features, each [N, C_i, H, W], to the layer's own [N, k, H, W]; same dtype and device.
    ///
    /// # Errors
    /// [`super::ModelError::OneValuePerChannel`], or libtorch's own.
    pub fn try_forward(&self, features: &[Tensor], train: bool) -> Result<Tensor> {
        Ok(self.forward_in_block(features, train)?.0)
    }

    /// Also what the graph has forgotten, for [`Memory::Efficient`].
    pub(super) fn forward_in_block(
        &self,
        features: &[Tensor],
        train: bool,
    ) -> Result<(Tensor, Option<Forgotten>)> {
        let (mut xs, forgotten) = self.first_half(features, train)?;
        if let (Some(norm2), Some(conv2)) = (&self.norm2, &self.conv2) {
            if self.dropout == Dropout::EveryConvolution {
                xs = drop(xs, self.drop_rate, train)?;
            }
            xs = norm2.try_forward(&xs, train)?;
            xs = conv2.try_forward(&xs.f_relu_()?)?;
        }
        Ok((drop(xs, self.drop_rate, train)?, forgotten))
    }

    /// torchvision: `bn_function`.
    fn first_half(&self, features: &[Tensor], train: bool) -> Result<(Tensor, Option<Forgotten>)> {
        let concatenated = &Tensor::f_cat(features, 1)?;
        let activated = &self.norm1.try_forward(concatenated, train)?.f_relu_()?;
        let output = self.conv1.try_forward(activated)?;
        let forgotten = if self.memory_efficient {
            let (norm, output, train) = (&self.norm1, &output, self.norm1.uses_batch(train));
            efficient::forget(&Forward { features, norm, train, concatenated, activated, output })?
        } else {
            None
        };
        Ok((output, forgotten))
    }
}

/// `F.dropout`, left out where the rate is 0, as torchvision leaves it out (it would draw from the generator).
pub(super) fn drop(xs: Tensor, rate: f64, train: bool) -> Result<Tensor> {
    Ok(if rate > 0.0 { xs.f_dropout(rate, train)? } else { xs })
}
