//! `Prepared` and `Numerics::Fused`: inference with folded norms on our own kernels, against the exact path.

use crate::support::{assert_same_bits, seed, small_network};
use densenet::kernels::Level;
use densenet::model::{Cifar, Kernels, Memory, ModelError, Numerics, Prepared, Stem, Threading};
use densenet::{Arch, DenseNet, DenseNetConfig};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tch::{nn, no_grad, Device, Kind, Tensor};

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A network whose norms have statistics, weights and biases of their own, so that forgetting one shows.
fn network(config: &DenseNetConfig) -> (nn::VarStore, DenseNet) {
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), config).unwrap();
    no_grad(|| {
        for (name, mut tensor) in network.named_tensors() {
            if tensor.dim() == 1 {
                let draw = match name.rsplit('.').next() {
                    Some("running_var" | "weight") => tensor.rand_like() + 0.5,
                    _ => tensor.randn_like() * 0.2,
                };
                tensor.copy_(&draw);
            }
        }
    });
    (vs, network)
}

fn exact(network: &DenseNet, xs: &Tensor) -> Tensor {
    assert_eq!(network.numerics(), Numerics::Exact);
    no_grad(|| network.try_forward(xs, false)).unwrap()
}

/// The largest difference, relative to the largest exact logit of all.
fn difference(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.size(), want.size());
    assert!(got.is_contiguous() && !got.requires_grad());
    let scale = want.abs().max().double_value(&[]);
    assert!(scale > 0.0 && scale.is_finite());
    (got - want).abs().max().double_value(&[]) / scale
}

const BOUND: f64 = 1e-5;

#[track_caller]
fn assert_close(what: &str, network: &DenseNet, xs: &Tensor) {
    let prepared = Prepared::new(network).unwrap();
    let want = exact(network, xs);
    for threading in [Threading::Latency, Threading::Throughput] {
        let difference = difference(&prepared.forward_on(xs, threading).unwrap(), &want);
        assert!(difference < BOUND, "{what}, {threading:?}: {difference:e}");
    }
}

#[test]
fn every_architecture_gives_the_exact_logits_within_1e_5() {
    let _guard = seed(7);
    for arch in Arch::ALL.into_iter().take(4) {
        let (_vs, network) = network(&arch.config());
        // One and several pictures, square or not, odd sizes, the smallest there is.
        for size in [[1, 3, 64, 64], [3, 3, 29, 41], [2, 3, 75, 33]] {
            assert_close(&format!("{arch}, {size:?}"), &network, &Tensor::randn(size, OPTIONS));
        }
    }
}

#[test]
fn every_variant_gives_the_exact_logits_within_1e_5() {
    let _guard = seed(8);
    let stems = Stem::ALL.map(|stem| DenseNetConfig { stem, ..small_network(&[2, 3, 1], 7) });
    let cifar = [
        Cifar::new(22, 12).bc().build().unwrap(),
        Cifar::new(13, 12).build().unwrap(),
        Cifar::new(10, 7).in_channels(1).num_classes(3).build().unwrap(),
        Cifar::new(16, 5).compression(0.7).build().unwrap(),
        Cifar::new(16, 24).bottleneck(true).drop_rate(0.2).build().unwrap(),
    ];
    let others = [
        small_network(&[2, 2], 0),
        DenseNetConfig { in_channels: 5, bn_size: Some(3), ..small_network(&[1, 2], 11) },
        DenseNetConfig { memory: Memory::Fused, ..small_network(&[2, 1], 4) },
        DenseNetConfig { compression: 1.0, growth_rate: 17, num_init_features: 33, ..small_network(&[3], 2) },
    ];
    for config in stems.iter().chain(&cifar).chain(&others) {
        let (_vs, network) = network(config);
        let min = config.min_input_size();
        for (count, height, width) in [(1, min, min), (2, 32, 32), (3, min + 18, min + 5)] {
            let xs = Tensor::randn([count, config.in_channels, height.max(min), width.max(min)], OPTIONS);
            assert_close(&format!("{config:?} at {:?}", xs.size()), &network, &xs);
        }
    }
}

#[test]
fn random_shapes_give_the_exact_logits_within_1e_5() {
    let _guard = seed(9);
    let cases =
        Config { cases: 40, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() };
    let shapes = (
        (1i64..40, 1i64..50, 1i64..4, prop::option::of(1i64..5)),
        (prop::collection::vec(1i64..4, 1..4), 0.3f64..1.0, prop::sample::select(Stem::ALL.to_vec())),
        (1i64..5, 0i64..30, 0i64..30, 0i64..20),
    );
    let outcome = TestRunner::new(cases).run(&shapes, |(widths, blocks, input)| {
        let (growth_rate, num_init_features, in_channels, bn_size) = widths;
        let (block_config, compression, stem) = blocks;
        let (count, taller, wider, num_classes) = input;
        let config = DenseNetConfig {
            growth_rate,
            num_init_features,
            in_channels,
            bn_size,
            block_config,
            compression,
            stem,
            num_classes,
            ..DenseNetConfig::default()
        };
        prop_assume!(config.validate().is_ok());
        let (_vs, network) = network(&config);
        let min = config.min_input_size();
        let xs = Tensor::randn([count, in_channels, min + taller, min + wider], OPTIONS);
        let want = exact(&network, &xs);
        // A network all of whose outputs died gives no scale to measure by.
        prop_assume!(want.abs().max().double_value(&[]) > 1e-3);
        let got = Prepared::new(&network).unwrap().forward(&xs).unwrap();
        let difference = difference(&got, &want);
        prop_assert!(difference < BOUND, "{config:?} at {:?}: {difference:e}", xs.size());
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn every_instruction_set_gives_the_exact_logits_within_1e_5() {
    let _guard = seed(10);
    let (_vs, mut network) = network(&small_network(&[2, 2, 1], 9));
    let xs = Tensor::randn([2, 3, 45, 38], OPTIONS);
    for level in Level::available() {
        network.set_kernels(Kernels::At(level));
        assert_close(&format!("{level}"), &network, &xs);
    }
}

#[test]
fn a_batch_that_goes_through_in_chunks_gives_each_picture_its_own_logits() {
    let _guard = seed(11);
    let config = DenseNetConfig { growth_rate: 4, num_init_features: 8, ..small_network(&[1, 2, 2], 6) };
    let (_vs, network) = network(&config);
    let prepared = Prepared::new(&network).unwrap();
    // Large enough that the first block takes fewer at a time than the later ones.
    let xs = Tensor::randn([7, 3, 509, 521], OPTIONS);
    let together = prepared.forward(&xs).unwrap();
    assert!(difference(&together, &exact(&network, &xs)) < BOUND);
    for (index, picture) in xs.split(1, 0).iter().enumerate() {
        let alone = prepared.forward(picture).unwrap();
        assert!(difference(&alone, &together.narrow(0, index as i64, 1)) < BOUND, "picture {index}");
    }
}

#[test]
fn strides_do_not_matter_and_an_empty_batch_gives_no_logits() {
    let _guard = seed(12);
    let (_vs, network) = network(&small_network(&[2, 1], 5));
    let prepared = Prepared::new(&network).unwrap();
    let xs = Tensor::randn([2, 3, 40, 36], OPTIONS);
    let want = prepared.forward(&xs).unwrap();
    let last = xs.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    assert!(!last.is_contiguous());
    assert_same_bits("channels last", &prepared.forward(&last).unwrap(), &want);
    let wide = Tensor::zeros([2, 3, 40, 72], OPTIONS);
    wide.slice(3, 1, 72, 2).copy_(&xs);
    assert_same_bits("every second column", &prepared.forward(&wide.slice(3, 1, 72, 2)).unwrap(), &want);
    assert_eq!(prepared.forward(&Tensor::zeros([0, 3, 40, 36], OPTIONS)).unwrap().size(), [0, 5]);
}

#[test]
fn threads_that_share_a_prepared_network_get_the_bits_of_one() {
    let _guard = seed(13);
    let (_vs, network) = network(&small_network(&[2, 2, 2], 5));
    let prepared = Prepared::new(&network).unwrap().with_threads(Threading::Throughput);
    let inputs: Vec<(Tensor, Tensor)> = (0..4)
        .map(|index| {
            let xs = Tensor::randn([1 + index % 2, 3, 33 + 8 * index, 40], OPTIONS);
            // A fresh one: what others left in the memory that is used again must not show.
            let want = Prepared::new(&network).unwrap().forward_on(&xs, Threading::Throughput).unwrap();
            (xs, want)
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let inputs: Vec<(Tensor, Tensor)> =
                inputs.iter().map(|(xs, want)| (xs.shallow_clone(), want.shallow_clone())).collect();
            let prepared = &prepared;
            scope.spawn(move || {
                for round in 0..30 {
                    let (xs, want) = &inputs[(thread + round) % inputs.len()];
                    assert_same_bits("shared", &prepared.forward(xs).unwrap(), want);
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_prepared_is_said_and_auto_takes_the_exact_path() {
    let _guard = seed(14);
    let config = small_network(&[1, 1], 4);
    let (mut vs, mut network) = network(&config);
    let xs = Tensor::randn([1, 3, 32, 32], OPTIONS);
    vs.double();
    let words = Prepared::new(&network).unwrap_err().to_string();
    assert!(words.contains("features.conv0.weight is Double") && words.contains("float()"), "{words}");
    let wide = xs.to_kind(Kind::Double);
    let want = exact(&network, &wide);
    network.set_numerics(Numerics::Fused);
    let refused = no_grad(|| network.try_forward(&wide, false));
    assert!(matches!(refused, Err(ModelError::NotFusable { .. })), "{refused:?}");
    network.set_numerics(Numerics::Auto);
    assert_same_bits("auto", &no_grad(|| network.try_forward(&wide, false)).unwrap(), &want);
    vs.float();
    network.features.transitions[0].conv.stride = 2;
    let words = Prepared::new(&network).unwrap_err().to_string();
    assert!(words.contains("transition1.conv"), "{words}");
}

#[test]
fn a_wrong_input_is_refused_as_the_exact_path_refuses_it() {
    let _guard = seed(15);
    let (_vs, network) = network(&small_network(&[1, 1], 4));
    let prepared = Prepared::new(&network).unwrap();
    for xs in [
        Tensor::zeros([1, 4, 32, 32], OPTIONS),
        Tensor::zeros([1, 3, 32, 4], OPTIONS),
        Tensor::zeros([3, 32, 32], OPTIONS),
        Tensor::zeros([1, 3, 32, 32], (Kind::Double, Device::Cpu)),
    ] {
        let (got, want) = (prepared.forward(&xs).unwrap_err(), network.try_forward(&xs, false).unwrap_err());
        assert_eq!(got.to_string(), want.to_string());
    }
}

#[test]
fn a_fused_network_follows_its_parameters_and_records_gradients_where_they_are_wanted() {
    let _guard = seed(16);
    let (_vs, mut network) = network(&small_network(&[2, 1], 4));
    let xs = Tensor::randn([2, 3, 32, 32], OPTIONS);
    let prepared = Prepared::new(&network).unwrap();
    assert!(!prepared.stale(&network));
    for name in
        ["features.conv0.weight", "features.denseblock1.denselayer2.norm2.running_var", "classifier.bias"]
    {
        let before = prepared.forward(&xs).unwrap();
        let (_, tensor) = network.named_tensors().into_iter().find(|(key, _)| key == name).unwrap();
        let old = tensor.detach().copy();
        let _ = no_grad(|| tensor.detach().f_mul_scalar_(1.5)).unwrap();
        assert!(prepared.stale(&network), "{name}");
        network.set_numerics(Numerics::Fused);
        let after = no_grad(|| network.try_forward(&xs, false)).unwrap();
        network.set_numerics(Numerics::Exact);
        assert!(difference(&after, &exact(&network, &xs)) < BOUND, "{name}");
        assert!(difference(&after, &before) > 1e-4, "{name}: the new value must show");
        no_grad(|| tensor.detach().copy_(&old));
    }
    network.features.blocks[0].layers[0].norm1.eps = 0.3;
    assert!(prepared.stale(&network));
    let want = exact(&network, &xs);
    network.set_numerics(Numerics::Fused);
    assert!(difference(&no_grad(|| network.try_forward(&xs, false)).unwrap(), &want) < BOUND);
    let recorded = network.try_forward(&xs, false).unwrap();
    assert!(recorded.requires_grad());
    assert_same_bits("with gradients", &recorded.detach(), &want);
}

#[test]
fn training_steps_and_moved_statistics_reach_the_fused_path() {
    use nn::OptimizerConfig;
    let _guard = seed(17);
    let (vs, mut network) = network(&small_network(&[1, 1], 4));
    let xs = Tensor::randn([2, 3, 48, 48], OPTIONS);
    let fused = |network: &mut DenseNet| {
        network.set_numerics(Numerics::Fused);
        let logits = no_grad(|| network.try_forward(&xs, false)).unwrap();
        network.set_numerics(Numerics::Exact);
        let difference = difference(&logits, &exact(network, &xs));
        assert!(difference < BOUND, "{difference:e}");
        logits
    };
    let mut optimizer = nn::sgd(0.0, 0.0, 0.0, false).build(&vs, 1e-3).unwrap();
    let before = fused(&mut network);
    optimizer.backward_step(&network.try_forward(&xs, true).unwrap().square().mean(Kind::Float));
    let stepped = fused(&mut network);
    assert!(difference(&stepped, &before) > 1e-4);
    // A pass that moves the running statistics and nothing else.
    let _ = no_grad(|| network.try_forward(&xs, true)).unwrap();
    assert!(difference(&fused(&mut network), &stepped) > 1e-4);
}

#[test]
fn numerics_have_names() {
    for numerics in Numerics::ALL {
        assert_eq!(numerics.to_string().parse::<Numerics>().unwrap(), numerics);
        assert_eq!(serde_json::to_value(numerics).unwrap(), numerics.name());
    }
    let words = "fast".parse::<Numerics>().unwrap_err().to_string();
    assert!(words.contains("\"fast\"") && words.contains("exact, fused, auto"), "{words}");
}
