//! Where in a name the network's own part begins: `module.densenet121.` of
//! `module.densenet121.features.conv0.weight`.
//!
//! No list of wrappers' names: whatever stands before a module that only a DenseNet has is the prefix, stacked in any way.

use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Modules that only a DenseNet has, under torchvision's names or another author's, wrapped or not.
static ANCHOR: LazyLock<Regex> = LazyLock::new(|| {
    let network = [
        // torchvision and most others; timm's `features_only`.
        r"features\.(?:(?:module|_orig_mod)\.)?(?:conv[0-9]|norm[0-9]|norm_final|denseblock[0-9]|transition[0-9])",
        r"features_(?:conv|norm|denseblock|transition)[0-9]",
        // The module called `features` alone.
        r"denseblock[0-9]+\.denselayer[0-9]+\.",
        // bamos and kuangliu, andreasveit, mmpretrain.
        r"dense[0-9]+\.[0-9]+\.(?:bn|conv)[12]\.",
        r"block[0-9]+\.layer\.[0-9]+\.(?:bn|conv)[12]\.",
        r"stages\.[0-9]+\.block\.[0-9]+\.(?:norm|conv)[12]\.",
    ];
    Regex::new(&format!(r"(?:^|\.)(?:{})", network.join("|"))).expect("a constant, used by every test below")
});

/// Every prefix under which the names hold a DenseNet's features, with the trailing dot (`""` if there is none),
/// the one with most tensors first.
pub(super) fn find<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for name in names {
        if let Some(found) = ANCHOR.find(name) {
            let dot = usize::from(found.as_str().starts_with('.'));
            *counts.entry(&name[..found.start() + dot]).or_default() += 1;
        }
    }
    let mut found: Vec<(&str, usize)> = counts.into_iter().collect();
    found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    found.into_iter().map(|(prefix, _)| prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stack_of_wrappers_is_found() {
        for prefix in [
            "",
            "module.",
            "_orig_mod.",
            "model.",
            "net.",
            "backbone.",
            "encoder.",
            "densenet121.",
            "densenet201.",
            "timm_model.",
            "module.densenet121.",
            "module.encoder_q.",
            "_orig_mod.module.model.backbone.",
            "0.0.",
            "features.",
            "a.very.deep.attribute.path.of.somebodys.",
        ] {
            for rest in [
                "features.conv0.weight",
                "features.norm_final.bias",
                "features.module.denseblock1.denselayer1.norm.1.weight",
                "features.transition1.norm.running_mean",
                "features_denseblock2.denselayer1.conv1.weight",
                "dense1.0.bn1.weight",
                "block1.layer.0.conv1.weight",
                "stages.0.block.0.norm1.weight",
            ] {
                assert_eq!(
                    find([format!("{prefix}{rest}").as_str(), "classifier.weight"]),
                    [prefix],
                    "{prefix}{rest}"
                );
            }
        }
    }

    #[test]
    fn the_module_called_features_may_be_alone() {
        for (name, prefix) in [
            ("0.0.denseblock1.denselayer1.norm1.weight", "0.0."),
            ("features.0.denseblock1.denselayer1.norm1.weight", "features.0."),
            ("denseblock1.denselayer1.norm1.weight", ""),
        ] {
            assert_eq!(find([name, "0.0.conv0.weight", "1.8.weight"]), [prefix]);
        }
    }

    #[test]
    fn other_features_are_not_taken_for_the_networks() {
        assert!(find([
            "features.0.weight",
            "my_features.conv0.weight",
            "classifier.weight",
            "",
            "features."
        ])
        .is_empty());
    }

    #[test]
    fn several_networks_come_largest_first() {
        let names = [
            "s.features.conv0.weight",
            "t.features.conv0.weight",
            "t.features.norm0.weight",
            "a.features.conv0.weight",
        ];
        assert_eq!(find(names), ["t.", "a.", "s."]);
    }
}
