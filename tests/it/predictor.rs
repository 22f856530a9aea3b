//! Weights by name and file, and the predictor that many threads share.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, seed, small_network};
use densenet::checkpoint::write_safetensors;
use densenet::model::{Cifar, Init};
use densenet::predictor::{PredictError, StreamOptions};
use densenet::transforms::{ImageClassification, RgbImage};
use densenet::weights::{imagenet_categories, Sidecar, Weights, WeightsError, WeightsSource};
use densenet::{transforms, Arch, DenseNet, DenseNetConfig, Predictor};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tch::{nn, Device, Kind, Tensor};

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images");

/// Every architecture and three CIFAR networks.
fn networks() -> Vec<(String, DenseNetConfig)> {
    let mut networks: Vec<_> = Arch::ALL.into_iter().map(|arch| (arch.to_string(), arch.config())).collect();
    networks.push(("plain 40-12".into(), Cifar::new(40, 12).build().unwrap()));
    networks.push(("bc 100-12".into(), Cifar::new(100, 12).bc().build().unwrap()));
    networks
        .push(("c 40-12, gray".into(), Cifar::new(40, 12).compression(0.6).in_channels(1).build().unwrap()));
    networks
}

fn shipped_pictures() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(PICTURES).unwrap().map(|entry| entry.unwrap().path());
    let mut pictures: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "png")).collect();
    pictures.sort();
    assert!(pictures.len() >= 20);
    pictures
}

#[test]
fn official_style_files_of_every_network_load_and_give_torchs_logits_to_the_bit() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
    let folder = scratch();
    let (file, reference) = (folder.path().join("net.pth"), folder.path().join("ref.safetensors"));
    for (name, config) in networks() {
        let side = if config.num_classes == 1000 { 64 } else { 32 };
        let shape = [2, config.in_channels, side, side];
        let request = json!({ "config": config, "seed": 9, "shape": shape, "checkpoint": file, "reference": reference });
        ask("official_file", request);
        let loaded = WeightsSource::File(file.clone()).load(Device::Cpu).unwrap();
        let inferred = DenseNetConfig { dropout: config.dropout, ..loaded.network.config.clone() };
        assert_eq!(inferred, config, "{name}: configuration from the file alone");
        assert_eq!(loaded.report.missing, Vec::<String>::new(), "{name}");
        let want = read_safetensors(&reference);
        let logits = tch::no_grad(|| loaded.network.try_forward(&want["input"], false).unwrap());
        assert_same_bits(&format!("{name}: logits"), &logits, &want["logits"]);
        let report = densenet::parity::evaluation(
            &loaded.network,
            &densenet::parity::Reference::open(&reference).unwrap(),
        );
        let report = report.unwrap();
        assert_eq!((report.max_abs, report.max_ulp, report.top1_agreement), (0.0, 0, Some(1.0)), "{name}");
        assert_eq!(report.first_difference, None, "{name}");
        for key in want.keys().filter(|key| *key != "input") {
            assert!(report.stages.iter().any(|stage| stage.name == *key), "{name}: {key} is compared");
        }
    }
}

#[test]
fn the_embedded_network_is_right_about_nine_in_ten_shipped_pictures() {
    let predictor = Predictor::load(&WeightsSource::Registry(Weights::FashionMnist), Device::Cpu).unwrap();
    let slug = |label: &str| {
        let words: Vec<_> =
            label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        words.join("_").to_lowercase()
    };
    let pictures = shipped_pictures();
    let right = pictures.iter().filter(|path| {
        let best = &predictor.predict(&[transforms::open(path).unwrap()], 1).unwrap()[0][0];
        let name = path.file_stem().unwrap().to_str().unwrap();
        name.rsplit_once('_').unwrap().0 == slug(&best.label)
    });
    let right = right.count();
    assert!(right * 10 >= pictures.len() * 9, "{right} of {}", pictures.len());
}

#[test]
fn sixteen_threads_share_one_predictor_and_get_one_threads_bits() {
    let config = small_network(&[2, 2], 7);
    let predictor = {
        let _guard = seed(2);
        let vs = nn::VarStore::new(Device::Cpu);
        let network = DenseNet::new(&vs.root(), &config).unwrap();
        Predictor::new(&network, ImageClassification::default(), Vec::new()).unwrap()
    };
    let input = |i: i64| {
        let shape = [1 + i % 3, 3, 24 + i, 40 - i];
        (Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)) * 0.37 + i)
            .sin()
            .reshape(shape)
    };
    let want: Vec<Tensor> = (0..12).map(|i| predictor.predict_tensor(&input(i)).unwrap()).collect();
    assert!(want.iter().all(|logits| !logits.requires_grad()));
    let want = std::sync::Mutex::new(want);
    let compared = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (predictor, want, compared) = (&predictor, &want, &compared);
            scope.spawn(move || {
                for round in 0..24 {
                    let i = (thread * 5 + round) % 12;
                    // Even where the caller records gradients.
                    let got = tch::with_grad(|| predictor.predict_tensor(&input(i)).unwrap());
                    assert!(!got.requires_grad());
                    assert_same_bits(&format!("thread {thread}"), &got, &want.lock().unwrap()[i as usize]);
                    compared.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(compared.load(Ordering::Relaxed), 16 * 24);
}

#[test]
fn a_predictor_keeps_its_own_copy_of_a_network() {
    let config = Cifar::new(10, 4).bc().num_classes(3).build().unwrap();
    let (vs, network) = {
        let _guard = seed(6);
        let vs = nn::VarStore::new(Device::Cpu);
        let network = DenseNet::new(&vs.root(), &config).unwrap();
        (vs, network)
    };
    let names = ["a", "b", "c"].map(str::to_string).to_vec();
    let predictor = Predictor::new(&network, ImageClassification::default(), names).unwrap();
    let input = Tensor::ones([1, 3, 16, 16], (Kind::Float, Device::Cpu));
    let before = predictor.predict_tensor(&input).unwrap();
    tch::no_grad(|| vs.trainable_variables().iter_mut().for_each(|tensor| drop(tensor.fill_(9.0))));
    assert_same_bits("logits", &predictor.predict_tensor(&input).unwrap(), &before);
    assert!(vs.trainable_variables().iter().all(Tensor::requires_grad), "the caller's network still trains");
}

#[test]
fn predict_is_transforms_then_network_then_softmax() {
    let predictor = Predictor::open("fashion_mnist", Device::Cpu).unwrap();
    let pictures: Vec<RgbImage> =
        shipped_pictures()[..4].iter().map(|path| transforms::open(path).unwrap()).collect();
    let got = predictor.predict(&pictures, 10).unwrap();
    let inputs: Vec<Tensor> = pictures.iter().map(|p| predictor.transforms().apply(p).unwrap()).collect();
    let want = predictor.predict_tensor(&Tensor::stack(&inputs, 0)).unwrap().softmax(-1, Kind::Double);
    for (row, predictions) in got.iter().enumerate() {
        assert_eq!(predictions.len(), 10);
        assert!(predictions.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
        assert!((predictions.iter().map(|best| best.probability).sum::<f64>() - 1.0).abs() < 1e-12);
        for best in predictions {
            assert_eq!(best.probability, want.double_value(&[row as i64, best.index as i64]));
            assert_eq!(best.label, predictor.categories()[best.index]);
        }
    }
    assert_eq!(predictor.predict(&[], 5).unwrap(), Vec::<Vec<_>>::new());
    assert_eq!(predictor.predict(&pictures[..1], 99).unwrap()[0].len(), 10, "no more than there are classes");
}

#[test]
fn a_stream_of_files_gives_each_its_own_result_in_order() {
    let predictor = Predictor::open("fashion_mnist", Device::Cpu).unwrap();
    let mut files = shipped_pictures();
    files.insert(3, PathBuf::from("no/such/picture.png"));
    let want: Vec<_> = files
        .iter()
        .map(|file| {
            transforms::open(file).ok().map(|picture| predictor.predict(&[picture], 1).unwrap()[0][0].index)
        })
        .collect();
    for batch_size in [1, 4, 100] {
        let options = StreamOptions { top_k: 1, batch_size, decoders: 3 };
        let mut got = Vec::new();
        predictor.predict_files(&files, &options, |(path, result)| {
            assert_eq!(path, files[got.len()]);
            got.push(result.ok().map(|best| best[0].index));
            true
        });
        assert_eq!(got, want, "batch size {batch_size}");
    }
    let mut seen = 0;
    predictor.predict_files(&files, &StreamOptions::default(), |_| {
        seen += 1;
        seen < 5
    });
    assert_eq!(seen, 5, "stopped when told");
}

fn small_file(folder: &Path, config: &DenseNetConfig) -> PathBuf {
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::with_init(&vs.root(), config, Init::Zeros).unwrap();
    let path = folder.join("small.safetensors");
    write_safetensors(&path, &network.named_tensors(), Default::default()).unwrap();
    path
}

#[test]
fn sidecars_are_read_checked_and_named_in_errors() {
    let folder = scratch();
    let config = Cifar::new(10, 4).bc().num_classes(2).drop_rate(0.3).build().unwrap();
    let path = small_file(folder.path(), &config);
    let source = WeightsSource::resolve(path.to_str().unwrap()).unwrap();
    assert_eq!(source.load(Device::Cpu).unwrap().network.config.drop_rate, 0.0, "no sidecar, nothing known");

    let sidecar = Sidecar {
        config: Some(config.clone()),
        categories: vec!["cat".into(), "dog".into()],
        transforms: Some(ImageClassification { crop_size: Some(32), ..Default::default() }),
        ..Sidecar::default()
    };
    sidecar.write_beside(&path).unwrap();
    assert_eq!(Sidecar::beside(&path).unwrap(), Some(sidecar.clone()));
    let loaded = source.load(Device::Cpu).unwrap();
    assert_eq!((loaded.network.config, loaded.description.categories), (config, sidecar.categories.clone()));
    assert_eq!(loaded.description.transforms, sidecar.transforms);

    Sidecar { categories: vec!["cat".into()], ..sidecar.clone() }.write_beside(&path).unwrap();
    let error = source.load(Device::Cpu).err().unwrap();
    assert!(matches!(error, WeightsError::CategoryCount { categories: 1, classes: 2, .. }), "{error}");

    std::fs::write(path.with_extension("json"), "{\"categoriez\": []}").unwrap();
    let error = source.load(Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("small.json") && error.contains("categoriez"), "{error}");
}

#[test]
fn a_predictor_refuses_what_it_cannot_use() {
    let folder = scratch();
    let headless = small_file(folder.path(), &Cifar::new(10, 4).num_classes(0).build().unwrap());
    let error = Predictor::open(headless.to_str().unwrap(), Device::Cpu).unwrap_err();
    assert!(
        matches!(error, PredictError::Weights(WeightsError::NoClassifier { features: 40, .. })),
        "{error}"
    );
    let gray = small_file(folder.path(), &Cifar::new(10, 4).in_channels(1).build().unwrap());
    let error = Predictor::open(gray.to_str().unwrap(), Device::Cpu).unwrap_err();
    assert!(matches!(error, PredictError::Channels { transforms: 3, network: 1 }), "{error}");
    let error = Predictor::open("imagenet22k", Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("imagenet22k") && error.contains("fashion_mnist"), "{error}");
}

#[test]
fn imagenet_class_names_are_torchvisions() {
    assert_eq!(json!(imagenet_categories()), ask("categories", json!({})));
}

#[test]
fn official_file_names_bring_imagenets_class_names() {
    let folder = scratch();
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::with_init(&vs.root(), &Arch::DenseNet121.config(), Init::Zeros).unwrap();
    for (name, categories) in [("densenet121-a639ec97.pth", 1000), ("mine.pth", 0)] {
        let path = folder.path().join(name);
        write_safetensors(&path, &network.named_tensors(), Default::default()).unwrap();
        assert_eq!(
            WeightsSource::File(path).load(Device::Cpu).unwrap().description.categories.len(),
            categories,
            "{name}"
        );
    }
}
