//! Names, dtypes, heads: what converting changes and what it leaves alone.

use super::{assert_same_tensors, read};
use crate::oracle::ask;
use crate::support::{scratch, small_network};
use densenet::checkpoint::{self, NameOptions};
use densenet::checkpoint::{convert, CheckpointError, ConvertOptions, Entry, StateDict, WriteFormat};
use densenet::DenseNetConfig;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use tch::{Device, Kind, Tensor};

fn densenet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_densenet")).args(arguments).output().unwrap()
}

#[track_caller]
fn convert_file(from: &Path, to: &Path, arguments: &[&str]) -> Value {
    let mut all = vec!["weights", "convert", from.to_str().unwrap(), to.to_str().unwrap(), "--json"];
    all.extend(arguments);
    let output = densenet(&all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    let output = densenet(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    error
}

/// A small network's file, saved by Python.
fn saved(folder: &Path) -> (DenseNetConfig, std::path::PathBuf) {
    let config = small_network(&[2, 2], 4);
    ask("writing_saved", json!({"config": config, "seed": 3, "dtype": "float32", "folder": folder}));
    (config, folder.join("archive.pth"))
}

fn names(tensors: &[(String, Tensor)]) -> Vec<&str> {
    tensors.iter().map(|(name, _)| name.as_str()).collect()
}

/// torchvision's own loader takes files of old names, and gives the same logits.
#[test]
fn old_names_are_those_of_the_official_files_and_back() {
    let folder = scratch();
    let (config, source) = saved(folder.path());
    let (old, back) = (folder.path().join("old.pth"), folder.path().join("back.pth"));
    let record = convert_file(&source, &old, &["--key-style", "old", "--format", "pth-legacy"]);
    assert_eq!(record["format"], "pth-legacy");
    let tensors = read(&old);
    // What the oracle, which renames as the official files are named, makes of torchvision's names.
    let official = folder.path().join("official.pth");
    ask(
        "official_file",
        json!({"config": config, "seed": 3, "shape": [1, 3, 32, 32], "checkpoint": official, "reference": folder.path().join("ref")}),
    );
    assert_eq!(names(&tensors), names(&read(&official)));
    assert_eq!(record["renamed"], 4 * 6 * 2 - 4 * 2);
    assert!(record["dropped"]
        .as_array()
        .unwrap()
        .iter()
        .all(|dropped| dropped["name"].as_str().unwrap().ends_with("num_batches_tracked")));
    let record = convert_file(&old, &back, &[]);
    assert_eq!(
        (&record["origin"], record["dropped"].as_array().unwrap().len()),
        (&json!("torchvision up to 0.2"), 0)
    );
    let want: Vec<_> =
        read(&source).into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
    assert_eq!(names(&read(&back)), names(&want));
    assert_same_tensors("old and back", &read(&back), &want);
}

#[test]
fn a_wrapped_file_becomes_a_bare_one_under_torchvisions_names() {
    let folder = scratch();
    let (config, _) = saved(folder.path());
    let (wrapped, state) = (folder.path().join("wrapped.pth"), folder.path().join("state"));
    ask(
        "shaped_checkpoint",
        json!({"config": config, "seed": 5, "container": "legacy", "wrapper": "state_dict", "prefix": "module.",
               "dtype": "float32", "old_keys": true, "whole": false, "out": wrapped, "state": state}),
    );
    let bare = folder.path().join("bare.safetensors");
    let record = convert_file(&wrapped, &bare, &[]);
    assert_eq!(
        (&record["stripped_prefix"], record["renamed"].as_u64().unwrap() > 0),
        (&json!("module."), true)
    );
    let want = read(&state).into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    let got: Vec<_> =
        read(&bare).into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
    assert_same_tensors("bare", &got, &want.collect::<Vec<_>>());
    // As it is: the file's own names.
    let as_is = folder.path().join("as-is.safetensors");
    convert_file(&wrapped, &as_is, &["--key-style", "as-is"]);
    assert!(names(&read(&as_is)).iter().all(|name| name.starts_with("module.")));
}

#[test]
fn half_precision_is_torchs_and_counters_stay_counters() {
    let folder = scratch();
    let (_, source) = saved(folder.path());
    for (argument, kind) in [("f16", Kind::Half), ("bf16", Kind::BFloat16), ("f32", Kind::Float)] {
        let target = folder.path().join(format!("{argument}.pth"));
        let record = convert_file(&source, &target, &["--dtype", argument]);
        let want: Vec<_> = read(&source)
            .into_iter()
            .map(|(name, tensor)| {
                let tensor = if tensor.kind() == Kind::Int64 { tensor } else { tensor.to_kind(kind) };
                (name, tensor)
            })
            .collect();
        assert_same_tensors(argument, &read(&target), &want);
        let counts: u64 =
            record["tensors"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).sum();
        assert_eq!(counts as usize, want.len());
        assert_eq!(record["bytes"].as_u64().unwrap(), std::fs::metadata(&target).unwrap().len());
    }
}

#[test]
fn numbers_too_large_for_the_dtype_are_refused_and_infinities_kept() {
    let folder = scratch();
    let path = folder.path().join("large.pth");
    let floats = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float);
    let fine = ("a".to_string(), floats(&[f64::INFINITY, f64::NAN, 65504.0, 1e-30, -65519.0]));
    let large = ("b".to_string(), floats(&[1.0, -65520.0, 3.0]));
    let half = |tensors: &[(String, Tensor)]| {
        let entries: Vec<Entry> =
            tensors.iter().map(|(name, tensor)| Entry::of_tensor(name, tensor).in_kind(Kind::Half)).collect();
        checkpoint::write(&path, WriteFormat::PthZip, &entries, &BTreeMap::new())
    };
    half(&[fine]).unwrap();
    match half(&[large]).unwrap_err() {
        CheckpointError::Overflow { tensor, value, kind } => {
            assert_eq!((&*tensor, value, kind), ("b", 65520.0, Kind::Half));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn without_its_head_a_file_is_a_backbone() {
    let folder = scratch();
    let (_, source) = saved(folder.path());
    let target = folder.path().join("backbone.pth");
    let record = convert_file(&source, &target, &["--strip-head"]);
    let dropped: Vec<_> =
        record["dropped"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(dropped, [json!("classifier.weight"), json!("classifier.bias")]);
    let want: Vec<_> = read(&source).into_iter().filter(|(name, _)| name.starts_with("features.")).collect();
    assert_same_tensors("backbone", &read(&target), &want);
    let config = checkpoint::infer(
        &checkpoint::normalize(&StateDict::open(&target).unwrap(), &NameOptions::default()).unwrap(),
    );
    assert_eq!(config.unwrap().num_classes, 0);
    let other =
        StateDict::from_tensors([("weight".to_string(), Tensor::ones([2], (Kind::Float, Device::Cpu)))]);
    let error = convert(&other, &ConvertOptions { strip_head: true, ..Default::default() }).err().unwrap();
    assert!(error.to_string().contains("no DenseNet"), "{error}");
}

#[test]
fn one_of_two_networks_is_chosen_by_its_prefix() {
    let folder = scratch();
    let (_, source) = saved(folder.path());
    let (both, one) = (folder.path().join("both.pth"), folder.path().join("one.pth"));
    let state = read(&source);
    let tensors: Vec<_> = state
        .iter()
        .flat_map(|(name, tensor)| {
            [(format!("student.{name}"), tensor.shallow_clone()), (format!("teacher.{name}"), tensor + 1)]
        })
        .collect();
    checkpoint::write_pth(&both, &tensors).unwrap();
    let [both_text, one_text] = [&both, &one].map(|path| path.to_str().unwrap());
    let error = refusal(&["weights", "convert", both_text, one_text]);
    assert!(error.contains("student.") && error.contains("teacher."), "{error}");
    convert_file(&both, &one, &["--prefix", "student"]);
    assert_same_tensors("student", &read(&one), &state);
}

#[test]
fn the_sidecar_comes_along_and_never_describes_other_weights() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_string();
    let record = convert_file(Path::new("fashion_mnist"), &path("f.pth"), &[]);
    assert_eq!(record["sidecar"], json!(path("f.json")));
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images/bag_1.png");
    let best = densenet(&["classify", picture, "--weights", &text("f.pth"), "--json"]);
    let embedded = densenet(&["classify", picture, "--json"]);
    assert_eq!(best.stdout, embedded.stdout);
    assert!(String::from_utf8_lossy(&best.stdout).contains("Bag"));
    // The same sidecar serves another format beside it.
    let record = convert_file(&path("f.pth"), &path("f.safetensors"), &[]);
    assert_eq!(record["sidecar"], Value::Null);
    let error = refusal(&["weights", "convert", &text("f.pth"), &text("f.ot"), "--strip-head"]);
    assert!(error.contains("choose another name") && !path("f.ot").exists(), "{error}");
    convert_file(&path("f.pth"), &path("body.pth"), &["--strip-head"]);
    let sidecar: Value = serde_json::from_slice(&std::fs::read(path("body.json")).unwrap()).unwrap();
    assert_eq!((&sidecar["config"]["num_classes"], &sidecar["categories"]), (&json!(0), &json!([])));
    // Weights without a sidecar beside somebody else's.
    let (_, bare) = saved(folder.path());
    std::fs::copy(path("f.json"), path("other.json")).unwrap();
    let error = refusal(&["weights", "convert", bare.to_str().unwrap(), &text("other.pth")]);
    assert!(error.contains("other.json") && !path("other.pth").exists(), "{error}");
}

#[test]
fn nothing_is_overwritten_unasked_and_a_file_may_be_written_over_itself() {
    let folder = scratch();
    let (_, source) = saved(folder.path());
    let text = source.to_str().unwrap();
    let before = read(&source);
    let error = refusal(&["weights", "convert", text, text]);
    assert!(error.contains("--force"), "{error}");
    let error = refusal(&["weights", "convert", text, folder.path().join("model.xyz").to_str().unwrap()]);
    assert!(error.contains(".safetensors") && error.contains("name the format"), "{error}");
    convert_file(&source, &source, &["--force", "--dtype", "f16"]);
    let half: Vec<_> = before
        .into_iter()
        .map(|(name, tensor)| {
            let half = if tensor.kind() == Kind::Float { tensor.to_kind(Kind::Half) } else { tensor };
            (name, half)
        })
        .collect();
    assert_same_tensors("itself", &read(&source), &half);
}

#[test]
fn names_a_format_cannot_hold_are_refused_with_the_name() {
    let folder = scratch();
    let one = Tensor::ones([2], (Kind::Float, Device::Cpu));
    let long = "x".repeat(1025);
    let cases = [
        (WriteFormat::Safetensors, vec!["__metadata__"], "__metadata__"),
        (WriteFormat::Ot, vec!["a|b"], "a|b"),
        (WriteFormat::Ot, vec!["a\"b"], "quote"),
        (WriteFormat::PthZip, vec!["a", "a"], "called a"),
        (WriteFormat::PthZip, vec![long.as_str()], "longer than 1024"),
    ];
    for (format, names, words) in cases {
        let path = folder.path().join("file");
        let entries: Vec<Entry> = names.iter().map(|name| Entry::of_tensor(*name, &one)).collect();
        let error = checkpoint::write(&path, format, &entries, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!path.exists());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    let bytes = Tensor::ones([2], (Kind::Uint8, Device::Cpu)).view_dtype(Kind::Float8e5m2);
    let error = checkpoint::write_pth(&folder.path().join("c.pth"), &[("c".to_string(), bytes)]).unwrap_err();
    assert!(error.to_string().contains("Float8e5m2"), "{error}");
}
