//! Which pictures a run learns from, and which it is judged by.

use super::{Result, TrainError};
use crate::data::{split, Dataset, Idx, ImageFolder, Manifest, OnUnreadable, Target};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The share of pictures that validation takes where nothing else is said.
const DEFAULT_SHARE: f64 = 0.2;
/// The parts of MNIST's files.
const IDX_PARTS: [&str; 2] = ["train", "t10k"];

/// What a run is judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// The data's own part (`val/` and its like beside `train/`, MNIST's `t10k` files), or a fifth of data in one part.
    #[default]
    Own,
    /// A share of the training pictures, of each class the same.
    Share(f64),
    /// A folder or list of its own.
    At(PathBuf),
    /// Nothing: the last weights are the result.
    Nothing,
}

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct DataSource {
    /// A folder (`train/CLASS/…` with `val/CLASS/…`, or `CLASS/…`, or MNIST's files), or a list (`.csv`, `.jsonl`).
    pub path: PathBuf,
    /// What the run is judged by.
    pub validation: Validation,
    /// Names for the classes of MNIST's files, which have none.
    pub categories: Option<Vec<String>>,
    /// Pictures that cannot be read.
    pub on_unreadable: OnUnreadable,
}

/// The pictures.
pub struct TrainingData {
    /// To learn from.
    pub train: Arc<dyn Dataset>,
    /// To be judged by.
    pub validation: Option<Arc<dyn Dataset>>,
    /// Of MNIST's files: what the pictures are like.
    pub(super) idx: Option<IdxPictures>,
    /// The share that was split off without being asked for.
    pub(super) split_off: Option<f64>,
}

/// What tells which input fits pictures of one size.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IdxPictures {
    pub size: (u32, u32),
    pub channels: u32,
    /// Of each channel, of values from 0 to 1.
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// Pictures to train with and to measure with.
type Parts = (Arc<dyn Dataset>, Option<Arc<dyn Dataset>>);

impl DataSource {
    /// Everything at `path`, judged by its own validation part.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        DataSource { path: path.into(), ..DataSource::default() }
    }

    /// Lists the pictures (reading MNIST's files, but no other picture); `seed` decides what a share takes. Checks that there
    /// is something to learn, and to be judged by.
    ///
    /// # Errors
    /// [`TrainError::NoValidation`], [`TrainError::NoData`], and [`TrainError::Data`] for what cannot be read, for one class,
    /// an empty one, or parts with other classes.
    pub fn open(&self, seed: u64) -> Result<TrainingData> {
        let path = &self.path;
        let whole = |train: Arc<dyn Dataset>| Found { train, own: None, parted: false, idx: None };
        let found = if is_list(path) {
            whole(Arc::new(Manifest::open(path)?))
        } else if Idx::is_there(path, IDX_PARTS[0]) {
            self.open_idx()?
        } else if let Some((train, own)) = ImageFolder::open_parts(path)? {
            let own = own.map(|own| Arc::new(own) as Arc<dyn Dataset>);
            Found { train: Arc::new(train), own, parted: true, idx: None }
        } else if path.is_dir() {
            whole(Arc::new(ImageFolder::open(path)?))
        } else {
            let reason = match path.exists() {
                true => "neither a folder nor a list of pictures (.csv, .jsonl)",
                false => "no such folder or file",
            };
            return Err(TrainError::NoData { path: path.clone(), reason });
        };
        let Found { train, own, parted, idx } = found;
        train.check_trainable()?;
        let mut split_off = None;
        let parts = |share| -> Result<Parts> {
            let (train, validation) = split(Arc::clone(&train), share, seed)?;
            Ok((Arc::new(train), Some(Arc::new(validation))))
        };
        let (train, validation) = match &self.validation {
            Validation::Nothing => (train, None),
            Validation::Share(share) => parts(*share)?,
            Validation::At(path) => {
                let validation = open_validation(path, train.as_ref())?;
                (train, Some(validation))
            }
            Validation::Own if own.is_some() => (train, own),
            Validation::Own if parted => return Err(TrainError::NoValidation { path: path.clone() }),
            Validation::Own => {
                split_off = Some(DEFAULT_SHARE);
                parts(DEFAULT_SHARE)?
            }
        };
        if validation.as_ref().is_some_and(|validation| validation.is_empty()) {
            return Err(TrainError::NoValidation { path: path.clone() });
        }
        Ok(TrainingData { train, validation, idx, split_off })
    }

    fn open_idx(&self) -> Result<Found> {
        let part = |name| -> Result<Idx> {
            let part = Idx::open(&self.path, name)?;
            Ok(match &self.categories {
                Some(names) => part.with_classes(names.clone())?,
                None => part,
            })
        };
        let train = part(IDX_PARTS[0])?;
        let own = match Idx::is_there(&self.path, IDX_PARTS[1]) {
            // Its labels may leave out the last classes.
            true => Some(part(IDX_PARTS[1])?.with_classes(train.classes().to_vec())?),
            false => None,
        };
        let (mean, std) = train.moments();
        let idx = IdxPictures { size: train.size(), channels: mean.len() as u32, mean, std };
        let own = own.map(|own| Arc::new(own) as Arc<dyn Dataset>);
        let parted = own.is_some();
        Ok(Found { train: Arc::new(train), own, parted, idx: Some(idx) })
    }
}

/// What lies at a path.
struct Found {
    train: Arc<dyn Dataset>,
    own: Option<Arc<dyn Dataset>>,
    /// Whether a part is for training alone.
    parted: bool,
    idx: Option<IdxPictures>,
}

fn is_list(path: &Path) -> bool {
    path.is_file()
        && path
            .extension()
            .is_some_and(|ending| ["csv", "jsonl", "ndjson"].iter().any(|known| ending == *known))
}

/// A validation part of its own, with the training part's classes.
fn open_validation(path: &Path, train: &dyn Dataset) -> Result<Arc<dyn Dataset>> {
    if is_list(path) {
        return Ok(Arc::new(Manifest::open(path)?.with_classes(train.classes())?));
    }
    let validation = ImageFolder::open(path)?;
    crate::data::same_classes(train, &validation)?;
    Ok(Arc::new(validation))
}

impl TrainingData {
    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        self.train.classes()
    }

    /// The share of pictures that was split off for validation without being asked for.
    pub fn split_off(&self) -> Option<f64> {
        self.split_off
    }

    /// A digest of all names and targets (no pixels): a run goes on with the very list it began with.
    pub(super) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for dataset in [Some(&self.train), self.validation.as_ref()].into_iter().flatten() {
            digest.update((dataset.len() as u64).to_le_bytes());
            for class in dataset.classes() {
                digest.update(class.as_bytes());
                digest.update([0]);
            }
            for index in 0..dataset.len() {
                let name = dataset.name(index);
                // The data may have moved as a whole; the list is what it was.
                let root = dataset.root().display().to_string();
                digest.update(name.strip_prefix(&root).unwrap_or(&name).as_bytes());
                match dataset.target(index) {
                    Target::Class(class) => digest.update((*class as u64).to_le_bytes()),
                    Target::Labels(labels) => {
                        digest.update(labels.iter().map(|is| u8::from(*is)).collect::<Vec<_>>())
                    }
                }
            }
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
