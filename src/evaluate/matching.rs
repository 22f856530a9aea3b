//! Which of a network's outputs a data set's class is.

use super::error::{EvaluateError, Result};
use crate::data::Dataset;
use crate::predictor::Predictor;

/// Names in a message.
const SHOWN: usize = 5;

/// Where the data set's classes are among the network's outputs.
pub(super) struct Matching {
    /// Of each of the data set's classes: its output.
    pub outputs: Vec<usize>,
    /// What to call each output.
    pub names: Vec<String>,
    /// How they were found, where not by name.
    pub note: Option<String>,
}

pub(super) fn find(predictor: &Predictor, dataset: &dyn Dataset) -> Result<Matching> {
    let (classes, categories) = (dataset.classes(), predictor.categories());
    let count = predictor.config().num_classes;
    let path = || dataset.root().to_path_buf();
    let names: Vec<String> = (0..count as usize).map(|index| predictor.label(index)).collect();
    let found: Vec<Option<usize>> = classes.iter().map(|class| places(categories, class).next()).collect();
    if found.iter().all(Option::is_some) {
        if let Some(class) = classes.iter().find(|class| places(categories, class).count() > 1) {
            return Err(EvaluateError::AmbiguousClass { path: path(), class: class.clone() });
        }
        return Ok(Matching { outputs: found.into_iter().flatten().collect(), names, note: None });
    }
    if found.iter().any(Option::is_some) {
        let missing = classes.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing = missing.map(|(class, _)| class.clone()).take(SHOWN).collect();
        let mut known = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > SHOWN {
            known = format!("{known} … ({} in all)", names.len());
        }
        return Err(EvaluateError::UnknownClasses { path: path(), missing, known });
    }
    if classes.len() as i64 != count {
        return Err(EvaluateError::ClassCount { path: path(), found: classes.len(), outputs: count });
    }
    let (names, whose) = match categories.is_empty() {
        true => (classes.to_vec(), "the weights name no classes"),
        false => (names, "no class of the data has a name of the weights' classes"),
    };
    let first = &classes[0];
    let note = format!("{whose}: matched by place ({first:?} is output 0, {:?}, and so on)", names[0]);
    Ok(Matching { outputs: (0..classes.len()).collect(), names, note: Some(note) })
}

/// Where a name stands in a list.
fn places<'a>(categories: &'a [String], class: &'a str) -> impl Iterator<Item = usize> + 'a {
    categories.iter().enumerate().filter(move |(_, name)| *name == class).map(|(place, _)| place)
}
