//! The network.

use super::batch_norm::BatchNorm2d;
use super::config::DenseNetConfig;
use super::dense_block::DenseBlock;
use super::error::{ModelError, Result};
use super::fused::{Engine, Kernels};
use super::inference::{Numerics, Prepared};
use super::init::{self, Init};
use super::layers::{channels_last, Conv2d, Linear};
use super::stem::StemLayers;
use super::surgery::Taps;
use super::transition::Transition;
use crate::autograd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tch::{nn, Device, Kind, Tensor};

/// torchvision: `DenseNet`.
///
/// ```
/// use densenet::{Arch, DenseNet};
/// use tch::{nn, Device, Kind, Tensor};
///
/// tch::manual_seed(0);
/// let vs = nn::VarStore::new(Device::Cpu);
/// let network = DenseNet::new(&vs.root(), &Arch::DenseNet121.config())?;
/// let logits = network.try_forward(&Tensor::zeros([1, 3, 32, 32], (Kind::Float, Device::Cpu)), false)?;
/// assert_eq!(logits.size(), [1, 1000]);
/// # Ok::<(), densenet::model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct DenseNet {
    /// What it was built from; `num_classes` follows [`DenseNet::reset_classifier`].
    pub config: DenseNetConfig,
    /// Everything before the head.
    pub features: Features,
    /// `None` for a network without a head (`num_classes` 0).
    pub classifier: Option<Linear>,
    /// Components of the path it was built under.
    pub(super) prefix: Vec<String>,
    /// What `Memory::Fused` and `Memory::Minimal` compute with.
    pub(super) engine: Engine,
}

/// torchvision: `DenseNet.features`.
#[derive(Debug)]
pub struct Features {
    /// `conv0`, `norm0` and the pooling.
    pub stem: StemLayers,
    /// `denseblock1`, `denseblock2`, ….
    pub blocks: Vec<DenseBlock>,
    /// `transition1`, …: one fewer than blocks.
    pub transitions: Vec<Transition>,
    /// `norm5`, whatever the number of blocks.
    pub norm5: BatchNorm2d,
}

impl DenseNet {
    /// A network with torchvision's initial weights, its tensors under `path` with torchvision's keys.
    ///
    /// Draws from libtorch's generator exactly as torchvision's constructor does.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::KeyTaken`] (then nothing was added to the path), or libtorch's own.
    pub fn new(path: &nn::Path, config: &DenseNetConfig) -> Result<Self> {
        Self::with_init(path, config, Init::Torchvision)
    }

    /// As [`DenseNet::new`], with a choice of initial weights.
    ///
    /// # Errors
    /// As [`DenseNet::new`].
    pub fn with_init(path: &nn::Path, config: &DenseNetConfig, init: Init) -> Result<Self> {
        config.validate()?;
        // Built in a store of its own first: where a key turns out to be taken, the caller's store is as it was.
        let mut own = nn::VarStore::new(path.device());
        own.set_kind(path.kind());
        let mut network = Self::build(&own.root(), config, init)?;
        let tensors = network.named_tensors();
        for (name, _) in &tensors {
            let (parent, leaf) = walk(path, name);
            if parent.get(leaf).is_some() {
                return Err(ModelError::KeyTaken { key: parent.path(leaf) });
            }
        }
        for (name, tensor) in tensors {
            let (parent, leaf) = walk(path, &name);
            let trainable = tensor.requires_grad();
            let _ = parent.add(leaf, tensor, trainable);
        }
        network.prefix = path.components().map(str::to_string).collect();
        Ok(network)
    }

    fn build(root: &nn::Path, config: &DenseNetConfig, init: Init) -> Result<Self> {
        let path = &(root / "features");
        let stem = StemLayers::new(path, config, init)?;
        let mut width = config.num_init_features;
        let (mut blocks, mut transitions) = (Vec::new(), Vec::new());
        for (i, &layers) in config.block_config.iter().enumerate() {
            let number = i + 1;
            blocks.push(DenseBlock::new(
                &(path / format!("denseblock{number}")),
                layers,
                width,
                config,
                init,
            )?);
            width += layers * config.growth_rate;
            if number < config.block_config.len() {
                let (path, output) = (path / format!("transition{number}"), config.compressed(width));
                transitions.push(Transition::new(&path, width, output, config, init)?);
                width = output;
            }
        }
        let norm5 = BatchNorm2d::new(&(path / "norm5"), width)?;
        let classifier = match config.num_classes {
            0 => None,
            classes => Some(Linear::new(&(root / "classifier"), width, classes, init)?),
        };
        let features = Features { stem, blocks, transitions, norm5 };
        let network = DenseNet {
            config: config.clone(),
            features,
            classifier,
            prefix: Vec::new(),
            engine: Engine::default(),
        };
        if init == Init::Torchvision {
            network.redraw_as_torchvision()?;
        }
        Ok(network)
    }

    /// The loop at the end of torchvision's constructor, over what the layers drew when they were made.
    fn redraw_as_torchvision(&self) -> Result<()> {
        for (_, tensor) in self.named_tensors().iter().filter(|(_, tensor)| tensor.dim() == 4) {
            init::kaiming_normal(tensor)?;
        }
        match &self.classifier {
            Some(classifier) => init::constant(&classifier.bias, 0.0),
            None => Ok(()),
        }
    }

    /// Every parameter and buffer under torchvision's key, in the order of torchvision's `state_dict()`.
    ///
    /// Keys are the network's own (`features.conv0.weight`), without the path it was built under. The tensors are the
    /// network's: writing to them changes it.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let mut list = List(Vec::new());
        for (i, conv) in self.features.stem.convs.iter().enumerate() {
            list.conv(&format!("features.conv{i}"), conv);
            if let Some(norm) = self.features.stem.norms.get(i) {
                list.norm(&format!("features.norm{i}"), norm);
            }
        }
        for (i, block) in self.features.blocks.iter().enumerate() {
            for (j, layer) in block.layers.iter().enumerate() {
                let key = format!("features.denseblock{}.denselayer{}", i + 1, j + 1);
                list.norm(&format!("{key}.norm1"), &layer.norm1);
                list.conv(&format!("{key}.conv1"), &layer.conv1);
                if let (Some(norm2), Some(conv2)) = (&layer.norm2, &layer.conv2) {
                    list.norm(&format!("{key}.norm2"), norm2);
                    list.conv(&format!("{key}.conv2"), conv2);
                }
            }
            if let Some(transition) = self.features.transitions.get(i) {
                let key = format!("features.transition{}", i + 1);
                list.norm(&format!("{key}.norm"), &transition.norm);
                list.conv(&format!("{key}.conv"), &transition.conv);
            }
        }
        list.norm("features.norm5", &self.features.norm5);
        if let Some(classifier) = &self.classifier {
            list.push("classifier", "weight", &classifier.weight);
            list.push("classifier", "bias", &classifier.bias);
        }
        list.0
    }

    /// Lays every convolution's weight out channels-last, in place: `model.to(memory_format=torch.channels_last)`.
    /// Convolutions then run, and hand on, channels-last tensors; often faster on CPU, with other roundings.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn to_channels_last(&self) -> Result<()> {
        for (_, mut tensor) in self.named_tensors().into_iter().filter(|(_, tensor)| tensor.dim() == 4) {
            tensor.set_data(&channels_last(&tensor.f_detach()?)?);
        }
        Ok(())
    }

    /// Sets [`BatchNorm2d::frozen`] of every batch norm.
    pub fn freeze_batch_norms(&mut self, frozen: bool) {
        let Features { stem, blocks, transitions, norm5 } = &mut self.features;
        let layers = blocks.iter_mut().flat_map(|block| &mut block.layers);
        let of_layers = layers.flat_map(|layer| std::iter::once(&mut layer.norm1).chain(&mut layer.norm2));
        let norms = stem.norms.iter_mut().chain(of_layers);
        let norms = norms.chain(transitions.iter_mut().map(|transition| &mut transition.norm)).chain([norm5]);
        norms.for_each(|norm| norm.frozen = frozen);
    }

    /// How many numbers the trainable tensors hold (torchvision's `num_params`), frozen ones included.
    pub fn num_parameters(&self) -> i64 {
        let buffer = |key: &str| {
            [".running_mean", ".running_var", ".num_batches_tracked"].iter().any(|end| key.ends_with(end))
        };
        let tensors = self.named_tensors();
        tensors.iter().filter(|(key, _)| !buffer(key)).map(|(_, tensor)| tensor.numel() as i64).sum()
    }

    /// Pictures to logits: [N, in_channels, H, W] to [N, num_classes] (pooled features [N, C] where there is no head).
    ///
    /// `train` chooses batch statistics and dropout, as PyTorch's `train()` and `eval()` do. torchvision: `forward`.
    ///
    /// # Errors
    /// [`ModelError::InputShape`], [`ModelError::InputKind`] or [`ModelError::InputDevice`] say what input this network
    /// takes; [`ModelError::OneValuePerChannel`]; or libtorch's own.
    pub fn try_forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        if let Some(prepared) = self.prepared(xs, train)? {
            return prepared.forward(xs);
        }
        if self.fused_run(train).is_none() {
            return self.forward_head(&self.forward_features(xs, train)?, false);
        }
        let pooled = self.run_features(xs, train, &mut Taps::none(), true)?;
        match &self.classifier {
            Some(classifier) => classifier.try_forward(&pooled),
            None => Ok(pooled),
        }
    }

    /// Chooses what computes a network of [`Memory::Fused`](super::Memory::Fused) or
    /// [`Memory::Minimal`](super::Memory::Minimal): [`Kernels::Best`] unless told otherwise. Other networks run on ATen's
    /// kernels alone.
    pub fn set_kernels(&mut self, kernels: Kernels) {
        self.engine.kernels = kernels;
    }

    /// Chooses how [`DenseNet::try_forward`] computes in evaluation where no graph is to be recorded (under `no_grad`, or
    /// with nothing that requires gradients): [`Numerics::Exact`] unless told otherwise. `Fused` and `Auto` keep a
    /// [`Prepared`] network beside this one, made at the first such call and anew whenever it is
    /// [stale](Prepared::stale). Every other pass, and those to feature maps, compute as before.
    pub fn set_numerics(&mut self, numerics: Numerics) {
        self.engine.numerics = numerics;
    }

    /// What [`DenseNet::set_numerics`] chose.
    pub fn numerics(&self) -> Numerics {
        self.engine.numerics
    }

    /// Where the time of our own kernels' passes went since the last call, part by part, for those who tune them. The first
    /// call turns the clock on.
    pub fn fused_profile(&self) -> Vec<(&'static str, Duration)> {
        self.engine.profile()
    }

    /// Where the network's tensors are.
    pub fn device(&self) -> Device {
        self.features.norm5.weight.device()
    }

    /// What inputs it takes.
    pub(super) fn expected(&self) -> Expected {
        Expected {
            channels: self.config.in_channels,
            min: self.config.min_input_size(),
            kind: self.features.stem.convs[0].weight.kind(),
            device: self.device(),
        }
    }

    /// Checks rank, channels, size, dtype and device of an input.
    pub(crate) fn check_input(&self, xs: &Tensor) -> Result<()> {
        self.expected().check(xs)
    }

    /// The prepared network that computes this pass, where [`DenseNet::set_numerics`] asks for one: evaluation, and nothing
    /// to be recorded.
    fn prepared(&self, xs: &Tensor, train: bool) -> Result<Option<Arc<Prepared>>> {
        let numerics = self.engine.numerics;
        if train || numerics == Numerics::Exact || (autograd::grad_enabled() && self.wants_gradients(xs)) {
            return Ok(None);
        }
        let mut kept = self.engine.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = kept.as_ref().filter(|prepared| !prepared.stale(self)) {
            return Ok(Some(prepared.clone()));
        }
        match Prepared::new(self) {
            Ok(prepared) => Ok(Some(kept.insert(Arc::new(prepared)).clone())),
            Err(ModelError::NotFusable { .. }) if numerics == Numerics::Auto => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn wants_gradients(&self, xs: &Tensor) -> bool {
        xs.requires_grad() || self.named_tensors().iter().any(|(_, tensor)| tensor.requires_grad())
    }
}

/// The inputs that a network takes: [N, channels, H, W].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub channels: i64,
    /// Of H and W.
    pub min: i64,
    pub kind: Kind,
    pub device: Device,
}

impl Expected {
    /// Refuses every other.
    pub fn check(&self, xs: &Tensor) -> Result<()> {
        let Expected { channels, min, kind, device } = *self;
        let got = xs.size();
        let fits = matches!(got[..], [_, got, height, width]
            if got == channels && height >= min && width >= min);
        if !fits {
            return Err(ModelError::InputShape { got, channels, min });
        }
        if xs.kind() != kind {
            return Err(ModelError::InputKind { got: xs.kind(), expected: kind });
        }
        if xs.device() != device {
            return Err(ModelError::InputDevice { got: xs.device(), expected: device });
        }
        Ok(())
    }
}

/// `ModuleT` for those who compose with `tch::nn`. Where [`DenseNet::try_forward`] fails, this panics with its words.
impl nn::ModuleT for DenseNet {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        self.try_forward(xs, train).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The path a dotted key leads to, and its last part.
pub(super) fn walk<'a, 'k>(path: &nn::Path<'a>, key: &'k str) -> (nn::Path<'a>, &'k str) {
    let (parents, leaf) = key.rsplit_once('.').unwrap_or(("", key));
    let parent =
        parents.split('.').filter(|part| !part.is_empty()).fold(path.clone(), |path, part| path / part);
    (parent, leaf)
}

struct List(Vec<(String, Tensor)>);

impl List {
    fn push(&mut self, key: &str, name: &str, tensor: &Tensor) {
        self.0.push((format!("{key}.{name}"), tensor.shallow_clone()));
    }

    fn conv(&mut self, key: &str, conv: &Conv2d) {
        self.push(key, "weight", &conv.weight);
    }

    fn norm(&mut self, key: &str, norm: &BatchNorm2d) {
        self.push(key, "weight", &norm.weight);
        self.push(key, "bias", &norm.bias);
        self.push(key, "running_mean", &norm.running_mean);
        self.push(key, "running_var", &norm.running_var);
        self.push(key, "num_batches_tracked", &norm.num_batches_tracked);
    }
}
