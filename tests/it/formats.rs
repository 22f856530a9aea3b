//! Checkpoint files of many shapes, as torch and its older versions write them, against what torch reads from them.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch};
use densenet::checkpoint::{CheckpointError, Format, ReadError, ReadOptions, StateDict};
use serde_json::{json, Value};
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use tch::{nn, Device, Kind, Tensor};

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(text).collect()
}

/// Panics unless the file holds the case's tensors, in its order and to the bit.
fn check(dict: &StateDict, case: &Value) {
    let name = text(&case["name"]);
    assert_eq!(json!(dict.format), case["format"], "{name}: format");
    assert_eq!(json!(dict.root), case["root"], "{name}: root");
    let found: Vec<&str> = dict.tensors.iter().map(|(key, _)| &**key).collect();
    assert_eq!(found, texts(&case["names"]), "{name}: names");
    match case.get("foreign_has") {
        Some(part) => assert!(dict.foreign_globals.iter().any(|g| g.contains(text(part))), "{name}: {part}"),
        None => assert_eq!(dict.foreign_globals, texts(&case["foreign"]), "{name}: foreign globals"),
    }
    if let Some(metadata) = case.get("metadata") {
        assert_eq!(&json!(dict.metadata), metadata, "{name}: metadata");
    }
    let reference = read_safetensors(text(&case["reference"]));
    assert_eq!(reference.len(), dict.tensors.len(), "{name}: number of tensors");
    for (index, (key, view)) in dict.tensors.iter().enumerate() {
        let want = &reference[&format!("{index:05}")];
        let got = view.to_tensor().unwrap();
        assert!(got.is_contiguous(), "{name}: {key} is contiguous");
        assert_eq!((view.kind(), view.shape().to_vec()), (want.kind(), want.size()), "{name}: {key}");
        assert_same_bits(&format!("{name}: {key}"), &got, want);
        let target = want.zeros_like();
        view.copy_to(&target).unwrap();
        assert_same_bits(&format!("{name}: {key}, copied"), &target, want);
        if want.kind() == Kind::Float {
            // A parameter, and one whose memory is not in the order of its elements.
            let parameter = want.zeros_like().set_requires_grad(true);
            view.copy_to(&parameter).unwrap();
            assert!(parameter.is_leaf() && parameter.requires_grad());
            assert_same_bits(&format!("{name}: {key}, parameter"), &parameter, want);
            let shape: Vec<i64> = want.size().iter().map(|size| size + 1).collect();
            let mut inner = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
            for (dimension, size) in want.size().iter().enumerate() {
                inner = inner.narrow(dimension as i64, 0, *size);
            }
            view.copy_to(&inner).unwrap();
            assert_same_bits(&format!("{name}: {key}, not contiguous"), &inner, want);
        }
    }
}

#[test]
fn files_of_every_shape_hold_what_torch_reads_from_them() {
    let folder = scratch();
    let cases = ask("format_cases", json!({"folder": folder.path()}));
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for case in cases {
        let name = text(&case["name"]);
        let path = text(&case["path"]);
        let options = ReadOptions { root: case.get("ask").map(|root| text(root).to_string()) };
        let fine =
            |dict: Result<StateDict, CheckpointError>| dict.unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&fine(StateDict::open_with(path, &options)), case);
        let bytes = std::fs::read(path).unwrap();
        check(&fine(StateDict::from_reader_with(Cursor::new(&bytes), &options)), case);
        check(&fine(StateDict::from_bytes_with(Arc::<[u8]>::from(&bytes[..]), &options)), case);
        check(&fine(StateDict::from_bytes_with(bytes, &options)), case);
    }
}

#[test]
fn what_is_no_weights_is_refused_with_its_reason() {
    let folder = scratch();
    let cases = ask("format_refusals", json!({"folder": folder.path()}));
    for case in cases.as_array().unwrap() {
        let [name, path, words] = &texts(case)[..] else { panic!("{case}") };
        match StateDict::open(path) {
            Ok(dict) => panic!("{name} opened: {dict:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(words), "{name}: {error}");
                assert!(error.contains(path), "{name}: the error names the file: {error}");
            }
        }
    }
}

#[test]
fn a_file_that_tch_saved_has_the_var_stores_names() {
    let folder = scratch();
    let store = nn::VarStore::new(Device::Cpu);
    let root = store.root();
    nn::conv2d(&root / "features" / "conv0", 3, 4, 3, Default::default());
    nn::batch_norm2d(&root / "features" / "norm0", 4, Default::default());
    nn::linear(&root / "classifier", 4, 2, Default::default());
    let path = folder.path().join("model.ot");
    store.save(&path).unwrap();
    let dict = StateDict::open(&path).unwrap();
    assert_eq!((dict.format, &dict.root), (Format::Ot, &None));
    let variables = store.variables();
    assert_eq!(dict.tensors.len(), variables.len());
    for (name, view) in &dict.tensors {
        assert_same_bits(name, &view.to_tensor().unwrap(), &variables[name]);
    }
    let one = folder.path().join("one.ot");
    Tensor::save_multi(&[("weight", Tensor::arange(5, (Kind::Double, Device::Cpu)))], &one).unwrap();
    let dict = StateDict::open(&one).unwrap();
    assert_eq!((dict.format, &*dict.tensors[0].0), (Format::Ot, "weight"));
    assert_eq!(dict.tensors[0].1.kind(), Kind::Double);
}

#[test]
fn a_view_outlives_its_state_dict_and_the_files_name() {
    let folder = scratch();
    let path = folder.path().join("one.safetensors");
    let want = Tensor::arange(9, (Kind::Float, Device::Cpu));
    Tensor::write_safetensors(&[("a", &want)], &path).unwrap();
    let mut dict = StateDict::open(&path).unwrap();
    let (_, view) = dict.tensors.remove(0);
    drop(dict);
    std::fs::remove_file(&path).unwrap();
    assert_same_bits("a", &view.to_tensor().unwrap(), &want);
}

#[test]
fn the_root_asked_for_must_be_there() {
    let folder = scratch();
    let cases = ask("format_refusals", json!({"folder": folder.path()}));
    assert!(cases.is_array());
    let two = folder.path().join("two.pth");
    let at = |root: &str| StateDict::open_with(&two, &ReadOptions { root: Some(root.to_string()) });
    assert_eq!(at("b").unwrap().root.as_deref(), Some("b"));
    match at("c").unwrap_err() {
        CheckpointError::Read { reason, .. } => match *reason {
            ReadError::RootNotFound { root, candidates } => {
                assert_eq!((&*root, candidates), ("c", vec![("a".to_string(), 1), ("b".to_string(), 1)]));
            }
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

/// A hole of 8 GB is cheap as a file and dear once touched.
#[test]
fn opening_touches_no_tensor_data() {
    let folder = scratch();
    let path = folder.path().join("hole.safetensors");
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, 8u64 << 30);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(bytes.len() as u64 + (8 << 30)).unwrap();
    let before = resident();
    let dict = StateDict::open(&path).unwrap();
    assert_eq!(dict.tensors[0].1.shape(), [8 << 30]);
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 30, "opening took {grown} bytes");
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string(Path::new("/proc/self/statm")).unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
