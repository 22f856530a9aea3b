//! Where libtorch is: an rpath for our own binaries, a name for dependents, one readable error when it is the wrong one;
//! and the C++ of `src/autograd/`, compiled against it.
//!
//! torch-sys has compiled against libtorch before this runs; it says where it found it in `DEP_TCH_LIBTORCH_LIB`. So when
//! there is no libtorch at all, plain `cargo build` shows torch-sys's error ("Cannot find a libtorch install, you can
//! either: …") and this never runs; one so different that torch-sys's C++ does not compile shows the compiler's errors.
//! `make` checks before both.
//! Nothing here links `libtorch_cuda`: `src/runtime/device_library.rs` opens it at run time, for dependents as well.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The libtorch that tch 0.26 is generated from.
const EXPECTED: &str = "2.13.0";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH_BYPASS_VERSION_CHECK");
    println!("cargo::rerun-if-env-changed=LIBTORCH_STATIC");

    // Absent on docs.rs (torch-sys's `doc-only`) and on Windows, which has no rpath.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo::rustc-env=DENSENET_LIBTORCH_VERSION={EXPECTED}");
        return;
    };
    let checked = check_complete(&lib).and_then(|()| check_version(&lib));
    let version = match checked {
        Ok(version) => version,
        // Not a non-zero exit: cargo then prints this line alone, without the script's whole output around it.
        Err(problem) => {
            println!("cargo::error={problem}");
            return;
        }
    };
    println!("cargo::rustc-env=DENSENET_LIBTORCH_VERSION={version}");
    println!("cargo::metadata=libtorch_lib={}", lib.display());

    // Beside the binary first, so that a folder made for shipping never picks up the build machine's libtorch.
    let beside = if target_os() == "macos" { "@loader_path/lib" } else { "$ORIGIN/lib" };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{beside}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());

    compile_shim(&lib);

    // Link arguments reach neither doctests nor dependents. Cargo puts the search paths that lie in its target folder
    // on the library path of whatever it runs, so a link there covers `cargo run` and `cargo test` for both.
    match link_into_target(&lib) {
        Ok(link) => println!("cargo::rustc-link-search=native={}", link.display()),
        Err(error) => {
            println!("cargo::warning=doctests may not find libtorch at run time: no link to it ({error})")
        }
    }
}

/// `src/autograd/shim/`, against the headers beside `lib`, as torch-sys compiles its own C++.
fn compile_shim(lib: &Path) {
    const FOLDER: &str = "src/autograd/shim";
    println!("cargo::rerun-if-changed={FOLDER}");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let root =
        env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from).or_else(|| lib.parent().map(Path::to_path_buf));
    let include = root.unwrap_or_default().join("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_string());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .warnings(true)
        .extra_warnings(true)
        // A registry's copy must compile on whatever compiler comes next.
        .warnings_into_errors(Path::new(".git").exists())
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .files(["shim.cpp", "updates.cpp"].map(|file| Path::new(FOLDER).join(file)));
    // System headers, so that warnings are about our own code; a compiler has /usr/include already, and its order matters.
    for folder in [include.clone(), include.join("torch/csrc/api/include")] {
        if folder != Path::new("/usr/include") {
            build.flag("-isystem").flag(folder);
        }
    }
    build.compile("densenet_shim");
}

fn target_os() -> String {
    env::var("CARGO_CFG_TARGET_OS").unwrap_or_default()
}

/// The shared libraries that everything links.
fn check_complete(lib: &Path) -> Result<(), String> {
    let is_static =
        env::var("LIBTORCH_STATIC").is_ok_and(|value| !["0", "false", "FALSE"].contains(&value.as_str()));
    if is_static {
        return Ok(());
    }
    let suffix = if target_os() == "macos" { "dylib" } else { "so" };
    for name in ["libc10", "libtorch_cpu", "libtorch"] {
        let file = lib.join(name).with_extension(suffix);
        if !file.exists() {
            return Err(format!(
                "libtorch in {} is incomplete: {name}.{suffix} is missing; reinstall it, or point LIBTORCH at a whole \
                 libtorch {EXPECTED} (the folder that has `lib` and `include`), or unset it and run `make build`, which \
                 fetches one",
                lib.display()
            ));
        }
    }
    Ok(())
}

/// The version of the libtorch around `lib`, which must be [`EXPECTED`].
fn check_version(lib: &Path) -> Result<String, String> {
    let Some((version, file)) = version_near(lib) else {
        println!(
            "cargo::warning=no version file near {}: taking it for libtorch {EXPECTED}, which is what this crate needs",
            lib.display()
        );
        return Ok("unknown".to_string());
    };
    println!("cargo::rerun-if-changed={}", file.display());
    // A wheel's version carries its variant: 2.13.0+cu130.
    let release = version.split('+').next().unwrap_or_default();
    if release == EXPECTED {
        return Ok(version);
    }
    let found = format!("libtorch in {} is version {version} (says {})", lib.display(), file.display());
    if env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some() {
        println!(
            "cargo::warning={found}; this crate is made and tested for {EXPECTED}; going on, as \
             LIBTORCH_BYPASS_VERSION_CHECK asks"
        );
        return Ok(version);
    }
    Err(format!(
        "{found}; this crate needs {EXPECTED}: point LIBTORCH at that version, or unset it and run `make build`, which \
         fetches it, or set LIBTORCH_BYPASS_VERSION_CHECK=1 to try this one"
    ))
}

/// The version and the file that states it: a libtorch archive has `build-version`, a wheel `version.py`, both the header.
fn version_near(lib: &Path) -> Option<(String, PathBuf)> {
    let root = lib.parent()?;
    let line_with = |file: PathBuf, key: &str| {
        let text = fs::read_to_string(&file).ok()?;
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(key))?;
        let version = line.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        (!version.is_empty()).then(|| (version.to_string(), file))
    };
    let header = || {
        // `#define TORCH_VERSION \` and the string on the next line.
        ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"]
            .iter()
            .find_map(|name| {
                let file = root.join(name);
                let text = fs::read_to_string(&file).ok()?;
                let version = text.split("#define TORCH_VERSION ").nth(1)?.split('"').nth(1)?;
                Some((version.to_string(), file))
            })
    };
    line_with(root.join("build-version"), "")
        .or_else(|| line_with(root.join("version.py"), "__version__ = "))
        .or_else(header)
}

/// `OUT_DIR/libtorch` → `lib`.
fn link_into_target(lib: &Path) -> io::Result<PathBuf> {
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let link = Path::new(&out).join("libtorch");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(lib, &link)?;
    #[cfg(windows)]
    std::os::windows::fs::symlink_dir(lib, &link)?;
    Ok(link)
}
