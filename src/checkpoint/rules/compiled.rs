//! The table with its patterns compiled, each when it is first needed.

use super::{Action, Need, RenameRule, Replacement, RENAMES};
use regex::{Regex, RegexSet};
use std::sync::{LazyLock, OnceLock};

/// The table.
pub(in crate::checkpoint) static RULES: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::new(RENAMES));

/// Rules, and what is compiled of them.
pub(in crate::checkpoint) struct RuleSet {
    rules: &'static [RenameRule],
    patterns: Vec<OnceLock<Regex>>,
    replacements: Vec<Option<Replacement>>,
    /// The patterns of all conditions on names, without repetition: one pass over a file's names answers them all.
    set: RegexSet,
    /// What is asked of the names each of those patterns matches.
    questions: Vec<Vec<Question>>,
}

/// A name that matches, and, if a shape is given, of a tensor of that shape.
type Question = Option<&'static [i64]>;

/// A rule with its pattern and what replaces it.
pub(in crate::checkpoint) type Ready<'r> = (&'static RenameRule, &'r Regex, Option<&'r Replacement>);

/// What the rules' conditions ask a file.
pub(in crate::checkpoint) struct File<'a> {
    pub(in crate::checkpoint) names: Vec<(&'a str, &'a [i64])>,
    pub(in crate::checkpoint) globals: &'a [String],
    pub(in crate::checkpoint) root: Option<&'a str>,
}

impl RuleSet {
    fn new(rules: &'static [RenameRule]) -> RuleSet {
        let (mut patterns, mut questions): (Vec<&str>, Vec<Vec<Question>>) = (Vec::new(), Vec::new());
        for (pattern, question) in rules.iter().flat_map(|rule| rule.needs).filter_map(question) {
            let index = patterns.iter().position(|known| *known == pattern).unwrap_or_else(|| {
                patterns.push(pattern);
                questions.push(Vec::new());
                patterns.len() - 1
            });
            if !questions[index].contains(&question) {
                questions[index].push(question);
            }
        }
        let replacement = |rule: &RenameRule| match rule.action {
            // Constants, all of them read by a test; so are the patterns.
            Action::Rename(text) => Some(Replacement::parse(text).expect("a replacement of the table")),
            _ => None,
        };
        RuleSet {
            rules,
            patterns: rules.iter().map(|_| OnceLock::new()).collect(),
            replacements: rules.iter().map(replacement).collect(),
            set: RegexSet::new(&patterns).expect("the table's conditions"),
            questions,
        }
    }

    /// The rules whose conditions the file meets, in order.
    pub(in crate::checkpoint) fn applicable(&self, file: &File) -> Vec<Ready<'_>> {
        let mut yes: Vec<Vec<bool>> = self.questions.iter().map(|list| vec![false; list.len()]).collect();
        for (name, shape) in &file.names {
            for index in self.set.matches(name) {
                for (yes, question) in yes[index].iter_mut().zip(&self.questions[index]) {
                    *yes |= question.is_none_or(|wanted| fits(shape, wanted));
                }
            }
        }
        let patterns = self.set.patterns();
        let answer = |need: &Need| {
            let (pattern, question) = question(need)?;
            let index = patterns.iter().position(|known| known == pattern)?;
            let place = self.questions[index].iter().position(|known| *known == question)?;
            Some(yes[index][place])
        };
        let met = |need: &Need| match need {
            Need::Name(_) | Need::Shape(..) => answer(need) == Some(true),
            Need::NoName(_) => answer(need) == Some(false),
            Need::Global(start) => file.globals.iter().any(|global| global.starts_with(start)),
            Need::Root(path) => file.root == Some(*path),
            // Only the application knows.
            Need::OutputsUnknown => true,
        };
        let all = self.rules.iter().enumerate().filter(|(_, rule)| rule.needs.iter().all(met));
        all.map(|(index, rule)| (rule, self.pattern(index), self.replacements[index].as_ref())).collect()
    }

    fn pattern(&self, index: usize) -> &Regex {
        self.patterns[index]
            .get_or_init(|| Regex::new(self.rules[index].pattern).expect("a pattern of the table"))
    }
}

fn question(need: &Need) -> Option<(&'static str, Question)> {
    match *need {
        Need::Name(pattern) | Need::NoName(pattern) => Some((pattern, None)),
        Need::Shape(pattern, shape) => Some((pattern, Some(shape))),
        Need::Global(_) | Need::Root(_) | Need::OutputsUnknown => None,
    }
}

fn fits(shape: &[i64], wanted: &[i64]) -> bool {
    shape.len() == wanted.len()
        && shape.iter().zip(wanted).all(|(size, wanted)| *wanted == 0 || size == wanted)
}
