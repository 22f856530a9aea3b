//! Writes pickles of protocol 2, in the opcodes that torch's weights-only reader takes.
//!
//! Memoizes what CPython's pickler memoizes, in its order, so that a state dict's pickle is torch's to the byte. Source:
//! CPython's `Modules/_pickle.c`.

use super::opcodes::Op;
use std::collections::HashMap;

/// Items between two `SETITEMS` (`BATCHSIZE`).
const BATCH: usize = 1000;

/// A pickle in the making: calls push values onto the reader's stack, in order.
pub(in crate::checkpoint) struct Writer {
    bytes: Vec<u8>,
    /// Memo entries made so far.
    memos: u32,
    /// Values that stay the same object in Python, and where they are remembered.
    known: HashMap<String, u32>,
}

impl Writer {
    pub(in crate::checkpoint) fn new() -> Self {
        Writer { bytes: vec![Op::Proto as u8, 2], memos: 0, known: HashMap::new() }
    }

    /// The finished pickle; its value is the one on the stack.
    pub(in crate::checkpoint) fn finish(mut self) -> Vec<u8> {
        self.op(Op::Stop);
        self.bytes
    }

    fn op(&mut self, op: Op) {
        self.bytes.push(op as u8);
    }

    /// Remembers the value on top of the stack.
    fn memoize(&mut self) -> u32 {
        let index = self.memos;
        self.memos += 1;
        match u8::try_from(index) {
            Ok(index) => self.bytes.extend([Op::BinPut as u8, index]),
            Err(_) => {
                self.op(Op::LongBinPut);
                self.bytes.extend(index.to_le_bytes());
            }
        }
        index
    }

    /// Pushes a value that was remembered under `name`; `false` if none was.
    fn recall(&mut self, name: &str) -> bool {
        let Some(&index) = self.known.get(name) else { return false };
        match u8::try_from(index) {
            Ok(index) => self.bytes.extend([Op::BinGet as u8, index]),
            Err(_) => {
                self.op(Op::LongBinGet);
                self.bytes.extend(index.to_le_bytes());
            }
        }
        true
    }

    /// A class or function by its name.
    pub(in crate::checkpoint) fn global(&mut self, module: &str, name: &str) {
        let line = format!("{module}\n{name}\n");
        if !self.recall(&line) {
            self.op(Op::Global);
            self.bytes.extend(line.as_bytes());
            let index = self.memoize();
            self.known.insert(line, index);
        }
    }

    /// A string that is a new object each time.
    pub(in crate::checkpoint) fn text(&mut self, text: &str) -> u32 {
        self.op(Op::BinUnicode);
        // Names of tensors and the like; a caller bounds them far below 4 GB.
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.memoize()
    }

    /// A string that is one object wherever it occurs: a literal in torch's sources.
    pub(in crate::checkpoint) fn literal(&mut self, text: &'static str) {
        if !self.recall(text) {
            let index = self.text(text);
            self.known.insert(text.to_string(), index);
        }
    }

    pub(in crate::checkpoint) fn bool(&mut self, value: bool) {
        self.op(if value { Op::NewTrue } else { Op::NewFalse });
    }

    pub(in crate::checkpoint) fn none(&mut self) {
        self.op(Op::None);
    }

    pub(in crate::checkpoint) fn int(&mut self, value: i64) {
        if let Ok(value) = u8::try_from(value) {
            self.bytes.extend([Op::BinInt1 as u8, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.op(Op::BinInt2);
            self.bytes.extend(value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.op(Op::BinInt);
            self.bytes.extend(value.to_le_bytes());
        } else {
            self.long(&value.to_le_bytes());
        }
    }

    /// An integer of any length, little-endian two's complement, at most 255 bytes.
    pub(in crate::checkpoint) fn long(&mut self, bytes: &[u8]) {
        let mut length = bytes.len();
        // Bytes that only repeat the sign are left out.
        while length > 1 {
            let (last, before) = (bytes[length - 1], bytes[length - 2]);
            if !(last == 0 && before < 0x80 || last == 0xff && before >= 0x80) {
                break;
            }
            length -= 1;
        }
        self.bytes.extend([Op::Long1 as u8, length as u8]);
        self.bytes.extend(&bytes[..length]);
    }

    /// A tuple of `length` values, which `items` pushes.
    pub(in crate::checkpoint) fn tuple(&mut self, length: usize, items: impl FnOnce(&mut Self)) {
        let op = match length {
            0 => return self.op(Op::EmptyTuple),
            1 => Op::Tuple1,
            2 => Op::Tuple2,
            3 => Op::Tuple3,
            _ => Op::Tuple,
        };
        if op == Op::Tuple {
            self.op(Op::Mark);
        }
        items(self);
        self.op(op);
        self.memoize();
    }

    /// A tuple of integers.
    pub(in crate::checkpoint) fn ints(&mut self, values: &[i64]) {
        self.tuple(values.len(), |writer| values.iter().for_each(|value| writer.int(*value)));
    }

    /// Calls the function below the tuple of arguments on the stack.
    pub(in crate::checkpoint) fn reduce(&mut self) {
        self.op(Op::Reduce);
        self.memoize();
    }

    /// Replaces the tuple on the stack with what it is the persistent id of.
    pub(in crate::checkpoint) fn persistent(&mut self) {
        self.op(Op::BinPersId);
    }

    /// An empty dictionary of Python's own type.
    pub(in crate::checkpoint) fn empty_dict(&mut self) {
        self.op(Op::EmptyDict);
        self.memoize();
    }

    /// An empty list.
    pub(in crate::checkpoint) fn empty_list(&mut self) {
        self.op(Op::EmptyList);
        self.memoize();
    }

    /// Appends items to the list on the stack; `item` pushes one.
    pub(in crate::checkpoint) fn append<T>(&mut self, items: &[T], item: impl FnMut(&mut Self, &T)) {
        self.batches(items, [Op::Append, Op::Appends], item);
    }

    /// An empty `collections.OrderedDict`.
    pub(in crate::checkpoint) fn empty_ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.tuple(0, |_| ());
        self.reduce();
    }

    /// Puts items into the dictionary on the stack; `item` pushes a key and its value.
    pub(in crate::checkpoint) fn set_items<T>(&mut self, items: &[T], item: impl FnMut(&mut Self, &T)) {
        self.batches(items, [Op::SetItem, Op::SetItems], item);
    }

    fn batches<T>(&mut self, items: &[T], [one, many]: [Op; 2], mut item: impl FnMut(&mut Self, &T)) {
        for batch in items.chunks(BATCH) {
            if let [only] = batch {
                item(self, only);
                self.op(one);
                continue;
            }
            self.op(Op::Mark);
            batch.iter().for_each(|each| item(self, each));
            self.op(many);
        }
    }

    /// A new object of the class on the stack, made of the tuple of arguments above it.
    pub(in crate::checkpoint) fn new_object(&mut self) {
        self.op(Op::NewObj);
        self.memoize();
    }

    /// Gives the object below the state on the stack that state.
    pub(in crate::checkpoint) fn build(&mut self) {
        self.op(Op::Build);
    }
}
