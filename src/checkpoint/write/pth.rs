//! State dicts as `torch.save` writes them: an `OrderedDict` of tensors in a zip archive, or in the format before 1.6.
//!
//! Without `_metadata`: with it, torch takes a batch norm without `num_batches_tracked` for an incomplete file; without
//! it, files load strictly with the counters and without. Source: `torch/serialization.py` (`_save`, `_legacy_save`),
//! `torch/_tensor.py` (`_reduce_ex_internal`).

use super::entry::Entry;
use super::zip::{ZipWriter, ALIGNMENT};
use super::Sink;
use crate::checkpoint::error::{CheckpointError, Result};
use crate::checkpoint::legacy;
use crate::checkpoint::pickle::Writer;
use crate::checkpoint::storage::class_name;

/// The folder that all members lie in. torch takes the file's name; any will do, and this is what it takes for streams.
const ROOT: &str = "archive";
/// `.format_version`: storages are in the order of their numbers.
const FORMAT_VERSION: &str = "1";
/// `version` (`kProducedFileFormatVersion`).
const VERSION: &str = "3\n";

/// Writes torch's zip format.
pub(super) fn write_zip(sink: &mut Sink, entries: &[Entry]) -> Result<()> {
    let pickle = state_dict(entries, Ids::Zip)?;
    let mut zip = ZipWriter::new(sink, ROOT);
    zip.member("data.pkl", &pickle)?;
    zip.member(".format_version", FORMAT_VERSION.as_bytes())?;
    zip.member(".storage_alignment", ALIGNMENT.to_string().as_bytes())?;
    zip.member("byteorder", b"little")?;
    for (index, entry) in entries.iter().enumerate() {
        zip.member(&format!("data/{index}"), &entry.bytes()?)?;
    }
    zip.member("version", VERSION.as_bytes())?;
    zip.finish()
}

/// Writes the format before 1.6.
pub(super) fn write_legacy(sink: &mut Sink, entries: &[Entry]) -> Result<()> {
    let mut magic = Writer::new();
    magic.long(&legacy::MAGIC.to_le_bytes());
    let mut protocol = Writer::new();
    protocol.int(legacy::PROTOCOL);
    // Read by nobody; torch writes the sizes of C's types on the machine, and data is little-endian everywhere.
    let mut system = Writer::new();
    system.empty_dict();
    type Value = fn(&mut Writer);
    let values: [(&'static str, Value); 3] = [
        ("protocol_version", |writer| writer.int(legacy::PROTOCOL)),
        ("little_endian", |writer| writer.bool(true)),
        ("type_sizes", |writer| {
            writer.empty_dict();
            writer.set_items(&[("short", 2), ("int", 4), ("long", 4)], |writer, (name, size)| {
                writer.literal(name);
                writer.int(*size);
            });
        }),
    ];
    system.set_items(&values, |writer, (name, value)| {
        writer.literal(name);
        value(writer);
    });
    let mut keys = Writer::new();
    keys.empty_list();
    keys.append(&(0..entries.len()).collect::<Vec<_>>(), |writer, index| {
        writer.text(&index.to_string());
    });
    let object = state_dict(entries, Ids::Legacy)?;
    for pickle in [magic.finish(), protocol.finish(), system.finish(), object, keys.finish()] {
        sink.put(&pickle)?;
    }
    for entry in entries {
        let elements = entry.len() / entry.kind.elt_size_in_bytes() as u64;
        sink.put(&elements.to_le_bytes())?;
        sink.put(&entry.bytes()?)?;
    }
    Ok(())
}

/// How storages are named.
#[derive(Clone, Copy, PartialEq)]
enum Ids {
    /// `('storage', class, key, location, numel)`
    Zip,
    /// The same and `None`: the whole storage, not a part of it.
    Legacy,
}

/// The pickle of an `OrderedDict` of tensors, each the whole of a storage under its number.
fn state_dict(entries: &[Entry], ids: Ids) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    writer.empty_ordered_dict();
    let numbered = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| Ok((index, entry, class(entry)?)))
        .collect::<Result<Vec<_>>>()?;
    writer.set_items(&numbered, |writer, (index, entry, class)| {
        writer.text(&entry.name);
        tensor(writer, entry, class, &index.to_string(), ids == Ids::Legacy);
    });
    Ok(writer.finish())
}

/// The storage class of an entry's dtype.
pub(super) fn class(entry: &Entry) -> Result<&'static str> {
    class_name(entry.kind).ok_or_else(|| CheckpointError::UnsupportedKind {
        tensor: entry.name.to_string(),
        kind: entry.kind,
        format: "torch's state dicts",
    })
}

/// A contiguous tensor over the whole of the storage `key`.
pub(super) fn tensor(writer: &mut Writer, entry: &Entry, class: &str, key: &str, with_view: bool) {
    let shape = entry.shape();
    writer.global("torch._utils", "_rebuild_tensor_v2");
    writer.tuple(6, |writer| {
        writer.tuple(if with_view { 6 } else { 5 }, |writer| {
            writer.literal("storage");
            writer.global("torch", class);
            writer.text(key);
            writer.literal("cpu");
            writer.int(elements(entry));
            if with_view {
                writer.none();
            }
        });
        writer.persistent();
        writer.int(0);
        writer.ints(&shape);
        writer.ints(&strides(&shape));
        writer.bool(false); // requires_grad
        writer.empty_ordered_dict(); // hooks
    });
    writer.reduce();
}

fn elements(entry: &Entry) -> i64 {
    entry.shape().iter().product()
}

/// A contiguous tensor's, as torch counts them: empty dimensions as if they had one element.
fn strides(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i].max(1));
    }
    strides
}
