//! Which picture files a list of arguments names.

use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};

/// Endings of the formats that `transforms` decodes; asked only of files found in folders, never of files named.
const ENDINGS: [&str; 15] = [
    "bmp", "gif", "jfif", "jpeg", "jpg", "jpe", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp",
    "dib",
];

/// Files as named, a folder's pictures (and those of the folders in it) in order of name, and for `-` a list on
/// standard input, one path a line. A file that does not exist is an item of its own for the reader to report.
pub fn find(arguments: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            let list = std::io::read_to_string(std::io::stdin())
                .context("cannot read the list on standard input")?;
            files.extend(list.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(PathBuf::from));
        } else if argument.is_dir() {
            let before = files.len();
            walk(argument, &mut files)?;
            if files.len() == before {
                bail!("{} holds no pictures ({})", argument.display(), ENDINGS.join(", "));
            }
        } else {
            files.push(argument.clone());
        }
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let mut entries = entries.with_context(|| format!("cannot read the folder {}", folder.display()))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // The entry's own type: a link to a folder is not followed, so no loop can be walked.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, files)?;
        } else if is_picture(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}
