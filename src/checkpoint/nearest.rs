//! What a file that nothing fits looks like: a family whose names are near, a published network whose shapes it has.

use super::report::Hint;
use super::rules::RENAMES;
use super::suggest::{distance, Named};
use std::collections::HashMap;

/// Names that are compared with the rules' examples, and their length: hints are for people, files may be hostile.
const MAX_NAMES: usize = 64;
const MAX_NAME: usize = 96;

/// A published network, as far as its convolutions go.
struct Published {
    name: &'static str,
    growth_rate: i64,
    blocks: [i64; 4],
    init: i64,
}

/// [`crate::Arch`]'s numbers; a test holds them against it, since this room knows nothing of networks.
const PUBLISHED: [Published; 5] = [
    Published { name: "densenet121", growth_rate: 32, blocks: [6, 12, 24, 16], init: 64 },
    Published { name: "densenet161", growth_rate: 48, blocks: [6, 12, 36, 24], init: 96 },
    Published { name: "densenet169", growth_rate: 32, blocks: [6, 12, 32, 32], init: 64 },
    Published { name: "densenet201", growth_rate: 32, blocks: [6, 12, 48, 32], init: 64 },
    Published { name: "densenet264", growth_rate: 32, blocks: [6, 12, 64, 48], init: 64 },
];

/// The published network of these numbers.
pub(super) fn published(growth_rate: i64, blocks: &[i64], init: i64) -> Option<&'static str> {
    let same = |one: &&Published| (one.growth_rate, &one.blocks[..], one.init) == (growth_rate, blocks, init);
    PUBLISHED.iter().find(same).map(|one| one.name)
}

/// Hints for names and shapes that make no DenseNet as they are.
pub(super) fn hints(tensors: &[Named]) -> Vec<Hint> {
    family(tensors).into_iter().chain(network(tensors)).collect()
}

/// The rule whose example is nearest to one of the names, numbers aside.
fn family(tensors: &[Named]) -> Option<Hint> {
    let mut names: HashMap<String, &str> = HashMap::new();
    for (name, _) in tensors.iter().filter(|(name, _)| name.len() <= MAX_NAME) {
        if names.len() < MAX_NAMES {
            names.entry(without_numbers(name)).or_insert(name);
        }
    }
    let examples =
        RENAMES.iter().filter(|rule| rule.example.contains("ense") || rule.example.contains("block"));
    let mut best: Option<(usize, &str, &str, &str)> = None;
    for rule in examples {
        let example = without_numbers(rule.example);
        for (skeleton, name) in &names {
            let away = distance(&example, skeleton);
            let near = away * 4 <= example.chars().count();
            if near && best.is_none_or(|(nearest, _, other, _)| (away, *name) < (nearest, other)) {
                best = Some((away, rule.example, name, rule.name));
            }
        }
    }
    best.map(|(_, example, found, rule)| Hint::LikeFamily {
        found: found.to_string(),
        example: example.to_string(),
        rule: rule.to_string(),
    })
}

/// `dense#.#.bn#` of `dense1.12.bn1`.
fn without_numbers(name: &str) -> String {
    let mut skeleton = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '0'..='9' if skeleton.ends_with('#') => {}
            '0'..='9' => skeleton.push('#'),
            other => skeleton.push(other),
        }
    }
    skeleton
}

/// The published network that has most of its convolutions' shapes in the file: nine of ten at least.
fn network(tensors: &[Named]) -> Option<Hint> {
    let mut shapes: HashMap<&[i64], usize> = HashMap::new();
    for (_, shape) in tensors.iter().filter(|(_, shape)| shape.len() == 4) {
        *shapes.entry(shape).or_default() += 1;
    }
    let count = |one: &Published| {
        let mut left = shapes.clone();
        let convolutions = one.convolutions();
        let found = convolutions.iter().filter(|shape| match left.get_mut(&shape[..]) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        });
        (found.count(), convolutions.len())
    };
    let counted = PUBLISHED.iter().map(|one| (one.name, count(one)));
    // The largest that is there: densenet121's shapes are nearly all in densenet169 too.
    let (name, (found, of)) =
        counted.filter(|(_, (found, of))| found * 10 >= of * 9).max_by_key(|(_, (found, _))| *found)?;
    Some(Hint::LikeNetwork { network: name.to_string(), found, of })
}

impl Published {
    /// The shapes of all convolutions but the first, which may have any number of input channels.
    fn convolutions(&self) -> Vec<[i64; 4]> {
        let k = self.growth_rate;
        let mut all = Vec::new();
        let mut width = self.init;
        for (block, layers) in self.blocks.iter().enumerate() {
            for layer in 0..*layers {
                all.push([4 * k, width + layer * k, 1, 1]);
                all.push([k, 4 * k, 3, 3]);
            }
            width += layers * k;
            if block + 1 < self.blocks.len() {
                all.push([width / 2, width, 1, 1]);
                width /= 2;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Arch;

    #[test]
    fn the_numbers_are_the_architectures() {
        assert_eq!(PUBLISHED.len(), Arch::ALL.len());
        for arch in Arch::ALL {
            let config = arch.config();
            let name = published(config.growth_rate, &config.block_config, config.num_init_features);
            assert_eq!(name, Some(arch.name()));
        }
    }

    #[test]
    fn a_network_is_known_by_its_shapes_whatever_its_names() {
        for one in &PUBLISHED {
            let convolutions = one.convolutions();
            let mut tensors: Vec<Named> = convolutions.iter().map(|shape| ("x", &shape[..])).collect();
            tensors.push(("y", &[7, 7]));
            let of = convolutions.len();
            let all = Hint::LikeNetwork { network: one.name.to_string(), found: of, of };
            assert_eq!(hints(&tensors), [all]);
        }
        assert_eq!(hints(&[("x", &[128, 64, 1, 1])]), []);
    }

    #[test]
    fn names_near_a_familys_are_told_and_others_are_not() {
        for (name, rule) in [
            ("denses1.0.bn1.weight", Some("R6.norm")),
            ("dense_1.0.bn1.weight", Some("R6.norm")),
            ("block1.layers.0.bn1.weight", Some("R7.norm")),
            ("net.stages.0.blocks.0.norm1.weight", Some("R10")),
            ("layer1.0.bn1.weight", None),
            ("encoder.weight", None),
        ] {
            let found = hints(&[(name, &[4])]);
            match (&found[..], rule) {
                ([], None) => {}
                ([Hint::LikeFamily { rule: found, .. }], Some(rule)) => assert_eq!(found, rule, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
