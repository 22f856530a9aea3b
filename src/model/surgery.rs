//! timm's ways into a network: features, head, intermediates, another classifier.

use super::config::Memory;
use super::densenet::DenseNet;
use super::error::{ModelError, Result};
use super::fused::Run;
use super::init::{self, Init};
use super::layers::Linear;
use tch::{nn, Tensor};

/// One of the feature maps [`DenseNet::forward_intermediates`] hands out. timm: an entry of `feature_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureInfo {
    /// Module whose output it is (torchvision's name).
    pub module: String,
    /// Its channels.
    pub num_chs: i64,
    /// Input pixels a pixel of it stands for, along one side.
    pub reduction: i64,
}

/// Feature maps that a caller asked for, on their way to it.
pub(super) struct Taps {
    wanted: Vec<usize>,
    maps: Vec<Option<Tensor>>,
}

impl Taps {
    /// None asked for.
    pub(super) fn none() -> Self {
        Taps { wanted: Vec::new(), maps: Vec::new() }
    }

    fn wants(&self, at: usize) -> bool {
        self.wanted.contains(&at)
    }

    fn put(&mut self, at: usize, map: &Tensor) {
        if self.wants(at) {
            self.maps[at] = Some(map.shallow_clone());
        }
    }
}

impl DenseNet {
    /// Pictures [N, in_channels, H, W] to `norm5`'s output [N, C, H', W'], before the last ReLU.
    ///
    /// torchvision: `self.features(x)`. (timm's method of this name includes that ReLU.) torchvision's `forward` then
    /// overwrites this tensor; ours never does.
    ///
    /// # Errors
    /// As [`DenseNet::try_forward`].
    pub fn forward_features(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.run_features(xs, train, &mut Taps::none(), false)
    }

    /// [`DenseNet::forward_features`]'s output to logits [N, num_classes]; with `pre_logits`, or without a head, to
    /// pooled features [N, C]: ReLU, global average pooling, flatten, classifier.
    ///
    /// # Errors
    /// libtorch's own, on a tensor of another rank or width.
    pub fn forward_head(&self, features: &Tensor, pre_logits: bool) -> Result<Tensor> {
        let pooled = features.f_relu()?.f_adaptive_avg_pool2d([1, 1])?.f_flatten(1, -1)?;
        match &self.classifier {
            Some(classifier) if !pre_logits => classifier.try_forward(&pooled),
            _ => Ok(pooled),
        }
    }

    /// [`DenseNet::forward_features`]'s output, and the feature maps at `indices` of [`DenseNet::feature_info`], in that
    /// order; negative indices count from the end.
    ///
    /// # Errors
    /// [`ModelError::FeatureIndex`], or as [`DenseNet::try_forward`].
    pub fn forward_intermediates(
        &self,
        xs: &Tensor,
        indices: &[i64],
        train: bool,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let count = self.feature_info().len();
        let wanted = indices
            .iter()
            .map(|&index| {
                let from_start = if index < 0 { index + count as i64 } else { index };
                usize::try_from(from_start)
                    .ok()
                    .filter(|&at| at < count)
                    .ok_or(ModelError::FeatureIndex { index, count })
            })
            .collect::<Result<Vec<usize>>>()?;
        let mut taps = Taps { wanted, maps: (0..count).map(|_| None).collect() };
        let features = self.run_features(xs, train, &mut taps, false)?;
        taps.put(count - 1, &features);
        let Taps { wanted, maps } = taps;
        let picked = wanted.iter().filter_map(|&at| maps[at].as_ref().map(Tensor::shallow_clone)).collect();
        Ok((features, picked))
    }

    /// The feature maps there are: the stem before its pooling, every dense block but the last, and `norm5`.
    pub fn feature_info(&self) -> Vec<FeatureInfo> {
        let config = &self.config;
        let stem = &self.features.stem;
        let last_stem = stem.convs.len() - 1;
        let module = match stem.norms.len() {
            0 => format!("features.conv{last_stem}"),
            _ => format!("features.relu{last_stem}"),
        };
        let mut reduction = if stem.pool { 2 } else { 1 };
        let mut infos = vec![FeatureInfo { module, num_chs: config.num_init_features, reduction }];
        if stem.pool {
            reduction *= 2;
        }
        let mut width = config.num_init_features;
        for (i, layers) in config.block_config.iter().enumerate() {
            width += layers * config.growth_rate;
            let last = i + 1 == config.block_config.len();
            let module =
                if last { "features.norm5".to_string() } else { format!("features.denseblock{}", i + 1) };
            infos.push(FeatureInfo { module, num_chs: width, reduction });
            width = config.compressed(width);
            reduction *= 2;
        }
        infos
    }

    /// Everything up to `norm5`; in a fused network with `pooled`, up to the global pooling. `taps` gets the feature maps
    /// of [`DenseNet::feature_info`] that it wants, but the last.
    pub(super) fn run_features(
        &self,
        xs: &Tensor,
        train: bool,
        taps: &mut Taps,
        pooled: bool,
    ) -> Result<Tensor> {
        self.check_input(xs)?;
        let features = &self.features;
        let fused = self.fused_run(train);
        let stem = match fused {
            Some(_) if !taps.wants(0) => self.engine.stem(&features.stem, xs, train)?,
            _ => None,
        };
        let mut xs = match stem {
            Some(pooled) => pooled,
            // Without gradients the map goes back before the first block.
            None => {
                let stem = features.stem.try_forward(xs, train)?;
                taps.put(0, &stem);
                features.stem.try_pool(&stem)?
            }
        };
        if let Some(run) = fused {
            for index in 0..features.blocks.len() {
                let tap = index + 1 < features.blocks.len() && taps.wants(index + 1);
                let (output, map) = self.engine.stage(features, index, &xs, run, tap, pooled)?;
                if let Some(map) = map {
                    taps.put(index + 1, &map);
                }
                xs = output;
            }
            return Ok(xs);
        }
        for (i, block) in features.blocks.iter().enumerate() {
            xs = block.try_forward(&xs, train)?;
            if let Some(transition) = features.transitions.get(i) {
                taps.put(i + 1, &xs);
                xs = transition.try_forward(&xs, train)?;
            }
        }
        features.norm5.try_forward(&xs, train)
    }

    /// How the blocks run where they are fused; `None` where they are not.
    pub(super) fn fused_run(&self, train: bool) -> Option<Run> {
        match self.config.memory {
            Memory::Fused => Some(Run { train, keep_bottlenecks: true }),
            Memory::Minimal => Some(Run { train, keep_bottlenecks: false }),
            Memory::Standard | Memory::Efficient => None,
        }
    }

    /// Gives the network a new classifier for `num_classes` classes, initialized as torchvision's constructor does
    /// (drawing from libtorch's generator), or none for 0. timm: `reset_classifier`.
    ///
    /// `vs` is the `VarStore` the network was built in; the old tensors leave it. An optimizer made before still holds
    /// them: make it afterwards.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a negative count, [`ModelError::ForeignVarStore`], [`ModelError::KeyTaken`], or
    /// libtorch's own; the network is then as it was.
    pub fn reset_classifier(&mut self, vs: &nn::VarStore, num_classes: i64) -> Result<()> {
        let mut config = self.config.clone();
        config.num_classes = num_classes;
        config.validate()?;
        let full =
            |name: &str| self.prefix.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        let ours = &self.features.stem.convs[0].weight;
        let key = full("features.conv0.weight");
        let same = |tensor: &Tensor| tensor.data_ptr() == ours.data_ptr();
        if !vs.variables().get(&key).is_some_and(same) {
            return Err(ModelError::ForeignVarStore { key });
        }
        let classifier = match num_classes {
            0 => None,
            classes => {
                let mut own = nn::VarStore::new(ours.device());
                own.set_kind(ours.kind());
                let classifier = Linear::new(&own.root(), config.num_features(), classes, Init::Torchvision)?;
                init::constant(&classifier.bias, 0.0)?;
                Some(classifier)
            }
        };
        let (weight, bias) = (full("classifier.weight"), full("classifier.bias"));
        if self.classifier.is_none() {
            if let Some(key) = [&weight, &bias].into_iter().find(|&key| vs.variables().contains_key(key)) {
                return Err(ModelError::KeyTaken { key: key.clone() });
            }
        }
        {
            let mut variables = vs.variables_.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for key in [&weight, &bias] {
                if let Some(old) = variables.named_variables.remove(key) {
                    variables.trainable_variables.retain(|var| var.tensor.data_ptr() != old.data_ptr());
                }
            }
        }
        if let Some(classifier) = &classifier {
            let path = self.prefix.iter().fold(vs.root(), |path, part| path / part) / "classifier";
            let _ = path.add("weight", classifier.weight.shallow_clone(), true);
            let _ = path.add("bias", classifier.bias.shallow_clone(), true);
        }
        self.classifier = classifier;
        self.config = config;
        Ok(())
    }
}
