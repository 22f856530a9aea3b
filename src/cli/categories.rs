//! `--categories`

use anyhow::{bail, Context, Result};
use densenet::weights::imagenet_categories;

/// Class names: one a line of a file, or ImageNet's.
pub fn categories(names: &str) -> Result<Vec<String>> {
    if names == "imagenet" {
        return Ok(imagenet_categories());
    }
    let text =
        std::fs::read_to_string(names).with_context(|| format!("cannot read the class names in {names}"))?;
    let list: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if list.is_empty() {
        bail!("{names} holds no class names (one a line)");
    }
    Ok(list)
}
