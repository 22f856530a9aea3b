//! Names of weights: ours, torchvision's, and what a typing error was meant to be.

use super::Weights;
use crate::checkpoint::distance;
use crate::model::Arch;
use crate::weights::error::{Result, WeightsError};
use std::fmt;
use std::str::FromStr;

/// An architecture's default weights, as a tag.
const DEFAULT: &str = "default";

impl Weights {
    /// An architecture's weights by tag: `imagenet1k_v1` or `DEFAULT`.
    ///
    /// # Errors
    /// [`WeightsError::UnknownName`] names the nearest.
    pub fn for_arch(arch: Arch, tag: &str) -> Result<Weights> {
        find(&format!("{arch}.{tag}")).ok_or_else(|| unknown(&format!("{arch}.{tag}")))
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Weights {
    type Err = WeightsError;

    /// `densenet169.imagenet1k_v1`, `densenet169.default`, torchvision's `DenseNet169_Weights.IMAGENET1K_V1`, or
    /// `fashion_mnist`; upper and lower case are the same.
    ///
    /// # Errors
    /// [`WeightsError::UnknownName`] names the nearest.
    fn from_str(name: &str) -> Result<Weights> {
        find(name).ok_or_else(|| unknown(name))
    }
}

pub(in crate::weights) fn find(name: &str) -> Option<Weights> {
    let name = plain(name);
    let (arch, is_default) = match name.strip_suffix(DEFAULT).and_then(|rest| rest.strip_suffix('.')) {
        Some(arch) => (arch, true),
        None => ("", false),
    };
    Weights::ALL.into_iter().find(|weights| {
        weights.name() == name || is_default && weights.entry().arch.is_some_and(|is| is.name() == arch)
    })
}

/// Whether a name is a tag that only an architecture completes.
pub(in crate::weights) fn is_tag(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let tag = |weights: Weights| weights.name().split_once('.').is_some_and(|(_, tag)| tag == name);
    name == DEFAULT || Weights::ALL.into_iter().any(tag)
}

/// torchvision's spelling as ours.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replacen("_weights.", ".", 1)
}

pub(in crate::weights) fn unknown(name: &str) -> WeightsError {
    WeightsError::UnknownName { name: name.to_string(), nearest: nearest(name) }
}

/// All names there are, the nearest ones first.
fn nearest(name: &str) -> String {
    // Long enough for every name, short enough that a whole path costs nothing.
    let name: String = plain(name).chars().take(64).collect();
    let mut names = Weights::ALL.map(Weights::name);
    names.sort_by_key(|known| {
        let start = known.split('.').next().unwrap_or(known);
        distance(&name, known).min(distance(&name, start))
    });
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_in_each_spelling() {
        for weights in Weights::ALL {
            assert_eq!(weights.to_string().parse::<Weights>().unwrap(), weights);
            assert_eq!(weights.name().to_uppercase().parse::<Weights>().unwrap(), weights);
            let entry = weights.entry();
            if let Some(arch) = entry.arch {
                let torchvision = entry.torchvision.as_deref().unwrap();
                assert_eq!(torchvision.parse::<Weights>().unwrap(), weights);
                let default = torchvision.replace("IMAGENET1K_V1", "DEFAULT");
                assert_eq!(default.parse::<Weights>().unwrap(), weights);
                for tag in ["imagenet1k_v1", "IMAGENET1K_V1", "DEFAULT", "default"] {
                    assert_eq!(Weights::for_arch(arch, tag).unwrap(), weights);
                    assert!(is_tag(tag));
                }
            }
        }
        assert!(!is_tag("fashion_mnist") && !is_tag("densenet121"));
    }

    #[test]
    fn an_unknown_name_lists_the_nearest_first() {
        for (typed, first) in [
            ("densenet169.imagenet1k_v2", "densenet169.imagenet1k_v1"),
            ("densnet161", "densenet161.imagenet1k_v1"),
            ("DenseNet201_Weights.IMAGENET1K", "densenet201.imagenet1k_v1"),
            ("fashionmnist", "fashion_mnist"),
            ("fashion_mnist.default", "fashion_mnist"),
        ] {
            let WeightsError::UnknownName { nearest, .. } = typed.parse::<Weights>().unwrap_err() else {
                panic!("{typed}");
            };
            assert!(nearest.starts_with(first), "{typed}: {nearest}");
            assert_eq!(nearest.split(", ").count(), Weights::ALL.len());
        }
        let error = Weights::for_arch(Arch::DenseNet264, "DEFAULT").unwrap_err().to_string();
        assert!(error.contains("densenet264.DEFAULT"), "{error}");
    }
}
