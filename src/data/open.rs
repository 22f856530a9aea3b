//! From what a person types for `--data` to a data set.

use super::{DataError, Dataset, Idx, ImageFolder, Manifest, Result};
use std::path::Path;
use std::sync::Arc;

/// MNIST's name of the part that is not trained on.
const IDX_TEST: &str = "t10k";

/// The pictures of `path` that a network is evaluated on: a list (CSV, JSON lines), the `t10k` part of a folder of idx
/// files, the `val` part of a folder that has a `train` part, else the folder itself with a folder for each class.
///
/// # Errors
/// [`DataError::NoValidation`] for a folder with a training part alone, and those of opening each.
pub fn open_evaluation(path: impl AsRef<Path>) -> Result<Arc<dyn Dataset>> {
    let path = path.as_ref();
    if path.is_file() {
        return Ok(Arc::new(Manifest::open(path)?));
    }
    if Idx::is_there(path, IDX_TEST) {
        return Ok(Arc::new(Idx::open(path, IDX_TEST)?));
    }
    match ImageFolder::open_parts(path)? {
        Some((_, Some(validation))) => Ok(Arc::new(validation)),
        Some((_, None)) => Err(DataError::NoValidation { path: path.to_path_buf() }),
        None => Ok(Arc::new(ImageFolder::open(path)?)),
    }
}
