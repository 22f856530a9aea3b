//! Many picture files through one predictor: decoding runs ahead on other threads.

use super::{PredictError, Prediction, Predictor, Result};
use crate::transforms;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use tch::Tensor;

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
        mut each: impl FnMut(FilePrediction) -> bool,
    ) {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || {
                for batch in files.chunks(options.batch_size.max(1)) {
                    // The receiver is gone once `each` has said to stop.
                    if sender.send((batch, self.decode_all(batch, options.decoders))).is_err() {
                        break;
                    }
                }
            });
            for (batch, inputs) in receiver {
                for result in
                    batch.iter().map(PathBuf::as_path).zip(self.predict_batch(inputs, options.top_k))
                {
                    if !each(result) {
                        return;
                    }
                }
            }
        });
    }

    fn decode_all(&self, files: &[PathBuf], decoders: usize) -> Vec<Result<Tensor>> {
        let decode = |file: &PathBuf| Ok(self.transforms.apply(&transforms::open(file)?)?);
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
    fn predict_batch(&self, inputs: Vec<Result<Tensor>>, top_k: usize) -> Vec<Result<Vec<Prediction>>> {
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
            let mut run = vec![first];
            while let Some(Ok(next)) = inputs.next_if(|input| shape(input) == size) {
                run.push(next);
            }
            match self.predict_run(&run, top_k) {
                Ok(predictions) => results.extend(predictions.into_iter().map(Ok)),
                // Every picture of the run has the shape the network refused.
                Err(_) => results.extend(run.iter().map(|one| self.predict_one(one, top_k))),
            }
        }
        results
    }

    fn predict_one(&self, input: &Tensor, top_k: usize) -> Result<Vec<Prediction>> {
        let mut predictions = self.predict_run(std::slice::from_ref(input), top_k)?;
        predictions.pop().ok_or(PredictError::Transform(transforms::TransformError::EmptyBatch))
    }
}
