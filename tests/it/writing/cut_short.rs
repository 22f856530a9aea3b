//! A writer that is killed, a disk that is full: what was there before is still there, or the new file is.

use super::{assert_same_tensors, read, WriteFormat, FORMATS};
use crate::support::scratch;
use densenet::checkpoint::{self, Entry};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// 24 MB: long enough to be killed in.
fn state(value: f64) -> Vec<(String, Tensor)> {
    (0..24)
        .map(|i| (format!("layer{i}.weight"), Tensor::full([1 << 18], value, (Kind::Float, Device::Cpu))))
        .collect()
}

fn write(path: &Path, format: WriteFormat, tensors: &[(String, Tensor)]) {
    let entries: Vec<Entry> = tensors.iter().map(|(name, tensor)| Entry::of_tensor(name, tensor)).collect();
    checkpoint::write(path, format, &entries, &BTreeMap::new()).unwrap();
}

/// The size of the temporary file in the folder, if there is one.
fn temporary(folder: &Path) -> Option<u64> {
    let mut entries = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
    let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(".densenet-"))?;
    found.metadata().ok().map(|metadata| metadata.len())
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_file_or_the_new_one() {
    const KILLS: u64 = 8;
    let (old, new) = (state(1.0), state(2.0));
    for (format, ending) in FORMATS.into_iter().chain([(WriteFormat::Ot, "ot")]) {
        let folder = scratch();
        let (source, target) =
            (folder.path().join("new.safetensors"), folder.path().join(format!("model.{ending}")));
        write(&source, WriteFormat::Safetensors, &new);
        write(&target, format, &old);
        let mut killed_half_way = 0;
        for round in 0..KILLS {
            let mut child = Command::new(env!("CARGO_BIN_EXE_densenet"))
                .args(["weights", "convert", "--force", "--key-style", "as-is", "--format"])
                .arg(serde_json::to_value(format.read_as()).unwrap().as_str().unwrap())
                .args([&source, &target])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // From the first byte in the temporary file on, a little later each time.
            let started = Instant::now();
            while temporary(folder.path()).unwrap_or(0) == 0 && child.try_wait().unwrap().is_none() {
                assert!(started.elapsed() < Duration::from_secs(60), "the writer neither writes nor ends");
                std::hint::spin_loop();
            }
            std::thread::sleep(Duration::from_micros(700 * round));
            // SIGKILL; nothing of the child's runs any more.
            child.kill().unwrap();
            child.wait().unwrap();
            let got = read(&target);
            let value = got[0].1.double_value(&[0]);
            assert!(value == 1.0 || value == 2.0, "{ending}: {value}");
            assert_same_tensors(ending, &got, if value == 1.0 { &old } else { &new });
            if let Some(length) = temporary(folder.path()) {
                killed_half_way += u32::from(length < std::fs::metadata(&target).unwrap().len());
                for entry in std::fs::read_dir(folder.path()).unwrap().filter_map(Result::ok) {
                    if entry.file_name().to_string_lossy().starts_with(".densenet-") {
                        std::fs::remove_file(entry.path()).unwrap();
                    }
                }
            }
        }
        assert!(killed_half_way > 0, "{ending}: no kill hit a half-written file: the test tests nothing");
    }
}

/// A file may grow to 1 MB and no further: to the writer what a full disk is.
#[test]
fn a_full_disk_leaves_the_old_file_says_so_and_leaves_nothing_behind() {
    let (old, new) = (state(1.0), state(2.0));
    for (format, ending) in FORMATS.into_iter().chain([(WriteFormat::Ot, "ot")]) {
        let folder = scratch();
        let (source, target) =
            (folder.path().join("new.safetensors"), folder.path().join(format!("model.{ending}")));
        write(&source, WriteFormat::Safetensors, &new);
        write(&target, format, &old);
        let format = serde_json::to_value(format.read_as()).unwrap();
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_densenet")])
            .args([
                "weights",
                "convert",
                "--force",
                "--key-style",
                "as-is",
                "--format",
                format.as_str().unwrap(),
            ])
            .args([&source, &target])
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{ending}: {error}");
        assert!(error.contains("cannot write") && error.contains(target.to_str().unwrap()), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
        assert_same_tensors(ending, &read(&target), &old);
        assert_eq!(temporary(folder.path()), None, "{ending}: a temporary file is left");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = scratch();
    let tensors = state(1.0);
    let refused = |path: &Path| checkpoint::write_pth(path, &tensors[..1]).unwrap_err().to_string();
    let missing = folder.path().join("no such folder").join("a.pth");
    let error = refused(&missing);
    assert!(error.contains("no such folder") && error.contains("cannot write"), "{error}");
    let error = refused(folder.path());
    assert!(error.contains("a folder"), "{error}");
    // As root a rename would put a file where /dev/null is.
    let error = refused(Path::new("/dev/null"));
    assert!(error.contains("a device"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_permissions_stay_as_they_were() {
    use std::os::unix::fs::PermissionsExt;
    let folder = scratch();
    let (file, link) = (folder.path().join("real.pth"), folder.path().join("link.pth"));
    write(&file, WriteFormat::PthZip, &state(1.0));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.pth", &link).unwrap();
    write(&link, WriteFormat::PthZip, &state(2.0));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_same_tensors("through a link", &read(&file), &state(2.0));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    // A new file is as any other that this user makes.
    let (ours, any) = (folder.path().join("new.pth"), folder.path().join("any"));
    write(&ours, WriteFormat::PthZip, &state(1.0));
    std::fs::write(&any, "").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&any));
}

/// The views read from the file that is being replaced.
#[test]
fn a_file_is_written_over_itself_while_it_is_mapped() {
    for (format, ending) in FORMATS {
        let folder = scratch();
        let path = folder.path().join(ending);
        let tensors = state(3.0);
        write(&path, format, &tensors);
        let dict = checkpoint::StateDict::open(&path).unwrap();
        let converted = checkpoint::convert(
            &dict,
            &checkpoint::ConvertOptions { kind: Some(Kind::Half), ..Default::default() },
        )
        .unwrap();
        checkpoint::write(&path, format, &converted.entries, &BTreeMap::new()).unwrap();
        // The old views still hold, the name leads to the new file.
        assert_same_tensors(
            "mapped",
            &[(String::new(), dict.tensors[5].1.to_tensor().unwrap())],
            &[(String::new(), tensors[5].1.shallow_clone())],
        );
        let half: Vec<_> =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.to_kind(Kind::Half))).collect();
        assert_same_tensors(ending, &read(&path), &half);
    }
}
