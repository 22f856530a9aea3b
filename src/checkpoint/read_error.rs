//! What can go wrong while reading a checkpoint file: each variant says where, what was found, what would be allowed.

use super::foreign::ForeignFile;
use std::path::PathBuf;

/// The file an error is about, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file on disk.
    Path(PathBuf),
    /// Bytes or a reader the caller gave.
    Memory,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Path(path) => write!(f, "{}", path.display()),
            Origin::Memory => write!(f, "checkpoint in memory"),
        }
    }
}

/// Why a file could not be read. Offsets (`at`) count from the start of the file, or of the zip member named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused.
    #[error("cannot {action}: {source}{}", advice(source))]
    Io {
        /// What was tried: `open`, `map`, `read`.
        action: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// Something that is not weights, recognized by its content.
    #[error("{0}")]
    Foreign(ForeignFile),
    /// The file ends before something it promises.
    #[error(
        "truncated: {what} at offset {at} needs {needed} bytes, the file has {have} there; \
         copy or download it again"
    )]
    Truncated {
        /// The part that is cut off.
        what: String,
        /// Where the part starts.
        at: u64,
        /// Bytes it needs.
        needed: u64,
        /// Bytes there are.
        have: u64,
    },
    /// A size far beyond what honest files have.
    #[error("{what} is {value} at offset {at}, at most {max} is read: no honest checkpoint comes near that")]
    LimitExceeded {
        /// What is too large.
        what: &'static str,
        /// Where.
        at: u64,
        /// The size found.
        value: u64,
        /// The largest allowed.
        max: u64,
    },
    /// The pickle calls a function that can run code, open files or reach the network. Nothing was run.
    #[error(
        "the pickle calls {}.{} (offset {at}): loading it in Python would run that. Nothing was run here. \
         Do not trust this file; if you do trust its source, save the state dict alone with torch.save again",
        module.escape_debug(), name.escape_debug()
    )]
    ForbiddenGlobal {
        /// Offset of the calling opcode.
        at: u64,
        /// The function's module.
        module: String,
        /// The function's name.
        name: String,
    },
    /// The pickle breaks its own rules.
    #[error("damaged pickle at offset {at}: {problem}")]
    Pickle {
        /// Offset of the opcode.
        at: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A byte that is no opcode of pickle protocols 0 to 5.
    #[error("damaged pickle at offset {at}: byte 0x{opcode:02x} is no opcode")]
    UnknownOpcode {
        /// Where.
        at: u64,
        /// The byte.
        opcode: u8,
    },
    /// The zip's own structure is broken.
    #[error("damaged zip archive at offset {at}: {problem}")]
    Zip {
        /// Where.
        at: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A zip member breaks a rule that keeps its meaning unambiguous.
    #[error("zip member {member:?}: {problem}; save the file again with torch.save")]
    Member {
        /// The member's name.
        member: String,
        /// What is wrong.
        problem: MemberProblem,
    },
    /// A member every torch archive has is not there.
    #[error("the archive has no member {member:?}; copy or download the file again")]
    MissingMember {
        /// Its name.
        member: String,
    },
    /// The archive's `version` record is of the future, or no number.
    #[error("archive version {found:?} is not known, 1 to {max} are")]
    Version {
        /// The record's text.
        found: String,
        /// The newest version known.
        max: u64,
    },
    /// The five pickles of the legacy format disagree.
    #[error("damaged legacy checkpoint at offset {at}: {problem}")]
    Legacy {
        /// Where.
        at: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A storage record is of another size than the pickle declares.
    #[error("storage {storage:?}: the pickle declares {declared} {unit}, the file has {found}")]
    StorageSize {
        /// The storage's key.
        storage: String,
        /// Size by the pickle.
        declared: u64,
        /// Size by the file.
        found: u64,
        /// `elements` or `bytes`.
        unit: &'static str,
    },
    /// A tensor reaches past its storage, or has a negative offset or stride.
    #[error("tensor {tensor:?} needs elements up to {needed} of storage {storage:?}, which has {have}")]
    OutsideStorage {
        /// The tensor's name.
        tensor: String,
        /// The storage's key.
        storage: String,
        /// Elements needed from the storage's start (`u64::MAX`: beyond counting, or negative).
        needed: u64,
        /// Elements there are.
        have: u64,
    },
    /// A tensor with more elements than its storage (stride 0 or overlap), so that reading it costs more than the file.
    #[error(
        "tensor {tensor:?} has {numel} elements over a storage of {have}: expanded tensors are not weights; \
         save it again after .contiguous()"
    )]
    Expanded {
        /// The tensor's name.
        tensor: String,
        /// Its elements (`u64::MAX`: beyond counting).
        numel: u64,
        /// The storage's elements.
        have: u64,
    },
    /// A tensor of a type that is not plain dense numbers.
    #[error("tensor {tensor:?} is {what}: only dense tensors are read; {advice}")]
    UnsupportedTensor {
        /// The tensor's name.
        tensor: String,
        /// What it is.
        what: String,
        /// The way out.
        advice: &'static str,
    },
    /// A tensor's description is not one torch writes.
    #[error("tensor {tensor:?}: {problem}")]
    BadTensor {
        /// The tensor's name.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// Something else stands where a tensor should.
    #[error("{key:?} should be a tensor and is {found}")]
    NotATensor {
        /// The key.
        key: String,
        /// What is there.
        found: String,
    },
    /// A name occurs twice.
    #[error("the key {key:?} occurs twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// No dictionary of tensors in the file.
    #[error(
        "no state dict in the file: its top object is {top}; save one with torch.save(model.state_dict(), path)"
    )]
    NoStateDict {
        /// What the file holds.
        top: String,
    },
    /// Several dictionaries look equally like the weights.
    #[error("several state dicts fit equally well: {}; name one as the root (--root)", list(candidates))]
    AmbiguousRoot {
        /// Key path and number of tensors of each.
        candidates: Vec<(String, usize)>,
    },
    /// The root asked for is not in the file.
    #[error("no state dict at root {root:?}; the file has {}", list(candidates))]
    RootNotFound {
        /// The root asked for.
        root: String,
        /// Key path and number of tensors of each state dict there is.
        candidates: Vec<(String, usize)>,
    },
    /// The safetensors header is refused.
    #[error("damaged safetensors file: {0}")]
    Safetensors(safetensors::SafeTensorError),
}

/// What is wrong with a zip member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberProblem {
    /// The name occurs twice.
    #[error("occurs twice")]
    Duplicate,
    /// Members under two top folders.
    #[error("lies outside the archive's folder {root:?}")]
    OtherRoot {
        /// The folder of the first member.
        root: String,
    },
    /// The name in front of the data is not the directory's.
    #[error("is called {local:?} in front of its data")]
    LocalName {
        /// The name in the local header.
        local: String,
    },
    /// Its bytes are another member's too.
    #[error("overlaps {other:?}")]
    Overlap {
        /// The other member.
        other: String,
    },
    /// Password protected.
    #[error("is encrypted")]
    Encrypted,
    /// A patch for some other file, by its flags.
    #[error("is a patch for another file")]
    Patched,
    /// A name that would leave the folder the archive is unpacked in, or that not everybody reads alike.
    #[error("has a name that is no path below the archive's folder")]
    Path,
    /// A compression other than stored and deflate.
    #[error("uses compression method {method}, only stored and deflated members are read")]
    Compression {
        /// The zip format's number.
        method: u16,
    },
    /// Deflated data is damaged, or of another length than declared.
    #[error("does not inflate to its declared {declared} bytes")]
    Inflate {
        /// The declared length.
        declared: u64,
    },
    /// A stored member with two different sizes.
    #[error("is stored, with two sizes: {compressed} and {size}")]
    StoredSize {
        /// The compressed size.
        compressed: u64,
        /// The size.
        size: u64,
    },
}

fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "; make the file readable for this user",
        std::io::ErrorKind::NotFound => "; check the path",
        _ => "",
    }
}

fn list(candidates: &[(String, usize)]) -> String {
    if candidates.is_empty() {
        return "none".to_string();
    }
    let shown = candidates.iter().take(8).map(|(path, count)| {
        let path = if path.is_empty() { "the top object" } else { path };
        format!("{} ({count} tensors)", path.escape_debug())
    });
    let more =
        if candidates.len() > 8 { format!(", and {} more", candidates.len() - 8) } else { String::new() };
    shown.collect::<Vec<_>>().join(", ") + &more
}
