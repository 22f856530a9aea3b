//! Archives written member by member, so that each rule can be broken alone.

use super::Directory;
use crate::checkpoint::{CheckpointError, MemberProblem, ReadError, StateDict};

/// A member, and what its two headers say of it.
#[derive(Clone)]
struct Entry {
    name: &'static str,
    local_name: &'static str,
    data: Vec<u8>,
    size: u32,
    compressed: u32,
    method: u16,
    flags: u16,
    /// Added to the place of the local header.
    shift: i64,
}

fn entry(name: &'static str, data: &[u8]) -> Entry {
    let length = data.len() as u32;
    let data = data.to_vec();
    Entry { name, local_name: name, data, size: length, compressed: length, method: 0, flags: 0, shift: 0 }
}

/// As torch writes: no sizes in front of the data.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut bytes, mut central) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = (bytes.len() as i64 + entry.shift) as u32;
        bytes.extend(b"PK\x03\x04");
        bytes.extend([0; 22]);
        bytes.extend((entry.local_name.len() as u16).to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(entry.local_name.as_bytes());
        bytes.extend(&entry.data);
        central.extend(b"PK\x01\x02\0\0\0\0");
        central.extend(entry.flags.to_le_bytes());
        central.extend(entry.method.to_le_bytes());
        central.extend([0; 8]);
        central.extend(entry.compressed.to_le_bytes());
        central.extend(entry.size.to_le_bytes());
        central.extend((entry.name.len() as u16).to_le_bytes());
        central.extend([0; 12]);
        central.extend(at.to_le_bytes());
        central.extend(entry.name.as_bytes());
    }
    let (start, length) = (bytes.len() as u32, central.len() as u32);
    bytes.extend(central);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

/// A state dict with one tensor of two floats, in storage 0.
const PICKLE: &[u8] =
    b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
    X\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.";

fn good() -> Vec<Entry> {
    vec![entry("m/data.pkl", PICKLE), entry("m/data/0", &[0; 8]), entry("m/version", b"3\n")]
}

fn refusal(entries: &[Entry]) -> ReadError {
    refused(archive(entries))
}

fn refused(bytes: Vec<u8>) -> ReadError {
    match StateDict::from_bytes(bytes) {
        Err(CheckpointError::Read { reason, .. }) => *reason,
        Err(other) => panic!("{other}"),
        Ok(dict) => panic!("opened: {dict:?}"),
    }
}

/// The refusal of a good archive with one entry changed.
fn changed(index: usize, change: impl Fn(&mut Entry)) -> ReadError {
    let mut entries = good();
    change(&mut entries[index]);
    refusal(&entries)
}

fn problem(error: ReadError, name: &str) -> MemberProblem {
    match error {
        ReadError::Member { member, problem } if member == name => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn a_good_archive_opens_whatever_its_crc() {
    let dict = StateDict::from_bytes(archive(&good())).unwrap();
    assert_eq!(dict.tensors[0].1.shape(), [2]);
    assert_eq!(Vec::<f32>::try_from(dict.tensors[0].1.to_tensor().unwrap()).unwrap(), [0.0, 0.0]);
}

#[test]
fn archives_with_two_meanings_are_refused() {
    let mut twice = good();
    twice.push(entry("m/data/0", &[1; 8]));
    assert_eq!(problem(refusal(&twice), "m/data/0"), MemberProblem::Duplicate);
    let mut roots = good();
    roots.push(entry("other/data.pkl", PICKLE));
    assert_eq!(
        problem(refusal(&roots), "other/data.pkl"),
        MemberProblem::OtherRoot { root: "m".to_string() }
    );
    let names = changed(1, |entry| entry.local_name = "m/data/1");
    assert_eq!(problem(names, "m/data/0"), MemberProblem::LocalName { local: "m/data/1".to_string() });
    // The second member starts inside the first, whose bytes hold a header for it.
    let mut inner = b"PK\x03\x04".to_vec();
    inner.extend([0; 22]);
    inner.extend([8, 0, 0, 0]);
    inner.extend(b"m/data/0");
    inner.extend([0; 8]);
    let mut overlap = good();
    overlap[1].shift = -(inner.len() as i64);
    overlap[0].data.extend(&inner);
    overlap[0].size += inner.len() as u32;
    overlap[0].compressed = overlap[0].size;
    let problem = problem(refusal(&overlap), "m/data/0");
    assert_eq!(problem, MemberProblem::Overlap { other: "m/data.pkl".to_string() });
}

#[test]
fn members_that_cannot_be_read_are_refused_and_others_are_not_minded() {
    assert_eq!(problem(changed(1, |e| e.flags = 1), "m/data/0"), MemberProblem::Encrypted);
    assert_eq!(
        problem(changed(0, |e| e.method = 12), "m/data.pkl"),
        MemberProblem::Compression { method: 12 }
    );
    let sizes = problem(changed(1, |e| e.size = 9), "m/data/0");
    assert_eq!(sizes, MemberProblem::StoredSize { compressed: 8, size: 9 });
    let mut extra = good();
    extra.push(entry("m/notes", b"x"));
    extra[3].method = 99;
    assert!(StateDict::from_bytes(archive(&extra)).is_ok());
}

#[test]
fn members_past_the_file_or_in_the_directory_are_refused() {
    let past = changed(2, |e| (e.size, e.compressed) = (1 << 30, 1 << 30));
    assert!(matches!(past, ReadError::Truncated { needed: 0x4000_0000, .. }), "{past}");
    let directory = changed(2, |e| (e.size, e.compressed) = (40, 40));
    assert!(matches!(directory, ReadError::Truncated { .. }), "{directory}");
    let header = changed(1, |e| e.shift = 1 << 30);
    assert!(matches!(header, ReadError::Truncated { .. }), "{header}");
    let header = changed(1, |e| e.shift = 1);
    assert!(matches!(header, ReadError::Zip { .. }), "{header}");
    let wide = changed(1, |e| e.size = u32::MAX);
    assert!(matches!(wide, ReadError::Zip { problem: "a member's 64-bit sizes are missing", .. }), "{wide}");
}

#[test]
fn storages_shorter_than_declared_and_missing_ones_are_errors() {
    let short = changed(1, |e| *e = entry("m/data/0", &[0; 7]));
    let ReadError::StorageSize { storage, declared: 8, found: 7, unit: "bytes" } = &short else {
        panic!("{short}")
    };
    assert_eq!(storage, "0");
    let missing = changed(1, |e| *e = entry("m/data/1", &[0; 8]));
    assert!(matches!(&missing, ReadError::MissingMember { member } if member == "m/data/0"), "{missing}");
    let version = changed(2, |e| *e = entry("m/version", b"99"));
    assert!(matches!(version, ReadError::Version { max: 10, .. }), "{version}");
    let version = changed(2, |e| *e = entry("m/other", b"3"));
    assert!(matches!(&version, ReadError::MissingMember { member } if member == "m/version"), "{version}");
}

#[test]
fn a_deflate_bomb_is_refused_by_its_size() {
    let bomb = |size: u32, data: Vec<u8>| {
        let mut entries = good();
        let compressed = data.len() as u32;
        entries[1] = Entry { data, size, compressed, method: 8, ..entry("m/data/0", &[]) };
        StateDict::from_bytes(archive(&entries)).and_then(|dict| dict.tensors[0].1.to_tensor())
    };
    let deflate = |bytes: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    assert!(bomb(8, deflate(&[0; 8])).is_ok());
    let reason = |result: Result<tch::Tensor, CheckpointError>| match result {
        Err(CheckpointError::Read { reason, .. }) => *reason,
        other => panic!("{other:?}"),
    };
    for size in [(16 << 20) + 1, 2 << 30] {
        assert!(matches!(reason(bomb(size, vec![0; 8])), ReadError::LimitExceeded { .. }));
    }
    for (size, data) in
        [(1 << 23, deflate(&[0; 8])), (8, deflate(&[0; 9])), (9, deflate(&[0; 8])), (8, vec![0xff; 8])]
    {
        let error = reason(bomb(size, data));
        assert!(matches!(error, ReadError::Member { problem: MemberProblem::Inflate { .. }, .. }), "{error}");
    }
}

#[test]
fn a_directory_that_lies_about_itself_is_refused() {
    let good = archive(&good());
    let end = good.len() - 22;
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Directory::read(&bytes).unwrap_err()
    };
    assert!(matches!(with(end + 12, u32::MAX), ReadError::Zip { .. }));
    assert!(matches!(with(end + 16, u32::MAX), ReadError::Zip { .. }));
    assert!(matches!(with(end + 8, 0xffff_ffff), ReadError::Zip { .. }));
    assert!(matches!(with(end, 0), ReadError::Truncated { .. }));
    let mut many = good.clone();
    many[end + 10..end + 12].copy_from_slice(&[4, 0]);
    assert!(matches!(Directory::read(&many).unwrap_err(), ReadError::Zip { .. }));
}
