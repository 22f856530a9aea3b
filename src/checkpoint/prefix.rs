//! Where in a name the network's own part begins: `module.densenet121.` of
//! `module.densenet121.features.conv0.weight`.
//!
//! No list of wrappers' names: whatever stands before `features.` and a module that only a DenseNet has there is the
//! prefix, stacked in any way.

use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// `features.` followed by one of the network's modules, under today's or an older name, wrapped or not.
static ANCHOR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?:^|\.)features\.(?:(?:module|_orig_mod)\.)?(?:conv[0-9]|norm[0-9]|norm_final|denseblock[0-9]|transition[0-9])",
    )
    .expect("a constant, used by every test below")
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
            "features.",
            "a.very.deep.attribute.path.of.somebodys.",
        ] {
            for rest in [
                "features.conv0.weight",
                "features.norm_final.bias",
                "features.module.denseblock1.denselayer1.norm.1.weight",
                "features.transition1.norm.running_mean",
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
