//! The command as its users run it: a process, its output, its exit code.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, small_network};
use densenet::{Arch, DenseNetConfig};
use serde::Deserialize;
use serde_json::{json, Value};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images");

pub fn densenet(arguments: &[&str]) -> Output {
    // Nothing in the environment may be what finds libtorch.
    Command::new(env!("CARGO_BIN_EXE_densenet"))
        .args(arguments)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap()
}

#[track_caller]
pub fn stdout(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
pub fn failure(arguments: &[&str]) -> String {
    let output = densenet(arguments);
    assert_eq!(stdout(&output, 1), "", "{arguments:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.trim_end().lines().count(), 1, "one line: {error}");
    error
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Classified {
    image: String,
    predictions: Vec<Prediction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prediction {
    index: usize,
    label: String,
    probability: f64,
}

#[test]
fn classify_prints_a_json_line_for_each_picture_of_a_folder() {
    let lines = stdout(&densenet(&["classify", PICTURES, "--json", "--top-k", "3", "--batch-size", "7"]), 0);
    let records: Vec<Classified> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() >= 20);
    assert!(records.is_sorted_by_key(|record| record.image.clone()));
    for record in &records {
        assert_eq!(record.predictions.len(), 3);
        assert!(record.predictions.iter().all(|best| best.index < 10 && !best.label.is_empty()));
        assert!(record.predictions[0].probability <= 1.0);
    }
    let text = stdout(&densenet(&["classify", PICTURES]), 0);
    assert_eq!(text.lines().count(), records.len());
    assert!(text.contains("bag_1.png: Bag "), "{text}");
}

#[test]
fn an_unreadable_picture_is_reported_and_the_rest_goes_on() {
    let folder = scratch();
    let (bad, missing) = (folder.path().join("bad.png"), folder.path().join("missing.png"));
    std::fs::write(&bad, b"\x89PNG\r\n\x1a\n cut short").unwrap();
    let good = format!("{PICTURES}/bag_1.png");
    let arguments = ["classify", "--json", bad.to_str().unwrap(), &good, missing.to_str().unwrap(), &good];
    let output = densenet(&arguments);
    let records: Vec<Value> =
        stdout(&output, 1).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 4);
    assert!(records[0]["error"].as_str().unwrap().contains("bad.png"));
    assert_eq!(records[1]["predictions"][0]["label"], "Bag");
    assert!(records[2]["error"].as_str().unwrap().contains("missing.png"));
    assert_eq!(records[3], records[1]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().filter(|line| line.starts_with("densenet: ")).count(), 2, "{error}");
}

#[test]
fn a_list_of_pictures_on_standard_input_and_a_closed_pipe_work() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_densenet"))
        .args(["classify", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    write!(child.stdin.take().unwrap(), "{PICTURES}/bag_1.png\n\n{PICTURES}/dress_1.png\n").unwrap();
    assert_eq!(stdout(&child.wait_with_output().unwrap(), 0).lines().count(), 2);

    let mut child = Command::new(env!("CARGO_BIN_EXE_densenet"))
        .args(["classify", PICTURES])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn failures_are_one_line_that_says_what_to_do() {
    let folder = scratch();
    let empty = folder.path().to_str().unwrap();
    let picture = format!("{PICTURES}/bag_1.png");
    assert!(failure(&["classify", empty]).contains("holds no pictures"));
    let error = failure(&["classify", &picture, "--weights", "no-such.pth"]);
    assert!(error.contains("no-such.pth") && error.contains("fashion_mnist"), "{error}");
    let error = failure(&["classify", &picture, "--weights", &picture]);
    assert_eq!(error.matches("bag_1.png").count(), 1, "the file is named once: {error}");
    let error = failure(&["classify", &picture, "--arch", "densenet169"]);
    assert!(error.contains("not the densenet169"), "{error}");
    let error = failure(&["classify", &picture, "--categories", &format!("{PICTURES}/LICENSE.md")]);
    assert!(error.contains("10 classes"), "{error}");
    for usage in
        [&["classify"][..], &["classify", "x", "--top-k", "0"], &["nonsense"], &["doctor", "--device", "tpu"]]
    {
        stdout(&densenet(usage), 2);
    }
}

#[test]
fn weights_init_writes_torchvisions_bits_and_never_over_a_file() {
    let folder = scratch();
    let (ours, theirs) = (folder.path().join("ours.safetensors"), folder.path().join("theirs.safetensors"));
    let path = ours.to_str().unwrap();
    let init =
        ["weights", "init", "--arch", "densenet121", "--seed", "42", "--num-classes", "10", "--output", path];
    let printed: Value =
        serde_json::from_str(&stdout(&densenet(&[&init[..], &["--json"]].concat()), 0)).unwrap();
    let config = DenseNetConfig { num_classes: 10, ..Arch::DenseNet121.config() };
    assert_eq!(printed["config"], json!(config));
    ask("construct", json!({ "config": config, "seed": 42, "out": theirs }));
    let (got, want) = (read_safetensors(&ours), read_safetensors(&theirs));
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (key, tensor) in &got {
        assert_same_bits(key, tensor, &want[key]);
    }
    assert!(failure(&init).contains("exists already: --force"));
    stdout(&densenet(&[&init[..], &["--force"]].concat()), 0);
    let nowhere = folder.path().join("no/such/folder/w.safetensors");
    let error = failure(&["weights", "init", "--arch", "densenet121", "--output", nowhere.to_str().unwrap()]);
    assert!(error.contains("w.safetensors"), "{error}");
}

/// A network small enough to compare often, as JSON for the oracle.
fn small() -> DenseNetConfig {
    small_network(&[2, 3, 2, 2], 5)
}

#[test]
fn weights_inspect_tells_format_network_and_what_was_renamed() {
    let folder = scratch();
    let (file, reference) = (folder.path().join("old.pth"), folder.path().join("r.safetensors"));
    let shape = [1, 3, 32, 32];
    let request =
        json!({ "config": small(), "seed": 1, "shape": shape, "checkpoint": file, "reference": reference });
    ask("official_file", request);
    let record: Value = serde_json::from_str(&stdout(
        &densenet(&["weights", "inspect", file.to_str().unwrap(), "--json"]),
        0,
    ))
    .unwrap();
    assert_eq!(record["format"], "pth-legacy");
    assert_eq!(record["config"], json!(small()));
    assert_eq!(
        record["renamed"],
        json!(9 * 10),
        "nine layers of two norms (4 tensors each) and two convolutions"
    );
    assert_eq!(
        record["tensors"][0],
        json!({ "name": "features.conv0.weight", "dtype": "float32", "shape": [16, 3, 7, 7] })
    );
    let text = stdout(&densenet(&["weights", "inspect", file.to_str().unwrap()]), 0);
    assert!(
        text.contains("pth-legacy") && text.contains("features.denseblock1.denselayer1.norm.1.weight"),
        "{text}"
    );
}

fn parity(file: &Path, reference: &Path, more: &[&str]) -> (i32, Value, String) {
    let base =
        ["parity", "--weights", file.to_str().unwrap(), "--reference", reference.to_str().unwrap(), "--json"];
    let output = densenet(&[&base[..], more].concat());
    let record = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), record, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn parity_proves_equality_and_finds_the_first_stage_that_differs() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let (file, reference) = (folder.path().join("net.pth"), folder.path().join("ref.safetensors"));
    let shape = [2, 3, 48, 40];
    ask(
        "official_file",
        json!({ "config": small(), "seed": 1, "shape": shape, "checkpoint": file, "reference": reference }),
    );
    let (code, record, _) = parity(&file, &reference, &[]);
    assert_eq!((code, &record["max_ulp"], &record["max_abs"]), (0, &json!(0), &json!(0.0)));
    assert_eq!(record["top1_agreement"], json!(1.0));
    assert_eq!(record["first_difference"], Value::Null);
    let stages: Vec<&str> =
        record["stages"].as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    // All of `features`' modules, which are what the reference holds.
    let stem =
        ["features.conv0", "features.norm0", "features.relu0", "features.pool0", "features.denseblock1"];
    assert_eq!(stages[..5], stem);
    assert_eq!(stages[stages.len() - 2..], ["features.norm5", "logits"]);
    assert_eq!(stages.len(), read_safetensors(&reference).len() - 1);

    // A reference whose second block, and all after it, is a little off.
    let mut tensors: Vec<_> = read_safetensors(&reference).into_iter().collect();
    for (name, tensor) in &mut tensors {
        if name == "features.denseblock2" || name == "logits" {
            *tensor = &*tensor + 1e-3;
        }
    }
    let off = folder.path().join("off.safetensors");
    densenet::checkpoint::write_safetensors(&off, &tensors, Default::default()).unwrap();
    let (code, record, error) = parity(&file, &off, &[]);
    assert_eq!((code, &record["first_difference"]), (1, &json!("features.denseblock2")));
    assert!(error.contains("features.denseblock2"), "{error}");
    assert_eq!(parity(&file, &off, &["--tolerance", "1e-2"]).0, 0);
    assert_eq!(parity(&file, &off, &["--tolerance", "1e-5"]).0, 1);

    let unusable = folder.path().join("unusable.safetensors");
    let input = vec![("input".to_string(), read_safetensors(&reference)["input"].copy())];
    densenet::checkpoint::write_safetensors(&unusable, &input, Default::default()).unwrap();
    let (code, record, error) = parity(&file, &unusable, &[]);
    assert_eq!((code, record), (1, Value::Null));
    assert!(error.contains("nothing to compare with"), "{error}");
}

#[test]
fn parity_train_compares_loss_gradients_and_statistics() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let (file, reference) = (folder.path().join("net.pth"), folder.path().join("ref.safetensors"));
    let shape = [2, 3, 64, 64];
    ask(
        "step_reference",
        json!({ "config": small(), "seed": 1, "shape": shape, "checkpoint": file, "reference": reference }),
    );
    let (code, record, error) = parity(&file, &reference, &["--train"]);
    assert_eq!((code, &record["max_ulp"]), (0, &json!(0)), "{error}");
    let compared = record["stages"].as_array().unwrap().len();
    assert_eq!(compared, read_safetensors(&reference).len() - 2, "everything but input and target");
    let (code, record, error) = parity(&file, &reference, &["--train", "--memory", "efficient"]);
    assert_eq!((code, &record["max_ulp"]), (0, &json!(0)), "the exact memory-efficient step: {error}");
    let (code, record, _) = parity(&file, &reference, &["--train", "--memory", "fused"]);
    assert_eq!(code, 1, "the fused step rounds differently: {record}");
}

#[test]
fn doctor_reports_this_libtorch() {
    let record: Value = serde_json::from_str(&stdout(&densenet(&["doctor", "--json"]), 0)).unwrap();
    assert!(record["libtorch"].as_str().unwrap().starts_with("2.13.0"), "{record}");
    assert_eq!(record["devices"][0], "cpu");
    assert_eq!(record["keeps_freed_memory"], json!(cfg!(target_env = "gnu")));
    assert!(stdout(&densenet(&["doctor"]), 0).contains("libtorch"));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trained {
    step_ms: f64,
    step_ms_min: f64,
    activation_bytes: u64,
    kept_bytes: Option<u64>,
    peak_tensor_bytes: Option<u64>,
    peak_rss_bytes: u64,
    first_loss: f64,
    loss: f64,
    parameters: i64,
}

#[test]
fn bench_train_measures_the_network_it_was_asked_for() {
    let train = |arguments: &[&str]| -> Trained {
        let line =
            stdout(&densenet(&[&["bench", "train", "--json", "--threads", "1"], arguments].concat()), 0);
        serde_json::from_str(&line).unwrap()
    };
    let small = ["--arch", "densenet-bc-22-8", "--size", "24", "--steps", "2", "--batch-size"];
    let four = train(&[&small[..], &["4"]].concat());
    assert!(
        0.0 < four.step_ms_min && four.step_ms_min <= four.step_ms,
        "{} {}",
        four.step_ms_min,
        four.step_ms
    );
    assert!(four.activation_bytes < four.peak_rss_bytes);
    assert!(four.loss < four.first_loss, "{} {}", four.loss, four.first_loss);
    let parameters = four.parameters;
    assert_eq!(parameters, ask("small_parameters", json!({"depth": 22, "growth_rate": 8})));
    // A larger batch keeps more, in proportion.
    let sixteen = train(&[&small[..], &["16"]].concat());
    let (few, many) = (four.kept_bytes.unwrap(), sixteen.kept_bytes.unwrap());
    assert!((3.9..4.1).contains(&(many as f64 / few as f64)), "{few} {many}");
    assert!(sixteen.peak_tensor_bytes.unwrap() >= many);

    let wrong = densenet(&["bench", "train", "--arch", "densenet-bc-21-8"]);
    let error = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(stdout(&wrong, 2), "");
    assert!(error.contains("must be 4 + 6·n"), "{error}");
    let too_small = failure(&["bench", "train", "--size", "20"]);
    assert!(too_small.contains("H and W at least 29"), "{too_small}");
}
