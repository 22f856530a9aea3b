//! Runs the participants of a case in turn and prints a line.

use super::peak;
use densenet::kernels::Machine;
use std::time::{Duration, Instant};

/// A participant: its name, and what runs it once.
pub type Run<'a> = (&'a str, &'a mut dyn FnMut());

/// How much a case does, and so what it is held against.
#[derive(Clone, Copy)]
pub enum Work {
    /// Floating-point operations: beside the processor's peak.
    Operations(f64),
    /// Bytes read and written, each once: beside a copy.
    Bytes {
        /// In all.
        moved: f64,
        /// Of the largest matrix: what is copied.
        matrix: f64,
    },
}

/// At least so many rounds,
const ROUNDS: u32 = 7;
/// and more of them as long as a case has taken less than this.
const AT_LEAST: Duration = Duration::from_millis(300);

/// Prints a line a case.
pub struct Table<'a> {
    /// What kernels run on.
    pub on: Machine<'a>,
    only: &'a str,
    group: String,
    begun: bool,
}

impl<'a> Table<'a> {
    /// Of the cases whose name, group first, has `only` in it.
    pub fn new(on: Machine<'a>, only: &'a str) -> Self {
        Table { on, only, group: String::new(), begun: false }
    }

    /// Begins a group.
    pub fn begin(&mut self, group: &str) {
        (self.group, self.begun) = (group.to_string(), false);
    }

    /// Whether a case is asked for.
    pub fn wants(&self, case: &str) -> bool {
        format!("{} {case}", self.group).contains(self.only)
    }

    /// Measures a kernel and libtorch's ways to do the same: each once a round, beginning one later every round.
    pub fn case(&mut self, name: &str, work: Work, ours: &mut dyn FnMut(), theirs: &mut [Run]) {
        if !self.wants(name) {
            return;
        }
        let on = self.on;
        let (amount, most_amount, unit, matrix) = match work {
            Work::Operations(operations) => (operations, peak::operations(on.level), "GF/s", 0.0),
            Work::Bytes { moved, matrix } => (moved, 2.0 * matrix, "GB/s", matrix),
        };
        let mut copy = peak::Copy::new(matrix);
        let most = || match work {
            Work::Operations(_) => peak::multiply(on),
            Work::Bytes { .. } => copy.run(),
        };
        let mut all: Vec<(f64, Box<dyn FnMut() + '_>)> =
            vec![(most_amount, Box::new(most)), (amount, Box::new(ours))];
        for (_, run) in theirs.iter_mut() {
            all.push((amount, Box::new(run)));
        }
        let mut best = vec![Duration::MAX; all.len()];
        all.iter_mut().for_each(|(_, warm_up)| warm_up());
        let (begun, mut round) = (Instant::now(), 0);
        while round < ROUNDS || begun.elapsed() < AT_LEAST {
            for turn in 0..all.len() {
                let index = (round as usize + turn) % all.len();
                let start = Instant::now();
                all[index].1();
                best[index] = best[index].min(start.elapsed());
            }
            round += 1;
        }
        let figures: Vec<f64> =
            all.iter().zip(&best).map(|((amount, _), best)| amount / best.as_secs_f64() / 1e9).collect();
        drop(all);
        if !std::mem::replace(&mut self.begun, true) {
            let most = if unit == "GF/s" { "peak" } else { "copy" };
            println!("\n| {}, {unit} | ours | {most} | libtorch | ours / libtorch |", self.group);
            println!("| --- | ---: | ---: | --- | ---: |");
        }
        let (theirs, best) = theirs
            .iter()
            .zip(&figures[2..])
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or((String::new(), f64::NAN), |((name, _), figure)| {
                (format!("{figure:.0} ({name})"), *figure)
            });
        let (most, ours) = (figures[0], figures[1]);
        println!("| {name} | {ours:.0} | {most:.0} | {theirs} | {:.2} |", ours / best);
    }
}
