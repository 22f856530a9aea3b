//! What a kernel runs on.

use super::{Level, Threads};

/// An instruction set and threads.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The instruction set.
    pub level: Level,
    /// The threads. Results depend on their number, by the order of sums, and on nothing else about them.
    pub threads: &'a dyn Threads,
}
