//! Measuring this machine: a forward pass's time, a training step's time and memory, the processor's peak.
//!
//! May use everything but the command line. What is measured is what a user's process would do: the network's own
//! methods, tch's optimizer, [`crate::Predictor`], whatever allocator settings and threads the process has. Peers measured
//! the same way from Python are `benches/training_peer.py` and `benches/peer_inference.py`; `cargo bench --bench training`
//! and `--bench inference` run them in turn with ours.

mod error;
pub mod infer;
pub mod memory;
pub mod peak;
pub mod train;
pub mod work;

pub use error::{MeasureError, Result};

/// The middle one of ascending figures, or the mean of the middle two; NaN of none.
fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

fn at_least_one(what: &'static str, value: i64) -> Result<()> {
    if value < 1 {
        return Err(MeasureError::Nothing { what, value });
    }
    Ok(())
}
