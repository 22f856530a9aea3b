//! Which of a file's dictionaries holds the weights.
//!
//! Training scripts wrap state dicts in dictionaries of their own, beside optimizers, counters and settings. The one
//! wanted is the dictionary (or pickled module) with the most DenseNet-like tensor names.

use super::limits;
use super::modules;
use super::pickle::{Node, NodeId, Tree};
use super::read_error::ReadError;
use super::tensors::is_tensor;
use std::collections::HashSet;

/// Dictionaries inside dictionaries that are searched. What lies deeper, or under keys that are together longer than
/// [`limits::NAME`], is not.
const MAX_DEPTH: usize = 32;
/// How many values beside the state dict are kept, and how long their texts may be.
const MAX_BESIDE: usize = 64;
const MAX_BESIDE_TEXT: usize = 256;
/// Dictionaries of tensors. An optimizer has one for each parameter, 604 for a DenseNet-201's.
const MAX_CANDIDATES: usize = 16_384;
/// Keys of averaged weights: what timm prefers when both are there.
const AVERAGED: &[&str] = &["state_dict_ema", "model_ema", "ema", "ema_state_dict"];
/// Keys that training scripts give the weights.
const WEIGHTS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
];
/// Parts of names that DenseNets of some origin have and other networks seldom do.
const DENSE: &[&str] = &[
    "denseblock",
    "denselayer",
    "dense_block",
    "bottle_neck",
    "transition",
    "features_denseblock",
    "dense",
    "trans",
    "stages",
    "norm5",
    "norm_final",
];
/// What parameters and buffers are called.
const LEAVES: &[&str] = &["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];

/// The state dict that was chosen: where, and its tensors.
pub(super) struct Found {
    /// The key path, `None` if it is the top object.
    pub(super) root: Option<String>,
    pub(super) tensors: Vec<(String, NodeId)>,
    /// Short values beside it, as text, sorted by key.
    pub(super) beside: Vec<(String, String)>,
    /// The top object or module at the root is one of a TorchScript archive.
    pub(super) id: NodeId,
}

struct Candidate {
    path: String,
    id: NodeId,
    score: Score,
}

/// Compared in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Score {
    dense: usize,
    leaves: usize,
    tensors: usize,
}

/// Finds the state dict, at `root` if one is given.
pub(super) fn find(tree: &Tree, root: Option<&str>) -> Result<Found, ReadError> {
    let mut search = Search { tree, all: root.is_some(), seen: HashSet::new(), candidates: Vec::new() };
    search.visit(tree.root(), &Path::Top, 0);
    tree.check_steps()?;
    let candidates = search.candidates;
    limits::check("the number of dictionaries of tensors", candidates.len(), MAX_CANDIDATES)?;
    let chosen = match root {
        Some(root) => candidates.iter().find(|candidate| candidate.path == root).ok_or_else(|| {
            ReadError::RootNotFound { root: root.to_string(), candidates: listing(&candidates) }
        })?,
        None => choose(tree, &candidates)?,
    };
    let tensors = collect(tree, chosen.id)?;
    tree.check_steps()?;
    let root = (!chosen.path.is_empty()).then(|| chosen.path.clone());
    let beside = if root.is_some() { beside(tree) } else { Vec::new() };
    Ok(Found { root, tensors, beside, id: chosen.id })
}

/// Numbers and short texts of the top dictionary.
fn beside(tree: &Tree) -> Vec<(String, String)> {
    let text = |id: NodeId| match tree.node(id) {
        Node::Bool(value) => Some(value.to_string()),
        Node::Int(value) => Some(value.to_string()),
        Node::Float(value) => Some(value.to_string()),
        Node::Str(value) if value.len() <= MAX_BESIDE_TEXT => Some(value.to_string()),
        _ => None,
    };
    let entries = tree.entries(tree.root()).unwrap_or_default();
    let named = entries.iter().filter_map(|(key, value)| {
        let key = tree.str(*key).filter(|key| key.len() <= MAX_BESIDE_TEXT)?;
        Some((key.to_string(), text(*value)?))
    });
    let mut beside: Vec<_> = named.take(MAX_BESIDE).collect();
    beside.sort();
    beside
}

fn choose<'c>(tree: &Tree, candidates: &'c [Candidate]) -> Result<&'c Candidate, ReadError> {
    let Some(best) = candidates.iter().map(|candidate| candidate.score).max() else {
        return Err(ReadError::NoStateDict { top: tree.describe(tree.root()) });
    };
    let best: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.score == best).collect();
    if let [only] = best[..] {
        return Ok(only);
    }
    // Weights and their average, side by side, are what timm saves; it loads the average.
    let last = |candidate: &Candidate| candidate.path.rsplit('.').next().unwrap_or_default().to_string();
    let averaged: Vec<&&Candidate> = best.iter().filter(|c| AVERAGED.contains(&&*last(c))).collect();
    let plain = best.iter().filter(|c| WEIGHTS.contains(&&*last(c))).count();
    match averaged[..] {
        [only] if plain + 1 == best.len() => Ok(only),
        _ => Err(ReadError::AmbiguousRoot {
            candidates: best.iter().map(|c| (c.path.clone(), c.score.tensors)).collect(),
        }),
    }
}

/// The keys that lead to a value; written out only where something is found.
enum Path<'p> {
    Top,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// `None` if it is longer than any name.
    fn text(&self) -> Option<String> {
        let mut text = String::new();
        self.write(&mut text).then_some(text)
    }

    fn write(&self, text: &mut String) -> bool {
        let (parent, key) = match self {
            Path::Top => return true,
            Path::Key(parent, key) => (parent, std::borrow::Cow::Borrowed(*key)),
            Path::Index(parent, index) => (parent, std::borrow::Cow::Owned(index.to_string())),
        };
        if !parent.write(text) || text.len() + 1 + key.len() > limits::NAME {
            return false;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&key);
        true
    }
}

struct Search<'t, 'a> {
    tree: &'t Tree<'a>,
    /// Optimizers too.
    all: bool,
    /// Each node is looked at once, so cycles end and sharing costs nothing.
    seen: HashSet<NodeId>,
    candidates: Vec<Candidate>,
}

impl Search<'_, '_> {
    fn visit(&mut self, id: NodeId, path: &Path, depth: usize) {
        if depth > MAX_DEPTH || self.candidates.len() > MAX_CANDIDATES {
            return;
        }
        if is_tensor(self.tree, id) || !self.seen.insert(id) {
            return;
        }
        let tree = self.tree;
        if modules::is_module(tree, id) || modules::is_script(tree, id) {
            // A module that cannot be walked stays a candidate: if it is the only one, its error is the answer.
            let score = modules::collect(tree, id).map(|names| score(names.iter().map(|(name, _)| &**name)));
            self.found(path, id, score.unwrap_or_default());
            return;
        }
        let short = |key: &&str| key.len() <= limits::NAME;
        if let Some(entries) = tree.entries(id) {
            let names = entries
                .iter()
                .filter(|(_, value)| is_tensor(tree, *value))
                .filter_map(|(key, _)| tree.str(*key))
                // A long name, named often, is work as well.
                .map(|key| if short(&key) && tree.step(key.len() / 16) { key } else { "" });
            let score = score(names);
            let optimizer = ["exp_avg", "momentum_buffer", "square_avg"]
                .iter()
                .any(|key| tree.get(&entries, key).is_some());
            if score.tensors > 0 && (self.all || !optimizer) {
                self.found(path, id, score);
            }
            for (key, value) in entries.iter() {
                if let Some(key) = tree.str(*key).filter(short).filter(|key| self.all || !is_optimizer(key)) {
                    self.visit(*value, &Path::Key(path, key), depth + 1);
                }
            }
            return;
        }
        match tree.node(id) {
            Node::Tuple(items) | Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.visit(*item, &Path::Index(path, index), depth + 1);
                }
            }
            // An object that is no module: what it was given as its attributes.
            Node::Object(object) => {
                if let Some(state) = object.state {
                    self.visit(state, path, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn found(&mut self, path: &Path, id: NodeId, score: Score) {
        self.candidates.extend(path.text().map(|path| Candidate { path, id, score }));
    }
}

fn is_optimizer(key: &str) -> bool {
    key == "opt"
        || key.starts_with("optim")
        || key.contains("optimizer")
        || key.contains("scheduler")
        || key == "scaler"
}

fn score<'n>(names: impl Iterator<Item = &'n str>) -> Score {
    let mut score = Score::default();
    for name in names {
        let digits: &[char] = &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
        let dense = |part: &str| DENSE.contains(&part) || DENSE.contains(&part.trim_end_matches(digits));
        score.tensors += 1;
        score.dense += usize::from(name.split(['.', '|']).any(dense));
        score.leaves += usize::from(is_leaf(name));
    }
    score
}

fn is_leaf(name: &str) -> bool {
    name.rsplit(['.', '|', '_']).next().is_some_and(|last| LEAVES.contains(&last))
        || LEAVES.iter().any(|leaf| name.ends_with(leaf))
}

/// The tensors of a dictionary or module. Plain data beside them is left out; something that only code could turn into a
/// tensor, under a tensor's name, is refused.
fn collect(tree: &Tree, id: NodeId) -> Result<Vec<(String, NodeId)>, ReadError> {
    if modules::is_module(tree, id) || modules::is_script(tree, id) {
        return modules::collect(tree, id);
    }
    let (mut tensors, mut names, mut bytes) = (Vec::new(), HashSet::new(), 0);
    for (key, value) in tree.entries(id).unwrap_or_default().iter() {
        let Some(name) = tree.str(*key) else { continue };
        let tensor = is_tensor(tree, *value);
        if tensor || is_leaf(name) {
            limits::check("the length of a tensor's name", name.len(), limits::NAME)?;
        }
        if tensor {
            bytes += name.len();
            limits::check("the length of all tensors' names", bytes, limits::NAMES)?;
            limits::check("the number of tensors", tensors.len() + 1, limits::TENSORS)?;
            if !names.insert(name) {
                return Err(ReadError::DuplicateKey { key: name.to_string() });
            }
            tensors.push((name.to_string(), *value));
        } else if is_leaf(name)
            && matches!(tree.node(*value), Node::Object(_) | Node::Global(_) | Node::Persistent(_))
        {
            return Err(ReadError::NotATensor { key: name.to_string(), found: tree.describe(*value) });
        }
    }
    Ok(tensors)
}

fn listing(candidates: &[Candidate]) -> Vec<(String, usize)> {
    candidates.iter().map(|candidate| (candidate.path.clone(), candidate.score.tensors)).collect()
}
