//! Looking at a file costs what its description costs, however much data it has.
#![cfg(target_os = "linux")]

use crate::oracle::ask;
use crate::support::scratch;
use densenet::checkpoint::{self, NameOptions, StateDict};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Kilobytes of a mapped file that this process has touched: what the kernel says of the mapping.
fn touched(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(&*path.to_string_lossy()));
    let resident = lines.find_map(|line| line.strip_prefix("Rss:")).expect("the file is mapped");
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn names_and_shapes_are_read_without_touching_any_tensors_data() {
    let folder = scratch();
    let files: Vec<(String, PathBuf)> =
        serde_json::from_value(ask("sparse_checkpoints", json!({"folder": folder.path()}))).unwrap();
    assert_eq!(files.len(), 3);
    for (name, path) in files {
        assert!(path.metadata().unwrap().len() > 2 << 30, "{name}");
        let dict = StateDict::open(&path).unwrap();
        let normalized = checkpoint::normalize(&dict, &NameOptions::default()).unwrap();
        assert!(checkpoint::infer(&normalized).is_err());
        assert_eq!(dict.tensors.len(), 3);
        assert_eq!(dict.tensors[0].1.shape().len(), 1);
        // A page here and there, with those that the kernel maps around it.
        let before = touched(&path);
        assert!(before < 1024, "{name}: {before} kB of 2 GiB");
        // The measure sees what is read: one tensor of 8 MB, some pages of which were there.
        let (_, small) = dict.tensors.iter().find(|(name, _)| name == "small.weight").unwrap();
        assert_eq!(small.to_tensor().unwrap().numel(), 2 << 20);
        let after = touched(&path);
        assert!((8000..10 << 10).contains(&(after - before)), "{name}: {before} kB, then {after} kB");
    }
}

#[test]
fn weights_inspect_needs_no_more_memory_for_a_large_file_than_for_a_small_one() {
    let folder = scratch();
    let peak = |arguments: &[&str]| {
        let command = [&[env!("CARGO_BIN_EXE_densenet")], arguments].concat();
        ask("peak_memory", json!({"arguments": command})).as_u64().unwrap()
    };
    let nothing = peak(&["weights", "inspect", "fashion_mnist"]);
    let files: Vec<(String, PathBuf)> =
        serde_json::from_value(ask("sparse_checkpoints", json!({"folder": folder.path()}))).unwrap();
    for (name, path) in files {
        let inspecting = peak(&["weights", "inspect", path.to_str().unwrap()]);
        let more = inspecting.saturating_sub(nothing);
        assert!(more < 16 << 10, "{name}: {inspecting} kB, {nothing} kB for the embedded weights");
    }
    // densenet161, 115 MB: pages between its 806 tensors are touched, and the kernel maps some around each, but no more
    // than that.
    let large: Vec<PathBuf> = serde_json::from_value(ask(
        "official_checkpoints",
        json!({"folder": folder.path(), "arch": "densenet161"}),
    ))
    .unwrap();
    for path in large {
        let length = path.metadata().unwrap().len() >> 10;
        assert!(length > 110_000);
        let more = peak(&["weights", "inspect", path.to_str().unwrap()]).saturating_sub(nothing);
        println!("{}: {length} kB, {more} kB more than for the embedded weights", path.display());
        assert!(more < length / 4, "{more} kB of {length} kB");
    }
}
