//! Networks of classes: one of the outputs is true.

use super::calibration::Reliability;
use super::matching::Matching;
use super::mistakes::{worst, Candidate};
use super::scores::{mean, ClassScores};
use super::{EvaluateOptions, Evaluation, Result, Run, Unreadable};
use crate::data::Batch;
use crate::predictor::Predictor;
use crate::weights::Outputs;
use tch::{Kind, Tensor};

/// Adds batches up.
pub(super) struct Tally {
    /// Of the data set's classes.
    outputs: Vec<usize>,
    /// Outputs that were never trained, and are never predicted.
    untrained: Vec<i64>,
    classes: usize,
    images: usize,
    loss: f64,
    top1: usize,
    top5: usize,
    confusion: Vec<Vec<u32>>,
    /// Probability of each prediction, and whether it was right.
    predictions: Vec<(f64, bool)>,
    mistakes: Vec<Candidate>,
}

impl Tally {
    pub(super) fn new(predictor: &Predictor, matching: &Matching) -> Self {
        let classes = predictor.config().num_classes as usize;
        let untrained = predictor.categories().iter().enumerate().filter(|(_, name)| name.is_empty());
        Tally {
            outputs: matching.outputs.clone(),
            untrained: untrained.map(|(output, _)| output as i64).collect(),
            classes,
            images: 0,
            loss: 0.0,
            top1: 0,
            top5: 0,
            confusion: vec![vec![0; classes]; classes],
            predictions: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// `logits` [N, classes], f64.
    pub(super) fn add(&mut self, logits: &Tensor, batch: &Batch) -> Result<()> {
        let log_probabilities = logits.f_log_softmax(-1, Kind::Double)?;
        let rated = match self.untrained.is_empty() {
            true => logits.shallow_clone(),
            false => logits.f_index_fill(-1, &Tensor::f_from_slice(&self.untrained)?, f64::NEG_INFINITY)?,
        };
        let k = 5.min(self.classes as i64);
        let (_, best) = rated.f_topk(k, -1, true, true)?;
        let best: Vec<i64> = Vec::try_from(best.f_reshape([-1])?)?;
        let log_probabilities: Vec<f64> = Vec::try_from(log_probabilities.f_reshape([-1])?)?;
        let targets: Vec<i64> = Vec::try_from(&batch.targets)?;
        let rows = best.chunks_exact(k as usize).zip(log_probabilities.chunks_exact(self.classes));
        for (((best, log_probabilities), target), &index) in rows.zip(targets).zip(&batch.indices) {
            let (truth, predicted) = (self.outputs[target as usize], best[0] as usize);
            let loss = -log_probabilities[truth];
            let confidence = log_probabilities[predicted].exp();
            let right = truth == predicted;
            self.images += 1;
            self.loss += loss;
            self.top1 += usize::from(right);
            self.top5 += usize::from(best.contains(&(truth as i64)));
            self.confusion[truth][predicted] += 1;
            self.predictions.push((confidence, right));
            if !right {
                let (truth, predicted) =
                    (vec![(truth, log_probabilities[truth].exp())], vec![(predicted, confidence)]);
                self.mistakes.push(Candidate { index, loss, truth, predicted });
            }
        }
        Ok(())
    }

    pub(super) fn finish(
        self,
        run: Run,
        matching: Matching,
        options: &EvaluateOptions,
        skipped: Vec<Unreadable>,
    ) -> Result<Evaluation> {
        let images = self.images as f64;
        let names = &matching.names;
        let classes: Vec<ClassScores> = (0..self.classes)
            .map(|output| {
                let row: u64 = self.confusion[output].iter().map(|count| u64::from(*count)).sum();
                let column: u64 = self.confusion.iter().map(|row| u64::from(row[output])).sum();
                let hits = self.confusion[output][output] as usize;
                ClassScores::new(names[output].clone(), output, row as usize, column as usize, hits)
            })
            .collect();
        let mut reliability = Reliability::new(options.bins);
        self.predictions.iter().for_each(|&(confidence, right)| reliability.add(confidence, right));
        let name = |index| run.dataset.name(index);
        Ok(Evaluation {
            top1: Some(self.top1 as f64 / images),
            top5: Some(self.top5 as f64 / images),
            loss: self.loss / images,
            images: self.images,
            skipped,
            outputs: Outputs::Classes,
            crops: run.crops,
            exact_match: None,
            macro_precision: mean(&classes, |class| class.precision),
            macro_recall: mean(&classes, |class| class.recall),
            macro_f1: mean(&classes, |class| class.f1),
            macro_auroc: None,
            calibration: reliability.finish(),
            mistakes: worst(self.mistakes, options.mistakes, name, |output| names[output].clone()),
            classes,
            confusion: self.confusion,
            note: matching.note,
        })
    }
}
