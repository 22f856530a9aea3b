//! Exported modules, as Python and C++ load them.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, seed, small_network};
use densenet::export::{torchscript, ExportError, ScriptOptions};
use densenet::model::{Cifar, Stem};
use densenet::{Arch, DenseNet, DenseNetConfig};
use serde_json::{json, Value};
use std::path::Path;
use std::process::Command;
use tch::{nn, no_grad, CModule, Device, Kind, Tensor};

/// A network with random numbers in all of its tensors.
fn network(config: &DenseNetConfig) -> (nn::VarStore, DenseNet) {
    let _guard = seed(17);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), config).unwrap();
    no_grad(|| {
        for (name, mut tensor) in network.named_tensors() {
            if tensor.dim() == 1 {
                let numbers = Tensor::rand_like(&tensor) * 0.5;
                tensor.copy_(&if name.ends_with("var") { numbers + 0.5 } else { numbers });
            }
        }
    });
    (vs, network)
}

fn pictures(shapes: &[[i64; 4]]) -> Vec<(String, Tensor)> {
    let _guard = seed(4);
    let picture = |shape: &[i64; 4]| (format!("{shape:?}"), Tensor::randn(shape, (Kind::Float, Device::Cpu)));
    shapes.iter().map(picture).collect()
}

/// Networks that differ in every way that shows in the code: stems, bottlenecks, blocks, channels, no head.
fn variants() -> Vec<(&'static str, DenseNetConfig)> {
    let small = small_network(&[2, 3, 1], 7);
    vec![
        ("densenet121", Arch::DenseNet121.config()),
        ("two blocks", small_network(&[3, 2], 5)),
        ("no bottleneck", Cifar::new(40, 12).num_classes(10).build().unwrap()),
        ("gray, small stem", DenseNetConfig { in_channels: 1, stem: Stem::Small, ..small.clone() }),
        ("deep stem", DenseNetConfig { stem: Stem::Deep, ..small.clone() }),
        ("blurred stem", DenseNetConfig { stem: Stem::DeepBlur, ..small.clone() }),
        ("no head", DenseNetConfig { num_classes: 0, ..small }),
    ]
}

#[test]
fn exported_modules_give_python_our_logits_to_the_bit_at_any_size_and_batch() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    for (name, config) in variants() {
        let folder = scratch();
        let path = |file: &str| folder.path().join(file);
        let (_vs, network) = network(&config);
        let distance = torchscript(&network, &path("m.pt"), &ScriptOptions::default()).unwrap();
        assert_eq!(distance, 0.0, "{name}");
        let c = config.in_channels;
        let mut shapes = vec![[1, c, 64, 64], [3, c, 40, 56], [2, c, 29, 97], [1, c, 33, 33]];
        if config == Arch::DenseNet121.config() {
            shapes.truncate(2);
        }
        let inputs = pictures(&shapes);
        Tensor::write_safetensors(&inputs, path("in.safetensors")).unwrap();
        let answer = ask(
            "exporting_run",
            json!({"path": path("m.pt"), "inputs": path("in.safetensors"), "out": path("out.safetensors"), "config": config}),
        );
        let want = read_safetensors(path("out.safetensors"));
        let mut module = CModule::load(path("m.pt")).unwrap();
        module.f_set_train().unwrap();
        module.f_set_eval().unwrap();
        for (shape, input) in &inputs {
            let ours = no_grad(|| network.try_forward(input, false).unwrap());
            assert_same_bits(&format!("{name}, {shape}, Python"), &want[shape], &ours);
            let theirs = no_grad(|| module.forward_ts(&[input]).unwrap());
            assert_same_bits(&format!("{name}, {shape}, C++"), &theirs, &ours);
        }
        let tensors = network.named_tensors();
        let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        let parameters: Vec<&str> = tensors
            .iter()
            .filter(|(_, tensor)| tensor.requires_grad())
            .map(|(name, _)| name.as_str())
            .collect();
        let in_order = |value: &Value| {
            let mut list: Vec<String> = serde_json::from_value(value.clone()).unwrap();
            list.sort();
            list
        };
        let mut sorted = parameters.clone();
        sorted.sort();
        assert_eq!(in_order(&answer["parameters"]), sorted, "{name}: parameters");
        names.sort();
        assert_eq!(in_order(&answer["state"]), names, "{name}: state dict");
        // The blur's filter is no weight: everything else is an attribute that `to` moves.
        assert_eq!(answer["constants"], 0, "{name}: tensors that to() would leave behind");
    }
}

#[test]
fn half_precision_modules_equal_torchvisions_half_network_to_the_bit() {
    let config = small_network(&[2, 2], 6);
    let (_vs, network) = network(&config);
    for (kind, tolerance) in [(Kind::Half, 0.02), (Kind::BFloat16, 0.1)] {
        let folder = scratch();
        let path = |file: &str| folder.path().join(file);
        let options = ScriptOptions { kind, ..ScriptOptions::default() };
        let distance = torchscript(&network, &path("m.pt"), &options).unwrap();
        assert!(distance > 0.0 && distance < 1.0, "{distance}");
        let inputs: Vec<_> = pictures(&[[2, 3, 48, 64]])
            .into_iter()
            .map(|(name, input)| (name, input.to_kind(kind)))
            .collect();
        Tensor::write_safetensors(&inputs, path("in.safetensors")).unwrap();
        // exporting_run compares with the configuration's own network in that dtype.
        ask(
            "exporting_run",
            json!({"path": path("m.pt"), "inputs": path("in.safetensors"), "out": path("out.safetensors"), "config": config}),
        );
        let got = &read_safetensors(path("out.safetensors"))[&inputs[0].0];
        assert_eq!(got.kind(), kind);
        let ours = no_grad(|| network.try_forward(&inputs[0].1.to_kind(Kind::Float), false).unwrap());
        let apart = (got.to_kind(Kind::Float) - &ours).abs().max() / ours.abs().max();
        assert!(apart.double_value(&[]) < tolerance, "{kind:?}: {apart:?}");
    }
}

#[test]
fn a_loaded_module_can_be_saved_frozen_optimized_halved_and_differentiated() {
    let folder = scratch();
    let path = |file: &str| folder.path().join(file);
    let (_vs, network) = network(&small_network(&[2, 2], 6));
    torchscript(&network, &path("m.pt"), &ScriptOptions::default()).unwrap();
    Tensor::write_safetensors(&[("x", pictures(&[[2, 3, 48, 64]]).remove(0).1)], path("x")).unwrap();
    ask("exporting_tools", json!({"path": path("m.pt"), "input": path("x"), "folder": folder.path()}));
    // It is a checkpoint too.
    let dict = densenet::checkpoint::StateDict::open(path("m.pt")).unwrap();
    assert_eq!(dict.format, densenet::checkpoint::Format::Torchscript);
    for ((name, view), (key, tensor)) in dict.tensors.iter().zip(network.named_tensors()) {
        assert_eq!(*name, key);
        assert_same_bits(name, &view.to_tensor().unwrap(), &tensor.detach());
    }
}

#[test]
fn weights_that_no_half_can_hold_are_refused_and_the_old_file_stays() {
    let folder = scratch();
    let path = folder.path().join("m.pt");
    let (_vs, network) = network(&small_network(&[1, 1], 2));
    std::fs::write(&path, "old").unwrap();
    let _ = no_grad(|| network.features.norm5.running_var.shallow_clone().fill_(1e6));
    let options = ScriptOptions { kind: Kind::Half, ..ScriptOptions::default() };
    let error = torchscript(&network, &path, &options).unwrap_err();
    assert!(matches!(error, ExportError::Checkpoint(_)), "{error}");
    assert!(
        error.to_string().contains("features.norm5.running_var") || error.to_string().contains("1e6"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    // Not a number in, not a number out: that is no reason to trust the file.
    let _ = no_grad(|| network.features.norm5.running_var.shallow_clone().fill_(f64::NAN));
    let error = torchscript(&network, &path, &ScriptOptions::default()).unwrap_err();
    assert!(matches!(error, ExportError::Differs { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

fn densenet(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_densenet")).args(arguments).output().unwrap()
}

#[test]
fn the_command_exports_with_class_names_and_transforms_inside() {
    let folder = scratch();
    let path = folder.path().join("fashion.pt");
    let text = path.to_str().unwrap();
    let output = densenet(&["export", "--torchscript", text, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&record["input"], &record["min_size"], &record["max_abs"]),
        (&json!([-1, 1, -1, -1]), &json!(4), &json!(0.0))
    );
    let inputs = folder.path().join("in");
    Tensor::write_safetensors(&pictures(&[[1, 1, 28, 28]]), &inputs).unwrap();
    let out: &Path = &folder.path().join("out");
    let answer = ask("exporting_run", json!({"path": text, "inputs": inputs, "out": out}));
    let description = &answer["description"];
    assert_eq!(description["categories"][9], "Ankle boot");
    assert_eq!(
        (&description["config"]["growth_rate"], &description["transforms"]["crop_size"]),
        (&json!(12), &json!(28))
    );
    let again = densenet(&["export", "--torchscript", text]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
}

/// docs/deploy.md's first block of Python, word for word.
#[test]
fn the_python_client_in_the_documentation_names_a_picture() {
    let folder = scratch();
    let path = |file: &str| folder.path().join(file).to_str().unwrap().to_string();
    let documentation = include_str!("../../docs/deploy.md");
    let client = documentation.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    std::fs::write(path("client.py"), client).unwrap();
    assert!(densenet(&["export", "--torchscript", &path("m.pt")]).status.success());
    let python = std::env::var("DENSENET_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images/bag_1.png");
    let output = Command::new(python).args([&path("client.py"), &path("m.pt"), picture]).output().unwrap();
    let ours = densenet(&["classify", picture, "--top-k", "1"]);
    let ours = String::from_utf8(ours.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.starts_with("Bag ") && ours.trim_end().ends_with(said.trim_end()),
        "{said}, {ours}, {output:?}"
    );
}
