//! Many picture files through one predictor: decoding runs ahead on other threads.

use super::{pooled_features, PredictError, Prediction, Predictor, Result};
use crate::model::DenseNet;
use crate::transforms::{self, ImageClassification};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use tch::{Device, Kind, Tensor};

/// How [`Predictor::predict_files`] works.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Classes a picture, likeliest first.
    pub top_k: usize,
    /// Pictures the network takes at once.
    pub batch_size: usize,
    /// Threads that decode and transform.
    pub decoders: usize,
}

impl Default for StreamOptions {
    /// Five classes, eight pictures at once, a decoder for each processor.
    fn default() -> Self {
        let decoders = std::thread::available_parallelism().map_or(1, usize::from);
        StreamOptions { top_k: 5, batch_size: 8, decoders }
    }
}

/// What became of one file.
pub type FilePrediction<'a> = (&'a Path, Result<Vec<Prediction>>);

impl Predictor {
    /// Predicts every file, in order, and hands each result to `each`; a file that cannot be read or is too small is
    /// an error of its own and the rest goes on. While the network runs a batch, the next one is decoded; no more than
    /// two wait. `each` returns `false` to stop early.
    pub fn predict_files(
        &self,
        files: &[PathBuf],
        options: &StreamOptions,
        each: impl FnMut(FilePrediction) -> bool,
    ) {
        stream(&self.transforms, files, options, |run| self.predict_run(run, options.top_k), each);
    }
}

/// Pooled features of every file, each of the network's width, as [`Predictor::predict_files`] goes through them
/// (`top_k` has no meaning here). A network without a classifier will do.
pub fn embed_files(
    network: &DenseNet,
    transforms: &ImageClassification,
    files: &[PathBuf],
    options: &StreamOptions,
    each: impl FnMut((&Path, Result<Vec<f32>>)) -> bool,
) {
    let embed = |run: &[Tensor]| {
        let features = pooled_features(network, &transforms::batch(run)?)?;
        let rows = features.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_unbind(0)?;
        rows.iter().map(|row| Ok(Vec::try_from(row)?)).collect()
    };
    stream(transforms, files, options, embed, each);
}

/// Inputs of one shape, each [C, H, W], to a result each.
type Results<T> = Result<Vec<T>>;

fn stream<T>(
    transforms: &ImageClassification,
    files: &[PathBuf],
    options: &StreamOptions,
    run: impl Fn(&[Tensor]) -> Results<T>,
    mut each: impl FnMut((&Path, Result<T>)) -> bool,
) {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for batch in files.chunks(options.batch_size.max(1)) {
                // The receiver is gone once `each` has said to stop.
                if sender.send((batch, decode_all(transforms, batch, options.decoders))).is_err() {
                    break;
                }
            }
        });
        for (batch, inputs) in receiver {
            for result in batch.iter().map(PathBuf::as_path).zip(run_batch(inputs, &run)) {
                if !each(result) {
                    return;
                }
            }
        }
    });
}

fn decode_all(transforms: &ImageClassification, files: &[PathBuf], decoders: usize) -> Vec<Result<Tensor>> {
    let decode = |file: &PathBuf| Ok(transforms.apply(&transforms::open(file)?)?);
    let share = files.len().div_ceil(decoders.max(1)).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = files
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(decode).collect::<Vec<_>>()))
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(tensors) => tensors,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect()
    })
}

/// One result an input, in order; inputs of one shape run together.
fn run_batch<T>(inputs: Vec<Result<Tensor>>, run: impl Fn(&[Tensor]) -> Results<T>) -> Vec<Result<T>> {
    let shape = |input: &Result<Tensor>| input.as_ref().ok().map(Tensor::size);
    let mut results = Vec::with_capacity(inputs.len());
    let mut inputs = inputs.into_iter().peekable();
    while let Some(first) = inputs.next() {
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                results.push(Err(error));
                continue;
            }
        };
        let size = Some(first.size());
        let mut same = vec![first];
        while let Some(Ok(next)) = inputs.next_if(|input| shape(input) == size) {
            same.push(next);
        }
        match run(&same) {
            Ok(done) => results.extend(done.into_iter().map(Ok)),
            // Every picture of the run has the shape the network refused.
            Err(_) => results.extend(same.iter().map(|one| {
                let done = run(std::slice::from_ref(one))?.pop();
                done.ok_or(PredictError::Transform(transforms::TransformError::EmptyBatch))
            })),
        }
    }
    results
}
