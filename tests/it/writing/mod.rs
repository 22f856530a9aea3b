//! Files that are written here, read by torch; and what stays when writing is cut short.

mod conversion;
mod cut_short;

use crate::model::variants;
use crate::oracle::ask;
use crate::support::{assert_same_bits, scratch, seed};
use densenet::checkpoint::{self, convert, ConvertOptions, Entry, KeyStyle, StateDict, WriteFormat};
use densenet::Arch;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The formats that Python reads as state dicts, with an ending of theirs.
const FORMATS: [(WriteFormat, &str); 3] = [
    (WriteFormat::PthZip, "zip.pth"),
    (WriteFormat::PthLegacy, "legacy.pth"),
    (WriteFormat::Safetensors, "safetensors"),
];

fn read(path: &Path) -> Vec<(String, Tensor)> {
    let dict = StateDict::open(path).unwrap_or_else(|error| panic!("{error}"));
    dict.tensors.iter().map(|(name, view)| (name.clone(), view.to_tensor().unwrap())).collect()
}

/// Writes a file again as it is, in another format, into `folder`.
fn rewrite(source: &Path, format: WriteFormat, ending: &str, folder: &Path) -> PathBuf {
    let dict = StateDict::open(source).unwrap();
    let options = ConvertOptions { keys: KeyStyle::AsIs, ..ConvertOptions::default() };
    let converted = convert(&dict, &options).unwrap();
    let path = folder.join(format!("from {}.{ending}", source.file_name().unwrap().to_string_lossy()));
    checkpoint::write(&path, format, &converted.entries, &dict.metadata.iter().cloned().collect()).unwrap();
    path
}

#[track_caller]
fn assert_same_tensors(case: &str, got: &[(String, Tensor)], want: &[(String, Tensor)]) {
    let sorted = |tensors: &[(String, Tensor)]| -> BTreeMap<String, Tensor> {
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
    };
    let (got, want) = (sorted(got), sorted(want));
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{case}");
    for (name, tensor) in &got {
        assert_same_bits(&format!("{case}: {name}"), tensor, &want[name]);
    }
}

/// Eight networks × three formats × two dtypes: Python saves, we write again, Python reads and loads strictly. All
/// tensors of each network under their names; those of the larger ones narrower than published, to write less.
#[test]
fn what_python_saved_and_we_wrote_again_loads_strictly_and_to_the_bit() {
    for (name, mut config) in variants().into_iter().take(8) {
        if config.growth_rate > 12 && config != Arch::DenseNet121.config() {
            (config.growth_rate, config.num_init_features) = (8, 16);
        }
        for dtype in ["float32", "float16"] {
            let folder = scratch();
            ask(
                "writing_saved",
                json!({"config": config, "seed": 7, "dtype": dtype, "folder": folder.path()}),
            );
            let source = folder.path().join("archive.pth");
            let files: Vec<Value> = FORMATS
                .iter()
                .map(|(format, ending)| {
                    let path = rewrite(&source, *format, ending, folder.path());
                    assert_same_tensors(&format!("{name}, {dtype}, {ending}"), &read(&path), &read(&source));
                    json!([format.read_as(), path, *format != WriteFormat::Safetensors])
                })
                .collect();
            ask("writing_check", json!({"config": config, "dtype": dtype, "source": source, "files": files}));
        }
    }
}

/// From each format that Python writes to each that we write, and from there to each again.
#[test]
fn values_survive_every_pair_of_formats() {
    let folder = scratch();
    let names = ask("writing_assorted", json!({"folder": folder.path()}));
    let want = read(&folder.path().join("archive.pth"));
    assert_eq!(names.as_array().unwrap().len(), want.len());
    for source in ["archive.pth", "legacy.pth", "saved.safetensors"] {
        for (format, ending) in FORMATS {
            let once = rewrite(&folder.path().join(source), format, ending, folder.path());
            assert_same_tensors(&format!("{source} to {ending}"), &read(&once), &want);
            for (format, ending) in FORMATS {
                let twice = rewrite(&once, format, ending, folder.path());
                assert_same_tensors(
                    &format!("{source} to {} to {ending}", once.display()),
                    &read(&twice),
                    &want,
                );
            }
        }
    }
}

#[test]
fn safetensors_files_equal_pythons_to_the_byte() {
    let folder = scratch();
    ask("writing_assorted", json!({"folder": folder.path()}));
    let source = folder.path().join("saved.safetensors");
    let ours = rewrite(&source, WriteFormat::Safetensors, "safetensors", folder.path());
    assert!(std::fs::read(&ours).unwrap() == std::fs::read(&source).unwrap());
}

/// Members, order, padding, headers, directory and the pickle in it; but not the first half of `serialization_id`, which
/// torch makes with a hash of the C++ library's.
#[test]
fn zip_files_equal_torch_saves_to_the_byte_but_for_the_fingerprint_of_the_names() {
    let folder = scratch();
    ask("writing_assorted", json!({"folder": folder.path()}));
    let theirs = std::fs::read(folder.path().join("archive.pth")).unwrap();
    let ours = rewrite(&folder.path().join("archive.pth"), WriteFormat::PthZip, "zip.pth", folder.path());
    let mut ours = std::fs::read(&ours).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let find = |from: usize| {
        let name = b"archive/.data/serialization_id";
        theirs[from..].windows(name.len()).position(|window| window == name).unwrap() + from
    };
    let local = find(0);
    let central = find(local + 1);
    let payload = (local + 30).next_multiple_of(64);
    for masked in [payload..payload + 20, payload + 44..payload + 48, central - 30..central - 26] {
        ours[masked.clone()].copy_from_slice(&theirs[masked]);
    }
    let differing = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    assert_eq!(differing, None, "the first byte that differs");
}

#[test]
fn members_of_a_zip_file_begin_at_multiples_of_64_and_are_stored() {
    let folder = scratch();
    ask("writing_assorted", json!({"folder": folder.path()}));
    let ours = rewrite(&folder.path().join("legacy.pth"), WriteFormat::PthZip, "zip.pth", folder.path());
    let members = ask("writing_members", json!({"path": ours}));
    assert_eq!(members.as_array().unwrap().len(), 2500 + 6);
    for member in members.as_array().unwrap() {
        assert_eq!((member[1].as_u64().unwrap() % 64, member[3].as_u64()), (0, Some(0)), "{member}");
    }
}

#[test]
fn tch_and_torchscript_read_what_is_written_as_ot() {
    let folder = scratch();
    let config = json!(crate::support::small_network(&[2, 1], 3));
    ask("writing_saved", json!({"config": config, "seed": 2, "dtype": "float32", "folder": folder.path()}));
    let source = folder.path().join("archive.pth");
    let ours = rewrite(&source, WriteFormat::Ot, "ot", folder.path());
    let want = read(&source);
    // tch's own reader leaves the bars that stand for dots.
    let loaded = Tensor::load_multi(&ours).unwrap();
    let loaded: Vec<_> = loaded.into_iter().map(|(name, tensor)| (name.replace('|', "."), tensor)).collect();
    assert_same_tensors("tch", &loaded, &want);
    assert_same_tensors("ours", &read(&ours), &want);
    let parameters = ask("writing_numbers", json!({"path": ours}));
    assert_eq!(parameters.as_object().unwrap().len(), want.len());
    assert!(parameters.as_object().unwrap().values().all(|parameter| parameter[2] == false));

    let _guard = seed(0);
    let mut store = tch::nn::VarStore::new(Device::Cpu);
    let network = densenet::DenseNet::new(
        &store.root(),
        &serde_json::from_value::<densenet::DenseNetConfig>(config).unwrap(),
    )
    .unwrap();
    store.load(&ours).unwrap();
    assert_same_tensors("VarStore", &network.named_tensors(), &want);
}

#[test]
fn tensors_of_any_layout_are_written_each_with_its_own_numbers() {
    let folder = scratch();
    let base = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([4, 6]);
    let parameter = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let channels_last =
        Tensor::arange(120, (Kind::Half, Device::Cpu)).reshape([2, 5, 4, 3]).permute([0, 3, 1, 2]);
    let tensors = [
        ("transposed".to_string(), base.tr()),
        ("middle".to_string(), base.narrow(1, 2, 3)),
        ("expanded".to_string(), base.narrow(0, 1, 1).expand([5, 6], false)),
        ("the same again".to_string(), base.shallow_clone()),
        ("base".to_string(), base),
        ("parameter".to_string(), parameter),
        ("channels last".to_string(), channels_last),
    ];
    for (format, ending) in FORMATS {
        let path = folder.path().join(ending);
        let entries: Vec<Entry> =
            tensors.iter().map(|(name, tensor)| Entry::of_tensor(name, tensor)).collect();
        checkpoint::write(&path, format, &entries, &BTreeMap::new()).unwrap();
        assert_same_tensors(ending, &read(&path), &tensors);
    }
}
