//! What is known of weights besides their numbers: from the caller, a sidecar, timm's `config.json`, the family the file
//! belongs to, its tensors, in this order.

use super::categories::{check_count, imagenet_categories};
use super::error::{Result, WeightsError};
use super::hub::{stem_of, Hub};
use super::options::{NetworkOptions, Outputs};
use super::registry::Weights;
use super::sidecar::Sidecar;
use crate::checkpoint::{self, InferredStem, InputPreset, Normalized, StateDict};
use crate::model::{DenseNetConfig, Stem};
use crate::transforms::{ImageClassification, Interpolation};
use std::path::Path;

/// Which network weights belong to, what it takes and what its outputs mean.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// The network.
    pub config: DenseNetConfig,
    /// Class or label names in the classifier's order; empty where nobody says. An empty name is an output that was
    /// never trained.
    pub categories: Vec<String>,
    /// How pictures become its inputs; `None` where nobody says.
    pub transforms: Option<ImageClassification>,
    /// What its outputs mean.
    pub outputs: Outputs,
    /// Whose file it is; `None` for torchvision's names.
    pub origin: Option<String>,
    /// What the user should know about such files.
    pub notes: Vec<String>,
}

/// Everything a description is made from.
pub(super) struct Evidence<'a> {
    /// What to call the weights in errors.
    pub(super) name: String,
    /// Their file, if they are one.
    pub(super) path: Option<&'a Path>,
    pub(super) sidecar: Sidecar,
    pub(super) hub: Option<Hub>,
    pub(super) dict: &'a StateDict,
    pub(super) normalized: &'a Normalized<'a>,
}

impl Description {
    /// Whether a file's tensors alone, under torchvision's names, say all of this.
    pub(super) fn is_inferred(&self) -> bool {
        self.categories.is_empty()
            && self.transforms.is_none()
            && (self.outputs == Outputs::Classes || self.config.num_classes == 1)
            && !matches!(self.config.stem, Stem::Deep | Stem::DeepBlur)
    }

    /// A sidecar that says all of it.
    pub fn sidecar(&self) -> Sidecar {
        let mut sidecar = Sidecar {
            config: Some(self.config.clone()),
            categories: self.categories.clone(),
            transforms: self.transforms.clone(),
            outputs: Some(self.outputs),
            ..Sidecar::default()
        };
        if let Some(origin) = &self.origin {
            sidecar.provenance.insert("origin".to_string(), origin.clone().into());
        }
        sidecar
    }
}

impl Evidence<'_> {
    pub(super) fn describe(self, options: &NetworkOptions) -> Result<Description> {
        let config = self.config(options)?;
        let outputs = match (self.sidecar.outputs, self.normalized.outputs()) {
            (Some(outputs), _) => outputs,
            (None, Some(_)) => Outputs::Labels,
            // A softmax over one output is always 1.
            (None, None) if config.num_classes == 1 => Outputs::Labels,
            (None, None) => Outputs::Classes,
        };
        let categories = self.categories(&config);
        check_count(&self.name, &categories, config.num_classes)?;
        let by_origin = || {
            self.normalized
                .input()
                .map(transforms_of)
                .filter(|transforms| i64::from(transforms.channels) == config.in_channels)
        };
        let transforms = self
            .sidecar
            .transforms
            .clone()
            .or_else(|| self.hub.as_ref().map(|hub| hub.transforms.clone()))
            .or_else(by_origin);
        Ok(Description {
            config,
            categories,
            transforms,
            outputs,
            origin: self.normalized.origin(),
            notes: self.normalized.notes().into_iter().map(str::to_string).collect(),
        })
    }

    fn config(&self, options: &NetworkOptions) -> Result<DenseNetConfig> {
        let mut config = match &self.sidecar.config {
            Some(config) => DenseNetConfig { stem: options.stem.unwrap_or(config.stem), ..config.clone() },
            None => {
                let inferred = checkpoint::infer(self.normalized)
                    .map_err(|source| WeightsError::Checkpoint { name: self.name.clone(), source })?;
                let stem = self.stem(inferred.stem, options.stem)?;
                DenseNetConfig { stem, ..inferred.into() }
            }
        };
        config.memory = options.memory;
        Ok(config)
    }

    /// The stem: tensors tell all but whether a deep one has a blur.
    fn stem(&self, inferred: InferredStem, asked: Option<Stem>) -> Result<Stem> {
        let possible: &[Stem] = match inferred {
            InferredStem::Imagenet => &[Stem::Imagenet],
            InferredStem::Small => &[Stem::Small],
            InferredStem::Deep => &[Stem::Deep, Stem::DeepBlur],
        };
        if let Some(asked) = asked {
            if possible.contains(&asked) {
                return Ok(asked);
            }
            let possible = possible.iter().map(|stem| stem.name()).collect::<Vec<_>>().join(" or ");
            return Err(WeightsError::OtherStem { name: self.name.clone(), asked, possible });
        }
        if let [only] = possible {
            return Ok(*only);
        }
        let by_hub = self.hub.as_ref().and_then(|hub| hub.stem);
        let by_text = |key: &str| {
            let said = self.dict.beside.iter().chain(&self.dict.metadata);
            said.filter(|(name, _)| name == key).find_map(|(_, arch)| stem_of(arch))
        };
        let by_name = || {
            let stem = self.path?.file_stem()?.to_str()?.split(['-', '_', '.']).next()?;
            stem_of(stem)
        };
        let said = by_hub.or_else(|| by_text("arch")).or_else(by_name);
        said.filter(|stem| possible.contains(stem))
            .ok_or_else(|| WeightsError::UnknownStem { name: self.name.clone() })
    }

    fn categories(&self, config: &DenseNetConfig) -> Vec<String> {
        if !self.sidecar.categories.is_empty() {
            return self.sidecar.categories.clone();
        }
        let classes = usize::try_from(config.num_classes).unwrap_or(0);
        if let Some(hub) =
            self.hub.as_ref().filter(|hub| !hub.categories.is_empty() && hub.categories.len() == classes)
        {
            return hub.categories.clone();
        }
        let official = self.path.and_then(Weights::of_file).and_then(|weights| weights.entry().arch);
        if official.is_some_and(|arch| *config == DenseNetConfig { memory: config.memory, ..arch.config() }) {
            return imagenet_categories();
        }
        match self.normalized.outputs() {
            Some(labels) if labels.names.len() == classes => {
                let trained = trained_labels(self.path);
                let label = |name: &&str| {
                    if trained.is_none_or(|trained| trained.contains(name)) {
                        name.to_string()
                    } else {
                        String::new()
                    }
                };
                labels.names.iter().map(label).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The preset as the transforms' data.
fn transforms_of(preset: &InputPreset) -> ImageClassification {
    ImageClassification {
        resize_size: Some(preset.resize_size),
        squash: preset.squash,
        crop_size: Some(preset.crop_size),
        range: preset.range,
        mean: preset.mean.to_vec(),
        std: preset.std.to_vec(),
        interpolation: if preset.bicubic { Interpolation::Bicubic } else { Interpolation::Bilinear },
        channels: preset.mean.len() as u32,
        ..ImageClassification::default()
    }
}

/// The labels that torchxrayvision's networks of a single data set were trained on, by the file's name (nothing else tells;
/// `torchxrayvision.models.model_urls`). `None`: all of them.
fn trained_labels(path: Option<&Path>) -> Option<&'static [&'static str]> {
    const PADCHEST: &[&str] = &[
        "Atelectasis",
        "Consolidation",
        "Infiltration",
        "Pneumothorax",
        "Edema",
        "Emphysema",
        "Fibrosis",
        "Effusion",
        "Pneumonia",
        "Pleural_Thickening",
        "Cardiomegaly",
        "Nodule",
        "Mass",
        "Hernia",
        "Fracture",
    ];
    /// All but the last, the fracture.
    const NIH: &[&str] = PADCHEST.split_at(14).0;
    const CHEXPERT: &[&str] = &[
        "Atelectasis",
        "Consolidation",
        "Pneumothorax",
        "Edema",
        "Effusion",
        "Pneumonia",
        "Cardiomegaly",
        "Lung Lesion",
        "Fracture",
        "Lung Opacity",
        "Enlarged Cardiomediastinum",
    ];
    const RSNA: &[&str] = &["Pneumonia", "Lung Opacity"];
    let (data, _) = path?.file_name()?.to_str()?.split_once("-densenet121-d121-tw-lr001")?;
    match data {
        "nih" => Some(NIH),
        "pc" => Some(PADCHEST),
        "chex" | "mimic_nb" | "mimic_ch" => Some(CHEXPERT),
        "kaggle" => Some(RSNA),
        _ => None,
    }
}
