//! From a state dict to tensors: names, shapes, configuration, all or nothing. Real torchvision says what is right.

mod fitting;
mod refusing;

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch};
use densenet::checkpoint::{infer, normalize, InferredConfig, InferredStem, NameOptions, StateDict};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Named tensors, in a state dict's order.
type Named = Vec<(String, Tensor)>;

/// A small network's constructor arguments.
fn small() -> Value {
    json!({"growth_rate": 4, "block_config": [2, 3], "num_init_features": 8, "bn_size": 2, "num_classes": 5})
}

/// What torchvision's DenseNet of these arguments is made of: name, shape, dtype, whether it is a parameter.
fn blueprint(config: &Value) -> Vec<(String, Vec<i64>, Kind, bool)> {
    let answer = ask("loading_names", json!({ "config": config }));
    let tensor = |entry: &Value| {
        let shape = entry[1].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
        let kind = match entry[2].as_str().unwrap() {
            "torch.float32" => Kind::Float,
            "torch.int64" => Kind::Int64,
            other => panic!("{other}"),
        };
        (entry[0].as_str().unwrap().to_string(), shape, kind, entry[3].as_bool().unwrap())
    };
    answer.as_array().unwrap().iter().map(tensor).collect()
}

/// Tensors to fill, as the small network has them: values that no file holds, parameters that require gradients.
fn targets() -> Named {
    let tensor = |(index, (name, shape, kind, parameter)): (usize, (String, Vec<i64>, Kind, bool))| {
        let numel: i64 = shape.iter().product();
        let values = Tensor::arange(numel, (Kind::Float, Device::Cpu)) + 1000.0 + index as f64;
        (name, values.reshape(&shape).to_kind(kind).set_requires_grad(parameter))
    };
    blueprint(&small()).into_iter().enumerate().map(tensor).collect()
}

/// Deep copies.
fn copies(tensors: &[(String, Tensor)]) -> Named {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect()
}

/// The small network's state dict with random values, from torchvision, in torchvision's order.
fn random_state(seed: i64, counters: i64) -> Named {
    let folder = scratch();
    let path = folder.path().join("state.safetensors");
    ask("loading_state", json!({"config": small(), "seed": seed, "path": path, "counters": counters}));
    let mut read = read_safetensors(&path);
    let order = blueprint(&small());
    order.into_iter().map(|(name, ..)| read.remove_entry(&name).unwrap()).collect()
}

fn write(tensors: &[(String, Tensor)], path: &std::path::Path) {
    let detached = copies(tensors);
    Tensor::write_safetensors(&detached, path).unwrap();
}

/// What torch's command makes of `source` in a network that holds `before`: the state after, and torch's refusal.
fn torch_loads(command: &str, before: &Named, source: &Named) -> (BTreeMap<String, Tensor>, Option<String>) {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    write(before, &path("before"));
    write(source, &path("source"));
    let arguments = json!({"config": small(), "before": path("before"), "source": path("source"), "after": path("after")});
    let refusal = ask(command, arguments).as_str().map(str::to_string);
    (read_safetensors(path("after")), refusal)
}

/// A state dict of these tensors under other names; `None` leaves a tensor out.
fn renamed(tensors: &Named, rename: impl Fn(&str) -> Option<String>) -> Named {
    tensors.iter().filter_map(|(name, tensor)| Some((rename(name)?, tensor.shallow_clone()))).collect()
}

fn dict(tensors: &Named) -> StateDict {
    StateDict::from_tensors(tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())))
}

/// torchvision's names as official files have them: dotted, without counters.
fn old_name(name: &str) -> Option<String> {
    if name.ends_with("num_batches_tracked") {
        return None;
    }
    Some(dotted(name))
}

fn dotted(name: &str) -> String {
    ["norm1", "norm2", "conv1", "conv2"].iter().fold(name.to_string(), |name, module| {
        let (kind, number) = module.split_at(4);
        match name.contains("denselayer") {
            true => name.replace(&format!(".{module}."), &format!(".{kind}.{number}.")),
            false => name,
        }
    })
}

#[track_caller]
fn assert_same_tensors(got: &Named, want: &Named) {
    assert_eq!(got.len(), want.len());
    for ((name, got), (other, want)) in got.iter().zip(want) {
        assert_eq!(name, other);
        assert_same_bits(name, got, want);
    }
}

/// The configuration inferred from torchvision's names and shapes for these constructor arguments.
fn inferred(config: &Value, rename: impl Fn(&str) -> Option<String>) -> InferredConfig {
    let one = Tensor::zeros([1], (Kind::Float, Device::Cpu)).squeeze();
    let tensors: Named = blueprint(config)
        .into_iter()
        .filter_map(|(name, shape, ..)| Some((rename(&name)?, one.expand(shape, false))))
        .collect();
    let dict = dict(&tensors);
    infer(&normalize(&dict, &NameOptions::default()).unwrap()).unwrap()
}

#[test]
fn every_architecture_is_inferred_from_torchvisions_names_old_and_new() {
    for (growth_rate, block_config, num_init_features) in [
        (32, [6, 12, 24, 16], 64),
        (48, [6, 12, 36, 24], 96),
        (32, [6, 12, 32, 32], 64),
        (32, [6, 12, 48, 32], 64),
        (32, [6, 12, 64, 48], 64),
    ] {
        let config = json!({"growth_rate": growth_rate, "block_config": block_config, "num_init_features": num_init_features});
        let want = InferredConfig {
            growth_rate,
            block_config: block_config.to_vec(),
            num_init_features,
            bn_size: Some(4),
            compression: 0.5,
            num_classes: 1000,
            in_channels: 3,
            stem: InferredStem::Imagenet,
        };
        assert_eq!(inferred(&config, |name| Some(name.to_string())), want);
        assert_eq!(inferred(&config, |name| Some(format!("module.densenet.{}", old_name(name)?))), want);
        let monai = |name: &str| {
            Some(match name.contains("denselayer") {
                true => name.replace(".norm", ".layers.norm").replace(".conv", ".layers.conv"),
                false => name.replace("classifier.", "class_layers.out."),
            })
        };
        assert_eq!(inferred(&config, monai), want);
    }
}

#[test]
fn unusual_torchvision_networks_are_inferred() {
    for (growth_rate, blocks, init, bn_size, classes) in [
        (1, vec![1], 1, 1, 1),
        (5, vec![3, 1, 2], 7, 3, 2),
        (12, vec![1, 1, 1, 1, 1, 1], 13, 1, 365),
        (7, vec![9, 2], 3, 6, 18),
    ] {
        let config = json!({"growth_rate": growth_rate, "block_config": blocks, "num_init_features": init,
                            "bn_size": bn_size, "num_classes": classes});
        let want = InferredConfig {
            growth_rate,
            block_config: blocks,
            num_init_features: init,
            bn_size: Some(bn_size),
            compression: 0.5,
            num_classes: classes,
            in_channels: 3,
            stem: InferredStem::Imagenet,
        };
        assert_eq!(inferred(&config, |name| Some(name.to_string())), want);
        let headless = |name: &str| (!name.starts_with("classifier")).then(|| name.to_string());
        assert_eq!(inferred(&config, headless), InferredConfig { num_classes: 0, ..want });
    }
}
