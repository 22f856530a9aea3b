//! Whole runs against a plain loop in PyTorch.

use super::picture_folder;
use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, seed, small_network};
use densenet::checkpoint::StateDict;
use densenet::model::Memory;
use densenet::train::{
    AdamW, ClassWeights, DataSource, EmaOptions, LossOptions, Observer, OneCycle, Precision, Rates, Recipe,
    Rule, Run, Schedule, Setup, Start, StepReport, Validation, WarmUp,
};
use densenet::transforms::ImageClassification;
use densenet::DenseNetConfig;
use serde_json::json;
use std::path::Path;
use tch::Device;

/// Keeps the losses.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn step(&mut self, step: &StepReport) {
        self.0.push(step.loss);
    }
}

fn recipes() -> Vec<(&'static str, Recipe)> {
    let base = Recipe { epochs: 10, batch_size: 8, shuffle: false, seed: 21, lr: 0.05, ..Recipe::default() };
    vec![
        ("SGD with Nesterov momentum, cosine", base.clone()),
        ("memory-efficient", Recipe { memory: Memory::Efficient, ..base.clone() }),
        (
            "AdamW, one cycle, warm-up, smoothing, class weights, clipping, mean weights",
            Recipe {
                optimizer: Rule::AdamW(AdamW::default()),
                lr: 0.003,
                rates: Rates { weight_decay: 0.05, ..Rates::default() },
                schedule: Schedule::OneCycle(OneCycle {
                    cycle_momentum: Some((0.85, 0.95)),
                    ..OneCycle::default()
                }),
                warm_up: Some(WarmUp { epochs: 1.0, start_factor: 0.1 }),
                loss: LossOptions {
                    label_smoothing: 0.1,
                    class_weights: ClassWeights::Given(vec![0.5, 1.0, 2.0]),
                },
                clip_norm: Some(0.5),
                ema: Some(EmaOptions { decay: 0.9, warm_up: false }),
                ..base.clone()
            },
        ),
        ("bf16", Recipe { precision: Precision::Bf16, ..base.clone() }),
    ]
}

/// Trains by a run and by PyTorch; compares every loss and the weights handed out.
fn compare(name: &str, folder: &Path, run: &Path, config: &DenseNetConfig, recipe: &Recipe, steps: usize) {
    let transforms =
        ImageClassification { resize_size: Some(40), crop_size: Some(32), ..ImageClassification::default() };
    let out = run.with_extension("safetensors");
    let request = json!({
        "config": config, "folder": folder, "recipe": recipe, "transforms": transforms, "steps": steps, "out": out
    });
    let theirs = ask("training_loop", request);
    let setup = Setup {
        start: Start::Scratch(config.clone()),
        data: DataSource { validation: Validation::Nothing, ..DataSource::at(folder) },
        recipe: recipe.clone(),
        transforms: Some(transforms),
        size: None,
    };
    let _guard = seed(0);
    let mut losses = Losses::default();
    let summary = Run::start(run, &setup, Device::Cpu).unwrap().fit(&mut losses).unwrap();
    assert_eq!((summary.steps, losses.0.len()), (steps, steps), "{name}");
    for (step, loss) in losses.0.iter().enumerate() {
        assert_eq!(theirs[step].as_f64(), Some(*loss), "{name}: loss of step {step}");
    }
    let want = read_safetensors(&out);
    let got = StateDict::open(&summary.weights).unwrap();
    assert_eq!(got.tensors.len(), want.len(), "{name}");
    for (key, view) in &got.tensors {
        if recipe.ema.is_some() && key.ends_with("num_batches_tracked") {
            // torch averages counters too, and cuts them off; ours are the network's.
            assert_eq!(view.to_tensor().unwrap().int64_value(&[]), steps as i64, "{name}: {key}");
            continue;
        }
        assert_same_bits(&format!("{name}: {key}"), &view.to_tensor().unwrap(), &want[key]);
    }
}

#[test]
fn fifty_steps_over_an_image_folder_are_pytorchs_to_the_bit() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let pictures = folder.path().join("pictures");
    // 39 pictures: the last of 5 batches is not full.
    picture_folder(&pictures, &["blue", "green", "red"], 13, 44);
    let config = small_network(&[2, 2], 3);
    for (number, (name, recipe)) in recipes().into_iter().enumerate() {
        let run = folder.path().join(number.to_string());
        compare(name, &pictures, &run, &config, &recipe, 50);
    }
}

#[test]
fn accumulated_gradients_are_pytorchs_to_the_bit() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let pictures = folder.path().join("pictures");
    picture_folder(&pictures, &["blue", "green"], 13, 44);
    // 7 batches an epoch: three steps of two, one of the last batch alone.
    let recipe = Recipe {
        epochs: 3,
        batch_size: 4,
        accumulate: 2,
        shuffle: false,
        schedule: Schedule::Constant,
        ..Recipe::default()
    };
    compare("accumulated", &pictures, &folder.path().join("run"), &small_network(&[2, 2], 2), &recipe, 12);
}
