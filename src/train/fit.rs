//! The loop over epochs.

use super::observer::{EpochReport, Figures, Observer, StepReport};
use super::precision::Precision;
use super::progress::{Best, Sums};
use super::recipe::Monitor;
use super::run::Run;
use super::run_dir::Weights;
use super::trainer::{right, Seen, Updated};
use super::{Result, TrainError};
use crate::data::{Batch, Loader};
use crate::weights::Outputs;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;
use tch::Tensor;

/// Lines an epoch has in the metrics, about.
const LINES_AN_EPOCH: usize = 100;
/// The weight of what went before in the smoothed loss.
const SMOOTHING: f64 = 0.98;
/// Steps before divergence is judged.
const SETTLED: f64 = 50.0;
/// How much worse than guessing the smoothed loss is when training diverges.
const DIVERGED: f64 = 3.0;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All epochs are done.
    Finished,
    /// No better epoch for as long as the recipe's patience.
    Patience,
    /// The observer wanted to; the run can go on.
    Interrupted,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Why it ended.
    pub end: End,
    /// Epochs done.
    pub epochs: usize,
    /// Steps taken.
    pub steps: usize,
    /// The best epoch; absent without validation.
    pub best: Option<Best>,
    /// The last validation.
    pub last: Option<Figures>,
    /// In training, validation and saving, over all parts of the run.
    pub seconds: f64,
    /// Where the best weights are; without validation the last ones.
    pub weights: PathBuf,
}

impl Run {
    /// Trains until the recipe's end, saving after every epoch.
    ///
    /// # Errors
    /// [`TrainError::LossNotFinite`], [`TrainError::Diverged`], [`TrainError::WeightsNotFinite`]: then the last save is as it
    /// was. [`TrainError::Data`] for pictures that cannot be read; [`TrainError::Model`] for pictures that do not fit the
    /// network; [`TrainError::Checkpoint`] and [`TrainError::RunIo`] where saving fails.
    pub fn fit(&mut self, observer: &mut dyn Observer) -> Result<Summary> {
        observer.begin(&self.outline());
        let (train, validation) = (self.train_loader()?, self.validation_loader()?);
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        while !self.progress.finished {
            let complete = self.train_epoch(&train, observer)?;
            let figures = match &validation {
                Some(loader) if complete => self.validate(loader, observer)?,
                _ => None,
            };
            self.progress.seconds += lap();
            if !complete || (validation.is_some() && figures.is_none()) {
                self.save()?;
                return Ok(self.summary(End::Interrupted));
            }
            self.end_epoch(figures, observer)?;
        }
        Ok(self.summary(if self.progress.stopped_early { End::Patience } else { End::Finished }))
    }

    /// The rest of the epoch under way; whether it came to its end.
    fn train_epoch(&mut self, loader: &Loader, observer: &mut dyn Observer) -> Result<bool> {
        let recipe = self.plan.recipe.clone();
        let epoch = self.progress.epoch;
        recipe.freeze.apply(&self.trainer.network, epoch)?;
        let lines = (self.steps_per_epoch() / LINES_AN_EPOCH).max(1);
        let mut batches = loader.epoch(epoch as u64, self.progress.batch)?;
        let mut clock = Instant::now();
        while self.progress.batch < loader.len() {
            let first = self.progress.batch;
            let planned = recipe.accumulate.min(loader.len() - first);
            let (lr, mut sums) =
                (self.trainer.optimizer.groups.first().map_or(0.0, |group| group.lr), Sums::default());
            // Batches of which no picture could be read are left out, and count in the position.
            while batches.position() < first + planned {
                let Some(batch) = batches.next().transpose()? else { break };
                batch.skipped.iter().for_each(|skipped| observer.skipped(&skipped.error));
                let number = (batches.position() - 1) as u64;
                let seen = self.learn_from(&batch, number, planned)?;
                self.check_loss(seen.loss, lr)?;
                sums.loss += seen.loss * seen.images as f64;
                sums.images += seen.images;
                sums.right += seen.right;
            }
            self.progress.batch = batches.position().min(loader.len());
            if sums.images == 0 {
                continue;
            }
            let Updated { norm, .. } = self.trainer.update()?;
            self.progress.step += 1;
            sums.time = std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
            for total in [&mut self.progress.sums, &mut self.progress.since_line] {
                total.loss += sums.loss;
                total.images += sums.images;
                total.right += sums.right;
                total.time += sums.time;
            }
            let report = StepReport {
                epoch: epoch + 1,
                step: self.progress.step,
                step_in_epoch: self.progress.batch.div_ceil(recipe.accumulate),
                loss: sums.figures().loss,
                lr,
                norm,
                images: sums.images,
            };
            if report.step.is_multiple_of(lines) {
                let mean = std::mem::take(&mut self.progress.since_line).figures();
                self.metrics.line(&Line::Step(&StepReport {
                    loss: mean.loss,
                    images: mean.images,
                    ..report
                }))?;
            }
            observer.step(&report);
            if observer.wants_stop() {
                return Ok(false);
            }
            let due = recipe.save_every.is_some_and(|every| self.progress.step.is_multiple_of(every));
            if due && self.progress.batch < loader.len() {
                self.save()?;
            }
        }
        // An epoch of which no picture could be read ends in an error.
        batches.next().transpose()?;
        batches.take_skipped().iter().for_each(|skipped| observer.skipped(&skipped.error));
        Ok(true)
    }

    /// One batch, mixed if the recipe says so.
    fn learn_from(&mut self, batch: &Batch, number: u64, share_of: usize) -> Result<Seen> {
        let share = 1.0 / share_of as f64;
        let recipe = &self.plan.recipe;
        if let Some(mixing) = &recipe.augment.mixing {
            let (_, _, height, width) = batch.images.size4()?;
            let epoch = self.progress.epoch as u64;
            if let Some(mix) = mixing.draw(recipe.seed, epoch, number, height as u32, width as u32) {
                let images = mix.apply(&batch.images)?;
                let targets = mix.targets(&batch.targets, self.plan.categories.len() as i64)?;
                return self.trainer.backward(&images, &targets, share);
            }
        }
        self.trainer.backward(&batch.images, &batch.targets, share)
    }

    /// Refuses a loss that is no number, or far worse than guessing for long.
    fn check_loss(&mut self, loss: f64, lr: f64) -> Result<()> {
        let (epoch, step) = (self.progress.epoch + 1, self.progress.step + 1);
        if !loss.is_finite() {
            let half = self.plan.recipe.precision != Precision::F32;
            return Err(TrainError::LossNotFinite { loss, epoch, step, lr, half });
        }
        let (sum, weight) = self.progress.smooth;
        let (sum, weight) = (SMOOTHING * sum + loss, SMOOTHING * weight + 1.0);
        self.progress.smooth = (sum, weight);
        let (smooth, guess) = (sum / weight, self.trainer.loss.of_guessing());
        let settled = weight >= (1.0 - SMOOTHING.powf(SETTLED)) / (1.0 - SMOOTHING);
        if settled && smooth > DIVERGED * guess {
            return Err(TrainError::Diverged { loss: smooth, guess, epoch, step, lr });
        }
        Ok(())
    }

    /// The validation pictures' figures, by the mean weights if there are any; `None` where the observer wanted to stop.
    fn validate(&mut self, loader: &Loader, observer: &mut dyn Observer) -> Result<Option<Figures>> {
        let (plain, outputs) = (self.trainer.loss.plain(), self.plan.outputs);
        let with_top5 = outputs == Outputs::Classes && self.plan.categories.len() > 5;
        self.trainer.with_mean_weights(|trainer| {
            let (mut sums, mut among5) = (Sums::default(), 0.0);
            let mut batches = loader.epoch(0, 0)?;
            while let Some(batch) = batches.next().transpose()? {
                batch.skipped.iter().for_each(|skipped| observer.skipped(&skipped.error));
                let logits = trainer.evaluate(&batch.images)?;
                let images = batch.indices.len();
                sums.loss += plain.compute(&logits, &batch.targets)?.f_double_value(&[])? * images as f64;
                sums.right += right(&logits, &batch.targets, outputs)?;
                sums.images += images;
                if with_top5 {
                    among5 += among_five(&logits, &batch.targets)?;
                }
                observer.validated(batches.position(), loader.len());
                if observer.wants_stop() {
                    return Ok(None);
                }
            }
            batches.take_skipped().iter().for_each(|skipped| observer.skipped(&skipped.error));
            let top5 = with_top5.then(|| among5 / sums.images.max(1) as f64);
            Ok(Some(Figures { top5, ..sums.figures() }))
        })
    }

    /// Takes note of an epoch, and saves.
    fn end_epoch(&mut self, validation: Option<Figures>, observer: &mut dyn Observer) -> Result<()> {
        let monitor = self.monitor();
        let progress = &mut self.progress;
        let epoch = progress.epoch + 1;
        if let Some(figures) = validation {
            if !figures.loss.is_finite() {
                let half = self.plan.recipe.precision != Precision::F32;
                let lr = self.trainer.optimizer.groups.first().map_or(0.0, |group| group.lr);
                return Err(TrainError::LossNotFinite {
                    loss: figures.loss,
                    epoch,
                    step: progress.step,
                    lr,
                    half,
                });
            }
        }
        let better = |new: &Figures, old: &Figures| match monitor {
            Monitor::Loss => new.loss < old.loss,
            Monitor::Accuracy => new.accuracy > old.accuracy,
        };
        let best = validation.is_some_and(|new| progress.best.is_none_or(|best| better(&new, &best.figures)));
        progress.validation = validation;
        if let (Some(figures), true) = (validation, best) {
            progress.best = Some(Best { epoch, figures });
        }
        progress.without_gain = if best { 0 } else { progress.without_gain + 1 };
        let sums = std::mem::take(&mut progress.sums);
        (progress.epoch, progress.batch) = (epoch, 0);
        let patience = self.plan.recipe.patience.filter(|_| validation.is_some());
        progress.stopped_early = epoch < self.plan.recipe.epochs
            && patience.is_some_and(|patience| progress.without_gain >= patience);
        progress.finished = progress.stopped_early || epoch >= self.plan.recipe.epochs;
        let report = EpochReport {
            epoch,
            step: progress.step,
            lr: self.trainer.optimizer.groups.first().map_or(0.0, |group| group.lr),
            train: sums.figures(),
            validation,
            best,
            seconds: progress.seconds,
            images_per_second: sums.images as f64 / sums.time.max(f64::MIN_POSITIVE),
        };
        self.metrics.line(&Line::Epoch(&report))?;
        if best {
            self.write_weights(Weights::Best)?;
        }
        self.save()?;
        observer.epoch(&report);
        Ok(())
    }

    fn summary(&self, end: End) -> Summary {
        let progress = &self.progress;
        Summary {
            end,
            epochs: progress.epoch,
            steps: progress.step,
            best: progress.best,
            last: progress.validation,
            seconds: progress.seconds,
            weights: self.dir.weights(if progress.best.is_some() { Weights::Best } else { Weights::Last }),
        }
    }
}

/// A line of the metrics.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    /// Means since the last such line.
    Step(&'a StepReport),
    Epoch(&'a EpochReport),
}

/// How many rows' class is among the five likeliest.
fn among_five(logits: &Tensor, targets: &Tensor) -> Result<f64> {
    let (_, likeliest) = logits.f_topk(5, 1, true, true)?;
    Ok(likeliest.f_eq_tensor(&targets.f_unsqueeze(1)?)?.f_sum(None)?.f_double_value(&[])?)
}
