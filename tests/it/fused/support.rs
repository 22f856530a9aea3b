//! One training step: PyTorch's in f64 and f32, and ours.

use crate::oracle::ask;
use crate::support::{read_safetensors, scratch};
use densenet::model::{Init, Kernels, Memory};
use densenet::{DenseNet, DenseNetConfig};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tch::{nn, no_grad, Device, Kind, Tensor};

/// What a step gives: `logits`, `loss`, `grad.*` (of the input too), `after.*` (buffers).
pub type Step = BTreeMap<String, Tensor>;

/// PyTorch's step.
pub struct Reference {
    config: DenseNetConfig,
    pub input: Tensor,
    pub target: Tensor,
    start: Step,
    double: Step,
    single: Step,
}

impl Reference {
    /// Asks once; the same question again gets the same answer.
    pub fn ask(config: &DenseNetConfig, seed: i64, shape: [i64; 4], train: bool) -> Reference {
        static ASKED: Mutex<BTreeMap<String, Reference>> = Mutex::new(BTreeMap::new());
        let mut asked = ASKED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let question = format!("{config:?} {seed} {shape:?} {train}");
        asked
            .entry(question)
            .or_insert_with(|| Reference::ask_now(config, seed, shape, train))
            .shallow_clone()
    }

    fn shallow_clone(&self) -> Reference {
        let same =
            |step: &Step| step.iter().map(|(key, tensor)| (key.clone(), tensor.shallow_clone())).collect();
        Reference {
            config: self.config.clone(),
            input: self.input.shallow_clone(),
            target: self.target.shallow_clone(),
            start: same(&self.start),
            double: same(&self.double),
            single: same(&self.single),
        }
    }

    fn ask_now(config: &DenseNetConfig, seed: i64, shape: [i64; 4], train: bool) -> Reference {
        let folder = scratch();
        let out = folder.path().join("step.safetensors");
        let threads = tch::get_num_threads();
        let request = json!({
            "config": config, "seed": seed, "shape": shape, "train": train, "threads": threads, "out": out
        });
        ask("step_in_two_precisions", request);
        let all = read_safetensors(&out);
        let part = |prefix: &str| -> Step {
            all.iter()
                .filter_map(|(key, tensor)| {
                    Some((key.strip_prefix(prefix)?.to_string(), tensor.shallow_clone()))
                })
                .collect()
        };
        Reference {
            config: config.clone(),
            input: all["input"].shallow_clone(),
            target: all["target"].shallow_clone(),
            start: part("start."),
            double: part("double."),
            single: part("single."),
        }
    }

    /// In f64.
    pub fn double(&self) -> &Step {
        &self.double
    }

    /// In f32, channels_last.
    pub fn single(&self) -> &Step {
        &self.single
    }

    /// A network as PyTorch's was before the step.
    pub fn network(&self, memory: Memory, kernels: Kernels, kind: Kind) -> DenseNet {
        let config = DenseNetConfig { memory, ..self.config.clone() };
        let mut vs = nn::VarStore::new(Device::Cpu);
        vs.set_kind(kind);
        let mut network = DenseNet::with_init(&vs.root(), &config, Init::Zeros).expect("a network");
        network.set_kernels(kernels);
        no_grad(|| {
            for (key, mut tensor) in network.named_tensors() {
                tensor.copy_(&self.start[&key]);
            }
        });
        network
    }
}

/// Forward, cross entropy and backward.
pub fn step(network: &DenseNet, reference: &Reference, train: bool) -> Step {
    let kind = network.features.norm5.weight.kind();
    let input = reference.input.to_kind(kind).copy().set_requires_grad(true);
    let logits = network.try_forward(&input, train).expect("a forward pass");
    // tch's cross_entropy_for_logits would go through f32.
    let loss = logits.log_softmax(-1, wider(kind)).nll_loss(&reference.target);
    densenet::autograd::backward(&loss).expect("a backward pass");
    let mut step = Step::from([
        ("logits".to_string(), logits.detach()),
        ("loss".to_string(), loss.detach()),
        ("grad.input".to_string(), input.grad()),
    ]);
    step.extend(after(network));
    step
}

fn wider(kind: Kind) -> Kind {
    if matches!(kind, Kind::Half | Kind::BFloat16) {
        Kind::Float
    } else {
        kind
    }
}

/// Gradients and buffers as they are.
pub fn after(network: &DenseNet) -> Step {
    let tensors = network.named_tensors().into_iter();
    tensors
        .map(|(key, tensor)| match tensor.requires_grad() {
            true => (format!("grad.{key}"), tensor.grad()),
            false => (format!("after.{key}"), tensor),
        })
        .collect()
}

/// ‖got − want‖ / ‖want‖ in f64.
#[track_caller]
pub fn relative_error(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.size(), want.size());
    let (got, want) = (got.detach().to_kind(Kind::Double), want.to_kind(Kind::Double));
    let norm = |tensor: Tensor| tensor.square().sum(Kind::Double).sqrt().double_value(&[]);
    norm(&got - &want) / norm(want).max(1e-12)
}

/// ‖got − want‖ / ‖want‖ over all parameters' gradients together.
pub fn error_of_all(got: &Step, want: &Step) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    let square = |tensor: Tensor| tensor.square().sum(Kind::Double).double_value(&[]);
    for (key, want) in want.iter().filter(|(key, _)| key.starts_with("grad.")) {
        let want = want.to_kind(Kind::Double);
        difference += square(got[key].to_kind(Kind::Double) - &want);
        size += square(want);
    }
    (difference / size).sqrt()
}
