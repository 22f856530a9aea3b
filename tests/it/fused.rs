//! `Memory::Fused` and `Memory::Minimal` against PyTorch.

mod support;

use crate::support::small_network;
use densenet::model::{Cifar, Kernels, Memory, Stem};
use densenet::{Arch, DenseNetConfig};
use support::{step, Reference};
use tch::Kind;

/// Networks that differ in everything a stage must know of, and inputs for them.
fn variants() -> Vec<(&'static str, DenseNetConfig, [i64; 4])> {
    let cifar = |depth, k| Cifar::new(depth, k).num_classes(10);
    let one_block = DenseNetConfig { stem: Stem::Small, growth_rate: 40, ..small_network(&[2], 3) };
    let wide = DenseNetConfig { growth_rate: 48, num_init_features: 96, ..small_network(&[2, 3], 5) };
    vec![
        ("densenet121", Arch::DenseNet121.config(), [2, 3, 65, 72]),
        ("three blocks", small_network(&[3, 2, 2], 10), [2, 3, 61, 37]),
        ("plain 10-12", cifar(10, 12).build().unwrap(), [3, 3, 17, 12]),
        ("bc 16-12", cifar(16, 12).bc().build().unwrap(), [2, 3, 32, 32]),
        ("c 10-24, gray", cifar(10, 24).compression(0.7).in_channels(1).build().unwrap(), [2, 1, 9, 14]),
        ("b 16-24", cifar(16, 24).bottleneck(true).build().unwrap(), [1, 3, 16, 16]),
        ("deep stem", DenseNetConfig { stem: Stem::Deep, ..small_network(&[2, 2], 4) }, [2, 3, 45, 40]),
        (
            "blurred deep stem",
            DenseNetConfig { stem: Stem::DeepBlur, ..small_network(&[2, 2], 4) },
            [2, 3, 45, 40],
        ),
        ("k = 40, one block, no pooling", one_block, [2, 3, 7, 5]),
        ("k = 48", wide, [1, 3, 60, 50]),
    ]
}

#[test]
fn gradients_and_statistics_of_the_aten_path_are_pytorchs_in_f64() {
    for (name, config, shape) in variants() {
        for train in [true, false] {
            let reference = Reference::ask(&config, 5, shape, train);
            for memory in [Memory::Fused, Memory::Minimal] {
                let got = step(&reference.network(memory, Kernels::Best, Kind::Double), &reference, train);
                let case = format!("{name}, {memory:?}, train {train}");
                assert_eq!(got.len(), reference.double().len(), "{case}");
                for (key, want) in reference.double() {
                    let error = support::relative_error(&got[key], want);
                    assert!(error < 1e-9, "{case}: {key} is off by {error:e}");
                }
            }
        }
    }
}
#[test]
fn zz() {
    for (name, config, shape) in variants() {
        for train in [true, false] {
            let reference = Reference::ask(&config, 5, shape, train);
            for memory in [Memory::Standard, Memory::Fused, Memory::Minimal] {
                for kernels in [Kernels::Best, Kernels::Aten] {
                    let got = step(&reference.network(memory, kernels, Kind::Float), &reference, train);
                    let mut worst = vec![];
                    for (key, want) in reference.double() {
                        let ours = support::relative_error(&got[key], want);
                        let theirs = support::relative_error(&reference.single()[key], want);
                        worst.push((ours / theirs.max(1e-7), ours, theirs, key));
                    }
                    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
                    println!(
                        "{name} train {train} {memory:?} {kernels:?} logits {:?}\n   {:?}",
                        worst.iter().find(|w| w.3 == "logits"),
                        &worst[..3]
                    );
                }
            }
        }
    }
}
