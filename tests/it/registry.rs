//! The registry against what the installed torchvision declares, and against the networks themselves.

use crate::oracle::ask;
use densenet::measure::work::multiply_adds;
use densenet::tch::{nn, Device};
use densenet::transforms::ImageClassification;
use densenet::weights::{Weights, WeightsError, WeightsSource};
use densenet::{Arch, DenseNet};
use serde_json::{json, Value};

#[test]
fn the_official_entries_are_torchvisions_field_by_field() {
    let declared = ask("declared_weights", json!({}));
    let declared = declared.as_array().unwrap();
    let official: Vec<Weights> =
        Weights::ALL.into_iter().filter(|weights| weights.entry().torchvision.is_some()).collect();
    assert_eq!(official.len(), declared.len(), "torchvision has no weights that are missing here");
    for (weights, theirs) in official.into_iter().zip(declared) {
        let (entry, meta) = (weights.entry(), &theirs["meta"]);
        assert_eq!(json!(entry.arch), theirs["arch"]);
        assert_eq!(json!(entry.torchvision), theirs["torchvision"]);
        assert_eq!(json!(weights.url()), theirs["url"]);
        let file = entry.files().next().unwrap();
        assert_eq!(file.split(['-', '.']).nth(1), theirs["hash"].as_str());
        assert_eq!(json!(entry.num_params), meta["num_params"]);
        assert_eq!(meta["num_params"], theirs["parameters"], "torchvision's own count");
        assert_eq!(json!(entry.gflops), meta["_ops"]);
        assert_eq!(json!(entry.file_size_mib), meta["_file_size"]);
        assert_eq!(json!(entry.metrics), meta["_metrics"]);
        assert_eq!(json!(entry.min_size), meta["min_size"]);
        assert_eq!(json!(weights.categories()), meta["categories"]);
        assert_eq!(json!(entry.recipe), meta["recipe"]);
        assert_eq!(json!(entry.docs), meta["_docs"]);
        // Nothing of torchvision's is left out.
        let known =
            ["num_params", "_ops", "_file_size", "_metrics", "min_size", "categories", "recipe", "_docs"];
        let unknown: Vec<_> =
            meta.as_object().unwrap().keys().filter(|key| !known.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");

        // What torchvision's preset cannot do is at its default; all else is equal.
        let mut transforms = serde_json::to_value(ImageClassification::default()).unwrap();
        for (name, value) in theirs["transforms"].as_object().unwrap() {
            assert!(
                transforms.as_object_mut().unwrap().insert(name.clone(), value.clone()).is_some(),
                "{name}"
            );
        }
        assert_eq!(serde_json::to_value(weights.transforms()).unwrap(), transforms);

        // torchvision's names mean the same here.
        let name = theirs["torchvision"].as_str().unwrap();
        assert_eq!(name.parse::<Weights>().unwrap(), weights);
        let arch: Arch = theirs["arch"].as_str().unwrap().parse().unwrap();
        assert_eq!(Weights::for_arch(arch, name.split('.').nth(1).unwrap()).unwrap(), weights);
        assert_eq!(Weights::for_arch(arch, "DEFAULT").unwrap() == weights, theirs["is_default"] == true);
    }
}

#[test]
fn parameters_multiply_adds_smallest_input_and_classes_are_those_of_the_network() {
    for weights in Weights::ALL {
        let (entry, sidecar) = (weights.entry(), weights.sidecar());
        let config = sidecar.config.expect("every entry has a configuration");
        assert_eq!(config.arch(), entry.arch, "{weights}");
        let vs = nn::VarStore::new(Device::Cpu);
        let network = DenseNet::with_init(&vs.root(), &config, densenet::model::Init::Empty).unwrap();
        assert_eq!(network.num_parameters() as u64, entry.num_params, "{weights}");
        assert_eq!(entry.min_size, [config.min_input_size(); 2], "{weights}");
        assert_eq!(weights.categories().len() as i64, config.num_classes, "{weights}");
        let transforms = weights.transforms();
        assert_eq!(i64::from(transforms.channels), config.in_channels);
        let side = i64::from(transforms.crop_size.unwrap());
        let giga = (multiply_adds(&network, [side; 2]) as f64 / 1e6).round() / 1e3;
        assert_eq!(giga, entry.gflops, "{weights}");
    }
}

#[test]
fn the_embedded_entry_says_what_its_sidecar_says() {
    let weights = Weights::FashionMnist;
    assert!(weights.is_embedded() && weights.url().is_none());
    let text = include_str!("../../weights/fashion_mnist.json");
    let sidecar: Value = serde_json::from_str(text).unwrap();
    assert_eq!(json!(weights.categories()), sidecar["categories"]);
    let top1 = sidecar["metrics"]["test_top1"].as_f64().unwrap();
    assert!((weights.metrics()["Fashion-MNIST"].acc1 - 100.0 * top1).abs() < 1e-9);
    let file = include_bytes!("../../weights/fashion_mnist.safetensors").len() as f64 / f64::from(1 << 20);
    assert_eq!((file * 1e3).round() / 1e3, weights.entry().file_size_mib);
}

#[test]
fn what_is_typed_for_weights_resolves_once_and_other_architectures_are_refused_unfetched() {
    let registry = |text: &str, arch| WeightsSource::resolve_for(text, arch).unwrap();
    let densenet201 = WeightsSource::Registry(Weights::DenseNet201ImageNet1kV1);
    for text in ["densenet201.imagenet1k_v1", "DenseNet201_Weights.IMAGENET1K_V1", "densenet201.DEFAULT"] {
        assert_eq!(registry(text, None), densenet201);
        assert_eq!(registry(text, Some(Arch::DenseNet201)), densenet201);
        let error = WeightsSource::resolve_for(text, Some(Arch::DenseNet121)).unwrap_err();
        assert!(matches!(error, WeightsError::OtherArch { .. }), "{error}");
    }
    for tag in ["imagenet1k_v1", "IMAGENET1K_V1", "DEFAULT"] {
        assert_eq!(registry(tag, Some(Arch::DenseNet201)), densenet201);
        let error = WeightsSource::resolve(tag).unwrap_err().to_string();
        assert!(error.contains(&format!("densenet121.{tag}")), "{error}");
    }
    let error = WeightsSource::resolve("densenet.imagenet1k_v1").unwrap_err().to_string();
    assert!(error.contains("the nearest first: densenet121.imagenet1k_v1"), "{error}");
}
