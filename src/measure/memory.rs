//! A process's resident memory, from Linux's `/proc`.

use super::{MeasureError, Result};
use std::fs;

const STATUS: &str = "/proc/self/status";
const CLEAR_REFS: &str = "/proc/self/clear_refs";

/// Resident memory now, in bytes.
///
/// # Errors
/// [`MeasureError::Memory`] on anything but Linux.
pub fn resident() -> Result<u64> {
    field("VmRSS:")
}

/// The highest resident memory so far, or since [`forget_peak`], in bytes.
///
/// # Errors
/// [`MeasureError::Memory`] on anything but Linux.
pub fn peak_resident() -> Result<u64> {
    field("VmHWM:")
}

/// Starts [`peak_resident`] anew from what is resident now.
///
/// # Errors
/// [`MeasureError::Memory`] where the system does not allow it.
pub fn forget_peak() -> Result<()> {
    // "To reset the peak resident set size … to the process's current value, 5" (proc(5)).
    fs::write(CLEAR_REFS, "5")
        .map_err(|error| MeasureError::Memory { from: CLEAR_REFS, reason: error.to_string() })
}

fn field(name: &str) -> Result<u64> {
    let problem = |reason: String| MeasureError::Memory { from: STATUS, reason };
    let status = fs::read_to_string(STATUS).map_err(|error| problem(error.to_string()))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| problem(format!("no {name}")))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_touched_buffer_is_seen_and_its_peak_can_be_forgotten() {
        const SIZE: usize = 64 << 20;
        let before = resident().unwrap();
        let buffer = std::hint::black_box(vec![1u8; SIZE]);
        // Half of it: other tests of this process free memory meanwhile.
        assert!(resident().unwrap() > before + SIZE as u64 / 2);
        assert!(peak_resident().unwrap() > before + SIZE as u64 / 2);
        drop(buffer);
        forget_peak().unwrap();
        assert!(peak_resident().unwrap() < before + SIZE as u64 / 2);
    }
}
