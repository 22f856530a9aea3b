use super::*;
use regex::Regex;

/// What the rename rules make of a name, conditions aside.
fn renamed(name: &str) -> String {
    RENAMES.iter().fold(name.to_string(), |name, rule| match rule.action {
        Action::Rename(text) => {
            let regex = Regex::new(rule.pattern).unwrap();
            Replacement::parse(text).unwrap().apply(&regex, &name).unwrap_or(name)
        }
        _ => name,
    })
}

/// The drop or refuse rules that match a name, conditions aside.
fn caught(name: &str) -> Vec<&'static str> {
    let early = |rule: &&RenameRule| matches!(rule.action, Action::Drop(_) | Action::Refuse(_));
    let matches = |rule: &&RenameRule| Regex::new(rule.pattern).unwrap().is_match(name);
    RENAMES.iter().filter(early).filter(matches).map(|rule| rule.name).collect()
}

#[test]
fn every_rule_compiles_and_has_a_name_of_its_own() {
    for (index, rule) in RENAMES.iter().enumerate() {
        let regex = Regex::new(rule.pattern).unwrap_or_else(|error| panic!("{}: {error}", rule.name));
        assert!(RENAMES[..index].iter().all(|other| other.name != rule.name), "{}", rule.name);
        if let Action::Rename(text) = rule.action {
            let replacement =
                Replacement::parse(text).unwrap_or_else(|error| panic!("{}: {error}", rule.name));
            assert_eq!(replacement.unknown_group(&regex), None, "{}", rule.name);
        }
        for need in rule.needs {
            if let Need::Name(pattern) | Need::NoName(pattern) | Need::Shape(pattern, _) = need {
                assert!(Regex::new(pattern).is_ok(), "{}: {pattern}", rule.name);
            }
        }
    }
}

#[test]
fn every_example_is_a_name_its_rule_finds() {
    for rule in RENAMES.iter().filter(|rule| !rule.example.is_empty()) {
        let early = matches!(rule.action, Action::Drop(_) | Action::Refuse(_));
        // Later rules see names without their prefix.
        let prefix = crate::checkpoint::prefix::find([rule.example]).first().copied().unwrap_or_default();
        let name = if early { rule.example } else { &rule.example[prefix.len()..] };
        assert!(Regex::new(rule.pattern).unwrap().is_match(name), "{}: {name}", rule.name);
    }
}

#[test]
fn presets_have_one_number_a_channel() {
    for rule in RENAMES {
        if let Some(InputPreset { mean, std, range, .. }) = rule.input {
            assert!(matches!(mean.len(), 1 | 3) && mean.len() == std.len(), "{}", rule.name);
            assert!(range[0] < range[1], "{}", rule.name);
        }
    }
}

#[test]
fn others_names_become_torchvisions() {
    for (old, new) in [
        ("features.denseblock1.denselayer1.norm.1.weight", "features.denseblock1.denselayer1.norm1.weight"),
        ("features.denseblock3.denselayer24.conv.2.weight", "features.denseblock3.denselayer24.conv2.weight"),
        (
            "features.denseblock1.denselayer10.norm.2.num_batches_tracked",
            "features.denseblock1.denselayer10.norm2.num_batches_tracked",
        ),
        (
            "features.denseblock1.denselayer1.norm.1.num_batches_tracked",
            "features.denseblock1.denselayer1.norm1.num_batches_tracked",
        ),
        ("x.y.denselayer2.norm.1.running_var", "x.y.denselayer2.norm1.running_var"),
        ("features.denseblock1.denselayer1.layers.norm1.bias", "features.denseblock1.denselayer1.norm1.bias"),
        ("class_layers.out.weight", "classifier.weight"),
        ("class_layers.class.bias", "classifier.bias"),
        ("features.norm_final.running_mean", "features.norm5.running_mean"),
        ("features.module.conv0.weight", "features.conv0.weight"),
        (
            "features._orig_mod.denseblock1.denselayer1.conv.1.weight",
            "features.denseblock1.denselayer1.conv1.weight",
        ),
        (
            "features.denseblock2.denselayer3.bn.norm_running_var",
            "features.denseblock2.denselayer3.norm1.running_var",
        ),
        ("features.denseblock2.denselayer3.bn.conv_weight", "features.denseblock2.denselayer3.conv1.weight"),
        ("features_conv0.weight", "features.conv0.weight"),
        ("features_denseblock1.denselayer1.norm1.bias", "features.denseblock1.denselayer1.norm1.bias"),
        ("features_norm5.bias", "features.norm5.bias"),
        ("denseblock1.denselayer1.conv2.weight", "features.denseblock1.denselayer1.conv2.weight"),
        ("transition1.norm.bias", "features.transition1.norm.bias"),
        ("norm5.bias", "features.norm5.bias"),
        ("dense1.0.bn1.weight", "features.denseblock1.denselayer1.norm1.weight"),
        ("dense3.15.conv2.weight", "features.denseblock3.denselayer16.conv2.weight"),
        ("trans2.bn1.bias", "features.transition2.norm.bias"),
        ("trans2.conv1.weight", "features.transition2.conv.weight"),
        ("trans1.bn.running_mean", "features.transition1.norm.running_mean"),
        ("trans1.conv.weight", "features.transition1.conv.weight"),
        ("block2.layer.9.bn2.running_var", "features.denseblock2.denselayer10.norm2.running_var"),
        ("block2.layer.9.conv1.weight", "features.denseblock2.denselayer10.conv1.weight"),
        ("bn1.bias", "features.norm5.bias"),
        ("bn.bias", "features.norm5.bias"),
        ("stem.0.weight", "features.conv0.weight"),
        ("stem.1.num_batches_tracked", "features.norm0.num_batches_tracked"),
        ("stages.0.block.0.norm1.weight", "features.denseblock1.denselayer1.norm1.weight"),
        ("stages.3.block.11.conv2.weight", "features.denseblock4.denselayer12.conv2.weight"),
        ("transitions.0.norm.weight", "features.transition1.norm.weight"),
        ("transitions.2.conv.weight", "features.transition3.conv.weight"),
        ("transitions.3.0.running_var", "features.norm5.running_var"),
        ("head.fc.weight", "classifier.weight"),
    ] {
        assert_eq!(renamed(old), new);
    }
}

#[test]
fn names_that_only_look_similar_stay() {
    for name in [
        "features.denseblock1.denselayer1.norm.3.weight",
        "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock1.denselayer1.pool.1.weight",
        "features.norm_finally.weight",
        "features.conv1.weight",
        "other.class_layers.out.weight",
        "features.modules.conv0.weight",
        "classifier.weight",
        "dense1.norm.weight",
        "layer1.0.bn1.weight",
        "stages.0.blocks.0.norm1.weight",
    ] {
        assert_eq!(renamed(name), name);
    }
}

#[test]
fn training_leftovers_are_dropped_and_the_networks_tensors_are_not() {
    for (name, rule) in [
        ("op_threshs", "thresholds"),
        ("n_averaged", "averaging"),
        ("queue", "R14"),
        ("module.queue_ptr", "R14"),
        ("criterion.weight", "criterion"),
        ("loss_fn.scale", "loss"),
        ("pos_weight", "pos-weight"),
        ("features.denseblock1.total_ops", "counters"),
        ("features.denseblock1.CatBN_output_buffer", "scratch"),
        ("valid_acc.tp", "metric"),
        ("train_metrics.Accuracy.correct", "metric"),
        ("data_preprocessor.mean", "preprocessor"),
        ("features.conv0.weight_orig", "pruned"),
        ("features.conv0.weight_g", "weight-norm"),
        ("features.conv0.parametrizations.weight.original0", "weight-norm"),
        ("classifier.lora_A.default.weight", "lora"),
        ("_fsdp_wrapped_module.flat_param", "fsdp"),
        ("features.conv0._packed_params._packed_params", "quantized"),
    ] {
        assert_eq!(caught(name), [rule], "{name}");
    }
    for name in [
        "features.conv0.weight",
        "classifier.weight",
        "classifier.0.weight",
        "queues.weight",
        "glossary.weight",
        "fc.weight",
        "features._orig_mod.conv0.weight",
        "features.denseblock1.denselayer1.bn.norm_weight",
        "features.denseblock1.denselayer1.norm.1.running_var",
        "facc.weight",
    ] {
        assert_eq!(caught(name), [""; 0], "{name}");
    }
}
