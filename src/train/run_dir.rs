//! A run's folder: the only place that knows its files' names.

use super::recipe::Recipe;
use super::source::DataSource;
use super::{Result, TrainError};
use crate::checkpoint::{self, write_atomically, Entry, WriteFormat};
use crate::evaluate::Evaluation;
use crate::model::DenseNetConfig;
use crate::transforms::ImageClassification;
use crate::weights::{Outputs, Sidecar};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// The version of [`Plan`] and of the state.
const VERSION: u32 = 1;

const PLAN: &str = "run.json";
const STATE: &str = "state.safetensors";
const METRICS: &str = "metrics.jsonl";
const LOCK: &str = "run.lock";
const LAST: &str = "last.pth";
const BEST: &str = "best.pth";
const REPORT: &str = "report.html";
const EVALUATION: &str = "evaluation.json";

/// A folder with
///
/// - `run.json`: what the run is: recipe, data, network, class names, transforms. Written once.
/// - `state.safetensors`: everything a run needs to go on as if it had never stopped.
/// - `last.pth`, `best.pth`: the weights of the last and of the best epoch for `torch.load`, each with its sidecar (`.json`)
///   for this crate.
/// - `metrics.jsonl`: a line for some steps and every epoch.
/// - `report.html`, `evaluation.json`: how good the best weights are, once [`report`](super::report()) has run.
///
/// Every file but the metrics appears whole or not at all. One process at a time works there.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held until the run ends; the system lets go of it with the process, however that ends.
    _lock: File,
}

/// What a run is: all that `--resume` needs besides the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub(super) version: u32,
    /// The crate's version that began it.
    pub densenet: String,
    /// How it is trained.
    pub recipe: Recipe,
    /// On what.
    pub data: DataSource,
    /// What it started from: weights' name, or the network's.
    pub start: String,
    /// The network.
    pub config: DenseNetConfig,
    /// Class names.
    pub categories: Vec<String>,
    /// What the outputs mean.
    pub outputs: Outputs,
    /// How pictures become inputs.
    pub transforms: ImageClassification,
    /// libtorch's threads: another number rounds differently.
    pub threads: i32,
    /// See [`TrainingData::fingerprint`](super::TrainingData).
    pub(super) pictures: String,
}

impl Plan {
    pub(super) const VERSION: u32 = VERSION;
}

/// Weights for others to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Those of the last step that was saved.
    Last,
    /// Those of the best epoch.
    Best,
}

impl RunDir {
    /// A folder for a new run, made if it is not there.
    ///
    /// # Errors
    /// [`TrainError::RunExists`], [`TrainError::RunBusy`], [`TrainError::RunIo`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        fs::create_dir_all(path).map_err(|source| TrainError::RunIo { path: path.to_path_buf(), source })?;
        let dir = Self::locked(path)?;
        if dir.file(PLAN).exists() {
            return Err(TrainError::RunExists { path: path.to_path_buf() });
        }
        Ok(dir)
    }

    /// The folder of a run that was begun.
    ///
    /// # Errors
    /// [`TrainError::NotARun`], [`TrainError::RunBusy`], [`TrainError::RunIo`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.join(PLAN).is_file() {
            let reason = match path.exists() {
                true => {
                    format!("there is no {PLAN} in it; a run that ended before its first save is begun again")
                }
                false => "there is no such folder".to_string(),
            };
            return Err(TrainError::NotARun { path: path.to_path_buf(), reason });
        }
        Self::locked(path)
    }

    fn locked(path: &Path) -> Result<Self> {
        let file = path.join(LOCK);
        let io = |source| TrainError::RunIo { path: file.clone(), source };
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(RunDir { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(TrainError::RunBusy { path: path.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where weights are, or will be.
    pub fn weights(&self, which: Weights) -> PathBuf {
        self.file(match which {
            Weights::Last => LAST,
            Weights::Best => BEST,
        })
    }

    /// Where figures of steps and epochs are.
    pub fn metrics(&self) -> PathBuf {
        self.file(METRICS)
    }

    /// Where the page about the run is, or will be.
    pub fn report(&self) -> PathBuf {
        self.file(REPORT)
    }

    pub(super) fn write_evaluation(&self, evaluation: &Evaluation) -> Result<()> {
        let text = serde_json::to_vec(evaluation).map_err(io::Error::other);
        self.written(EVALUATION, text.and_then(|text| write_atomically(&self.file(EVALUATION), &text)))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads what the run is.
    ///
    /// # Errors
    /// [`TrainError::RunIo`], [`TrainError::NotARun`] for another version's, or what is none.
    pub fn plan(&self) -> Result<Plan> {
        let path = self.file(PLAN);
        let bytes = fs::read(&path).map_err(|source| TrainError::RunIo { path, source })?;
        let problem = |reason: String| TrainError::NotARun { path: self.path.clone(), reason };
        // The version first: another version's plan may have other fields.
        let version = serde_json::from_slice::<serde_json::Value>(&bytes)
            .ok()
            .and_then(|plan| plan.get("version").and_then(serde_json::Value::as_u64));
        if version != Some(VERSION.into()) {
            let found = version.map_or("no version".to_string(), |version| format!("version {version}"));
            return Err(problem(format!("{PLAN} has {found}, this is densenet for version {VERSION}")));
        }
        serde_json::from_slice(&bytes).map_err(|error| problem(format!("{PLAN}: {error}")))
    }

    pub(super) fn write_plan(&self, plan: &Plan) -> Result<()> {
        let text = serde_json::to_vec_pretty(plan).map_err(io::Error::other);
        self.written(PLAN, text.and_then(|text| write_atomically(&self.file(PLAN), &text)))
    }

    /// Writes the state: tensors, and `progress` as JSON.
    pub(super) fn write_state(&self, tensors: &[(String, Tensor)], progress: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(progress).map_err(io::Error::other);
        let json = self.written(STATE, json)?;
        let progress = Tensor::f_from_slice(json.as_bytes())?;
        let mut entries: Vec<Entry> =
            tensors.iter().map(|(name, tensor)| Entry::of_tensor(name.as_str(), tensor)).collect();
        entries.push(Entry::of_tensor(PROGRESS, &progress));
        Ok(checkpoint::write(&self.file(STATE), WriteFormat::Safetensors, &entries, &BTreeMap::new())?)
    }

    /// Reads the state that [`write_state`](Self::write_state) wrote.
    pub(super) fn state<P: for<'de> Deserialize<'de>>(&self) -> Result<(Vec<(String, Tensor)>, P)> {
        let problem = |reason: String| TrainError::NotARun {
            path: self.path.clone(),
            reason: format!("{STATE} {reason}"),
        };
        let dict = checkpoint::StateDict::open(self.file(STATE))?;
        let (mut tensors, mut progress) = (Vec::with_capacity(dict.tensors.len()), None);
        for (name, view) in &dict.tensors {
            let tensor = view.to_tensor()?;
            if name == PROGRESS && tensor.kind() == Kind::Uint8 {
                let bytes = Vec::<u8>::try_from(tensor.f_view(-1)?)?;
                progress = Some(serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?);
            } else {
                tensors.push((name.clone(), tensor));
            }
        }
        let progress =
            progress.ok_or_else(|| problem("does not say how far the run has come".to_string()))?;
        Ok((tensors, progress))
    }

    /// Writes weights with their sidecar.
    pub(super) fn write_weights(
        &self,
        which: Weights,
        tensors: &[(String, Tensor)],
        sidecar: &Sidecar,
    ) -> Result<()> {
        let path = self.weights(which);
        checkpoint::write_pth(&path, tensors)?;
        Ok(sidecar.write_beside(&path)?)
    }

    /// Opens the metrics for further lines, without those that were written after `length` bytes: the steps they tell of are
    /// taken again.
    pub(super) fn open_metrics(&self, length: u64) -> Result<Metrics> {
        let path = self.metrics();
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            // A file that lost its end to a power cut goes on from what is left.
            let length = length.min(file.metadata()?.len());
            file.set_len(length)?;
            Ok((file, length))
        };
        let (file, length) = self.written(METRICS, open())?;
        Ok(Metrics { file, path, length })
    }

    fn written<T>(&self, name: &str, result: io::Result<T>) -> Result<T> {
        result.map_err(|source| TrainError::RunIo { path: self.file(name), source })
    }
}

/// The name of the tensor that holds the state's JSON.
const PROGRESS: &str = "progress";

/// `metrics.jsonl`, open.
#[derive(Debug)]
pub(super) struct Metrics {
    file: File,
    path: PathBuf,
    /// Bytes in it: part of the state.
    pub length: u64,
}

impl Metrics {
    /// Adds a line.
    pub fn line(&mut self, record: &impl Serialize) -> Result<()> {
        let mut write = || {
            let mut line = serde_json::to_vec(record)?;
            line.push(b'\n');
            self.file.write_all(&line)?;
            Ok(line.len() as u64)
        };
        let io = |source| TrainError::RunIo { path: self.path.clone(), source };
        self.length += write().map_err(io)?;
        Ok(())
    }
}
