use super::*;
use tch::{Device, Kind, Tensor};

/// A state dict of zeros: names with shapes.
fn dict(named: &[(&str, &[i64])]) -> StateDict {
    StateDict::from_tensors(
        named
            .iter()
            .map(|(name, shape)| (name.to_string(), Tensor::zeros(*shape, (Kind::Float, Device::Cpu)))),
    )
}

fn names(normalized: &Normalized) -> Vec<String> {
    normalized.tensors.iter().map(|tensor| tensor.name.clone()).collect()
}

fn plain(dict: &StateDict) -> Result<Normalized<'_>> {
    normalize(dict, &NameOptions::default())
}

const CONV0: (&str, &[i64]) = ("features.conv0.weight", &[4, 3, 7, 7]);
const NORM5: (&str, &[i64]) = ("features.norm5.weight", &[6]);

#[test]
fn torchvisions_names_are_left_alone() {
    let dict = dict(&[CONV0, NORM5, ("classifier.weight", &[10, 6]), ("classifier.bias", &[10])]);
    let all = plain(&dict).unwrap();
    assert_eq!(
        names(&all),
        ["features.conv0.weight", "features.norm5.weight", "classifier.weight", "classifier.bias"]
    );
    assert_eq!((all.stripped_prefix.as_deref(), all.renamed, all.origin()), (None, 0, None));
    assert!(all.rules.is_empty() && all.dropped.is_empty() && all.head_candidates.is_empty());
}

#[test]
fn prefix_rules_leftovers_and_head_work_together() {
    let dict = dict(&[
        ("module.densenet121.features.conv0.weight", &[4, 3, 7, 7]),
        ("module.densenet121.features.denseblock1.denselayer1.norm.1.weight", &[4]),
        ("module.densenet121.features.norm_final.weight", &[6]),
        ("module.densenet121.classifier.0.weight", &[14, 6]),
        ("module.densenet121.classifier.0.bias", &[14]),
        ("module.queue", &[2, 2]),
        ("n_averaged", &[]),
        ("metric.total", &[]),
        ("step_counter", &[]),
    ]);
    let all = plain(&dict).unwrap();
    assert_eq!(
        names(&all),
        [
            "features.conv0.weight",
            "features.denseblock1.denselayer1.norm1.weight",
            "features.norm5.weight",
            "classifier.weight",
            "classifier.bias",
            "step_counter",
        ]
    );
    assert_eq!(all.stripped_prefix.as_deref(), Some("module.densenet121."));
    assert_eq!(all.renamed, 4);
    assert_eq!(
        all.rules.iter().map(|rule| rule.name).collect::<Vec<_>>(),
        ["averaging", "R14", "metric", "R1", "R4", "R12", "chexnet"]
    );
    assert_eq!(all.origin().as_deref(), Some("torchvision up to 0.2, efficient_densenet_pytorch, CheXNet"));
    let dropped: Vec<&str> = all.dropped.iter().map(|dropped| dropped.name.as_str()).collect();
    assert_eq!(dropped, ["n_averaged", "module.queue", "metric.total"]);
    assert_eq!(all.tensors[1].original, "module.densenet121.features.denseblock1.denselayer1.norm.1.weight");
}

#[test]
fn a_head_beside_the_wrapped_backbone_is_found() {
    let dict = dict(&[
        ("backbone.features.conv0.weight", &[4, 3, 7, 7]),
        ("backbone.features.norm5.weight", &[6]),
        ("fc.weight", &[2, 6]),
        ("fc.bias", &[2]),
    ]);
    assert_eq!(names(&plain(&dict).unwrap())[2..], ["classifier.weight", "classifier.bias"]);
}

#[test]
fn only_a_sole_matrix_of_the_right_width_becomes_the_classifier() {
    type Head = &'static [(&'static str, &'static [i64])];
    let cases: [(Head, &[&str], &[&str]); 7] = [
        (
            &[("last_linear.weight", &[5, 6]), ("last_linear.bias", &[5])],
            &["classifier.weight", "classifier.bias"],
            &[],
        ),
        (&[("classifier.1.weight", &[5, 6])], &["classifier.weight"], &[]),
        (
            &[("classifier.0.weight", &[6]), ("classifier.1.weight", &[5, 6])],
            &["classifier.0.weight", "classifier.weight"],
            &[],
        ),
        (&[("fc.weight", &[5, 7])], &["fc.weight"], &["fc.weight"]),
        (
            &[("classifier.0.weight", &[6, 6]), ("classifier.2.weight", &[5, 6])],
            &["classifier.0.weight", "classifier.2.weight"],
            &["classifier.0.weight", "classifier.2.weight"],
        ),
        (&[("fc.weight", &[5, 6]), ("classifier.weight", &[5, 6])], &["fc.weight", "classifier.weight"], &[]),
        (&[("fc_disease.weight", &[5, 6])], &["fc_disease.weight"], &["fc_disease.weight"]),
    ];
    for (head, want, candidates) in cases {
        let all: Vec<(&str, &[i64])> = [CONV0, NORM5].iter().chain(head).copied().collect();
        let dict = dict(&all);
        let normalized = plain(&dict).unwrap();
        assert_eq!(names(&normalized)[2..], *want, "{head:?}");
        assert_eq!(normalized.head_candidates, candidates, "{head:?}");
    }
}

#[test]
fn two_tensors_for_one_name_are_an_error_that_names_both() {
    let old = "features.denseblock1.denselayer1.norm.1.weight";
    let new = "features.denseblock1.denselayer1.norm1.weight";
    for pair in [[old, new], [new, old], [new, new]] {
        let dict = dict(&[(pair[0], &[4]), (pair[1], &[4])]);
        match plain(&dict).err() {
            Some(CheckpointError::DuplicateName { name, first, second }) => {
                assert_eq!([&name[..], &first, &second], [new, pair[0], pair[1]]);
            }
            other => panic!("{pair:?}: {other:?}"),
        }
    }
}

#[test]
fn one_of_several_networks_must_be_chosen() {
    let dict = dict(&[
        ("student.features.conv0.weight", &[4, 3, 7, 7]),
        ("teacher.features.conv0.weight", &[4, 3, 7, 7]),
        ("teacher.features.norm5.weight", &[6]),
        ("step", &[]),
    ]);
    match plain(&dict).err() {
        Some(CheckpointError::AmbiguousPrefix { prefixes }) => {
            assert_eq!(prefixes, ["teacher.", "student."])
        }
        other => panic!("{other:?}"),
    }
    for prefix in ["student", "student."] {
        let options = NameOptions { prefix: Some(prefix.to_string()), ..NameOptions::default() };
        let all = normalize(&dict, &options).unwrap();
        assert_eq!(names(&all), ["features.conv0.weight"]);
        assert_eq!(all.dropped.len(), 3);
        assert_eq!(all.stripped_prefix.as_deref(), Some("student."));
    }
    let options = NameOptions { prefix: Some("ema".to_string()), ..NameOptions::default() };
    assert!(matches!(normalize(&dict, &options).err(), Some(CheckpointError::UnknownPrefix { .. })));
}

#[test]
fn a_network_beside_a_wrapped_copy_of_it_is_chosen_by_the_empty_prefix() {
    let dict = dict(&[CONV0, ("ema.features.conv0.weight", &[4, 3, 7, 7])]);
    let options = NameOptions { prefix: Some(String::new()), ..NameOptions::default() };
    let all = normalize(&dict, &options).unwrap();
    assert_eq!(names(&all), ["features.conv0.weight"]);
    assert_eq!(all.dropped[0].name, "ema.features.conv0.weight");
}

#[test]
fn the_callers_renames_come_first() {
    let dict =
        dict(&[("0.0.conv0.weight", &[4, 3, 7, 7]), ("0.0.denseblock1.denselayer1.norm.1.bias", &[4])]);
    let renames = vec![Rename::new(r"^0\.0\.", "features.").unwrap()];
    let all = normalize(&dict, &NameOptions { renames, ..NameOptions::default() }).unwrap();
    assert_eq!(names(&all), ["features.conv0.weight", "features.denseblock1.denselayer1.norm1.bias"]);
    assert_eq!(all.renamed, 2);
}

#[test]
fn what_stands_beside_a_wrapped_backbone_loses_what_they_share() {
    let dict = dict(&[
        ("module.net.backbone.features.conv0.weight", &[4, 3, 7, 7]),
        ("module.net.backbone.features.norm5.weight", &[6]),
        ("module.net.fc.weight", &[2, 6]),
        ("module.scale", &[]),
        ("step", &[]),
    ]);
    let all = plain(&dict).unwrap();
    assert_eq!(names(&all)[2..], ["classifier.weight", "scale", "step"]);
}

#[test]
fn the_caller_chooses_one_of_several_heads_and_the_others_are_left_out() {
    let dict = dict(&[
        ("backbone.features.conv0.weight", &[4, 3, 7, 7]),
        ("backbone.features.norm5.weight", &[6]),
        ("fc_disease.weight", &[5, 6]),
        ("fc_disease.bias", &[5]),
        ("fc_sex.weight", &[2, 6]),
        ("fc_sex.bias", &[2]),
        ("scale", &[]),
    ]);
    assert_eq!(plain(&dict).unwrap().head_candidates, ["fc_disease.weight", "fc_sex.weight"]);
    let renames = vec![Rename::new(r"^fc_sex\.", "classifier.").unwrap()];
    let all = normalize(&dict, &NameOptions { renames, ..NameOptions::default() }).unwrap();
    assert_eq!(names(&all)[2..], ["classifier.weight", "classifier.bias", "scale"]);
    let dropped: Vec<&str> = all.dropped.iter().map(|dropped| dropped.name.as_str()).collect();
    assert_eq!(dropped, ["fc_disease.weight", "fc_disease.bias"]);
    assert_eq!(all.tensors[2].original, "fc_sex.weight");
}

#[test]
fn a_refusal_names_the_tensor_and_the_way_out() {
    let name = "features.dense_block_layer_0.bottle_neck_layer_0.bottle_neck.0.weight";
    let dict = dict(&[("conv1.weight", &[4, 3, 3, 3]), (name, &[4])]);
    match plain(&dict).err() {
        Some(error @ CheckpointError::Refused { .. }) => {
            let words = error.to_string();
            for part in ["weiaicunzai", name, "no ReLU", "keep running this one in Python"] {
                assert!(words.contains(part), "{part}: {words}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_permutation_that_fits_no_block_is_an_error() {
    let dict = dict(&[
        ("conv1.weight", &[4, 3, 3, 3]),
        ("dense1.0.bn1.weight", &[4]),
        ("dense1.0.conv2.weight", &[2, 8, 3, 3]),
        ("trans1.bn.weight", &[7]),
    ]);
    match plain(&dict).err() {
        Some(CheckpointError::Contradiction { name, .. }) => {
            assert_eq!(name, "features.transition1.norm.weight")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn contrastive_training_leaves_the_query_networks_backbone() {
    let all: &[(&str, &[i64])] = &[
        ("module.encoder_q.features.conv0.weight", &[4, 3, 7, 7]),
        ("module.encoder_q.features.norm5.weight", &[6]),
        ("module.encoder_q.classifier.0.weight", &[6, 6]),
        ("module.encoder_q.classifier.2.weight", &[3, 6]),
        ("module.encoder_k.features.conv0.weight", &[4, 3, 7, 7]),
        ("module.encoder_k.classifier.2.weight", &[3, 6]),
        ("module.queue", &[3, 8]),
        ("module.queue_ptr", &[1]),
    ];
    let dict = dict(all);
    let normalized = plain(&dict).unwrap();
    assert_eq!(names(&normalized), ["features.conv0.weight", "features.norm5.weight"]);
    assert_eq!(normalized.stripped_prefix.as_deref(), Some("module.encoder_q."));
    assert_eq!((normalized.origin().as_deref(), normalized.dropped.len()), (Some("MoCo"), 6));
    assert!(normalized.notes()[0].contains("backbone alone"));
    // The other copy can still be asked for.
    let options = NameOptions { prefix: Some("module.encoder_k".to_string()), ..NameOptions::default() };
    assert_eq!(names(&normalize(&dict, &options).unwrap()), ["features.conv0.weight", "classifier.2.weight"]);
}
