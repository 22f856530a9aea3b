//! Rename rules: how other authors' names become torchvision's. A rule is a row of [`RENAMES`], not code.
//!
//! Rules apply in the table's order to names whose prefix is already gone ([`super::normalize`]).

use super::error::{CheckpointError, Result};
use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;

/// One way in which checkpoints name things differently.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RenameRule {
    /// Short name, stable: what reports list.
    pub name: &'static str,
    /// A regular expression (the `regex` crate's syntax, ASCII), searched anywhere in the name.
    pub pattern: &'static str,
    /// What replaces the match; `${1}` is the pattern's first group.
    pub replacement: &'static str,
    /// Whose checkpoints are named so; empty where anybody's are.
    pub origin: &'static str,
    /// When the rule may fire.
    pub when: When,
}

/// When a [`RenameRule`] may fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// Wherever the pattern matches.
    Always,
    /// The pattern finds heads. Only if there is no `classifier.weight`, and exactly one matrix among all tensors the
    /// pattern finds, as wide as `features.norm5`: that matrix is the classifier, and only it and its bias are renamed.
    SoleHead,
}

/// Every rename rule, in the order of application. `R…` are the numbers of the project's notes on published files.
pub static RENAMES: [RenameRule; 6] = [
    RenameRule {
        name: "inner-wrapper",
        pattern: r"^features\.(?:module|_orig_mod)\.",
        replacement: "features.",
        origin: "",
        when: When::Always,
    },
    RenameRule {
        // torchvision's own loader leaves num_batches_tracked under its dotted name and then fails; we rename it.
        name: "R1",
        pattern: r"(denselayer[0-9]+\.)(norm|relu|conv)\.([12])\.",
        replacement: "${1}${2}${3}.",
        origin: "torchvision up to 0.2",
        when: When::Always,
    },
    RenameRule {
        name: "R2",
        pattern: r"(denselayer[0-9]+)\.layers\.",
        replacement: "${1}.",
        origin: "MONAI",
        when: When::Always,
    },
    RenameRule {
        name: "R3",
        pattern: r"^class_layers\.(?:out|class)\.",
        replacement: "classifier.",
        origin: "MONAI",
        when: When::Always,
    },
    RenameRule {
        name: "R4",
        pattern: r"^features\.norm_final\.",
        replacement: "features.norm5.",
        origin: "efficient_densenet_pytorch",
        when: When::Always,
    },
    RenameRule {
        name: "R12",
        pattern: r"^(?:last_linear|fc|head|classifier\.[0-9]+)\.(weight|bias)$",
        replacement: "classifier.${1}",
        origin: "",
        when: When::SoleHead,
    },
];

/// Tensors that belong to training or to measuring, not to the network.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropRule {
    /// A regular expression, searched anywhere in the name.
    pub pattern: &'static str,
    /// What such a tensor is.
    pub reason: &'static str,
}

/// Tensors that are left out, each with a note in the report.
pub static DROPS: [DropRule; 8] = [
    DropRule { pattern: r"(?:^|\.)op_threshs$", reason: "torchxrayvision's thresholds" },
    DropRule { pattern: r"(?:^|\.)n_averaged$", reason: "weight averaging's counter" },
    DropRule { pattern: r"(?:^|\.)queue[^.]*$", reason: "contrastive training's queue" },
    DropRule { pattern: r"(?:^|\.)criterion\.", reason: "a loss" },
    DropRule { pattern: r"(?:^|\.)loss[^.]*\.", reason: "a loss" },
    DropRule { pattern: r"(?:^|\.)pos_weight$", reason: "a loss's class weights" },
    DropRule { pattern: r"(?:^|\.)total_(?:ops|params)$", reason: "an operation counter" },
    DropRule { pattern: r"(?:^|\.)CatBN_output_buffer$", reason: "a scratch buffer" },
];

/// The tables' patterns, compiled once.
struct Compiled {
    renames: Vec<Regex>,
    drops: Vec<Regex>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    // Constants of this file, all compiled by a test below.
    let compile = |pattern: &str| Regex::new(pattern).expect("a pattern of the table");
    Compiled {
        renames: RENAMES.iter().map(|rule| compile(rule.pattern)).collect(),
        drops: DROPS.iter().map(|rule| compile(rule.pattern)).collect(),
    }
});

impl RenameRule {
    /// Every rule with its compiled pattern, in order.
    pub(super) fn all() -> impl Iterator<Item = (&'static RenameRule, &'static Regex)> {
        RENAMES.iter().zip(&COMPILED.renames)
    }

    /// The name after this rule, if it changes it.
    pub(super) fn apply(&self, regex: &Regex, name: &str) -> Option<String> {
        replaced(regex, name, self.replacement)
    }
}

/// Why a tensor of this name is left out, if it is.
pub(super) fn drop_reason(name: &str) -> Option<&'static str> {
    DROPS.iter().zip(&COMPILED.drops).find(|(_, regex)| regex.is_match(name)).map(|(rule, _)| rule.reason)
}

/// A rename of the caller's own, applied to the file's names before anything else.
#[derive(Debug, Clone)]
pub struct Rename {
    regex: Regex,
    replacement: String,
}

impl Rename {
    /// Replaces the first match of `pattern` (a regular expression) by `replacement` (`${1}` is its first group).
    ///
    /// # Errors
    /// [`CheckpointError::BadRename`] if the pattern does not parse.
    pub fn new(pattern: &str, replacement: &str) -> Result<Rename> {
        let regex = Regex::new(pattern).map_err(|error| CheckpointError::BadRename {
            pattern: pattern.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Rename { regex, replacement: replacement.to_string() })
    }

    /// The name after this rename, if it changes it.
    pub(super) fn apply(&self, name: &str) -> Option<String> {
        replaced(&self.regex, name, &self.replacement)
    }
}

fn replaced(regex: &Regex, name: &str, replacement: &str) -> Option<String> {
    match regex.replace(name, replacement) {
        Cow::Borrowed(_) => None,
        Cow::Owned(new) => Some(new).filter(|new| new != name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(name: &str) -> String {
        RenameRule::all()
            .filter(|(rule, _)| rule.when == When::Always)
            .fold(name.to_string(), |name, (rule, regex)| rule.apply(regex, &name).unwrap_or(name))
    }

    #[test]
    fn every_pattern_compiles_and_every_rule_has_a_name_of_its_own() {
        assert_eq!(COMPILED.renames.len(), RENAMES.len());
        assert_eq!(COMPILED.drops.len(), DROPS.len());
        for (index, rule) in RENAMES.iter().enumerate() {
            assert!(RENAMES[..index].iter().all(|other| other.name != rule.name), "{}", rule.name);
        }
    }

    #[test]
    fn old_names_become_todays() {
        for (old, new) in [
            (
                "features.denseblock1.denselayer1.norm.1.weight",
                "features.denseblock1.denselayer1.norm1.weight",
            ),
            (
                "features.denseblock3.denselayer24.conv.2.weight",
                "features.denseblock3.denselayer24.conv2.weight",
            ),
            (
                "features.denseblock1.denselayer10.norm.2.num_batches_tracked",
                "features.denseblock1.denselayer10.norm2.num_batches_tracked",
            ),
            ("x.y.denselayer2.norm.1.running_var", "x.y.denselayer2.norm1.running_var"),
            (
                "features.denseblock1.denselayer1.layers.norm1.bias",
                "features.denseblock1.denselayer1.norm1.bias",
            ),
            ("class_layers.out.weight", "classifier.weight"),
            ("class_layers.class.bias", "classifier.bias"),
            ("features.norm_final.running_mean", "features.norm5.running_mean"),
            ("features.module.conv0.weight", "features.conv0.weight"),
            (
                "features._orig_mod.denseblock1.denselayer1.conv.1.weight",
                "features.denseblock1.denselayer1.conv1.weight",
            ),
        ] {
            assert_eq!(renamed(old), new);
        }
    }

    #[test]
    fn names_that_only_look_similar_stay() {
        for name in [
            "features.denseblock1.denselayer1.norm.3.weight",
            "features.denseblock1.denselayer1.norm1.weight",
            "features.denseblock1.denselayer1.pool.1.weight",
            "features.norm_finally.weight",
            "other.class_layers.out.weight",
            "features.modules.conv0.weight",
        ] {
            assert_eq!(renamed(name), name);
        }
    }

    #[test]
    fn training_leftovers_are_dropped_and_the_networks_tensors_are_not() {
        for name in [
            "op_threshs",
            "n_averaged",
            "queue",
            "module.queue_ptr",
            "criterion.weight",
            "loss_fn.pos_weight",
            "pos_weight",
            "features.denseblock1.total_ops",
            "features.denseblock1.CatBN_output_buffer",
        ] {
            assert!(drop_reason(name).is_some(), "{name}");
        }
        for name in
            ["features.conv0.weight", "classifier.weight", "queues.weight", "glossary.weight", "fc.weight"]
        {
            assert_eq!(drop_reason(name), None, "{name}");
        }
    }

    #[test]
    fn a_rename_that_does_not_parse_is_refused_with_its_pattern() {
        let error = Rename::new("^(features", "x").unwrap_err();
        assert!(
            matches!(&error, CheckpointError::BadRename { pattern, .. } if pattern == "^(features"),
            "{error}"
        );
    }
}
