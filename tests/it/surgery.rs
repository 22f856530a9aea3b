//! The network's public surface that torchvision has no twin for: surgery, paths, errors.

use crate::support::{assert_same_bits, seed, small_network};
use densenet::model::{Cifar, Init, ModelError, Stem};
use densenet::{Arch, DenseNet, DenseNetConfig};
use std::panic::{catch_unwind, AssertUnwindSafe};
use tch::nn::ModuleT;
use tch::{nn, no_grad, Device, Kind, Tensor};

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

fn small() -> DenseNetConfig {
    small_network(&[2, 3, 2], 10)
}

fn drawn(config: &DenseNetConfig) -> (nn::VarStore, DenseNet) {
    let _guard = seed(0);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), config).expect("a network");
    (vs, network)
}

fn picture(shape: [i64; 4]) -> Tensor {
    Tensor::arange(shape.iter().product::<i64>(), F32).sin().reshape(shape)
}

fn message(network: &DenseNet, xs: &Tensor) -> String {
    network.try_forward(xs, false).expect_err("an error").to_string()
}

#[test]
fn features_then_head_is_forward_and_changes_nothing_it_was_given() {
    let (_vs, network) = drawn(&small());
    let xs = picture([2, 3, 40, 48]);
    no_grad(|| {
        let features = network.forward_features(&xs, false).unwrap();
        let kept = features.copy();
        assert!(features.min().double_value(&[]) < 0.0, "the last ReLU must have something to do");
        let logits = network.forward_head(&features, false).unwrap();
        assert_same_bits("features after forward_head", &features, &kept);
        assert_same_bits("logits", &logits, &network.try_forward(&xs, false).unwrap());
        let pooled = network.forward_head(&features, true).unwrap();
        assert_eq!(pooled.size(), [2, network.config.num_features()]);
        let classifier = network.classifier.as_ref().unwrap();
        assert_same_bits("head", &classifier.try_forward(&pooled).unwrap(), &logits);
    });
}

#[test]
fn intermediates_have_the_announced_shapes_and_never_change() {
    for stem in Stem::ALL {
        let (_vs, network) = drawn(&DenseNetConfig { stem, ..small() });
        let xs = picture([1, 3, 64, 64]);
        let infos = network.feature_info();
        let (features, maps) = network.forward_intermediates(&xs, &[0, 1, 2, 3, -1, -4], true).unwrap();
        for (map, info) in maps.iter().zip(&infos) {
            let side = 64 / info.reduction;
            assert_eq!(map.size(), [1, info.num_chs, side, side], "{stem:?} {}", info.module);
        }
        assert_same_bits("last", &maps[3], &features);
        assert_same_bits("-1", &maps[4], &maps[3]);
        assert_same_bits("-4", &maps[5], &maps[0]);
        let kept: Vec<Tensor> = maps.iter().map(Tensor::copy).collect();
        let logits = network.forward_head(&features, false).unwrap();
        logits.sum(Kind::Float).backward();
        for ((map, kept), info) in maps.iter().zip(&kept).zip(&infos) {
            assert_same_bits(&info.module, map, kept);
        }
        let error = network.forward_intermediates(&xs, &[4], false).unwrap_err();
        assert!(error.to_string().starts_with("feature index 4: this network has 4 feature maps"), "{error}");
    }
}

#[test]
fn reset_classifier_replaces_the_head_in_network_and_store() {
    let vs = nn::VarStore::new(Device::Cpu);
    let guard = seed(0);
    let mut network = DenseNet::new(&(vs.root() / "backbone"), &small()).unwrap();
    let (named, trainable) = (vs.len(), vs.trainable_variables().len());
    network.reset_classifier(&vs, 3).unwrap();
    assert_eq!(network.config.num_classes, 3);
    assert_eq!((vs.len(), vs.trainable_variables().len()), (named, trainable));
    let weight = &vs.variables()["backbone.classifier.weight"];
    assert_eq!(weight.size(), [3, network.config.num_features()]);
    assert!(weight.requires_grad() && weight.abs().sum(Kind::Float).double_value(&[]) > 0.0);
    assert_eq!(network.try_forward(&picture([1, 3, 32, 32]), false).unwrap().size(), [1, 3]);

    network.reset_classifier(&vs, 0).unwrap();
    assert_eq!((vs.len(), vs.trainable_variables().len()), (named - 2, trainable - 2));
    let pooled = network.try_forward(&picture([1, 3, 32, 32]), false).unwrap();
    assert_eq!(pooled.size(), [1, network.config.num_features()]);

    network.reset_classifier(&vs, 5).unwrap();
    assert_eq!((vs.len(), vs.trainable_variables().len()), (named, trainable));
    assert_eq!(network.named_tensors().last().unwrap().1.size(), [5]);

    let other = nn::VarStore::new(Device::Cpu);
    let error = network.reset_classifier(&other, 4).unwrap_err();
    assert!(matches!(error, ModelError::ForeignVarStore { .. }), "{error}");
    assert!(network.reset_classifier(&vs, -1).is_err());
    assert_eq!(network.config.num_classes, 5, "a refused reset changes nothing");
    drop(guard);
}

#[test]
fn a_sub_path_prefixes_every_key_and_changes_nothing_else() {
    let _guard = seed(0);
    let (plain, nested) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
    let network = DenseNet::new(&plain.root(), &small()).unwrap();
    DenseNet::with_init(&(nested.root() / "a" / "b"), &small(), Init::Zeros).unwrap();
    let mut want: Vec<String> = network.named_tensors().into_iter().map(|(key, _)| key).collect();
    let mut got: Vec<String> = plain.variables().into_keys().collect();
    want.sort();
    got.sort();
    assert_eq!(got, want);
    let mut got: Vec<String> = nested.variables().into_keys().collect();
    got.sort();
    assert_eq!(got, want.iter().map(|key| format!("a.b.{key}")).collect::<Vec<_>>());
}

#[test]
fn a_taken_key_is_an_error_that_leaves_the_store_as_it_was() {
    let vs = nn::VarStore::new(Device::Cpu);
    let _ = (vs.root() / "classifier").zeros("bias", &[1]);
    let error = DenseNet::with_init(&vs.root(), &small(), Init::Zeros).unwrap_err();
    assert_eq!(
        error.to_string(),
        "classifier.bias already exists in this VarStore: build the network under another path"
    );
    assert_eq!(vs.len(), 1);
    DenseNet::with_init(&(vs.root() / "net"), &small(), Init::Zeros).expect("another path is free");
}

#[test]
fn wrong_inputs_are_told_what_the_network_takes() {
    let (mut vs, network) = drawn(&Arch::DenseNet121.config());
    let takes = "this network takes [N, 3, H, W], H and W at least 29";
    for shape in [vec![1, 3, 28, 29], vec![1, 3, 29, 28], vec![1, 1, 64, 64], vec![3, 64, 64], vec![64]] {
        let xs = Tensor::zeros(&shape, F32);
        assert_eq!(message(&network, &xs), format!("input is {shape:?}, {takes}"));
    }
    assert_eq!(network.try_forward(&picture([1, 3, 29, 29]), false).unwrap().size(), [1, 1000]);
    let words = message(&network, &picture([1, 3, 32, 32]).to_kind(Kind::Double));
    assert_eq!(
        words,
        "input is Double, the network's parameters are Float: convert the input with to_kind(Float)"
    );
    vs.double();
    assert!(message(&network, &picture([1, 3, 32, 32])).starts_with("input is Float, the network's"));
    let _ =
        network.try_forward(&picture([1, 3, 32, 32]).to_kind(Kind::Double), false).expect("a network in f64");
}

#[test]
fn a_single_value_per_channel_cannot_be_trained_on() {
    let (_vs, network) = drawn(&small());
    let error = network.try_forward(&picture([1, 3, 16, 16]), true).unwrap_err().to_string();
    assert!(error.starts_with("expected more than 1 value per channel when training, got"), "{error}");
    let _ = network.try_forward(&picture([2, 3, 16, 16]), true).expect("two pictures are enough");
}

#[test]
fn the_module_trait_panics_with_the_same_words() {
    let (_vs, network) = drawn(&small());
    let xs = Tensor::zeros([1, 3, 8, 8], F32);
    let panic = catch_unwind(AssertUnwindSafe(|| network.forward_t(&xs, false))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>(), Some(&message(&network, &xs)));
    let xs = picture([1, 3, 32, 32]);
    assert_same_bits("forward_t", &network.forward_t(&xs, false), &network.try_forward(&xs, false).unwrap());
}

#[test]
fn minimum_sizes_are_exactly_where_the_network_starts_to_run() {
    for stem in Stem::ALL {
        for blocks in 1..=5 {
            let config = DenseNetConfig { stem, block_config: vec![1; blocks], ..small() };
            let (_vs, network) = drawn(&config);
            let min = config.min_input_size();
            let _ = network.try_forward(&picture([1, 3, min, min]), false).expect("the minimum runs");
            if min > 1 {
                // Past our check, libtorch itself cannot pool what is left.
                let features = &network.features;
                let below = no_grad(|| {
                    let stem = features.stem.try_forward(&picture([1, 3, min - 1, min - 1]), false)?;
                    let mut xs = features.stem.try_pool(&stem)?;
                    for (block, transition) in features.blocks.iter().zip(&features.transitions) {
                        xs = transition.try_forward(&block.try_forward(&xs, false)?, false)?;
                    }
                    Ok::<_, ModelError>(xs)
                });
                let runs = below.is_ok_and(|xs| xs.size()[2] > 0);
                assert!(!runs, "{stem:?}, {blocks} blocks: {} would do", min - 1);
            }
        }
    }
}

#[test]
fn impossible_configurations_are_refused_by_field() {
    let refused = |config: DenseNetConfig| config.validate().unwrap_err().to_string();
    let base = DenseNetConfig::default;
    assert!(refused(DenseNetConfig { growth_rate: 0, ..base() }).contains("growth_rate is 0"));
    assert!(refused(DenseNetConfig { block_config: vec![], ..base() }).contains("block_config is empty"));
    assert!(refused(DenseNetConfig { block_config: vec![6, 0], ..base() }).contains("block_config is 0"));
    assert!(refused(DenseNetConfig { growth_rate: i64::MAX, ..base() }).contains("growth_rate"));
    assert!(refused(DenseNetConfig { block_config: vec![4096; 4096], compression: 1.0, ..base() })
        .contains("channels"));
    assert!(refused(DenseNetConfig { compression: f64::NAN, ..base() }).contains("compression is NaN"));
    assert!(refused(DenseNetConfig { compression: 1e-9, ..base() }).contains("without channels"));
    assert!(refused(DenseNetConfig { drop_rate: 1.5, ..base() }).contains("drop_rate is 1.5"));
    assert!(refused(DenseNetConfig { num_classes: -1, ..base() }).contains("num_classes is -1"));
    let depth = Cifar::new(41, 12).build().unwrap_err().to_string();
    assert!(depth.contains("depth is 41, must be 4 + 3·n"), "{depth}");
    assert!("densenet122".parse::<Arch>().unwrap_err().to_string().contains("densenet121"));
}
