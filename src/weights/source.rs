//! From what a person types to a filled network.

use super::categories::{check_count, imagenet_categories, official_file};
use super::embedded::Embedded;
use super::error::{Result, WeightsError};
use super::sidecar::Sidecar;
use crate::checkpoint::{
    self, InferredConfig, InferredStem, LoadOptions, LoadReport, NameOptions, StateDict,
};
use crate::model::{DenseNet, DenseNetConfig, Init, Memory, Stem};
use crate::transforms::ImageClassification;
use std::path::PathBuf;
use tch::{nn, Device};

/// Where weights come from, resolved once from what a person typed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightsSource {
    /// A checkpoint file in any of the formats [`StateDict::open`] reads.
    File(PathBuf),
    /// Part of the crate.
    Embedded(Embedded),
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
    /// A name of embedded weights, else an existing file.
    ///
    /// # Errors
    /// [`WeightsError::UnknownName`] if it is neither.
    pub fn resolve(text: &str) -> Result<WeightsSource> {
        if let Some(embedded) = Embedded::ALL.into_iter().find(|embedded| embedded.name() == text) {
            return Ok(WeightsSource::Embedded(embedded));
        }
        let path = PathBuf::from(text);
        // A path that cannot be looked at goes on to the reader, which says why.
        if matches!(path.try_exists(), Ok(false)) {
            let known = Embedded::ALL.map(Embedded::name).join(", ");
            return Err(WeightsError::UnknownName { name: text.to_string(), known });
        }
        Ok(WeightsSource::File(path))
    }

    /// What to call it in messages.
    pub fn name(&self) -> String {
        match self {
            WeightsSource::File(path) => path.display().to_string(),
            WeightsSource::Embedded(embedded) => embedded.name().to_string(),
        }
    }

    /// Opens the tensors; none is read yet.
    ///
    /// # Errors
    /// [`WeightsError::Checkpoint`].
    pub fn open(&self) -> Result<StateDict> {
        match self {
            WeightsSource::File(path) => StateDict::open(path),
            WeightsSource::Embedded(embedded) => StateDict::from_bytes(embedded.tensors().to_vec()),
        }
        .map_err(|source| self.checkpoint(source))
    }

    /// The sidecar, if there is one.
    ///
    /// # Errors
    /// [`WeightsError::SidecarIo`], [`WeightsError::SidecarJson`].
    pub fn sidecar(&self) -> Result<Option<Sidecar>> {
        match self {
            WeightsSource::File(path) => Sidecar::beside(path),
            WeightsSource::Embedded(embedded) => serde_json::from_str(embedded.sidecar())
                .map(Some)
                .map_err(|source| WeightsError::SidecarJson { path: embedded.name().into(), source }),
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
                let official = official_file(path).is_some_and(|arch| config == arch.config());
                if official {
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
