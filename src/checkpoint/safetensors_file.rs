//! safetensors files: a JSON header, then the numbers.

use super::read_error::ReadError;
use super::source::Source;
use super::state_dict::{Format, StateDict, Stored, TensorView};
use super::storage::Storage;
use safetensors::{Dtype, SafeTensors};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::sync::Arc;
use tch::Kind;

/// Reads the header; tensors come in the order of their data.
pub(super) fn read(source: &Arc<Source>) -> Result<StateDict, ReadError> {
    let (header, metadata) = SafeTensors::read_metadata(source).map_err(ReadError::Safetensors)?;
    let data = 8 + header;
    // The crate keeps the last of two equal keys; which one was meant, nobody knows.
    if let Some(key) = first_duplicate(source.get(8..data).unwrap_or_default()) {
        return Err(ReadError::DuplicateKey { key });
    }
    let mut tensors = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let kind = kind(info.dtype).ok_or_else(|| ReadError::BadTensor {
            tensor: name.clone(),
            problem: format!("its dtype is {:?}, which is not read", info.dtype),
        })?;
        let size = |size: &usize| i64::try_from(*size).ok();
        let shape: Option<Vec<i64>> = info.shape.iter().map(size).collect();
        let range = data + info.data_offsets.0..data + info.data_offsets.1;
        let (Some(shape), true) = (shape, range.end <= source.len()) else {
            return Err(ReadError::BadTensor {
                tensor: name,
                problem: "its size is beyond counting".to_string(),
            });
        };
        let length = range.len();
        let storage = Arc::new(Storage::plain(name.clone(), source.clone(), range, false));
        let strides = contiguous(&shape);
        tensors.push((name, TensorView::stored(kind, shape, Stored { storage, range: 0..length, strides })));
    }
    let mut text: Vec<_> = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    text.sort();
    Ok(StateDict {
        format: Format::Safetensors,
        root: None,
        foreign_globals: Vec::new(),
        metadata: text,
        beside: Vec::new(),
        tensors,
    })
}

fn contiguous(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i]);
    }
    strides
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        Dtype::C64 => Kind::ComplexFloat,
        Dtype::F8_E5M2 => Kind::Float8e5m2,
        Dtype::F8_E4M3 => Kind::Float8e4m3fn,
        _ => return None,
    })
}

/// The first key that occurs twice in the header or its metadata.
fn first_duplicate(header: &[u8]) -> Option<String> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Option<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            f.write_str("the header's object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut seen, mut twice) = (HashSet::new(), None);
            while let Some(key) = map.next_key::<String>()? {
                map.next_value::<IgnoredAny>()?;
                if !seen.insert(key.clone()) {
                    twice.get_or_insert(key);
                }
            }
            Ok(twice)
        }
    }
    // The crate has parsed it before, so it is an object.
    serde_json::Deserializer::from_slice(header).deserialize_map(Keys).ok().flatten()
}
