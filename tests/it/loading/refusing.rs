//! State dicts that do not fit: what the error says, and that nothing has changed.

use super::*;
use densenet::checkpoint::{load, CheckpointError, Head, Hint, LoadOptions, LoadReport};

/// The error of a load, which must have left every target as it was.
#[track_caller]
fn refused(targets: &Named, source: &Named, options: &LoadOptions) -> CheckpointError {
    let before = copies(targets);
    let error = match load(targets, &dict(source), options) {
        Err(error) => error,
        Ok(report) => panic!("loaded: {report}"),
    };
    for ((name, got), (_, want)) in targets.iter().zip(&before) {
        assert_same_bits(name, &got.detach(), want);
    }
    let words = error.to_string();
    assert!(!words.contains('\n') && words.len() < 1000, "{words}");
    error
}

#[track_caller]
fn mismatch(targets: &Named, source: &Named) -> (Box<LoadReport>, String) {
    let error = refused(targets, source, &LoadOptions::default());
    let words = error.to_string();
    match error {
        CheckpointError::Mismatch(report) => (report, words),
        other => panic!("{other:?}"),
    }
}

fn zeros(shape: &[i64]) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, Device::Cpu))
}

fn replaced(mut tensors: Named, name: &str, with: Tensor) -> Named {
    tensors.iter_mut().find(|(other, _)| other == name).expect(name).1 = with;
    tensors
}

#[test]
fn a_classifier_of_another_size_is_an_error_of_its_own_that_names_both_sizes() {
    let source = random_state(20, 7);
    let source = replaced(source, "classifier.weight", zeros(&[14, 20]));
    let source = replaced(source, "classifier.bias", zeros(&[14]));
    let prefixed =
        renamed(&source, |name| Some(format!("module.{}", name.replace("classifier", "classifier.0"))));
    for source in [source, prefixed] {
        let targets = targets();
        let error = refused(&targets, &source, &LoadOptions::default());
        let words = error.to_string();
        assert!(words.contains("14") && words.contains('5') && words.contains("Head::Skip"), "{words}");
        match error {
            CheckpointError::ClassifierSize { name, file, target } => {
                assert_eq!((name.as_str(), file, target), ("classifier.weight", 14, 5));
            }
            other => panic!("{other:?}"),
        }
        let options = LoadOptions { head: Head::Skip, ..LoadOptions::default() };
        load(&targets, &dict(&source), &options).unwrap();
    }
}

#[test]
fn another_width_of_the_backbone_is_not_blamed_on_the_classifier() {
    let source = replaced(random_state(21, 7), "classifier.weight", zeros(&[5, 21]));
    let (report, words) = mismatch(&targets(), &source);
    assert_eq!(report.misshaped.len(), 1);
    assert!(words.contains("classifier.weight: [5, 21] in the file, [5, 20] wanted"), "{words}");
}

#[test]
fn missing_unexpected_and_misshaped_tensors_are_counted_and_named() {
    let mut source =
        renamed(&random_state(22, 7), |name| (!name.contains("denselayer2.")).then(|| name.to_string()));
    source = replaced(source, "features.norm0.bias", zeros(&[9]));
    source.push(("decoder.weight".into(), zeros(&[1])));
    let targets = targets();
    let absent =
        targets.iter().filter(|(name, _)| name.contains("denselayer2.") && !name.ends_with("tracked"));
    let absent: Vec<&String> = absent.map(|(name, _)| name).collect();
    let (report, words) = mismatch(&targets, &source);
    assert_eq!(report.missing.iter().collect::<Vec<_>>(), absent);
    assert_eq!(report.unexpected, ["decoder.weight"]);
    assert_eq!(report.misshaped.len(), 1);
    for part in [
        "20 missing (features.denseblock1.denselayer2.norm1.weight, ",
        ", …)",
        "1 unexpected (decoder.weight)",
        "1 mis-shaped (features.norm0.bias: [9] in the file, [8] wanted)",
    ] {
        assert!(words.contains(part), "{part:?} in {words}");
    }
}

#[test]
fn torch_refuses_what_is_refused_here() {
    let source = random_state(23, 7);
    let without =
        |part: &'static str| renamed(&source, |name| (!name.contains(part)).then(|| name.to_string()));
    let mut more = copies(&source);
    more.push(("extra".into(), zeros(&[2])));
    let counter = Tensor::zeros([2], (Kind::Int64, Device::Cpu));
    for wrong in [
        without("norm5.running_var"),
        without("classifier"),
        more,
        replaced(copies(&source), "features.norm5.num_batches_tracked", counter),
        replaced(copies(&source), "features.norm5.weight", zeros(&[1])),
    ] {
        let targets = targets();
        let (_, refusal) = torch_loads("loading_strict", &targets, &wrong);
        assert!(refusal.is_some());
        mismatch(&targets, &wrong);
    }
}

#[test]
fn a_misspelt_name_is_recognized() {
    let source =
        renamed(&random_state(24, 7), |name| Some(name.replace("norm5.running_var", "norm5.runing_var")));
    let (report, words) = mismatch(&targets(), &source);
    let want = Hint::DidYouMean {
        wanted: "features.norm5.running_var".into(),
        found: "features.norm5.runing_var".into(),
    };
    assert_eq!(report.hints, [want]);
    assert!(
        words.contains("is the file's features.norm5.runing_var meant to be features.norm5.running_var?"),
        "{words}"
    );
}

#[test]
fn another_beginning_of_the_names_is_recognized() {
    let source = renamed(&random_state(25, 7), |name| Some(name.replace("transition1.", "squeeze1.")));
    let (report, words) = mismatch(&targets(), &source);
    let (found, wanted) = ("features.squeeze1.".to_string(), "features.transition1.".to_string());
    let features = targets()
        .iter()
        .filter(|(name, _)| name.starts_with("features.transition1.") && !name.ends_with("tracked"))
        .count();
    assert_eq!(report.hints, [Hint::Rename { found, wanted, fits: features }]);
    assert!(
        words.contains("names began with \"features.transition1.\" instead of \"features.squeeze1.\""),
        "{words}"
    );
}

#[test]
fn a_missing_an_unwanted_and_an_ambiguous_head_each_have_their_hint() {
    let source = random_state(26, 7);
    let headless = renamed(&source, |name| (!name.starts_with("classifier")).then(|| name.to_string()));
    let (report, words) = mismatch(&targets(), &headless);
    assert_eq!(report.hints, [Hint::NoClassifier]);
    assert!(words.contains("the file has no classifier") && words.contains("Head::Skip"), "{words}");

    let backbone = renamed(&targets(), |name| (!name.starts_with("classifier")).then(|| name.to_string()));
    let (report, _) = mismatch(&backbone, &source);
    assert_eq!(report.hints, [Hint::UnwantedClassifier]);

    let mut several = headless;
    several.push(("classifier.0.weight".into(), zeros(&[64, 20])));
    several.push(("classifier.3.weight".into(), zeros(&[5, 64])));
    let (report, words) = mismatch(&targets(), &several);
    let candidates = vec!["classifier.0.weight".to_string(), "classifier.3.weight".to_string()];
    assert!(report.hints.contains(&Hint::SeveralHeads { candidates }), "{:?}", report.hints);
    assert!(words.contains("no single classifier among classifier.0.weight, classifier.3.weight"), "{words}");
}

#[test]
fn a_foreign_state_dict_and_an_empty_one_change_nothing() {
    let resnet: Named =
        vec![("layer1.0.conv1.weight".into(), zeros(&[4, 4, 3, 3])), ("fc.weight".into(), zeros(&[5, 20]))];
    for source in [resnet, Named::new()] {
        let (report, _) = mismatch(&targets(), &source);
        assert_eq!(report.loaded, 0);
        // Without a head nothing but the backbone is asked for, and there is none.
        let options = LoadOptions { head: Head::Skip, ..LoadOptions::default() };
        assert!(matches!(refused(&targets(), &source, &options), CheckpointError::Mismatch(_)));
    }
}

#[test]
fn old_and_new_name_of_one_tensor_are_an_error_naming_both() {
    let mut source = random_state(27, 7);
    source.push(("features.denseblock2.denselayer3.norm.2.bias".into(), zeros(&[8])));
    match refused(&targets(), &source, &LoadOptions::default()) {
        CheckpointError::DuplicateName { name, first, second } => {
            assert_eq!(name, "features.denseblock2.denselayer3.norm2.bias");
            assert_eq!(first, "features.denseblock2.denselayer3.norm2.bias");
            assert_eq!(second, "features.denseblock2.denselayer3.norm.2.bias");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_networks_in_a_file_must_be_told_apart_by_the_caller() {
    let source = random_state(28, 7);
    let mut both = renamed(&source, |name| Some(format!("module.student.{name}")));
    both.extend(renamed(&source, |name| Some(format!("module.teacher.{name}"))));
    match refused(&targets(), &both, &LoadOptions::default()) {
        CheckpointError::AmbiguousPrefix { prefixes } => {
            assert_eq!(prefixes, ["module.student.", "module.teacher."]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn complex_values_in_the_very_last_tensor_are_refused_before_the_first_is_written() {
    let complex = Tensor::zeros([5], (Kind::ComplexFloat, Device::Cpu));
    let source = replaced(random_state(29, 7), "classifier.bias", complex);
    assert_eq!(source.last().unwrap().0, "classifier.bias");
    for strict in [true, false] {
        let options = LoadOptions { strict, ..LoadOptions::default() };
        match refused(&targets(), &source, &options) {
            CheckpointError::Unconvertible { name, from, to } => {
                assert_eq!((name.as_str(), from, to), ("classifier.bias", Kind::ComplexFloat, Kind::Float));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn targets_that_cannot_be_written_are_refused_before_the_first_is() {
    let source = random_state(30, 7);
    let expanded = zeros(&[1]).expand([5], false);
    let undefined = Tensor::new();
    for (bad, why) in [(expanded, "expanded"), (undefined, "undefined")] {
        let mut targets = targets();
        targets.pop();
        let before = copies(&targets);
        targets.push(("classifier.bias".into(), bad));
        match load(&targets, &dict(&source), &LoadOptions::default()) {
            Err(CheckpointError::TargetNotWritable { name, reason }) => {
                assert!(name == "classifier.bias" && reason.contains(why), "{name} {reason}");
            }
            other => panic!("{other:?}"),
        }
        for ((name, got), (_, want)) in targets.iter().zip(&before) {
            assert_same_bits(name, &got.detach(), want);
        }
    }
    let mut twice = targets();
    let again = twice[0].1.shallow_clone();
    twice.push((twice[0].0.clone(), again));
    let error = refused(&twice, &source, &LoadOptions::default());
    assert!(matches!(error, CheckpointError::DuplicateTarget { name } if name == "features.conv0.weight"));
}
