//! A file's names made torchvision's: prefix, rename rules, leftovers. Tensors are not touched.

use super::error::{CheckpointError, Result};
use super::prefix;
use super::rename::{drop_reason, Rename, RenameRule, When};
use super::state_dict::{StateDict, TensorView};
use regex::Regex;
use std::collections::HashMap;

/// What the caller knows about a file's names.
#[derive(Debug, Clone, Default)]
pub struct NameOptions {
    /// Which of several networks in the file: the prefix of its names (`"student."`). Only tensors under it are used.
    /// Not needed where there is one network: its prefix is found.
    pub prefix: Option<String>,
    /// Renames applied first, in order, to the file's own names.
    pub renames: Vec<Rename>,
}

/// A tensor of a file under torchvision's name.
#[derive(Clone)]
pub struct NormalizedTensor<'a> {
    /// torchvision's name, or what comes nearest for a tensor it does not have.
    pub name: String,
    /// The file's name.
    pub original: &'a str,
    /// The tensor.
    pub view: &'a TensorView,
}

/// A tensor that was left out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// The file's name.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// A state dict under torchvision's names, in the file's order, and what had to be done for it.
pub struct Normalized<'a> {
    /// The tensors that are left.
    pub tensors: Vec<NormalizedTensor<'a>>,
    /// What was taken off the front of the names, with its trailing dot.
    pub stripped_prefix: Option<String>,
    /// The rules that fired, in the table's order.
    pub rules: Vec<&'static RenameRule>,
    /// How many tensors have another name now, prefix aside.
    pub renamed: usize,
    /// What was left out.
    pub dropped: Vec<Dropped>,
    /// Matrices any of which could be the classifier (file's names), where no single one is.
    pub head_candidates: Vec<String>,
}

impl<'a> Normalized<'a> {
    /// The file's names as they are.
    pub(super) fn unchanged(dict: &'a StateDict) -> Self {
        Normalized {
            tensors: dict
                .tensors
                .iter()
                .map(|(name, view)| NormalizedTensor { name: name.clone(), original: name, view })
                .collect(),
            stripped_prefix: None,
            rules: Vec::new(),
            renamed: 0,
            dropped: Vec::new(),
            head_candidates: Vec::new(),
        }
    }

    /// Whose names the file has (the origins of the rules that fired), `None` for torchvision's.
    pub fn origin(&self) -> Option<String> {
        let mut origins: Vec<&str> = Vec::new();
        for rule in &self.rules {
            if !rule.origin.is_empty() && !origins.contains(&rule.origin) {
                origins.push(rule.origin);
            }
        }
        (!origins.is_empty()).then(|| origins.join(", "))
    }

    fn strip_prefix(&mut self, wanted: Option<&str>) -> Result<()> {
        let names: Vec<String> = self.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        let found = prefix::find(names.iter().map(String::as_str));
        let all = || found.iter().map(|prefix| prefix.to_string()).collect();
        let chosen = match (wanted, &found[..]) {
            (None, []) => return Ok(()),
            (None, [one]) => one.to_string(),
            (None, _) => return Err(CheckpointError::AmbiguousPrefix { prefixes: all() }),
            (Some(wanted), _) => {
                let dot = if wanted.is_empty() || wanted.ends_with('.') { "" } else { "." };
                format!("{wanted}{dot}")
            }
        };
        if wanted.is_some() {
            if !names.iter().any(|name| name.starts_with(&chosen)) {
                return Err(CheckpointError::UnknownPrefix { prefix: chosen, found: all() });
            }
            let others: Vec<&str> = found
                .iter()
                .copied()
                .filter(|other| other.len() > chosen.len() && other.starts_with(&chosen))
                .collect();
            let ours =
                |name: &str| name.starts_with(&chosen) && !others.iter().any(|other| name.starts_with(other));
            let dropped = &mut self.dropped;
            self.tensors.retain(|tensor| {
                let keep = ours(&tensor.name);
                if !keep {
                    dropped.push(Dropped {
                        name: tensor.original.to_string(),
                        reason: "not under the chosen prefix",
                    });
                }
                keep
            });
        }
        for tensor in &mut self.tensors {
            // A head may stand beside the wrapped backbone: such names stay as they are.
            if let Some(rest) = tensor.name.strip_prefix(&chosen) {
                tensor.name = rest.to_string();
            }
        }
        self.stripped_prefix = Some(chosen).filter(|prefix| !prefix.is_empty());
        Ok(())
    }

    fn drop_leftovers(&mut self) {
        let dropped = &mut self.dropped;
        self.tensors.retain(|tensor| {
            let reason = drop_reason(&tensor.name);
            dropped.extend(reason.map(|reason| Dropped { name: tensor.original.to_string(), reason }));
            reason.is_none()
        });
    }

    /// Applies a rule to all names; whether it changed any.
    fn apply(&mut self, rule: &RenameRule, regex: &Regex) -> bool {
        let head = match rule.when {
            When::Always => None,
            When::SoleHead => match self.sole_head(regex) {
                Some(head) => Some(head),
                None => return false,
            },
        };
        let mut fired = false;
        for tensor in &mut self.tensors {
            let concerned = head.as_deref().is_none_or(|head| module(&tensor.name) == head);
            if let Some(new) = concerned.then(|| rule.apply(regex, &tensor.name)).flatten() {
                tensor.name = new;
                fired = true;
            }
        }
        fired
    }

    /// The module (`fc`, `classifier.0`) whose weight is the only matrix the pattern finds and fits `features.norm5`.
    fn sole_head(&mut self, regex: &Regex) -> Option<String> {
        let named = |name: &str| self.tensors.iter().find(|tensor| tensor.name == name);
        if named("classifier.weight").is_some() {
            return None;
        }
        let width = *named("features.norm5.weight")?.view.shape().first()?;
        let matrices: Vec<&NormalizedTensor> = self
            .tensors
            .iter()
            .filter(|tensor| tensor.view.shape().len() == 2 && regex.is_match(&tensor.name))
            .collect();
        match matrices[..] {
            [one] if one.view.shape()[1] == width => Some(module(&one.name).to_string()),
            _ => {
                self.head_candidates = matrices.iter().map(|tensor| tensor.original.to_string()).collect();
                None
            }
        }
    }

    fn check_unique(&self) -> Result<()> {
        let mut seen: HashMap<&str, &str> = HashMap::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            if let Some(first) = seen.insert(&tensor.name, tensor.original) {
                return Err(CheckpointError::DuplicateName {
                    name: tensor.name.clone(),
                    first: first.to_string(),
                    second: tensor.original.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// `classifier.0` of `classifier.0.weight`.
fn module(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(module, _)| module)
}

/// Brings a state dict's names to torchvision's: the caller's renames, then the prefix, leftovers of training dropped
/// with a note, then [`super::RENAMES`]. Nothing is dropped silently; a name that no rule knows stays.
///
/// # Errors
/// [`CheckpointError::AmbiguousPrefix`] if the file holds several networks and `options` chooses none;
/// [`CheckpointError::UnknownPrefix`] if nothing lies under the chosen one; [`CheckpointError::DuplicateName`] if two
/// tensors end up under one name.
pub fn normalize<'a>(dict: &'a StateDict, options: &NameOptions) -> Result<Normalized<'a>> {
    let mut all = Normalized::unchanged(dict);
    for tensor in &mut all.tensors {
        for rename in &options.renames {
            if let Some(new) = rename.apply(&tensor.name) {
                tensor.name = new;
            }
        }
    }
    all.strip_prefix(options.prefix.as_deref())?;
    all.drop_leftovers();
    for (rule, regex) in RenameRule::all() {
        if all.apply(rule, regex) {
            all.rules.push(rule);
        }
    }
    let prefix = all.stripped_prefix.as_deref().unwrap_or_default();
    let bare = |original: &'a str| original.strip_prefix(prefix).unwrap_or(original);
    all.renamed = all.tensors.iter().filter(|tensor| tensor.name != bare(tensor.original)).count();
    all.check_unique()?;
    Ok(all)
}

#[cfg(test)]
mod tests;
