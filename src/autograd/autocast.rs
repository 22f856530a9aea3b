//! Automatic mixed precision, which tch binds for CUDA's default type alone.

use super::error::{AutogradError, Result};
use super::ffi::{self, Autocast, Fault};
use super::updates;
use tch::{Device, Kind};

/// [`with_autocast`] on the CPU.
///
/// # Errors
/// As there.
pub fn with_cpu_autocast<T>(kind: Kind, body: impl FnOnce() -> T) -> Result<T> {
    with_autocast(Device::Cpu, kind, body)
}

/// Runs `body` with operations on `device` that gain from it in `kind`: `BFloat16`, or `Half` where the device has it.
/// Counts for this thread. torch: `torch.autocast(device, dtype)`.
///
/// # Errors
/// [`AutogradError::Torch`] for a type that is neither.
pub fn with_autocast<T>(device: Device, kind: Kind, body: impl FnOnce() -> T) -> Result<T> {
    // c10::ScalarType's numbers, which tch keeps to itself.
    let dtype = match kind {
        Kind::Half => 5,
        Kind::BFloat16 => 15,
        _ => {
            let message = format!("autocast takes BFloat16 or Half, not {kind:?}");
            return Err(AutogradError::Torch { message });
        }
    };
    let _region = Region::enter(updates::numbers(device).0, Autocast { enabled: true, dtype })?;
    Ok(body())
}

/// Whether autocast is on for the CPU, on this thread.
///
/// # Errors
/// libtorch's own.
pub fn cpu_autocast_enabled() -> Result<bool> {
    Ok(current(updates::numbers(Device::Cpu).0)?.enabled)
}

/// `device` is a c10::DeviceType.
fn current(device: i8) -> Result<Autocast> {
    let mut now = Autocast { enabled: false, dtype: 0 };
    // SAFETY: writes `now`.
    ffi::call(|failure| unsafe { ffi::dn_autocast_get(device, &mut now, failure) }).map_err(Fault::plain)?;
    Ok(now)
}

/// Puts back what was there before, also when `body` panics.
struct Region {
    device: i8,
    before: Autocast,
}

impl Region {
    fn enter(device: i8, wanted: Autocast) -> Result<Region> {
        let before = current(device)?;
        // SAFETY: raises a thread-local count.
        ffi::call(|failure| unsafe { ffi::dn_autocast_enter(failure) }).map_err(Fault::plain)?;
        let region = Region { device, before };
        // SAFETY: sets thread-local values.
        ffi::call(|failure| unsafe { ffi::dn_autocast_set(device, wanted, failure) })
            .map_err(Fault::plain)?;
        Ok(region)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: both set thread-local values, to what they were; neither can fail once entering did not.
        let _ = ffi::call(|failure| unsafe { ffi::dn_autocast_leave(failure) });
        // SAFETY: as above.
        let _ = ffi::call(|failure| unsafe { ffi::dn_autocast_set(self.device, self.before, failure) });
    }
}
