//! What a file is, by its content: extensions say nothing (`.pth.tar` is no tar, `.t7` may be a pickle).

use super::foreign::ForeignFile;
use super::legacy;
use super::pickle;
use super::read_error::ReadError;
use super::zip_archive::Directory;

/// A file that can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Zip,
    Legacy,
    Safetensors,
}

/// No checkpoint is shorter.
const SHORTEST: usize = 100;
/// The longest header the safetensors format allows.
const SAFETENSORS_HEADER: u64 = 100_000_000;

/// First bytes and what they mean.
const SIGNATURES: &[(&[u8], ForeignFile)] = &[
    (b"version https://git-lfs", ForeignFile::GitLfsPointer),
    (b"PYTORCH1", ForeignFile::PreviewArchive),
    (b"\x89HDF\r\n\x1a\n", ForeignFile::Hdf5),
    (b"\x1f\x8b", ForeignFile::Gzip),
    (b"7z\xbc\xaf\x27\x1c", ForeignFile::SevenZip),
    (b"\x93NUMPY", ForeignFile::Npy),
    (b"\x89PNG\r\n", ForeignFile::Picture { format: "PNG" }),
    (b"\xff\xd8\xff", ForeignFile::Picture { format: "JPEG" }),
    (b"GIF8", ForeignFile::Picture { format: "GIF" }),
    (b"BM", ForeignFile::Picture { format: "BMP" }),
    (b"II*\0", ForeignFile::Picture { format: "TIFF" }),
    (b"MM\0*", ForeignFile::Picture { format: "TIFF" }),
    (b"\x04\0\0\0", ForeignFile::LuaTorch),
    (b"\x03\0\0\0", ForeignFile::LuaTorch),
];

/// Recognizes a file.
///
/// # Errors
/// [`ReadError::Foreign`] with what it is instead; for a pickle that torch did not write, first whatever is wrong with
/// it, so that one made to attack its reader is refused by name.
pub(super) fn recognize(bytes: &[u8]) -> Result<Container, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::Foreign(ForeignFile::Empty));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Ok(Container::Zip);
    }
    if let Some(foreign) = foreign(bytes) {
        return Err(ReadError::Foreign(foreign));
    }
    if let (Some(length), Some(b'{')) = (bytes.first_chunk::<8>(), bytes.get(8)) {
        if u64::from_le_bytes(*length) <= SAFETENSORS_HEADER {
            return Ok(Container::Safetensors);
        }
    }
    pickled(bytes)
}

/// torch's legacy format, another pickle, or nothing known. Protocols 0 and 1 have no mark at their start.
fn pickled(bytes: &[u8]) -> Result<Container, ReadError> {
    let unknown = || match bytes.len() {
        length if length < SHORTEST => ReadError::Foreign(ForeignFile::TooShort { bytes: length as u64 }),
        _ => ReadError::Foreign(ForeignFile::Unknown),
    };
    let marked = matches!(bytes, [0x80, 1..=5, ..]);
    match pickle::parse(bytes, 0) {
        Ok((tree, _)) if legacy::is_magic(&tree) => Ok(Container::Legacy),
        // A stray full stop is a pickle's end as well: without a mark, a pickle is believed only if it holds something.
        Ok((tree, length)) if marked || length == bytes.len() => {
            Err(ReadError::Foreign(ForeignFile::BarePickle { top: tree.describe(tree.root()) }))
        }
        Ok(_) => Err(unknown()),
        Err(error) if marked || matches!(error, ReadError::ForbiddenGlobal { .. }) => Err(error),
        Err(_) => Err(unknown()),
    }
}

fn foreign(bytes: &[u8]) -> Option<ForeignFile> {
    if let Some((_, foreign)) = SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)) {
        return Some(foreign.clone());
    }
    let start = bytes[..bytes.len().min(256)].trim_ascii_start().to_ascii_lowercase();
    if start.starts_with(b"<!doctype") || start.starts_with(b"<html") || start.starts_with(b"<?xml") {
        return Some(ForeignFile::WebPage);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some(ForeignFile::Picture { format: "WebP" });
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some(tar(bytes));
    }
    // Lua Torch's text form: a version line or a type tag, then an object's class.
    if bytes[..bytes.len().min(64)].windows(3).any(|window| window == b"nn.") && bytes.starts_with(b"4\n") {
        return Some(ForeignFile::LuaTorch);
    }
    // Protobuf: field 1 a version, then field 2: ONNX's producer, text; a SavedModel's graph, a message.
    if let [0x08, version, 0x12, length, rest @ ..] = bytes {
        let producer = rest.get(..usize::from(*length)).unwrap_or_default();
        if !producer.is_empty() && producer.iter().all(u8::is_ascii_graphic) {
            return Some(ForeignFile::Onnx);
        }
        if *version == 1 {
            return Some(ForeignFile::TensorFlow);
        }
    }
    None
}

/// torch ≤ 0.1.9 wrote a tar of `sys_info`, `pickle`, `storages` and `tensors`.
fn tar(bytes: &[u8]) -> ForeignFile {
    let names = bytes.chunks(512).filter(|block| block.get(257..262) == Some(b"ustar"));
    let torch = names.take(16).any(|block| {
        let name = &block[..100];
        let name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(100)];
        let name = name.strip_prefix(b"./").unwrap_or(name);
        matches!(name, b"sys_info" | b"storages" | b"tensors")
    });
    if torch {
        ForeignFile::TorchTar
    } else {
        ForeignFile::Tar
    }
}

/// What a zip archive holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ZipContent {
    /// torch's archive, all under this folder.
    Torch { root: String },
    /// Its only member, a legacy file.
    Legacy,
}

/// Recognizes what a zip archive is by its members' names.
pub(super) fn zip_content(directory: &Directory) -> Result<ZipContent, ReadError> {
    let Some(first) = directory.members.first() else {
        return Err(ReadError::Foreign(ForeignFile::OtherZip { first: String::new() }));
    };
    let root = first.name.split('/').next().unwrap_or_default().to_string();
    let at_top = |name: &str| directory.get(name).is_some();
    let at_root = |name: &str| directory.get(&format!("{root}/{name}")).is_some();
    let foreign = if at_top("model.weights.h5") || (at_top("config.json") && at_top("metadata.json")) {
        ForeignFile::Keras
    } else if at_top("archive_format")
        || at_root("archive_format")
        || at_top("serialized_exported_program.json")
        || at_root("serialized_exported_program.json")
    {
        ForeignFile::ExportedProgram
    } else if at_root("model.json") {
        ForeignFile::OldTorchScript
    } else if directory.members.iter().all(|member| member.name.ends_with(".npy")) {
        ForeignFile::Npz
    } else if directory.members.iter().any(|member| member.name.ends_with("/data.pkl")) {
        return Ok(ZipContent::Torch { root });
    } else if directory.members.len() == 1 {
        return Ok(ZipContent::Legacy);
    } else {
        let named_so = |name: &str| {
            let endings = [".pth", ".pt", ".tar", ".ckpt", ".bin", ".safetensors"];
            endings.iter().any(|ending| name.ends_with(ending))
        };
        let mut checkpoints = directory.members.iter().filter(|member| named_so(&member.name));
        match checkpoints.next() {
            Some(one) => {
                ForeignFile::ZippedCheckpoints { count: 1 + checkpoints.count(), first: one.name.clone() }
            }
            None => ForeignFile::OtherZip { first: first.name.clone() },
        }
    };
    Err(ReadError::Foreign(foreign))
}
