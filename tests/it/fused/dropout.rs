//! Dropout inside the fused passes.

use super::support::{relative_error, Reference, Step};
use crate::support::seed;
use densenet::model::{Cifar, Dropout, Kernels, Memory};
use densenet::{DenseNet, DenseNetConfig};
use tch::{no_grad, Kind, Tensor};

fn configs() -> Vec<(&'static str, DenseNetConfig)> {
    let bc = Cifar::new(16, 12).bc().drop_rate(0.3).build().unwrap();
    let layers = DenseNetConfig { dropout: Dropout::LayerOutput, ..bc.clone() };
    let plain = Cifar::new(10, 24).drop_rate(0.3).build().unwrap();
    let wide = Cifar::new(16, 16).bc().drop_rate(0.3).build().unwrap();
    vec![("every convolution", bc), ("layers' outputs", layers), ("plain", plain), ("whole vectors", wide)]
}

/// Of a difference: small enough that hardly a ReLU turns within it, large enough for f64.
const STEP: f64 = 1e-8;

/// The loss under the masks that seed 7 draws.
fn loss(network: &DenseNet, reference: &Reference) -> Tensor {
    tch::manual_seed(7);
    let kind = network.features.norm5.weight.kind();
    let logits = network.try_forward(&reference.input.to_kind(kind), true).unwrap();
    logits.log_softmax(-1, kind).nll_loss(&reference.target)
}

fn gradients(network: &DenseNet, reference: &Reference) -> Step {
    loss(network, reference).backward();
    let named = network.named_tensors().into_iter().filter(|(_, tensor)| tensor.requires_grad());
    named.map(|(key, tensor)| (key, tensor.grad())).collect()
}

#[test]
fn gradients_are_those_of_the_dropped_network() {
    for (name, config) in configs() {
        let reference = Reference::ask(&config, 5, [2, 3, 12, 9], true);
        let _guard = seed(0);
        let network = reference.network(Memory::Fused, Kernels::Aten, Kind::Double);
        let want = gradients(&network, &reference);
        // Along a random direction, the loss changes as the gradient says.
        let mut slope = 0.0;
        let mut direction = Vec::new();
        for (key, tensor) in network.named_tensors().into_iter().filter(|(_, tensor)| tensor.requires_grad())
        {
            let step = tensor.detach().sin() + tensor.detach().cos();
            slope += (&step * &want[&key]).sum(Kind::Double).double_value(&[]);
            direction.push((tensor, step));
        }
        let moved = |by: f64| {
            no_grad(|| {
                direction.iter().for_each(|(tensor, step)| drop(tensor.shallow_clone().g_add_(&(step * by))));
                let value = loss(&network, &reference).double_value(&[]);
                direction.iter().for_each(|(tensor, step)| drop(tensor.shallow_clone().g_sub_(&(step * by))));
                value
            })
        };
        let numeric = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!((numeric - slope).abs() < 1e-4 * slope.abs(), "{name}: {slope}, by differences {numeric}");
        for memory in [Memory::Fused, Memory::Minimal] {
            for (kernels, kind, bound) in [
                (Kernels::Aten, Kind::Double, 1e-10),
                (Kernels::Best, Kind::Float, 1e-4),
                (Kernels::Aten, Kind::Float, 1e-4),
            ] {
                let got = gradients(&reference.network(memory, kernels, kind), &reference);
                for (key, want) in &want {
                    let error = relative_error(&got[key], want);
                    assert!(
                        error < bound,
                        "{name}, {memory:?}, {kernels:?}, {kind:?}: {key} is off by {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn evaluation_drops_nothing() {
    let (_, config) = configs().remove(0);
    let reference = Reference::ask(&config, 5, [2, 3, 12, 9], false);
    for kernels in [Kernels::Best, Kernels::Aten] {
        let network = reference.network(Memory::Fused, kernels, Kind::Float);
        let logits = network.try_forward(&reference.input, false).unwrap();
        assert!(relative_error(&logits, &reference.double()["logits"]) < 1e-5);
    }
}
