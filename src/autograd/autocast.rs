//! Automatic mixed precision on the CPU, which tch binds for CUDA alone.

use super::error::{AutogradError, Result};
use super::ffi::{self, Autocast, Fault};
use tch::Kind;

/// Runs `body` with operations that gain from it in `kind` (`BFloat16`, or `Half` where the CPU has it), on this thread.
/// torch: `torch.autocast("cpu", dtype)`.
///
/// # Errors
/// [`AutogradError::Torch`] for a type that is neither.
pub fn with_cpu_autocast<T>(kind: Kind, body: impl FnOnce() -> T) -> Result<T> {
    // c10::ScalarType's numbers, which tch keeps to itself.
    let dtype = match kind {
        Kind::Half => 5,
        Kind::BFloat16 => 15,
        _ => {
            let message = format!("autocast on the CPU takes BFloat16 or Half, not {kind:?}");
            return Err(AutogradError::Torch { message });
        }
    };
    let _region = Region::enter(Autocast { enabled: true, dtype })?;
    Ok(body())
}

/// Whether autocast is on for the CPU, on this thread.
///
/// # Errors
/// libtorch's own.
pub fn cpu_autocast_enabled() -> Result<bool> {
    Ok(current()?.enabled)
}

fn current() -> Result<Autocast> {
    let mut now = Autocast { enabled: false, dtype: 0 };
    // SAFETY: writes `now`.
    ffi::call(|failure| unsafe { ffi::dn_autocast_get(&mut now, failure) }).map_err(Fault::plain)?;
    Ok(now)
}

/// Puts back what was there before, also when `body` panics.
struct Region {
    before: Autocast,
}

impl Region {
    fn enter(wanted: Autocast) -> Result<Region> {
        let before = current()?;
        // SAFETY: raises a thread-local count.
        ffi::call(|failure| unsafe { ffi::dn_autocast_enter(failure) }).map_err(Fault::plain)?;
        let region = Region { before };
        // SAFETY: sets thread-local values.
        ffi::call(|failure| unsafe { ffi::dn_autocast_set(wanted, failure) }).map_err(Fault::plain)?;
        Ok(region)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: both set thread-local values, to what they were; neither can fail once entering did not.
        let _ = ffi::call(|failure| unsafe { ffi::dn_autocast_leave(failure) });
        // SAFETY: as above.
        let _ = ffi::call(|failure| unsafe { ffi::dn_autocast_set(self.before, failure) });
    }
}
