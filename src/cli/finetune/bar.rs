//! What people see of a run, on standard error; records of epochs go to standard output.

use crate::cli::output::Output;
use densenet::data::DataError;
use densenet::train::{EpochReport, Figures, Observer, Outline, StepReport};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Redraws a second.
const REDRAWS: u8 = 4;

/// A bar an epoch for people at a terminal, a line an epoch for everybody.
pub struct TrainingBar<'a> {
    output: &'a mut Output,
    stop: Arc<AtomicBool>,
    bar: ProgressBar,
    outline: Option<Outline>,
    /// The epoch the bar is of.
    epoch: usize,
    /// The epoch's mean loss so far: the sum over pictures, and how many.
    losses: (f64, usize),
    told_to_stop: bool,
    /// The first error in writing a record.
    failed: Option<anyhow::Error>,
}

impl<'a> TrainingBar<'a> {
    pub fn new(output: &'a mut Output, stop: Arc<AtomicBool>) -> Self {
        TrainingBar {
            output,
            stop,
            bar: ProgressBar::hidden(),
            outline: None,
            epoch: 0,
            losses: (0.0, 0),
            told_to_stop: false,
            failed: None,
        }
    }

    /// What could not be written: to a closed pipe, say.
    pub fn written(self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        self.failed.map_or(Ok(()), Err)
    }

    fn restart(&mut self, length: usize, template: &str) {
        self.bar.finish_and_clear();
        if !self.output.shows_progress() {
            return;
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
        self.bar = ProgressBar::with_draw_target(Some(length as u64), target);
        self.bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    }
}

impl Observer for TrainingBar<'_> {
    fn begin(&mut self, outline: &Outline) {
        let Outline { train_images, validation_images, classes, parameters, .. } = outline;
        self.output.note(format_args!(
            "{train_images} pictures of {classes} classes to learn from, {validation_images} to be judged by; \
             {} of {} parameters are trained",
            parameters[1], parameters[0]
        ));
        for note in &outline.notes {
            self.output.note(note);
        }
        if outline.epochs_done > 0 {
            self.output.note(format_args!("goes on after epoch {}", outline.epochs_done));
        }
        self.outline = Some(outline.clone());
    }

    fn step(&mut self, step: &StepReport) {
        let Some(outline) = &self.outline else { return };
        let (epochs, steps) = (outline.epochs, outline.steps_per_epoch);
        if self.epoch != step.epoch {
            self.epoch = step.epoch;
            self.losses = (0.0, 0);
            self.restart(steps, "{prefix} {wide_bar} {pos}/{len} {msg}");
            self.bar.set_prefix(format!("epoch {}/{epochs}", step.epoch));
            // Steps an earlier process took are not this one's speed.
            self.bar.set_position(step.step_in_epoch as u64 - 1);
            self.bar.reset_elapsed();
            self.bar.reset_eta();
        }
        self.losses.0 += step.loss * step.images as f64;
        self.losses.1 += step.images;
        self.bar.inc(1);
        let elapsed = self.bar.elapsed().as_secs_f64();
        if self.bar.is_hidden() || elapsed <= 0.0 {
            return;
        }
        let left = self.bar.eta() + self.bar.eta_of_epochs(epochs - step.epoch, steps);
        self.bar.set_message(format!(
            "{:.0} images/s, loss {:.4}, lr {:.1e}, {} left",
            self.losses.1 as f64 / elapsed,
            self.losses.0 / self.losses.1.max(1) as f64,
            step.lr,
            clock(left)
        ));
    }

    fn validated(&mut self, batches: usize, of: usize) {
        if batches == 1 {
            self.restart(of, "{prefix} {wide_bar} {pos}/{len}");
            self.bar.set_prefix("validation");
        }
        self.bar.set_position(batches as u64);
    }

    fn epoch(&mut self, epoch: &EpochReport) {
        self.bar.finish_and_clear();
        let epochs = self.outline.as_ref().map_or(0, |outline| outline.epochs);
        let figures = |name: &str, figures: &Figures| {
            format!("{name} loss {:.4} accuracy {:.2} %", figures.loss, 100.0 * figures.accuracy)
        };
        let mut line = format!("epoch {}/{epochs}: {}", epoch.epoch, figures("train", &epoch.train));
        if let Some(validation) = &epoch.validation {
            line = format!("{line}, {}", figures("validation", validation));
        }
        let best = if epoch.best { ", best" } else { "" };
        line = format!(
            "{line}, {:.0} images/s, {}{best}",
            epoch.images_per_second,
            clock(Duration::from_secs_f64(epoch.seconds))
        );
        if let Err(error) = self.output.record(epoch, || line) {
            self.failed.get_or_insert(error);
        }
    }

    fn skipped(&mut self, error: &DataError) {
        let output = &*self.output;
        self.bar.suspend(|| output.note(format_args!("left out: {error}")));
    }

    fn wants_stop(&mut self) -> bool {
        let stop = self.stop.load(Ordering::SeqCst) || self.failed.is_some();
        if stop && !std::mem::replace(&mut self.told_to_stop, true) {
            let output = &*self.output;
            self.bar.suspend(|| {
                output.note("stopping: this step is done, its state is being saved (once more: at once)")
            });
        }
        stop
    }
}

/// The time that further epochs take, at this one's speed.
trait Eta {
    fn eta_of_epochs(&self, epochs: usize, steps: usize) -> Duration;
}

impl Eta for ProgressBar {
    fn eta_of_epochs(&self, epochs: usize, steps: usize) -> Duration {
        let rate = self.per_sec();
        if rate <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(epochs as f64 * steps as f64 / rate).unwrap_or_default()
    }
}

/// 1:02:03
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}
