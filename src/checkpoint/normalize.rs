//! A file's names made torchvision's: leftovers, prefix, rules. No tensor's data is touched; where a rule permutes channels,
//! the views say so.

use super::error::{CheckpointError, Result};
use super::prefix;
use super::reorder;
use super::rules::{Action, File, InputPreset, OutputLabels, Ready, RenameRule, RULES};
use super::state_dict::{StateDict, TensorView};
use super::user_rename::Rename;
use regex::Regex;
use std::borrow::Cow;
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
    /// The tensor, its channels in torchvision's order.
    pub view: Cow<'a, TensorView>,
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
                .map(|(name, view)| NormalizedTensor {
                    name: name.clone(),
                    original: name,
                    view: Cow::Borrowed(view),
                })
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

    /// How pictures become such networks' inputs, where a rule that fired says.
    pub fn input(&self) -> Option<&'static InputPreset> {
        self.rules.iter().find_map(|rule| rule.input)
    }

    /// The outputs, where a rule that fired knows that they are independent labels.
    pub fn outputs(&self) -> Option<OutputLabels> {
        self.rules.iter().find_map(|rule| rule.outputs)
    }

    /// What the user should know about such files.
    pub fn notes(&self) -> Vec<&'static str> {
        self.rules.iter().map(|rule| rule.note).filter(|note| !note.is_empty()).collect()
    }

    /// Leaves out what is not under the prefix, or is under a longer prefix of another network.
    fn keep_under(&mut self, prefix: &str) -> Result<()> {
        let names: Vec<String> = self.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        let found = prefix::find(names.iter().map(String::as_str));
        if !names.iter().any(|name| name.starts_with(prefix)) {
            let found = found.iter().map(|prefix| prefix.to_string()).collect();
            return Err(CheckpointError::UnknownPrefix { prefix: prefix.to_string(), found });
        }
        let others: Vec<&str> = found
            .into_iter()
            .filter(|other| other.len() > prefix.len() && other.starts_with(prefix))
            .collect();
        self.leave_out(|name| {
            let ours = name.starts_with(prefix) && !others.iter().any(|other| name.starts_with(other));
            (!ours).then_some("not under the chosen prefix")
        });
        Ok(())
    }

    /// The prefix of the one network there is.
    fn find_prefix(&self) -> Result<Option<String>> {
        match &prefix::find(self.tensors.iter().map(|tensor| tensor.name.as_str()))[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.to_string())),
            several => Err(CheckpointError::AmbiguousPrefix {
                prefixes: several.iter().map(|prefix| prefix.to_string()).collect(),
            }),
        }
    }

    /// Takes the prefix off. A head may stand beside the wrapped backbone (`module.fc.` beside `module.backbone.`): such
    /// names lose what they share with the prefix.
    fn strip(&mut self, prefix: String) {
        let shared: Vec<&str> = prefix.match_indices('.').rev().map(|(dot, _)| &prefix[..=dot]).collect();
        for tensor in &mut self.tensors {
            if let Some(rest) = shared.iter().find_map(|shared| tensor.name.strip_prefix(shared)) {
                tensor.name = rest.to_string();
            }
        }
        self.stripped_prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
    }

    /// Leaves out the tensors for which there is a reason; whether there were any.
    fn leave_out(&mut self, reason: impl Fn(&str) -> Option<&'static str>) -> bool {
        let dropped = &mut self.dropped;
        let before = dropped.len();
        self.tensors.retain(|tensor| {
            let reason = reason(&tensor.name);
            dropped.extend(reason.map(|reason| Dropped { name: tensor.original.to_string(), reason }));
            reason.is_none()
        });
        dropped.len() > before
    }

    /// Applies a rule; whether it fired.
    fn apply(&mut self, (rule, regex, replacement): Ready) -> Result<bool> {
        let matching = |tensor: &&NormalizedTensor| regex.is_match(&tensor.name);
        match rule.action {
            Action::Refuse(reason) => match self.tensors.iter().find(matching) {
                None => Ok(false),
                Some(tensor) => Err(CheckpointError::Refused {
                    name: tensor.original.to_string(),
                    origin: rule.origin,
                    reason,
                }),
            },
            Action::Drop(reason) => Ok(self.leave_out(|name| regex.is_match(name).then_some(reason))),
            Action::Mark => Ok(self.tensors.iter().any(|tensor| matching(&tensor))),
            Action::Rename(_) => {
                let mut fired = false;
                for tensor in &mut self.tensors {
                    if let Some(new) = replacement.and_then(|new| new.apply(regex, &tensor.name)) {
                        tensor.name = new;
                        fired = true;
                    }
                }
                Ok(fired)
            }
            Action::Head => {
                let Some(head) = self.sole_head(regex) else { return Ok(false) };
                for tensor in &mut self.tensors {
                    if let Some(("weight" | "bias", true)) =
                        tensor.name.rsplit_once('.').map(|(module, leaf)| (leaf, module == head))
                    {
                        tensor.name = format!("classifier{}", &tensor.name[head.len()..]);
                    }
                }
                Ok(true)
            }
        }
    }

    /// The width a classifier must have.
    fn width(&self) -> Option<i64> {
        let norm5 = self.tensors.iter().find(|tensor| tensor.name == "features.norm5.weight")?;
        norm5.view.shape().first().copied()
    }

    /// The module (`fc`, `classifier.0`) whose weight is the only matrix the pattern finds and fits `features.norm5`. Where
    /// there is none, any matrix outside the backbone that would fit is a candidate.
    fn sole_head(&mut self, regex: &Regex) -> Option<String> {
        if self.tensors.iter().any(|tensor| tensor.name == "classifier.weight") {
            return None;
        }
        let width = self.width()?;
        let matrices = self.tensors.iter().filter(|tensor| tensor.view.shape().len() == 2);
        let (known, others): (Vec<_>, Vec<_>) = matrices.partition(|tensor| regex.is_match(&tensor.name));
        match known[..] {
            [one] if one.view.shape()[1] == width => return Some(module(&one.name).to_string()),
            [] => {
                let fitting = others.into_iter().filter(|tensor| could_be_head(tensor, width));
                self.head_candidates = fitting.map(|tensor| tensor.original.to_string()).collect();
            }
            _ => self.head_candidates = known.iter().map(|tensor| tensor.original.to_string()).collect(),
        }
        None
    }

    /// Where the caller made one of several heads the classifier, the others are left out.
    fn drop_other_heads(&mut self) {
        let chosen = self.tensors.iter().find(|tensor| tensor.name == "classifier.weight");
        let renamed = chosen.is_some_and(|tensor| !module(tensor.original).ends_with("classifier"));
        let (true, Some(width)) = (renamed, self.width()) else { return };
        let others: Vec<String> = self
            .tensors
            .iter()
            .filter(|tensor| tensor.name != "classifier.weight" && could_be_head(tensor, width))
            .map(|tensor| module(&tensor.name).to_string())
            .collect();
        self.leave_out(|name| {
            others.iter().any(|other| other == module(name)).then_some("another head than the chosen one")
        });
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

fn could_be_head(tensor: &NormalizedTensor, width: i64) -> bool {
    matches!(tensor.view.shape(), [_, input] if *input == width) && !tensor.name.starts_with("features.")
}

/// `classifier.0` of `classifier.0.weight`.
fn module(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(module, _)| module)
}

/// Brings a state dict's names to torchvision's: the caller's renames, then the prefix and [`super::RENAMES`]. Nothing is
/// dropped silently; a name that no rule knows stays.
///
/// # Errors
/// [`CheckpointError::Refused`] if a rule says that the file is no network that can be built here;
/// [`CheckpointError::AmbiguousPrefix`] if the file holds several networks and `options` chooses none;
/// [`CheckpointError::UnknownPrefix`] if nothing lies under the chosen one; [`CheckpointError::DuplicateName`] if two
/// tensors end up under one name; [`CheckpointError::Contradiction`] if channels must be permuted and do not fit.
pub fn normalize<'a>(dict: &'a StateDict, options: &NameOptions) -> Result<Normalized<'a>> {
    let mut all = Normalized::unchanged(dict);
    for tensor in &mut all.tensors {
        for rename in &options.renames {
            if let Some(new) = rename.apply(&tensor.name) {
                tensor.name = new;
            }
        }
    }
    let mut prefix = None;
    if let Some(chosen) = &options.prefix {
        let dot = if chosen.is_empty() || chosen.ends_with('.') { "" } else { "." };
        let chosen = format!("{chosen}{dot}");
        all.keep_under(&chosen)?;
        prefix = Some(chosen);
    }
    // What the caller renamed still shows whose file it is.
    let named = |tensor: &NormalizedTensor<'a>| (tensor.name != tensor.original).then_some(tensor.original);
    let originals = all.tensors.iter().filter_map(|tensor| Some((named(tensor)?, tensor.view.shape())));
    let file = File {
        names: all
            .tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.view.shape()))
            .chain(originals)
            .collect(),
        globals: &dict.foreign_globals,
        root: dict.root.as_deref(),
    };
    // Refusals and leftovers are about the file's names, the rest about names without the prefix.
    let (early, late): (Vec<Ready>, Vec<Ready>) = RULES
        .applicable(&file)
        .into_iter()
        .partition(|(rule, ..)| matches!(rule.action, Action::Refuse(_) | Action::Drop(_)));
    for ready in early {
        if all.apply(ready)? {
            all.rules.push(ready.0);
        }
    }
    if let Some(prefix) = prefix.map_or_else(|| all.find_prefix(), |chosen| Ok(Some(chosen)))? {
        all.strip(prefix);
    }
    for ready in late {
        let known = all.outputs().is_some();
        if !(ready.0.only_if_outputs_unknown() && known) && all.apply(ready)? {
            all.rules.push(ready.0);
        }
    }
    if !options.renames.is_empty() {
        all.drop_other_heads();
    }
    all.check_unique()?;
    if all.rules.iter().any(|rule| rule.newest_first) {
        reorder::newest_first(&mut all.tensors)?;
    }
    let prefix = all.stripped_prefix.as_deref().unwrap_or_default();
    let bare = |original: &'a str| original.strip_prefix(prefix).unwrap_or(original);
    all.renamed = all.tensors.iter().filter(|tensor| tensor.name != bare(tensor.original)).count();
    Ok(all)
}

#[cfg(test)]
mod tests;
