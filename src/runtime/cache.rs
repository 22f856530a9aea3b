//! Where torch.hub keeps downloaded checkpoints, so that what Python has fetched is found and not fetched again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder for downloaded checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CheckpointCache {
    /// The folder, whether it exists or not.
    pub path: PathBuf,
    /// Whether it exists.
    pub exists: bool,
    /// Whether files can be written there: tried in the folder, or in the nearest one above it that exists.
    pub writable: bool,
}

/// torch.hub's folder: `$TORCH_HOME/hub/checkpoints`, else `$XDG_CACHE_HOME/torch/…`, else `~/.cache/torch/…`.
///
/// `None` if none of these variables and no home is set. Source: `torch.hub._get_torch_home`.
pub fn checkpoint_cache_folder() -> Option<PathBuf> {
    checkpoints_folder(|name| std::env::var_os(name), std::env::home_dir())
}

/// [`checkpoint_cache_folder`], and whether it is there and can be written.
pub fn checkpoint_cache() -> Option<CheckpointCache> {
    let path = checkpoint_cache_folder()?;
    let nearest = path.ancestors().find(|folder| folder.exists());
    let writable = nearest.is_some_and(|folder| tempfile::tempfile_in(folder).is_ok());
    Some(CheckpointCache { exists: path.exists(), writable, path })
}

fn checkpoints_folder(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let from_home = |path: OsString| match Path::new(&path).strip_prefix("~") {
        Ok(rest) => home.as_ref().map(|home| home.join(rest)),
        Err(_) => Some(PathBuf::from(path)),
    };
    let torch = match variable("TORCH_HOME") {
        Some(path) => from_home(path)?,
        None => match variable("XDG_CACHE_HOME") {
            Some(path) => from_home(path)?.join("torch"),
            None => home?.join(".cache/torch"),
        },
    };
    Some(torch.join("hub/checkpoints"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_one_torch_hub_uses() {
        let home = || Some(PathBuf::from("/h"));
        let folder = |set: &[(&str, &str)]| {
            let variable =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            checkpoints_folder(variable, home()).unwrap()
        };
        let (torch_home, xdg) = (("TORCH_HOME", "/t"), ("XDG_CACHE_HOME", "/x"));
        assert_eq!(folder(&[torch_home, xdg]), Path::new("/t/hub/checkpoints"));
        assert_eq!(folder(&[xdg]), Path::new("/x/torch/hub/checkpoints"));
        assert_eq!(folder(&[("TORCH_HOME", "~/t")]), Path::new("/h/t/hub/checkpoints"));
        assert_eq!(folder(&[]), Path::new("/h/.cache/torch/hub/checkpoints"));
        assert_eq!(checkpoints_folder(|_| None, None), None);
    }
}
