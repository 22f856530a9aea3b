//! Pickles, read into an inert tree: data, and for every class, function and call a node with its name. Nothing is ever
//! imported or called, so what a file can do is at most to be refused.
//!
//! bytes → [`cursor`] → [`machine`] → [`tree`]; [`writer`] goes the other way. May use std only. Source: CPython's `Lib/pickle.py`, `pickletools.py`.

mod cursor;
mod danger;
pub(super) mod limits;
mod machine;
mod opcodes;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod writer;

pub(super) use machine::parse;
pub(super) use tree::{How, Node, NodeId, Object, Tree};
pub(super) use writer::Writer;
