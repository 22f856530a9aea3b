//! Tensors as pickles describe them: torch's rebuild functions, read instead of called.
//!
//! Source: `torch/_utils.py`, `torch/_tensor.py`, and the pickles of torch 0.1.12 to 2.13.

use super::limits::RANK;
use super::pickle::{How, Node, NodeId, Object, Tree};
use super::read_error::ReadError;
use super::state_dict::{Stored, TensorView};
use super::storage::{dtype, Storage, StorageId};
use std::sync::Arc;
use tch::Kind;

/// Tensors around tensors: a subclass of a parameter of a tensor is three.
const MAX_WRAPPING: usize = 8;

/// Where a format keeps its storages.
pub(super) trait Storages {
    /// The storage with this id, its size checked against the file.
    fn open(&mut self, id: &StorageId) -> Result<Arc<Storage>, ReadError>;
}

/// Whether a node describes a tensor, readable or not.
pub(super) fn is_tensor(tree: &Tree, id: NodeId) -> bool {
    tree.object(id).is_some_and(|object| maker(tree, object).is_some())
}

/// The functions and classes that make tensors.
enum Maker {
    /// storage, offset, size, stride, …; with the place of the flags (conjugated, negative) in the arguments.
    Rebuild { metadata: Option<usize> },
    /// As above over an untyped storage, with a dtype.
    RebuildTyped,
    /// The first argument is the tensor.
    Parameter,
    /// `Parameter` of torch ≤ 0.3: the tensor is the first argument, or the state's first entry.
    OldParameter,
    /// `torch.FloatTensor` and its kin of torch ≤ 0.1: the state is (storage, offset, size, stride).
    OldTensor,
    /// function, class, arguments, state.
    Subclass,
    /// Not dense numbers.
    Unsupported(&'static str),
}

fn maker(tree: &Tree, object: &Object) -> Option<Maker> {
    let callee = tree.callee(object)?;
    Some(match (&*callee.module, &*callee.name) {
        ("torch._utils", "_rebuild_tensor") => Maker::Rebuild { metadata: None },
        ("torch._utils", "_rebuild_tensor_v2") => Maker::Rebuild { metadata: Some(6) },
        ("torch._utils", "_rebuild_tensor_v3") => Maker::RebuildTyped,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Maker::Parameter,
        ("torch.nn.parameter", "Parameter" | "Buffer") | ("torch.autograd.variable", "Variable") => {
            Maker::OldParameter
        }
        ("torch._tensor" | "torch.tensor", "_rebuild_from_type_v2") => Maker::Subclass,
        ("torch._utils", "_rebuild_qtensor") => Maker::Unsupported("a quantized tensor"),
        ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => {
            Maker::Unsupported("a sparse tensor")
        }
        ("torch._utils", "_rebuild_nested_tensor") => Maker::Unsupported("a nested tensor"),
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => {
            Maker::Unsupported("a meta tensor, which has no data")
        }
        ("torch._utils", "_rebuild_wrapper_subclass") => {
            Maker::Unsupported("a wrapper subclass, which has no data")
        }
        ("torch._utils", name) if name.starts_with("_rebuild_") => {
            Maker::Unsupported("of a type that is not read")
        }
        ("torch" | "torch.cuda", name) if name.ends_with("Tensor") && object.how == How::Class => {
            Maker::OldTensor
        }
        _ => return None,
    })
}

/// Reads the tensor at `id`, which [`is_tensor`]; its data stays where it is.
pub(super) fn read(
    tree: &Tree,
    id: NodeId,
    name: &str,
    storages: &mut dyn Storages,
) -> Result<TensorView, ReadError> {
    let mut id = id;
    for _ in 0..MAX_WRAPPING {
        let object = tree.object(id).ok_or_else(|| bad(name, format!("it is {}", tree.describe(id))))?;
        let arguments = tree.arguments(object);
        let state = || object.state.and_then(|state| tree.sequence(state)).unwrap_or_default();
        let first_of = |list: &[NodeId]| list.first().copied();
        match maker(tree, object) {
            Some(Maker::Rebuild { metadata }) => {
                if let Some(flags) = metadata.and_then(|place| arguments.get(place)) {
                    refuse_flags(tree, *flags, name)?;
                }
                return rebuild(tree, arguments, None, name, storages);
            }
            Some(Maker::RebuildTyped) => {
                let [_, _, _, _, _, _, kind, rest @ ..] = arguments else {
                    return Err(bad(name, "its description is too short".to_string()));
                };
                if let Some(flags) = rest.first() {
                    refuse_flags(tree, *flags, name)?;
                }
                let global = tree.global(*kind).filter(|global| global.module == "torch");
                let kind = global.and_then(|global| dtype(&global.name)).ok_or_else(|| {
                    bad(name, format!("its dtype is {}, which is not read", tree.describe(*kind)))
                })?;
                return rebuild(tree, arguments, Some(kind), name, storages);
            }
            Some(Maker::OldTensor) => return rebuild(tree, state(), None, name, storages),
            Some(Maker::Parameter) => id = first_of(arguments).ok_or_else(|| empty(name))?,
            Some(Maker::OldParameter) => {
                id = first_of(arguments).or_else(|| first_of(state())).ok_or_else(|| empty(name))?;
            }
            Some(Maker::Subclass) => {
                // A call inside the call's arguments: read it as if it stood there.
                let [function, _class, inner, ..] = arguments else { return Err(empty(name)) };
                let (function, inner) = (*function, tree.sequence(*inner).unwrap_or_default());
                let called = tree.global(function).ok_or_else(|| empty(name))?;
                match (&*called.module, &*called.name) {
                    ("torch._utils", "_rebuild_tensor") => return rebuild(tree, inner, None, name, storages),
                    ("torch._utils", "_rebuild_tensor_v2") => {
                        if let Some(flags) = inner.get(6) {
                            refuse_flags(tree, *flags, name)?;
                        }
                        return rebuild(tree, inner, None, name, storages);
                    }
                    ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                        id = first_of(inner).ok_or_else(|| empty(name))?;
                    }
                    _ => return Err(unsupported(name, format!("a tensor subclass made by {called}"))),
                }
            }
            Some(Maker::Unsupported(what)) => return Err(unsupported(name, what.to_string())),
            None => {
                return Err(ReadError::NotATensor { key: name.to_string(), found: tree.describe(id) });
            }
        }
    }
    Err(bad(name, format!("tensors are wrapped more than {MAX_WRAPPING} times")))
}

/// (storage, offset, size, stride, …) with every number checked against the storage.
fn rebuild(
    tree: &Tree,
    arguments: &[NodeId],
    kind: Option<Kind>,
    name: &str,
    storages: &mut dyn Storages,
) -> Result<TensorView, ReadError> {
    let [storage, offset, size, stride, ..] = arguments else {
        return Err(bad(name, "its description is too short".to_string()));
    };
    let Node::Persistent(storage) = tree.node(*storage) else {
        return Err(bad(name, format!("its storage is {}", tree.describe(*storage))));
    };
    let id = StorageId::read(tree, *storage).map_err(|problem| bad(name, problem))?;
    let Some(kind) = kind.or(id.kind) else {
        return Err(bad(name, "it has no dtype".to_string()));
    };
    let unit = kind.elt_size_in_bytes() as u64;
    if id.kind.is_some() && id.unit != unit {
        return Err(bad(name, format!("it is {kind:?} on a storage of another dtype")));
    }
    let numbers = |list: NodeId, what: &str| -> Result<Vec<i64>, ReadError> {
        let items =
            tree.sequence(list).ok_or_else(|| bad(name, format!("its {what} is {}", tree.describe(list))))?;
        if items.len() > RANK {
            return Err(bad(
                name,
                format!("its {what} has {} dimensions, at most {RANK} are read", items.len()),
            ));
        }
        items
            .iter()
            .map(|item| tree.int(*item).ok_or_else(|| bad(name, format!("its {what} holds no integer"))))
            .collect()
    };
    let (shape, strides) = (numbers(*size, "size")?, numbers(*stride, "stride")?);
    let offset = tree.int(*offset).ok_or_else(|| bad(name, "its offset is no integer".to_string()))?;
    if shape.len() != strides.len() {
        return Err(bad(name, format!("it has {} sizes and {} strides", shape.len(), strides.len())));
    }
    if shape.iter().any(|size| *size < 0) {
        return Err(bad(name, format!("its size is {shape:?}")));
    }

    // In elements of this dtype, of the part of the storage that the id means.
    let scale = unit / id.unit.min(unit);
    let have = id.view.1 / scale;
    let outside = |needed: Option<u64>| ReadError::OutsideStorage {
        tensor: name.to_string(),
        storage: id.key.clone(),
        needed: needed.unwrap_or(u64::MAX),
        have,
    };
    let (Some(numel), Some(needed)) = (numel(&shape), extent(offset, &shape, &strides)) else {
        return Err(outside(None));
    };
    if needed > have {
        return Err(outside(Some(needed)));
    }
    if numel > have {
        return Err(ReadError::Expanded { tensor: name.to_string(), numel, have });
    }
    let storage = storages.open(&id)?;
    // Both are within the storage, whose bytes were counted by `open`.
    let start = id.view.0 * id.unit + offset as u64 * unit;
    let span = (needed - offset as u64) * unit;
    if start.checked_add(span).is_none_or(|end| end > storage.len() as u64) {
        return Err(outside(Some(needed)));
    }
    let range = start as usize..(start + span) as usize;
    Ok(TensorView::stored(kind, shape, Stored { storage, range, strides }))
}

/// `None` if it is beyond counting, or would be without the sizes that are zero: libtorch multiplies all others for the
/// strides.
pub(super) fn numel(shape: &[i64]) -> Option<u64> {
    let others = shape.iter().filter(|size| **size != 0);
    let numel = others.copied().try_fold(1i64, i64::checked_mul)?;
    if shape.contains(&0) {
        return Some(0);
    }
    u64::try_from(numel).ok()
}

/// One past the last element that a tensor touches, from the storage's start; `None` if negative or beyond counting.
fn extent(offset: i64, shape: &[i64], strides: &[i64]) -> Option<u64> {
    let mut end = u64::try_from(offset).ok()?;
    if strides.iter().any(|stride| *stride < 0) {
        return None;
    }
    if shape.contains(&0) {
        return Some(end);
    }
    for (size, stride) in shape.iter().zip(strides) {
        end = end.checked_add(u64::try_from(size - 1).ok()?.checked_mul(u64::try_from(*stride).ok()?)?)?;
    }
    end.checked_add(1)
}

/// The `conj` and `neg` bits mean that the stored numbers are not the tensor's.
fn refuse_flags(tree: &Tree, flags: NodeId, name: &str) -> Result<(), ReadError> {
    let entries = tree.entries(flags).unwrap_or_default();
    for flag in ["conj", "neg"] {
        if tree.get(&entries, flag).is_some_and(|id| !matches!(tree.node(id), Node::Bool(false) | Node::None))
        {
            return Err(unsupported(
                name,
                format!("stored with its {flag} bit set (resolve_{flag}() clears it)"),
            ));
        }
    }
    Ok(())
}

fn unsupported(name: &str, what: String) -> ReadError {
    let advice = "convert it in Python (dequantize, to_dense, contiguous …) and save it again";
    ReadError::UnsupportedTensor { tensor: name.to_string(), what, advice }
}

fn empty(name: &str) -> ReadError {
    bad(name, "its description is empty".to_string())
}

fn bad(name: &str, problem: String) -> ReadError {
    ReadError::BadTensor { tensor: name.to_string(), problem }
}
