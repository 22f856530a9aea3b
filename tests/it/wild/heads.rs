//! Files whose head is no classifier, or one of several.

use super::*;
use densenet::checkpoint::{CheckpointError, NameOptions, Rename};
use densenet::predictor::PredictError;
use densenet::weights::WeightsError;
use densenet::Predictor;

#[test]
fn backbones_are_their_authors_and_their_heads_are_left_out_with_the_reason() {
    same_threads();
    let folder = scratch();
    let cases = ask("wild_bodies", json!({ "folder": folder.path() }));
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 15, "{} cases", cases.len());
    for case in cases {
        check(case);
        if case["features"] == json!(true) {
            let source = file(text(&case["path"]));
            match Predictor::load(&source, Device::Cpu) {
                Err(PredictError::Weights(error @ WeightsError::NoClassifier { .. })) => {
                    let note = case["expect"].get("note").map_or("", text);
                    assert!(error.to_string().contains(note), "{note:?} in {error}");
                }
                other => panic!("{}: {:?}", case["name"], other.map(|_| "a predictor")),
            }
        }
    }
}

#[test]
fn one_of_several_heads_must_be_chosen_and_then_gives_its_logits() {
    same_threads();
    let folder = scratch();
    ask("wild_heads", json!({ "folder": folder.path() }));
    let source = file(folder.path().join("multitask.ckpt"));
    let error = source.load(Device::Cpu).err().expect("three heads and none chosen");
    for part in
        ["fc_disease.weight", "fc_sex.weight", "fc_race.weight", "--rename '^fc_disease\\.=>classifier.'"]
    {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let reference = read_safetensors(folder.path().join("reference"));
    for head in ["fc_disease", "fc_sex", "fc_race"] {
        let rename: Rename = format!(r"^{head}\.=>classifier.").parse().unwrap();
        let names = NameOptions { renames: vec![rename], ..NameOptions::default() };
        let options = NetworkOptions { names, ..NetworkOptions::default() };
        let loaded = source.load_with(Device::Cpu, &options).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.report.fits());
        assert_eq!(loaded.report.dropped.len(), 4, "the two other heads");
        let got = no_grad(|| loaded.network.try_forward(&reference["input"], false)).unwrap();
        assert_same_bits(head, &got, &reference[head]);
        assert_eq!(json!(loaded.description.transforms)["range"], json!([0.0, 255.0]));
    }
}

#[test]
fn the_callers_rename_may_not_make_two_tensors_one() {
    let folder = scratch();
    ask("wild_heads", json!({ "folder": folder.path() }));
    let source = file(folder.path().join("multitask.ckpt"));
    let names = NameOptions {
        renames: vec![r"^fc_[a-z]+\.=>classifier.".parse().unwrap()],
        ..NameOptions::default()
    };
    let options = NetworkOptions { names, ..NetworkOptions::default() };
    match source.load_with(Device::Cpu, &options).err() {
        Some(WeightsError::Checkpoint { source: CheckpointError::DuplicateName { name, .. }, .. }) => {
            assert_eq!(name, "classifier.weight");
        }
        other => panic!("{other:?}"),
    }
}
