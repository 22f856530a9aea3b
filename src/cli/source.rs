//! `--weights`: from what was typed to weights at hand, downloaded with a progress bar where they have to be.

use super::output::Output;
use super::progress::Bar;
use anyhow::Result;
use densenet::model::Arch;
use densenet::weights::{FetchOptions, WeightsSource};

/// A file, a name of the registry, or a tag that `arch` completes; a name of another architecture than `arch` is refused
/// before anything is fetched.
pub fn weights(text: &str, arch: Option<Arch>, output: &Output) -> Result<WeightsSource> {
    let source = WeightsSource::resolve_for(text, arch)?;
    Ok(source.fetched(&FetchOptions::from_env(), &mut Bar::new(output))?)
}
