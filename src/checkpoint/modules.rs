//! Whole modules in a pickle: their tensors under state-dict names, found by walking what the pickle gives each object as
//! its state. The classes never need to exist.
//!
//! A pickled `nn.Module` keeps `_parameters`, `_buffers` and `_modules`; TorchScript keeps all three as plain attributes.

use super::limits;
use super::pickle::{How, Node, NodeId, Tree};
use super::read_error::ReadError;
use super::tensors::is_tensor;
use std::collections::HashSet;

/// Modules inside modules. A DenseNet-201 in DataParallel has 8 levels.
const MAX_DEPTH: usize = 64;
/// Modules of one walk: one used in two places is walked twice, as torch does, and a file could make that double at every
/// level.
const MAX_MODULES: usize = limits::TENSORS;

/// How a module keeps its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Eager,
    Script,
}

/// Whether a node is a pickled `nn.Module`.
pub(super) fn is_module(tree: &Tree, id: NodeId) -> bool {
    style(tree, id) == Some(Style::Eager)
}

/// Whether a node is a module of a TorchScript archive.
pub(super) fn is_script(tree: &Tree, id: NodeId) -> bool {
    style(tree, id) == Some(Style::Script)
}

/// Whether a TorchScript module is what tch's `VarStore::save` makes: an unnamed class with tensors alone.
pub(super) fn is_tch(tree: &Tree, id: NodeId) -> bool {
    let Some(object) = tree.object(id) else { return false };
    let class = tree.callee(object).is_some_and(|class| class.is("__torch__", "Module"));
    let attributes = object.state.and_then(|state| tree.entries(state)).unwrap_or_default();
    class && attributes.iter().all(|(_, value)| is_tensor(tree, *value))
}

/// All tensors of a module in the order of its `state_dict()`: its parameters, its buffers, then its children's.
///
/// # Errors
/// [`ReadError::NotATensor`] where a parameter or child is something else; [`ReadError::LimitExceeded`].
pub(super) fn collect(tree: &Tree, id: NodeId) -> Result<Vec<(String, NodeId)>, ReadError> {
    let mut walk = Walk { tree, modules: 0, bytes: 0, found: Vec::new() };
    walk.module(id, "", 0)?;
    Ok(walk.found)
}

fn style(tree: &Tree, id: NodeId) -> Option<Style> {
    let object = tree.object(id).filter(|object| object.how == How::Class)?;
    if tree
        .callee(object)
        .is_some_and(|class| class.module == "__torch__" || class.module.starts_with("__torch__."))
    {
        return Some(Style::Script);
    }
    let state = tree.entries(object.state?)?;
    (tree.get(&state, "_parameters").is_some() && tree.get(&state, "_modules").is_some())
        .then_some(Style::Eager)
}

struct Walk<'t, 'a> {
    tree: &'t Tree<'a>,
    modules: usize,
    /// Of all names.
    bytes: usize,
    found: Vec<(String, NodeId)>,
}

impl Walk<'_, '_> {
    fn module(&mut self, id: NodeId, prefix: &str, depth: usize) -> Result<(), ReadError> {
        limits::check("the nesting of modules", depth, MAX_DEPTH)?;
        self.modules += 1;
        limits::check("the number of modules", self.modules, MAX_MODULES)?;
        let tree = self.tree;
        tree.check_steps()?;
        let state = tree.object(id).and_then(|object| object.state).and_then(|state| tree.entries(state));
        let state = state.unwrap_or_default();
        match style(tree, id) {
            Some(Style::Script) => {
                for (key, value) in state.iter().filter(|(_, value)| is_tensor(tree, *value)) {
                    self.tensor(prefix, *key, *value)?;
                }
                for (key, value) in state.iter().filter(|(_, value)| is_script(tree, *value)) {
                    let name = self.name(prefix, *key)?;
                    self.module(*value, &name, depth + 1)?;
                }
            }
            Some(Style::Eager) => {
                let part = |key| tree.get(&state, key).and_then(|id| tree.entries(id)).unwrap_or_default();
                for (key, value) in part("_parameters").iter() {
                    self.tensor(prefix, *key, *value)?;
                }
                let passing = names_in(tree, tree.get(&state, "_non_persistent_buffers_set"));
                for (key, value) in part("_buffers").iter() {
                    if !tree.str(*key).is_some_and(|key| passing.contains(key)) {
                        self.tensor(prefix, *key, *value)?;
                    }
                }
                for (key, value) in part("_modules").iter() {
                    if !matches!(tree.node(*value), Node::None) {
                        let name = self.name(prefix, *key)?;
                        self.module(*value, &name, depth + 1)?;
                    }
                }
            }
            None => return Err(ReadError::NotATensor { key: prefix.to_string(), found: tree.describe(id) }),
        }
        Ok(())
    }

    fn tensor(&mut self, prefix: &str, key: NodeId, value: NodeId) -> Result<(), ReadError> {
        if matches!(self.tree.node(value), Node::None) {
            return Ok(());
        }
        let name = self.name(prefix, key)?;
        if !is_tensor(self.tree, value) {
            return Err(ReadError::NotATensor { key: name, found: self.tree.describe(value) });
        }
        self.found.push((name, value));
        limits::check("the number of tensors", self.found.len(), limits::TENSORS)
    }

    fn name(&mut self, prefix: &str, key: NodeId) -> Result<String, ReadError> {
        let Some(key) = self.tree.str(key) else {
            return Err(ReadError::NotATensor {
                key: prefix.to_string(),
                found: "named by something that is no text".to_string(),
            });
        };
        let length = prefix.len() + 1 + key.len();
        limits::check("the length of a tensor's name", length, limits::NAME)?;
        self.bytes += length;
        limits::check("the length of all tensors' names", self.bytes, limits::NAMES)?;
        // Copying the name is work as well; 16 bytes of it are taken for one value looked at.
        self.tree.step(length / 16);
        Ok(if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") })
    }
}

/// A set of strings; before protocol 4 it is a call of `set` with a list.
fn names_in<'t>(tree: &'t Tree, set: Option<NodeId>) -> HashSet<&'t str> {
    let items: &[NodeId] = match set.map(|id| tree.node(id)) {
        Some(Node::Set(items)) => items,
        Some(Node::Object(object)) => {
            tree.arguments(object).first().and_then(|list| tree.sequence(*list)).unwrap_or_default()
        }
        _ => &[],
    };
    if !tree.step(items.len()) {
        return HashSet::new();
    }
    items.iter().filter_map(|item| tree.str(*item)).collect()
}
