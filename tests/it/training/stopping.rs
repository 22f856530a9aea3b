//! Runs that are interrupted, killed, and out of room: nothing is lost.

use super::idx_folder;
use crate::support::{assert_same_bits, scratch};
use densenet::checkpoint::StateDict;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tch::Tensor;

/// A run with everything that has a state: dropout's generator, Adam's moments, mean weights, momentum and rate of a one-cycle
/// schedule after warm-up, augmentation, mixing, half-done epochs, accumulated batches.
fn finetune(data: &Path, run: &Path) -> Command {
    let augment = data.join("augment.json");
    let recipe = r#"{"steps": [{"random_crop": {}}, {"horizontal_flip": {}}], "mixing": {"p": 0.5}}"#;
    std::fs::write(&augment, recipe).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_densenet"));
    command.args(["finetune", "--data"]).arg(data).arg("--output").arg(run).arg("--augment").arg(&augment);
    command.args(
        "--arch densenet-bc-10-4 --epochs 5 --batch-size 4 --accumulate 2 --save-every 1 --seed 4".split(' '),
    );
    command
        .args("--optimizer adamw --lr 0.01 --schedule one-cycle --cycle-momentum --warm-up 0.5".split(' '));
    command.args("--drop-rate 0.2 --ema 0.9 --clip-norm 1 --workers 2 --threads 1".split(' '));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn resume(run: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_densenet"));
    command.args(["finetune", "--resume"]).arg(run).args(["--workers", "1"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn finish(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let dict = StateDict::open(path).unwrap();
    dict.tensors.iter().map(|(key, view)| (key.clone(), view.to_tensor().unwrap())).collect()
}

/// Weights, best weights, and the state of everything, but for times.
fn assert_same_runs(case: &str, got: &Path, want: &Path) {
    for file in ["last.pth", "best.pth", "state.safetensors"] {
        let (got, want) = (tensors(&got.join(file)), tensors(&want.join(file)));
        assert_eq!(got.len(), want.len(), "{case}: {file}");
        for (key, tensor) in got.iter().filter(|(key, _)| *key != "progress") {
            assert_same_bits(&format!("{case}: {file}: {key}"), tensor, &want[key]);
        }
    }
    let lines = |run: &Path| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let untimed = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = line.as_object_mut().unwrap();
            fields.remove("seconds");
            fields.remove("images_per_second");
            line
        };
        text.lines().map(untimed).collect()
    };
    assert_eq!(lines(got), lines(want), "{case}: metrics");
}

/// Steps that were saved, 0 before the first save.
fn saved_steps(run: &Path) -> u64 {
    let Ok(dict) = StateDict::open(run.join("state.safetensors")) else { return 0 };
    let Some((_, view)) = dict.tensors.iter().find(|(key, _)| key == "progress") else { return 0 };
    let bytes = Vec::<u8>::try_from(view.to_tensor().unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["step"].as_u64().unwrap()
}

/// Waits until `done`, or the child has ended: then `false`.
fn wait_until(child: &mut Child, done: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !done() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "the run neither goes on nor ends");
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn a_run_that_is_killed_at_any_moment_goes_on_to_the_same_bits() {
    let folder = scratch();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    idx_folder(&data);
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    finish(finetune(&data, &whole));

    let (mut kills, mut moments) = (0, 0x2545_f491_4f6c_dd1du64);
    let mut command = finetune(&data, &run);
    loop {
        let before = saved_steps(&run);
        let mut child = command.spawn().unwrap();
        // From a new step's save on, a moment later: in the loader, a step, a file, a rename.
        let going = wait_until(&mut child, || saved_steps(&run) > before);
        moments ^= moments << 13;
        moments ^= moments >> 7;
        moments ^= moments << 17;
        std::thread::sleep(Duration::from_micros(moments % 30_000));
        let killed = going && child.try_wait().unwrap().is_none();
        child.kill().ok();
        let output = child.wait_with_output().unwrap();
        let status = output.status;
        assert!(status.success() || killed, "{}", String::from_utf8_lossy(&output.stderr));
        if killed && !status.success() {
            kills += 1;
            tensors(&run.join("last.pth"));
        }
        if status.success() {
            break;
        }
        command = if kills < 6 { resume(&run) } else { break };
    }
    assert!(kills >= 4, "only {kills} kills hit a run");
    finish(resume(&run));
    assert_same_runs("killed", &run, &whole);
    // A run that is done stays as it is.
    finish(resume(&run));
    assert_same_runs("done", &run, &whole);
}

#[test]
fn a_signal_ends_the_step_saves_exits_with_130_and_costs_nothing() {
    let folder = scratch();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    idx_folder(&data);
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    // Saves of epochs alone: what is saved in between is the signal's.
    let without_saves = |run: &Path| {
        let command = finetune(&data, run);
        let mut again = Command::new(command.get_program());
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_os_string()).collect();
        let at = arguments.iter().position(|argument| argument == "--save-every").unwrap();
        again.args(&arguments[..at]).args(&arguments[at + 2..]).stdout(Stdio::null()).stderr(Stdio::piped());
        again
    };
    finish(without_saves(&whole));
    let mut command = without_saves(&run);
    for signal in ["INT", "TERM"] {
        let before = saved_steps(&run);
        let mut child = command.spawn().unwrap();
        let lines =
            || std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
        let at_start = lines();
        assert!(wait_until(&mut child, || lines() > at_start), "the run was over too early");
        let kill =
            Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{signal}: {words}");
        assert!(words.contains("its state is being saved"), "{words}");
        assert!(saved_steps(&run) > before, "{signal}: a step was saved");
        command = resume(&run);
    }
    finish(resume(&run));
    assert_same_runs("interrupted", &run, &whole);
}

/// A file may grow to 4 kB and no further: to the writer what a full disk is.
#[test]
fn a_full_disk_is_told_and_leaves_the_save_before_it() {
    let folder = scratch();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    idx_folder(&data);
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    finish(finetune(&data, &whole));
    let mut child = finetune(&data, &run).spawn().unwrap();
    assert!(wait_until(&mut child, || saved_steps(&run) >= 2));
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path()).collect();
    left.iter()
        .filter(|path| path.to_string_lossy().contains(".densenet-"))
        .for_each(|path| std::fs::remove_file(path).unwrap());

    let bytes = |file: &str| std::fs::read(run.join(file)).unwrap();
    let before = (bytes("last.pth"), bytes("state.safetensors"), bytes("run.json"));
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_densenet")])
        .args(["finetune", "--resume"])
        .arg(&run)
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.lines().last().unwrap().contains("last.pth"), "{words}");
    assert!((bytes("last.pth"), bytes("state.safetensors"), bytes("run.json")) == before, "as they were");
    let strays = std::fs::read_dir(&run).unwrap().filter_map(Result::ok);
    assert!(!strays.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(".densenet-")));
    finish(resume(&run));
    assert_same_runs("after a full disk", &run, &whole);
}
