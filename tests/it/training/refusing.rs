//! What is said early, and how.

use super::{idx_folder, picture_folder};
use crate::support::{scratch, seed, small_network};
use densenet::data::OnUnreadable;
use densenet::model::Cifar;
use densenet::train::{
    DataSource, Freeze, Observer, Precision, Recipe, Rule, Run, Schedule, Setup, Sgd, Start, TrainError,
    Validation,
};
use std::path::Path;
use tch::Device;

fn setup(data: &Path) -> Setup {
    Setup {
        start: Start::Scratch(Cifar::new(10, 4).bc().build().unwrap()),
        data: DataSource::at(data),
        recipe: Recipe { epochs: 2, batch_size: 8, ..Recipe::default() },
        transforms: None,
        size: None,
    }
}

#[allow(clippy::result_large_err, reason = "an error a test looks at")]
fn start(setup: &Setup, output: &Path) -> Result<Run, TrainError> {
    let _guard = seed(0);
    Run::start(output, setup, Device::Cpu)
}

#[track_caller]
fn refused(setup: &Setup, output: &Path, words: &[&str]) {
    let error = start(setup, output).err().expect("an error").to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert!(!output.join("run.json").exists(), "nothing was begun");
}

#[test]
fn data_that_cannot_be_learned_from_is_refused_before_anything_is_made() {
    let folder = scratch();
    let (root, output) = (folder.path(), folder.path().join("run"));
    picture_folder(&root.join("one"), &["only"], 4, 8);
    refused(&setup(&root.join("one")), &output, &["only the class \"only\"", "at least two classes"]);
    picture_folder(&root.join("empty"), &["a", "b"], 4, 8);
    std::fs::create_dir(root.join("empty/nothing")).unwrap();
    refused(&setup(&root.join("empty")), &output, &["no pictures for nothing"]);
    picture_folder(&root.join("parted/train"), &["a", "b"], 4, 8);
    refused(&setup(&root.join("parted")), &output, &["--validation-share", "--no-validation"]);
    picture_folder(&root.join("other/train"), &["a", "b"], 4, 8);
    picture_folder(&root.join("other/val"), &["a", "c"], 4, 8);
    refused(&setup(&root.join("other")), &output, &["only the first has [b]", "only the second [c]"]);
    refused(&setup(&root.join("absent")), &output, &["no such folder"]);
    std::fs::write(root.join("file.txt"), "").unwrap();
    refused(&setup(&root.join("file.txt")), &output, &["neither a folder nor a list"]);
    assert!(!output.exists(), "not even a folder");

    // A share, or doing without, is enough; a folder in one part is split by itself.
    let share = DataSource { validation: Validation::Share(0.25), ..DataSource::at(root.join("parted")) };
    let run = start(&Setup { data: share, ..setup(&root.join("parted")) }, &root.join("share")).unwrap();
    assert_eq!((run.data().train.len(), run.data().validation.as_ref().map(|part| part.len())), (6, Some(2)));
    std::fs::remove_dir(root.join("empty/nothing")).unwrap();
    let run = start(&setup(&root.join("empty")), &root.join("split")).unwrap();
    assert_eq!(run.data().split_off(), Some(0.2));
    assert_eq!(run.data().train.counts(), [3, 3]);
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_is_made() {
    let folder = scratch();
    let data = folder.path().join("data");
    picture_folder(&data, &["a", "b"], 5, 8);
    let output = folder.path().join("run");
    let plain = setup(&data);
    let with = |change: fn(&mut Recipe)| {
        let mut setup = plain.clone();
        change(&mut setup.recipe);
        setup
    };
    refused(&with(|recipe| recipe.epochs = 0), &output, &["epochs is 0"]);
    refused(&with(|recipe| recipe.lr = f64::NAN), &output, &["the learning rate is NaN"]);
    refused(&with(|recipe| recipe.precision = Precision::F16), &output, &["F16 on Cpu", "CUDA"]);
    refused(&with(|recipe| recipe.freeze = Freeze::UpTo("denseblock9".into())), &output, &["denseblock9"]);
    refused(&with(|recipe| recipe.loss.label_smoothing = 1.0), &output, &["label smoothing is 1"]);
    let milestones = |recipe: &mut Recipe| {
        recipe.schedule = Schedule::MultiStep { milestones: vec![-1.0], gamma: 0.1 };
    };
    refused(&with(milestones), &output, &["a milestone is -1"]);
    let alone = |recipe: &mut Recipe| (recipe.batch_size, recipe.drop_last) = (64, true);
    refused(&with(alone), &output, &["the batch size is 64"]);
}

#[test]
fn a_loss_that_is_no_number_or_grows_ends_the_run_and_keeps_the_last_save() {
    let folder = scratch();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    idx_folder(&data);
    let rule = Rule::Sgd(Sgd { momentum: 0.0, nesterov: false, dampening: 0.0 });
    let explode = |lr, epochs| Recipe {
        epochs,
        batch_size: 16,
        lr,
        optimizer: rule,
        schedule: Schedule::Constant,
        ..Recipe::default()
    };
    for (lr, words) in
        [(1e30, "the loss is NaN in epoch"), (30.0, "training diverges: the loss has grown to")]
    {
        let run = folder.path().join(lr.to_string());
        let source = DataSource { validation: Validation::Nothing, ..DataSource::at(&data) };
        let setup = Setup { recipe: explode(lr, 60), data: source, ..setup(&data) };
        let error = {
            let mut run = start(&setup, &run).unwrap();
            let _guard = seed(0);
            run.fit(&mut ()).unwrap_err().to_string()
        };
        assert!(error.contains(words) && error.contains("lower the learning rate"), "{error}");
        let last = densenet::checkpoint::StateDict::open(run.join("last.pth")).unwrap();
        for (key, view) in &last.tensors {
            let finite = view.to_tensor().unwrap().isfinite().all();
            assert!(bool::try_from(finite).unwrap(), "{key} was saved with NaN in it");
        }
    }
}

/// Keeps what was left out.
#[derive(Default)]
struct LeftOut(Vec<String>);

impl Observer for LeftOut {
    fn skipped(&mut self, error: &densenet::data::DataError) {
        self.0.push(error.to_string());
    }
}

#[test]
fn an_unreadable_picture_ends_the_run_with_its_name_or_is_left_out_and_told() {
    let folder = scratch();
    let data = folder.path().join("data");
    picture_folder(&data, &["a", "b"], 6, 8);
    std::fs::write(data.join("b/003.png"), b"\x89PNG\r\n\x1a\n cut short").unwrap();
    let validation = Validation::Nothing;
    let fit = |on_unreadable, name| {
        let data = DataSource { validation: validation.clone(), on_unreadable, ..DataSource::at(&data) };
        let setup = Setup { data, ..setup(Path::new("")) };
        let mut run = start(&setup, &folder.path().join(name)).unwrap();
        let _guard = seed(0);
        let mut left_out = LeftOut::default();
        (run.fit(&mut left_out), left_out.0)
    };
    let (result, told) = fit(OnUnreadable::Fail, "fail");
    assert!(result.unwrap_err().to_string().contains("003.png") && told.is_empty());
    let (result, told) = fit(OnUnreadable::Skip, "skip");
    assert_eq!(result.unwrap().epochs, 2);
    assert_eq!(told.len(), 2, "once an epoch: {told:?}");
    assert!(told.iter().all(|words| words.contains("003.png")), "{told:?}");
}

#[test]
#[allow(clippy::result_large_err, reason = "an error a test looks at")]
fn a_folder_is_one_runs_and_one_processs() {
    let folder = scratch();
    let data = folder.path().join("data");
    picture_folder(&data, &["a", "b"], 5, 8);
    let output = folder.path().join("run");
    let run = start(&setup(&data), &output).unwrap();
    let resume = || Run::resume(&output, Device::Cpu);
    assert!(matches!(resume(), Err(TrainError::RunBusy { .. })));
    drop(run);
    assert!(matches!(start(&setup(&data), &output), Err(TrainError::RunExists { .. })));
    {
        let _guard = seed(0);
        resume().unwrap();
    }
    std::fs::rename(data.join("a/000.png"), data.join("a/new.png")).unwrap();
    assert!(matches!(resume(), Err(TrainError::DataChanged { .. })));
    std::fs::rename(data.join("a/new.png"), data.join("a/000.png")).unwrap();
    std::fs::write(output.join("run.json"), r#"{"version": 99}"#).unwrap();
    assert!(resume().err().unwrap().to_string().contains("version 99"));
    assert!(matches!(Run::resume(&data, Device::Cpu), Err(TrainError::NotARun { .. })));
}

#[test]
fn a_network_too_large_for_its_pictures_says_what_it_takes() {
    let folder = scratch();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    idx_folder(&data);
    let setup = Setup { start: Start::Scratch(small_network(&[2, 2, 2, 2], 2)), ..setup(&data) };
    let mut run = start(&setup, &folder.path().join("run")).unwrap();
    let _guard = seed(0);
    let error = run.fit(&mut ()).unwrap_err().to_string();
    assert!(error.contains("H and W at least 29"), "{error}");
}
