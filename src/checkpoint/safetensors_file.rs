//! safetensors files: a JSON header, then the numbers.

use super::limits;
use super::read_error::ReadError;
use super::source::Source;
use super::state_dict::{Format, StateDict, Stored, TensorView};
use super::storage::Storage;
use super::tensors::numel;
use safetensors::{Dtype, SafeTensors};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::sync::Arc;
use tch::Kind;

/// Reads the header; tensors come in the order of their data.
pub(super) fn read(source: &Arc<Source>) -> Result<StateDict, ReadError> {
    // The crate keeps the last of two equal keys; which one was meant, nobody knows.
    check_header(header_of(source))?;
    let (header, metadata) = SafeTensors::read_metadata(source).map_err(ReadError::Safetensors)?;
    let data = 8 + header;
    let mut tensors = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let kind = kind(info.dtype).ok_or_else(|| ReadError::BadTensor {
            tensor: name.clone(),
            problem: format!("its dtype is {:?}, which is not read", info.dtype),
        })?;
        let size = |size: &usize| i64::try_from(*size).ok();
        if info.shape.len() > limits::RANK {
            let (rank, max) = (info.shape.len(), limits::RANK);
            let problem = format!("its size has {rank} dimensions, at most {max} are read");
            return Err(ReadError::BadTensor { tensor: name, problem });
        }
        let shape: Option<Vec<i64>> = info.shape.iter().map(size).collect();
        let shape = shape.filter(|shape| numel(shape).is_some());
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

/// The JSON; empty if the file ends before it does, which the crate then says.
fn header_of(bytes: &[u8]) -> &[u8] {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8));
    end.and_then(|end| bytes.get(8..end)).unwrap_or_default()
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

/// What the crate does not look at: keys that occur twice, how many there are, how long.
///
/// Done first, as the crate keeps everything it reads; a header that is no JSON is left to it.
fn check_header(header: &[u8]) -> Result<(), ReadError> {
    let mut problem = None;
    let _ = serde_json::Deserializer::from_slice(header).deserialize_map(Header(&mut problem));
    problem.map_or(Ok(()), Err)
}

/// Puts down what is wrong and stops the parser there.
struct Header<'p>(&'p mut Option<ReadError>);

impl<'de> Visitor<'de> for Header<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("the header's object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut seen, mut bytes) = (HashSet::new(), 0);
        while let Some(key) = map.next_key::<String>()? {
            bytes += key.len();
            let sizes = limits::check("the length of a tensor's name", key.len(), limits::NAME)
                .and_then(|()| limits::check("the length of all tensors' names", bytes, limits::NAMES))
                .and_then(|()| limits::check("the number of tensors", seen.len(), limits::TENSORS));
            if let Err(error) = sizes {
                return Err(self.stop(error));
            }
            if key == "__metadata__" {
                map.next_value_seed(Texts(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if !seen.insert(key.clone()) {
                return Err(self.stop(ReadError::DuplicateKey { key }));
            }
        }
        Ok(())
    }
}

impl Header<'_> {
    fn stop<E: serde::de::Error>(self, error: ReadError) -> E {
        *self.0 = Some(error);
        E::custom("refused")
    }
}

/// The same of `__metadata__`, whose values are text of any length.
struct Texts<'p>(&'p mut Option<ReadError>);

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object of text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            if seen.contains(&key) {
                *self.0 = Some(ReadError::DuplicateKey { key });
                return Err(serde::de::Error::custom("refused"));
            }
            seen.insert(key);
        }
        Ok(())
    }
}
