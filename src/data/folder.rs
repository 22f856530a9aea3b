//! A folder for each class: torchvision's `ImageFolder`.

use super::dataset::{open_picture, same_classes};
use super::{DataError, Dataset, Result, Target};
use crate::transforms::RgbImage;
use std::fs;
use std::path::{Path, PathBuf};

/// What a picture's name ends in, in lower or upper case: torchvision's `IMG_EXTENSIONS`.
pub const IMG_EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"];

/// `root/CLASS/**/picture.jpg`: torchvision's `ImageFolder`, its classes and its order.
///
/// Classes are the folders in `root`, by name; a class's pictures lie at any depth below it, links followed.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    root: PathBuf,
    classes: Vec<String>,
    pictures: Vec<(PathBuf, Target)>,
}

impl ImageFolder {
    /// Lists the pictures; reads none.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::NoClasses`], and [`DataError::EmptyClasses`] for folders without pictures.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_path_buf();
        let mut folders: Vec<(String, PathBuf)> = entries(&root)?
            .into_iter()
            .filter(|path| path.is_dir())
            .map(|path| (file_name(&path), path))
            .collect();
        if folders.is_empty() {
            return Err(DataError::NoClasses { path: root });
        }
        folders.sort_unstable();
        let mut pictures = Vec::new();
        let mut empty = Vec::new();
        for (index, (class, folder)) in folders.iter().enumerate() {
            let before = pictures.len();
            for folder in walk(folder)? {
                pictures.extend(pictures_in(&folder)?.into_iter().map(|path| (path, Target::Class(index))));
            }
            if pictures.len() == before {
                empty.push(class.clone());
            }
        }
        if !empty.is_empty() {
            return Err(DataError::EmptyClasses {
                path: root,
                classes: empty,
                known: IMG_EXTENSIONS.join(", "),
            });
        }
        let classes = folders.into_iter().map(|(class, _)| class).collect();
        Ok(ImageFolder { root, classes, pictures })
    }

    /// The parts of a folder that holds `train/` and `val/` (or `valid/`, `validation/`, `test/`); `None` in the second
    /// place where only `train/` is there, and `None` at all where not even that is.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`DataError::OtherClasses`].
    pub fn open_parts(root: impl AsRef<Path>) -> Result<Option<(Self, Option<Self>)>> {
        let root = root.as_ref();
        let train = root.join("train");
        if !train.is_dir() {
            return Ok(None);
        }
        let train = Self::open(train)?;
        let validation = ["val", "valid", "validation", "test"].map(|name| root.join(name));
        let validation = validation.into_iter().find(|path| path.is_dir()).map(Self::open).transpose()?;
        if let Some(validation) = &validation {
            same_classes(&train, validation)?;
        }
        Ok(Some((train, validation)))
    }

    /// The path of the picture at `index`.
    ///
    /// # Panics
    /// Past the end.
    pub fn path(&self, index: usize) -> &Path {
        &self.pictures[index].0
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> &Target {
        &self.pictures[index].1
    }

    fn name(&self, index: usize) -> String {
        self.path(index).display().to_string()
    }

    fn picture(&self, index: usize) -> Result<RgbImage> {
        open_picture(self.path(index))
    }

    fn root(&self) -> &Path {
        &self.root
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let problem = |source| DataError::Io { path: folder.to_path_buf(), source };
    let entries = fs::read_dir(folder).map_err(problem)?;
    entries.map(|entry| Ok(entry.map_err(problem)?.path())).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A folder and all below it, by whole path as text: the order of Python's `sorted(os.walk(…))`.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    descend(folder, &mut Vec::new(), &mut found)?;
    found.sort_by_key(|path| path.to_string_lossy().into_owned());
    Ok(found)
}

/// `above` holds the folders on the way, so that a link to one of them ends.
fn descend(folder: &Path, above: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>) -> Result<()> {
    let real =
        folder.canonicalize().map_err(|source| DataError::Io { path: folder.to_path_buf(), source })?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for path in entries(folder)?.iter().filter(|path| path.is_dir()) {
        descend(path, above, found)?;
    }
    above.pop();
    found.push(folder.to_path_buf());
    Ok(())
}

/// A folder's own pictures, by name.
fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = entries(folder)?;
    files.retain(|path| {
        let name = file_name(path).to_lowercase();
        IMG_EXTENSIONS.iter().any(|ending| name.ends_with(ending)) && !path.is_dir()
    });
    files.sort_by_key(|path| file_name(path));
    Ok(files)
}
