//! Files that cannot be used: each error says why, and the way out.

use super::*;
use densenet::checkpoint::{self, Hint, NameOptions};

#[test]
fn what_cannot_be_used_is_refused_with_the_reason_and_the_way_out() {
    let folder = scratch();
    let cases = ask("wild_refusals", json!({ "folder": folder.path() }));
    for case in cases.as_array().unwrap() {
        let name = text(&case[0]);
        match file(text(&case[1])).load(Device::Cpu) {
            Ok(_) => panic!("{name} loaded"),
            Err(error) => {
                let error = error.to_string();
                for words in case[2].as_array().unwrap() {
                    assert!(error.contains(text(words)), "{name}: {words} in {error}");
                }
                assert!(error.contains(text(&case[1])), "{name}: the error names the file: {error}");
            }
        }
    }
}

/// Zeros under some names with some shapes.
fn zeros(tensors: &[(String, Vec<i64>)]) -> StateDict {
    let one = tch::Tensor::zeros([1], (Kind::Float, Device::Cpu)).squeeze();
    StateDict::from_tensors(tensors.iter().map(|(name, shape)| (name.clone(), one.expand(shape, false))))
}

fn hints(tensors: &[(String, Vec<i64>)]) -> (Vec<Hint>, String) {
    let dict = zeros(tensors);
    let normalized = checkpoint::normalize(&dict, &NameOptions::default()).unwrap();
    match checkpoint::infer(&normalized).unwrap_err() {
        error @ checkpoint::CheckpointError::NotDenseNet { .. } => {
            let words = error.to_string();
            let checkpoint::CheckpointError::NotDenseNet { hints, .. } = error else { unreachable!() };
            (hints, words)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn unknown_names_are_told_the_nearest_family_and_the_network_their_shapes_are() {
    // densenet169 under names that nobody uses.
    let names = ask("loading_names", json!({"config": {"block_config": [6, 12, 32, 32]}}));
    let odd: Vec<(String, Vec<i64>)> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let shape = entry[1].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
            let name = text(&entry[0]).replace("features.", "trunk-").replace("denseblock", "part");
            (name, shape)
        })
        .collect();
    let (found, words) = hints(&odd);
    assert!(found
        .iter()
        .any(|hint| matches!(hint, Hint::LikeNetwork { network, .. } if network == "densenet169")));
    assert!(words.contains("densenet169") && words.contains("--rename"), "{words}");

    let (found, words) = hints(&[("dense_1.0.bn1.weight".to_string(), vec![4])]);
    assert!(matches!(&found[..], [Hint::LikeFamily { rule, .. }] if rule == "R6.norm"), "{found:?}");
    assert!(words.contains("dense_1.0.bn1.weight is near dense1.0.bn1.weight"), "{words}");
}

#[test]
fn a_file_of_another_network_is_told_by_name() {
    let all = |blocks: [i64; 4]| -> Vec<(String, Vec<i64>)> {
        let names = ask("loading_names", json!({"config": {"block_config": blocks}}));
        let entry = |entry: &Value| {
            let shape = entry[1].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
            (text(&entry[0]).to_string(), shape)
        };
        names.as_array().unwrap().iter().map(entry).collect()
    };
    let targets: Vec<(String, tch::Tensor)> = all([6, 12, 24, 16])
        .into_iter()
        .map(|(name, shape)| (name, tch::Tensor::zeros(&shape, (Kind::Float, Device::Cpu))))
        .collect();
    let error = checkpoint::load(&targets, &zeros(&all([6, 12, 48, 32])), &Default::default()).unwrap_err();
    assert!(error.to_string().contains("the file holds densenet201: build that network"), "{error}");
}
