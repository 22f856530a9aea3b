//! Any tree of values, pickled in any of the ways Python has for it, is read as that tree; any bytes are read or refused.

use super::{limits, parse, Node, NodeId, Tree};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

#[derive(Debug, Clone)]
enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Set(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A class, its arguments and its state.
    Object(String, Vec<Value>, Box<Value>),
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i8>().prop_map(|small| Value::Int(small.into())),
        any::<f64>().prop_map(Value::Float),
        any::<String>().prop_map(Value::Str),
        "[a-z0-9.]{0,300}".prop_map(Value::Str),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let many = || proptest::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            many().prop_map(Value::Tuple),
            many().prop_map(Value::List),
            many().prop_map(Value::Set),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..6).prop_map(Value::Dict),
            ("[A-Z][a-z]{0,8}(\\.[A-Z][a-z]{0,8}){0,2}", many(), inner.clone())
                .prop_map(|(class, arguments, state)| Value::Object(class, arguments, state.into())),
        ]
    })
}

/// Writes values, choosing among the ways there are.
struct Writer<'c> {
    bytes: Vec<u8>,
    choices: std::iter::Cycle<std::slice::Iter<'c, u8>>,
    memo: u32,
}

impl Writer<'_> {
    fn choose(&mut self, ways: u8) -> u8 {
        self.choices.next().copied().unwrap_or(0) % ways
    }

    fn put(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend(*part));
    }

    fn counted(&mut self, short: u8, long: u8, eight: u8, bytes: &[u8]) {
        match self.choose(3) {
            0 if bytes.len() < 256 => self.put(&[&[short, bytes.len() as u8], bytes]),
            1 => self.put(&[&[eight], &(bytes.len() as u64).to_le_bytes(), bytes]),
            _ => self.put(&[&[long], &(bytes.len() as u32).to_le_bytes(), bytes]),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.put(&[b"N"]),
            Value::Bool(value) => match self.choose(2) {
                0 => self.put(&[if *value { b"\x88" } else { b"\x89" }]),
                _ => self.put(&[if *value { b"I01\n" } else { b"I00\n" }]),
            },
            Value::Int(value) => match (self.choose(4), i32::try_from(*value)) {
                (0, Ok(small)) => self.put(&[b"J", &small.to_le_bytes()]),
                (1, _) => self.put(&[b"\x8a\x08", &value.to_le_bytes()]),
                (2, _) => self.put(&[format!("L{value}L\n").as_bytes()]),
                _ => self.put(&[b"\x8b\x09\0\0\0", &i128::from(*value).to_le_bytes()[..9]]),
            },
            Value::Float(value) => self.put(&[b"G", &value.to_be_bytes()]),
            Value::Str(text) => self.counted(b'\x8c', b'X', b'\x8d', text.as_bytes()),
            Value::Bytes(bytes) => self.counted(b'C', b'B', b'\x8e', bytes),
            Value::Tuple(items) => {
                let short: &[u8] = match (items.len(), self.choose(2)) {
                    (0, 0) => b")",
                    (1, 0) => b"\x85",
                    (2, 0) => b"\x86",
                    (3, 0) => b"\x87",
                    _ => b"",
                };
                if short.is_empty() {
                    self.put(&[b"("]);
                }
                items.iter().for_each(|item| self.value(item));
                self.put(&[if short.is_empty() { b"t" } else { short }]);
            }
            Value::List(items) => match self.choose(3) {
                0 => self.all(b"(", items, b"l"),
                1 => self.all(b"](", items, b"e"),
                _ => {
                    self.put(&[b"]"]);
                    for item in items {
                        self.value(item);
                        self.put(&[b"a"]);
                    }
                }
            },
            Value::Set(items) => match self.choose(2) {
                0 => self.all(b"\x8f(", items, b"\x90"),
                _ => self.all(b"(", items, b"\x91"),
            },
            Value::Dict(pairs) => {
                let way = self.choose(3);
                self.put(&[[&b"("[..], b"}(", b"}"][usize::from(way)]]);
                for (key, value) in pairs {
                    self.value(key);
                    self.value(value);
                    if way == 2 {
                        self.put(&[b"s"]);
                    }
                }
                self.put(&[[&b"d"[..], b"u", b""][usize::from(way)]]);
            }
            Value::Object(class, arguments, state) => {
                match self.choose(2) {
                    0 => self.put(&[b"capp\n", class.as_bytes(), b"\n"]),
                    _ => self.put(&[b"\x8c\x03app\x8c", &[class.len() as u8], class.as_bytes(), b"\x93"]),
                }
                self.all(b"(", arguments, b"t\x81");
                self.value(state);
                self.put(&[b"b"]);
            }
        }
        // In the memo and out again: the same value, by its number.
        if self.choose(4) == 0 {
            self.memo += 1;
            let number = self.memo.to_le_bytes();
            self.put(&[b"r", &number, b"0j", &number]);
        }
    }

    fn all(&mut self, before: &[u8], items: &[Value], after: &[u8]) {
        self.put(&[before]);
        items.iter().for_each(|item| self.value(item));
        self.put(&[after]);
    }
}

fn same(tree: &Tree, id: NodeId, value: &Value) -> bool {
    let all = |ids: &[NodeId], values: &[Value]| {
        ids.len() == values.len() && ids.iter().zip(values).all(|(id, value)| same(tree, *id, value))
    };
    match (tree.node(id), value) {
        (Node::None, Value::None) => true,
        (Node::Bool(got), Value::Bool(want)) => got == want,
        (Node::Int(got), Value::Int(want)) => got == want,
        (Node::Float(got), Value::Float(want)) => got.to_bits() == want.to_bits(),
        (Node::Str(got), Value::Str(want)) => got == want,
        (Node::Bytes(got), Value::Bytes(want)) => **got == **want,
        (Node::Tuple(got), Value::Tuple(want))
        | (Node::List(got), Value::List(want))
        | (Node::Set(got), Value::Set(want)) => all(got, want),
        (Node::Dict(got), Value::Dict(want)) => {
            let pairs = got.iter().zip(want);
            got.len() == want.len()
                && pairs
                    .into_iter()
                    .all(|(got, want)| same(tree, got.0, &want.0) && same(tree, got.1, &want.1))
        }
        (Node::Object(object), Value::Object(class, arguments, state)) => {
            tree.callee(object).is_some_and(|found| found.is("app", class))
                && all(tree.arguments(object), arguments)
                && object.state.is_some_and(|id| same(tree, id, state))
        }
        _ => false,
    }
}

/// The opcodes, so that random bytes get further than the first.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    let opcode = proptest::sample::select(super::opcodes::TABLE).prop_map(|(op, _)| op as u8);
    proptest::collection::vec(prop_oneof![4 => opcode, 1 => any::<u8>()], 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn every_tree_is_read_as_it_was_written(
        value in values(),
        choices in proptest::collection::vec(any::<u8>(), 1..50),
    ) {
        let mut writer = Writer { bytes: b"\x80\x04".to_vec(), choices: choices.iter().cycle(), memo: 0 };
        writer.value(&value);
        writer.put(&[b".behind"]);
        let (tree, length) = parse(&writer.bytes, 0).unwrap();
        prop_assert_eq!(length, writer.bytes.len() - b"behind".len());
        prop_assert!(same(&tree, tree.root(), &value), "{:?}", tree.nodes);
    }

    #[test]
    fn a_tree_that_is_cut_is_refused(value in values(), choices in proptest::collection::vec(any::<u8>(), 1..50)) {
        let mut writer = Writer { bytes: b"\x80\x04".to_vec(), choices: choices.iter().cycle(), memo: 0 };
        writer.value(&value);
        let length = writer.bytes.len();
        for cut in [0, length / 3, length / 2, length - 1, length] {
            // A full stop within a string is no end.
            prop_assert!(parse(&writer.bytes[..cut], 0).is_err());
        }
    }

    #[test]
    fn random_opcodes_are_read_or_refused(bytes in opcodes()) {
        if let Ok((tree, length)) = parse(&bytes, 0) {
            prop_assert!(length <= bytes.len());
            // Three values an opcode at most, and whatever is in the tree can be described.
            prop_assert!(tree.nodes.len() <= 3 * bytes.len());
            for id in 0..tree.nodes.len() as u32 {
                prop_assert!(tree.describe(NodeId(id)).len() < 2 * limits::NAME);
                tree.entries(NodeId(id));
            }
        }
    }
}
