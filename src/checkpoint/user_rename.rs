//! Renames of the caller's own, for files that no rule knows.

use super::error::{CheckpointError, Result};
use super::rules::Replacement;
use regex::Regex;

/// A rename of the caller's own, applied to the file's names before anything else.
#[derive(Debug, Clone)]
pub struct Rename {
    regex: Regex,
    replacement: Replacement,
}

impl Rename {
    /// Replaces the first match of `pattern` (a regular expression) by `replacement`: `${1}` is the pattern's first
    /// group, `${1+1}` that group as a number, plus one, `$$` a dollar sign.
    ///
    /// # Errors
    /// [`CheckpointError::BadRename`] if either does not parse, or the replacement names a group the pattern lacks.
    pub fn new(pattern: &str, replacement: &str) -> Result<Rename> {
        let bad = |reason| CheckpointError::BadRename { rename: format!("{pattern}=>{replacement}"), reason };
        let regex = Regex::new(pattern).map_err(|error| bad(error.to_string()))?;
        let parsed = Replacement::parse(replacement).map_err(&bad)?;
        if let Some(group) = parsed.unknown_group(&regex) {
            return Err(bad(format!("the pattern has no group {group}")));
        }
        Ok(Rename { regex, replacement: parsed })
    }

    /// The name after this rename, if it changes it.
    pub(super) fn apply(&self, name: &str) -> Option<String> {
        self.replacement.apply(&self.regex, name)
    }
}

/// `PATTERN=>REPLACEMENT`, as a command line gives it.
impl std::str::FromStr for Rename {
    type Err = CheckpointError;
    fn from_str(text: &str) -> Result<Rename> {
        match text.split_once("=>") {
            Some((pattern, replacement)) => Rename::new(pattern, replacement),
            None => Err(CheckpointError::BadRename {
                rename: text.to_string(),
                reason: "it must be PATTERN=>REPLACEMENT, as in '^backbone\\.=>features.'".to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_that_does_not_parse_is_refused_with_its_reason() {
        for (text, reason) in [
            ("^(features=>x", "unclosed group"),
            ("features.", "PATTERN=>REPLACEMENT"),
            ("a=>${1}", "no group 1"),
            ("(a)=>${1+x}", "adds no number"),
        ] {
            let error = text.parse::<Rename>().unwrap_err();
            assert!(matches!(&error, CheckpointError::BadRename { rename, .. } if rename == text), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_rename_can_count() {
        let rename: Rename = r"^layer([0-9]+)\.=>denselayer${1+1}.".parse().unwrap();
        assert_eq!(rename.apply("layer0.bn").as_deref(), Some("denselayer1.bn"));
        assert_eq!(rename.apply("other.0.bn"), None);
    }
}
