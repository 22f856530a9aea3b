//! Which libtorch this process runs: found among its loaded libraries, never from a path baked in at build time.

use std::fs;
use std::path::{Path, PathBuf};

/// The libtorch this crate was compiled against, such as `2.13.0+cu130`; `unknown` if it carried no version file.
pub const LIBTORCH_BUILD_VERSION: &str = env!("DENSENET_LIBTORCH_VERSION");

const CPU_LIBRARY: &str = "libtorch_cpu.";

/// The folder of the `libtorch_cpu` this process has loaded.
///
/// `None` where the system has no `/proc/self/maps` (macOS, Windows) or libtorch is linked statically.
pub fn folder() -> Option<PathBuf> {
    let libraries = loaded_libraries();
    let library = libraries.iter().find(|path| file_name(path).starts_with(CPU_LIBRARY))?;
    library.parent().map(Path::to_path_buf)
}

/// The version that the libtorch in use states of itself, such as `2.13.0+cpu`; `None` where nothing beside it states one.
pub fn libtorch_version() -> Option<String> {
    folder().as_deref().and_then(version_in)
}

/// Every shared library mapped into this process, in address order, links resolved.
pub(super) fn loaded_libraries() -> Vec<PathBuf> {
    // Paths need not be UTF-8.
    let maps = fs::read("/proc/self/maps").unwrap_or_default();
    libraries_in(&String::from_utf8_lossy(&maps))
}

fn libraries_in(maps: &str) -> Vec<PathBuf> {
    let mut libraries: Vec<PathBuf> = Vec::new();
    for line in maps.lines() {
        // address perms offset dev inode path; the path may hold spaces.
        let Some(path) = line.find('/').map(|start| Path::new(&line[start..])) else { continue };
        let name = file_name(path);
        let is_library = name.ends_with(".so") || name.contains(".so.");
        if is_library && !libraries.iter().any(|known| known == path) {
            libraries.push(path.to_path_buf());
        }
    }
    libraries
}

pub(super) fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The version that the libtorch around `folder` (its `lib`) states: `build-version` in an archive, `version.py` in a
/// wheel. `None` where neither came along, as in a folder made for shipping.
fn version_in(folder: &Path) -> Option<String> {
    let root = folder.parent()?;
    if let Ok(version) = fs::read_to_string(root.join("build-version")) {
        return Some(version.trim().to_string());
    }
    let text = fs::read_to_string(root.join("version.py")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(line.trim_matches(['\'', '"']).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_maps_once_each_with_spaces_in_their_path() {
        let maps = "\
7f0000000000-7f0000001000 r--p 00000000 fe:00 12 /opt/my libs/libtorch_cpu.so
7f0000001000-7f0000002000 r-xp 00001000 fe:00 12 /opt/my libs/libtorch_cpu.so
7f0000002000-7f0000003000 r-xp 00000000 fe:00 13 /usr/lib/libcudart.so.13
7f0000003000-7f0000004000 rw-p 00000000 00:00 0
7f0000004000-7f0000005000 r--p 00000000 fe:00 14 /usr/lib/locale/C.utf8/LC_CTYPE
7ffd00000000-7ffd00001000 rw-p 00000000 00:00 0 [stack]
";
        let want = ["/opt/my libs/libtorch_cpu.so", "/usr/lib/libcudart.so.13"].map(PathBuf::from);
        assert_eq!(libraries_in(maps), want);
    }

    #[test]
    fn the_version_beside_a_lib_folder_is_read_from_either_kind_of_file() {
        let root = tempfile::tempdir().unwrap();
        let lib = root.path().join("lib");
        assert_eq!(version_in(&lib), None);
        fs::write(root.path().join("version.py"), "__all__ = []\n__version__ = '2.13.0+cu130'\n").unwrap();
        assert_eq!(version_in(&lib).as_deref(), Some("2.13.0+cu130"));
        fs::write(root.path().join("build-version"), "2.13.0+cpu\n").unwrap();
        assert_eq!(version_in(&lib).as_deref(), Some("2.13.0+cpu"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_loaded_libtorch_is_found_and_states_the_version_it_was_compiled_against() {
        // A call, so that the linker keeps libtorch.
        assert!(tch::get_num_threads() > 0);
        let folder = folder().expect("libtorch_cpu is loaded");
        assert!(folder.join("libtorch_cpu.so").exists(), "{folder:?}");
        assert_eq!(version_in(&folder).unwrap_or(LIBTORCH_BUILD_VERSION.into()), LIBTORCH_BUILD_VERSION);
    }
}
