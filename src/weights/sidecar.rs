//! What a file of weights does not say itself.

use super::error::{Result, WeightsError};
use super::options::Outputs;
use crate::model::DenseNetConfig;
use crate::transforms::ImageClassification;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The JSON file beside a file of weights: `NAME.json` for `NAME.safetensors` or `NAME.pth`.
///
/// Every field may be left out; unknown ones are refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sidecar {
    /// What network the weights are of; inferred from the tensors where absent.
    pub config: Option<DenseNetConfig>,
    /// Class names in the classifier's order.
    pub categories: Vec<String>,
    /// How pictures become inputs; torchvision's ImageNet preset where absent.
    pub transforms: Option<ImageClassification>,
    /// What the outputs mean; where absent, classes, or labels where the file's origin is known for them.
    pub outputs: Option<Outputs>,
    /// Figures such as `test_top1` (0 to 1), as whoever trained the weights measured them.
    pub metrics: serde_json::Map<String, serde_json::Value>,
    /// Data, recipe, seed and the like.
    pub provenance: serde_json::Map<String, serde_json::Value>,
}

impl Sidecar {
    /// Where the sidecar of the weights at `weights` lies.
    pub fn path_beside(weights: &Path) -> PathBuf {
        weights.with_extension("json")
    }

    /// Reads the sidecar of the weights at `weights`; `None` where there is none.
    ///
    /// # Errors
    /// [`WeightsError::SidecarIo`], [`WeightsError::SidecarJson`].
    pub fn beside(weights: &Path) -> Result<Option<Sidecar>> {
        let path = Self::path_beside(weights);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(WeightsError::SidecarIo { path, source }),
        };
        serde_json::from_str(&text).map(Some).map_err(|source| WeightsError::SidecarJson { path, source })
    }

    /// Writes the sidecar of the weights at `weights`, whole or not at all.
    ///
    /// # Errors
    /// [`WeightsError::SidecarIo`].
    pub fn write_beside(&self, weights: &Path) -> Result<()> {
        let path = Self::path_beside(weights);
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other);
        text.and_then(|text| crate::checkpoint::write_atomically(&path, (text + "\n").as_bytes()))
            .map_err(|source| WeightsError::SidecarIo { path, source })
    }
}
