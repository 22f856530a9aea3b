//! What stands before the first dense block.

use super::batch_norm::BatchNorm2d;
use super::blur_pool::blur_pool;
use super::config::{DenseNetConfig, Stem};
use super::error::Result;
use super::init::Init;
use super::layers::Conv2d;
use tch::{nn, Tensor};

/// `conv0`, `norm0` … of torchvision's and timm's `features`.
#[derive(Debug)]
pub struct StemLayers {
    /// `conv0`, and `conv1`, `conv2` of the deep stem.
    pub convs: Vec<Conv2d>,
    /// One for each convolution; none in the small stem.
    pub norms: Vec<BatchNorm2d>,
    /// Whether a 3×3/2 max-pool follows.
    pub pool: bool,
    /// Whether the max-pool has stride 1 and a blur of stride 2 follows it.
    pub blur: bool,
}

impl StemLayers {
    /// The stem `config` asks for, its tensors under `path` (the network's `features`).
    ///
    /// # Errors
    /// [`super::ModelError::KeyTaken`], or libtorch's own.
    pub fn new(path: &nn::Path, config: &DenseNetConfig, init: Init) -> Result<Self> {
        let (from, to, width) = (config.in_channels, config.num_init_features, config.growth_rate);
        // (in, out, kernel, stride) of each convolution
        let shapes = match config.stem {
            Stem::Imagenet => vec![(from, to, 7, 2)],
            Stem::Small => vec![(from, to, 3, 1)],
            Stem::Deep | Stem::DeepBlur => vec![(from, width, 3, 2), (width, width, 3, 1), (width, to, 3, 1)],
        };
        let (mut convs, mut norms) = (Vec::new(), Vec::new());
        for (i, (input, output, kernel, stride)) in shapes.into_iter().enumerate() {
            convs.push(Conv2d::new(&(path / format!("conv{i}")), input, output, kernel, stride, init)?);
            if config.stem != Stem::Small {
                norms.push(BatchNorm2d::new(&(path / format!("norm{i}")), output)?);
            }
        }
        Ok(StemLayers { convs, norms, pool: config.stem != Stem::Small, blur: config.stem == Stem::DeepBlur })
    }

    /// [N, in_channels, H, W] to [N, num_init_features, H', W'] before pooling: H' is ⌊(H-1)/2⌋+1, or H for the small
    /// stem.
    ///
    /// # Errors
    /// [`super::ModelError::OneValuePerChannel`], or libtorch's own.
    pub fn try_forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut xs = xs.shallow_clone();
        for (i, conv) in self.convs.iter().enumerate() {
            xs = conv.try_forward(&xs)?;
            if let Some(norm) = self.norms.get(i) {
                xs = norm.try_forward(&xs, train)?.f_relu_()?;
            }
        }
        Ok(xs)
    }

    /// The stem's output to the first block's input: max-pooled 3×3/2, max-pooled and blurred, or as it is for the
    /// small stem.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn try_pool(&self, xs: &Tensor) -> Result<Tensor> {
        if !self.pool {
            return Ok(xs.shallow_clone());
        }
        if self.blur {
            return blur_pool(&xs.f_max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false)?);
        }
        Ok(xs.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?)
    }
}
