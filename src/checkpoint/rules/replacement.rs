//! What stands for a match: text, groups, and groups as numbers with something added.

use regex::{Captures, Regex};
use std::borrow::Cow;

/// A replacement, read once: `features.denseblock${1}.denselayer${2+1}.`
#[derive(Debug, Clone)]
pub(in crate::checkpoint) struct Replacement(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// A group, by number or name.
    Group(String),
    /// A group that is a number, plus this.
    Sum(String, i64),
}

impl Replacement {
    /// Reads `$1`, `${1}`, `${name}`, `${1+1}`, `${1-1}`; `$$` is a dollar sign.
    ///
    /// The error is what is wrong with it.
    pub(in crate::checkpoint) fn parse(text: &str) -> Result<Replacement, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let (group, after) = match rest.strip_prefix('{') {
                Some(inner) => inner.split_once('}').ok_or_else(|| "a ${ without its }".to_string())?,
                None => {
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    rest.split_at(end)
                }
            };
            if group.is_empty() {
                return Err("a $ that names no group ($$ is a dollar sign)".to_string());
            }
            rest = after;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(match group.find(['+', '-']) {
                None => Part::Group(group.to_string()),
                Some(at) => {
                    let number = group[at..].parse().map_err(|_| format!("${{{group}}} adds no number"))?;
                    Part::Sum(group[..at].to_string(), number)
                }
            });
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Replacement(parts))
    }

    /// The first group named that the pattern does not have.
    pub(in crate::checkpoint) fn unknown_group(&self, regex: &Regex) -> Option<&str> {
        let has = |group: &str| match group.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|name| name == group),
        };
        self.0.iter().find_map(|part| match part {
            Part::Group(group) | Part::Sum(group, _) if !has(group) => Some(group.as_str()),
            _ => None,
        })
    }

    /// The name with its first match replaced, if that changes it. A sum over something that is no number (or no sum,
    /// below 0 or beyond counting) changes nothing.
    pub(in crate::checkpoint) fn apply(&self, regex: &Regex, name: &str) -> Option<String> {
        let captures = regex.captures(name)?;
        let found = captures.get(0)?;
        let mut new = name[..found.start()].to_string();
        for part in &self.0 {
            new.push_str(&part.text(&captures)?);
        }
        new.push_str(&name[found.end()..]);
        (new != name).then_some(new)
    }
}

impl Part {
    fn text<'a>(&'a self, captures: &'a Captures) -> Option<Cow<'a, str>> {
        let group = |group: &str| match group.parse::<usize>() {
            Ok(number) => captures.get(number),
            Err(_) => captures.name(group),
        };
        match self {
            Part::Text(text) => Some(Cow::Borrowed(text)),
            // A group that took no part in the match is empty, as everywhere.
            Part::Group(name) => Some(group(name).map_or("", |found| found.as_str()).into()),
            Part::Sum(name, add) => {
                let number: i64 = group(name)?.as_str().parse().ok()?;
                number.checked_add(*add).filter(|sum| *sum >= 0).map(|sum| sum.to_string().into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, replacement: &str, name: &str) -> Option<String> {
        Replacement::parse(replacement).unwrap().apply(&Regex::new(pattern).unwrap(), name)
    }

    #[test]
    fn groups_and_sums_stand_for_what_they_matched() {
        for (pattern, replacement, name, want) in [
            ("^dense([0-9]+)[.]([0-9]+)[.]", "b$1.l${2+1}.", "dense2.11.bn1", Some("b2.l12.bn1")),
            ("x([0-9]+)", "y${1-1}", "ax10z", Some("ay9z")),
            ("x([0-9]+)", "y${1-1}", "x0", None),
            ("x([0-9]+)", "y${1+1}", "x9223372036854775807", None),
            ("x(.)", "y${1+1}", "xa", None),
            ("(?<k>[a-z])1", "${k}2", "b1", Some("b2")),
            ("a(b)?", "$1c", "a", Some("c")),
            ("a", "$$", "abca", Some("$bca")),
            ("z", "y", "abc", None),
            ("a", "a", "abc", None),
        ] {
            assert_eq!(
                replaced(pattern, replacement, name).as_deref(),
                want,
                "{pattern} {replacement} {name}"
            );
        }
    }

    #[test]
    fn what_is_no_replacement_is_refused() {
        for text in ["a$", "${", "${1", "${}", "${1+}", "${1+x}", "$x"] {
            assert!(Replacement::parse(text).is_err(), "{text}");
        }
        let regex = Regex::new("(a)(?<b>b)").unwrap();
        for (text, want) in
            [("$2$1$0${b}", None), ("$3", Some("3")), ("${c}", Some("c")), ("${3+1}", Some("3"))]
        {
            assert_eq!(Replacement::parse(text).unwrap().unknown_group(&regex), want, "{text}");
        }
    }
}
