//! Finds what would help when names do not fit: a renamed beginning, or the nearest name of the same shape.

use super::report::Hint;
use std::collections::HashMap;

/// A name and the shape of its tensor.
pub(super) type Named<'a> = (&'a str, &'a [i64]);

// Bounds on the work a hostile file can cause: hints are for people, who read a few.
const MAX_MISSING: usize = 64;
const MAX_UNEXPECTED: usize = 4096;
const MAX_NAME: usize = 256;
const MAX_DID_YOU_MEAN: usize = 3;

/// Hints for tensors that are missing, from those that are left over.
pub(super) fn suggest(missing: &[Named], unexpected: &[Named]) -> Vec<Hint> {
    let unexpected = &unexpected[..unexpected.len().min(MAX_UNEXPECTED)];
    match beginning(missing, unexpected) {
        Some(hint) => vec![hint],
        None => {
            missing.iter().filter_map(|wanted| nearest(wanted, unexpected)).take(MAX_DID_YOU_MEAN).collect()
        }
    }
}

/// The one exchange of the names' beginnings that makes most missing tensors (two or more) fit.
fn beginning(missing: &[Named], unexpected: &[Named]) -> Option<Hint> {
    let by_name: HashMap<Named, ()> = unexpected.iter().map(|&named| (named, ())).collect();
    let mut by_ending: HashMap<Named, &str> = HashMap::new();
    for &(name, shape) in unexpected.iter().filter(|(name, _)| name.len() <= MAX_NAME) {
        for (start, ending) in endings(name) {
            by_ending.entry((ending, shape)).or_insert(&name[..start]);
        }
    }
    let mut votes: Vec<((&str, &str), usize)> = Vec::new();
    for &(name, shape) in missing.iter().filter(|(name, _)| name.len() <= MAX_NAME).take(MAX_MISSING) {
        let longest =
            endings(name).find_map(|(start, ending)| Some((by_ending.get(&(ending, shape))?, start)));
        if let Some((&found, start)) = longest {
            let pair = (found, &name[..start]);
            match votes.iter_mut().find(|(voted, _)| *voted == pair) {
                Some((_, count)) => *count += 1,
                None => votes.push((pair, 1)),
            }
        }
    }
    let ((found, wanted), _) = votes.into_iter().max_by_key(|&(_, count)| count)?;
    let fits = missing
        .iter()
        .filter_map(|&(name, shape)| Some((format!("{found}{}", name.strip_prefix(wanted)?), shape)))
        .filter(|(renamed, shape)| by_name.contains_key(&(renamed.as_str(), *shape)))
        .count();
    (fits >= 2).then(|| Hint::Rename { found: found.to_string(), wanted: wanted.to_string(), fits })
}

/// Endings of at least two components, the longest first, with where they start.
fn endings(name: &str) -> impl Iterator<Item = (usize, &str)> {
    std::iter::once(0)
        .chain(name.match_indices('.').map(|(dot, _)| dot + 1))
        .map(|start| (start, &name[start..]))
        .filter(|(_, ending)| ending.contains('.'))
}

/// The unexpected tensor of the same shape whose name is nearest, if it is near at all.
fn nearest(&(wanted, shape): &Named, unexpected: &[Named]) -> Option<Hint> {
    let far = (wanted.chars().count() / 3).max(3);
    unexpected
        .iter()
        .filter(|(name, other)| *other == shape && name.len() <= MAX_NAME && wanted.len() <= MAX_NAME)
        .map(|&(name, _)| (distance(wanted, name), name))
        .filter(|&(distance, _)| distance <= far)
        .min()
        .map(|(_, found)| Hint::DidYouMean { wanted: wanted.to_string(), found: found.to_string() })
}

/// Levenshtein's distance: insertions, deletions and substitutions of one character.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, want) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("norm5", "norm_5", 1), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), want, "{a} {b}");
            assert_eq!(distance(b, a), want, "{b} {a}");
        }
    }

    #[test]
    fn another_beginning_is_found_and_counted() {
        let missing: [Named; 3] = [
            ("features.conv0.weight", &[8, 3, 7, 7]),
            ("features.norm0.weight", &[8]),
            ("features.norm5.weight", &[24]),
        ];
        let unexpected: [Named; 3] =
            [("0.0.conv0.weight", &[8, 3, 7, 7]), ("0.0.norm0.weight", &[8]), ("1.8.weight", &[10, 24])];
        let want = Hint::Rename { found: "0.0.".into(), wanted: "features.".into(), fits: 2 };
        assert_eq!(suggest(&missing, &unexpected), [want]);
    }

    #[test]
    fn the_nearest_name_must_be_near_and_of_the_same_shape() {
        let missing: [Named; 1] = [("classifier.weight", &[10, 24])];
        let near: [Named; 3] = [
            ("clasifier.weight", &[10, 24]),
            ("classifer.weight", &[10, 99]),
            ("projection.matrix", &[10, 24]),
        ];
        let want = Hint::DidYouMean { wanted: "classifier.weight".into(), found: "clasifier.weight".into() };
        assert_eq!(suggest(&missing, &near), [want]);
        assert_eq!(suggest(&missing, &near[1..]), []);
    }
}
