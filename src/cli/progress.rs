//! Progress bars, on standard error: of downloads and of pictures.

use super::output::Output;
use densenet::weights::{Note, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows bytes, rate and time left to people at a terminal; tells everybody else only what went otherwise than hoped.
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
