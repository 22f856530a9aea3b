//! Counts the bytes of tensors.

use super::error::Result;
use super::ffi::{self, Fault};
use std::ffi::c_void;
use std::ptr;

/// CPU memory that libtorch's allocator gave out on this thread since [`count_cpu_memory`] began, less what came back.
///
/// Exact: every block is counted with the size asked for, and what was allocated before is not counted when it is freed.
/// A pass on the CPU allocates and frees its tensors on the thread that runs it.
#[derive(Debug)]
pub struct MemoryCount {
    counter: *const c_void,
}

impl MemoryCount {
    /// Bytes that are allocated now.
    pub fn live(&self) -> i64 {
        // SAFETY: `counter` is a counter of the shim's that lives until `count_cpu_memory` returns, which hands out
        // references that end before.
        unsafe { ffi::dn_memory_live(self.counter) }
    }

    /// The highest that [`live`](Self::live) has been since the count began or was last
    /// [restarted](Self::restart_peak).
    pub fn peak(&self) -> i64 {
        // SAFETY: as in `live`.
        unsafe { ffi::dn_memory_peak(self.counter) }
    }

    /// Starts the peak again from what is live.
    pub fn restart_peak(&self) {
        // SAFETY: as in `live`; the counter is only used on this thread (`MemoryCount` is not Send).
        unsafe { ffi::dn_memory_restart_peak(self.counter.cast_mut()) }
    }
}

/// Runs `body` while counting the CPU memory of the tensors it makes on this thread.
///
/// Counts inside counts work. Freeing a tensor from before makes libtorch say once, on stderr, that it does not know how
/// large it was.
///
/// # Errors
/// libtorch's own.
///
/// ```
/// use densenet::autograd::count_cpu_memory;
/// use densenet::tch::{Device, Kind, Tensor};
///
/// let (live, peak) = count_cpu_memory(|memory| {
///     let kept = Tensor::zeros([100], (Kind::Float, Device::Cpu));
///     drop(Tensor::zeros([50], (Kind::Float, Device::Cpu)));
///     let counted = (memory.live(), memory.peak());
///     drop(kept);
///     counted
/// })?;
/// assert_eq!((live, peak), (400, 600));
/// # Ok::<(), densenet::autograd::AutogradError>(())
/// ```
pub fn count_cpu_memory<T>(body: impl FnOnce(&MemoryCount) -> T) -> Result<T> {
    struct Guard(*mut c_void);
    impl Drop for Guard {
        fn drop(&mut self) {
            // SAFETY: what dn_memory_start gave, given back once, on the same thread, innermost first.
            unsafe { ffi::dn_memory_stop(self.0) }
        }
    }
    let (mut guard, mut counter) = (ptr::null_mut(), ptr::null());
    // SAFETY: writes the two pointers.
    ffi::call(|failure| unsafe { ffi::dn_memory_start(&mut guard, &mut counter, failure) })
        .map_err(Fault::plain)?;
    let _guard = Guard(guard);
    Ok(body(&MemoryCount { counter }))
}
