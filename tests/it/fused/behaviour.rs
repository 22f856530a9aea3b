//! How the fused passes behave in a graph.

use super::support::{after, error_of_all, relative_error, step, Reference, Step};
use crate::support::{assert_same_bits, small_network};
use densenet::autograd::{grad, run_backward, with_cpu_autocast, AutogradError, Options};
use densenet::model::{Cifar, Kernels, Memory, ModelError};
use densenet::transforms::ImageClassification;
use densenet::{DenseNet, DenseNetConfig, Predictor};
use tch::{nn, no_grad, Device, Kind, Tensor};

const BOTH: [Memory; 2] = [Memory::Fused, Memory::Minimal];

fn reference() -> Reference {
    Reference::ask(&small_network(&[3, 2], 10), 5, [2, 3, 44, 37], true)
}

fn network(reference: &Reference, memory: Memory) -> DenseNet {
    reference.network(memory, Kernels::Best, Kind::Float)
}

fn loss(network: &DenseNet, reference: &Reference) -> Tensor {
    let logits = network.try_forward(&reference.input, true).unwrap();
    logits.cross_entropy_for_logits(&reference.target)
}

#[test]
fn frozen_parameters_get_no_gradient_and_change_no_other() {
    let reference = reference();
    type Chosen = fn(&str) -> bool;
    let frozen: [(&str, Chosen); 4] = [
        ("every first convolution", |key| key.contains("conv1.weight")),
        ("norms", |key| key.contains("norm")),
        ("all before the second block's last layer", |key| {
            !key.contains("denseblock2.denselayer2") && !key.contains("norm5") && !key.contains("classifier")
        }),
        ("the transition and norm5", |key| key.contains("transition") || key.contains("norm5")),
    ];
    for memory in BOTH {
        for kernels in [Kernels::Best, Kernels::Aten] {
            let full = step(&reference.network(memory, kernels, Kind::Float), &reference, true);
            for (name, is_frozen) in frozen {
                let network = reference.network(memory, kernels, Kind::Float);
                for (key, tensor) in network.named_tensors() {
                    if is_frozen(&key) && tensor.requires_grad() {
                        let _ = tensor.set_requires_grad(false);
                    }
                }
                loss(&network, &reference).backward();
                for (key, tensor) in network.named_tensors() {
                    let case = format!("{memory:?}, {kernels:?}, frozen: {name}: {key}");
                    if tensor.requires_grad() {
                        assert_same_bits(&case, &tensor.grad(), &full[&format!("grad.{key}")]);
                    } else {
                        assert!(!tensor.grad().defined(), "{case}");
                    }
                }
            }
        }
    }
}

fn gradients(network: &DenseNet) -> Step {
    let step = after(network).into_iter().filter(|(key, _)| key.starts_with("grad."));
    step.map(|(key, tensor)| (key, tensor.copy())).collect()
}

#[test]
fn gradients_accumulate_over_two_steps_and_over_two_passes_of_one_graph() {
    let reference = reference();
    for memory in BOTH {
        let network = network(&reference, memory);
        let once = loss(&network, &reference);
        let keep = Options { retain_graph: true, ..Options::default() };
        run_backward(&[&once], &[None], keep).unwrap();
        let first = gradients(&network);
        run_backward(&[&once], &[None], keep).unwrap();
        for (key, twice) in gradients(&network) {
            assert_same_bits(
                &format!("{memory:?}, one graph twice: {key}"),
                &twice,
                &(&first[&key] + &first[&key]),
            );
        }
        loss(&network, &reference).backward();
        for (key, thrice) in gradients(&network) {
            let want = &first[&key] + &first[&key] + &first[&key];
            assert_same_bits(&format!("{memory:?}, two graphs: {key}"), &thrice, &want);
        }
    }
}

#[test]
fn a_second_pass_over_a_freed_graph_is_refused() {
    let reference = reference();
    for memory in BOTH {
        let network = network(&reference, memory);
        let loss = loss(&network, &reference);
        loss.backward();
        let error = densenet::autograd::backward(&loss).unwrap_err().to_string();
        assert!(error.contains("retain_graph") || error.contains("second time"), "{error}");
    }
}

#[test]
fn a_weight_changed_between_the_passes_is_an_error() {
    let reference = reference();
    for memory in BOTH {
        for kernels in [Kernels::Best, Kernels::Aten] {
            let network = reference.network(memory, kernels, Kind::Float);
            let loss = loss(&network, &reference);
            let mut weight = network.features.blocks[0].layers[1].conv1.weight.shallow_clone();
            let _ = no_grad(|| weight.f_add_scalar_(1.0).unwrap());
            let error = densenet::autograd::backward(&loss).unwrap_err();
            assert!(matches!(error, AutogradError::SavedTensorChanged { .. }), "{error}");
        }
    }
}

#[test]
fn a_second_derivative_is_refused() {
    let reference = reference();
    for memory in BOTH {
        let network = network(&reference, memory);
        let weight = &network.features.blocks[0].layers[0].conv1.weight;
        let create = Options { create_graph: true, ..Options::default() };
        let first = grad(&[loss(&network, &reference)], &[weight], &[None], create).unwrap();
        let first = first[0].as_ref().expect("a gradient").square().sum(Kind::Float);
        let error = densenet::autograd::backward(&first).unwrap_err();
        assert!(matches!(error, AutogradError::DifferentiatedTwice { .. }), "{error}");
        assert!(error.to_string().contains("Memory::Fused"), "{error}");
    }
}

#[test]
fn running_statistics_move_once_a_step_and_not_in_evaluation() {
    let reference = reference();
    for memory in BOTH {
        let network = network(&reference, memory);
        let counters = || -> Vec<i64> {
            let named = network.named_tensors().into_iter();
            named
                .filter(|(key, _)| key.ends_with("tracked"))
                .map(|(_, count)| count.int64_value(&[]))
                .collect()
        };
        let before = counters();
        loss(&network, &reference).backward();
        let moved: Vec<i64> = before.iter().map(|count| count + 1).collect();
        assert_eq!(counters(), moved, "{memory:?}");
        let state = |network: &DenseNet| -> Step {
            network.named_tensors().into_iter().map(|(key, tensor)| (key, tensor.detach().copy())).collect()
        };
        let settled = state(&network);
        network.try_forward(&reference.input, false).unwrap().sum(Kind::Float).backward();
        for (key, tensor) in state(&network) {
            assert_same_bits(&format!("{memory:?}: {key}"), &tensor, &settled[&key]);
        }
    }
}

#[test]
fn one_value_per_channel_is_refused_in_training_as_in_exact_mode() {
    let config = Cifar::new(16, 12).bc().build().unwrap();
    for memory in [Memory::Standard, Memory::Fused, Memory::Minimal] {
        let vs = nn::VarStore::new(Device::Cpu);
        let config = DenseNetConfig { memory, ..config.clone() };
        let network = DenseNet::with_init(&vs.root(), &config, densenet::model::Init::Zeros).unwrap();
        let xs = Tensor::ones([1, 3, 7, 4], (Kind::Float, Device::Cpu));
        let error = network.try_forward(&xs, true).unwrap_err();
        assert!(matches!(error, ModelError::OneValuePerChannel { .. }), "{memory:?}: {error}");
        assert_eq!(network.try_forward(&xs, false).unwrap().size(), [1, 10], "{memory:?}");
        let none = Tensor::ones([0, 3, 7, 4], (Kind::Float, Device::Cpu));
        assert_eq!(network.try_forward(&none, false).unwrap().size(), [0, 10], "{memory:?}");
    }
}

#[test]
fn feature_maps_handed_out_carry_gradients_and_do_not_change() {
    let reference = reference();
    let run = |memory: Memory, kernels: Kernels, kind: Kind| {
        let network = reference.network(memory, kernels, kind);
        let input = reference.input.to_kind(kind);
        let (features, maps) = network.forward_intermediates(&input, &[0, 1, 2], true).unwrap();
        let handed: Vec<Tensor> = maps.iter().map(|map| map.detach().copy()).collect();
        let logits = network.forward_head(&features, false).unwrap();
        let weighted = |map: &Tensor| (map * map.detach().cos()).mean(kind);
        let loss = logits.log_softmax(-1, kind).nll_loss(&reference.target)
            + weighted(&maps[1])
            + weighted(&maps[0]);
        densenet::autograd::backward(&loss).unwrap();
        let _ = network.try_forward(&input, true).unwrap();
        for (at, (map, was)) in maps.iter().zip(&handed).enumerate() {
            assert_same_bits(&format!("{memory:?}: map {at} after more passes"), &map.detach(), was);
        }
        (gradients(&network), handed)
    };
    let (want, want_maps) = run(Memory::Standard, Kernels::Best, Kind::Double);
    for memory in BOTH {
        for (kernels, kind, bound) in [
            (Kernels::Best, Kind::Float, 2e-5),
            (Kernels::Aten, Kind::Float, 2e-5),
            (Kernels::Aten, Kind::Double, 1e-9),
        ] {
            let (got, maps) = run(memory, kernels, kind);
            for (at, (map, want)) in maps.iter().zip(&want_maps).enumerate() {
                let error = relative_error(map, want);
                assert!(error < bound, "{memory:?}, {kernels:?}, {kind:?}: map {at} is off by {error:e}");
            }
            for (key, want) in &want {
                let error = relative_error(&got[key], want);
                assert!(error < bound, "{memory:?}, {kernels:?}, {kind:?}: {key} is off by {error:e}");
            }
        }
    }
}

#[test]
fn a_map_that_its_owner_overwrites_is_not_what_the_backward_reads() {
    let reference = reference();
    for memory in BOTH {
        for kernels in [Kernels::Best, Kernels::Aten] {
            let run = |overwrite: bool| {
                let network = reference.network(memory, kernels, Kind::Float);
                let (features, maps) = network.forward_intermediates(&reference.input, &[1], true).unwrap();
                if overwrite {
                    let _ = no_grad(|| maps[0].detach().zero_());
                }
                let logits = network.forward_head(&features, false).unwrap();
                logits.cross_entropy_for_logits(&reference.target).backward();
                gradients(&network)
            };
            let want = run(false);
            for (key, tensor) in run(true) {
                assert_same_bits(&format!("{memory:?}, {kernels:?}: {key}"), &tensor, &want[&key]);
            }
        }
    }
}

#[test]
fn a_training_pass_before_the_backward_of_an_evaluation_pass_changes_nothing() {
    let reference = reference();
    for memory in BOTH {
        let run = |between: bool| {
            let network = network(&reference, memory);
            let logits = network.try_forward(&reference.input, false).unwrap();
            if between {
                let _ = no_grad(|| network.try_forward(&reference.input, true)).unwrap();
            }
            logits.cross_entropy_for_logits(&reference.target).backward();
            gradients(&network)
        };
        let want = run(false);
        for (key, tensor) in run(true) {
            // norm0 of the Aten path apart, all statistics are copies.
            assert_same_bits(&format!("{memory:?}: {key}"), &tensor, &want[&key]);
        }
    }
}

#[test]
fn autocast_takes_the_aten_path_and_is_as_near_to_f64_as_in_exact_mode() {
    let reference = Reference::ask(&small_network(&[3, 2], 10), 5, [4, 3, 48, 48], true);
    let run = |memory| {
        let network = network(&reference, memory);
        let logits =
            with_cpu_autocast(Kind::BFloat16, || network.try_forward(&reference.input, true)).unwrap();
        let loss = logits.unwrap().to_kind(Kind::Float).cross_entropy_for_logits(&reference.target);
        loss.backward();
        gradients(&network)
    };
    let mut want: Step =
        reference.double().iter().map(|(key, tensor)| (key.clone(), tensor.shallow_clone())).collect();
    want.remove("grad.input");
    let standard = error_of_all(&run(Memory::Standard), &want);
    for memory in BOTH {
        let ours = error_of_all(&run(memory), &want);
        assert!(ours < 1.3 * standard, "{memory:?}: {ours:e}, in exact mode {standard:e}");
    }
}

#[test]
fn layers_changed_into_something_else_are_refused() {
    let reference = reference();
    let mut network = network(&reference, Memory::Fused);
    network.features.blocks[1].layers[0].drop_rate = 0.5;
    let error = network.try_forward(&reference.input, true).unwrap_err().to_string();
    assert!(error.contains("one dropout"), "{error}");
    network.features.blocks[1].layers[0].drop_rate = 0.0;
    network.features.transitions[0].conv.stride = 2;
    let error = network.try_forward(&reference.input, true).unwrap_err().to_string();
    assert!(error.contains("transition"), "{error}");
}

#[test]
fn threads_that_share_a_fused_predictor_get_one_answer() {
    let reference = reference();
    let network = network(&reference, Memory::Fused);
    let categories = (0..10).map(|class| class.to_string()).collect();
    let predictor = Predictor::new(&network, ImageClassification::default(), categories).unwrap();
    assert_eq!(predictor.config().memory, Memory::Fused);
    let input: Vec<f32> = Vec::try_from(reference.input.reshape([-1])).unwrap();
    let shape = reference.input.size();
    let predict = || {
        let input = Tensor::from_slice(&input).reshape(&shape);
        Vec::<f32>::try_from(predictor.predict_tensor(&input).unwrap().reshape([-1])).unwrap()
    };
    let want = predict();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..5).for_each(|_| assert_eq!(predict(), want)));
        }
    });
}
