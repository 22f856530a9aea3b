//! The inert tree a pickle is read into.
//!
//! Nodes lie in one vector and name each other by index: what a pickle shares is shared, what contains itself is a cycle
//! of indices and no leak, and dropping the deepest nesting is dropping a vector. Whoever walks it spends steps of a budget
//! in proportion to its size, so that sharing cannot make a short pickle a long walk.

use super::limits;
use crate::checkpoint::read_error::ReadError;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

/// A node's place in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::checkpoint) struct NodeId(pub(super) u32);

/// A class or function, by name only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::checkpoint) struct Global<'a> {
    pub(in crate::checkpoint) module: Cow<'a, str>,
    pub(in crate::checkpoint) name: Cow<'a, str>,
}

impl Global<'_> {
    /// Whether this is `module.name`.
    pub(in crate::checkpoint) fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

/// For people: control characters are escaped, as terminals take some of them for commands.
impl std::fmt::Display for Global<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.module.escape_debug(), self.name.escape_debug())
    }
}

/// How a pickle makes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) enum How {
    /// It calls a function: REDUCE.
    Function,
    /// It makes an instance of a class: NEWOBJ, NEWOBJ_EX, INST, OBJ.
    Class,
}

/// An object that Python would make by a call. Here the call is only written down.
#[derive(Debug)]
pub(in crate::checkpoint) struct Object {
    pub(in crate::checkpoint) how: How,
    pub(in crate::checkpoint) callee: NodeId,
    /// Positional arguments: a tuple.
    pub(in crate::checkpoint) arguments: NodeId,
    /// What BUILD gives to `__setstate__`.
    pub(in crate::checkpoint) state: Option<NodeId>,
    /// What SETITEM(S) puts in.
    pub(in crate::checkpoint) items: Vec<(NodeId, NodeId)>,
    /// What APPEND(S) and ADDITEMS put in.
    pub(in crate::checkpoint) elements: Vec<NodeId>,
}

/// One value of a pickle.
#[derive(Debug)]
pub(in crate::checkpoint) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits, and at most 128.
    Big(Box<i128>),
    /// An integer of more than 128 bits; no one needs its value.
    Huge,
    Float(f64),
    Str(Cow<'a, str>),
    /// Bytes, and Python 2 strings that are not UTF-8.
    Bytes(Cow<'a, [u8]>),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    Set(Vec<NodeId>),
    /// In the file's order.
    Dict(Vec<(NodeId, NodeId)>),
    Global(Box<Global<'a>>),
    /// What stands for something outside the pickle: a storage, or a module's class.
    Persistent(NodeId),
    Object(Box<Object>),
}

/// A pickle's values.
#[derive(Debug)]
pub(in crate::checkpoint) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: NodeId,
    /// Values looked at so far.
    steps: Cell<u64>,
}

impl<'a> Tree<'a> {
    pub(super) fn new() -> Self {
        Tree { nodes: Vec::new(), root: NodeId(0), steps: Cell::new(0) }
    }

    /// Notes that `count` values are looked at; `false` if that is more than a tree of this size is worth. Whoever
    /// searches a tree asks [`Tree::check_steps`] at the end, before it believes what it found or did not find.
    pub(in crate::checkpoint) fn step(&self, count: usize) -> bool {
        self.steps.set(self.steps.get().saturating_add(count as u64));
        self.steps.get() <= self.budget()
    }

    /// [`ReadError::LimitExceeded`] if the walks over this tree were cut short.
    pub(in crate::checkpoint) fn check_steps(&self) -> Result<(), ReadError> {
        let (value, max) = (self.steps.get(), self.budget());
        if value > max {
            let what = "the number of values looked at, most of them again and again,";
            return Err(ReadError::LimitExceeded { what, at: 0, value, max });
        }
        Ok(())
    }

    fn budget(&self) -> u64 {
        limits::FREE_STEPS + limits::STEPS_A_VALUE * self.nodes.len() as u64
    }

    /// The object that was pickled.
    pub(in crate::checkpoint) fn root(&self) -> NodeId {
        self.root
    }

    /// The node at `id`; ids come from this tree, so they exist.
    pub(in crate::checkpoint) fn node(&self, id: NodeId) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }

    /// Text.
    pub(in crate::checkpoint) fn str(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    /// An integer.
    pub(in crate::checkpoint) fn int(&self, id: NodeId) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A class or function.
    pub(in crate::checkpoint) fn global(&self, id: NodeId) -> Option<&Global<'a>> {
        match self.node(id) {
            Node::Global(global) => Some(global),
            _ => None,
        }
    }

    /// A tuple or list, `torch.Size` included.
    pub(in crate::checkpoint) fn sequence(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            Node::Object(object) if self.global(object.callee)?.is("torch", "Size") => {
                match self.node(object.arguments) {
                    Node::Tuple(arguments) => match self.node(*arguments.first()?) {
                        Node::Tuple(items) | Node::List(items) => Some(items),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// An object made by a call.
    pub(in crate::checkpoint) fn object(&self, id: NodeId) -> Option<&Object> {
        match self.node(id) {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// A call's positional arguments.
    pub(in crate::checkpoint) fn arguments(&self, object: &Object) -> &[NodeId] {
        match self.node(object.arguments) {
            Node::Tuple(items) => items,
            _ => &[],
        }
    }

    /// The class or function an object is made by. In whole modules of the legacy format a class can be a persistent id
    /// `('module', class, file, source)`.
    pub(in crate::checkpoint) fn callee(&self, object: &Object) -> Option<&Global<'a>> {
        self.callable(object.callee)
    }

    /// As [`Tree::callee`], of the node that is called.
    pub(super) fn callable(&self, id: NodeId) -> Option<&Global<'a>> {
        match self.node(id) {
            Node::Global(global) => Some(global),
            Node::Persistent(id) => {
                let fields = self.sequence(*id)?;
                if self.str(*fields.first()?)? != "module" {
                    return None;
                }
                self.global(*fields.get(1)?)
            }
            _ => None,
        }
    }

    /// The pairs of a dictionary or of an object that is one: `OrderedDict` and its kin, or an instance that items were
    /// put into. A function's result with items is none: what the function returns is unknown. `None` as well once the
    /// budget is spent ([`Tree::step`]).
    pub(in crate::checkpoint) fn entries(&self, id: NodeId) -> Option<Cow<'_, [(NodeId, NodeId)]>> {
        match self.node(id) {
            Node::Dict(items) => self.step(1 + items.len()).then_some(Cow::Borrowed(items)),
            Node::Object(object) => {
                if !self.step(1 + object.items.len()) {
                    return None;
                }
                let known = self.callee(object).is_some_and(is_mapping);
                if !known && (object.how == How::Function || object.items.is_empty()) {
                    return None;
                }
                // Python 2 writes OrderedDict as a call with a list of [key, value] lists; a defaultdict's first argument
                // is what makes its values.
                let mut pairs = Vec::new();
                for argument in self.arguments(object).iter().take(2).filter(|_| known) {
                    match self.node(*argument) {
                        Node::Dict(items) if self.step(items.len()) => pairs.extend_from_slice(items),
                        Node::List(list) if self.step(list.len()) => {
                            for pair in list {
                                if let Some([key, value]) = self.sequence(*pair) {
                                    pairs.push((*key, *value));
                                }
                            }
                        }
                        _ => {}
                    }
                }
                if pairs.is_empty() {
                    return Some(Cow::Borrowed(&object.items));
                }
                pairs.extend_from_slice(&object.items);
                Some(Cow::Owned(pairs))
            }
            _ => None,
        }
    }

    /// The value of a key in a dictionary's pairs.
    pub(in crate::checkpoint) fn get(&self, entries: &[(NodeId, NodeId)], key: &str) -> Option<NodeId> {
        entries.iter().rev().find(|(k, _)| self.str(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// Every storage id, in the order the pickle names them.
    pub(in crate::checkpoint) fn persistent_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    /// Names of all classes and functions, sorted.
    ///
    /// # Errors
    /// [`ReadError::LimitExceeded`] if they are more than any training script names.
    pub(in crate::checkpoint) fn globals(&self) -> Result<BTreeSet<String>, ReadError> {
        let mut names = HashSet::new();
        for node in &self.nodes {
            let Node::Global(global) = node else { continue };
            if names.insert((&*global.module, &*global.name)) && names.len() > limits::GLOBALS {
                return Err(ReadError::LimitExceeded {
                    what: "the number of classes and functions",
                    at: 0,
                    value: names.len() as u64,
                    max: limits::GLOBALS as u64,
                });
            }
        }
        Ok(names.into_iter().map(|(module, name)| format!("{module}.{name}")).collect())
    }

    /// A few words on a node, for errors.
    pub(in crate::checkpoint) fn describe(&self, id: NodeId) -> String {
        match self.node(id) {
            Node::None => "None".to_string(),
            Node::Bool(value) => format!("the truth value {value}"),
            Node::Int(value) => format!("the integer {value}"),
            Node::Big(_) | Node::Huge => "a large integer".to_string(),
            Node::Float(value) => format!("the number {value}"),
            Node::Str(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
            Node::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Node::Tuple(items) => format!("a tuple of {}", items.len()),
            Node::List(items) => format!("a list of {}", items.len()),
            Node::Set(items) => format!("a set of {}", items.len()),
            Node::Dict(items) => format!("a dict of {}", items.len()),
            Node::Global(global) => format!("the class or function {global}"),
            Node::Persistent(_) => "a storage".to_string(),
            Node::Object(object) => match self.callee(object) {
                Some(class) if object.how == How::Class => format!("an object of {class}"),
                Some(function) => format!("what {function} returns"),
                None => "an object made by a computed call".to_string(),
            },
        }
    }
}

fn is_mapping(class: &Global) -> bool {
    class.is("collections", "OrderedDict")
        || class.is("collections", "defaultdict")
        || class.is("collections", "Counter")
        || class.is("builtins", "dict")
}
