//! Batch normalization as PyTorch's `nn.BatchNorm2d` does and stores it.

use super::error::{ModelError, Result};
use super::init::{self, Init};
use super::layers::{parameter, register};
use tch::{nn, no_grad, Kind, Tensor};

/// torchvision: `nn.BatchNorm2d` with its defaults (affine, running statistics, momentum 0.1, ε 1e-5).
///
/// `tch::nn::BatchNorm` draws γ uniformly and has no `num_batches_tracked`; this one has all five tensors.
#[derive(Debug)]
pub struct BatchNorm2d {
    /// γ, \[C\].
    pub weight: Tensor,
    /// β, \[C\].
    pub bias: Tensor,
    /// \[C\], not trainable.
    pub running_mean: Tensor,
    /// \[C\], not trainable; of unbiased variances.
    pub running_var: Tensor,
    /// int64, a scalar: training-mode calls so far.
    pub num_batches_tracked: Tensor,
    /// Weight of the newest batch in the running statistics.
    pub momentum: f64,
    /// Added to variances.
    pub eps: f64,
    /// Normalize by the running statistics in training too, and leave them as they are (the layer's `eval()` within a
    /// network in `train()`); γ and β may still be trained. [`DenseNet::freeze_batch_norms`] sets it everywhere.
    ///
    /// [`DenseNet::freeze_batch_norms`]: super::DenseNet::freeze_batch_norms
    pub frozen: bool,
}

impl BatchNorm2d {
    /// Registers the five tensors for `channels` channels under `path`: γ = 1, β = 0, mean 0, variance 1, counter 0.
    ///
    /// # Errors
    /// [`ModelError::KeyTaken`], or libtorch's own.
    pub fn new(path: &nn::Path, channels: i64) -> Result<Self> {
        let (kind, device) = (path.kind(), path.device());
        let weight = parameter(path, "weight", &[channels], Init::Zeros)?;
        init::constant(&weight, 1.0)?;
        let bias = parameter(path, "bias", &[channels], Init::Zeros)?;
        let buffer = |name, tensor| register(path, name, tensor, false);
        Ok(BatchNorm2d {
            weight,
            bias,
            running_mean: buffer("running_mean", Tensor::f_zeros([channels], (kind, device))?)?,
            running_var: buffer("running_var", Tensor::f_ones([channels], (kind, device))?)?,
            num_batches_tracked: buffer(
                "num_batches_tracked",
                Tensor::f_zeros([0i64; 0], (Kind::Int64, device))?,
            )?,
            momentum: 0.1,
            eps: 1e-5,
            frozen: false,
        })
    }

    /// Whether a pass normalizes by its batch's statistics, and moves the running ones.
    pub(super) fn uses_batch(&self, train: bool) -> bool {
        train && !self.frozen
    }

    /// [N, C, H, W] to the same shape. In training, unless [`frozen`](Self::frozen), normalizes by the batch's statistics and
    /// moves the running ones.
    ///
    /// # Errors
    /// [`ModelError::OneValuePerChannel`] in training where N·H·W is 1, or libtorch's own.
    pub fn try_forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let train = self.uses_batch(train);
        if train {
            let size = xs.size();
            if size.len() > 2 && size[0] * size[2..].iter().product::<i64>() == 1 {
                return Err(ModelError::OneValuePerChannel { got: size });
            }
            let _ = no_grad(|| self.num_batches_tracked.shallow_clone().f_add_scalar_(1))?;
        }
        Ok(xs.f_batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            self.momentum,
            self.eps,
            true,
        )?)
    }
}
