//! What the fused passes compute, against PyTorch in f64 and f32.

use super::support::{error_of_all, relative_error, step, Reference};
use crate::support::{seed, small_network};
use densenet::kernels::Level;
use densenet::model::{Cifar, Kernels, Memory, Stem};
use densenet::{Arch, DenseNet, DenseNetConfig};
use tch::{nn, no_grad, Device, Kind, Tensor};

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
                    let error = relative_error(&got[key], want);
                    assert!(error < 1e-9, "{case}: {key} is off by {error:e}");
                }
            }
        }
    }
}

/// Of one tensor and one seed only that nothing is wrong: both errors are a handful of roundings, and chance decides
/// which is larger by a factor of two or three. A wrong term would be off by 1e-2 and more.
fn assert_no_mistake(case: &str, key: &str, got: &Tensor, reference: &Reference) {
    let want = &reference.double()[key];
    let (ours, theirs) = (relative_error(got, want), relative_error(&reference.single()[key], want));
    assert!(ours <= 4.0 * theirs + 3e-6, "{case}: {key} is off by {ours:e}, PyTorch's by {theirs:e}");
}

#[test]
fn our_kernels_gradients_are_no_further_from_f64_than_pytorchs_f32_in_channels_last() {
    const SEEDS: i64 = 4;
    let mut all = 0.0;
    let mut variants = variants();
    // At the size it is used with: the last maps of a picture of 65×72 are 2×2, of which chance alone makes gradients.
    variants[0].2 = [2, 3, 224, 224];
    for (name, config, shape) in &variants {
        for train in [true, false] {
            // Of Fused and Minimal, whose roundings are the same (tests/it/fused/behaviour.rs), and of all seeds: the
            // geometric mean of ours over PyTorch's.
            let mut ratio = 0.0;
            for seed in 0..SEEDS {
                let reference = Reference::ask(config, seed, *shape, train);
                let memory = [Memory::Fused, Memory::Minimal][seed as usize % 2];
                let got = step(&reference.network(memory, Kernels::Best, Kind::Float), &reference, train);
                let case = format!("{name}, {memory:?}, train {train}, seed {seed}");
                // Through 120 layers some value rounds to the other side of a ReLU's 0, in PyTorch as here, and throws one
                // tensor off by 1e-2.
                for (key, tensor) in got.iter().filter(|_| *name != "densenet121") {
                    assert_no_mistake(&case, key, tensor, &reference);
                }
                let forward = relative_error(&got["logits"], &reference.double()["logits"]);
                assert!(forward < 1e-5, "{case}: logits are off by {forward:e}");
                let theirs = error_of_all(reference.single(), reference.double());
                ratio += (error_of_all(&got, reference.double()) / theirs).ln() / SEEDS as f64;
            }
            println!("{name}, train {train}: {:.2} of PyTorch's distance from f64", ratio.exp());
            // What four seeds leave to chance.
            assert!(ratio.exp() < 1.25, "{name}, train {train}: {:.2} of PyTorch's distance", ratio.exp());
            all += ratio / (2 * variants.len()) as f64;
        }
    }
    println!("all networks: {:.2} of PyTorch's distance from f64", all.exp());
    assert!(all.exp() <= 1.0, "all networks: {:.2} of PyTorch's distance", all.exp());
}

#[test]
fn every_instruction_set_and_aten_agree() {
    for (name, config, shape) in
        variants().into_iter().filter(|(name, ..)| name.contains("bc") || name.contains("48"))
    {
        let reference = Reference::ask(&config, 6, shape, true);
        let mut all: Vec<Kernels> = Level::available().into_iter().map(Kernels::At).collect();
        all.push(Kernels::Aten);
        for kernels in all {
            let got = step(&reference.network(Memory::Fused, kernels, Kind::Float), &reference, true);
            for (key, tensor) in &got {
                assert_no_mistake(&format!("{name}, {kernels:?}"), key, tensor, &reference);
            }
        }
    }
}

#[test]
fn logits_of_every_architecture_are_within_1e_5_of_exact() {
    for arch in Arch::ALL {
        let _guard = seed(3);
        let vs = nn::VarStore::new(Device::Cpu);
        let mut network =
            DenseNet::new(&vs.root(), &DenseNetConfig { num_classes: 50, ..arch.config() }).unwrap();
        let xs = Tensor::randn([1, 3, 65, 64], (Kind::Float, Device::Cpu));
        let mut logits = |memory| {
            network.config.memory = memory;
            no_grad(|| network.try_forward(&xs, false)).unwrap()
        };
        let exact = logits(Memory::Standard);
        for memory in [Memory::Fused, Memory::Minimal] {
            let error = relative_error(&logits(memory), &exact);
            assert!(error > 0.0 && error < 1e-5, "{arch}, {memory:?}: {error:e}");
        }
    }
}

#[test]
fn the_same_step_twice_gives_the_same_bits() {
    let reference = Reference::ask(&small_network(&[3, 2], 10), 8, [2, 3, 50, 41], true);
    let run = || step(&reference.network(Memory::Fused, Kernels::Best, Kind::Float), &reference, true);
    let (first, second) = (run(), run());
    for (key, tensor) in &first {
        crate::support::assert_same_bits(key, &second[key], tensor);
    }
}

#[test]
fn half_types_are_as_near_to_f64_as_in_exact_mode_and_keep_their_statistics_in_f32() {
    let config = small_network(&[3, 2], 10);
    let reference = Reference::ask(&config, 9, [4, 3, 48, 48], true);
    for (kind, precision) in [(Kind::BFloat16, 4e-3), (Kind::Half, 5e-4)] {
        let run = |memory| step(&reference.network(memory, Kernels::Best, kind), &reference, true);
        let standard = error_of_all(&run(Memory::Standard), reference.double());
        for memory in [Memory::Fused, Memory::Minimal] {
            let got = run(memory);
            let ours = error_of_all(&got, reference.double());
            assert!(ours < 1.3 * standard, "{kind:?}, {memory:?}: {ours:e}, in exact mode {standard:e}");
            for (key, want) in reference.double().iter().filter(|(key, _)| key.starts_with("after.")) {
                // Of inputs that are themselves rounded; a sum in the type itself would lose far more.
                let error = relative_error(&got[key], want);
                assert!(error < 3.0 * precision, "{kind:?}, {memory:?}: {key} is off by {error:e}");
            }
        }
    }
}
