//! How good a network is on labelled pictures.
//!
//! [`evaluate`] runs a [`Predictor`] over a [`Dataset`] and gives an [`Evaluation`]: accuracy, loss, scores of each class,
//! calibration, who is taken for whom, the worst mistakes. Networks of classes (one is true) and of labels (any number is)
//! have each their own; `report` makes pages of it.
//!
//! May use `data`, `predictor`. Invariant: every figure depends on the data set, the weights and the options alone, and is
//! its definition computed in f64 from the network's logits.

mod auroc;
mod calibration;
mod classes;
mod error;
mod labels;
mod matching;
mod mistakes;
mod scores;

pub use auroc::auroc;
pub use calibration::{Bin, Calibration};
pub use error::{EvaluateError, Result};
pub use mistakes::Mistake;
pub use scores::ClassScores;

use crate::data::{self, Batch, Dataset, Loader, LoaderOptions, OnUnreadable, Pipeline, Target};
use crate::predictor::Predictor;
use crate::transforms::ImageClassification;
use crate::weights::Outputs;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// How a network is evaluated.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Pictures the network takes at once; ten times as many inputs with `ten_crop`.
    pub batch_size: usize,
    /// Threads that read pictures.
    pub workers: usize,
    /// Average the logits of the corners, the middle and their mirror images, as the original code's `-tenCrop`.
    pub ten_crop: bool,
    /// Pictures that cannot be read.
    pub on_unreadable: OnUnreadable,
    /// Bins of the calibration.
    pub bins: usize,
    /// The worst mistakes that are kept.
    pub mistakes: usize,
    /// Instead of the predictor's own transforms.
    pub transforms: Option<ImageClassification>,
}

impl Default for EvaluateOptions {
    /// 32 pictures at once, two readers, the middle alone, stopping at unreadable pictures, 15 bins, 24 mistakes.
    fn default() -> Self {
        EvaluateOptions {
            batch_size: 32,
            workers: 2,
            ten_crop: false,
            on_unreadable: OnUnreadable::Fail,
            bins: 15,
            mistakes: 24,
            transforms: None,
        }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The share of pictures whose class is the likeliest; `None` for networks of labels.
    pub top1: Option<f64>,
    /// The share of pictures whose class is among the five likeliest (1 where there are five classes or fewer).
    pub top5: Option<f64>,
    /// Mean cross-entropy; for labels mean binary cross-entropy of all labels.
    pub loss: f64,
    /// Pictures evaluated.
    pub images: usize,
    /// Pictures that could not be read.
    pub skipped: Vec<Unreadable>,
    /// What the network's outputs mean.
    pub outputs: Outputs,
    /// Network inputs a picture: 1, or 10.
    pub crops: usize,
    /// For labels: the share of pictures whose labels are all right at a probability of one half.
    pub exact_match: Option<f64>,
    /// Mean over classes with pictures; where a class was never predicted its precision counts as 0.
    pub macro_precision: Option<f64>,
    /// Mean over classes with pictures: the balanced accuracy.
    pub macro_recall: Option<f64>,
    /// Mean over classes with pictures.
    pub macro_f1: Option<f64>,
    /// For labels: mean over labels that some pictures have and some have not.
    pub macro_auroc: Option<f64>,
    /// How far probabilities can be believed.
    pub calibration: Calibration,
    /// Each class or label, in the order of the network's outputs (those that the data set knows, for labels).
    pub classes: Vec<ClassScores>,
    /// For classes: pictures of the class in the row that were taken for the class in the column.
    pub confusion: Vec<Vec<u32>>,
    /// The pictures with the highest loss among those that are wrong, the worst first.
    pub mistakes: Vec<Mistake>,
    /// How the data set's classes were found among the network's, where that is not by name.
    pub note: Option<String>,
}

/// A picture that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its name in the data set.
    pub image: String,
    /// Why.
    pub error: String,
}

/// Runs the network over all pictures. `progress` hears how many are done, of how many.
///
/// The data set's classes are found among the network's by name; where no name agrees and there are as many, by place
/// ([`Evaluation::note`] says so). A data set of single classes serves a network of labels too.
///
/// # Errors
/// [`EvaluateError`]: an empty data set, classes that do not fit, logits that are no numbers, unreadable pictures (as
/// `options` say), or what reading and running them gives.
pub fn evaluate(
    predictor: &Predictor,
    dataset: Arc<dyn Dataset>,
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    if dataset.is_empty() {
        return Err(EvaluateError::Empty { path: dataset.root().to_path_buf() });
    }
    let several = matches!(dataset.target(0), Target::Labels(_));
    if several && predictor.outputs() == Outputs::Classes {
        return Err(EvaluateError::SeveralLabels { path: dataset.root().to_path_buf() });
    }
    let matching = matching::find(predictor, &*dataset)?;
    let loader = Loader::new(Arc::clone(&dataset), pipeline(predictor, options)?, loader_options(options))?;
    let total = dataset.len();
    let mut run = Run { predictor, dataset: &*dataset, crops: if options.ten_crop { 10 } else { 1 } };
    match predictor.outputs() {
        Outputs::Classes => {
            let mut tally = classes::Tally::new(predictor, &matching);
            let skipped = run.over(loader, total, progress, |logits, batch| tally.add(logits, batch))?;
            tally.finish(run, matching, options, skipped)
        }
        Outputs::Labels => {
            let mut tally = labels::Tally::new(&matching);
            let skipped = run.over(loader, total, progress, |logits, batch| tally.add(logits, batch))?;
            tally.finish(run, matching, options, skipped)
        }
    }
}

fn pipeline(predictor: &Predictor, options: &EvaluateOptions) -> Result<Pipeline> {
    let preset = options.transforms.as_ref().unwrap_or(predictor.transforms()).clone();
    let pipeline = if options.ten_crop { data::ten_crops(preset) } else { data::plain(preset) };
    Ok(pipeline?)
}

fn loader_options(options: &EvaluateOptions) -> LoaderOptions {
    LoaderOptions {
        batch_size: options.batch_size,
        workers: options.workers,
        on_unreadable: options.on_unreadable,
        ..LoaderOptions::default()
    }
}

/// One pass over the pictures.
struct Run<'a> {
    predictor: &'a Predictor,
    dataset: &'a dyn Dataset,
    crops: usize,
}

impl Run<'_> {
    /// Hands each batch's logits [N, outputs], f64 on the CPU, to `each`.
    fn over(
        &mut self,
        loader: Loader,
        total: usize,
        progress: &mut dyn FnMut(usize, usize),
        mut each: impl FnMut(&Tensor, &Batch) -> Result<()>,
    ) -> Result<Vec<Unreadable>> {
        let mut unreadable = Vec::new();
        let mut done = 0;
        for batch in loader.epoch(0, 0)? {
            let batch = batch?;
            let logits = self.logits(&batch)?;
            each(&logits, &batch)?;
            unreadable.extend(batch.skipped.iter().map(|skipped| Unreadable {
                image: self.dataset.name(skipped.index),
                error: skipped.error.to_string(),
            }));
            done += batch.indices.len() + batch.skipped.len();
            progress(done, total);
        }
        Ok(unreadable)
    }

    fn logits(&self, batch: &Batch) -> Result<Tensor> {
        let crops = self.crops as i64;
        let inputs = match crops {
            1 => batch.images.shallow_clone(),
            _ => batch.images.f_flatten(0, 1)?,
        };
        let logits = self.predictor.predict_tensor(&inputs)?;
        let logits = logits.f_to_kind(Kind::Double)?.f_to_device(tch::Device::Cpu)?;
        let logits = match crops {
            1 => logits,
            _ => logits.f_view([-1, crops, logits.size()[1]])?.f_mean_dim(
                [1i64].as_slice(),
                false,
                Kind::Double,
            )?,
        };
        let finite = logits.f_isfinite()?.f_all_dim(1, false)?;
        if let Some(row) = Vec::<bool>::try_from(&finite)?.iter().position(|finite| !finite) {
            return Err(EvaluateError::NotFinite { image: self.dataset.name(batch.indices[row]) });
        }
        Ok(logits)
    }
}
