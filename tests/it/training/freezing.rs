//! What is trained, and how fast.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, seed, small_network};
use densenet::model::{Init, Memory};
use densenet::train::{parameters, Freeze, Loss, Rates, Recipe, TrainError, Trainer};
use densenet::{DenseNet, DenseNetConfig};
use serde_json::json;
use std::collections::BTreeMap;
use tch::{nn, no_grad, Device, Kind, Tensor};

fn network(config: &DenseNetConfig) -> DenseNet {
    let vs = nn::VarStore::new(Device::Cpu);
    DenseNet::with_init(&vs.root(), config, Init::Zeros).unwrap()
}

/// Ten layers in the first block, two in the second.
fn ten_layers() -> DenseNetConfig {
    small_network(&[10, 2], 4)
}

fn trained(network: &DenseNet) -> Vec<String> {
    let trained = parameters(network).into_iter().filter(|(_, parameter)| parameter.requires_grad());
    trained.map(|(key, _)| key).collect()
}

#[test]
fn a_name_ends_at_a_dot_so_denselayer1_takes_not_denselayer10() {
    let network = network(&ten_layers());
    let all = parameters(&network).len();
    for name in ["denseblock1.denselayer1", "features.denseblock1.denselayer1", "denseblock1.denselayer1."] {
        let count = Freeze::Modules(vec![name.to_string()]).apply(&network, 0).unwrap();
        let trained = trained(&network);
        assert_eq!((count, trained.len()), (all - 6, all - 6), "{name}: a layer has six parameters");
        assert!(trained.iter().any(|key| key.starts_with("features.denseblock1.denselayer10.")));
        assert!(!trained.iter().any(|key| key.starts_with("features.denseblock1.denselayer1.")));
    }
    let error = Freeze::Modules(vec!["denselayer1".into()]).apply(&network, 0).unwrap_err();
    assert!(matches!(error, TrainError::UnknownPrefix { .. }));
    assert!(error.to_string().contains("denseblock1, transition1"), "{error}");
}

#[test]
fn freezing_leaves_what_it_says() {
    let network = network(&ten_layers());
    let modules = |freeze: Freeze, epoch| {
        freeze.apply(&network, epoch).unwrap();
        let mut modules: Vec<String> = Vec::new();
        for key in trained(&network) {
            let module = key.strip_prefix("features.").unwrap_or(&key).split('.').next().unwrap().to_string();
            if !modules.contains(&module) {
                modules.push(module);
            }
        }
        modules.join(" ")
    };
    let all = "conv0 norm0 denseblock1 transition1 denseblock2 norm5 classifier";
    assert_eq!(modules(Freeze::Nothing, 0), all);
    assert_eq!(modules(Freeze::Backbone, 0), "classifier");
    assert_eq!(modules(Freeze::UpTo("denseblock1".into()), 0), "transition1 denseblock2 norm5 classifier");
    assert_eq!(modules(Freeze::UpTo("transition1".into()), 0), "denseblock2 norm5 classifier");
    let gradual = |epoch| modules(Freeze::Gradual { epochs: 2 }, epoch);
    assert_eq!([gradual(0), gradual(1)], ["classifier", "classifier"]);
    assert_eq!(gradual(2), "denseblock2 norm5 classifier");
    assert_eq!(gradual(4), "denseblock1 transition1 denseblock2 norm5 classifier");
    assert_eq!([gradual(6), gradual(99)], [all, all]);
    let everything = Freeze::UpTo("classifier".into());
    assert!(matches!(everything.apply(&network, 0), Err(TrainError::NothingTrainable { .. })));
}

#[test]
fn frozen_parameters_stay_to_the_bit_and_the_others_move() {
    let _guard = seed(3);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), &small_network(&[2, 2], 4)).unwrap();
    let recipe = Recipe { freeze: Freeze::UpTo("denseblock1".into()), ..Recipe::default() };
    let before: BTreeMap<String, Tensor> =
        network.named_tensors().into_iter().map(|(key, tensor)| (key, tensor.copy())).collect();
    let mut trainer = Trainer::new(network, Loss::of_classes(4), &recipe, 10).unwrap();
    for _ in 0..3 {
        let images = Tensor::randn([4, 3, 32, 32], (Kind::Float, Device::Cpu));
        trainer.backward(&images, &Tensor::from_slice(&[0i64, 1, 2, 3]), 1.0).unwrap();
        trainer.update().unwrap();
    }
    for (key, parameter) in parameters(&trainer.network) {
        let frozen = ["features.conv0", "features.norm0", "features.denseblock1."];
        let frozen = frozen.iter().any(|name| key.starts_with(name));
        assert_eq!(parameter.equal(&before[&key]), frozen, "{key}");
    }
}

#[test]
fn rates_and_decays_are_those_of_the_longest_name() {
    let network = network(&ten_layers());
    let rates = Rates {
        weight_decay: 0.1,
        norm_weight_decay: Some(0.0),
        factors: vec![("denseblock1".into(), 0.5), ("denseblock1.denselayer1".into(), 0.25)],
        layer_decay: None,
    };
    let groups = rates.groups(&network, 1.0).unwrap();
    let of = |key: &str| {
        let group = groups.iter().find(|group| group.parameters.iter().any(|(name, _)| name == key)).unwrap();
        (group.lr, group.weight_decay)
    };
    assert_eq!(of("features.conv0.weight"), (1.0, 0.1));
    assert_eq!(of("features.denseblock1.denselayer1.conv1.weight"), (0.25, 0.1));
    assert_eq!(of("features.denseblock1.denselayer10.conv1.weight"), (0.5, 0.1));
    assert_eq!(of("features.denseblock1.denselayer10.norm1.weight"), (0.5, 0.0));
    assert_eq!(of("classifier.bias"), (1.0, 0.0));
    let count: usize = groups.iter().map(|group| group.parameters.len()).sum();
    assert_eq!(count, parameters(&network).len());

    let groups = Rates { layer_decay: Some(0.5), ..Rates::default() }.groups(&network, 1.0).unwrap();
    let lr = |key: &str| {
        groups.iter().find(|group| group.parameters.iter().any(|(name, _)| name == key)).unwrap().lr
    };
    let keys = [
        "classifier.weight",
        "features.norm5.weight",
        "features.denseblock2.denselayer1.conv1.weight",
        "features.transition1.conv.weight",
        "features.conv0.weight",
    ];
    assert_eq!(keys.map(lr), [1.0, 0.5, 0.5, 0.25, 0.125]);
}

/// A network with the oracle's tensors, its batch norms frozen, after one backward pass.
fn frozen_step(config: &DenseNetConfig, want: &BTreeMap<String, Tensor>) -> (DenseNet, f64) {
    let mut network = network(config);
    no_grad(|| {
        for (key, mut tensor) in network.named_tensors() {
            tensor.copy_(&want[&format!("start.{key}")]);
        }
    });
    network.freeze_batch_norms(true);
    let loss = network.try_forward(&want["input"], true).unwrap().cross_entropy_for_logits(&want["target"]);
    loss.backward();
    (network, loss.double_value(&[]))
}

#[test]
fn frozen_batch_norms_are_torchs_in_eval_to_the_bit() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let out = folder.path().join("o.safetensors");
    let config = small_network(&[3, 2], 5);
    let request = json!({ "config": config, "seed": 8, "shape": [4, 3, 48, 40], "out": out });
    ask("frozen_norm_step", request);
    let want = read_safetensors(&out);
    for memory in [Memory::Standard, Memory::Efficient, Memory::Fused, Memory::Minimal] {
        let (network, loss) = frozen_step(&DenseNetConfig { memory, ..config.clone() }, &want);
        let exact = matches!(memory, Memory::Standard | Memory::Efficient);
        if exact {
            assert_eq!(loss, want["loss"].double_value(&[]), "{memory:?}");
        }
        for (key, tensor) in network.named_tensors() {
            // The running statistics stay, whatever computes.
            if let Some(after) = want.get(&format!("after.{key}")) {
                assert_same_bits(&format!("{memory:?}: {key}"), &tensor, after);
                continue;
            }
            let gradient = &want[&format!("grad.{key}")];
            if exact {
                assert_same_bits(&format!("{memory:?}: grad.{key}"), &tensor.grad(), gradient);
            } else {
                let distance = (tensor.grad() - gradient).norm().double_value(&[]);
                let size = gradient.norm().double_value(&[]);
                assert!(distance <= 1e-5 * size, "{memory:?}: grad.{key}: {distance:e} of {size:e}");
            }
        }
    }
}
