//! `weights/manifest.json`: what is known of each named set of weights, as data.

use crate::model::Arch;
use crate::transforms::ImageClassification;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What is known of a named set of weights. The official ones are as torchvision declares them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// The name `--weights` takes, such as `densenet121.imagenet1k_v1`.
    pub name: String,
    /// torchvision's name, such as `DenseNet121_Weights.IMAGENET1K_V1`; `None` for weights that are not torchvision's.
    #[serde(default)]
    pub torchvision: Option<String>,
    /// The architecture; `None` for a network that is not a published one.
    #[serde(default)]
    pub arch: Option<Arch>,
    /// Where the file can be fetched, tried in turn; the last part of each is the file's name, whose hexadecimal digits
    /// are the beginning of its SHA-256. Empty for weights that are part of the crate.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Names of the same weights' earlier official files, with other hashes: still in many caches.
    #[serde(default)]
    pub earlier_files: Vec<String>,
    /// Learnable numbers (torchvision's `num_params`).
    pub num_params: u64,
    /// Multiply-adds of one picture at the transforms' size, in units of 10⁹ (torchvision's `_ops`).
    pub gflops: f64,
    /// The file's size in MiB (torchvision's `_file_size`).
    pub file_size_mib: f64,
    /// The smallest input, height and width.
    pub min_size: [i64; 2],
    /// Accuracy by data set (torchvision's `_metrics`).
    pub metrics: BTreeMap<String, Accuracy>,
    /// Whose class names these are.
    pub categories: CategoryList,
    /// How pictures become inputs; `None` where the embedded sidecar says it.
    #[serde(default)]
    pub transforms: Option<ImageClassification>,
    /// How the weights were made.
    pub recipe: String,
    /// Where they come from (torchvision's `_docs`).
    pub docs: String,
    /// Terms of use.
    pub license: String,
}

/// Percentages of pictures whose class was the likeliest, or among the five likeliest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Top-1, in percent.
    #[serde(rename = "acc@1")]
    pub acc1: f64,
    /// Top-5, in percent; `None` where nobody measured it.
    #[serde(rename = "acc@5", default, skip_serializing_if = "Option::is_none")]
    pub acc5: Option<f64>,
}

/// Where an entry's class names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CategoryList {
    /// [`imagenet_categories`](crate::weights::imagenet_categories).
    Imagenet,
    /// The embedded sidecar.
    Sidecar,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    weights: Vec<Entry>,
}

/// The entries in the manifest's order.
pub(super) fn entries() -> &'static [Entry] {
    static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../../weights/manifest.json"))
            .expect("the manifest is part of the crate, and every test reads it")
    });
    &MANIFEST.weights
}

impl Entry {
    /// The names of the files that hold these weights: today's, then earlier ones.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let names = self.urls.iter().map(|url| file_name(url));
        names.take(1).chain(self.earlier_files.iter().map(String::as_str))
    }

    /// No file of these weights is larger, in bytes: what the manifest states, and one MiB.
    pub fn max_file_size(&self) -> u64 {
        // A positive number of a few hundred at most: nothing is lost or cut.
        ((self.file_size_mib + 1.0) * f64::from(1 << 20)) as u64
    }
}

/// The last part of a URL's path.
pub(super) fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// The beginning of the SHA-256 that an official file's name states, in lower-case hexadecimal: `a639ec97` of
/// `densenet121-a639ec97.pth`. Source: `torch.hub.HASH_REGEX`.
pub(super) fn hash_prefix(file: &str) -> Option<&str> {
    let after_dash = file.split('-').skip(1);
    after_dash.filter_map(|part| part.split_once('.')).map(|(hash, _)| hash).find(|hash| is_hash(hash))
}

fn is_hash(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_of_the_manifest_is_refused() {
        let text = include_str!("../../../weights/manifest.json");
        assert!(serde_json::from_str::<Manifest>(text).is_ok());
        for (field, extra) in
            [("\"urls\"", "\"mirrors\": [], \"urls\""), ("\"acc@1\"", "\"acc@2\": 1, \"acc@1\"")]
        {
            let text = text.replacen(field, extra, 1);
            let error = serde_json::from_str::<Manifest>(&text).err().expect(extra).to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn every_file_of_an_entry_states_its_hash_and_every_url_ends_in_the_same_file() {
        for entry in entries() {
            for file in entry.files() {
                assert_eq!(hash_prefix(file).map(str::len), Some(8), "{file}");
            }
            assert!(entry.urls.iter().all(|url| Some(file_name(url)) == entry.files().next()), "{entry:?}");
        }
    }

    #[test]
    fn the_hash_is_what_torch_hub_takes_from_a_name() {
        assert_eq!(hash_prefix("densenet121-a639ec97.pth"), Some("a639ec97"));
        assert_eq!(hash_prefix("a-b-0123.tar.gz"), Some("0123"));
        assert_eq!(hash_prefix("densenet121.pth"), None);
        assert_eq!(hash_prefix("net-large.pth"), None);
    }
}
