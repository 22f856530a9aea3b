//! Checkpoints as other authors' code saves them. Each family's network is rebuilt in PyTorch and saved in its own way; what
//! counts is that the logits are its own, and that input, outputs and origin are told.

mod heads;
mod refused;
mod settings;

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch};
use densenet::checkpoint::StateDict;
use densenet::model::Stem;
use densenet::weights::{Description, NetworkOptions, WeightsSource};
use serde_json::{json, Value};
use std::path::Path;
use tch::{no_grad, Device, Kind};

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// The same threads in both processes, so that sums are split the same way.
fn same_threads() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
}

fn file(path: impl AsRef<Path>) -> WeightsSource {
    WeightsSource::resolve(path.as_ref().to_str().expect("a path")).expect("an existing file")
}

/// Panics unless the file makes the network that the case's outputs came from.
fn check(case: &Value) {
    let name = text(&case["name"]);
    let fail = |what: &str, error: &dyn std::fmt::Display| -> ! { panic!("{name}: {what}: {error}") };
    let source = file(text(&case["path"]));
    let expect = case["expect"].as_object().expect("expectations");
    let stem = expect.get("ask_stem").map(|stem| text(stem).parse::<Stem>().unwrap());
    let options = NetworkOptions { stem, ..NetworkOptions::default() };
    let dict = source.open_with(&options).unwrap_or_else(|error| fail("opening", &error));
    let loaded = source.load_with(Device::Cpu, &options).unwrap_or_else(|error| fail("loading", &error));
    assert!(loaded.report.fits(), "{name}: {}", loaded.report);

    let tensors = read_safetensors(text(&case["reference"]));
    let want = &tensors["output"];
    let got = no_grad(|| match case["features"].as_bool() {
        Some(true) => loaded.network.forward_features(&tensors["input"], false),
        _ => loaded.network.try_forward(&tensors["input"], false),
    })
    .unwrap_or_else(|error| fail("running", &error));
    let got = match text(&case["after"]) {
        "" => got,
        "sigmoid" => got.sigmoid(),
        "log_softmax" => got.log_softmax(-1, Kind::Float),
        other => panic!("{other}"),
    };
    let spread = f64::try_from(want.max() - want.min()).unwrap();
    assert!(spread > 1e-3, "{name}: outputs of {spread} tell nothing");
    match case["tolerance"].as_f64() {
        Some(tolerance) if tolerance > 0.0 => {
            assert_eq!(got.size(), want.size(), "{name}");
            let scale = f64::try_from(want.abs().max()).unwrap();
            let away = f64::try_from((&got - want).abs().max()).unwrap() / scale;
            assert!(away <= tolerance, "{name}: relative difference {away:e}");
        }
        _ => assert_same_bits(name, &got, want),
    }
    check_description(name, expect, &dict, &loaded.description, &json!(loaded.report));
}

fn check_description(
    name: &str,
    expect: &serde_json::Map<String, Value>,
    dict: &StateDict,
    description: &Description,
    report: &Value,
) {
    let list = |key: &str| json!(report[key]);
    let count =
        |of: &dyn Fn(&String) -> bool| json!(description.categories.iter().filter(|name| of(name)).count());
    for (key, want) in expect {
        let what = format!("{name}: {key}");
        match key.as_str() {
            "origin" => assert_eq!(&json!(description.origin), want, "{what}"),
            "prefix" => assert_eq!(&report["stripped_prefix"], want, "{what}"),
            "format" => assert_eq!(&json!(dict.format), want, "{what}"),
            "root" => assert_eq!(&json!(dict.root), want, "{what}"),
            "rules" => assert_eq!(&list("rules"), want, "{what}"),
            "counters" => assert_eq!(&report["counters_kept"], want, "{what}"),
            "outputs" => assert_eq!(&json!(description.outputs), want, "{what}"),
            "stem" => assert_eq!(&json!(description.config.stem), want, "{what}"),
            "labels" => assert_eq!(&count(&|_| true), want, "{what}"),
            "trained" => assert_eq!(&count(&|name| !name.is_empty()), want, "{what}"),
            "some_labels" => {
                for label in want.as_array().unwrap() {
                    assert!(description.categories.iter().any(|name| name == text(label)), "{what}: {label}");
                }
            }
            "foreign" => {
                assert!(
                    dict.foreign_globals.iter().any(|global| global == text(want)),
                    "{what}: {:?}",
                    dict.foreign_globals
                )
            }
            "note" => assert!(
                description.notes.iter().any(|note| note.contains(text(want))),
                "{what}: {:?}",
                description.notes
            ),
            "dropped" => {
                let dropped = report["dropped"].as_array().unwrap();
                assert!(
                    dropped.iter().any(|dropped| text(&dropped["reason"]).contains(text(want))),
                    "{what}: {dropped:?}"
                )
            }
            "beside" => {
                for (key, value) in want.as_object().unwrap() {
                    assert!(
                        dict.beside.contains(&(key.clone(), text(value).to_string())),
                        "{what}: {:?}",
                        dict.beside
                    );
                }
            }
            "preset" => match want {
                Value::Null => assert_eq!(description.transforms, None, "{what}"),
                _ => {
                    let got = json!(description.transforms);
                    for (field, want) in want.as_object().unwrap() {
                        assert!(
                            same_numbers(&got[field], want),
                            "{what}.{field}: {} instead of {want}",
                            got[field]
                        );
                    }
                }
            },
            "ask_stem" => {}
            other => panic!("{name}: nobody checks {other}"),
        }
    }
}

/// 0 and 0.0 are the same here.
fn same_numbers(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Array(got), Value::Array(want)) => {
            got.len() == want.len() && got.iter().zip(want).all(|(got, want)| same_numbers(got, want))
        }
        (Value::Number(got), Value::Number(want)) => got.as_f64() == want.as_f64(),
        _ => got == want,
    }
}

#[test]
fn every_familys_logits_are_its_own() {
    same_threads();
    let folder = scratch();
    let cases = ask("wild_cases", json!({ "folder": folder.path() }));
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 50, "{} cases", cases.len());
    for case in cases {
        check(case);
    }
}
