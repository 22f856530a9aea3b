//! Batches, made on other threads, in an order that the seed decides.

use super::dataset::unreadable;
use super::{DataError, Dataset, Pipeline, Result, Target};
use crate::transforms::{Draw, TransformError};
use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tch::{Device, Kind, Tensor};

/// What to do with a picture that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnreadable {
    /// Stop with its error.
    #[default]
    Fail,
    /// Leave it out of its batch, and say so in [`Batch::skipped`].
    Skip,
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// Pictures a batch, at least 1.
    pub batch_size: usize,
    /// Threads that read pictures; 0 reads them when they are asked for.
    pub workers: usize,
    /// Batches that may be made ahead, for each worker; at least 1.
    pub prefetch: usize,
    /// Another order each epoch; else the data set's.
    pub shuffle: bool,
    /// What decides the order and every augmentation.
    pub seed: u64,
    /// Leave out a last batch that is not full.
    pub drop_last: bool,
    /// Pictures that cannot be read.
    pub on_unreadable: OnUnreadable,
    /// Hand batches out in page-locked memory, from which CUDA copies while it computes.
    pub pin_memory: bool,
}

impl Default for LoaderOptions {
    /// 32 pictures in the data set's order, one worker two batches ahead, failing on unreadable pictures.
    fn default() -> Self {
        LoaderOptions {
            batch_size: 32,
            workers: 1,
            prefetch: 2,
            shuffle: false,
            seed: 0,
            drop_last: false,
            on_unreadable: OnUnreadable::Fail,
            pin_memory: false,
        }
    }
}

/// Some pictures and what they show.
#[derive(Debug)]
pub struct Batch {
    /// [N, C, H, W], f32.
    pub images: Tensor,
    /// int64 \[N\] of class indices, or f32 [N, classes] of zeros and ones where pictures have several labels.
    pub targets: Tensor,
    /// Their places in the data set.
    pub indices: Vec<usize>,
    /// Pictures of this batch that could not be read, and those of batches before it in which none could.
    pub skipped: Vec<Skipped>,
}

/// A picture that was left out.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Its place in the data set.
    pub index: usize,
    /// The error, which names it.
    pub error: Arc<DataError>,
}

/// Makes batches of a data set. torch: `DataLoader`.
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    pipeline: Pipeline,
    options: LoaderOptions,
}

impl Loader {
    /// A loader of `dataset`'s pictures as `pipeline` makes them.
    ///
    /// # Errors
    /// [`DataError::Option`] for a batch size or a prefetch of 0.
    pub fn new(dataset: Arc<dyn Dataset>, pipeline: Pipeline, options: LoaderOptions) -> Result<Self> {
        for (option, value) in [("the batch size", options.batch_size), ("prefetch", options.prefetch)] {
            if value == 0 {
                return Err(DataError::Option { option, value: "0".to_string(), expected: "at least 1" });
            }
        }
        Ok(Loader { dataset, pipeline, options })
    }

    /// Batches an epoch.
    pub fn len(&self) -> usize {
        let (pictures, size) = (self.dataset.len(), self.options.batch_size);
        if self.options.drop_last {
            pictures / size
        } else {
            pictures.div_ceil(size)
        }
    }

    /// Whether an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// The order of an epoch's pictures.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        if self.options.shuffle {
            // No picture has the last index.
            Draw { seed: self.options.seed, epoch, index: u64::MAX }.rng().permutation(self.dataset.len())
        } else {
            (0..self.dataset.len()).collect()
        }
    }

    /// The batches of an epoch from the `first` on (0 for all): where training stopped, it goes on.
    ///
    /// # Errors
    /// [`DataError::Worker`] where the system gives no thread.
    pub fn epoch(&self, epoch: u64, first: usize) -> Result<Epoch> {
        let count = self.len();
        let job = Arc::new(Job {
            dataset: Arc::clone(&self.dataset),
            pipeline: Arc::clone(&self.pipeline),
            options: self.options.clone(),
            order: self.order(epoch),
            epoch,
            count,
            state: Mutex::new(State { next: first, wanted: first, ready: BTreeMap::new(), stopped: false }),
            changed: Condvar::new(),
        });
        let mut workers = Vec::new();
        for number in 0..self.options.workers.min(count.saturating_sub(first)) {
            let job = Arc::clone(&job);
            let worker = std::thread::Builder::new().name(format!("loader {number}"));
            let worker = worker.spawn(move || job.work());
            workers.push(worker.map_err(|error| DataError::Worker { message: error.to_string() })?);
        }
        Ok(Epoch { job, workers, at: first, skipped: Vec::new(), seen: first })
    }
}

/// The batches of one epoch, in order. Dropping it ends its workers.
pub struct Epoch {
    job: Arc<Job>,
    workers: Vec<JoinHandle<()>>,
    at: usize,
    /// Of batches in which no picture could be read.
    skipped: Vec<Skipped>,
    /// Batches handed out, those before the first included.
    seen: usize,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        while self.at < self.job.count {
            let made =
                if self.workers.is_empty() { self.job.guarded(self.at) } else { self.job.wait_for(self.at) };
            self.at += 1;
            match made {
                Ok(Made { tensors: Some((images, targets)), indices, mut skipped }) => {
                    self.seen += 1;
                    self.skipped.append(&mut skipped);
                    let skipped = std::mem::take(&mut self.skipped);
                    return Some(self.pinned(Batch { images, targets, indices, skipped }));
                }
                Ok(Made { mut skipped, .. }) => self.skipped.append(&mut skipped),
                Err(error) => {
                    self.at = self.job.count;
                    return Some(Err(error));
                }
            }
        }
        match self.skipped.first() {
            Some(first) if self.seen == 0 => {
                let error =
                    DataError::AllUnreadable { pictures: self.skipped.len(), first: first.error.to_string() };
                self.skipped.clear();
                Some(Err(error))
            }
            _ => None,
        }
    }
}

impl Epoch {
    /// The number of the next batch: where an epoch that ends here goes on ([`Loader::epoch`]).
    pub fn position(&self) -> usize {
        self.at
    }

    /// Pictures that could not be read and that no batch has told of: those of an epoch's last batches, where none of theirs
    /// could be.
    pub fn take_skipped(&mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    fn pinned(&self, batch: Batch) -> Result<Batch> {
        if !self.job.options.pin_memory {
            return Ok(batch);
        }
        // Here and not on a worker: the copy needs CUDA's context of this thread.
        let device = Device::Cuda(0);
        Ok(Batch {
            images: batch.images.f_pin_memory(device)?,
            targets: batch.targets.f_pin_memory(device)?,
            ..batch
        })
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.job.lock().stopped = true;
        self.job.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its panics; there is nothing to learn from its end.
            let _ = worker.join();
        }
    }
}

/// What an epoch's threads share.
struct Job {
    dataset: Arc<dyn Dataset>,
    pipeline: Pipeline,
    options: LoaderOptions,
    order: Vec<usize>,
    epoch: u64,
    count: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The next batch nobody has begun.
    next: usize,
    /// The batch that is waited for.
    wanted: usize,
    ready: BTreeMap<usize, Result<Made>>,
    stopped: bool,
}

/// A batch on its way.
struct Made {
    /// `None` where no picture could be read.
    tensors: Option<(Tensor, Tensor)>,
    indices: Vec<usize>,
    skipped: Vec<Skipped>,
}

impl Job {
    /// Nothing panics while it holds the lock, and the state is whole between any two of its lines.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self) {
        let ahead = self.options.workers * self.options.prefetch;
        loop {
            let mut state = self.lock();
            while !state.stopped && state.next < self.count && state.next >= state.wanted + ahead {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped || state.next >= self.count {
                return;
            }
            let batch = state.next;
            state.next += 1;
            drop(state);
            let made = self.guarded(batch);
            self.lock().ready.insert(batch, made);
            self.changed.notify_all();
        }
    }

    fn wait_for(&self, batch: usize) -> Result<Made> {
        let mut state = self.lock();
        state.wanted = batch;
        self.changed.notify_all();
        loop {
            if let Some(made) = state.ready.remove(&batch) {
                // Room for one more.
                state.wanted = batch + 1;
                self.changed.notify_all();
                return made;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes a batch; a panic becomes an error, so that nobody waits for a thread that is gone.
    fn guarded(&self, batch: usize) -> Result<Made> {
        catch_unwind(AssertUnwindSafe(|| self.make(batch))).unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<&str>().map(|words| words.to_string());
            let message = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(DataError::Worker { message })
        })
    }

    fn make(&self, batch: usize) -> Result<Made> {
        let size = self.options.batch_size;
        let places = &self.order[batch * size..self.order.len().min((batch + 1) * size)];
        let (mut tensors, mut indices, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for &index in places {
            match self.input(index) {
                Ok(tensor) => {
                    tensors.push(tensor);
                    indices.push(index);
                }
                Err(error) if self.options.on_unreadable == OnUnreadable::Skip => {
                    skipped.push(Skipped { index, error: Arc::new(error) });
                }
                Err(error) => return Err(error),
            }
        }
        let tensors = match tensors.is_empty() {
            true => None,
            false => Some((self.stack(&tensors, &indices)?, self.targets(&indices)?)),
        };
        Ok(Made { tensors, indices, skipped })
    }

    fn input(&self, index: usize) -> Result<Tensor> {
        let picture = self.dataset.picture(index)?;
        let draw = Draw { seed: self.options.seed, epoch: self.epoch, index: index as u64 };
        (self.pipeline)(&picture, draw).map_err(|source| unreadable(self.dataset.name(index), source))
    }

    /// Stacks in pieces that libtorch copies on this thread alone: larger copies would wait for the threads that train.
    fn stack(&self, tensors: &[Tensor], indices: &[usize]) -> Result<Tensor> {
        const PIECE: i64 = 1 << 14;
        let shape = tensors[0].size();
        let values: i64 = shape.iter().product();
        let stacked =
            Tensor::f_empty([&[tensors.len() as i64], &shape[..]].concat(), (Kind::Float, Device::Cpu))?;
        let rows = stacked.f_view([tensors.len() as i64, values])?;
        for (row, tensor) in tensors.iter().enumerate() {
            if tensor.size() != shape {
                let source = TransformError::UnequalShapes { index: row, got: tensor.size(), first: shape };
                return Err(unreadable(self.dataset.name(indices[row]), source));
            }
            let (to, from) = (rows.f_get(row as i64)?, tensor.f_reshape([-1])?);
            for start in (0..values).step_by(PIECE as usize) {
                let length = PIECE.min(values - start);
                to.f_narrow(0, start, length)?.f_copy_(&from.f_narrow(0, start, length)?)?;
            }
        }
        Ok(stacked)
    }

    fn targets(&self, indices: &[usize]) -> Result<Tensor> {
        let mut classes = Vec::new();
        let mut labels = Vec::new();
        for &index in indices {
            match self.dataset.target(index) {
                Target::Class(class) => classes.push(*class as i64),
                Target::Labels(there) => labels.extend(there.iter().map(|there| f32::from(u8::from(*there)))),
            }
        }
        if labels.is_empty() {
            return Ok(Tensor::f_from_slice(&classes)?);
        }
        Ok(Tensor::f_from_slice(&labels)?.f_view([indices.len() as i64, -1])?)
    }
}

#[cfg(test)]
mod tests;
