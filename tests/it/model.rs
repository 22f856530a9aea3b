//! The network against live PyTorch, to the bit.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, seed, small_network};
use densenet::model::{Cifar, Dropout, Init, Preset, Stem};
use densenet::{Arch, DenseNet, DenseNetConfig};
use serde_json::json;
use std::collections::BTreeMap;
use tch::nn::OptimizerConfig;
use tch::{nn, no_grad, Device, Kind, Tensor};

/// Every ImageNet architecture, and CIFAR networks that differ in bottleneck, compression, dropout and first width.
pub fn variants() -> Vec<(String, DenseNetConfig)> {
    let mut variants: Vec<_> = Arch::ALL.into_iter().map(|arch| (arch.to_string(), arch.config())).collect();
    variants.push(("plain 40-12".into(), Cifar::new(40, 12).build().unwrap()));
    variants.push(("bc 100-12".into(), Cifar::new(100, 12).bc().num_classes(100).build().unwrap()));
    let lua = Cifar::new(40, 24).compression(0.7).preset(Preset::Lua).in_channels(1);
    variants.push(("c 40-24 lua, gray".into(), lua.build().unwrap()));
    variants.push(("b 40-12".into(), Cifar::new(40, 12).bottleneck(true).build().unwrap()));
    variants.push(("deep stem, two blocks".into(), DenseNetConfig { stem: Stem::Deep, ..small(2) }));
    variants.push(("blurred deep stem".into(), DenseNetConfig { stem: Stem::DeepBlur, ..small(2) }));
    variants
}

fn small(blocks: usize) -> DenseNetConfig {
    small_network(&vec![3; blocks], 10)
}

/// A network that draws nothing (another test may be at the generator), to be filled.
fn blank(config: &DenseNetConfig) -> (nn::VarStore, DenseNet) {
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::with_init(&vs.root(), config, Init::Zeros).expect("a network");
    (vs, network)
}

/// A network with its initial weights; call it under the guard of [`seed`].
fn drawn(config: &DenseNetConfig) -> (nn::VarStore, DenseNet) {
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), config).expect("a network");
    (vs, network)
}

/// Overwrites the network's tensors with those of the same key, `prefix` before it.
fn fill(network: &DenseNet, from: &BTreeMap<String, Tensor>, prefix: &str) {
    no_grad(|| {
        for (key, mut tensor) in network.named_tensors() {
            tensor.copy_(&from[&format!("{prefix}{key}")]);
        }
    });
}

fn same_threads() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
}

#[test]
fn builders_have_torchvisions_keys_and_parameter_counts() {
    for arch in Arch::ALL.into_iter().filter(|&arch| arch != Arch::DenseNet264) {
        let (_vs, network) = blank(&arch.config());
        let theirs = ask("builder_config", json!({ "arch": arch.name() }));
        let keys: Vec<String> = network.named_tensors().into_iter().map(|(key, _)| key).collect();
        assert_eq!(json!(keys), theirs["keys"], "{arch}");
        assert_eq!(json!(network.num_parameters()), theirs["num_params"], "{arch}");
    }
}

#[test]
fn same_seed_gives_torchvisions_tensors_to_the_bit() {
    let folder = scratch();
    for (name, config) in variants() {
        let out = folder.path().join("w.safetensors");
        let theirs = ask("construct", json!({ "config": config, "seed": 11, "out": out }));
        let _guard = seed(11);
        let (vs, network) = drawn(&config);
        let after = f64::from(f32::try_from(Tensor::rand([1], (Kind::Float, Device::Cpu))).unwrap());
        assert_eq!(theirs["after"].as_f64(), Some(after), "{name}: draws taken from the generator");
        let ours: Vec<_> = network
            .named_tensors()
            .iter()
            .map(|(key, tensor)| {
                let dtype = match tensor.kind() {
                    Kind::Float => "float32",
                    Kind::Int64 => "int64",
                    other => panic!("{key} is {other:?}"),
                };
                json!([key, tensor.size(), dtype])
            })
            .collect();
        assert_eq!(json!(ours), theirs["tensors"], "{name}: keys, order, shapes, dtypes");
        let want = read_safetensors(&out);
        for (key, tensor) in network.named_tensors() {
            assert_same_bits(&format!("{name}: {key}"), &tensor, &want[&key]);
        }
        let trainable: Vec<_> =
            network.named_tensors().into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect();
        let trainable: Vec<_> = trainable.iter().map(|(key, _)| key).collect();
        assert_eq!(json!(trainable), theirs["parameters"], "{name}: parameters");
        assert_eq!(vs.trainable_variables().len(), trainable.len(), "{name}");
        assert_eq!(vs.len(), want.len(), "{name}");
    }
}

#[test]
fn eval_logits_equal_torchvision_to_the_bit() {
    same_threads();
    let folder = scratch();
    for (name, config) in variants() {
        let c = config.in_channels;
        let mut inputs = vec![[1, c, 224, 224], [1, c, 29, 29], [1, c, 256, 320]];
        match config.stem {
            Stem::Small => inputs.extend([[3, c, 32, 32], [2, c, 4, 4]]),
            _ => inputs.push([3, c, 224, 224]),
        }
        let (state, out) = (folder.path().join("s.safetensors"), folder.path().join("o.safetensors"));
        let request = json!({ "config": config, "seed": 5, "inputs": inputs, "state": state, "out": out });
        ask("evaluate", request);
        let (_vs, network) = blank(&config);
        fill(&network, &read_safetensors(&state), "");
        let want = read_safetensors(&out);
        for i in 0..inputs.len() {
            let input = &want[&format!("input{i}")];
            let (features, logits) = no_grad(|| {
                let features = network.forward_features(input, false).unwrap();
                (features, network.try_forward(input, false).unwrap())
            });
            let case = format!("{name}, {:?}", input.size());
            assert_same_bits(&format!("{case}: features"), &features, &want[&format!("features{i}")]);
            assert_same_bits(&format!("{case}: logits"), &logits, &want[&format!("logits{i}")]);
        }
    }
}

/// One training step, compared in everything it computes.
fn assert_train_step(name: &str, config: &DenseNetConfig, shape: [i64; 4], channels_last: bool) {
    let folder = scratch();
    let out = folder.path().join("step.safetensors");
    let request = json!({
        "config": config, "seed": 3, "shape": shape, "channels_last": channels_last, "out": out
    });
    ask("train_step", request);
    let want = read_safetensors(&out);
    let (_vs, network) = blank(config);
    fill(&network, &want, "start.");
    if channels_last {
        network.to_channels_last().unwrap();
    }
    let input = want["input"].set_requires_grad(true);
    let (logits, loss) = {
        let _guard = seed(4);
        let logits = network.try_forward(&input, true).unwrap();
        let loss = logits.cross_entropy_for_logits(&want["target"]);
        (logits, loss)
    };
    loss.backward();
    assert_same_bits(&format!("{name}: logits"), &logits, &want["logits"]);
    assert_same_bits(&format!("{name}: loss"), &loss, &want["loss"]);
    assert_same_bits(&format!("{name}: grad.input"), &input.grad(), &want["grad.input"]);
    let (mut gradients, mut buffers) = (0, 0);
    for (key, tensor) in network.named_tensors() {
        if let Some(gradient) = want.get(&format!("grad.{key}")) {
            assert_same_bits(&format!("{name}: grad.{key}"), &tensor.grad(), gradient);
            gradients += 1;
        }
        if let Some(after) = want.get(&format!("after.{key}")) {
            assert_same_bits(&format!("{name}: {key}"), &tensor, after);
            buffers += 1;
        }
    }
    assert_eq!(gradients + buffers, network.named_tensors().len(), "{name}: every tensor compared");
}

fn train_shape(config: &DenseNetConfig) -> [i64; 4] {
    match config.stem {
        Stem::Small => [4, config.in_channels, 16, 16],
        _ => [2, config.in_channels, 64, 96],
    }
}

#[test]
fn a_training_step_equals_torchvision_to_the_bit() {
    same_threads();
    for (name, config) in variants() {
        assert_train_step(&name, &config, train_shape(&config), false);
    }
}

#[test]
fn a_channels_last_training_step_equals_torchvision_to_the_bit() {
    same_threads();
    for (name, config) in [("densenet121", Arch::DenseNet121.config()), ("small", small(3))] {
        assert_train_step(name, &config, train_shape(&config), true);
    }
}

#[test]
fn a_training_step_with_dropout_equals_torchvision_to_the_bit() {
    same_threads();
    for (name, config) in variants() {
        let config = DenseNetConfig { drop_rate: 0.2, ..config };
        assert_train_step(&name, &config, train_shape(&config), false);
    }
    let config = Cifar::new(40, 12).bc().drop_rate(0.2).build().unwrap();
    let config = DenseNetConfig { dropout: Dropout::LayerOutput, ..config };
    assert_train_step("bc 40-12, dropout after the 3×3 only", &config, [4, 3, 16, 16], false);
}

#[test]
fn weights_after_250_steps_of_sgd_equal_torchvision_to_the_bit() {
    same_threads();
    let folder = scratch();
    let out = folder.path().join("sgd.safetensors");
    let (config, shape, steps, lr) = (small(3), [4, 3, 32, 32], 250, 0.05);
    let losses = ask(
        "sgd",
        json!({ "config": config, "seed": 1, "shape": shape, "steps": steps, "lr": lr, "out": out }),
    );
    let _guard = seed(1);
    let (vs, network) = drawn(&config);
    let mut optimizer = nn::sgd(0., 0., 0., false).build(&vs, lr).unwrap();
    for step in 0..steps {
        let input = Tensor::randn(shape, (Kind::Float, Device::Cpu));
        let target = Tensor::randint(config.num_classes, [shape[0]], (Kind::Int64, Device::Cpu));
        let loss = network.try_forward(&input, true).unwrap().cross_entropy_for_logits(&target);
        optimizer.backward_step(&loss);
        assert_eq!(losses[step].as_f64(), Some(loss.double_value(&[])), "loss of step {step}");
    }
    let want = read_safetensors(&out);
    for (key, tensor) in network.named_tensors() {
        assert_same_bits(&key, &tensor, &want[&key]);
    }
}

#[test]
fn parameter_counts_are_the_papers() {
    // Table 2 of the paper, in millions, as printed there.
    let rows = [
        (Cifar::new(40, 12), "1.0"),
        (Cifar::new(100, 12), "7.0"),
        (Cifar::new(100, 24), "27.2"),
        (Cifar::new(100, 12).bc(), "0.8"),
        (Cifar::new(250, 24).bc(), "15.3"),
        (Cifar::new(190, 40).bc(), "25.6"),
    ];
    for (builder, millions) in rows {
        let config = builder.build().unwrap();
        let (_vs, network) = blank(&config);
        assert_eq!(format!("{:.1}", network.num_parameters() as f64 / 1e6), millions, "{config:?}");
    }
}
