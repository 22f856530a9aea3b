//! `Memory::Efficient` against `Memory::Standard`, to the bit, and against torchvision's.

mod bits;
mod keeping;
mod torchvision;

use crate::support::{assert_same_bits, seed};
use densenet::model::{Init, Memory};
use densenet::{DenseNet, DenseNetConfig};
use std::collections::BTreeMap;
use tch::{nn, no_grad, Device, Kind, Tensor};

/// A network and what it takes.
#[derive(Clone)]
struct Setup {
    config: DenseNetConfig,
    shape: [i64; 4],
    kind: Kind,
    channels_last: bool,
    train: bool,
    input_gradient: bool,
    /// Whether the parameter of that key stays as it is.
    frozen: fn(&str) -> bool,
}

impl Setup {
    fn of(config: DenseNetConfig, shape: [i64; 4]) -> Setup {
        Setup {
            config,
            shape,
            kind: Kind::Float,
            channels_last: false,
            train: true,
            input_gradient: true,
            frozen: |_| false,
        }
    }

    /// The same weights whatever the memory mode, none of them 0 or 1 where a new network has those.
    fn network(&self, memory: Memory) -> (nn::VarStore, DenseNet) {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let config = DenseNetConfig { memory, ..self.config.clone() };
        let network = DenseNet::with_init(&vs.root(), &config, Init::Zeros).expect("a network");
        no_grad(|| {
            for (i, (key, mut tensor)) in network.named_tensors().into_iter().enumerate() {
                if tensor.kind() == Kind::Int64 {
                    let _ = tensor.fill_(7);
                    continue;
                }
                let values = numbers(&tensor.size(), i as f64);
                let fan_in = tensor.size().iter().skip(1).product::<i64>() as f64;
                let values = match tensor.dim() {
                    1 if key.ends_with("running_var") || key.ends_with("weight") => values * 0.4 + 1.,
                    1 => values * 0.2,
                    _ => values * (6. / fan_in).sqrt(),
                };
                tensor.copy_(&values);
            }
        });
        vs.set_kind(self.kind);
        if self.channels_last {
            network.to_channels_last().unwrap();
        }
        for (key, tensor) in network.named_tensors() {
            if tensor.requires_grad() && (self.frozen)(&key) {
                let _ = tensor.set_requires_grad(false);
            }
        }
        (vs, network)
    }

    fn input(&self, number: f64) -> Tensor {
        let input = numbers(&self.shape, number).to_kind(self.kind);
        let input = if self.channels_last { channels_last(&input) } else { input };
        input.set_requires_grad(self.input_gradient)
    }

    fn loss(&self, network: &DenseNet, input: &Tensor) -> Tensor {
        let logits = network.try_forward(input, self.train).expect("a forward pass");
        let target =
            Tensor::arange(self.shape[0], (Kind::Int64, Device::Cpu)).remainder(self.config.num_classes);
        logits.cross_entropy_for_logits(&target)
    }
}

/// Everything that a step leaves: `results`, and each tensor of the network and its gradient.
type Results = BTreeMap<String, Tensor>;

/// Runs `step` on a network in both modes, with the generator in the same state, and compares all that it leaves.
fn assert_same_step(case: &str, setup: &Setup, step: impl Fn(&Setup, &DenseNet, &mut Results)) {
    let [want, got] = [Memory::Standard, Memory::Efficient].map(|memory| {
        let (_vs, network) = setup.network(memory);
        let mut results = Results::new();
        {
            let _guard = seed(6);
            step(setup, &network, &mut results);
        }
        for (key, tensor) in network.named_tensors() {
            if tensor.grad().defined() {
                results.insert(format!("grad.{key}"), tensor.grad());
            }
            results.insert(key, tensor);
        }
        results
    });
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{case}: what there is");
    let gradients = want.keys().filter(|key| key.starts_with("grad")).count();
    assert!(gradients > 0, "{case}: some gradient");
    for (key, want) in &want {
        assert_same_bits(&format!("{case}: {key}"), &got[key], want);
    }
}

/// One forward and backward.
fn step(setup: &Setup, network: &DenseNet, results: &mut Results) {
    let input = setup.input(0.5);
    let loss = setup.loss(network, &input);
    loss.backward();
    results.insert("loss".into(), loss);
    if setup.input_gradient {
        results.insert("grad.input".into(), input.grad());
    }
}

/// Fixed numbers between -1 and 1 that look random, without the global generator; others for another `number`.
fn numbers(shape: &[i64], number: f64) -> Tensor {
    let count = shape.iter().product::<i64>();
    let phases = Tensor::arange(count, (Kind::Double, Device::Cpu)) + (1. + number);
    let noise = (phases * 12.9898).sin() * 43758.5453;
    ((&noise - noise.floor()) * 2. - 1.).to_kind(Kind::Float).reshape(shape)
}

/// A copy with channels last in memory.
fn channels_last(tensor: &Tensor) -> Tensor {
    tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
