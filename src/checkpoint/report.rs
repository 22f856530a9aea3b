//! What a load did or why it did not: counts, names, and what would help.

use super::normalize::Dropped;
use std::fmt;

/// The outcome of [`super::load`]; also what [`super::CheckpointError::Mismatch`] holds.
///
/// Its `Display` is one line: counts, the first few names of each kind, and the hints.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LoadReport {
    /// How many tensors were filled (would have been, in an error).
    pub loaded: usize,
    /// Tensors to fill for which the file has none, under their own names.
    pub missing: Vec<String>,
    /// Tensors of the file that have no place, under the file's names.
    pub unexpected: Vec<String>,
    /// Tensors that are in both and differ in shape.
    pub misshaped: Vec<Misshaped>,
    /// Tensors of the file outside the backbone, left out because [`super::Head::Skip`] was asked for.
    pub skipped: Vec<String>,
    /// Tensors of the file that belong to training, left out.
    pub dropped: Vec<Dropped>,
    /// `num_batches_tracked` counters that the file lacks; they keep their values, as torch does.
    pub counters_kept: usize,
    /// The prefix taken off the file's names.
    pub stripped_prefix: Option<String>,
    /// Names of the rename rules that fired.
    pub rules: Vec<&'static str>,
    /// How many tensors were renamed.
    pub renamed: usize,
    /// What would help where something does not fit.
    pub hints: Vec<Hint>,
}

/// A tensor of another shape than the one it should fill.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Misshaped {
    /// The name of the tensor to fill.
    pub name: String,
    /// The shape in the file.
    pub file: Vec<i64>,
    /// The shape to fill.
    pub target: Vec<i64>,
}

/// Something the caller can do about a file that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hint {
    /// An unexpected tensor has nearly the name, and the very shape, of a missing one.
    DidYouMean {
        /// The missing tensor.
        wanted: String,
        /// The file's tensor.
        found: String,
    },
    /// Another beginning of the names would make tensors fit.
    Rename {
        /// How the file's names begin.
        found: String,
        /// How they should.
        wanted: String,
        /// How many tensors would fit.
        fits: usize,
    },
    /// The file has no classifier, the network has one: [`super::Head::Skip`].
    NoClassifier,
    /// The file has a classifier, the network has none: [`super::Head::Skip`].
    UnwantedClassifier,
    /// The file's names are near those of a family that a rule knows.
    LikeFamily {
        /// A name of the file.
        found: String,
        /// Such a name as the rule knows it.
        example: String,
        /// The rule.
        rule: String,
    },
    /// The file has the shapes of a published network, whatever its names.
    LikeNetwork {
        /// The network.
        network: String,
        /// How many of its convolutions' shapes are there.
        found: usize,
        /// Of how many.
        of: usize,
    },
    /// The file holds another network, whole.
    OtherNetwork {
        /// Which.
        network: String,
    },
    /// Several matrices of the file could be the classifier.
    SeveralHeads {
        /// The file's names.
        candidates: Vec<String>,
    },
}

impl LoadReport {
    /// Whether every tensor found its place: nothing missing, unexpected or of another shape.
    pub fn fits(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }
}

/// How many names of each kind the one-line form shows.
const SHOWN: usize = 3;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors fit", self.loaded)?;
        list(f, "missing", &self.missing)?;
        list(f, "unexpected", &self.unexpected)?;
        list(f, "mis-shaped", &self.misshaped)?;
        if let Some(prefix) = &self.stripped_prefix {
            write!(f, "; the prefix {prefix:?} was stripped")?;
        }
        for hint in &self.hints {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, items: &[impl fmt::Display]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, ", {} {what} (", items.len())?;
    for (index, item) in items.iter().take(SHOWN).enumerate() {
        write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
    }
    f.write_str(if items.len() > SHOWN { ", …)" } else { ")" })
}

impl fmt::Display for Misshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} in the file, {:?} wanted", self.name, self.file, self.target)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::DidYouMean { wanted, found } => write!(f, "is the file's {found} meant to be {wanted}?"),
            Hint::Rename { found, wanted, fits } => {
                write!(
                    f,
                    "{fits} more would fit if names began with {wanted:?} instead of {found:?}: rename them"
                )
            }
            Hint::NoClassifier => f.write_str(
                "the file has no classifier: LoadOptions { head: Head::Skip, .. } loads the backbone only",
            ),
            Hint::UnwantedClassifier => f.write_str(
                "the network has no classifier: LoadOptions { head: Head::Skip, .. } leaves the file's out",
            ),
            Hint::LikeFamily { found, example, rule } => write!(
                f,
                "{found} is near {example}, which rule {rule} knows: a rename may make them equal (--rename \
                 'PATTERN=>REPLACEMENT')"
            ),
            Hint::LikeNetwork { network, found, of } => write!(
                f,
                "{found} of {network}'s {of} convolution shapes are there: it may be that network under other names, \
                 which renames can mend (--rename 'PATTERN=>REPLACEMENT')"
            ),
            Hint::OtherNetwork { network } => write!(f, "the file holds {network}: build that network"),
            Hint::SeveralHeads { candidates } => {
                let (names, more) = (&candidates[..candidates.len().min(SHOWN)], candidates.len() > SHOWN);
                let more = if more { ", …" } else { "" };
                write!(
                    f,
                    "no single classifier among {}{more}: rename one of them (--rename '^{}\\.=>classifier.')",
                    names.join(", "),
                    names.first().and_then(|name| name.rsplit_once('.')).map_or("NAME", |(module, _)| module)
                )
            }
        }
    }
}
