//! torch's zip archives: checkpoints since 1.6, TorchScript, and what tch's `VarStore::save` writes.
//!
//! Source: torch's `caffe2/serialize/inline_container.cc` and `torch/serialization.py`.

mod directory;
#[cfg(test)]
mod tests;

pub(super) use directory::{Directory, Member, Method};

use super::limits;
use super::read_error::{MemberProblem, ReadError};
use super::source::Source;
use super::storage::{inflate, Storage, StorageId, MAX_INFLATED};
use super::tensors::Storages;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The newest archive version that torch knows.
const MAX_VERSION: u64 = 10;
/// Bytes of records like `version`.
const MAX_RECORD: u64 = 1024;
/// Bytes of `data.pkl`; of a deflated one no more than [`inflatable`] either.
const MAX_PICKLE: u64 = 64 << 20;

/// An archive with a `<root>/data.pkl`.
pub(super) struct Archive {
    source: Arc<Source>,
    directory: Directory,
    root: String,
    swapped: bool,
}

impl Archive {
    /// Checks the records every archive has.
    pub(super) fn new(source: Arc<Source>, directory: Directory, root: String) -> Result<Archive, ReadError> {
        for member in &directory.members {
            if !member.name.strip_prefix(&root).is_some_and(|rest| rest.starts_with('/')) {
                return Err(ReadError::Member {
                    member: member.name.clone(),
                    problem: MemberProblem::OtherRoot { root },
                });
            }
        }
        let mut archive = Archive { source, directory, root, swapped: false };
        let version = archive.text("version")?.ok_or_else(|| archive.missing("version"))?;
        if !version.trim().parse().is_ok_and(|version: u64| (1..=MAX_VERSION).contains(&version)) {
            return Err(ReadError::Version { found: version, max: MAX_VERSION });
        }
        archive.swapped = match archive.text("byteorder")?.as_deref().map(str::trim) {
            None | Some("little") => false,
            Some("big") => true,
            Some(_) => {
                return Err(ReadError::Zip { at: 0, problem: "its byteorder is neither little nor big" })
            }
        };
        Ok(archive)
    }

    /// The pickled object.
    pub(super) fn pickle(&self) -> Result<Cow<'_, [u8]>, ReadError> {
        let member = self.member("data.pkl").ok_or_else(|| self.missing("data.pkl"))?;
        content(&self.source, member, MAX_PICKLE.min(inflatable(self.source.len(), limits::FREE_PICKLE)))
    }

    /// The archive's storages.
    pub(super) fn storages(&self) -> ZipStorages<'_> {
        ZipStorages { archive: self, open: HashMap::new(), inflated: 0 }
    }

    /// Whether it holds TorchScript's code.
    pub(super) fn is_script(&self) -> bool {
        self.member("constants.pkl").is_some()
    }

    /// Whether a folder below the root has members.
    pub(super) fn has_folder(&self, folder: &str) -> bool {
        let prefix = format!("{}/{folder}/", self.root);
        self.directory.members.iter().any(|member| member.name.starts_with(&prefix))
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.directory.get(&format!("{}/{name}", self.root))
    }

    fn missing(&self, name: &str) -> ReadError {
        ReadError::MissingMember { member: format!("{}/{name}", self.root) }
    }

    fn text(&self, name: &str) -> Result<Option<String>, ReadError> {
        let Some(member) = self.member(name) else { return Ok(None) };
        let bytes = content(&self.source, member, MAX_RECORD)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// How much the deflated members of a file of this length may take together, at least `free`.
pub(super) fn inflatable(length: usize, free: u64) -> u64 {
    (length as u64).saturating_mul(limits::INFLATION).max(free)
}

/// A member's bytes, inflated if need be; its CRC is not looked at, as torch writes zeros there on request.
pub(super) fn content<'s>(source: &'s Source, member: &Member, max: u64) -> Result<Cow<'s, [u8]>, ReadError> {
    readable(member)?;
    // In the file: the directory checked it.
    let bytes = &source[member.data.clone()];
    if member.method == Method::Deflated {
        return Ok(Cow::Owned(inflate(bytes, member.size, &member.name, max)?));
    }
    if member.size > max {
        let at = member.data.start as u64;
        return Err(ReadError::LimitExceeded {
            what: "the length of a zip member",
            at,
            value: member.size,
            max,
        });
    }
    Ok(Cow::Borrowed(bytes))
}

fn readable(member: &Member) -> Result<(), ReadError> {
    let problem = match member.method {
        _ if member.encrypted => MemberProblem::Encrypted,
        _ if member.patched => MemberProblem::Patched,
        Method::Other(method) => MemberProblem::Compression { method },
        Method::Stored | Method::Deflated => return Ok(()),
    };
    Err(ReadError::Member { member: member.name.clone(), problem })
}

/// Storages in `<root>/data/`, by key.
pub(super) struct ZipStorages<'a> {
    archive: &'a Archive,
    open: HashMap<String, Arc<Storage>>,
    /// Bytes that deflated storages will take.
    inflated: u64,
}

impl Storages for ZipStorages<'_> {
    fn open(&mut self, id: &StorageId) -> Result<Arc<Storage>, ReadError> {
        let storage = match self.open.get(&id.key) {
            Some(storage) => storage.clone(),
            None => {
                let storage = Arc::new(self.new_storage(&id.key)?);
                self.open.insert(id.key.clone(), storage.clone());
                storage
            }
        };
        let (declared, found) = (id.bytes().unwrap_or(u64::MAX), storage.len() as u64);
        // More is harmless, and older torch wrote it.
        if declared > found {
            return Err(ReadError::StorageSize { storage: id.key.clone(), declared, found, unit: "bytes" });
        }
        Ok(storage)
    }
}

impl ZipStorages<'_> {
    fn new_storage(&mut self, key: &str) -> Result<Storage, ReadError> {
        let Archive { source, swapped, .. } = self.archive;
        let name = format!("data/{key}");
        let member = self.archive.member(&name).ok_or_else(|| self.archive.missing(&name))?;
        readable(member)?;
        if member.method == Method::Stored {
            return Ok(Storage::plain(key.to_string(), source.clone(), member.data.clone(), *swapped));
        }
        self.inflated = self.inflated.saturating_add(member.size);
        for (value, max) in
            [(member.size, MAX_INFLATED), (self.inflated, inflatable(source.len(), limits::FREE_INFLATION))]
        {
            if value > max {
                let at = member.data.start as u64;
                return Err(ReadError::LimitExceeded {
                    what: "the length of deflated storages",
                    at,
                    value,
                    max,
                });
            }
        }
        Ok(Storage::deflated(
            key.to_string(),
            source.clone(),
            member.data.clone(),
            member.size as usize,
            *swapped,
        ))
    }
}
