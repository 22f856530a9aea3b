//! libtorch's own threads for Rust code.

use super::error::{AutogradError, Result};
use super::ffi;
use crate::kernels::threads::Threads;
use std::any::Any;
use std::ffi::c_void;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

/// Threads that [`parallel_for`] uses at once, at least 1: libtorch's count, or 1 inside one of its parallel regions.
pub fn num_threads() -> usize {
    // SAFETY: reads libtorch's settings.
    unsafe { ffi::dn_num_threads() }.max(1)
}

/// Calls `body` once for each of `0..tasks` on libtorch's threads (`at::parallel_for`), handing out one index at a time,
/// and returns when all have returned. Up to [`num_threads`] tasks run each on a thread of its own.
///
/// Operations on tensors inside `body` work, on one thread each.
///
/// # Errors
/// [`AutogradError::TaskPanicked`] if a task did; the others may have run or not.
pub fn parallel_for(tasks: usize, body: &(dyn Fn(usize) + Sync)) -> Result<()> {
    match run(tasks, body)? {
        None => Ok(()),
        Some((task, payload)) => {
            let message = ffi::panic_words(payload.as_ref());
            Err(AutogradError::TaskPanicked { task, message })
        }
    }
}

/// libtorch's threads for [`crate::kernels`].
#[derive(Debug, Clone, Copy)]
pub struct LibtorchThreads;

impl Threads for LibtorchThreads {
    fn count(&self) -> usize {
        num_threads()
    }

    /// A task's panic goes on here.
    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        match run(tasks, body) {
            Ok(None) => (),
            Ok(Some((_, payload))) => resume_unwind(payload),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The first panic, and whose it was.
type Panicked = (usize, Box<dyn Any + Send>);

struct Work<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    /// The first index that no thread has; each starts with its own number.
    next: AtomicUsize,
    panicked: Mutex<Option<Panicked>>,
}

fn run(tasks: usize, body: &(dyn Fn(usize) + Sync)) -> Result<Option<Panicked>> {
    let threads = num_threads().min(tasks);
    let work = Work { body, tasks, next: AtomicUsize::new(threads), panicked: Mutex::new(None) };
    // SAFETY: the shim calls `thread` with a pointer to `work`, which outlives the call, from threads that all return
    // before the call does; `Work` is Sync.
    ffi::call(|failure| unsafe {
        ffi::dn_parallel(threads, thread, (&raw const work).cast_mut().cast(), failure)
    })
    .map_err(ffi::Fault::plain)?;
    Ok(work.panicked.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// What each thread does.
unsafe extern "C" fn thread(work: *mut c_void, number: usize) {
    // SAFETY: `run` passes a `Work` that outlives this call, shared between threads, never written but through its own
    // atomics and mutex.
    let work = unsafe { &*work.cast::<Work<'_>>() };
    let mut task = number;
    while task < work.tasks {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (work.body)(task))) {
            let mut first = work.panicked.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match *first {
                None => *first = Some((task, payload)),
                Some(_) => ffi::dropped(payload),
            }
        }
        task = work.next.fetch_add(1, Ordering::Relaxed);
    }
}
