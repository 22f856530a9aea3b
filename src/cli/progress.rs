//! Progress bars, on standard error, for people at a terminal alone: of downloads, pictures, a benchmark's steps.

use super::output::Output;
use densenet::weights::{Note, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over `total` steps (0 where that is not known yet) that are called `unit`. It is the caller's to move and to end.
pub fn steps(output: &Output, unit: &str, total: u64) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{prefix} {pos}/{len} {wide_bar} {elapsed}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    bar.set_prefix(unit.to_string());
    bar.tick();
    bar
}

/// A download's bar: shows bytes, rate and time left; tells everybody else only what went otherwise than hoped.
pub struct Bar<'a> {
    output: &'a Output,
    bar: ProgressBar,
}

impl<'a> Bar<'a> {
    pub fn new(output: &'a Output) -> Bar<'a> {
        Bar { output, bar: ProgressBar::hidden() }
    }
}

impl Progress for Bar<'_> {
    fn begin(&mut self, file: &str, have: u64, total: Option<u64>) {
        if !self.output.shows_progress() {
            return;
        }
        let template = match total {
            Some(_) => {
                "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
            }
            None => "{prefix} {spinner} {binary_bytes}, {binary_bytes_per_sec}",
        };
        self.bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        self.bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
        self.bar.set_prefix(file.to_string());
        self.bar.set_position(have);
        // The rate and the time left are of this attempt, not of what was here before it.
        self.bar.reset_eta();
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }

    fn note(&mut self, note: &Note) {
        self.bar.suspend(|| self.output.note(note));
    }
}

/// Pictures that are done, of how many, and how many a second.
pub struct Pictures {
    bar: ProgressBar,
}

impl Pictures {
    pub fn new(output: &Output) -> Pictures {
        if !output.shows_progress() {
            return Pictures { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left");
        bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
        Pictures { bar }
    }

    pub fn set(&self, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
