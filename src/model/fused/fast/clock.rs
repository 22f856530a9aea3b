//! Where a pass's time goes.

use std::time::{Duration, Instant};

/// Off until somebody asks; then every part of a pass is timed. Off, it costs a comparison a part.
#[derive(Debug, Default)]
pub(in crate::model::fused) struct Clock {
    on: bool,
    last: Option<Instant>,
    parts: Vec<(&'static str, Duration)>,
}

impl Clock {
    /// A pass begins.
    pub fn start(&mut self) {
        self.last = self.on.then(Instant::now);
    }

    /// What ran since the last lap was `part`.
    pub fn lap(&mut self, part: &'static str) {
        let Some(last) = self.last else { return };
        let now = Instant::now();
        match self.parts.iter_mut().find(|(name, _)| *name == part) {
            Some((_, total)) => *total += now - last,
            None => self.parts.push((part, now - last)),
        }
        self.last = Some(now);
    }

    /// Totals since the last call; turns the clock on.
    pub fn take(&mut self) -> Vec<(&'static str, Duration)> {
        self.on = true;
        std::mem::take(&mut self.parts)
    }
}
