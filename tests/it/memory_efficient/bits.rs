//! Outputs, gradients and statistics, in every way a network can be trained.

use super::{assert_same_step, numbers, step, Results, Setup};
use crate::support::{assert_same_bits, small_network};
use densenet::autograd::{backward, grad, run_backward, with_cpu_autocast, AutogradError, Options};
use densenet::model::{Cifar, Dropout, Memory, Preset, Stem};
use densenet::{Arch, DenseNet, DenseNetConfig};
use tch::{no_grad, Kind, Tensor};

fn small() -> Setup {
    Setup::of(small_network(&[3, 2, 3], 10), [2, 3, 48, 40])
}

/// Layers without a bottleneck: conv1 is 3×3.
fn plain() -> Setup {
    Setup::of(Cifar::new(16, 6).build().unwrap(), [3, 3, 12, 16])
}

fn bottleneck() -> Setup {
    Setup::of(Cifar::new(22, 12).bc().build().unwrap(), [3, 3, 12, 16])
}

fn each(run: impl Fn(&str, Setup)) {
    run("small", small());
    run("plain", plain());
    run("bottleneck", bottleneck());
}

#[test]
fn every_architecture_trains_as_standard_does() {
    for arch in Arch::ALL {
        assert_same_step(arch.name(), &Setup::of(arch.config(), [2, 3, 32, 48]), step);
    }
    let cifar = [
        ("40-12", Cifar::new(40, 12)),
        ("bc 100-12", Cifar::new(100, 12).bc()),
        ("c 40-24 lua, gray", Cifar::new(40, 24).compression(0.7).preset(Preset::Lua).in_channels(1)),
        ("b 40-12", Cifar::new(40, 12).bottleneck(true)),
    ];
    for (name, builder) in cifar {
        let config = builder.build().unwrap();
        let shape = [2, config.in_channels, 16, 16];
        assert_same_step(name, &Setup::of(config, shape), step);
    }
    let deep = DenseNetConfig { stem: Stem::Deep, ..small().config };
    assert_same_step("deep stem", &Setup::of(deep, [2, 3, 48, 40]), step);
}

#[test]
fn every_type_and_memory_format_trains_as_standard_does() {
    each(|name, setup| {
        for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half] {
            for channels_last in [false, true] {
                for train in [true, false] {
                    let case = format!("{name}, {kind:?}, channels_last {channels_last}, train {train}");
                    assert_same_step(&case, &Setup { kind, channels_last, train, ..setup.clone() }, step);
                }
            }
        }
    });
}

#[test]
fn half_precision_inputs_with_single_precision_norms_train_as_standard_does() {
    // What mixed-precision training does by hand: convolutions in half precision, norms in single.
    let mixed = |setup: &Setup, network: &DenseNet, results: &mut Results| {
        for (_, mut tensor) in network.named_tensors().into_iter().filter(|(_, tensor)| tensor.dim() == 1) {
            no_grad(|| tensor.set_data(&tensor.to_kind(Kind::Float)));
        }
        let input = setup.input(0.5);
        let features = network.forward_features(&input, setup.train).expect("features");
        features.sum(Kind::Float).backward();
        results.insert("features".into(), features);
    };
    each(|name, setup| {
        for kind in [Kind::BFloat16, Kind::Half] {
            for channels_last in [false, true] {
                let setup = Setup { kind, channels_last, input_gradient: false, ..setup.clone() };
                assert_same_step(&format!("{name}, {kind:?}, channels_last {channels_last}"), &setup, mixed);
            }
        }
    });
}

#[test]
fn autocast_trains_as_standard_does() {
    let autocast = |setup: &Setup, network: &DenseNet, results: &mut Results| {
        let input = setup.input(0.5);
        let loss = with_cpu_autocast(Kind::BFloat16, || setup.loss(network, &input)).unwrap();
        assert_eq!(loss.kind(), Kind::Float);
        loss.backward();
        results.insert("loss".into(), loss);
        results.insert("grad.input".into(), input.grad());
    };
    each(|name, setup| assert_same_step(name, &setup, autocast));
}

#[test]
fn dropout_trains_as_standard_does() {
    for dropout in [Dropout::LayerOutput, Dropout::EveryConvolution] {
        each(|name, setup| {
            let config = DenseNetConfig { drop_rate: 0.3, dropout, ..setup.config.clone() };
            assert_same_step(&format!("{name}, {dropout:?}"), &Setup { config, ..setup }, step);
        });
    }
}

#[test]
fn networks_with_frozen_parts_train_as_standard_does() {
    type Chosen = fn(&str) -> bool;
    let frozen: [(&str, Chosen); 7] = [
        ("convolutions", |key| key.contains("conv")),
        ("conv1", |key| key.contains("conv1")),
        ("norms", |key| key.contains("norm")),
        ("gammas", |key| key.contains("norm") && key.ends_with("weight")),
        ("all before block 2", |key| !key.contains("block2") && !key.contains("block3")),
        ("all but conv1 of block 1", |key| !(key.contains("block1") && key.contains("conv1"))),
        ("all but the classifier", |key| !key.contains("classifier")),
    ];
    for (part, frozen) in frozen {
        for input_gradient in [true, false] {
            for train in [true, false] {
                each(|name, setup| {
                    let case =
                        format!("{name}, frozen: {part}, input gradient {input_gradient}, train {train}");
                    assert_same_step(&case, &Setup { frozen, input_gradient, train, ..setup }, step);
                });
            }
        }
    }
}

#[test]
fn gradients_accumulate_over_two_passes_as_in_standard() {
    let two_batches = |setup: &Setup, network: &DenseNet, results: &mut Results| {
        let inputs = [setup.input(0.5), setup.input(0.8)];
        let losses = inputs.each_ref().map(|input| setup.loss(network, input));
        losses.iter().for_each(Tensor::backward);
        results.insert("grad.input".into(), inputs[0].grad());
    };
    let two_backwards = |setup: &Setup, network: &DenseNet, results: &mut Results| {
        let input = setup.input(0.5);
        let loss = setup.loss(network, &input);
        run_backward(&[&loss], &[None], Options { retain_graph: true, ..Options::default() }).unwrap();
        backward(&loss).unwrap();
        results.insert("grad.input".into(), input.grad());
    };
    each(|name, setup| {
        assert_same_step(&format!("{name}, two batches"), &setup, two_batches);
        assert_same_step(&format!("{name}, one batch, two backwards"), &setup, two_backwards);
    });
}

/// A loss, and the squared gradient of it by the input: its own gradient goes through every operation's second derivative.
fn gradient_penalty(setup: &Setup, network: &DenseNet, results: &mut Results) {
    let input = setup.input(0.5);
    let loss = setup.loss(network, &input);
    let options = Options { create_graph: true, ..Options::default() };
    let first = grad(&[&loss], &[&input], &[None], options).unwrap().remove(0).unwrap();
    let total = &loss + first.square().sum(first.kind()) * 10.;
    backward(&total).unwrap();
    results.insert("first".into(), first);
    results.insert("grad.input".into(), input.grad());
}

#[test]
fn second_derivatives_are_standards() {
    each(|name, setup| {
        for (train, channels_last) in [(true, false), (true, true), (false, false)] {
            let setup = Setup { train, channels_last, ..setup.clone() };
            let case = format!("{name}, train {train}, channels_last {channels_last}");
            assert_same_step(&case, &setup, gradient_penalty);
            let frozen = Setup { frozen: |key| key.contains("denselayer2"), ..setup };
            assert_same_step(&format!("{case}, some frozen"), &frozen, gradient_penalty);
        }
        let double = Setup { kind: Kind::Double, ..setup.clone() };
        assert_same_step(&format!("{name}, f64"), &double, gradient_penalty);
        let dropped = DenseNetConfig { drop_rate: 0.2, ..setup.config.clone() };
        assert_same_step(&format!("{name}, dropout"), &Setup { config: dropped, ..setup }, gradient_penalty);
    });
}

#[test]
fn gradients_of_a_part_of_the_network_and_then_of_all_are_standards() {
    let part_then_all = |setup: &Setup, network: &DenseNet, results: &mut Results| {
        let input = setup.input(0.5);
        let loss = setup.loss(network, &input);
        let tensors = network.named_tensors();
        // conv1's weight and the first norm's γ of one layer: backward stops inside the segment that is made again.
        for key in ["denseblock1.denselayer2.conv1.weight", "denseblock1.denselayer2.norm1.weight"] {
            let (_, tensor) = tensors.iter().find(|(name, _)| name.ends_with(key)).unwrap();
            let options = Options { retain_graph: true, ..Options::default() };
            let gradient = grad(&[&loss], &[tensor], &[None], options).unwrap().remove(0).unwrap();
            results.insert(format!("grad of {key} alone"), gradient);
        }
        backward(&loss).unwrap();
        results.insert("grad.input".into(), input.grad());
    };
    each(|name, setup| assert_same_step(name, &setup, part_then_all));
}

#[test]
fn statistics_that_move_between_forward_and_backward_do_not_matter() {
    let interleaved = |setup: &Setup, network: &DenseNet, results: &mut Results| {
        let input = setup.input(0.5);
        let loss = setup.loss(network, &input);
        // Moves every running statistic.
        drop(no_grad(|| network.try_forward(&setup.input(0.9), true)).unwrap());
        backward(&loss).unwrap();
        results.insert("grad.input".into(), input.grad());
    };
    for train in [true, false] {
        each(|name, setup| {
            assert_same_step(&format!("{name}, train {train}"), &Setup { train, ..setup }, interleaved)
        });
    }
}

#[test]
fn running_statistics_move_once_a_step() {
    let setup = small();
    let (_vs, network) = setup.network(Memory::Efficient);
    for counted in [8, 9] {
        backward(&setup.loss(&network, &setup.input(0.5))).unwrap();
        for (key, tensor) in network.named_tensors() {
            if key.ends_with("num_batches_tracked") {
                assert_eq!(tensor.int64_value(&[]), counted, "{key}");
            }
        }
    }
}

#[test]
fn backward_may_run_on_another_thread() {
    let elsewhere = |setup: &Setup, network: &DenseNet, results: &mut Results| {
        let input = setup.input(0.5);
        let loss = setup.loss(network, &input);
        std::thread::spawn(move || backward(&loss)).join().unwrap().unwrap();
        results.insert("grad.input".into(), input.grad());
    };
    assert_same_step("small", &small(), elsewhere);
}

#[test]
fn what_backward_makes_again_from_must_not_have_changed() {
    let setup = small();
    let (_vs, network) = setup.network(Memory::Efficient);
    let layer = &network.features.blocks[0].layers[1];
    let features = || [16, 8].map(|channels| numbers(&[2, channels, 6, 6], 0.3).set_requires_grad(true) * 1.);
    let failing = |index: usize, change: &dyn Fn(&[Tensor])| {
        let features = features();
        let output = layer.try_forward(&features, true).unwrap();
        no_grad(|| change(&features));
        match backward(&output.sum(Kind::Float)) {
            Err(AutogradError::SavedTensorChanged { function: "DenseLayer", index: got, .. }) => {
                assert_eq!(got, index)
            }
            other => panic!("{other:?}"),
        }
    };
    failing(0, &|features| drop(features[1].shallow_clone().fill_(0.)));
    failing(2, &|_| drop(layer.norm1.bias.shallow_clone().fill_(0.)));
    failing(1, &|_| drop(layer.norm1.weight.shallow_clone().fill_(1.)));
    let output = layer.try_forward(&features(), true).unwrap();
    backward(&output.sum(Kind::Float)).unwrap();
    // A whole block's output holds the features.
    let input = numbers(&[2, 16, 6, 6], 0.3).set_requires_grad(true);
    let output = network.features.blocks[0].try_forward(&input, true).unwrap();
    let sum = output.sum(Kind::Float);
    drop(no_grad(|| output.shallow_clone().fill_(0.)));
    let error = backward(&sum).unwrap_err();
    assert!(
        matches!(error, AutogradError::SavedTensorChanged { function: "DenseLayer", index: 0, .. }),
        "{error:?}"
    );
}

#[test]
fn the_builder_takes_torchvisions_name() {
    let config = Arch::DenseNet121.config().memory_efficient(true);
    assert_eq!(config.memory, Memory::Efficient);
    assert_eq!(config.clone().memory_efficient(false).memory, Memory::Standard);
    assert_eq!(config.arch(), Some(Arch::DenseNet121));
}

#[test]
fn evaluation_without_gradients_is_standards() {
    let setup = small();
    let logits = [Memory::Standard, Memory::Efficient].map(|memory| {
        let (_vs, network) = setup.network(memory);
        no_grad(|| network.try_forward(&setup.input(0.5), false)).unwrap()
    });
    assert_same_bits("logits", &logits[1], &logits[0]);
    assert!(!logits[1].requires_grad());
}
