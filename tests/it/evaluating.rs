//! `densenet::evaluate` against the definitions, computed in Python; the pictures and pages made of it.

mod data;
mod reports;

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch};
use densenet::checkpoint::write_safetensors;
use densenet::data::{open_evaluation, DataError, Dataset, OnUnreadable};
use densenet::evaluate::{evaluate, EvaluateError, EvaluateOptions, Evaluation};
use densenet::transforms::{self, ImageClassification, RgbImage};
use densenet::weights::{Outputs, Sidecar, WeightsSource};
use densenet::Predictor;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::{Device, Tensor};

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images");

fn fashion() -> Predictor {
    Predictor::open("fashion_mnist", Device::Cpu).unwrap()
}

/// The shipped pictures, and each turned, so that a good network is wrong about some.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(PICTURES).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "png"));
    files.sort();
    assert_eq!(files.len(), 30);
    let mut written = Vec::new();
    let mut save = |picture: &RgbImage, number: usize| {
        let path = folder.join(format!("{number:03}.png"));
        picture.save(&path).unwrap();
        written.push(path);
    };
    for (index, file) in files.iter().enumerate() {
        let picture = transforms::open(file).unwrap();
        save(&picture, 2 * index);
        save(&transforms::augment::warp::rotate(&picture, 40.0), 2 * index + 1);
    }
    written
}

/// What a picture is said to show: its class for most, another one for every third.
fn label(index: usize) -> usize {
    let class = [9, 8, 4, 3, 2, 5, 6, 7, 0, 1][index / 6];
    if index.is_multiple_of(3) {
        (class + index) % 10
    } else {
        class
    }
}

fn class_list(folder: &Path) -> (PathBuf, Vec<i64>) {
    let names = fashion().categories().to_vec();
    let mut lines = "path,label\n".to_string();
    let mut labels = Vec::new();
    for (index, path) in pictures(folder).iter().enumerate() {
        let class = label(index);
        lines += &format!("{},{}\n", path.file_name().unwrap().to_str().unwrap(), names[class]);
        labels.push(class as i64);
    }
    let list = folder.join("list.csv");
    std::fs::write(&list, lines).unwrap();
    (list, labels)
}

/// The network's answer to every picture, without the loader.
fn logits(predictor: &Predictor, dataset: &dyn Dataset) -> Tensor {
    let inputs: Vec<Tensor> = (0..dataset.len())
        .map(|index| predictor.transforms().apply(&dataset.picture(index).unwrap()).unwrap())
        .collect();
    predictor.predict_tensor(&transforms::batch(&inputs).unwrap()).unwrap()
}

fn run(predictor: &Predictor, dataset: &Arc<dyn Dataset>, options: &EvaluateOptions) -> Evaluation {
    evaluate(predictor, Arc::clone(dataset), options, &mut |_, _| ()).unwrap()
}

#[derive(Deserialize)]
struct Calibrated {
    ece: f64,
    mce: f64,
    counts: Vec<usize>,
}

#[derive(Deserialize)]
struct ClassFigures {
    top1: f64,
    top5: f64,
    loss: f64,
    confusion: Vec<Vec<u32>>,
    scores: Vec<(Option<f64>, Option<f64>, Option<f64>)>,
    r#macro: [f64; 3],
    calibration: Calibrated,
    mistakes: Vec<usize>,
    confidences: Vec<f64>,
    predicted: Vec<usize>,
}

#[derive(Deserialize)]
struct LabelFigures {
    loss: f64,
    exact_match: f64,
    scores: Vec<(Option<f64>, Option<f64>, Option<f64>)>,
    areas: Vec<Option<f64>>,
    r#macro: [f64; 3],
    macro_area: f64,
    calibration: Calibrated,
    mistakes: Vec<usize>,
}

/// Equal but for the order of additions.
#[track_caller]
fn near(what: &str, got: Option<f64>, want: Option<f64>) {
    let equal = match (got, want) {
        (Some(got), Some(want)) => (got - want).abs() <= 1e-12 * want.abs().max(1.0),
        (got, want) => got.is_none() && want.is_none(),
    };
    assert!(equal, "{what}: {got:?}, by definition {want:?}");
}

fn near_all(
    got: &Evaluation,
    scores: &[(Option<f64>, Option<f64>, Option<f64>)],
    means: [f64; 3],
    want: &Calibrated,
) {
    assert_eq!(got.classes.len(), scores.len());
    for (class, (precision, recall, f1)) in got.classes.iter().zip(scores) {
        near(&format!("precision of {}", class.name), class.precision, *precision);
        near(&format!("recall of {}", class.name), class.recall, *recall);
        near(&format!("F1 of {}", class.name), class.f1, *f1);
    }
    near("macro precision", got.macro_precision, Some(means[0]));
    near("macro recall", got.macro_recall, Some(means[1]));
    near("macro F1", got.macro_f1, Some(means[2]));
    near("ECE", Some(got.calibration.ece), Some(want.ece));
    near("MCE", Some(got.calibration.mce), Some(want.mce));
    assert_eq!(got.calibration.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), want.counts);
}

#[test]
fn scores_of_classes_equal_their_definitions() {
    let folder = scratch();
    let predictor = fashion();
    let (list, labels) = class_list(folder.path());
    let dataset = open_evaluation(&list).unwrap();
    let input = folder.path().join("logits.safetensors");
    let tensors = [("logits", logits(&predictor, &*dataset)), ("targets", Tensor::from_slice(&labels))];
    Tensor::write_safetensors(&tensors, &input).unwrap();
    for bins in [15, 4] {
        let want = ask("scores_of_classes", json!({ "input": input, "bins": bins }));
        let want: ClassFigures = serde_json::from_value(want).unwrap();
        // Neither the number of workers nor the size of batches is in the figures.
        for (workers, batch_size) in [if bins == 15 { (0, 60) } else { (2, 7) }] {
            let options =
                EvaluateOptions { bins, workers, batch_size, mistakes: 10, ..EvaluateOptions::default() };
            let got = run(&predictor, &dataset, &options);
            assert_eq!((got.images, got.outputs, got.crops, &got.note), (60, Outputs::Classes, 1, &None));
            near("top-1", got.top1, Some(want.top1));
            near("top-5", got.top5, Some(want.top5));
            // The network's own batches differ in their last bits.
            assert!((got.loss - want.loss).abs() < 1e-5, "{} {}", got.loss, want.loss);
            assert_eq!(got.confusion, want.confusion);
            assert_eq!(got.mistakes.len(), 10);
            for (mistake, index) in got.mistakes.iter().zip(&want.mistakes) {
                assert_eq!(mistake.index, *index);
                assert_eq!(mistake.image, dataset.name(*index));
                assert_eq!(mistake.truth[0].0, predictor.label(labels[*index] as usize));
                assert_eq!(mistake.predicted[0].0, predictor.label(want.predicted[*index]));
                assert!((mistake.predicted[0].1 - want.confidences[*index]).abs() < 1e-5);
            }
            let loose = Evaluation { calibration: rounded(&got), ..got.clone() };
            near_all(&loose, &want.scores, want.r#macro, &Calibrated { ..want.calibration.rounded() });
            let mut text = serde_json::to_value(&got).unwrap();
            assert_eq!(text["top1"], json!(want.top1));
            assert_eq!(text["images"], 60);
            assert!(text["loss"].take().is_f64());
        }
        // The comparison is of something: some are right, some are wrong, and not all in one class.
        assert!(want.top1 > 0.3 && want.top1 < 0.8 && want.top5 < 1.0, "{} {}", want.top1, want.top5);
    }
}

/// To seven decimals: batches of other sizes give other last bits.
fn rounded(evaluation: &Evaluation) -> densenet::evaluate::Calibration {
    let mut calibration = evaluation.calibration.clone();
    calibration.ece = (calibration.ece * 1e5).round() / 1e5;
    calibration.mce = (calibration.mce * 1e5).round() / 1e5;
    calibration
}

impl Calibrated {
    fn rounded(&self) -> Calibrated {
        let round = |value: f64| (value * 1e5).round() / 1e5;
        Calibrated { ece: round(self.ece), mce: round(self.mce), counts: self.counts.clone() }
    }
}

/// The embedded weights as a network of labels, in a file.
fn label_weights(folder: &Path) -> Predictor {
    let loaded = WeightsSource::resolve("fashion_mnist").unwrap().load(Device::Cpu).unwrap();
    let file = folder.join("labels.safetensors");
    write_safetensors(&file, &loaded.network.named_tensors(), Default::default()).unwrap();
    let description = loaded.description;
    let sidecar = Sidecar {
        config: Some(description.config),
        categories: description.categories,
        transforms: description.transforms,
        outputs: Some(Outputs::Labels),
        ..Sidecar::default()
    };
    sidecar.write_beside(&file).unwrap();
    Predictor::open(file.to_str().unwrap(), Device::Cpu).unwrap()
}

#[test]
fn scores_of_labels_equal_their_definitions() {
    let folder = scratch();
    let predictor = label_weights(folder.path());
    // The labels that the list knows, in its order: by name.
    let known = ["Ankle boot", "Bag", "Coat", "Dress", "Trouser"];
    let mut lines = String::new();
    let mut targets = Vec::new();
    for (index, path) in pictures(folder.path()).iter().enumerate() {
        let class = predictor.label(label(index));
        let there: Vec<&str> = known
            .into_iter()
            .enumerate()
            .filter(|(k, name)| *name == class || (index + k) % 7 == 0)
            .map(|(_, n)| n)
            .collect();
        targets.extend(known.iter().map(|name| f32::from(u8::from(there.contains(name)))));
        lines +=
            &format!("{}\n", json!({ "path": path.file_name().unwrap().to_str().unwrap(), "labels": there }));
    }
    let list = folder.path().join("list.jsonl");
    std::fs::write(&list, lines).unwrap();
    let dataset = open_evaluation(&list).unwrap();
    assert_eq!(dataset.classes(), known);
    let outputs: Vec<i64> = known
        .iter()
        .map(|name| predictor.categories().iter().position(|c| c == name).unwrap() as i64)
        .collect();
    let all = logits(&predictor, &*dataset);
    let columns = all.index_select(1, &Tensor::from_slice(&outputs)).contiguous();
    let input = folder.path().join("logits.safetensors");
    let targets = Tensor::from_slice(&targets).view([60, 5]);
    Tensor::write_safetensors(&[("logits", &columns), ("targets", &targets)], &input).unwrap();
    let want: LabelFigures =
        serde_json::from_value(ask("scores_of_labels", json!({ "input": input, "bins": 15 }))).unwrap();
    // One batch, as above, so that the last bits agree.
    let options = EvaluateOptions { batch_size: 60, ..EvaluateOptions::default() };
    let got = run(&predictor, &dataset, &options);
    assert_eq!((got.images, got.outputs, got.top1, got.top5), (60, Outputs::Labels, None, None));
    near("loss", Some(got.loss), Some(want.loss));
    near("exact match", got.exact_match, Some(want.exact_match));
    near("macro AUROC", got.macro_auroc, Some(want.macro_area));
    for (class, area) in got.classes.iter().zip(&want.areas) {
        near(&format!("AUROC of {}", class.name), class.auroc, *area);
    }
    near_all(&got, &want.scores, want.r#macro, &want.calibration);
    let mistakes: Vec<usize> = got.mistakes.iter().map(|mistake| mistake.index).collect();
    assert_eq!(mistakes, want.mistakes[..mistakes.len()]);
    assert!(!mistakes.is_empty() && got.exact_match > Some(0.0));

    // One class a picture will do for a network of labels.
    let (list, labels) = class_list(folder.path());
    let single = run(&predictor, &open_evaluation(list).unwrap(), &options);
    let boots = single.classes.iter().find(|class| class.name == "Ankle boot").unwrap();
    assert_eq!(boots.images, labels.iter().filter(|class| **class == 9).count());
}

#[test]
fn ten_crops_equal_torchvisions_to_the_bit_and_their_logits_are_averaged() {
    let folder = scratch();
    let (list, labels) = class_list(folder.path());
    let dataset = open_evaluation(list).unwrap();
    let predictor = fashion();
    let (mean, std) = (vec![0.286], vec![0.353]);
    let preset = ImageClassification {
        resize_size: Some(33),
        crop_size: Some(28),
        mean,
        std,
        channels: 1,
        ..ImageClassification::default()
    };
    let names: Vec<String> = (0..60).map(|index| format!("{index:03}.png")).collect();
    let output = folder.path().join("crops.safetensors");
    let question = json!({ "folder": folder.path(), "names": names, "preset": preset, "output": output });
    ask("torchvision_ten_crops", question);
    let want = read_safetensors(output);
    let mut averaged = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let got = preset.ten_crops(&dataset.picture(index).unwrap()).unwrap();
        assert_same_bits(name, &got, &want[name]);
        averaged.push(predictor.predict_tensor(&want[name]).unwrap().mean_dim(
            [0].as_slice(),
            false,
            tch::Kind::Double,
        ));
    }
    let averaged = Tensor::stack(&averaged, 0);
    let loss = averaged.cross_entropy_loss::<Tensor>(
        &Tensor::from_slice(&labels),
        None,
        tch::Reduction::Mean,
        -100,
        0.0,
    );
    let options =
        EvaluateOptions { ten_crop: true, transforms: Some(preset.clone()), ..EvaluateOptions::default() };
    let got = run(&predictor, &dataset, &options);
    assert_eq!((got.crops, got.images), (10, 60));
    assert!((got.loss - loss.double_value(&[])).abs() < 1e-5, "{} {loss}", got.loss);
    let once = EvaluateOptions { ten_crop: false, ..options };
    assert!((run(&predictor, &dataset, &once).loss - got.loss).abs() > 1e-3);

    let photograph = RgbImage::new(40, 20);
    let whole = ImageClassification { crop_size: None, ..preset.clone() };
    assert!(whole.ten_crops(&photograph).unwrap_err().to_string().contains("ten crops need one"));
    let small = ImageClassification { resize_size: None, ..preset };
    assert!(small.ten_crops(&photograph).unwrap_err().to_string().contains("does not lie within"));
}

/// A list of two pictures with those labels.
fn two(folder: &Path, labels: [&str; 2]) -> Arc<dyn Dataset> {
    let lines = format!("path,label\nbag_1.png,{}\ncoat_1.png,{}\n", labels[0], labels[1]);
    for name in ["bag_1.png", "coat_1.png"] {
        std::fs::copy(Path::new(PICTURES).join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("two.csv"), lines).unwrap();
    open_evaluation(folder.join("two.csv")).unwrap()
}
