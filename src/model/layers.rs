//! The two layers with weights that are not DenseNet's own: a convolution without bias and a linear layer.
//!
//! `tch::nn` has both, but its convolution keeps its stride to itself and its constructors draw other numbers.

use super::error::{ModelError, Result};
use super::init::{self, Init};
use tch::{nn, Tensor};

/// A square 2-D convolution without bias. torchvision: `nn.Conv2d(…, bias=False)`.
#[derive(Debug)]
pub struct Conv2d {
    /// [out, in, k, k].
    pub weight: Tensor,
    /// Step in both directions.
    pub stride: i64,
    /// Zeros added on every side.
    pub padding: i64,
}

impl Conv2d {
    /// Registers `weight` (out_channels × in_channels × kernel × kernel) under `path`.
    ///
    /// # Errors
    /// [`ModelError::KeyTaken`], or libtorch's own.
    pub fn new(
        path: &nn::Path,
        in_channels: i64,
        out_channels: i64,
        kernel: i64,
        stride: i64,
        init: Init,
    ) -> Result<Self> {
        let weight = parameter(path, "weight", &[out_channels, in_channels, kernel, kernel], init)?;
        if init == Init::Torchvision {
            init::kaiming_uniform_sqrt5(&weight)?;
        }
        Ok(Conv2d { weight, stride, padding: kernel / 2 })
    }

    /// [N, in, H, W] to [N, out, ⌊(H-1)/stride⌋+1, ⌊(W-1)/stride⌋+1].
    ///
    /// # Errors
    /// libtorch's own, on another shape, dtype or device.
    pub fn try_forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.try_forward_with(xs, &self.weight)
    }

    /// [`try_forward`](Self::try_forward) with the weight in another memory format.
    pub(super) fn try_forward_with(&self, xs: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        Ok(xs.f_conv2d(weight, None::<&Tensor>, stride, padding, [1, 1], 1)?)
    }
}

/// A fully connected layer. torchvision: `nn.Linear`.
#[derive(Debug)]
pub struct Linear {
    /// [out, in].
    pub weight: Tensor,
    /// \[out\].
    pub bias: Tensor,
}

impl Linear {
    /// Registers `weight` (out_features × in_features) and `bias` (out_features) under `path`.
    ///
    /// # Errors
    /// [`ModelError::KeyTaken`], or libtorch's own.
    pub fn new(path: &nn::Path, in_features: i64, out_features: i64, init: Init) -> Result<Self> {
        let weight = parameter(path, "weight", &[out_features, in_features], init)?;
        let bias = parameter(path, "bias", &[out_features], init)?;
        if init == Init::Torchvision {
            init::kaiming_uniform_sqrt5(&weight)?;
            init::linear_bias(&bias, &weight)?;
        }
        Ok(Linear { weight, bias })
    }

    /// [N, in] to [N, out].
    ///
    /// # Errors
    /// libtorch's own, on another shape, dtype or device.
    pub fn try_forward(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(xs.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// The same [N, C, H, W] laid out channels last: `tensor.contiguous(memory_format=torch.channels_last)`. A convolution whose
/// input or weight lies so hands on a channels-last map.
///
/// # Errors
/// libtorch's own, on a tensor of another rank.
pub fn channels_last(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// A trainable tensor of the path's dtype and device: zeros, or whatever the memory held for [`Init::Empty`].
pub(super) fn parameter(path: &nn::Path, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
    let options = (path.kind(), path.device());
    let tensor =
        if init == Init::Empty { Tensor::f_empty(shape, options)? } else { Tensor::f_zeros(shape, options)? };
    register(path, name, tensor, true)
}

/// Adds `tensor` under `path`, where tch would rename one whose name is taken.
pub(super) fn register(path: &nn::Path, name: &str, tensor: Tensor, trainable: bool) -> Result<Tensor> {
    if path.get(name).is_some() {
        let key = path.components().chain([name]).collect::<Vec<_>>().join(".");
        return Err(ModelError::KeyTaken { key });
    }
    Ok(path.add(name, tensor, trainable))
}
