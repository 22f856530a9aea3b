//! State dicts that fit, or are made to.

use super::*;
use densenet::checkpoint::{load, Head, LoadOptions, Rename};

fn loaded(targets: &Named, source: &Named) -> densenet::checkpoint::LoadReport {
    load(targets, &dict(source), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_state_dict_loads_to_the_bit_and_targets_stay_what_they_are() {
    let (targets, source) = (targets(), random_state(1, 7));
    let places: Vec<_> = targets.iter().map(|(_, tensor)| tensor.data_ptr()).collect();
    let report = loaded(&targets, &source);
    assert_same_tensors(&targets, &source);
    assert!(report.fits());
    assert_eq!((report.loaded, report.renamed, report.counters_kept), (source.len(), 0, 0));
    for (((name, tensor), place), (.., parameter)) in targets.iter().zip(places).zip(blueprint(&small())) {
        assert_eq!(tensor.data_ptr(), place, "{name}");
        assert_eq!(tensor.requires_grad(), parameter, "{name}");
        assert!(tensor.is_leaf(), "{name}");
    }
}

#[test]
fn the_order_of_the_file_does_not_matter() {
    let (targets, source) = (targets(), random_state(2, 7));
    let reversed: Named = copies(&source).into_iter().rev().collect();
    loaded(&targets, &reversed);
    assert_same_tensors(&targets, &source);
}

#[test]
fn old_names_without_counters_load_as_torchvisions_own_loader_loads_them() {
    let (targets, source) = (targets(), renamed(&random_state(3, 7), old_name));
    assert!(source.iter().any(|(name, _)| name.contains("denselayer1.norm.1.weight")));
    let (want, refusal) = torch_loads("loading_old_names", &targets, &source);
    assert_eq!(refusal, None);
    let report = loaded(&targets, &source);
    for (name, tensor) in &targets {
        assert_same_bits(name, tensor, &want[name]);
    }
    assert_eq!(report.rules, ["R1"]);
    assert_eq!(report.loaded + report.counters_kept, targets.len());
    assert!(report.counters_kept > 10);
}

#[test]
fn old_names_with_counters_load_too() {
    let (targets, source) = (targets(), random_state(4, 7));
    loaded(&targets, &renamed(&source, |name| Some(dotted(name))));
    assert_same_tensors(&targets, &source);
}

#[test]
fn missing_counters_keep_their_values_as_in_torch() {
    let before = targets();
    let source = renamed(&random_state(5, 7), |name| (!name.ends_with("tracked")).then(|| name.to_string()));
    let (want, refusal) = torch_loads("loading_strict", &before, &source);
    assert_eq!(refusal, None);
    loaded(&before, &source);
    for (name, tensor) in &before {
        assert_same_bits(name, tensor, &want[name]);
    }
    let counters: Vec<_> = before.iter().filter(|(name, _)| name.ends_with("tracked")).collect();
    assert!(counters.iter().all(|(_, counter)| counter.int64_value(&[]) >= 1000));
}

#[test]
fn counters_of_shape_1_load_as_in_torch() {
    let (targets, mut source) = (targets(), random_state(6, 7));
    for (_, tensor) in source.iter_mut().filter(|(name, _)| name.ends_with("tracked")) {
        *tensor = tensor.reshape([1]);
    }
    let (want, refusal) = torch_loads("loading_strict", &targets, &source);
    assert_eq!(refusal, None);
    loaded(&targets, &source);
    for (name, tensor) in &targets {
        assert_same_bits(name, tensor, &want[name]);
    }
}

#[test]
fn every_prefix_is_taken_off_whatever_the_targets_are_called() {
    let source = random_state(7, 7);
    let prefixes = [
        "",
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "network.",
        "backbone.",
        "encoder.",
        "densenet.",
        "densenet121.",
        "densenet169.",
        "timm_model.",
        "base_model.",
        "feature_extractor.",
        "student.",
        "module.encoder.",
        "module.densenet121.",
        "_orig_mod.module.model.backbone.",
    ];
    for file_prefix in prefixes {
        let source_renamed = renamed(&source, |name| Some(format!("{file_prefix}{}", dotted(name))));
        for target_prefix in ["", "backbone.", "a.b."] {
            let targets = renamed(&targets(), |name| Some(format!("{target_prefix}{name}")));
            let report = loaded(&targets, &source_renamed);
            assert_eq!(report.stripped_prefix.as_deref().unwrap_or_default(), file_prefix);
            for ((name, got), (_, want)) in targets.iter().zip(&source) {
                assert_same_bits(name, got, want);
            }
        }
    }
}

#[test]
fn monai_and_gpleiss_names_load() {
    let source = random_state(8, 7);
    let monai = |name: &str| {
        let name = name.replace(".norm1.", ".layers.norm1.").replace(".norm2.", ".layers.norm2.");
        let name = name.replace(".conv1.", ".layers.conv1.").replace(".conv2.", ".layers.conv2.");
        Some(name.replace("classifier.", "class_layers.out."))
    };
    let gpleiss = |name: &str| Some(dotted(name).replace("norm5", "norm_final"));
    for (source_renamed, rules) in
        [(renamed(&source, monai), ["R2", "R3"]), (renamed(&source, gpleiss), ["R1", "R4"])]
    {
        let targets = targets();
        let report = loaded(&targets, &source_renamed);
        assert_same_tensors(&targets, &source);
        assert_eq!(report.rules, rules);
    }
}

#[test]
fn a_head_of_another_name_loads_where_only_one_matrix_fits() {
    let source = random_state(9, 7);
    for head in ["fc", "last_linear", "head", "classifier.0", "classifier.1"] {
        let targets = targets();
        let report = loaded(&targets, &renamed(&source, |name| Some(name.replace("classifier", head))));
        assert_same_tensors(&targets, &source);
        // What may follow the first of several modules, a state dict does not say.
        let rules: &[&str] = if head == "classifier.0" { &["R12", "maybe-sigmoid"] } else { &["R12"] };
        assert_eq!(report.rules, rules);
        assert_eq!(report.renamed, 2);
    }
}

#[test]
fn conversions_are_torchs_to_the_bit() {
    let special = [
        0.0,
        -0.0,
        1.0 / 3.0,
        65504.0,
        65520.0,
        1e-8,
        -6e-5,
        3e38,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        1.0 + 1.0 / 1024.0 / 2.0,
        0.1,
        -2.5,
        1e-310,
    ];
    let kinds = [
        ("float16", Kind::Half),
        ("bfloat16", Kind::BFloat16),
        ("float32", Kind::Float),
        ("float64", Kind::Double),
    ];
    let folder = scratch();
    for (from_name, from) in kinds {
        let source: Named =
            vec![("features.norm5.weight".into(), Tensor::from_slice(&special).to_kind(from))];
        write(&source, &folder.path().join("source"));
        for (to_name, to) in kinds {
            let path = folder.path().join(format!("{from_name}-{to_name}"));
            ask(
                "loading_convert",
                json!({"source": folder.path().join("source"), "path": path, "dtype": to_name}),
            );
            let target = Tensor::zeros([16], (to, Device::Cpu));
            loaded(&vec![("features.norm5.weight".into(), target.shallow_clone())], &source);
            assert_same_bits(
                &format!("{from_name} to {to_name}"),
                &target,
                &read_safetensors(&path)["features.norm5.weight"],
            );
        }
    }
}

#[test]
fn strided_sources_and_targets_are_copied_element_for_element() {
    let (mut targets, source) = (targets(), random_state(10, 7));
    let strided: Named = copies(&source)
        .into_iter()
        .map(|(name, tensor)| match tensor.dim() {
            4 => (name, tensor.permute([3, 2, 1, 0]).contiguous().permute([3, 2, 1, 0])),
            _ => (name, tensor),
        })
        .collect();
    for (_, tensor) in targets.iter_mut().filter(|(_, tensor)| tensor.dim() == 4) {
        *tensor = Tensor::zeros(tensor.size(), (Kind::Float, Device::Cpu)).to_channels_last();
    }
    loaded(&targets, &strided);
    for ((name, got), (_, want)) in targets.iter().zip(&source) {
        assert_same_bits(name, &got.contiguous(), want);
    }
}

/// The layout a channels-last network's convolutions have.
trait ChannelsLast {
    fn to_channels_last(&self) -> Tensor;
}

impl ChannelsLast for Tensor {
    fn to_channels_last(&self) -> Tensor {
        self.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    }
}

#[test]
fn nan_and_infinity_are_values_like_others() {
    let (targets, mut source) = (targets(), random_state(11, 7));
    for (_, tensor) in source.iter_mut().filter(|(name, _)| name.ends_with("running_var")) {
        *tensor = tensor.full_like(f64::NAN);
    }
    loaded(&targets, &source);
    assert_same_tensors(&targets, &source);
}

#[test]
fn the_backbone_alone_loads_whatever_the_head_is() {
    let source = random_state(12, 7);
    let heads: [&[(&str, &[i64])]; 5] = [
        &[("classifier.weight", &[1000, 20]), ("classifier.bias", &[1000])],
        &[("classifier.0.weight", &[64, 20]), ("classifier.2.weight", &[5, 64])],
        &[("fc_disease.weight", &[5, 20]), ("fc_sex.weight", &[2, 20])],
        &[("attention_map.conv.weight", &[1, 22, 1, 1])],
        &[],
    ];
    for head in heads {
        let mut headless =
            renamed(&source, |name| (!name.starts_with("classifier")).then(|| name.to_string()));
        headless.extend(
            head.iter()
                .map(|(name, shape)| (name.to_string(), Tensor::zeros(*shape, (Kind::Float, Device::Cpu)))),
        );
        let targets = targets();
        let before = copies(&targets);
        let options = LoadOptions { head: Head::Skip, ..LoadOptions::default() };
        let report = load(&targets, &dict(&headless), &options).unwrap();
        assert_eq!(report.skipped.len(), head.len());
        assert_eq!(report.loaded, targets.len() - 2);
        for (((name, got), (_, before)), (_, want)) in targets.iter().zip(&before).zip(&source) {
            assert_same_bits(name, got, if name.starts_with("classifier") { before } else { want });
        }
    }
}

#[test]
fn a_network_inside_a_bigger_store_is_filled_alone() {
    let source = random_state(13, 7);
    let mut bigger = renamed(&targets(), |name| Some(format!("net.backbone.{name}")));
    let others: Named = ["classifier.weight", "decoder.features.0.weight", "net.scale"]
        .map(|name| (name.to_string(), Tensor::ones([5, 20], (Kind::Float, Device::Cpu))))
        .into();
    bigger.extend(copies(&others));
    let options = LoadOptions { strict: false, ..LoadOptions::default() };
    let report = load(&bigger, &dict(&source), &options).unwrap();
    assert_eq!(report.missing, ["classifier.weight", "decoder.features.0.weight", "net.scale"]);
    for ((name, got), (_, want)) in bigger.iter().zip(source.iter().chain(&others)) {
        assert_same_bits(name, got, want);
    }
}

#[test]
fn a_store_with_two_networks_loads_its_own_names_unchanged() {
    let (first, second) = (random_state(14, 7), random_state(15, 7));
    let both = |a: &Named, b: &Named| -> Named {
        let mut all = renamed(a, |name| Some(format!("student.{name}")));
        all.extend(renamed(b, |name| Some(format!("teacher.{name}"))));
        all
    };
    let (targets, source) = (both(&targets(), &targets()), both(&first, &second));
    let report = loaded(&targets, &source);
    assert_same_tensors(&targets, &source);
    assert_eq!(report.stripped_prefix, None);

    let chosen = super::targets();
    let mut options = LoadOptions::default();
    options.names.prefix = Some("teacher".to_string());
    load(&chosen, &dict(&source), &options).unwrap();
    assert_same_tensors(&chosen, &second);
}

#[test]
fn names_equal_to_the_targets_are_never_reinterpreted() {
    // Names that rules or leftovers would catch.
    let names =
        ["queue", "loss.weight", "fc.weight", "x.denselayer1.norm.1.weight", "features.norm_final.weight"];
    let source: Named =
        names.map(|name| (name.to_string(), Tensor::ones([2], (Kind::Float, Device::Cpu)))).into();
    let targets: Named = source.iter().map(|(name, tensor)| (name.clone(), tensor.zeros_like())).collect();
    loaded(&targets, &source);
    assert_same_tensors(&targets, &source);
}

#[test]
fn not_strict_loads_what_fits_and_reports_the_rest() {
    let (targets, source) = (targets(), random_state(16, 7));
    let before = copies(&targets);
    let mut wrong = renamed(&source, |name| (!name.contains("transition1.conv")).then(|| name.to_string()));
    wrong.push(("extra.weight".into(), Tensor::zeros([3], (Kind::Float, Device::Cpu))));
    let bias = wrong.iter_mut().find(|(name, _)| name == "features.norm0.bias").unwrap();
    bias.1 = Tensor::zeros([9], (Kind::Float, Device::Cpu));
    let options = LoadOptions { strict: false, ..LoadOptions::default() };
    let report = load(&targets, &dict(&wrong), &options).unwrap();
    assert_eq!(report.missing, ["features.transition1.conv.weight"]);
    assert_eq!(report.unexpected, ["extra.weight"]);
    assert_eq!(report.misshaped.len(), 1);
    assert_eq!((&report.misshaped[0].file[..], &report.misshaped[0].target[..]), (&[9][..], &[8][..]));
    assert_eq!(report.loaded, targets.len() - 2);
    let kept = ["features.transition1.conv.weight", "features.norm0.bias"];
    for (((name, got), (_, before)), (_, want)) in targets.iter().zip(&before).zip(&source) {
        assert_same_bits(name, got, if kept.contains(&name.as_str()) { before } else { want });
    }
}

#[test]
fn the_callers_renames_open_what_no_rule_knows() {
    let (targets, source) = (targets(), random_state(17, 7));
    let fastai =
        renamed(&source, |name| Some(name.replace("features.", "0.0.").replace("classifier", "1.8")));
    let mut options = LoadOptions::default();
    options.names.renames =
        vec![Rename::new(r"^0\.0\.", "features.").unwrap(), Rename::new(r"^1\.8\.", "classifier.").unwrap()];
    load(&targets, &dict(&fastai), &options).unwrap();
    assert_same_tensors(&targets, &source);
}

#[test]
fn large_tensors_load_whole_at_every_size_around_a_part() {
    for numel in [32_766, 32_767, 32_768, 65_534, 65_535, 100_003] {
        for kind in [Kind::Float, Kind::Half] {
            let values = Tensor::arange(numel, (Kind::Float, Device::Cpu)).to_kind(kind);
            let target = Tensor::zeros([numel], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let into = vec![("features.conv0.weight".to_string(), target)];
            loaded(&into, &vec![("features.conv0.weight".to_string(), values.shallow_clone())]);
            assert_same_bits("conv0", &into[0].1.detach(), &values.to_kind(Kind::Float));
            assert!(into[0].1.is_leaf() && into[0].1.requires_grad());
        }
    }
}
