//! `densenet parity` with references that the repository's own script makes.

use crate::oracle::ask;
use crate::support::{read_safetensors, scratch};
use densenet::checkpoint::{write_safetensors, StateDict};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tch::Tensor;

struct Run {
    code: i32,
    record: Value,
    error: String,
}

impl Run {
    fn stages(&self) -> Vec<&str> {
        self.record["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stage| stage["name"].as_str().unwrap())
            .collect()
    }

    fn differing(&self) -> Vec<&str> {
        let stages = self.record["stages"].as_array().unwrap().iter();
        stages.filter(|stage| stage["differing"] != 0).map(|stage| stage["name"].as_str().unwrap()).collect()
    }
}

fn densenet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_densenet")).args(arguments).output().unwrap()
}

fn parity(weights: &Path, reference: &Path, more: &[&str]) -> Run {
    let [weights, reference] = [weights, reference].map(|path| path.to_str().unwrap());
    let mut arguments = vec!["parity", "--weights", weights, "--reference", reference, "--json"];
    arguments.extend(more);
    let output = densenet(&arguments);
    Run {
        code: output.status.code().unwrap(),
        record: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A picture, the script's reference of it, and the network's weights.
fn reference(folder: &Path, picture: &str, more: &[&str]) -> (PathBuf, PathBuf) {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let [picture, weights, reference] = [picture, "net.pth", "ref.safetensors"].map(|name| folder.join(name));
    ask("parity_picture", json!({ "path": picture }));
    let mut arguments = vec![json!("densenet121"), json!(picture), json!(reference)];
    arguments.extend([json!("--num-classes"), json!("7"), json!("--save-weights"), json!(weights)]);
    arguments.extend(more.iter().map(|argument| json!(argument)));
    ask("parity_script", json!({ "arguments": arguments }));
    (weights, reference)
}

/// The reference with some tensors and some of its words changed.
fn tampered(
    reference: &Path,
    name: &str,
    change: impl Fn(&str, &Tensor) -> Option<Tensor>,
    words: &[(&str, &str)],
) -> PathBuf {
    let tensors: Vec<_> = read_safetensors(reference)
        .into_iter()
        .map(|(key, tensor)| {
            let changed = change(&key, &tensor).unwrap_or(tensor);
            (key, changed)
        })
        .collect();
    let mut metadata: HashMap<String, String> =
        StateDict::open(reference).unwrap().metadata.into_iter().collect();
    metadata.extend(words.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    let path = reference.with_file_name(name);
    write_safetensors(&path, &tensors, metadata).unwrap();
    path
}

#[test]
fn every_stage_from_the_pictures_file_to_every_module_is_equal_and_the_first_that_differs_is_named() {
    let folder = scratch();
    let (weights, reference) = reference(folder.path(), "picture.png", &["--depth", "4"]);
    let run = parity(&weights, &reference, &[]);
    assert_eq!((run.code, &run.record["first_difference"]), (0, &Value::Null), "{}", run.error);
    assert_eq!((&run.record["from_file"]["differing"], &run.record["warnings"]), (&json!(0), &json!([])));
    // Every tensor of the reference is one that is compared, in the order of computation.
    let stages = run.stages();
    assert_eq!(stages.len(), read_safetensors(&reference).len() - 1, "all but image_bytes");
    assert_eq!(stages[..5], ["decoded", "resized", "input", "features.conv0", "features.norm0"]);
    assert_eq!(*stages.last().unwrap(), "logits");
    let place =
        |name: &str| stages.iter().position(|stage| *stage == name).unwrap_or_else(|| panic!("{name}"));
    assert!(place("features.denseblock1.denselayer2.relu1") < place("features.denseblock1.denselayer2"));
    assert!(place("features.transition1.conv") < place("features.denseblock2.denselayer1.norm1"));

    // A stage that differs is named, and those after it start from the reference again.
    let level = |tensor: &Tensor| Some((tensor.to_kind(tch::Kind::Int) / 2).to_kind(tch::Kind::Uint8));
    let off = |wanted: &'static str| move |key: &str, tensor: &Tensor| (key == wanted).then(|| tensor + 1e-2);
    let half = |wanted: &'static str| {
        move |key: &str, tensor: &Tensor| if key == wanted { level(tensor) } else { None }
    };
    let differing = |path: &Path| -> Vec<String> {
        let run = parity(&weights, path, &[]);
        assert_eq!(run.code, 1);
        assert_eq!(run.record["first_difference"], run.differing()[0]);
        assert!(run.error.contains(run.differing()[0]), "{}", run.error);
        run.differing().into_iter().map(str::to_string).collect()
    };
    assert_eq!(differing(&tampered(&reference, "a", half("decoded"), &[])), ["decoded", "resized"]);
    assert_eq!(differing(&tampered(&reference, "b", half("resized"), &[])), ["resized", "input"]);
    assert_eq!(differing(&tampered(&reference, "c", off("input"), &[]))[0], "input");
    let inner = "features.denseblock2.denselayer3.conv1";
    assert_eq!(differing(&tampered(&reference, "d", off(inner), &[])), [inner]);
}

/// Decoders of JPEG differ; nothing after them does.
#[test]
fn a_jpeg_differs_in_decoding_alone() {
    let folder = scratch();
    let (weights, reference) = reference(folder.path(), "picture.jpg", &[]);
    let run = parity(&weights, &reference, &[]);
    if cfg!(feature = "libjpeg-turbo") {
        assert_eq!((run.code, run.differing()), (0, vec![]), "{}", run.error);
        return;
    }
    assert_eq!((run.code, run.differing()), (1, vec!["decoded"]));
    assert!(run.error.contains("libjpeg-turbo"), "{}", run.error);
    assert_ne!(run.record["from_file"]["differing"], 0, "what decoding alone does to the logits");
    let decoded = &run.record["stages"][0];
    assert!(decoded["max_abs"].as_f64().unwrap() <= 5.0, "{decoded}");
}

#[test]
fn other_conditions_are_warned_of_by_name() {
    let folder = scratch();
    let (weights, reference) = reference(folder.path(), "picture.png", &["--depth", "1"]);
    let words = [("torch", "2.12.1+cu128"), ("cpu_capability", "SSE"), ("threads", "61"), ("device", "cuda")];
    let run = parity(&weights, &tampered(&reference, "other", |_, _| None, &words), &[]);
    assert_eq!(run.code, 0);
    let warned: Vec<_> =
        run.record["warnings"].as_array().unwrap().iter().map(|one| one["what"].clone()).collect();
    assert_eq!(json!(warned), json!(["torch", "cpu_capability", "threads", "device"]));
    for (_, value) in words {
        assert!(run.error.contains(&format!("{value} there")), "{}", run.error);
    }
    let threads = if tch::get_num_threads() == 1 { "2" } else { "1" };
    let run = parity(&weights, &reference, &["--threads", threads]);
    assert_eq!(run.record["warnings"][0]["what"], "threads", "{}", run.error);
    // Built for another device, computed on the same.
    let version =
        StateDict::open(&reference).unwrap().metadata.into_iter().find(|(key, _)| key == "torch").unwrap().1;
    let other = format!("{}+other", version.split('+').next().unwrap());
    let run = parity(&weights, &tampered(&reference, "build", |_, _| None, &[("torch", &other)]), &[]);
    assert_eq!(run.record["warnings"], json!([]));
}

#[test]
fn the_scripts_training_step_is_equal_in_gradients_and_statistics() {
    let folder = scratch();
    let (weights, reference) = reference(folder.path(), "picture.png", &["--train"]);
    let run = parity(&weights, &reference, &["--train"]);
    assert_eq!((run.code, &run.record["first_difference"]), (0, &Value::Null), "{}", run.error);
    let stages = run.stages();
    assert_eq!(stages.len(), read_safetensors(&reference).len() - 2, "all but input and target");
    assert!(stages.contains(&"grad.features.conv0.weight") && stages.contains(&"features.norm5.running_var"));
    let off = |key: &str, tensor: &Tensor| (key == "grad.features.norm5.bias").then(|| tensor * 1.5);
    let run = parity(&weights, &tampered(&reference, "off", off, &[]), &["--train"]);
    assert_eq!((run.code, run.differing()), (1, vec!["grad.features.norm5.bias"]));
}

#[test]
fn a_page_shows_the_worst_tensors_with_their_values() {
    let folder = scratch();
    let (weights, reference) = reference(folder.path(), "picture.png", &["--depth", "2"]);
    let off = |key: &str, tensor: &Tensor| match key {
        "features.denseblock3" => Some(tensor * 1.25),
        "features.norm5" => Some(tensor * 1.001),
        _ => None,
    };
    let reference = tampered(&reference, "ref<off>.safetensors", off, &[("threads", "61")]);
    let page = |name: &str| {
        let path = folder.path().join(name);
        assert_eq!(parity(&weights, &reference, &["--report", path.to_str().unwrap()]).code, 1);
        std::fs::read_to_string(path).unwrap()
    };
    let markdown = page("page.md");
    assert!(markdown.contains("The first stage that differs is features.denseblock3."), "{markdown}");
    assert!(markdown.contains("another threads: 61 there"), "{markdown}");
    let worst: Vec<&str> =
        markdown.split("## ").nth(1).unwrap().lines().filter(|line| line.starts_with("| features")).collect();
    assert_eq!(worst.len(), 2, "{worst:?}");
    assert!(
        worst[0].starts_with("| features.denseblock3 |") && worst[1].starts_with("| features.norm5 |"),
        "{worst:?}"
    );
    let html = page("page.html");
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("<td>features.denseblock3</td>"));
    assert!(html.contains("ref&lt;off&gt;.safetensors") && !html.contains("ref<off>"));
    let run = parity(&weights, &reference, &["--report", "page.txt"]);
    assert!(run.code == 1 && run.error.contains(".md") && run.error.contains("page.txt"), "{}", run.error);
}

#[test]
fn the_script_is_printed_as_it_is_in_the_repository() {
    let output = densenet(&["parity", "--print-script"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("../../scripts/make_reference.py"));
    assert_eq!(densenet(&["parity"]).status.code(), Some(2));
}

#[test]
fn the_instruction_set_is_the_one_torch_names() {
    if let Some(ours) = densenet::runtime::cpu_capability() {
        assert_eq!(ask("parity_cpu_capability", json!({})), json!(ours));
    }
}
