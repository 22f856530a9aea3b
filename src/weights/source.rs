//! From what a person types to a filled network.

use super::description::{Description, Evidence};
use super::error::{Result, WeightsError};
use super::hub::Hub;
use super::options::NetworkOptions;
use super::progress::Progress;
use super::registry::{names, FetchOptions, Weights};
use super::sidecar::Sidecar;
use crate::checkpoint::{
    self, InferredConfig, InferredStem, LoadOptions, LoadReport, Normalized, ReadOptions, StateDict,
};
use crate::model::{Arch, DenseNet, DenseNetConfig, Init, Stem};
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
    /// What is known of it.
    pub description: Description,
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
        self.open_with(&NetworkOptions::default())
    }

    /// As [`WeightsSource::open`], at the root that `options` name.
    ///
    /// # Errors
    /// [`WeightsError::Checkpoint`].
    pub fn open_with(&self, options: &NetworkOptions) -> Result<StateDict> {
        let read = ReadOptions { root: options.root.clone() };
        match self {
            WeightsSource::File(path) | WeightsSource::Fetched(_, path) => StateDict::open_with(path, &read),
            WeightsSource::Registry(weights) => match weights.embedded() {
                Some(bytes) => StateDict::from_bytes_with(bytes.to_vec(), &read),
                None => return self.clone().fetched(&FetchOptions::from_env(), &mut ())?.open_with(options),
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
    /// The configuration is the sidecar's, else inferred from the tensors. Class names and transforms are the sidecar's,
    /// else those of timm's `config.json` beside the file, else those of the file's origin; for torchvision's own files
    /// (by name) ImageNet's.
    ///
    /// # Errors
    /// Any [`WeightsError`].
    pub fn load(&self, device: Device) -> Result<LoadedNetwork> {
        self.load_with(device, &NetworkOptions::default())
    }

    /// As [`WeightsSource::load`], with what the caller knows.
    ///
    /// # Errors
    /// Any [`WeightsError`].
    pub fn load_with(&self, device: Device, options: &NetworkOptions) -> Result<LoadedNetwork> {
        let dict = self.open_with(options)?;
        let description = self.describe(&dict, options)?;
        let vs = nn::VarStore::new(device);
        let mut network = DenseNet::with_init(&vs.root(), &description.config, Init::Empty)
            .map_err(|source| self.model(source))?;
        network.set_numerics(options.numerics);
        let load = LoadOptions { names: options.names.clone(), ..LoadOptions::default() };
        let report = checkpoint::load(&network.named_tensors(), &dict, &load)
            .map_err(|source| self.checkpoint(source))?;
        Ok(LoadedNetwork { network, description, report })
    }

    /// What is known of the network besides its numbers; reads no tensor.
    ///
    /// # Errors
    /// [`WeightsError::Checkpoint`] where the tensors are no DenseNet's, or cannot be used; [`WeightsError::UnknownStem`]
    /// and [`WeightsError::OtherStem`]; those of reading a sidecar; [`WeightsError::CategoryCount`].
    pub fn describe(&self, dict: &StateDict, options: &NetworkOptions) -> Result<Description> {
        self.describe_normalized(dict, &self.normalize(dict, options)?, options)
    }

    /// The file's names brought to torchvision's.
    ///
    /// # Errors
    /// [`WeightsError::Checkpoint`], as [`checkpoint::normalize`].
    pub fn normalize<'a>(&self, dict: &'a StateDict, options: &NetworkOptions) -> Result<Normalized<'a>> {
        checkpoint::normalize(dict, &options.names).map_err(|source| self.checkpoint(source))
    }

    /// The sidecar that says all that is known of the weights, for a file made from them: [`WeightsSource::sidecar`]
    /// completed by the file's origin. `None` where the tensors alone say everything.
    ///
    /// # Errors
    /// Those of reading a sidecar.
    pub fn full_sidecar(&self, dict: &StateDict, options: &NetworkOptions) -> Result<Option<Sidecar>> {
        let own = self.sidecar()?;
        // Any state dict can be converted, a DenseNet's or not.
        let Ok(description) = self.describe(dict, options) else { return Ok(own) };
        let full = description.sidecar();
        Ok(match own {
            None if description.is_inferred() => None,
            None => Some(full),
            Some(mut own) => {
                own.provenance.extend(full.provenance);
                Some(Sidecar { metrics: own.metrics, provenance: own.provenance, ..full })
            }
        })
    }

    /// As [`WeightsSource::describe`], where names have been read already.
    ///
    /// # Errors
    /// As there.
    pub fn describe_normalized(
        &self,
        dict: &StateDict,
        normalized: &Normalized,
        options: &NetworkOptions,
    ) -> Result<Description> {
        let path = match self {
            WeightsSource::File(path) => Some(path.as_path()),
            // The registry says more than what lies beside a file in the cache.
            WeightsSource::Registry(_) | WeightsSource::Fetched(..) => None,
        };
        let evidence = Evidence {
            name: self.name(),
            path,
            sidecar: self.sidecar()?.unwrap_or_default(),
            hub: path.map(Hub::beside).transpose()?.flatten(),
            dict,
            normalized,
        };
        evidence.describe(options)
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
