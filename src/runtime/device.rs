//! `auto|cpu|cuda[:N]|mps` to a device that works, or an error that says why not. Nothing falls back silently.

use super::device_library::DRIVER;
use super::{load_device_libraries, DeviceLibrary, Result, RuntimeError};
use std::fmt;
use std::str::FromStr;
use tch::{Cuda, Device};

/// A device as a person names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceSpec {
    /// The first GPU if there is one that works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of that number, from 0, as CUDA (or ROCm) numbers them.
    Cuda(usize),
    /// Apple's GPU.
    Mps,
}

impl FromStr for DeviceSpec {
    type Err = RuntimeError;

    fn from_str(spec: &str) -> Result<Self> {
        match spec {
            "auto" => Ok(DeviceSpec::Auto),
            "cpu" => Ok(DeviceSpec::Cpu),
            "cuda" => Ok(DeviceSpec::Cuda(0)),
            "mps" => Ok(DeviceSpec::Mps),
            _ => spec
                .strip_prefix("cuda:")
                // `parse` would take a leading plus.
                .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|number| number.parse().ok())
                .map(DeviceSpec::Cuda)
                .ok_or_else(|| RuntimeError::UnknownDevice { spec: spec.to_string() }),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::Auto => f.write_str("auto"),
            DeviceSpec::Cpu => f.write_str("cpu"),
            DeviceSpec::Cuda(number) => write!(f, "cuda:{number}"),
            DeviceSpec::Mps => f.write_str("mps"),
        }
    }
}

/// The device that `spec` names, checked to be there. Opens libtorch's device library first where it is needed.
///
/// # Errors
/// For [`DeviceSpec::Cuda`]: [`RuntimeError::NoDeviceLibrary`] if libtorch is a CPU build, [`RuntimeError::NoDriver`],
/// [`RuntimeError::DeviceLibraryNotLoaded`], [`RuntimeError::NoSuchGpu`]. For [`DeviceSpec::Mps`]:
/// [`RuntimeError::NoMps`]. [`DeviceSpec::Auto`] and [`DeviceSpec::Cpu`] never fail.
pub fn device(spec: DeviceSpec) -> Result<Device> {
    match spec {
        DeviceSpec::Cpu => Ok(Device::Cpu),
        DeviceSpec::Auto if gpu_count() > 0 => Ok(Device::Cuda(0)),
        DeviceSpec::Auto if tch::utils::has_mps() => Ok(Device::Mps),
        DeviceSpec::Auto => Ok(Device::Cpu),
        DeviceSpec::Cuda(number) => gpu(spec, number, load_device_libraries(), gpu_count()),
        DeviceSpec::Mps if tch::utils::has_mps() => Ok(Device::Mps),
        DeviceSpec::Mps => Err(RuntimeError::NoMps),
    }
}

/// GPUs that libtorch can use, its device library opened first.
pub(super) fn gpu_count() -> usize {
    match load_device_libraries() {
        DeviceLibrary::Loaded { driver: true, .. } => usize::try_from(Cuda::device_count()).unwrap_or(0),
        _ => 0,
    }
}

fn gpu(spec: DeviceSpec, number: usize, library: &DeviceLibrary, count: usize) -> Result<Device> {
    let asked = spec.to_string();
    match library {
        DeviceLibrary::Loaded { driver: true, .. } if number < count => Ok(Device::Cuda(number)),
        DeviceLibrary::Loaded { driver: true, .. } => Err(RuntimeError::NoSuchGpu { asked, count }),
        DeviceLibrary::Loaded { driver: false, .. } | DeviceLibrary::NoDriver { .. } => {
            Err(RuntimeError::NoDriver { asked, driver: DRIVER })
        }
        DeviceLibrary::NoDeviceLibrary { folder } => {
            let folder =
                folder.as_ref().map_or("an unknown folder".into(), |folder| folder.display().to_string());
            Err(RuntimeError::NoDeviceLibrary { asked, folder })
        }
        DeviceLibrary::Failed { path, reason } => {
            Err(RuntimeError::DeviceLibraryNotLoaded { asked, path: path.clone(), reason: reason.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_read_back_as_they_are_written() {
        for spec in
            [DeviceSpec::Auto, DeviceSpec::Cpu, DeviceSpec::Cuda(0), DeviceSpec::Cuda(17), DeviceSpec::Mps]
        {
            assert_eq!(spec.to_string().parse::<DeviceSpec>().unwrap(), spec);
        }
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
    }

    #[test]
    fn a_word_that_is_no_device_is_refused_with_the_ones_that_are() {
        for wrong in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:+1", "cuda:1x", "cuda:99999999999999999999"]
        {
            let error = wrong.parse::<DeviceSpec>().unwrap_err();
            assert!(
                matches!(&error, RuntimeError::UnknownDevice { spec } if spec == wrong),
                "{wrong}: {error:?}"
            );
            assert!(error.to_string().contains("auto, cpu, cuda"), "{error}");
        }
    }

    #[test]
    fn each_reason_for_no_gpu_is_its_own_error_and_says_what_to_do() {
        let asked = |library: &DeviceLibrary, count| gpu(DeviceSpec::Cuda(2), 2, library, count);
        let loaded = |driver| DeviceLibrary::Loaded { path: "lib/libtorch_cuda.so".into(), driver };
        assert_eq!(asked(&loaded(true), 3).unwrap(), Device::Cuda(2));

        let failed =
            DeviceLibrary::Failed { path: "lib/libtorch_cuda.so".into(), reason: "no libcublas".into() };
        let cases = [
            (asked(&loaded(true), 2), "sees 2 GPU(s)", "CUDA_VISIBLE_DEVICES"),
            (asked(&loaded(false), 0), "no GPU driver", "install the driver"),
            (asked(&DeviceLibrary::NoDriver { path: "x".into() }, 0), "no GPU driver", "--device cpu"),
            (asked(&DeviceLibrary::NoDeviceLibrary { folder: None }, 0), "without CUDA", "LIBTORCH"),
            (asked(&failed, 0), "present and not loaded", "no libcublas"),
        ];
        for (result, why, what_to_do) in cases {
            let error = result.unwrap_err().to_string();
            for part in ["cuda:2 was asked for", why, what_to_do] {
                assert!(error.contains(part), "{part:?} is not in {error:?}");
            }
        }
    }

    #[test]
    fn auto_and_cpu_always_give_a_device() {
        assert_eq!(device(DeviceSpec::Cpu).unwrap(), Device::Cpu);
        device(DeviceSpec::Auto).unwrap();
    }
}
