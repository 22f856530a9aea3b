//! torch's format before 1.6 (`_use_new_zipfile_serialization=False`): five pickles, then the storages.
//!
//! Source: `torch/serialization.py`, `_legacy_save` and `_legacy_load`.

use super::pickle::{self, Node, Tree};
use super::read_error::ReadError;
use super::source::Source;
use super::storage::{Storage, StorageId};
use super::tensors::Storages;
use std::collections::HashMap;
use std::sync::Arc;

/// The first pickle.
pub(super) const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The second.
pub(super) const PROTOCOL: i64 = 1001;

/// Whether a pickle's object is torch's magic number; it decides between a checkpoint and any other pickle.
pub(super) fn is_magic(tree: &Tree) -> bool {
    matches!(tree.node(tree.root()), Node::Big(number) if **number == MAGIC)
}

/// The object in the file, and its storages.
pub(super) fn read(source: &Arc<Source>) -> Result<(Tree<'_>, LegacyStorages), ReadError> {
    let mut position = 0;
    let mut next = || {
        let at = position;
        let (tree, length) = pickle::parse(&source[at..], at as u64)?;
        position += length;
        Ok::<_, ReadError>((tree, at as u64))
    };
    let broken = |at, problem| ReadError::Legacy { at, problem };
    let (magic, at) = next()?;
    if !is_magic(&magic) {
        return Err(broken(at, "the first pickle is not torch's magic number"));
    }
    let (protocol, at) = next()?;
    if protocol.int(protocol.root()) != Some(PROTOCOL) {
        return Err(broken(at, "the protocol is not 1001"));
    }
    // Sizes and byte order of the machine that wrote it: data is little-endian whatever it says.
    next()?;
    let (object, object_at) = next()?;
    let (keys, keys_at) = next()?;
    let no_keys = || broken(keys_at, "the fifth pickle is not a list of storage keys");
    let listed = keys.sequence(keys.root()).ok_or_else(no_keys)?;

    // The data follows in the order of the keys; how long each is, only the object's storage ids say.
    let mut ids: HashMap<String, StorageId> = HashMap::new();
    for id in object.persistent_ids() {
        // What is not a storage is a module's class; a damaged one is named when a tensor needs it.
        if let Ok(id) = StorageId::read(&object, id) {
            // torch keeps the dtype of the first sighting.
            ids.entry(id.key.clone()).or_insert(id);
        }
    }
    let mut storages = HashMap::new();
    for key in listed {
        // Borrowed until it is known to be new: the list may name one key a million times.
        let key = keys.str(*key).ok_or_else(no_keys)?;
        let id = ids
            .get(key)
            .ok_or_else(|| broken(object_at, "a storage in the list of keys is used by no tensor"))?;
        let missing = |needed| ReadError::Truncated {
            what: format!("storage {key:?}"),
            at: position as u64,
            needed,
            have: source.len().saturating_sub(position) as u64,
        };
        let count = source.get(position..position + 8).ok_or_else(|| missing(8))?;
        // Elements, not bytes.
        let count = count.iter().rev().fold(0u64, |count, byte| count << 8 | u64::from(*byte));
        if count != id.elements {
            let (declared, found) = (id.elements, count);
            return Err(ReadError::StorageSize {
                storage: key.to_string(),
                declared,
                found,
                unit: "elements",
            });
        }
        let start = position + 8;
        let needed = id.bytes().unwrap_or(u64::MAX);
        let end = (start as u64).checked_add(needed).filter(|end| *end <= source.len() as u64);
        let end = end.ok_or_else(|| missing(needed.saturating_add(8)))? as usize;
        let storage = Storage::plain(key.to_string(), source.clone(), start..end, false);
        if storages.insert(key.to_string(), Arc::new(storage)).is_some() {
            return Err(broken(keys_at, "a storage is listed twice"));
        }
        position = end;
    }
    // torch does not mind what follows.
    Ok((object, LegacyStorages { storages }))
}

/// The storages of one file, by key.
pub(super) struct LegacyStorages {
    storages: HashMap<String, Arc<Storage>>,
}

impl Storages for LegacyStorages {
    fn open(&mut self, id: &StorageId) -> Result<Arc<Storage>, ReadError> {
        let Some(storage) = self.storages.get(&id.key) else {
            return Err(ReadError::MissingMember { member: format!("storage {}", id.key) });
        };
        let (declared, found) = (id.bytes().unwrap_or(u64::MAX), storage.len() as u64);
        if declared > found {
            return Err(ReadError::StorageSize { storage: id.key.clone(), declared, found, unit: "bytes" });
        }
        Ok(storage.clone())
    }
}
