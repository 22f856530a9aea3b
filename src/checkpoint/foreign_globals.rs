//! Which classes and functions of a pickle are nobody's business here: all but the ones that describe tensors.

use super::pickle::Tree;
use super::read_error::ReadError;

/// Names that a plain state dict is made of.
const KNOWN: &[&str] = &[
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.dict",
    "builtins.list",
    "builtins.object",
    "builtins.set",
    "builtins.tuple",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
    "copyreg._reconstructor",
    "torch.Size",
    "torch.Tensor",
    "torch.device",
    "torch._tensor._rebuild_from_type_v2",
    "torch.tensor._rebuild_from_type_v2",
    "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
];

/// Everything else the pickle names, sorted.
///
/// # Errors
/// [`ReadError::LimitExceeded`] if the pickle names more than any training script does.
pub(super) fn list(tree: &Tree) -> Result<Vec<String>, ReadError> {
    Ok(tree.globals()?.into_iter().filter(|name| !is_known(name)).collect())
}

fn is_known(name: &str) -> bool {
    if KNOWN.contains(&name) || name.starts_with("torch._utils._rebuild_") {
        return true;
    }
    // Storages, tensor classes and dtypes: `torch.FloatStorage`, `torch.cuda.HalfTensor`, `torch.float8_e5m2`.
    let Some(rest) = name.strip_prefix("torch.") else { return false };
    let rest = rest.strip_prefix("cuda.").or_else(|| rest.strip_prefix("storage.")).unwrap_or(rest);
    !rest.contains('.')
        && (rest.ends_with("Storage") || rest.ends_with("Tensor") || super::storage::dtype(rest).is_some())
}
