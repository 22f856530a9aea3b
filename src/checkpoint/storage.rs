//! Storages: the runs of numbers that tensors are views of.

use super::limits;
use super::pickle::{NodeId, Tree};
use super::read_error::{MemberProblem, ReadError};
use super::source::Source;
use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tch::Kind;

/// The largest member that is inflated. Storages hold one tensor each; DenseNet's largest has 9 MB.
pub(super) const MAX_INFLATED: u64 = 1 << 30;
/// deflate cannot do better than this; a higher ratio is a lie about the size.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// A storage's bytes, not yet touched.
pub(super) struct Storage {
    pub(super) key: String,
    data: Data,
    /// Numbers are big-endian.
    swapped: bool,
}

enum Data {
    Plain { source: Arc<Source>, range: Range<usize> },
    Deflated { source: Arc<Source>, range: Range<usize>, size: usize, inflated: OnceLock<Vec<u8>> },
}

impl Storage {
    /// Bytes that lie in the source as they are; `range` must lie in it.
    pub(super) fn plain(key: String, source: Arc<Source>, range: Range<usize>, swapped: bool) -> Self {
        Storage { key, data: Data::Plain { source, range }, swapped }
    }

    /// Bytes that are inflated when first read.
    pub(super) fn deflated(
        key: String,
        source: Arc<Source>,
        range: Range<usize>,
        size: usize,
        swapped: bool,
    ) -> Self {
        Storage { key, data: Data::Deflated { source, range, size, inflated: OnceLock::new() }, swapped }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Plain { range, .. } => range.len(),
            Data::Deflated { size, .. } => *size,
        }
    }

    /// The file, for errors.
    pub(super) fn source(&self) -> &Source {
        match &self.data {
            Data::Plain { source, .. } | Data::Deflated { source, .. } => source,
        }
    }

    /// As [`Storage::read`], if the bytes need not be changed for it.
    pub(super) fn in_place(&self, range: Range<usize>, unit: usize) -> Option<&[u8]> {
        match &self.data {
            Data::Plain { source, range: all } if self.as_stored(unit) => Some(&source[all.clone()][range]),
            _ => None,
        }
    }

    /// Whether numbers of `unit` bytes are stored in this machine's order.
    fn as_stored(&self, unit: usize) -> bool {
        self.swapped == cfg!(target_endian = "big") || unit == 1
    }

    /// The bytes of `range`, which must lie in the storage, as numbers of `unit` bytes of this machine's order.
    pub(super) fn read(&self, range: Range<usize>, unit: usize) -> Result<Cow<'_, [u8]>, ReadError> {
        let all = match &self.data {
            Data::Plain { source, range } => &source[range.clone()],
            Data::Deflated { source, range, size, inflated } => match inflated.get() {
                Some(bytes) => bytes,
                None => {
                    let bytes = inflate(&source[range.clone()], *size as u64, &self.key, MAX_INFLATED)?;
                    inflated.get_or_init(|| bytes)
                }
            },
        };
        let bytes = &all[range];
        if self.as_stored(unit) {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = bytes.to_vec();
        bytes.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
        Ok(Cow::Owned(bytes))
    }
}

/// Inflates a raw deflate stream that is declared to give `size` bytes, and gives exactly them.
pub(super) fn inflate(deflated: &[u8], size: u64, member: &str, max: u64) -> Result<Vec<u8>, ReadError> {
    let refused = || ReadError::Member {
        member: member.to_string(),
        problem: MemberProblem::Inflate { declared: size },
    };
    if size > max {
        return Err(ReadError::LimitExceeded {
            what: "the length of a deflated zip member",
            at: 0,
            value: size,
            max,
        });
    }
    if size / MAX_DEFLATE_RATIO > deflated.len() as u64 {
        return Err(refused());
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size as usize).map_err(|_| ReadError::Io {
        action: "allocate what it inflates to",
        source: std::io::ErrorKind::OutOfMemory.into(),
    })?;
    let read = flate2::read::DeflateDecoder::new(deflated).take(size + 1).read_to_end(&mut bytes);
    if read.is_err() || bytes.len() as u64 != size {
        return Err(refused());
    }
    Ok(bytes)
}

/// What a pickle says of a storage: the persistent id `('storage', class, key, location, numel[, view])`. The location
/// (`cpu`, `cuda:0`) is where it lay when saved and does not matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StorageId {
    pub(super) key: String,
    /// `None`: UntypedStorage, bytes.
    pub(super) kind: Option<Kind>,
    /// Bytes of an element; 1 of an untyped storage.
    pub(super) unit: u64,
    /// Elements of the whole storage.
    pub(super) elements: u64,
    /// Offset and length, in elements, of the part that this id means.
    pub(super) view: (u64, u64),
}

impl StorageId {
    /// Reads the persistent id's tuple. The error is what is wrong with it.
    pub(super) fn read(tree: &Tree, id: NodeId) -> Result<StorageId, String> {
        let fields = tree.sequence(id).unwrap_or_default();
        let wrong = || format!("its storage is {}, which is no storage id", tree.describe(id));
        let [kind, class, key, _location, numel, rest @ ..] = fields else {
            return Err(wrong());
        };
        if tree.str(*kind) != Some("storage") {
            return Err(wrong());
        }
        let class = tree.global(*class).ok_or_else(wrong)?;
        // Every tensor names its storage, so a long key would be copied as often.
        let key = tree.str(*key).filter(|key| key.len() <= limits::NAME).ok_or_else(wrong)?.to_string();
        let elements = tree.int(*numel).and_then(|n| u64::try_from(n).ok()).ok_or_else(wrong)?;
        let (kind, unit) = match storage_class(&class.module, &class.name) {
            Some(Some(kind)) => (Some(kind), kind.elt_size_in_bytes() as u64),
            Some(None) => (None, 1),
            None => return Err(format!("its storage is a {class}, whose numbers are not read")),
        };
        let view = match rest.first() {
            None => (0, elements),
            Some(view) => match tree.sequence(*view) {
                // (view_key, offset, size), written by torch before 0.4.
                Some([_key, offset, size]) => {
                    let number = |id| tree.int(id).and_then(|n| u64::try_from(n).ok()).ok_or_else(wrong);
                    let (offset, size) = (number(*offset)?, number(*size)?);
                    if offset.checked_add(size).is_none_or(|end| end > elements) {
                        return Err(format!(
                            "a view of elements {offset} + {size} of a storage of {elements}"
                        ));
                    }
                    (offset, size)
                }
                Some(_) => return Err(wrong()),
                None => (0, elements),
            },
        };
        Ok(StorageId { key, kind, unit, elements, view })
    }

    /// Bytes of the whole storage, if they can be counted.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.elements.checked_mul(self.unit)
    }
}

/// Storage classes of a dtype.
const CLASSES: [(&str, Kind); 12] = [
    ("FloatStorage", Kind::Float),
    ("DoubleStorage", Kind::Double),
    ("HalfStorage", Kind::Half),
    ("BFloat16Storage", Kind::BFloat16),
    ("LongStorage", Kind::Int64),
    ("IntStorage", Kind::Int),
    ("ShortStorage", Kind::Int16),
    ("CharStorage", Kind::Int8),
    ("ByteStorage", Kind::Uint8),
    ("BoolStorage", Kind::Bool),
    ("ComplexFloatStorage", Kind::ComplexFloat),
    ("ComplexDoubleStorage", Kind::ComplexDouble),
];

/// The dtype of a storage class: `Some(None)` if it holds bytes, `None` if it is not one that is read.
fn storage_class(module: &str, name: &str) -> Option<Option<Kind>> {
    if !matches!(module, "torch" | "torch.cuda" | "torch.storage" | "torch.xpu" | "torch.mps") {
        return None;
    }
    if name == "UntypedStorage" {
        return Some(None);
    }
    CLASSES.iter().find(|(class, _)| *class == name).map(|(_, kind)| Some(*kind))
}

/// The storage class of a dtype, of the module `torch`.
pub(super) fn class_name(kind: Kind) -> Option<&'static str> {
    CLASSES.iter().find(|(_, of)| *of == kind).map(|(class, _)| *class)
}

/// The dtype `torch.NAME`, as far as tch has it.
pub(super) fn dtype(name: &str) -> Option<Kind> {
    Some(match name {
        "float32" => Kind::Float,
        "float64" => Kind::Double,
        "float16" => Kind::Half,
        "bfloat16" => Kind::BFloat16,
        "int64" => Kind::Int64,
        "int32" => Kind::Int,
        "int16" => Kind::Int16,
        "int8" => Kind::Int8,
        "uint8" => Kind::Uint8,
        "bool" => Kind::Bool,
        "complex32" => Kind::ComplexHalf,
        "complex64" => Kind::ComplexFloat,
        "complex128" => Kind::ComplexDouble,
        "float8_e5m2" => Kind::Float8e5m2,
        "float8_e4m3fn" => Kind::Float8e4m3fn,
        "float8_e5m2fnuz" => Kind::Float8e5m2fnuz,
        "float8_e4m3fnuz" => Kind::Float8e4m3fnuz,
        _ => return None,
    })
}

/// The unit in which a dtype's bytes are swapped: complex numbers are two.
pub(super) fn swap_unit(kind: Kind) -> usize {
    match kind {
        Kind::ComplexHalf | Kind::ComplexFloat | Kind::ComplexDouble => kind.elt_size_in_bytes() / 2,
        _ => kind.elt_size_in_bytes(),
    }
}
