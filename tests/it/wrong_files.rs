//! Files that are damaged, hostile or something else: each has its own error, and none panics or hangs.

use crate::oracle::ask;
use crate::support::scratch;
use densenet::checkpoint::{CheckpointError, ForeignFile, ReadError, StateDict};
use serde_json::json;
use std::path::Path;
use tch::{nn, Device, Kind, Tensor};

fn reason(result: Result<StateDict, CheckpointError>) -> ReadError {
    match result {
        Err(CheckpointError::Read { reason, .. }) => *reason,
        Err(other) => panic!("{other}"),
        Ok(dict) => panic!("opened: {dict:?}"),
    }
}

fn refusal(bytes: &[u8]) -> ReadError {
    reason(StateDict::from_bytes(bytes.to_vec()))
}

/// A small checkpoint of each container format.
fn samples(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    ask("format_samples", json!({"folder": folder}));
    let store = nn::VarStore::new(Device::Cpu);
    nn::linear(store.root() / "classifier", 4, 2, Default::default());
    store.save(folder.join("model.ot")).unwrap();
    let names =
        ["zip.pth", "legacy.pth", "script.pt", "small.safetensors", "deflated.pth", "model.ot", "module.pth"];
    names.iter().map(|name| (*name, std::fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = scratch();
    for (name, bytes) in samples(folder.path()) {
        // Every offset near a boundary of the structure, and a sweep between.
        let near = |at: usize| {
            let from = at.saturating_sub(2);
            bytes[from..(at + 6).min(bytes.len())]
                .windows(2)
                .any(|pair| pair == b"PK" || pair == [0x80, 2] || pair[1] == b'.')
        };
        let mut cuts = 0;
        for length in
            (0..bytes.len()).filter(|at| at % 23 == 0 || *at < 300 || bytes.len() - at < 300 || near(*at))
        {
            let error = refusal(&bytes[..length]);
            assert!(!error.to_string().is_empty());
            cuts += 1;
        }
        assert!(cuts > 300, "{name}: {cuts} cuts");
    }
}

#[test]
fn a_truncated_file_says_so() {
    let folder = scratch();
    for (name, bytes) in samples(folder.path()) {
        let cut = refusal(&bytes[..bytes.len() - 30]);
        match (name, cut) {
            (_, ReadError::Truncated { .. }) => {}
            ("small.safetensors", ReadError::Safetensors(_)) => {}
            (_, other) => panic!("{name}: {other}"),
        }
    }
}

/// xorshift64: the same bytes on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn flipped_bytes_never_panic_and_never_hang() {
    let folder = scratch();
    let mut random = Random(20161);
    for (_, bytes) in samples(folder.path()) {
        // What describes the data lies at both ends; flip there more often.
        let ends = bytes.len().min(6000);
        for round in 0..1500 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = match round % 3 {
                    0 => random.below(bytes.len()),
                    1 => random.below(ends),
                    _ => bytes.len() - 1 - random.below(ends),
                };
                damaged[at] = random.below(256) as u8;
            }
            if let Ok(dict) = StateDict::from_bytes(damaged) {
                for (_, view) in &dict.tensors {
                    // An error is as good as a tensor of other numbers.
                    let _ = view.to_tensor();
                }
            }
        }
    }
}

/// A legacy file whose object is this pickle, with storages of (key, elements, bytes).
fn legacy(object: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let mut file =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    file.extend(object);
    file.extend(b"\x80\x02](");
    for (key, ..) in storages {
        file.extend([b'U', key.len() as u8]);
        file.extend(key.as_bytes());
    }
    file.extend(b"e.");
    for (_, elements, bytes) in storages {
        file.extend(elements.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

/// A state dict with one tensor `w` on storage `s`; numbers as they are to be written.
fn one_tensor(elements: &[u8], offset: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
    let parts: &[&[u8]] = &[
        b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x01sU\x03cpu",
        elements,
        b"NtQ",
        offset,
        size,
        stride,
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ];
    parts.concat()
}

#[test]
fn sizes_that_do_not_fit_the_storage_are_refused_before_anything_is_allocated() {
    let file = |offset: &[u8], size: &[u8], stride: &[u8]| {
        legacy(&one_tensor(b"K\x06", offset, size, stride), &[("s", 6, &[0; 24])])
    };
    assert!(StateDict::from_bytes(file(b"K\0", b"K\x02K\x03\x86", b"K\x03K\x01\x86")).is_ok());
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    /// Offset, size and stride as written, and the elements they need.
    type Case<'a> = (&'a [u8], &'a [u8], &'a [u8], u64);
    let outside: &[Case] = &[
        (b"K\0", b"K\x07\x85", b"K\x01\x85", 7),
        (b"K\x01", b"K\x06\x85", b"K\x01\x85", 7),
        (b"K\x07", b"K\0\x85", b"K\x01\x85", 7),
        (b"K\0", b"K\x03\x85", b"K\x03\x85", 7),
        (b"J\xff\xff\xff\xff", b"K\x01\x85", b"K\x01\x85", u64::MAX),
        (b"K\0", b"K\x02\x85", b"J\xff\xff\xff\xff\x85", u64::MAX),
        (b"K\0", &[huge, &b"\x85"[..]].concat(), b"K\x01\x85", i64::MAX as u64),
        (b"K\0", &[huge, huge, &b"\x86"[..]].concat(), b"K\x01K\x01\x86", u64::MAX),
        (b"K\0", b"K\x02\x85", &[huge, &b"\x85"[..]].concat(), (1 << 63)),
        (huge, b"K\x01\x85", b"K\x01\x85", 1 << 63),
    ];
    for (offset, size, stride, want) in outside {
        match refusal(&file(offset, size, stride)) {
            ReadError::OutsideStorage { tensor, storage, needed, have: 6 } => {
                assert_eq!((&*tensor, &*storage, needed), ("w", "s", *want));
            }
            other => panic!("{other}"),
        }
    }
    // torch opens this one, and copying it out would take 12 GB.
    match refusal(&file(b"K\0", b"J\0\xca\x9a\x3bK\x03\x86", b"K\0K\0\x86")) {
        ReadError::Expanded { numel: 3_000_000_000, have: 6, .. } => {}
        other => panic!("{other}"),
    }
    for (size, stride) in
        [(&b"K\x02K\x03\x86"[..], &b"K\x01\x85"[..]), (b"J\xfe\xff\xff\xff\x85", b"K\x01\x85"), (b"N", b"N")]
    {
        let error = refusal(&file(b"K\0", size, stride));
        assert!(matches!(error, ReadError::BadTensor { .. }), "{error}");
    }
}

#[test]
fn storages_longer_than_the_file_are_refused_before_anything_is_allocated() {
    let file = |numel: &[u8], count| {
        legacy(&one_tensor(numel, b"K\0", b"K\x06\x85", b"K\x01\x85"), &[("s", count, &[0; 24])])
    };
    assert!(StateDict::from_bytes(file(b"K\x06", 6)).is_ok());
    let long = refusal(&file(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", i64::MAX));
    assert!(matches!(long, ReadError::Truncated { needed: u64::MAX, have: 32, .. }), "{long}");
    let count = refusal(&file(b"K\x06", 7));
    assert!(
        matches!(count, ReadError::StorageSize { declared: 6, found: 7, unit: "elements", .. }),
        "{count}"
    );
    let negative = refusal(&file(b"J\xff\xff\xff\xff", -1));
    assert!(matches!(negative, ReadError::Legacy { .. } | ReadError::BadTensor { .. }), "{negative}");
}

#[test]
fn many_tensors_on_one_storage_cost_no_more_than_a_few_times_the_file() {
    let data = vec![0u8; 4 << 20];
    let mut object = b"\x80\x02}(".to_vec();
    let tensor: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x01sU\x03cpuJ\0\0\x10\0NtQK\0J\0\0\x10\0\x85K\x01\x85\x89}tR";
    for index in 0..1000 {
        object.extend(b"U\x04");
        object.extend(format!("{index:04}").as_bytes());
        object.extend(tensor);
    }
    object.extend(b"u.");
    match refusal(&legacy(&object, &[("s", 1 << 20, &data)])) {
        ReadError::LimitExceeded { value, .. } => assert_eq!(value, 4000 << 20),
        other => panic!("{other}"),
    }
}

#[test]
fn a_call_of_os_system_is_refused_by_name_in_any_of_the_five_pickles() {
    let good = legacy(&one_tensor(b"K\x06", b"K\0", b"K\x06\x85", b"K\x01\x85"), &[("s", 6, &[0; 24])]);
    let call: &[u8] = b"\x80\x02cos\nsystem\nU\x04true\x85R.";
    let starts: Vec<usize> = (0..good.len()).filter(|at| good[*at..].starts_with(b"\x80\x02")).collect();
    assert_eq!(starts.len(), 5);
    for start in starts {
        let mut file = good[..start].to_vec();
        file.extend(call);
        file.extend(&good[start..]);
        match refusal(&file) {
            ReadError::ForbiddenGlobal { at, module, name } => {
                // The offset of REDUCE in the whole file.
                assert_eq!((at as usize, &*module, &*name), (start + call.len() - 2, "os", "system"));
            }
            other => panic!("{other}"),
        }
    }
    let bare = refusal(b"cos\nsystem\n(S'true'\ntR.");
    assert!(matches!(bare, ReadError::ForbiddenGlobal { .. }), "{bare}");
}

#[test]
fn a_call_stands_for_no_tensor_and_no_state_dict() {
    let keys: &[(&str, i64, &[u8])] = &[];
    let made = refusal(&legacy(b"\x80\x02cmine\nmake\n)RU\x01wK\x01s.", keys));
    assert!(matches!(&made, ReadError::NoStateDict { top } if top == "what mine.make returns"), "{made}");
    let tensor = one_tensor(b"K\x06", b"K\0", b"K\x06\x85", b"K\x01\x85");
    let mut object = tensor[..tensor.len() - 1].to_vec();
    object.extend(b"U\x0bconv.weightcmine\nmake\n)Rs.");
    match refusal(&legacy(&object, &[("s", 6, &[0; 24])])) {
        ReadError::NotATensor { key, found } => {
            assert_eq!((&*key, &*found), ("conv.weight", "what mine.make returns"))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_module_that_contains_itself_ends_in_an_error() {
    // NEWOBJ + BUILD of {_parameters: {}, _modules: {a: itself}}.
    let object = b"\x80\x02cmine\nNet\n)\x81q\x00}(U\x0b_parameters}U\x08_modules}U\x01ah\x00sub.";
    let error = refusal(&legacy(object, &[]));
    assert!(matches!(error, ReadError::LimitExceeded { what: "the nesting of modules", .. }), "{error}");
    // Each level holds the one below twice: 2^40 names.
    let mut object = b"\x80\x02cmine\nNet\nq\xff)\x81}(U\x0b_parameters}U\x08_modules}ubq\x00".to_vec();
    for level in 1..40 {
        object.extend(b"0h\xff)\x81}(U\x0b_parameters}U\x08_modules}(U\x01ah");
        object.extend([level - 1]);
        object.extend(b"U\x01bh");
        object.extend([level - 1]);
        object.extend(b"uubq");
        object.extend([level]);
    }
    object.push(b'.');
    let error = refusal(&legacy(&object, &[]));
    assert!(
        matches!(
            error,
            ReadError::LimitExceeded {
                what: "the number of values looked at, most of them again and again,",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn files_of_other_kinds_are_recognized_by_their_content() {
    let long = |start: &[u8]| [start, &[7; 600]].concat();
    let mut tar = vec![0; 2048];
    tar[..8].copy_from_slice(b"sys_info");
    tar[257..262].copy_from_slice(b"ustar");
    let mut other_tar = tar.clone();
    other_tar[..8].copy_from_slice(b"my_files");
    let cases: Vec<(Vec<u8>, ForeignFile)> = vec![
        (Vec::new(), ForeignFile::Empty),
        (vec![0; 40], ForeignFile::TooShort { bytes: 40 }),
        (vec![0; 400], ForeignFile::Unknown),
        (long(b"hello"), ForeignFile::Unknown),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n".to_vec(),
            ForeignFile::GitLfsPointer,
        ),
        (long(b"<!DOCTYPE html><html>"), ForeignFile::WebPage),
        (long(b"\n <HTML>"), ForeignFile::WebPage),
        (long(b"\x08\x07\x12\x07pytorch\x1a"), ForeignFile::Onnx),
        (long(b"\x08\x01\x12\x80\x02"), ForeignFile::TensorFlow),
        (long(b"\x89HDF\r\n\x1a\n"), ForeignFile::Hdf5),
        (long(b"\x1f\x8b\x08"), ForeignFile::Gzip),
        (long(b"7z\xbc\xaf\x27\x1c"), ForeignFile::SevenZip),
        (long(b"\x93NUMPY\x01\x00"), ForeignFile::Npy),
        (long(b"PYTORCH1"), ForeignFile::PreviewArchive),
        (long(b"\x04\0\0\0\x01\0\0\0"), ForeignFile::LuaTorch),
        (long(b"4\n1\n3\nV 1\n13\nnn.Sequential\n"), ForeignFile::LuaTorch),
        (long(b"\x89PNG\r\n\x1a\n"), ForeignFile::Picture { format: "PNG" }),
        (long(b"\xff\xd8\xff\xe0"), ForeignFile::Picture { format: "JPEG" }),
        (tar, ForeignFile::TorchTar),
        (other_tar, ForeignFile::Tar),
        (b"\x80\x04}\x8c\x01aK\x01s.".to_vec(), ForeignFile::BarePickle { top: "a dict of 1".to_string() }),
    ];
    for (bytes, want) in cases {
        match refusal(&bytes) {
            ReadError::Foreign(found) => {
                assert_eq!(found, want);
                assert!(found.to_string().len() > 20);
            }
            other => panic!("{want:?}: {other}"),
        }
    }
}

#[test]
fn paths_that_are_no_readable_file_say_why() {
    let folder = scratch();
    let open = |path: &Path| reason(StateDict::open(path));
    assert!(matches!(open(folder.path()), ReadError::Foreign(ForeignFile::Directory)));
    let missing = open(&folder.path().join("missing.pth"));
    assert!(missing.to_string().contains("check the path"), "{missing}");
    let empty = folder.path().join("empty.pth");
    std::fs::write(&empty, b"").unwrap();
    assert!(matches!(open(&empty), ReadError::Foreign(ForeignFile::Empty)));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert!(matches!(open(Path::new("/dev/null")), ReadError::Foreign(ForeignFile::Special)));
        let locked = folder.path().join("locked.pth");
        std::fs::write(&locked, b"x").unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser may read it all the same, and then sees what it is.
        match open(&locked) {
            ReadError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {}
            ReadError::Foreign(ForeignFile::TooShort { bytes: 1 }) if std::fs::read(&locked).is_ok() => {}
            other => panic!("{other}"),
        }
    }
    // Whoever runs the test: what a refused permission is said like.
    let denied = ReadError::Io { action: "open", source: std::io::ErrorKind::PermissionDenied.into() };
    assert_eq!(denied.to_string(), "cannot open: permission denied; make the file readable for this user");
}

#[test]
fn a_safetensors_key_that_occurs_twice_is_refused() {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let tensor = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    assert!(StateDict::from_bytes(file(&format!(r#"{{"a":{tensor}}}"#), 4)).is_ok());
    let twice = refusal(&file(&format!(r#"{{"a":{tensor},"a":{tensor}}}"#), 4));
    assert!(matches!(&twice, ReadError::DuplicateKey { key } if key == "a"), "{twice}");
    for (header, data) in [
        (format!(r#"{{"a":{tensor},"b":{tensor}}}"#), 4),
        (format!(r#"{{"a":{tensor}}}"#), 8),
        (r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#.to_string(), 4),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#.to_string(), 4),
        ("{".to_string(), 0),
    ] {
        let error = refusal(&file(&header, data));
        assert!(matches!(error, ReadError::Safetensors(_)), "{header}: {error}");
    }
    let mut long = u64::to_le_bytes(99_000_000).to_vec();
    long.extend(b"{}");
    assert!(matches!(refusal(&long), ReadError::Safetensors(_)));
}

#[test]
fn copying_into_a_tensor_of_another_shape_is_an_error() {
    let folder = scratch();
    let path = folder.path().join("a.safetensors");
    Tensor::write_safetensors(&[("a", Tensor::arange(6, (Kind::Float, Device::Cpu)))], &path).unwrap();
    let dict = StateDict::open(&path).unwrap();
    assert!(dict.tensors[0].1.copy_to(&Tensor::zeros([5], (Kind::Float, Device::Cpu))).is_err());
    assert!(dict.tensors[0].1.copy_to(&Tensor::zeros([2, 6], (Kind::Float, Device::Cpu))).is_err());
    let half = Tensor::zeros([6], (Kind::Half, Device::Cpu));
    dict.tensors[0].1.copy_to(&half).unwrap();
    assert_eq!(Vec::<f32>::try_from(half.to_kind(Kind::Float)).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}
