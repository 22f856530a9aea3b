//! The paper's CIFAR and SVHN networks, by depth and growth rate.

use super::config::{DenseNetConfig, Dropout, Stem};
use super::error::{ModelError, Result};
use std::str::FromStr;

/// Whose reading of the small networks: the two differ in the first convolution's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Preset {
    /// The paper (section 3, "Implementation Details"): 16 channels first, 2k for DenseNet-BC.
    #[default]
    Paper,
    /// The original Lua code (`models/densenet.lua`): always 2k channels first.
    Lua,
}

/// The paper's name of a network: `densenet-100-24` is L = 100, k = 24; `densenet-bc-100-12` the same with -BC.
impl FromStr for Cifar {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Cifar> {
        let parse = || {
            let numbers = name.strip_prefix("densenet-")?;
            let (numbers, bc) = numbers.strip_prefix("bc-").map_or((numbers, false), |rest| (rest, true));
            let (depth, growth_rate) = numbers.split_once('-')?;
            let cifar = Cifar::new(depth.parse().ok()?, growth_rate.parse().ok()?);
            Some(if bc { cifar.bc() } else { cifar })
        };
        parse().ok_or_else(|| ModelError::UnknownArch {
            name: name.to_string(),
            known: "densenet-L-k and densenet-bc-L-k (depth L, growth rate k), such as densenet-bc-100-12",
        })
    }
}

/// Builds the configuration of a three-block network for 32×32 pictures.
///
/// [`build`](Self::build) gives a plain DenseNet unless [`bottleneck`](Self::bottleneck) (-B),
/// [`compression`](Self::compression) (-C) or [`bc`](Self::bc) say otherwise.
///
/// ```
/// use densenet::model::Cifar;
/// let config = Cifar::new(100, 12).bc().build()?;
/// assert_eq!(config.block_config, [16, 16, 16]);
/// # Ok::<(), densenet::model::ModelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cifar {
    depth: i64,
    growth_rate: i64,
    bottleneck: bool,
    compression: f64,
    preset: Preset,
    drop_rate: f64,
    num_classes: i64,
    in_channels: i64,
}

impl Cifar {
    /// A plain DenseNet with `depth` layers (the paper's L: 40, 100, 190, 250 …) and growth rate k, for 10 classes.
    pub fn new(depth: i64, growth_rate: i64) -> Self {
        Cifar {
            depth,
            growth_rate,
            bottleneck: false,
            compression: 1.0,
            preset: Preset::Paper,
            drop_rate: 0.0,
            num_classes: 10,
            in_channels: 3,
        }
    }

    /// -B: a 1×1 convolution of 4k channels before each 3×3.
    pub fn bottleneck(mut self, on: bool) -> Self {
        self.bottleneck = on;
        self
    }

    /// -C: transitions keep ⌊θ·C⌋ channels.
    pub fn compression(mut self, theta: f64) -> Self {
        self.compression = theta;
        self
    }

    /// -BC: bottleneck, and θ = 0.5.
    pub fn bc(self) -> Self {
        self.bottleneck(true).compression(0.5)
    }

    /// Whose reading, where they differ.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// Dropout as the paper uses it without data augmentation (0.2): after every convolution but the first.
    /// The Lua code does the same. For dropout after the 3×3 only, as torchvision has it, set
    /// [`DenseNetConfig::dropout`] afterwards.
    pub fn drop_rate(mut self, rate: f64) -> Self {
        self.drop_rate = rate;
        self
    }

    /// Outputs of the classifier.
    pub fn num_classes(mut self, classes: i64) -> Self {
        self.num_classes = classes;
        self
    }

    /// Channels of the input pictures (1 for gray).
    pub fn in_channels(mut self, channels: i64) -> Self {
        self.in_channels = channels;
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ModelError::Config`] where three equal blocks do not add up to `depth`, or another field is out of range.
    pub fn build(self) -> Result<DenseNetConfig> {
        // L counts the first convolution, two transitions and the classifier, and a layer's one or two convolutions.
        let convolutions = if self.bottleneck { 2 } else { 1 };
        let step = 3 * convolutions;
        if self.depth < 4 + step || (self.depth - 4) % step != 0 {
            return Err(ModelError::config(
                "depth",
                self.depth,
                format!("must be 4 + {step}·n for three equal blocks of n layers"),
            ));
        }
        let bc = self.bottleneck && self.compression < 1.0;
        let num_init_features = match self.preset {
            Preset::Paper if !bc => 16,
            Preset::Paper | Preset::Lua => self.growth_rate.saturating_mul(2),
        };
        let config = DenseNetConfig {
            growth_rate: self.growth_rate,
            block_config: vec![(self.depth - 4) / step; 3],
            num_init_features,
            bn_size: self.bottleneck.then_some(4),
            compression: self.compression,
            drop_rate: self.drop_rate,
            dropout: Dropout::EveryConvolution,
            num_classes: self.num_classes,
            in_channels: self.in_channels,
            stem: Stem::Small,
            ..DenseNetConfig::default()
        };
        config.validate()?;
        Ok(config)
    }
}
