//! Runs a pickle's opcodes on a stack of node ids. Calls are written down, never made.

use super::cursor::{Cursor, Value};
use super::danger::is_dangerous;
use super::opcodes::Op;
use super::tree::{Global, How, Node, NodeId, Object, Tree};
use super::{limits, text};
use crate::checkpoint::read_error::ReadError;
use std::borrow::Cow;
use std::collections::HashMap;

/// Reads one pickle from the start of `bytes` and says how long it is; what follows is not looked at. `base` is where
/// `bytes` lies in the file, for the offsets in errors.
pub(in crate::checkpoint) fn parse(bytes: &[u8], base: u64) -> Result<(Tree<'_>, usize), ReadError> {
    let mut machine =
        Machine { tree: Tree::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), at: base };
    let mut cursor = Cursor::new(bytes, base);
    for _ in 0..limits::OPCODES {
        machine.at = cursor.at(cursor.position);
        let (op, value) = cursor.next()?;
        if op == Op::Stop {
            machine.tree.root = machine.pop()?;
            return Ok((machine.tree, cursor.position));
        }
        machine.step(op, value)?;
    }
    Err(machine.limit("the number of opcodes", limits::OPCODES + 1, limits::OPCODES))
}

struct Machine<'a> {
    tree: Tree<'a>,
    stack: Vec<NodeId>,
    /// Stack heights at the open marks: kept apart, so that no file can forge one.
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
    /// Offset of the opcode at work.
    at: u64,
}

impl<'a> Machine<'a> {
    fn step(&mut self, op: Op, value: Value<'a>) -> Result<(), ReadError> {
        match (op, value) {
            (Op::Proto, Value::Index(version)) => {
                if version > 5 {
                    return Err(self.broken("a protocol after 5"));
                }
            }
            // Frames only help a reader that fetches ahead.
            (Op::Frame, _) => {}
            (Op::Mark, _) => {
                if self.marks.len() == limits::MARKS {
                    return Err(self.limit("the number of open marks", limits::MARKS + 1, limits::MARKS));
                }
                self.marks.push(self.stack.len());
            }

            (Op::None, _) => self.push(Node::None),
            (Op::NewTrue, _) => self.push(Node::Bool(true)),
            (Op::NewFalse, _) => self.push(Node::Bool(false)),
            (Op::BinInt, Value::Int(value)) => self.push(Node::Int(value)),
            // One or two bytes: they fit.
            (Op::BinInt1 | Op::BinInt2, Value::Index(value)) => self.push(Node::Int(value as i64)),
            (Op::Long1 | Op::Long4, Value::Bytes(bytes)) => self.push(text::long(bytes)),
            (Op::BinFloat, Value::Float(value)) => self.push(Node::Float(value)),
            (Op::Int | Op::Long, Value::Line(line)) => self.push_text(text::decimal(line))?,
            (Op::Float, Value::Line(line)) => self.push_text(text::float(line).map(Node::Float))?,

            (Op::BinUnicode | Op::ShortBinUnicode | Op::BinUnicode8, Value::Bytes(bytes)) => {
                self.push(text::string(bytes))
            }
            (Op::ShortBinString | Op::BinString, Value::Bytes(bytes)) => self.push(text::string(bytes)),
            (Op::ShortBinBytes | Op::BinBytes | Op::BinBytes8 | Op::ByteArray8, Value::Bytes(bytes)) => {
                self.push(Node::Bytes(Cow::Borrowed(bytes)))
            }
            (Op::String, Value::Line(line)) => self.push_text(text::quoted(line))?,
            (Op::Unicode, Value::Line(line)) => self.push_text(text::raw_unicode(line))?,

            (Op::EmptyTuple, _) => self.push(Node::Tuple(Vec::new())),
            (Op::EmptyList, _) => self.push(Node::List(Vec::new())),
            (Op::EmptyDict, _) => self.push(Node::Dict(Vec::new())),
            (Op::EmptySet, _) => self.push(Node::Set(Vec::new())),
            (Op::Tuple, _) => self.collect(Node::Tuple)?,
            (Op::List, _) => self.collect(Node::List)?,
            (Op::FrozenSet, _) => self.collect(Node::Set)?,
            (Op::Tuple1, _) => self.tuple(1)?,
            (Op::Tuple2, _) => self.tuple(2)?,
            (Op::Tuple3, _) => self.tuple(3)?,
            (Op::Dict, _) => {
                let pairs = self.pairs()?;
                self.push(Node::Dict(pairs));
            }
            (Op::Append, _) => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            (Op::Appends | Op::AddItems, _) => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            (Op::SetItem, _) => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![(key, value)])?;
            }
            (Op::SetItems, _) => {
                let pairs = self.pairs()?;
                self.set_items(pairs)?;
            }

            (Op::Global, Value::Lines(module, name)) => {
                let global = self.global(module, name)?;
                self.push(global);
            }
            (Op::StackGlobal, _) => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = match (self.tree.node(module), self.tree.node(name)) {
                    (Node::Str(module), Node::Str(name)) => (module.clone(), name.clone()),
                    _ => return Err(self.broken("STACK_GLOBAL without two names")),
                };
                let global = self.named(global.0, global.1)?;
                self.push(global);
            }
            (Op::Reduce, _) => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.call(How::Function, callee, arguments)?;
            }
            (Op::NewObj, _) => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.call(How::Class, callee, arguments)?;
            }
            (Op::NewObjEx, _) => {
                let (_keywords, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(How::Class, callee, arguments)?;
            }
            (Op::Inst, Value::Lines(module, name)) => {
                let global = self.global(module, name)?;
                self.collect(Node::Tuple)?;
                let arguments = self.pop()?;
                let callee = self.add(global);
                self.call(How::Class, callee, arguments)?;
            }
            (Op::Obj, _) => {
                let items = self.pop_to_mark()?;
                let Some((callee, arguments)) = items.split_first() else {
                    return Err(self.broken("OBJ without a class"));
                };
                let (callee, arguments) = (*callee, self.add(Node::Tuple(arguments.to_vec())));
                self.call(How::Class, callee, arguments)?;
            }
            (Op::Build, _) => self.build()?,
            (Op::PersId, Value::Line(line)) => {
                let id = self.add(text::string(line));
                self.push(Node::Persistent(id));
            }
            (Op::BinPersId, _) => {
                let id = self.pop()?;
                self.push(Node::Persistent(id));
            }

            (Op::BinPut | Op::LongBinPut, Value::Index(index)) => self.put(index)?,
            (Op::Put, Value::Line(line)) => match text::index(line) {
                Some(index) => self.put(index)?,
                None => return Err(self.broken("PUT without a number")),
            },
            (Op::Memoize, _) => self.put(self.memo.len() as u64)?,
            (Op::BinGet | Op::LongBinGet, Value::Index(index)) => self.get(index)?,
            (Op::Get, Value::Line(line)) => match text::index(line) {
                Some(index) => self.get(index)?,
                None => return Err(self.broken("GET without a number")),
            },
            (Op::Dup, _) => {
                let top = self.top()?;
                self.stack.push(top);
            }
            (Op::Pop, _) => {
                // Python's POP takes a mark when one is on top.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            (Op::PopMark, _) => {
                self.pop_to_mark()?;
            }
            (Op::Ext1 | Op::Ext2 | Op::Ext4, _) => {
                return Err(self.broken("an extension code, whose registry is not in the file"))
            }
            (Op::NextBuffer | Op::ReadonlyBuffer, _) => {
                return Err(self.broken("a buffer that is not in the file"))
            }
            // The table gives every opcode above the argument that its arm takes; a test walks it.
            _ => return Err(self.broken("an opcode with an argument of another kind")),
        }
        Ok(())
    }

    fn add(&mut self, node: Node<'a>) -> NodeId {
        // At most three nodes an opcode, and OPCODES is far below u32::MAX.
        let id = NodeId(self.tree.nodes.len() as u32);
        self.tree.nodes.push(node);
        id
    }

    fn push(&mut self, node: Node<'a>) {
        let id = self.add(node);
        self.stack.push(id);
    }

    fn push_text(&mut self, node: Option<Node<'a>>) -> Result<(), ReadError> {
        self.push(node.ok_or_else(|| self.broken("a number or string that cannot be read"))?);
        Ok(())
    }

    fn top(&self) -> Result<NodeId, ReadError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(top) if self.stack.len() > floor => Ok(*top),
            _ => Err(self.broken("nothing on the stack")),
        }
    }

    fn pop(&mut self) -> Result<NodeId, ReadError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, ReadError> {
        let mark = self.marks.pop().ok_or_else(|| self.broken("no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn collect(&mut self, node: fn(Vec<NodeId>) -> Node<'a>) -> Result<(), ReadError> {
        let items = self.pop_to_mark()?;
        self.push(node(items));
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<(), ReadError> {
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn pairs(&mut self) -> Result<Vec<(NodeId, NodeId)>, ReadError> {
        let items = self.pop_to_mark()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.broken("a key without a value"));
        }
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    }

    fn extend(&mut self, items: Vec<NodeId>) -> Result<(), ReadError> {
        let target = self.top()?;
        match &mut self.tree.nodes[target.0 as usize] {
            Node::List(list) | Node::Set(list) => list.extend(items),
            Node::Object(object) => object.elements.extend(items),
            _ => return Err(self.broken("elements added to something that holds none")),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: Vec<(NodeId, NodeId)>) -> Result<(), ReadError> {
        let target = self.top()?;
        match &mut self.tree.nodes[target.0 as usize] {
            Node::Dict(items) => items.extend(pairs),
            Node::Object(object) => object.items.extend(pairs),
            _ => return Err(self.broken("items put into something that holds none")),
        }
        Ok(())
    }

    fn global(&self, module: &'a [u8], name: &'a [u8]) -> Result<Node<'a>, ReadError> {
        match (std::str::from_utf8(module), std::str::from_utf8(name)) {
            (Ok(module), Ok(name)) => self.named(Cow::Borrowed(module), Cow::Borrowed(name)),
            _ => Err(self.broken("a class or function whose name is not UTF-8")),
        }
    }

    fn named(&self, module: Cow<'a, str>, name: Cow<'a, str>) -> Result<Node<'a>, ReadError> {
        let length = module.len().max(name.len());
        if length > limits::NAME {
            return Err(self.limit("the length of a class's or function's name", length, limits::NAME));
        }
        // Python 2's names of the same modules.
        let module = match &*module {
            "__builtin__" => Cow::Borrowed("builtins"),
            "copy_reg" => Cow::Borrowed("copyreg"),
            _ => module,
        };
        Ok(Node::Global(Box::new(Global { module, name })))
    }

    fn call(&mut self, how: How, callee: NodeId, arguments: NodeId) -> Result<(), ReadError> {
        self.refuse_danger(callee)?;
        match self.tree.node(callee) {
            Node::Global(_) | Node::Persistent(_) | Node::Object(_) => {}
            _ => return Err(self.broken("a call of something that is no function")),
        }
        let first = self.tree.sequence(arguments).and_then(|items| items.first().copied());
        let (mut how, mut made_by) = (how, callee);
        if let (Some(function), Some(first)) = (self.tree.global(callee), first) {
            if function.is("copyreg", "_reconstructor") || function.is("copyreg", "__newobj__") {
                // Protocols 0 and 1 have no NEWOBJ: this function makes an instance of its first argument.
                (how, made_by) = (How::Class, first);
                self.refuse_danger(first)?;
            } else if function.is("functools", "partial") {
                // It only keeps its function, but keeps it to be called.
                self.refuse_danger(first)?;
            }
        }
        let callee = made_by;
        let object = Object { how, callee, arguments, state: None, items: Vec::new(), elements: Vec::new() };
        self.push(Node::Object(Box::new(object)));
        Ok(())
    }

    fn build(&mut self) -> Result<(), ReadError> {
        let state = self.pop()?;
        let target = self.top()?;
        // BUILD calls the target's `__setstate__`: of a class or module, that is a function of its choosing.
        self.refuse_danger(target)?;
        match &mut self.tree.nodes[target.0 as usize] {
            Node::Object(object) if object.state.is_none() => object.state = Some(state),
            Node::Object(_) => return Err(self.broken("an object with two states")),
            _ => return Err(self.broken("a state given to something that has none")),
        }
        Ok(())
    }

    fn refuse_danger(&self, callee: NodeId) -> Result<(), ReadError> {
        match self.tree.callable(callee) {
            Some(global) if is_dangerous(global) => Err(ReadError::ForbiddenGlobal {
                at: self.at,
                module: global.module.to_string(),
                name: global.name.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn put(&mut self, index: u64) -> Result<(), ReadError> {
        let top = self.top()?;
        self.memo.insert(index, top);
        if self.memo.len() > limits::MEMO {
            return Err(self.limit("the number of memo entries", limits::MEMO + 1, limits::MEMO));
        }
        Ok(())
    }

    fn get(&mut self, index: u64) -> Result<(), ReadError> {
        let id = *self.memo.get(&index).ok_or_else(|| self.broken("a memo entry that was never made"))?;
        self.stack.push(id);
        Ok(())
    }

    fn broken(&self, problem: &'static str) -> ReadError {
        ReadError::Pickle { at: self.at, problem }
    }

    fn limit(&self, what: &'static str, value: usize, max: usize) -> ReadError {
        ReadError::LimitExceeded { what, at: self.at, value: value as u64, max: max as u64 }
    }
}
