//! From what a person types to a filled network.

use super::categories::{check_count, imagenet_categories};
use super::error::{Result, WeightsError};
use super::progress::Progress;
use super::registry::{names, FetchOptions, Weights};
use super::sidecar::Sidecar;
use crate::checkpoint::{
    self, InferredConfig, InferredStem, LoadOptions, LoadReport, NameOptions, StateDict,
};
use crate::model::{Arch, DenseNet, DenseNetConfig, Init, Memory, Stem};
use crate::transforms::ImageClassification;
use std::path::PathBuf;
use tch::{nn, Device};

/// Where weights come from, resolved once from what a person typed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightsSource {
    /// A checkpoint file in any of the formats [`StateDict::open`] reads.
    File(PathBuf),
    /// Weights with a name; those that are not part of the crate are looked for in the cache and fetched on use.
    Registry(Weights),
    /// Weights with a name, and their file, which has been checked.
    Fetched(Weights, PathBuf),
}

/// A network filled with weights, and what belongs to them.
pub struct LoadedNetwork {
    /// The network, on the device asked for, f32.
    pub network: DenseNet,
    /// Class names in the classifier's order; empty where nobody says.
    pub categories: Vec<String>,
    /// How pictures become its inputs.
    pub transforms: ImageClassification,
    /// What loading did.
    pub report: LoadReport,
}

impl WeightsSource {
    /// A name of weights (see [`Weights`]), else an existing file.
    ///
    /// # Errors
    /// [`WeightsError::UnknownName`] if it is neither.
    pub fn resolve(text: &str) -> Result<WeightsSource> {
        Self::resolve_for(text, None)
    }

    /// As [`WeightsSource::resolve`], where `arch` completes a tag (`imagenet1k_v1`, `DEFAULT`) and refuses the names of
    /// other architectures. What a file holds is not looked at here.
    ///
    /// # Errors
    /// [`WeightsError::UnknownName`], [`WeightsError::TagAlone`], [`WeightsError::OtherArch`].
    pub fn resolve_for(text: &str, arch: Option<Arch>) -> Result<WeightsSource> {
        if names::is_tag(text) {
            let arch = arch.ok_or_else(|| WeightsError::TagAlone { tag: text.to_string() })?;
            return Weights::for_arch(arch, text).map(WeightsSource::Registry);
        }
        if let Some(weights) = names::find(text) {
            let source = WeightsSource::Registry(weights);
            return match arch {
                Some(arch) if weights.entry().arch != Some(arch) => {
                    Err(source.other_arch(weights.entry().arch, arch))
                }
                _ => Ok(source),
            };
        }
        let path = PathBuf::from(text);
        // A path that cannot be looked at goes on to the reader, which says why.
        if matches!(path.try_exists(), Ok(false)) {
            return Err(names::unknown(text));
        }
        Ok(WeightsSource::File(path))
    }

    /// The same with its file at hand and checked: the cache's, else downloaded, which `progress` hears of. Files and
    /// weights that are part of the crate stay as they are.
    ///
    /// # Errors
    /// As [`Weights::fetch`].
    pub fn fetched(self, options: &FetchOptions, progress: &mut dyn Progress) -> Result<WeightsSource> {
        match self {
            WeightsSource::Registry(weights) => Ok(match weights.fetch(options, progress)? {
                Some(path) => WeightsSource::Fetched(weights, path),
                None => self,
            }),
            other => Ok(other),
        }
    }

    /// What to call it in messages.
    pub fn name(&self) -> String {
        match self {
            WeightsSource::File(path) => path.display().to_string(),
            WeightsSource::Registry(weights) => weights.to_string(),
            WeightsSource::Fetched(weights, path) => format!("{weights} ({})", path.display()),
        }
    }

    /// Opens the tensors; none is read yet. Weights with a name are fetched first if they are not in the cache, in
    /// silence and as [`FetchOptions::from_env`] allows; [`WeightsSource::fetched`] does that with a say.
    ///
    /// # Errors
    /// [`WeightsError::Checkpoint`], or as [`Weights::fetch`].
    pub fn open(&self) -> Result<StateDict> {
        match self {
            WeightsSource::File(path) | WeightsSource::Fetched(_, path) => StateDict::open(path),
            WeightsSource::Registry(weights) => match weights.embedded() {
                Some(bytes) => StateDict::from_bytes(bytes.to_vec()),
                None => return self.clone().fetched(&FetchOptions::from_env(), &mut ())?.open(),
            },
        }
        .map_err(|source| self.checkpoint(source))
    }

    /// The sidecar: the registry's for weights with a name, else the file beside the weights, if there is one.
    ///
    /// # Errors
    /// [`WeightsError::SidecarIo`], [`WeightsError::SidecarJson`].
    pub fn sidecar(&self) -> Result<Option<Sidecar>> {
        match self {
            WeightsSource::File(path) => Sidecar::beside(path),
            WeightsSource::Registry(weights) | WeightsSource::Fetched(weights, _) => {
                Ok(Some(weights.sidecar()))
            }
        }
    }

    /// Builds the network the weights belong to and fills it.
    ///
    /// The configuration is the sidecar's, else inferred from the tensors. Class names are the sidecar's, else
    /// ImageNet's for torchvision's own files (by name), else none.
    ///
    /// # Errors
    /// Any [`WeightsError`].
    pub fn load(&self, device: Device) -> Result<LoadedNetwork> {
        self.load_with(device, Memory::Standard)
    }

    /// As [`WeightsSource::load`], for training in another memory mode.
    ///
    /// # Errors
    /// Any [`WeightsError`].
    pub fn load_with(&self, device: Device, memory: Memory) -> Result<LoadedNetwork> {
        let dict = self.open()?;
        let sidecar = self.sidecar()?.unwrap_or_default();
        let mut config = match sidecar.config {
            Some(config) => config,
            None => self.infer(&dict)?,
        };
        config.memory = memory;
        let vs = nn::VarStore::new(device);
        let network =
            DenseNet::with_init(&vs.root(), &config, Init::Empty).map_err(|source| self.model(source))?;
        let report = checkpoint::load(&network.named_tensors(), &dict, &LoadOptions::default())
            .map_err(|source| self.checkpoint(source))?;
        let categories = match self {
            WeightsSource::File(path) if sidecar.categories.is_empty() => {
                let official = Weights::of_file(path).and_then(|weights| weights.entry().arch);
                if official.is_some_and(|arch| config == arch.config()) {
                    imagenet_categories()
                } else {
                    Vec::new()
                }
            }
            _ => sidecar.categories,
        };
        check_count(&self.name(), &categories, config.num_classes)?;
        let transforms = sidecar.transforms.unwrap_or_default();
        Ok(LoadedNetwork { network, categories, transforms, report })
    }

    /// The configuration that the tensors' names and shapes tell.
    ///
    /// # Errors
    /// [`WeightsError::Checkpoint`] where they are no DenseNet's.
    pub fn infer(&self, dict: &StateDict) -> Result<DenseNetConfig> {
        let normalized = checkpoint::normalize(dict, &NameOptions::default());
        let inferred = normalized.and_then(|normalized| checkpoint::infer(&normalized));
        inferred.map(DenseNetConfig::from).map_err(|source| self.checkpoint(source))
    }

    /// The error for weights that are of another architecture than the one asked for.
    pub fn other_arch(&self, found: Option<Arch>, wanted: Arch) -> WeightsError {
        let found = found.map_or("another network".to_string(), |arch| arch.to_string());
        WeightsError::OtherArch { name: self.name(), found, wanted: wanted.to_string() }
    }

    fn checkpoint(&self, source: checkpoint::CheckpointError) -> WeightsError {
        WeightsError::Checkpoint { name: self.name(), source }
    }

    fn model(&self, source: crate::model::ModelError) -> WeightsError {
        WeightsError::Model { name: self.name(), source }
    }
}

impl std::str::FromStr for WeightsSource {
    type Err = WeightsError;
    fn from_str(text: &str) -> Result<Self> {
        WeightsSource::resolve(text)
    }
}

impl From<InferredConfig> for DenseNetConfig {
    fn from(inferred: InferredConfig) -> Self {
        DenseNetConfig {
            growth_rate: inferred.growth_rate,
            block_config: inferred.block_config,
            num_init_features: inferred.num_init_features,
            bn_size: inferred.bn_size,
            compression: inferred.compression,
            num_classes: inferred.num_classes,
            in_channels: inferred.in_channels,
            stem: match inferred.stem {
                InferredStem::Imagenet => Stem::Imagenet,
                InferredStem::Small => Stem::Small,
                InferredStem::Deep => Stem::Deep,
            },
            ..DenseNetConfig::default()
        }
    }
}
