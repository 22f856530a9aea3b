//! What joins two dense blocks.

use super::batch_norm::BatchNorm2d;
use super::config::{DenseNetConfig, Dropout};
use super::dense_layer::drop;
use super::error::Result;
use super::init::Init;
use super::layers::Conv2d;
use tch::{nn, Tensor};

/// BN-ReLU-Conv(1×1)-AvgPool(2×2) (the paper, section 3). torchvision: `_Transition`.
#[derive(Debug)]
pub struct Transition {
    /// Over the block's features.
    pub norm: BatchNorm2d,
    /// 1×1.
    pub conv: Conv2d,
    /// Dropout after `conv`; torchvision has none here.
    pub drop_rate: f64,
}

impl Transition {
    /// From `in_channels` to `out_channels`, its tensors under `path`.
    ///
    /// # Errors
    /// [`super::ModelError::KeyTaken`], or libtorch's own.
    pub fn new(
        path: &nn::Path,
        in_channels: i64,
        out_channels: i64,
        config: &DenseNetConfig,
        init: Init,
    ) -> Result<Self> {
        Ok(Transition {
            norm: BatchNorm2d::new(&(path / "norm"), in_channels)?,
            conv: Conv2d::new(&(path / "conv"), in_channels, out_channels, 1, 1, init)?,
            drop_rate: match config.dropout {
                Dropout::EveryConvolution => config.drop_rate,
                Dropout::LayerOutput => 0.0,
            },
        })
    }

    /// [N, in, H, W] to [N, out, ⌊H/2⌋, ⌊W/2⌋].
    ///
    /// # Errors
    /// [`super::ModelError::OneValuePerChannel`], or libtorch's own.
    pub fn try_forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let xs = self.conv.try_forward(&self.norm.try_forward(xs, train)?.f_relu_()?)?;
        // Not tch's avg_pool2d_default: its divisor_override of 1 makes it a sum.
        Ok(drop(xs, self.drop_rate, train)?.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)?)
    }
}
