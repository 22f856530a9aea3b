//! timm's `config.json`, which lies beside `model.safetensors` on the Hugging Face hub: what it says of a network that its
//! tensors do not.

use super::categories::imagenet_categories;
use super::error::{Result, WeightsError};
use crate::model::Stem;
use crate::transforms::{ImageClassification, Interpolation};
use serde::Deserialize;
use std::path::Path;

/// What is used of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hub {
    /// The stem, where the architecture's name tells it.
    pub(super) stem: Option<Stem>,
    pub(super) transforms: ImageClassification,
    /// Class names; empty where the file gives none.
    pub(super) categories: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    architecture: String,
    num_classes: Option<i64>,
    label_names: Option<Vec<String>>,
    pretrained_cfg: Pretrained,
}

#[derive(Deserialize)]
struct Pretrained {
    tag: Option<String>,
    input_size: [u32; 3],
    #[serde(default = "bicubic")]
    interpolation: Interpolation,
    #[serde(default = "seven_eighths")]
    crop_pct: f64,
    #[serde(default)]
    crop_mode: CropMode,
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// timm's ways of fitting a picture to a square; `border` pads, which is not done here.
#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum CropMode {
    #[default]
    Center,
    Squash,
}

// timm's own defaults (`timm.data.constants`).
fn bicubic() -> Interpolation {
    Interpolation::Bicubic
}

fn seven_eighths() -> f64 {
    0.875
}

impl Hub {
    /// The `config.json` in the folder of the weights at `weights`, if timm wrote one there.
    ///
    /// # Errors
    /// [`WeightsError::SidecarJson`] if it is timm's and cannot be understood.
    pub(super) fn beside(weights: &Path) -> Result<Option<Hub>> {
        let path = weights.with_file_name("config.json");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        // Many things are called config.json.
        let value = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
        if value.get("architecture").is_none() || value.get("pretrained_cfg").is_none() {
            return Ok(None);
        }
        let config = serde_json::from_value::<Config>(value)
            .map_err(|source| WeightsError::SidecarJson { path, source })?;
        Ok(Some(config.into()))
    }
}

impl From<Config> for Hub {
    fn from(config: Config) -> Hub {
        let cfg = config.pretrained_cfg;
        let [channels, side, _] = cfg.input_size;
        let crop = if cfg.crop_pct > 0.0 { cfg.crop_pct } else { 1.0 };
        let imagenet =
            config.num_classes == Some(1000) && cfg.tag.as_ref().is_some_and(|tag| tag.ends_with("_in1k"));
        let categories = match config.label_names {
            Some(names) => names,
            None if imagenet => imagenet_categories(),
            None => Vec::new(),
        };
        Hub {
            stem: stem_of(&config.architecture),
            transforms: ImageClassification {
                // timm: `math.floor(img_size / crop_pct)`.
                resize_size: Some((f64::from(side) / crop).floor() as u32),
                crop_size: Some(side),
                squash: matches!(cfg.crop_mode, CropMode::Squash),
                mean: cfg.mean,
                std: cfg.std,
                interpolation: cfg.interpolation,
                channels,
                ..ImageClassification::default()
            },
            categories,
        }
    }
}

/// The stem of timm's architectures (`timm.models.densenet`).
pub(super) fn stem_of(architecture: &str) -> Option<Stem> {
    let name = architecture.split('.').next().unwrap_or_default();
    if name.starts_with("densenetblur") && name.ends_with('d') {
        return Some(Stem::DeepBlur);
    }
    let size = name.strip_prefix("densenet")?;
    match size.strip_suffix('d') {
        Some(size) => size.parse::<u32>().ok().map(|_| Stem::Deep),
        None => size.parse::<u32>().ok().map(|_| Stem::Imagenet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timms_names_tell_the_stem() {
        for (name, want) in [
            ("densenet121", Some(Stem::Imagenet)),
            ("densenet264d", Some(Stem::Deep)),
            ("densenetblur121d", Some(Stem::DeepBlur)),
            ("densenetblur121d.ra_in1k", Some(Stem::DeepBlur)),
            ("densenet121.tv_in1k", Some(Stem::Imagenet)),
            ("densenet", None),
            ("resnet50d", None),
        ] {
            assert_eq!(stem_of(name), want, "{name}");
        }
    }

    #[test]
    fn a_config_that_is_not_timms_is_nobodys_business_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("model.safetensors");
        let write = |text: &str| std::fs::write(folder.path().join("config.json"), text).unwrap();
        assert_eq!(Hub::beside(&weights).unwrap(), None);
        for text in ["", "[1]", r#"{"architecture": "x"}"#, r#"{"model_type": "bert"}"#] {
            write(text);
            assert_eq!(Hub::beside(&weights).unwrap(), None, "{text}");
        }
        write(r#"{"architecture": "densenet121", "pretrained_cfg": {"input_size": "large"}}"#);
        assert!(matches!(Hub::beside(&weights), Err(WeightsError::SidecarJson { .. })));
        let cfg = r#""pretrained_cfg": {"tag": "ra_in1k", "input_size": [3, 288, 288], "crop_pct": 0.95,
            "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}"#;
        write(&format!(r#"{{"architecture": "densenetblur121d", "num_classes": 1000, {cfg}}}"#));
        let hub = Hub::beside(&weights).unwrap().unwrap();
        assert_eq!((hub.stem, hub.categories.len()), (Some(Stem::DeepBlur), 1000));
        assert_eq!((hub.transforms.resize_size, hub.transforms.crop_size), (Some(303), Some(288)));
        assert_eq!(hub.transforms.interpolation, Interpolation::Bicubic);
    }
}
