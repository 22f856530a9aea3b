//! Opens `libtorch_cuda` (or `libtorch_hip`) at run time.
//!
//! libtorch's CUDA half registers itself with the CPU half when it is loaded, and nothing refers to a symbol in it, so a
//! linker that drops unneeded libraries drops it and CUDA reads as unavailable. Link arguments could keep it, but a
//! build script's reach its own package only, never a dependent's binary. Opening it here reaches both. It costs a few
//! tenths of a second, so it is done only where a GPU driver is there to use it.

#![allow(unsafe_code, reason = "opening a shared library runs its initializers")]

use super::libtorch::{file_name, folder, loaded_libraries};
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The environment variable that decides whether a device library is opened: `auto` (the default) where a driver is
/// there, `1` always, `0` never. Read once, at the first device query.
pub const LOAD_CUDA: &str = "DENSENET_LOAD_CUDA";

/// libtorch's GPU half in this process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceLibrary {
    /// libtorch has a GPU half, and this machine no driver for it: left alone.
    NoDriver {
        /// The library that was not opened.
        path: PathBuf,
    },
    /// This libtorch is a CPU build.
    NoDeviceLibrary {
        /// Where it was looked for; `None` if libtorch's folder is unknown.
        folder: Option<PathBuf>,
    },
    /// In the process, opened here or already linked.
    Loaded {
        /// The library.
        path: PathBuf,
        /// Whether a driver is there too; without one there are no GPUs.
        driver: bool,
    },
    /// Present, and not in the process.
    Failed {
        /// The library.
        path: PathBuf,
        /// The loader's words, or the setting that forbids it.
        reason: String,
    },
}

impl fmt::Display for DeviceLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceLibrary::NoDriver { path } => {
                write!(f, "no driver ({DRIVER} cannot be opened), so {} was left alone", file_name(path))
            }
            DeviceLibrary::NoDeviceLibrary { folder: Some(folder) } => {
                write!(f, "libtorch without CUDA (no libtorch_cuda or libtorch_hip in {})", folder.display())
            }
            DeviceLibrary::NoDeviceLibrary { folder: None } => f.write_str("libtorch without CUDA"),
            DeviceLibrary::Loaded { path, driver: true } => write!(f, "loaded ({})", path.display()),
            DeviceLibrary::Loaded { path, driver: false } => {
                write!(f, "loaded ({}), but there is no driver ({DRIVER} cannot be opened)", path.display())
            }
            DeviceLibrary::Failed { path, reason } => {
                write!(f, "present but not loaded ({}): {reason}", path.display())
            }
        }
    }
}

/// The driver's library for the GPUs this file knows.
pub(super) const DRIVER: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// The device libraries of libtorch builds, and what shows that their driver is installed.
const KINDS: [(&str, Driver); 2] = if cfg!(windows) {
    [("torch_cuda.dll", Driver::Library(DRIVER)), ("torch_hip.dll", Driver::Library("amdhip64.dll"))]
} else {
    [("libtorch_cuda.so", Driver::Library(DRIVER)), ("libtorch_hip.so", Driver::File("/dev/kfd"))]
};

#[derive(Clone, Copy)]
enum Driver {
    Library(&'static str),
    File(&'static str),
}

impl Driver {
    fn is_there(self) -> bool {
        match self {
            Driver::Library(name) => open(Path::new(name)).is_ok(),
            Driver::File(path) => Path::new(path).exists(),
        }
    }
}

/// Opens libtorch's device library if there is one and a driver for it; the first call decides for the process.
///
/// [`device`](super::device()) calls this. Call it yourself before a device query made through `tch` directly, such as
/// `tch::Cuda::is_available()`: libtorch remembers the first answer.
pub fn load_device_libraries() -> &'static DeviceLibrary {
    static LIBRARY: OnceLock<DeviceLibrary> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let wish = std::env::var(LOAD_CUDA).ok();
        load(&loaded_libraries(), folder(), wish.as_deref())
    })
}

fn load(linked: &[PathBuf], folder: Option<PathBuf>, wish: Option<&str>) -> DeviceLibrary {
    for (name, driver) in KINDS {
        if let Some(path) = linked.iter().find(|path| file_name(path) == name) {
            return DeviceLibrary::Loaded { path: path.clone(), driver: driver.is_there() };
        }
    }
    let present = KINDS.iter().find_map(|&(name, driver)| {
        let path = folder.as_ref()?.join(name);
        path.exists().then_some((path, driver))
    });
    let Some((path, driver)) = present else { return DeviceLibrary::NoDeviceLibrary { folder } };
    match wish {
        None | Some("" | "auto") if !driver.is_there() => DeviceLibrary::NoDriver { path },
        None | Some("" | "auto" | "1") => match open(&path) {
            Ok(()) => DeviceLibrary::Loaded { path, driver: driver.is_there() },
            Err(error) => DeviceLibrary::Failed { path, reason: in_words(&error) },
        },
        Some("0") => DeviceLibrary::Failed { path, reason: format!("{LOAD_CUDA}=0 says so") },
        Some(other) => {
            DeviceLibrary::Failed { path, reason: format!("{LOAD_CUDA} is {other:?}; it takes auto, 0 or 1") }
        }
    }
}

/// Whether the driver of a GPU that libtorch knows is installed, whatever libtorch this is.
pub(super) fn has_driver() -> bool {
    KINDS.iter().any(|(_, driver)| driver.is_there())
}

/// Opens a library for the rest of the process.
fn open(path: &Path) -> Result<(), libloading::Error> {
    // SAFETY: opening runs the library's initializers. `path` is either the driver's library by its bare name, found by
    // the system's own search path, which libtorch's CUDA runtime opens the same way; or a file in the very folder that
    // this process's libtorch_cpu was loaded from, so it comes from whoever supplied the code already running. Its
    // initializers register operators and touch no Rust state. The handle is never closed, so no pointer into the
    // library can dangle, and no symbol is read from it here.
    #[cfg(unix)]
    let library = unsafe {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // NOW: a symbol that is missing is an error here, not an abort later. GLOBAL: as if the linker had kept it.
        Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL)
    };
    // SAFETY: as above.
    #[cfg(windows)]
    let library = unsafe { libloading::os::windows::Library::new(path) };
    std::mem::forget(library?);
    Ok(())
}

/// libloading's own text stops at "dlopen failed"; what is missing stands in its source.
fn in_words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |loader| loader.to_string())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_device_library_that_was_linked_counts_as_loaded_whatever_the_setting() {
        let path = PathBuf::from("/opt/libtorch/lib/libtorch_cuda.so");
        let driver = Driver::Library(DRIVER).is_there();
        let want = DeviceLibrary::Loaded { path: path.clone(), driver };
        assert_eq!(load(&[path], None, Some("0")), want);
    }

    #[test]
    fn a_libtorch_without_a_device_library_is_told_from_one_that_does_not_load() {
        let lib = tempfile::tempdir().unwrap();
        let folder = Some(lib.path().to_path_buf());
        let none = DeviceLibrary::NoDeviceLibrary { folder: folder.clone() };
        assert_eq!(load(&[], folder.clone(), Some("1")), none);
        assert_eq!(load(&[], None, Some("1")), DeviceLibrary::NoDeviceLibrary { folder: None });

        let path = lib.path().join("libtorch_cuda.so");
        fs::write(&path, "not a library").unwrap();
        let DeviceLibrary::Failed { path: failed, reason } = load(&[], folder.clone(), Some("1")) else {
            panic!("a text file loaded as a library");
        };
        assert_eq!(failed, path);
        assert!(reason.contains("libtorch_cuda.so"), "the loader's words name the file: {reason}");

        for (wish, word) in [("0", "DENSENET_LOAD_CUDA=0"), ("yes", "auto, 0 or 1")] {
            let state = load(&[], folder.clone(), Some(wish)).to_string();
            assert!(state.contains("present but not loaded") && state.contains(word), "{state}");
        }
        if !Driver::Library(DRIVER).is_there() {
            assert_eq!(load(&[], folder, None), DeviceLibrary::NoDriver { path });
        }
    }
}
