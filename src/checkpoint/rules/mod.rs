//! How other authors' files become torchvision's: one table of rules, [`RENAMES`]. A rule is a row of it, not code.
//!
//! Names are the least of it. Some families' files need channels in another order, have heads that are no classifier, or
//! expect other inputs; some cannot be expressed at all. A rule can say each of that. [`super::normalize`] applies them.

mod compiled;
mod presets;
mod replacement;
mod table;

pub(super) use compiled::{File, Ready, RULES};
pub use presets::{InputPreset, OutputLabels};
pub(super) use replacement::Replacement;
pub use table::RENAMES;

/// One way in which checkpoints differ from torchvision's.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub struct RenameRule {
    /// Short name, stable: what reports list. `R…` are the numbers of the project's notes on published files.
    pub name: &'static str,
    /// Whose checkpoints are like this; empty where anybody's are.
    pub origin: &'static str,
    /// A regular expression (the `regex` crate's syntax, ASCII), searched anywhere in a tensor's name: the name in the
    /// file for [`Action::Drop`] and [`Action::Refuse`], else the name as earlier rules left it, without its prefix.
    pub pattern: &'static str,
    /// What else the file must have for the rule to fire; all of it.
    pub needs: &'static [Need],
    /// What happens to a tensor whose name matches.
    pub action: Action,
    /// Blocks of these networks put a layer's new features before the older ones. torchvision puts them behind: the
    /// channels of everything that reads a block's features are permuted.
    pub newest_first: bool,
    /// How pictures become these networks' inputs.
    pub input: Option<&'static InputPreset>,
    /// The outputs are independent labels, each with a sigmoid of its own, not classes of which one is true.
    pub outputs: Option<OutputLabels>,
    /// What the user should know when the rule has fired.
    pub note: &'static str,
    /// A name of such a file, for the message that suggests this rule.
    pub example: &'static str,
}

/// What a rule does to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Replaces the match: `${1}` is the pattern's first group, `${1+1}` that group as a number, plus one.
    Rename(&'static str),
    /// The pattern finds heads. Only if there is no `classifier.weight`, and exactly one matrix among all tensors the
    /// pattern finds, as wide as `features.norm5`: that matrix is the classifier, and only it and its bias are renamed.
    Head,
    /// Leaves the tensor out, for this reason.
    Drop(&'static str),
    /// Refuses the file: why, and the way out.
    Refuse(&'static str),
    /// Changes no name: the rule only tells whose file it is and what comes with that.
    Mark,
}

/// A condition of a rule, on the file as it is (after the caller's own renames).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// Some tensor's name matches this regular expression.
    Name(&'static str),
    /// No tensor's name matches it.
    NoName(&'static str),
    /// Some tensor whose name matches has this shape; 0 stands for any size.
    Shape(&'static str, &'static [i64]),
    /// The file names a class or function that begins like this (`torchxrayvision.`).
    Global(&'static str),
    /// The state dict lay under this key path of the file.
    Root(&'static str),
    /// No rule before, of those that fired, knows the outputs.
    OutputsUnknown,
}

impl RenameRule {
    const fn new(name: &'static str, origin: &'static str, pattern: &'static str, action: Action) -> Self {
        RenameRule {
            name,
            origin,
            pattern,
            needs: &[],
            action,
            newest_first: false,
            input: None,
            outputs: None,
            note: "",
            example: "",
        }
    }

    /// Whether one of its needs is [`Need::OutputsUnknown`].
    pub(super) fn only_if_outputs_unknown(&self) -> bool {
        self.needs.contains(&Need::OutputsUnknown)
    }

    const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    const fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    const fn input(mut self, input: &'static InputPreset) -> Self {
        self.input = Some(input);
        self
    }

    const fn labels(mut self, labels: &'static [&'static str]) -> Self {
        self.outputs = Some(OutputLabels { names: labels });
        self
    }

    const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }
}

#[cfg(test)]
mod tests;
