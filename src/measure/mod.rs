//! Measuring this machine: a training step's time and memory.
//!
//! May use everything but the command line. What is measured is what a user's process would do: the network's own
//! methods, tch's optimizer, whatever allocator settings and threads the process has. A peer measured the same way from
//! Python is `benches/training_peer.py`; `cargo bench --bench training` runs both in turn.

mod error;
pub mod memory;
pub mod train;

pub use error::{MeasureError, Result};
