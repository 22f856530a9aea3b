//! Where a pass's time goes.

use std::time::{Duration, Instant};

/// Off until somebody asks; then every part of a pass is timed. Off, it costs a comparison a part.
#[derive(Debug)]
pub(super) struct Clock<Part = &'static str> {
    on: bool,
    last: Option<Instant>,
    parts: Vec<(Part, Duration)>,
}

impl<Part> Default for Clock<Part> {
    fn default() -> Self {
        Clock { on: false, last: None, parts: Vec::new() }
    }
}

impl<Part: PartialEq> Clock<Part> {
    /// One that is on from the start.
    pub fn started() -> Self {
        Clock { on: true, last: Some(Instant::now()), parts: Vec::new() }
    }

    /// A pass begins.
    pub fn start(&mut self) {
        self.last = self.on.then(Instant::now);
    }

    /// What ran since the last lap was `part`.
    pub fn lap(&mut self, part: Part) {
        let Some(last) = self.last else { return };
        let now = Instant::now();
        self.add(part, now - last);
        self.last = Some(now);
    }

    /// Adds what another clock measured.
    pub fn add(&mut self, part: Part, took: Duration) {
        match self.parts.iter_mut().find(|(name, _)| *name == part) {
            Some((_, total)) => *total += took,
            None => self.parts.push((part, took)),
        }
    }

    /// Totals since the last call; turns the clock on.
    pub fn take(&mut self) -> Vec<(Part, Duration)> {
        self.on = true;
        std::mem::take(&mut self.parts)
    }
}
