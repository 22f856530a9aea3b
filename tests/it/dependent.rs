//! A crate of somebody else's, outside the repository, that does nothing but depend on this one.
//!
//! It is compiled into our own target folder with our profile, so that tch, which takes minutes, is not compiled again.

use crate::support::scratch;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Prints what a device gives and which of libtorch's libraries are loaded, one a line; or, for `memory`, the page faults
/// of the same work before and after `keep_freed_memory`.
const MAIN: &str = r##"
use densenet::runtime::{device, load_device_libraries, DeviceSpec};
use densenet::tch::{Kind, Tensor};

fn main() {
    let asked = std::env::args().nth(1).expect("a device");
    if asked == "memory" {
        let before = faults_of_work();
        let kept = densenet::runtime::keep_freed_memory();
        faults_of_work();
        return println!("{kept} {before} {}", faults_of_work());
    }
    let spec: DeviceSpec = asked.parse().expect("a device");
    match device(spec) {
        Ok(device) => println!("sum {}", Tensor::ones([3], (Kind::Float, device)).sum(Kind::Float).double_value(&[])),
        Err(error) => println!("error {error}"),
    }
    if spec != DeviceSpec::Cpu {
        println!("library {}", load_device_libraries());
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    for name in ["libtorch_cpu.so", "libtorch_cuda.so"] {
        if let Some(line) = maps.lines().find(|line| line.ends_with(name)) {
            println!("loaded {}", &line[line.find('/').expect("a path")..]);
        }
    }
}

fn faults_of_work() -> u64 {
    let faults = || {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
        let after_name = stat.rsplit(')').next().expect("a name");
        after_name.split_whitespace().nth(7).expect("minflt").parse::<u64>().expect("a number")
    };
    let start = faults();
    for _ in 0..20 {
        std::hint::black_box(vec![1u8; 48 << 20]);
    }
    faults() - start
}
"##;

struct Dependent {
    folder: PathBuf,
    name: &'static str,
}

impl Dependent {
    /// The crate as its author would write it: the manifest names nothing but densenet.
    fn write(parent: &Path, name: &'static str, build_script: Option<&str>) -> Dependent {
        let folder = parent.join(name);
        fs::create_dir_all(folder.join("src")).unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n\
             [dependencies]\ndensenet = {{ path = \"{ROOT}\" }}\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.join("src/main.rs"), MAIN).unwrap();
        if let Some(text) = build_script {
            fs::write(folder.join("build.rs"), text).unwrap();
        }
        // The same versions, hence the same compiled dependencies and no network.
        fs::copy(Path::new(ROOT).join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        Dependent { folder, name }
    }

    fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg(subcommand).args(["--release", "--offline", "--quiet"]).current_dir(&self.folder);
        cargo.env("CARGO_TARGET_DIR", target());
        // As [profile.release] in our Cargo.toml; another profile would compile everything again.
        cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
        cargo.env_remove("LD_LIBRARY_PATH");
        cargo
    }

    /// The built binary, with nothing in its environment that could find libtorch for it.
    fn binary(&self) -> Command {
        let built = self.cargo("build").output().unwrap();
        assert!(
            built.status.success(),
            "{} does not build:\n{}",
            self.name,
            String::from_utf8_lossy(&built.stderr)
        );
        let mut binary = Command::new(target().join("release").join(self.name));
        binary.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
        binary
    }
}

/// The target folder this test was built into: the binary lies in `release/deps` there.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).expect("a target folder").to_path_buf()
}

#[track_caller]
fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} fails, {}:\n{out}{err}", output.status);
    out.into_owned()
}

/// The folder of the libtorch that a dependent's output says it loaded.
#[track_caller]
fn libtorch_folder(output: &str) -> PathBuf {
    let path = output.lines().find_map(|line| line.strip_prefix("loaded ")).expect("libtorch_cpu is loaded");
    Path::new(path).parent().expect("a folder").to_path_buf()
}

fn build_script_in_readme() -> String {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let section = readme.split("\n## As a dependency\n").nth(1).expect("the section");
    let code = section.split("```rust,no_run\n").nth(1).expect("its build.rs").split("```").next().unwrap();
    assert!(
        code.contains("DEP_DENSENET_LIBTORCH_LIB"),
        "the section's first Rust code is the build.rs:\n{code}"
    );
    code.to_string()
}

#[test]
fn a_crate_that_only_depends_on_this_one_builds_without_a_build_script_and_runs() {
    let parent = scratch();
    let dependent = Dependent::write(parent.path(), "densenet-dependent-plain", None);

    let under_cargo = output_of(dependent.cargo("run").args(["--", "cpu"]));
    assert!(under_cargo.starts_with("sum 3\n"), "{under_cargo}");
    let libtorch = libtorch_folder(&under_cargo);

    let with_path = output_of(dependent.binary().env("LD_LIBRARY_PATH", &libtorch).arg("cpu"));
    assert_eq!(with_path, under_cargo);

    // Else the lines above prove nothing.
    let alone = dependent.binary().arg("cpu").output().unwrap();
    assert!(
        !alone.status.success() && String::from_utf8_lossy(&alone.stderr).contains("shared libraries: lib"),
        "{alone:?}"
    );
}

#[test]
fn a_dependent_with_the_readmes_build_script_runs_by_itself() {
    let parent = scratch();
    let script = build_script_in_readme();
    let dependent = Dependent::write(parent.path(), "densenet-dependent-rpath", Some(&script));
    let output = output_of(dependent.binary().arg("cpu"));
    assert!(output.starts_with("sum 3\n"), "{output}");
    assert!(
        !output.contains("libtorch_cuda"),
        "a device library is opened only where one is asked for: {output}"
    );
}

#[test]
fn a_dependent_that_asks_for_cuda_has_libtorch_cuda_loaded_without_a_linker_flag() {
    let parent = scratch();
    let script = build_script_in_readme();
    let dependent = Dependent::write(parent.path(), "densenet-dependent-cuda", Some(&script));
    // 1: this machine may have no driver.
    let output = output_of(dependent.binary().arg("cuda").env("DENSENET_LOAD_CUDA", "1"));
    let folder = libtorch_folder(&output);
    let library = folder.join("libtorch_cuda.so");
    if library.exists() {
        assert!(output.contains(&format!("\nloaded {}\n", library.display())), "{output}");
        assert!(output.contains("sum 3\n") || output.contains("no GPU driver"), "{output}");
    } else {
        let words = format!("libtorch in {} is built without CUDA", folder.display());
        assert!(output.contains(&words) && output.contains("library libtorch without CUDA"), "{output}");
    }

    let never = output_of(dependent.binary().arg("cuda").env("DENSENET_LOAD_CUDA", "0"));
    assert!(!never.contains(&format!("loaded {}", library.display())), "{never}");
    assert_eq!(never.contains("present but not loaded"), library.exists(), "{never}");
}

#[test]
#[cfg(target_env = "gnu")]
fn after_keep_freed_memory_freed_blocks_are_used_again_without_page_faults() {
    let parent = scratch();
    let dependent =
        Dependent::write(parent.path(), "densenet-dependent-memory", Some(&build_script_in_readme()));
    let output = output_of(dependent.binary().arg("memory").env_remove("GLIBC_TUNABLES"));
    let words: Vec<&str> = output.split_whitespace().collect();
    let [kept, before, after] = words[..] else { panic!("{output}") };
    let (before, after): (u64, u64) = (before.parse().unwrap(), after.parse().unwrap());
    assert_eq!(kept, "true");
    assert!(after < before / 4, "{before} page faults before, {after} after");
}
