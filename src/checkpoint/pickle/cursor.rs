//! Opcodes and their arguments off a slice: every length is checked against what is there before anything is kept.

use super::limits;
use super::opcodes::{opcode, Argument, Op};
use crate::checkpoint::read_error::ReadError;

/// An opcode's argument.
pub(super) enum Value<'a> {
    Nothing,
    Int(i64),
    Index(u64),
    Float(f64),
    Bytes(&'a [u8]),
    Line(&'a [u8]),
    Lines(&'a [u8], &'a [u8]),
}

/// A place in a pickle.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) position: usize,
    /// Where `bytes` starts in the file, for errors.
    base: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], base: u64) -> Self {
        Cursor { bytes, position: 0, base }
    }

    /// The offset of `position` in the file.
    pub(super) fn at(&self, position: usize) -> u64 {
        self.base + position as u64
    }

    /// The next opcode and its argument.
    pub(super) fn next(&mut self) -> Result<(Op, Value<'a>), ReadError> {
        let at = self.at(self.position);
        let byte = self.take(1, "the next opcode")?[0];
        let Some((op, argument)) = opcode(byte) else {
            return Err(ReadError::UnknownOpcode { at, opcode: byte });
        };
        let value = match argument {
            Argument::Nothing => Value::Nothing,
            Argument::U1 => Value::Index(u64::from(self.array::<1>()?[0])),
            Argument::U2 => Value::Index(u64::from(u16::from_le_bytes(self.array()?))),
            Argument::U4 => Value::Index(u64::from(u32::from_le_bytes(self.array()?))),
            Argument::I4 => Value::Int(i64::from(i32::from_le_bytes(self.array()?))),
            Argument::U8 => Value::Index(u64::from_le_bytes(self.array()?)),
            Argument::F8 => Value::Float(f64::from_be_bytes(self.array()?)),
            Argument::Bytes1 => {
                let length = u64::from(self.array::<1>()?[0]);
                Value::Bytes(self.counted(length)?)
            }
            Argument::Bytes4 => {
                let length = u64::from(u32::from_le_bytes(self.array()?));
                Value::Bytes(self.counted(length)?)
            }
            Argument::BytesI4 => {
                let length = u64::try_from(i32::from_le_bytes(self.array()?))
                    .map_err(|_| ReadError::Pickle { at, problem: "a negative length" })?;
                Value::Bytes(self.counted(length)?)
            }
            Argument::Bytes8 => {
                let length = u64::from_le_bytes(self.array()?);
                Value::Bytes(self.counted(length)?)
            }
            Argument::Line => Value::Line(self.line()?),
            Argument::Lines => Value::Lines(self.line()?, self.line()?),
        };
        Ok((op, value))
    }

    fn counted(&mut self, length: u64) -> Result<&'a [u8], ReadError> {
        // What does not fit a usize is certainly past the end.
        self.take(usize::try_from(length).unwrap_or(usize::MAX), "a string's or number's bytes")
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, "an opcode's argument")?);
        Ok(array)
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], ReadError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(taken) = rest.get(..length) else {
            return Err(ReadError::Truncated {
                what: format!("the pickle ({what})"),
                at: self.at(self.position),
                needed: length as u64,
                have: rest.len() as u64,
            });
        };
        self.advance(length)?;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a [u8], ReadError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        // A line's end is not looked for further than a pickle may reach.
        let rest = &rest[..rest.len().min(limits::BYTES)];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(ReadError::Truncated {
                what: "the pickle (a line of text)".to_string(),
                at: self.at(self.position),
                needed: rest.len() as u64 + 1,
                have: rest.len() as u64,
            });
        };
        self.advance(length + 1)?;
        Ok(&rest[..length])
    }

    fn advance(&mut self, length: usize) -> Result<(), ReadError> {
        let end = self.position + length;
        if end > limits::BYTES {
            return Err(ReadError::LimitExceeded {
                what: "the pickle's length",
                at: self.at(self.position),
                value: end as u64,
                max: limits::BYTES as u64,
            });
        }
        self.position = end;
        Ok(())
    }
}
