//! Weights by name, typed: the entries of `weights/manifest.json`.

mod cached;
mod fetch;
mod manifest;
pub(super) mod names;

pub use cached::CacheState;
pub use fetch::{FetchOptions, MIRROR, OFFLINE};
pub use manifest::{Accuracy, CategoryList, Entry};

use super::categories::imagenet_categories;
use super::options::Outputs;
use super::sidecar::Sidecar;
use crate::model::Arch;
use crate::transforms::ImageClassification;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

/// Weights with a name: torchvision's official ones, and those that are part of the crate.
///
/// ```
/// use densenet::weights::Weights;
///
/// let weights: Weights = "densenet169.imagenet1k_v1".parse()?;
/// assert_eq!(weights, Weights::DenseNet169ImageNet1kV1);
/// assert_eq!(weights.url(), Some("https://download.pytorch.org/models/densenet169-b2777c0a.pth"));
/// assert_eq!(weights.transforms().crop_size, Some(224));
/// assert_eq!(weights.categories()[0], "tench");
/// assert_eq!(weights.metrics()["ImageNet-1K"].acc1, 75.6);
/// # Ok::<(), densenet::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Weights {
    /// torchvision's `DenseNet121_Weights.IMAGENET1K_V1`, its `DEFAULT`.
    DenseNet121ImageNet1kV1,
    /// torchvision's `DenseNet161_Weights.IMAGENET1K_V1`, its `DEFAULT`.
    DenseNet161ImageNet1kV1,
    /// torchvision's `DenseNet169_Weights.IMAGENET1K_V1`, its `DEFAULT`.
    DenseNet169ImageNet1kV1,
    /// torchvision's `DenseNet201_Weights.IMAGENET1K_V1`, its `DEFAULT`.
    DenseNet201ImageNet1kV1,
    /// Part of the crate: a DenseNet-BC (L = 40, k = 12) for gray pictures of 28×28 pixels, ten kinds of clothing.
    FashionMnist,
}

impl Weights {
    /// All of them, in the manifest's order.
    pub const ALL: [Weights; 5] = [
        Weights::DenseNet121ImageNet1kV1,
        Weights::DenseNet161ImageNet1kV1,
        Weights::DenseNet169ImageNet1kV1,
        Weights::DenseNet201ImageNet1kV1,
        Weights::FashionMnist,
    ];

    /// What is known of them.
    pub fn entry(self) -> &'static Entry {
        &manifest::entries()[self as usize]
    }

    /// The name `--weights` takes, such as `densenet121.imagenet1k_v1`.
    pub fn name(self) -> &'static str {
        &self.entry().name
    }

    /// Where the file is fetched first; `None` for weights that are part of the crate.
    pub fn url(self) -> Option<&'static str> {
        self.entry().urls.first().map(String::as_str)
    }

    /// How pictures become inputs.
    pub fn transforms(self) -> ImageClassification {
        let sidecar = || embedded_sidecar(self).and_then(|sidecar| sidecar.transforms.clone());
        self.entry().transforms.clone().or_else(sidecar).unwrap_or_default()
    }

    /// Class names in the classifier's order.
    pub fn categories(self) -> Vec<String> {
        match self.entry().categories {
            CategoryList::Imagenet => imagenet_categories(),
            CategoryList::Sidecar => {
                embedded_sidecar(self).map_or_else(Vec::new, |sidecar| sidecar.categories.clone())
            }
        }
    }

    /// Accuracy by data set.
    pub fn metrics(self) -> &'static BTreeMap<String, Accuracy> {
        &self.entry().metrics
    }

    /// Whether they are part of the crate, so that nothing needs to be fetched.
    pub fn is_embedded(self) -> bool {
        self.embedded().is_some()
    }

    /// Everything that a file of tensors does not say itself.
    pub fn sidecar(self) -> Sidecar {
        if let Some(sidecar) = embedded_sidecar(self) {
            return sidecar.clone();
        }
        let entry = self.entry();
        let object = |value| match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        Sidecar {
            config: entry.arch.map(Arch::config),
            categories: self.categories(),
            transforms: Some(self.transforms()),
            outputs: Some(Outputs::Classes),
            metrics: object(json!(entry.metrics)),
            provenance: object(json!({
                "name": entry.name,
                "urls": entry.urls,
                "recipe": entry.recipe,
                "docs": entry.docs,
                "license": entry.license,
            })),
            ..Sidecar::default()
        }
    }

    /// The safetensors file of weights that are part of the crate.
    pub(super) fn embedded(self) -> Option<&'static [u8]> {
        match self {
            Weights::FashionMnist => Some(include_bytes!("../../../weights/fashion_mnist.safetensors")),
            _ => None,
        }
    }

    /// The weights whose file, today's or an earlier one, has this name. Of the name alone: nothing is opened.
    pub fn of_file(path: &Path) -> Option<Weights> {
        let name = path.file_name()?.to_str()?;
        Weights::ALL.into_iter().find(|weights| weights.entry().files().any(|file| file == name))
    }
}

fn embedded_sidecar(weights: Weights) -> Option<&'static Sidecar> {
    static FASHION_MNIST: LazyLock<Sidecar> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../../weights/fashion_mnist.json"))
            .expect("the sidecar is part of the crate, and every test reads it")
    });
    match weights {
        Weights::FashionMnist => Some(&FASHION_MNIST),
        _ => None,
    }
}
