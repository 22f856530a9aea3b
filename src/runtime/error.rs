//! What can go wrong in `runtime`: a device that was asked for and cannot be had. Each says what to do.

use std::path::PathBuf;

/// Errors of [`crate::runtime`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A device specification that is none.
    #[error("no device is called {spec:?}: use auto, cpu, cuda, cuda:N (N from 0) or mps")]
    UnknownDevice {
        /// The text as given.
        spec: String,
    },
    /// A GPU was asked for on a machine without a GPU driver.
    #[error("{asked} was asked for, but this machine has no GPU driver ({driver} cannot be opened): install the driver, or use --device cpu")]
    NoDriver {
        /// The device asked for.
        asked: String,
        /// The driver's library or device file.
        driver: &'static str,
    },
    /// A GPU was asked for and this libtorch is a CPU build.
    #[error("{asked} was asked for, but libtorch in {folder} is built without CUDA: build against a libtorch that has it (LIBTORCH, or a CUDA build of the Python package), or use --device cpu")]
    NoDeviceLibrary {
        /// The device asked for.
        asked: String,
        /// libtorch's folder, or what is known of it.
        folder: String,
    },
    /// The device library is there and was not opened.
    #[error("{asked} was asked for, but {path} is present and not loaded: {reason}")]
    DeviceLibraryNotLoaded {
        /// The device asked for.
        asked: String,
        /// The library.
        path: PathBuf,
        /// The loader's words, or the setting that forbids it.
        reason: String,
    },
    /// Driver and device library work, but there are fewer GPUs.
    #[error("{asked} was asked for, but libtorch sees {count} GPU(s), numbered from 0: use a smaller number, or check CUDA_VISIBLE_DEVICES and nvidia-smi")]
    NoSuchGpu {
        /// The device asked for.
        asked: String,
        /// The GPUs there are.
        count: usize,
    },
    /// Apple's GPU was asked for and this libtorch or machine has none.
    #[error("mps was asked for, but this libtorch has no MPS (Apple's Metal) support: use --device cpu")]
    NoMps,
    /// A thread count of 0, or one larger than libtorch can hold.
    #[error("{threads} threads were asked for: libtorch takes 1 to {}", i32::MAX)]
    ThreadCount {
        /// The number as given.
        threads: usize,
    },
}

/// `Result` with [`RuntimeError`].
pub type Result<T> = std::result::Result<T, RuntimeError>;
