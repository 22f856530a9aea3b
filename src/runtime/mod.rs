//! libtorch at run time: its device libraries, devices, threads and memory, and a report on all of them.
//!
//! May use `tch` and the operating system; knows nothing of networks or files (its report names the JPEG decoder and our kernels' instruction set). One invariant: a device library is
//! opened before the first device query, so "CUDA is not available" is never said only because the linker dropped
//! `libtorch_cuda` (it does: nothing of ours refers to a symbol in it). `unsafe` is allowed in
//! [`device_library`](load_device_libraries) and [`allocator`](keep_freed_memory) alone.
//!
//! ```
//! use densenet::runtime::{device, DeviceSpec};
//!
//! let spec: DeviceSpec = "cpu".parse()?;
//! assert_eq!(device(spec)?, densenet::tch::Device::Cpu);
//! # Ok::<(), densenet::runtime::RuntimeError>(())
//! ```

mod allocator;
mod cache;
mod device;
mod device_library;
mod error;
mod libtorch;
mod processor;
mod report;
mod threads;

pub use allocator::{keep_freed_memory, keeps_freed_memory};
pub use cache::{checkpoint_cache, checkpoint_cache_folder, CheckpointCache};
pub use device::{device, DeviceSpec};
pub use device_library::{load_device_libraries, DeviceLibrary, LOAD_CUDA};
pub use error::{Result, RuntimeError};
pub use libtorch::{folder, libtorch_version, LIBTORCH_BUILD_VERSION};
pub use processor::cpu_capability;
pub use report::Report;
pub use threads::{set_threads, threads, Threads};
