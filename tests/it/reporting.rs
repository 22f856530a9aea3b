//! From a folder of pictures to a report: `finetune`, `evaluate`, `classify`, `report`, as their users run them.

use crate::oracle::ask;
use crate::support::scratch;
use densenet::evaluate::Evaluation;
use densenet::train::{History, TrainError};
use densenet::transforms::{Draw, RgbImage};
use serde_json::{json, Value};
use std::path::Path;
use std::process::{Command, Output};

fn densenet(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_densenet"));
    command.args(arguments).args(["--device", "cpu", "--threads", "1"]).output().unwrap()
}

#[track_caller]
fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Noise with a tint: a network learns it within a few steps.
fn picture(class: usize, index: u64) -> RgbImage {
    let mut rng = Draw { seed: class as u64, epoch: 0, index }.rng();
    RgbImage::from_fn(20, 24, |_, _| {
        let mut pixel = [0; 3].map(|_: u8| 60 + rng.below(80) as u8);
        pixel[class] += 100;
        image::Rgb(pixel)
    })
}

/// `train/` and `val/` with three classes.
fn pictures(folder: &Path) {
    for (class, name) in ["blue & <green>", "leaf", "rust"].into_iter().enumerate() {
        for (part, count) in [("train", 8), ("val", 4)] {
            let folder = folder.join(part).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for index in 0..count {
                let index = index + if part == "val" { 100 } else { 0 };
                picture(class, index).save(folder.join(format!("{index}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn a_folder_of_pictures_becomes_a_network_and_a_report() {
    let folder = scratch();
    let data = folder.path().join("data");
    pictures(&data);
    let (data, run) = (data.to_str().unwrap(), folder.path().join("run"));
    let run_text = run.to_str().unwrap();
    let finetuned = densenet(&[
        "finetune",
        "--data",
        data,
        "--output",
        run_text,
        "--arch",
        "densenet-bc-16-8",
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--lr",
        "0.05",
        "--augment",
        "cifar",
        "--seed",
        "3",
        "--json",
    ]);
    let records = lines(&finetuned);
    let report = run.join("report.html");
    let notes = String::from_utf8_lossy(&finetuned.stderr).into_owned();
    assert!(notes.contains(&format!("report: {}", report.display())), "{notes}");
    let summary = records.last().unwrap();
    let page = std::fs::read_to_string(&report).unwrap();
    // Loss, accuracy, learning rate, confusion, reliability; and mistakes where there are any.
    let kept: Evaluation =
        serde_json::from_slice(&std::fs::read(run.join("evaluation.json")).unwrap()).unwrap();
    let pictures = 5 + usize::from(!kept.mistakes.is_empty());
    assert_eq!(ask("parse_xml", json!({ "path": report })), pictures);
    assert!(!page.contains("<green>") && page.contains("blue &amp; &lt;green&gt;"));

    // What the report says is what `evaluate` and training's own validation say.
    let best = summary["weights"].as_str().unwrap();
    let evaluated =
        lines(&densenet(&["evaluate", "--data", data, "--weights", best, "--batch-size", "4", "--json"]));
    let evaluation: Evaluation = serde_json::from_value(evaluated[0].clone()).unwrap();
    assert_eq!(evaluation.images, 12);
    assert_eq!(evaluation, kept);
    assert_eq!(evaluation.top1, summary["best"]["figures"]["accuracy"].as_f64());
    let loss = summary["best"]["figures"]["loss"].as_f64().unwrap();
    assert!((evaluation.loss - loss).abs() < 1e-5, "{} {loss}", evaluation.loss);
    assert!(evaluation.top1 > Some(0.6), "it has learned nothing: {:?}", evaluation.top1);

    // The metrics read back are the records printed.
    let history = History::read(&run.join("metrics.jsonl")).unwrap();
    assert_eq!(serde_json::to_value(&history.epochs).unwrap(), json!(records[..2]));
    assert_eq!(history.steps.len(), 12);

    let named = folder.path().join("again.md");
    let again = lines(&densenet(&["report", run_text, "--output", named.to_str().unwrap(), "--json"]));
    assert_eq!(again[0]["evaluation"], evaluated[0]);
    assert!(std::fs::read_to_string(named).unwrap().contains("# a new network on "));
    let classified =
        lines(&densenet(&["classify", &format!("{data}/val/leaf"), "--weights", best, "--json"]));
    assert_eq!(classified.len(), 4);
    let names: Vec<&str> = classified[0]["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|best| best["label"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"leaf"));
}

#[test]
fn metrics_that_were_cut_off_are_read_up_to_there_and_damaged_ones_refused_with_their_line() {
    let folder = scratch();
    let path = folder.path().join("metrics.jsonl");
    let step = r#"{"kind":"step","epoch":1,"step":1,"step_in_epoch":1,"loss":1.5,"lr":0.1,"images":4}"#;
    std::fs::write(&path, format!("{step}\n{step}\n{}", &step[..30])).unwrap();
    let history = History::read(&path).unwrap();
    assert_eq!((history.steps.len(), history.epochs.len()), (2, 0));
    assert_eq!(history.curves().len(), 2, "loss and learning rate; no accuracy yet");
    assert!(History::default().curves().is_empty());
    std::fs::write(&path, format!("{step}\n{{}}\n")).unwrap();
    assert!(matches!(History::read(&path), Err(TrainError::Metrics { line: 2, .. })));
    let error = String::from_utf8(densenet(&["report", folder.path().to_str().unwrap()]).stderr).unwrap();
    assert!(error.contains("run.json") && error.lines().count() == 1, "{error}");
}
