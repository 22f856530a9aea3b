//! What a data set is.

use super::{DataError, Result};
use crate::transforms::{RgbImage, TransformError};
use std::path::Path;

/// What a picture shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One class, by its place in [`Dataset::classes`].
    Class(usize),
    /// Any number of classes: whether each of [`Dataset::classes`] is there.
    Labels(Vec<bool>),
}

/// Labelled pictures.
pub trait Dataset: Send + Sync {
    /// How many pictures.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the classes, in the order of a network's outputs.
    fn classes(&self) -> &[String];

    /// What the picture at `index` shows; reads no picture.
    ///
    /// # Panics
    /// Past [`len`](Self::len).
    fn target(&self, index: usize) -> &Target;

    /// What to call the picture at `index` in a message: its path, or its place in a file.
    ///
    /// # Panics
    /// Past [`len`](Self::len).
    fn name(&self, index: usize) -> String;

    /// Reads the picture at `index`.
    ///
    /// # Errors
    /// [`DataError::Picture`], with its [`name`](Self::name).
    ///
    /// # Panics
    /// Past [`len`](Self::len).
    fn picture(&self, index: usize) -> Result<RgbImage>;

    /// Where it all comes from, for messages.
    fn root(&self) -> &Path;

    /// Pictures of each class; with several labels a picture counts for each.
    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes().len()];
        for index in 0..self.len() {
            match self.target(index) {
                Target::Class(class) => counts[*class] += 1,
                Target::Labels(labels) => {
                    counts.iter_mut().zip(labels).for_each(|(count, there)| *count += usize::from(*there));
                }
            }
        }
        counts
    }

    /// Checks that there is something to learn: two classes or more, none of them empty (one label is enough where
    /// pictures have several).
    ///
    /// # Errors
    /// [`DataError::TooFewClasses`], [`DataError::EmptyClasses`].
    fn check_trainable(&self) -> Result<()> {
        let several = self.len() > 0 && matches!(self.target(0), Target::Labels(_));
        let (classes, path) = (self.classes(), self.root().to_path_buf());
        if classes.len() < 2 && !(several && classes.len() == 1) {
            let found =
                classes.first().map_or("no class".to_string(), |class| format!("only the class {class:?}"));
            return Err(DataError::TooFewClasses { path, found });
        }
        let counts = self.counts();
        let empty = classes.iter().zip(&counts).filter(|(_, count)| **count == 0);
        let empty: Vec<String> = empty.map(|(class, _)| class.clone()).collect();
        if !empty.is_empty() {
            return Err(DataError::EmptyClasses {
                path,
                classes: empty,
                known: super::IMG_EXTENSIONS.join(", "),
            });
        }
        Ok(())
    }
}

/// Two data sets that are to be used together name the same classes in the same order.
///
/// # Errors
/// [`DataError::OtherClasses`].
pub(crate) fn same_classes(first: &dyn Dataset, second: &dyn Dataset) -> Result<()> {
    if first.classes() == second.classes() {
        return Ok(());
    }
    let only = |here: &dyn Dataset, there: &dyn Dataset| {
        let names = here.classes().iter().filter(|class| !there.classes().contains(class));
        names.cloned().collect()
    };
    Err(DataError::OtherClasses {
        first: first.root().to_path_buf(),
        second: second.root().to_path_buf(),
        only_first: only(first, second),
        only_second: only(second, first),
    })
}

/// Opens a picture file, its error with its path once.
pub(super) fn open_picture(path: &Path) -> Result<RgbImage> {
    crate::transforms::open(path).map_err(|source| unreadable(path.display().to_string(), source))
}

/// The error of one picture; transforms' own errors already name files.
pub(super) fn unreadable(picture: String, source: TransformError) -> DataError {
    DataError::Picture { picture, source: Box::new(source) }
}
