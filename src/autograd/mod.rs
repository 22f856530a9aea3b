//! Custom autograd functions for tch, and the few of libtorch's operations that tch lacks.
//!
//! A [`Function`] has a forward and a backward in Rust; [`apply`] makes it a node of libtorch's own graph. Saved tensors
//! are checked for changes, outputs among them make no cycle, and an error or a panic of either pass comes back from
//! [`apply`], [`backward`] or [`grad`] as an [`AutogradError`]: nothing unwinds through C++. The C++ behind it (`shim/`) is
//! compiled by build.rs against the libtorch in use, on unmodified tch and torch-sys.
//!
//! May use `tch`, `torch-sys` and the trait [`Threads`](crate::kernels::threads::Threads). One invariant: only `ffi`, `updates`
//! and the functions right above them know of pointers; a reference that crosses to C++ ends before the call returns, or is
//! owned by a node of the graph and freed with it. Source: `torch.autograd.Function`, `torch::autograd::CppNode`.
#![allow(unsafe_code, reason = "the boundary to C++")]

mod autocast;
mod context;
mod engine;
mod error;
mod ffi;
mod function;
mod gradcheck;
mod memory;
mod ops;
mod recompute;
mod slices;
mod threads;
pub mod updates;

pub use autocast::{cpu_autocast_enabled, with_autocast, with_cpu_autocast};
pub(crate) use context::grad_enabled;
pub use context::Context;
pub use engine::{backward, grad, run_backward, Options};
pub use error::{AutogradError, BoxError, Pass, Result};
pub use function::{apply, Function};
pub use gradcheck::{gradcheck, Tolerance};
pub use memory::{count_cpu_memory, MemoryCount};
pub use ops::{convolution_backward, native_batch_norm_backward, BatchNorm, Convolution};
pub(crate) use recompute::{batch_statistics, make_again, version, Kept, Snapshot};
pub(crate) use slices::{f32_slice, Buffer};
pub use threads::{num_threads, parallel_for, LibtorchThreads};
