//! State dicts made ready for writing: under which names, in which dtype, with or without the head.

use super::error::{CheckpointError, Result};
use super::normalize::{normalize, Dropped, NameOptions, Normalized};
use super::state_dict::StateDict;
use super::write::Entry;
use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;
use tch::Kind;

/// Whose names a converted state dict has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyStyle {
    /// torchvision's of today; what no rule knows keeps its name.
    #[default]
    Torchvision,
    /// torchvision's up to 0.2.0 (`denselayer1.norm.1.weight`), which the official files still have: no counters.
    Old,
    /// The file's own.
    AsIs,
}

/// What to make of a state dict.
#[derive(Debug, Clone, Default)]
pub struct ConvertOptions {
    /// Which network of the file, and renames that come first.
    pub names: NameOptions,
    /// Whose names the tensors get.
    pub keys: KeyStyle,
    /// The dtype of all floating-point tensors; `None` leaves each its own.
    pub kind: Option<Kind>,
    /// Leave out everything outside `features.`.
    pub strip_head: bool,
}

/// A state dict ready to be [written](super::write()), and what was done to it.
pub struct Converted<'a> {
    /// The tensors, in the file's order. None of them has been read yet.
    pub entries: Vec<Entry<'a>>,
    /// What was left out.
    pub dropped: Vec<Dropped>,
    /// What was taken off the front of the names.
    pub stripped_prefix: Option<String>,
    /// Whose names the file has, `None` for torchvision's.
    pub origin: Option<String>,
    /// How many tensors have another name than in the file, prefix aside.
    pub renamed: usize,
}

static NEW_KEY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(.*denselayer[0-9]+\.(?:norm|conv))([12]\..*)$").expect("a regular expression of ours")
});

/// Renames, converts and leaves out; reads no tensor.
///
/// # Errors
/// As [`normalize`]; [`CheckpointError::NotDenseNet`] if without the head nothing is left.
pub fn convert<'a>(dict: &'a StateDict, options: &ConvertOptions) -> Result<Converted<'a>> {
    let touched = options.keys != KeyStyle::AsIs || options.strip_head || options.names.prefix.is_some();
    let all = if touched { normalize(dict, &options.names)? } else { Normalized::unchanged(dict) };
    let origin = all.origin();
    let (mut entries, mut dropped, mut renamed) = (Vec::with_capacity(all.tensors.len()), all.dropped, 0);
    let prefix = all.stripped_prefix.as_deref().unwrap_or_default();
    for tensor in all.tensors {
        let mut leave_out = |reason| dropped.push(Dropped { name: tensor.original.to_string(), reason });
        if options.strip_head && !tensor.name.starts_with("features.") {
            leave_out("part of the head");
            continue;
        }
        if options.keys == KeyStyle::Old && tensor.name.ends_with(".num_batches_tracked") {
            leave_out("a counter, which files with old names do not have");
            continue;
        }
        let name: Cow<'a, str> = match options.keys {
            KeyStyle::AsIs => tensor.original.into(),
            KeyStyle::Torchvision => tensor.name.into(),
            KeyStyle::Old => NEW_KEY.replace(&tensor.name, "$1.$2").into_owned().into(),
        };
        if name != tensor.original.strip_prefix(prefix).unwrap_or(tensor.original) {
            renamed += 1;
        }
        let view = match options.keys {
            // Under the file's own names channels stay in the file's own order.
            KeyStyle::AsIs => Cow::Owned(tensor.view.in_file_order()),
            _ => tensor.view,
        };
        let entry = Entry::of(name, view);
        entries.push(match options.kind {
            Some(kind) => entry.in_kind(kind),
            None => entry,
        });
    }
    if entries.is_empty() && options.strip_head {
        let names = dict.tensors.iter().map(|(name, _)| name.clone()).collect();
        return Err(CheckpointError::NotDenseNet {
            missing: "features.conv0.weight".to_string(),
            names,
            hints: Vec::new(),
        });
    }
    let stripped_prefix = all.stripped_prefix.filter(|_| options.keys != KeyStyle::AsIs);
    Ok(Converted { entries, dropped, stripped_prefix, origin, renamed })
}
