//! From a folder to a model that Python loads.

use super::picture_folder;
use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, seed, small_network};
use densenet::checkpoint::{write_pth, StateDict};
use densenet::train::{DataSource, Freeze, Recipe, Run, Setup, Start};
use densenet::weights::{NetworkOptions, Outputs, Sidecar, WeightsSource};
use densenet::{transforms, DenseNet, Predictor};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use tch::{nn, no_grad, Device, Kind, Tensor};

const CLASSES: [&str; 3] = ["blue", "green", "red"];

fn densenet(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_densenet")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn records(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Weights of a small network with 7 classes, as somebody might have them.
fn pretrained(path: &Path) {
    let _guard = seed(5);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), &small_network(&[2, 2], 7)).unwrap();
    write_pth(path, &network.named_tensors()).unwrap();
}

#[test]
fn from_folder_to_fine_tuned_model_to_classes_to_python() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    for (part, count) in [("train", 12), ("val", 4)] {
        picture_folder(&folder.path().join("data").join(part), &CLASSES, count, 40);
    }
    pretrained(&folder.path().join("start.pth"));
    let run = path("run");
    let start = path("start.pth");
    let output = densenet(&[
        "finetune",
        "--json",
        "--data",
        &path("data"),
        "--weights",
        &start,
        "--output",
        &run,
        "--epochs",
        "2",
        "--batch-size",
        "6",
        "--lr",
        "0.02",
        "--size",
        "32",
        "--seed",
        "3",
    ]);
    let records = records(&output);
    assert_eq!(records.len(), 3, "two epochs and a summary");
    for (number, epoch) in records[..2].iter().enumerate() {
        assert_eq!((&epoch["epoch"], &epoch["train"]["images"]), (&json!(number + 1), &json!(36)));
        assert_eq!(epoch["validation"]["images"], 12);
    }
    assert_eq!((&records[2]["end"], &records[2]["steps"]), (&json!("finished"), &json!(12)));
    let metrics = std::fs::read_to_string(path("run/metrics.jsonl")).unwrap();
    let kinds: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].take()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "epoch").count(), 2);
    assert_eq!(kinds.iter().filter(|kind| **kind == "step").count(), 12);

    // The sidecar has the classes: `classify` names them.
    let best = path("run/best.pth");
    let picture = path("data/val/red/000.png");
    let classified =
        self::records(&densenet(&["classify", "--json", "--weights", &best, "--top-k", "3", &picture]));
    let labels: Vec<&str> = classified[0]["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["label"].as_str().unwrap())
        .collect();
    assert!(CLASSES.iter().all(|class| labels.contains(class)), "{labels:?}");

    // Python loads what Rust predicts with, and computes the same bits.
    let loaded = WeightsSource::File(best.clone().into()).load(Device::Cpu).unwrap();
    let preset = loaded.description.transforms.clone().unwrap();
    assert_eq!((preset.crop_size, preset.resize_size), (Some(32), Some(37)));
    let input = preset.apply(&transforms::open(&picture).unwrap()).unwrap().unsqueeze(0);
    let logits = no_grad(|| loaded.network.try_forward(&input, false)).unwrap();
    let (inputs, out) = (path("i.safetensors"), path("o.safetensors"));
    Tensor::write_safetensors(&[("input", &input)], &inputs).unwrap();
    ask(
        "load_trained",
        json!({ "config": loaded.network.config, "weights": best, "inputs": inputs, "out": out }),
    );
    assert_same_bits("logits", &logits, &read_safetensors(&out)["logits"]);
    let probability = classified[0]["predictions"][0]["probability"].as_f64().unwrap();
    let likeliest = logits.softmax(-1, Kind::Double).max().double_value(&[]);
    assert!((probability - likeliest).abs() < 1e-6, "{probability}, {likeliest}");
}

#[test]
fn the_library_does_what_the_command_does_to_the_bit() {
    let folder = scratch();
    let data = folder.path().join("data");
    picture_folder(&data, &CLASSES, 10, 40);
    let start = folder.path().join("start.pth");
    pretrained(&start);
    let by_command = folder.path().join("command");
    densenet(&[
        "finetune",
        "--data",
        data.to_str().unwrap(),
        "--weights",
        start.to_str().unwrap(),
        "--output",
        by_command.to_str().unwrap(),
        "--epochs",
        "2",
        "--batch-size",
        "8",
        "--size",
        "32",
        "--augment",
        "imagenet",
        "--threads",
        &tch::get_num_threads().to_string(),
    ]);
    let setup = Setup {
        start: Start::Weights(WeightsSource::File(start), NetworkOptions::default()),
        data: DataSource::at(&data),
        recipe: Recipe {
            epochs: 2,
            batch_size: 8,
            augment: transforms::augment::Augment::named("imagenet").unwrap(),
            ..Recipe::default()
        },
        transforms: None,
        size: Some(32),
    };
    let summary = {
        let _guard = seed(0);
        Run::start(folder.path().join("library"), &setup, Device::Cpu).unwrap().fit(&mut ()).unwrap()
    };
    let of = |path: &Path| -> HashMap<String, Tensor> {
        let dict = StateDict::open(path).unwrap();
        dict.tensors.iter().map(|(key, view)| (key.clone(), view.to_tensor().unwrap())).collect()
    };
    let (ours, theirs) = (of(&summary.weights), of(&by_command.join("best.pth")));
    assert_eq!(ours.len(), theirs.len());
    for (key, tensor) in &ours {
        assert_same_bits(key, tensor, &theirs[key]);
    }
}

#[test]
fn several_labels_a_picture_are_learned_and_told_as_labels() {
    let folder = scratch();
    picture_folder(&folder.path().join("pictures"), &CLASSES, 8, 16);
    let mut list = "path,labels\n".to_string();
    for index in 0..8 {
        for (class, labels) in [("blue", "cold|blue"), ("green", ""), ("red", "warm")] {
            list += &format!("pictures/{class}/{index:03}.png,{labels}\n");
        }
    }
    std::fs::write(folder.path().join("list.csv"), list).unwrap();
    let run = folder.path().join("run");
    densenet(&[
        "finetune",
        "--data",
        folder.path().join("list.csv").to_str().unwrap(),
        "--arch",
        "densenet-bc-10-4",
        "--output",
        run.to_str().unwrap(),
        "--epochs",
        "20",
        "--lr",
        "0.1",
        "--size",
        "16",
        "--augment",
        "flip",
        "--batch-size",
        "4",
    ]);
    let sidecar = Sidecar::beside(&run.join("best.pth")).unwrap().unwrap();
    assert_eq!(sidecar.outputs, Some(Outputs::Labels));
    assert_eq!(sidecar.categories, ["blue", "cold", "warm"]);
    assert!(sidecar.metrics["validation_accuracy"].as_f64().unwrap() > 0.9, "{:?}", sidecar.metrics);
    let predictor = Predictor::open(run.join("best.pth").to_str().unwrap(), Device::Cpu).unwrap();
    let picture = transforms::open(folder.path().join("pictures/blue/001.png")).unwrap();
    let best = &predictor.predict(&[picture], 3).unwrap()[0];
    assert!(best[..2].iter().all(|label| label.label != "warm" && label.probability > 0.5), "{best:?}");
}

#[test]
fn weights_that_know_the_very_classes_keep_their_classifier() {
    let folder = scratch();
    let data = folder.path().join("data");
    picture_folder(&data, &CLASSES, 5, 32);
    let start = folder.path().join("start.pth");
    let (_vs, network) = {
        let _guard = seed(6);
        let vs = nn::VarStore::new(Device::Cpu);
        let network = DenseNet::new(&vs.root(), &small_network(&[2, 2], 3)).unwrap();
        (vs, network)
    };
    write_pth(&start, &network.named_tensors()).unwrap();
    let weight = |categories: &[&str], run: &str| {
        let categories = categories.iter().map(ToString::to_string).collect();
        Sidecar { categories, ..Sidecar::default() }.write_beside(&start).unwrap();
        let setup = Setup {
            start: Start::Weights(WeightsSource::File(start.clone()), NetworkOptions::default()),
            data: DataSource::at(&data),
            recipe: Recipe { freeze: Freeze::Backbone, ..Recipe::default() },
            transforms: None,
            size: Some(32),
        };
        let _guard = seed(0);
        let run = Run::start(folder.path().join(run), &setup, Device::Cpu).unwrap();
        run.trainer.network.classifier.as_ref().unwrap().weight.detach().copy()
    };
    let own = &network.classifier.as_ref().unwrap().weight;
    assert!(weight(&CLASSES, "same").equal(own), "kept");
    assert!(!weight(&["red", "green", "blue"], "reordered").equal(own), "another order is other classes");
    assert!(!weight(&[], "unnamed").equal(own), "three classes without names may be any");
}
