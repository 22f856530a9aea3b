//! Networks of labels: each output is true or not, for itself.

use super::calibration::Reliability;
use super::matching::Matching;
use super::mistakes::{worst, Candidate};
use super::scores::{average, mean, ClassScores};
use super::{auroc, EvaluateOptions, Evaluation, Result, Run, Unreadable};
use crate::data::Batch;
use crate::weights::Outputs;
use tch::{Kind, Tensor};

/// Keeps every logit: the area under a curve needs them all.
pub(super) struct Tally {
    /// Of the data set's labels.
    outputs: Vec<usize>,
    /// Of each label, of each picture.
    logits: Vec<Vec<f64>>,
    truths: Vec<Vec<bool>>,
    indices: Vec<usize>,
}

/// −log of the probability that a logit gives to what is true: binary cross-entropy.
fn loss(logit: f64, truth: bool) -> f64 {
    let against = if truth { -logit } else { logit };
    against.max(0.0) + (-against.abs()).exp().ln_1p()
}

fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

impl Tally {
    pub(super) fn new(matching: &Matching) -> Self {
        let labels = matching.outputs.len();
        Tally {
            outputs: matching.outputs.clone(),
            logits: vec![Vec::new(); labels],
            truths: vec![Vec::new(); labels],
            indices: Vec::new(),
        }
    }

    /// `logits` [N, outputs], f64.
    pub(super) fn add(&mut self, logits: &Tensor, batch: &Batch) -> Result<()> {
        let targets = match batch.targets.dim() {
            1 => batch.targets.f_one_hot(self.outputs.len() as i64)?,
            _ => batch.targets.shallow_clone(),
        };
        let columns = targets.f_to_kind(Kind::Double)?;
        for (label, &output) in self.outputs.iter().enumerate() {
            self.logits[label]
                .extend(Vec::<f64>::try_from(logits.f_select(1, output as i64)?.f_contiguous()?)?);
            let truths: Vec<f64> = Vec::try_from(columns.f_select(1, label as i64)?.f_contiguous()?)?;
            self.truths[label].extend(truths.into_iter().map(|truth| truth > 0.5));
        }
        self.indices.extend(&batch.indices);
        Ok(())
    }

    pub(super) fn finish(
        self,
        run: Run,
        matching: Matching,
        options: &EvaluateOptions,
        skipped: Vec<Unreadable>,
    ) -> Result<Evaluation> {
        let (images, labels) = (self.indices.len(), self.outputs.len());
        let mut reliability = Reliability::new(options.bins);
        let (mut total, mut exact) = (0.0, 0);
        let mut candidates = Vec::new();
        for (row, &index) in self.indices.iter().enumerate() {
            let mut mistake = Candidate { index, loss: 0.0, truth: Vec::new(), predicted: Vec::new() };
            for (label, &output) in self.outputs.iter().enumerate() {
                let (logit, truth) = (self.logits[label][row], self.truths[label][row]);
                let probability = probability(logit);
                reliability.add(probability, truth);
                mistake.loss += loss(logit, truth) / labels as f64;
                match (truth, logit > 0.0) {
                    (true, false) => mistake.truth.push((output, probability)),
                    (false, true) => mistake.predicted.push((output, probability)),
                    _ => {}
                }
            }
            total += mistake.loss;
            if mistake.truth.is_empty() && mistake.predicted.is_empty() {
                exact += 1;
            } else {
                candidates.push(mistake);
            }
        }
        let classes: Vec<ClassScores> = (0..labels).map(|label| self.scores(label, &matching)).collect();
        let name = |index| run.dataset.name(index);
        Ok(Evaluation {
            top1: None,
            top5: None,
            loss: total / images as f64,
            images,
            skipped,
            outputs: Outputs::Labels,
            crops: run.crops,
            exact_match: Some(exact as f64 / images as f64),
            macro_precision: mean(&classes, |class| class.precision),
            macro_recall: mean(&classes, |class| class.recall),
            macro_f1: mean(&classes, |class| class.f1),
            macro_auroc: average(classes.iter().filter_map(|class| class.auroc)),
            calibration: reliability.finish(),
            mistakes: worst(candidates, options.mistakes, name, |output| matching.names[output].clone()),
            classes,
            confusion: Vec::new(),
            note: matching.note,
        })
    }

    fn scores(&self, label: usize, matching: &Matching) -> ClassScores {
        let (logits, truths, output) = (&self.logits[label], &self.truths[label], self.outputs[label]);
        let there = truths.iter().filter(|truth| **truth).count();
        let predicted = logits.iter().filter(|logit| **logit > 0.0).count();
        let hits = logits.iter().zip(truths).filter(|(logit, truth)| **truth && **logit > 0.0).count();
        let scores = ClassScores::new(matching.names[output].clone(), output, there, predicted, hits);
        // By logits: probabilities of certain ones round to the same number.
        ClassScores { auroc: auroc(logits, truths), ..scores }
    }
}
