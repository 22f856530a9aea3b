//! `densenet weights fetch`

use crate::cli::output::Output;
use crate::cli::progress::Bar;
use crate::cli::records::{Fetched, NotFetched};
use anyhow::Result;
use densenet::weights::{FetchOptions, Weights, WeightsError};

#[derive(clap::Args)]
pub struct Args {
    /// Names of weights, as `weights list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub fn run(args: &Args, output: &mut Output) -> Result<()> {
    let options = FetchOptions::from_env();
    for name in &args.names {
        match fetch(name, &options, output) {
            Ok((weights, path)) => {
                let record = Fetched { name: weights.name(), path: path.as_deref() };
                output.record(&record, || match &path {
                    Some(path) => format!("{weights}: {path}"),
                    None => format!("{weights}: part of the command"),
                })?;
            }
            Err(error) => {
                output.item_failed(&error);
                output.json_record(&NotFetched { name, error: &error.to_string() })?;
            }
        }
    }
    Ok(())
}

fn fetch(
    name: &str,
    options: &FetchOptions,
    output: &Output,
) -> Result<(Weights, Option<String>), WeightsError> {
    let weights: Weights = name.parse()?;
    let path = weights.fetch(options, &mut Bar::new(output))?;
    Ok((weights, path.map(|path| path.display().to_string())))
}
