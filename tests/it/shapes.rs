//! One network in many shapes of checkpoint, each opened by name alone and compared to the bit.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, small_network};
use densenet::checkpoint::{load, CheckpointError, Head, LoadOptions, StateDict};
use densenet::model::Init;
use densenet::weights::WeightsSource;
use densenet::{DenseNet, DenseNetConfig};
use serde_json::json;
use tch::{nn, Device, Tensor};

fn small() -> DenseNetConfig {
    small_network(&[2, 3, 2], 10)
}

#[test]
fn thirty_shapes_of_checkpoint_load_into_the_network_they_hold() {
    let folder = scratch();
    let (out, state) = (folder.path().join("net"), folder.path().join("state.safetensors"));
    let wrappers =
        ["", "state_dict", "model", "model_state_dict", "net", "checkpoint.model", "state_dict_ema"];
    let prefixes =
        ["", "module.", "model.", "backbone.", "densenet121.", "module.model.", "_orig_mod.module."];
    let dtypes = ["float32", "float16", "bfloat16", "float64"];
    let mut shapes = 0;
    for container in ["zip", "legacy", "safetensors"] {
        // Every wrapper with some prefix, every prefix with some wrapper, in each container; a third with old keys.
        for i in 0..10 {
            let whole = i >= 8 && container != "safetensors";
            let case = json!({
                "config": small(), "seed": i, "container": container, "wrapper": wrappers[i * 3 % 7],
                "prefix": prefixes[i % 7], "dtype": dtypes[i % 4], "old_keys": i % 3 == 1, "whole": whole,
                "out": out, "state": state,
            });
            ask("shaped_checkpoint", case.clone());
            let loaded = WeightsSource::File(out.clone()).load(Device::Cpu);
            let network = loaded.unwrap_or_else(|error| panic!("{case}: {error}")).network;
            assert_eq!(network.config, small(), "{case}");
            let want = read_safetensors(&state);
            for (key, tensor) in network.named_tensors() {
                // Counters left out of a file stay at their start, as in torchvision.
                let counter = key.ends_with("num_batches_tracked");
                let kept = counter && case["old_keys"] == true && !whole;
                let want = if kept { want[&key].zeros_like() } else { want[&key].shallow_clone() };
                assert_same_bits(&format!("{case}: {key}"), &tensor, &want);
            }
            shapes += 1;
        }
    }
    assert_eq!(shapes, 30);
}

#[test]
fn a_backbone_loads_under_a_sub_path_and_a_wrong_head_says_how() {
    let folder = scratch();
    let (out, state) = (folder.path().join("net.pth"), folder.path().join("state.safetensors"));
    ask(
        "shaped_checkpoint",
        json!({
            "config": small(), "seed": 1, "container": "legacy", "wrapper": "state_dict", "prefix": "module.",
            "dtype": "float32", "old_keys": true, "whole": false, "out": out, "state": state,
        }),
    );
    let vs = nn::VarStore::new(Device::Cpu);
    let path = vs.root() / "encoder";
    let network =
        DenseNet::with_init(&path, &DenseNetConfig { num_classes: 3, ..small() }, Init::Zeros).unwrap();
    let others = (vs.root() / "decoder").ones("weight", &[4]);
    let dict = StateDict::open(&out).unwrap();
    let snapshot = |network: &DenseNet| -> Vec<Tensor> {
        network.named_tensors().iter().map(|(_, tensor)| tensor.copy()).collect()
    };
    let before = snapshot(&network);
    let error = load(&network.named_tensors(), &dict, &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, CheckpointError::ClassifierSize { file: 10, target: 3, .. }), "{error}");
    assert!(error.to_string().contains("Head::Skip"), "{error}");
    for ((key, tensor), before) in network.named_tensors().iter().zip(&before) {
        assert_same_bits(key, tensor, before);
    }
    let options = LoadOptions { head: Head::Skip, ..LoadOptions::default() };
    let report = load(&network.named_tensors(), &dict, &options).unwrap();
    assert_eq!(report.skipped.len(), 2, "{report}");
    let want = read_safetensors(&state);
    for (key, tensor) in network.named_tensors() {
        if key.starts_with("features.") && !key.ends_with("num_batches_tracked") {
            assert_same_bits(&key, &tensor, &want[&key]);
            assert_same_bits(&key, &vs.variables()[&format!("encoder.{key}")], &want[&key]);
        }
    }
    assert_eq!(others.sum(tch::Kind::Float).double_value(&[]), 4.0);
}

#[test]
fn tchs_own_archives_load_into_a_network() {
    let folder = scratch();
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::with_init(&vs.root(), &small(), Init::Zeros).unwrap();
    tch::no_grad(|| {
        for (i, (_, mut tensor)) in network.named_tensors().into_iter().enumerate() {
            let _ = tensor.fill_(i as i64);
        }
    });
    for name in ["net.ot", "net.safetensors"] {
        let path = folder.path().join(name);
        vs.save(&path).unwrap();
        let loaded = WeightsSource::File(path).load(Device::Cpu).unwrap().network;
        assert_eq!(loaded.config, small(), "{name}");
        for ((key, got), (_, want)) in loaded.named_tensors().iter().zip(network.named_tensors()) {
            assert_same_bits(&format!("{name}: {key}"), got, &want);
        }
    }
}
