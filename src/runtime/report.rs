//! What `densenet doctor` tells: everything about this process's libtorch that explains why something is slow or missing.

use super::device_library::has_driver;
use super::libtorch::{file_name, libtorch_version, loaded_libraries};
use super::processor::{cpu_capability, cpu_features};
use super::{checkpoint_cache, device, folder, keeps_freed_memory, load_device_libraries, threads};
use super::{CheckpointCache, DeviceLibrary, Threads, LIBTORCH_BUILD_VERSION};
use crate::kernels::Level;
use std::fmt;
use std::path::PathBuf;

/// This process's libtorch, devices and settings. Serializes to one JSON object; `Display` is for people.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Report {
    /// This crate's version.
    pub densenet: &'static str,
    /// The libtorch this crate was compiled against.
    pub libtorch_built_for: &'static str,
    /// The version stated beside the libtorch in use; `None` if nothing there states one.
    pub libtorch: Option<String>,
    /// The folder the libtorch in use was loaded from; `None` where the system does not tell.
    pub libtorch_folder: Option<PathBuf>,
    /// The devices that work, as `--device` takes them.
    pub devices: Vec<String>,
    /// Whether a GPU driver is installed.
    pub driver: bool,
    /// libtorch's GPU half.
    pub device_library: DeviceLibrary,
    /// The CUDA runtime and cuDNN versions that libtorch states, such as `13000` and `92000`; absent without CUDA.
    pub cuda_runtime: Option<i64>,
    /// See `cuda_runtime`.
    pub cudnn: Option<i64>,
    /// Thread counts.
    pub threads: Threads,
    /// Processors this process may use.
    pub processors: usize,
    /// Instruction sets of this processor that matter to libtorch's kernels or ours.
    pub cpu_features: Vec<&'static str>,
    /// The instruction set libtorch's kernels are chosen for: see [`super::cpu_capability`].
    pub cpu_capability: Option<&'static str>,
    /// The instruction set of this crate's own kernels ([`crate::kernels::Level`]): what `Numerics::Fused` and
    /// `Memory::Fused` run on, f32 on the CPU. `portable` is plain Rust, for any processor.
    pub own_kernels: &'static str,
    /// What decodes JPEG files: results differ by a level or two between decoders.
    pub jpeg_decoder: &'static str,
    /// Math libraries libtorch was built with.
    pub built_with: Vec<&'static str>,
    /// Whether freed memory is kept (see [`super::keep_freed_memory`]).
    pub keeps_freed_memory: bool,
    /// Where downloaded checkpoints are kept; `None` without a home.
    pub checkpoint_cache: Option<CheckpointCache>,
    /// The libraries of libtorch and what it stands on, as loaded in this process.
    pub linked: Vec<PathBuf>,
}

impl Report {
    /// Looks at this process; opens the device library first if a driver is there.
    pub fn collect() -> Report {
        let device_library = load_device_libraries().clone();
        let libtorch_folder = folder();
        let has_cuda = matches!(device_library, DeviceLibrary::Loaded { driver: true, .. });
        Report {
            densenet: env!("CARGO_PKG_VERSION"),
            libtorch_built_for: LIBTORCH_BUILD_VERSION,
            libtorch: libtorch_version(),
            libtorch_folder,
            devices: devices(),
            driver: has_driver(),
            device_library,
            cuda_runtime: has_cuda.then(tch::utils::version_cudart),
            cudnn: (has_cuda && tch::Cuda::cudnn_is_available()).then(tch::utils::version_cudnn),
            threads: threads(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_features: cpu_features(),
            cpu_capability: cpu_capability(),
            own_kernels: Level::best().name(),
            jpeg_decoder: crate::transforms::JPEG_DECODER,
            built_with: built_with(),
            keeps_freed_memory: keeps_freed_memory(),
            checkpoint_cache: checkpoint_cache(),
            // Last: the queries above may have loaded more.
            linked: linked(),
        }
    }
}

fn devices() -> Vec<String> {
    let mut devices = vec!["cpu".to_string()];
    devices.extend((0..device::gpu_count()).map(|number| format!("cuda:{number}")));
    if tch::utils::has_mps() {
        devices.push("mps".to_string());
    }
    devices
}

fn built_with() -> Vec<&'static str> {
    use tch::utils::{has_lapack, has_mkl, has_mkldnn, has_openmp};
    let known =
        [("openmp", has_openmp()), ("mkl", has_mkl()), ("onednn", has_mkldnn()), ("lapack", has_lapack())];
    known.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

/// Loaded libraries whose name starts with one of these: two copies of one of them explain many a crash.
const TOLD: [&str; 11] = [
    "libtorch",
    "libc10",
    "libtch",
    "libcu",
    "libnv",
    "libnccl",
    "libamdhip64",
    "libMIOpen",
    "libgomp",
    "libiomp5",
    "libmkl",
];

fn linked() -> Vec<PathBuf> {
    let mut libraries = loaded_libraries();
    libraries.retain(|path| TOLD.iter().any(|start| file_name(path).starts_with(start)));
    libraries
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<15} {value}");
        line("densenet", &self.densenet)?;
        let running = self.libtorch.as_deref().unwrap_or("version not stated");
        line("libtorch", &format_args!("{running} (compiled against {})", self.libtorch_built_for))?;
        let folder = self.libtorch_folder.as_ref().map(|folder| folder.display().to_string());
        line("  folder", &folder.as_deref().unwrap_or("unknown"))?;
        line("  built with", &self.built_with.join(", "))?;
        line("devices", &self.devices.join(", "))?;
        line("  driver", &if self.driver { "found" } else { "none" })?;
        line("  GPU library", &self.device_library)?;
        if let Some(version) = self.cuda_runtime {
            let cudnn = self.cudnn.map_or("none".into(), |version| version.to_string());
            line("  CUDA", &format_args!("runtime {version}, cuDNN {cudnn}"))?;
        }
        let Threads { intra_op, inter_op } = self.threads;
        let processors = self.processors;
        line(
            "threads",
            &format_args!("{intra_op} in an operator, {inter_op} between; {processors} processors"),
        )?;
        line("cpu", &self.cpu_features.join(", "))?;
        let exact = self.cpu_capability.unwrap_or("an unknown instruction set");
        line("  exact", &format_args!("libtorch's kernels, for {exact}"))?;
        match Level::best() == Level::portable() {
            false => line("  fused", &format_args!("our own for f32 on the CPU, for {}", self.own_kernels))?,
            true => line("  fused", &"refused: our own kernels are for AVX2 and AVX-512 (auto: exact)")?,
        }
        line("jpeg decoder", &self.jpeg_decoder)?;
        let memory =
            if self.keeps_freed_memory { "kept for reuse" } else { "left to the allocator's defaults" };
        line("freed memory", &memory)?;
        match &self.checkpoint_cache {
            Some(CheckpointCache { path, exists, writable }) => {
                let exists = if *exists { "exists" } else { "made when needed" };
                let writable = if *writable { "writable" } else { "NOT writable" };
                line("checkpoints", &format_args!("{} ({exists}, {writable})", path.display()))?;
            }
            None => line("checkpoints", &"no home folder: set TORCH_HOME")?,
        }
        for (index, path) in self.linked.iter().enumerate() {
            line(if index == 0 { "linked" } else { "" }, &path.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_report_names_the_libtorch_in_use_and_reads_the_same_as_text_and_json() {
        let report = Report::collect();
        let folder = report.libtorch_folder.clone().expect("libtorch is loaded");
        assert!(report.linked.contains(&folder.join("libtorch_cpu.so")), "{:?}", report.linked);
        assert_eq!(report.devices[0], "cpu");

        let json: Value = serde_json::to_value(&report).unwrap();
        let text = report.to_string();
        let folder = folder.to_str().unwrap();
        assert_eq!(json["libtorch_folder"], folder);
        assert_eq!(json["libtorch_built_for"], LIBTORCH_BUILD_VERSION);
        assert!(json["device_library"]["state"].is_string(), "{json}");
        assert_eq!(json["threads"]["intra_op"], tch::get_num_threads());
        for part in [folder, LIBTORCH_BUILD_VERSION, &report.device_library.to_string()] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
