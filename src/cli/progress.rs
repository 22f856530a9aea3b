//! A download's progress bar, on standard error.

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
