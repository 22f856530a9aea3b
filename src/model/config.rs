//! What a DenseNet is made of, as data.
//!
//! Names are torchvision's (`torchvision.models.DenseNet.__init__`), with the paper's and timm's variants added.

use super::error::{ModelError, Result};
use serde::{Deserialize, Serialize};

/// The published ImageNet architectures (table 1 of the paper; torchvision's builders, and DenseNet-264).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Arch {
    /// `densenet121`: k = 32, blocks 6, 12, 24, 16.
    DenseNet121,
    /// `densenet161`: k = 48, blocks 6, 12, 36, 24, 96 initial features.
    DenseNet161,
    /// `densenet169`: k = 32, blocks 6, 12, 32, 32.
    DenseNet169,
    /// `densenet201`: k = 32, blocks 6, 12, 48, 32.
    DenseNet201,
    /// `densenet264`: k = 32, blocks 6, 12, 64, 48 (in the paper and in MONAI; torchvision has no builder for it).
    DenseNet264,
}

impl Arch {
    /// Every architecture, smallest first.
    pub const ALL: [Arch; 5] =
        [Arch::DenseNet121, Arch::DenseNet161, Arch::DenseNet169, Arch::DenseNet201, Arch::DenseNet264];

    const NAMES: &'static str = "densenet121, densenet161, densenet169, densenet201, densenet264";

    /// torchvision's name of the builder.
    pub fn name(self) -> &'static str {
        match self {
            Arch::DenseNet121 => "densenet121",
            Arch::DenseNet161 => "densenet161",
            Arch::DenseNet169 => "densenet169",
            Arch::DenseNet201 => "densenet201",
            Arch::DenseNet264 => "densenet264",
        }
    }

    /// The architecture's configuration, with torchvision's defaults (1000 classes, no dropout).
    pub fn config(self) -> DenseNetConfig {
        let (growth_rate, block_config, num_init_features) = match self {
            Arch::DenseNet121 => (32, [6, 12, 24, 16], 64),
            Arch::DenseNet161 => (48, [6, 12, 36, 24], 96),
            Arch::DenseNet169 => (32, [6, 12, 32, 32], 64),
            Arch::DenseNet201 => (32, [6, 12, 48, 32], 64),
            Arch::DenseNet264 => (32, [6, 12, 64, 48], 64),
        };
        DenseNetConfig {
            growth_rate,
            block_config: block_config.to_vec(),
            num_init_features,
            ..DenseNetConfig::default()
        }
    }
}

impl std::fmt::Display for Stem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Stem {
    type Err = ModelError;
    fn from_str(name: &str) -> Result<Stem> {
        Stem::ALL
            .into_iter()
            .find(|stem| stem.name() == name)
            .ok_or_else(|| ModelError::UnknownStem { name: name.to_string(), known: Stem::NAMES })
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Arch {
    type Err = ModelError;
    fn from_str(name: &str) -> Result<Arch> {
        Arch::ALL
            .into_iter()
            .find(|arch| arch.name() == name)
            .ok_or_else(|| ModelError::UnknownArch { name: name.to_string(), known: Arch::NAMES })
    }
}

/// What stands before the first dense block. All convolutions are without bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// `conv0` 7×7/2, `norm0`, ReLU, max-pool 3×3/2: torchvision's.
    #[default]
    Imagenet,
    /// `conv0` 3×3/1 alone: the paper's CIFAR networks.
    Small,
    /// `conv0` 3×3/2, `conv1` and `conv2` 3×3/1, each with norm and ReLU, then max-pool 3×3/2: timm's
    /// `stem_type="deep"`. The first two have `growth_rate` channels.
    Deep,
    /// As `Deep`, but the max-pool has stride 1 and a blur follows: each channel convolved 3×3/2 with the binomial filter
    /// [1 2 1]ᵀ[1 2 1]/16 after reflection padding (Zhang, "Making Convolutional Networks Shift-Invariant Again";
    /// timm's `densenetblur121d`). No tensor of a file tells it from `Deep`.
    DeepBlur,
}

impl Stem {
    /// Every stem.
    pub const ALL: [Stem; 4] = [Stem::Imagenet, Stem::Small, Stem::Deep, Stem::DeepBlur];

    const NAMES: &'static str = "imagenet, small, deep, deep_blur";

    /// Its name in a sidecar.
    pub fn name(self) -> &'static str {
        match self {
            Stem::Imagenet => "imagenet",
            Stem::Small => "small",
            Stem::Deep => "deep",
            Stem::DeepBlur => "deep_blur",
        }
    }
}

/// What a training step keeps for its backward pass (the `memory_efficient` of torchvision, and more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Memory {
    /// Everything, as torchvision does by default.
    #[default]
    Standard,
    /// torchvision's `memory_efficient=True`: what a dense layer concatenates, and its norm and ReLU, are made again for the
    /// backward pass. Outputs, gradients, second derivatives and statistics are those of `Standard` to the bit (in
    /// torchvision the running statistics move twice).
    Efficient,
    /// A block's features and `conv1` outputs: memory linear in depth, and faster kernels on the CPU. Numbers differ from
    /// `Standard` by roundings (logits by 1e-5 relative), in every mode of the network, not only in training. Second
    /// derivatives are refused.
    Fused,
    /// As `Fused`, but keeps a block's features alone and computes `conv1`'s outputs again.
    Minimal,
}

/// Where `drop_rate` applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropout {
    /// After a dense layer's last convolution only: torchvision.
    #[default]
    LayerOutput,
    /// After every convolution but the first, transitions included: the paper and the original Lua code.
    EveryConvolution,
}

/// Everything that decides a DenseNet's tensors and arithmetic.
///
/// `Default` is torchvision's `DenseNet()`, that is densenet121.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenseNetConfig {
    /// k: how many channels each dense layer adds.
    pub growth_rate: i64,
    /// Dense layers in each block; any number of blocks.
    pub block_config: Vec<i64>,
    /// Channels of the first convolution (of the last one for [`Stem::Deep`]).
    pub num_init_features: i64,
    /// Bottleneck width in multiples of `growth_rate`; `None` for layers without a bottleneck (plain DenseNet).
    pub bn_size: Option<i64>,
    /// θ: a transition puts out ⌊θ·C⌋ of its C channels.
    pub compression: f64,
    /// Probability that dropout zeroes a value in training; 0 turns it off. torchvision's meaning, not timm's.
    pub drop_rate: f64,
    /// Where dropout applies.
    pub dropout: Dropout,
    /// Outputs of the classifier; 0 for no head.
    pub num_classes: i64,
    /// Channels of the input pictures.
    pub in_channels: i64,
    /// What stands before the first block.
    pub stem: Stem,
    /// What training keeps for the backward pass.
    pub memory: Memory,
}

impl Default for DenseNetConfig {
    fn default() -> Self {
        DenseNetConfig {
            growth_rate: 32,
            block_config: vec![6, 12, 24, 16],
            num_init_features: 64,
            bn_size: Some(4),
            compression: 0.5,
            drop_rate: 0.0,
            dropout: Dropout::LayerOutput,
            num_classes: 1000,
            in_channels: 3,
            stem: Stem::Imagenet,
            memory: Memory::Standard,
        }
    }
}

/// No tensor of a network may have more channels than this: far above every published network (7,104 in a
/// DenseNet of L = 190, k = 40 without compression), far below what overflows.
const MAX_CHANNELS: i64 = 1 << 20;
/// Nor may a block have more layers, or a network more blocks.
const MAX_LAYERS: i64 = 4096;

impl DenseNetConfig {
    /// The configuration of a name: an [`Arch`]'s (`densenet121`), or a [`super::Cifar`]'s (`densenet-bc-100-12`).
    ///
    /// # Errors
    /// [`ModelError::UnknownArch`], or [`ModelError::Config`] for a depth that does not exist.
    pub fn named(name: &str) -> Result<Self> {
        if name.starts_with("densenet-") {
            return name.parse::<super::Cifar>()?.build();
        }
        Ok(name.parse::<Arch>()?.config())
    }

    /// Sets [`memory`](Self::memory) to [`Memory::Efficient`], or back to [`Memory::Standard`]: torchvision's
    /// `memory_efficient`.
    pub fn memory_efficient(mut self, on: bool) -> Self {
        self.memory = if on { Memory::Efficient } else { Memory::Standard };
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the first field that no network can be built with.
    pub fn validate(&self) -> Result<()> {
        fn range(field: &'static str, value: i64, low: i64, high: i64) -> Result<()> {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ModelError::config(field, value, format!("must be {low} to {high}")))
        }
        range("growth_rate", self.growth_rate, 1, MAX_CHANNELS)?;
        range("num_init_features", self.num_init_features, 1, MAX_CHANNELS)?;
        range("in_channels", self.in_channels, 1, MAX_CHANNELS)?;
        range("num_classes", self.num_classes, 0, 1 << 30)?;
        range("block_config", self.block_config.len() as i64, 1, MAX_LAYERS)
            .map_err(|_| ModelError::config("block_config", "empty", "must name 1 to 4096 blocks"))?;
        for &layers in &self.block_config {
            range("block_config", layers, 1, MAX_LAYERS)?;
        }
        if let Some(bn_size) = self.bn_size {
            range("bn_size", bn_size, 1, MAX_CHANNELS / self.growth_rate)?;
        }
        if !(self.compression > 0.0 && self.compression <= 1.0) {
            return Err(ModelError::config("compression", self.compression, "must be over 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&self.drop_rate) {
            return Err(ModelError::config("drop_rate", self.drop_rate, "must be 0 to 1"));
        }
        let mut width = self.num_init_features;
        for (block, &layers) in self.block_config.iter().enumerate() {
            width += layers * self.growth_rate;
            range("block_config", width, 1, MAX_CHANNELS).map_err(|_| {
                ModelError::config(
                    "block_config",
                    format!("{:?}", self.block_config),
                    format!("block {} would have {width} channels, more than {MAX_CHANNELS}", block + 1),
                )
            })?;
            if block + 1 < self.block_config.len() {
                width = self.compressed(width);
                if width == 0 {
                    return Err(ModelError::config(
                        "compression",
                        self.compression,
                        format!("leaves transition {} without channels", block + 1),
                    ));
                }
            }
        }
        Ok(())
    }

    /// ⌊θ·C⌋, a transition's output channels.
    pub(crate) fn compressed(&self, channels: i64) -> i64 {
        (channels as f64 * self.compression).floor() as i64
    }

    /// Channels of `norm5`, the width of the features the classifier reads (timm's `num_features`).
    pub fn num_features(&self) -> i64 {
        let blocks = self.block_config.len();
        self.block_config.iter().enumerate().fold(self.num_init_features, |width, (block, layers)| {
            let width = width + layers * self.growth_rate;
            if block + 1 < blocks {
                self.compressed(width)
            } else {
                width
            }
        })
    }

    /// The smallest height and width that leave a pixel for every pooling: 29 for the ImageNet stem and four blocks
    /// (torchvision's `min_size`).
    pub fn min_input_size(&self) -> i64 {
        let halvings = (self.block_config.len() - 1).min(40);
        let after_stem = 1i64 << halvings;
        match self.stem {
            Stem::Small => after_stem,
            // A stride-2 convolution or pooling with "same" padding makes n pixels of 2n-1 or 2n.
            // The blur's reflection needs 2 pixels of its own.
            Stem::DeepBlur => 2 * (2 * after_stem - 1).max(2) - 1,
            Stem::Imagenet | Stem::Deep => 2 * (2 * after_stem - 1) - 1,
        }
    }

    /// The published architecture this is, if it is one (whatever its classes, input channels and dropout).
    pub fn arch(&self) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| {
            let DenseNetConfig { num_classes, in_channels, drop_rate, dropout, memory, .. } = *self;
            DenseNetConfig { num_classes, in_channels, drop_rate, dropout, memory, ..arch.config() } == *self
        })
    }
}
