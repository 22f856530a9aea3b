//! `densenet weights list`

use crate::cli::output::Output;
use crate::cli::records::Listed;
use anyhow::Result;
use densenet::weights::{CacheState, FetchOptions, Weights};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, output: &mut Output) -> Result<()> {
    let folder = FetchOptions::from_env().folder();
    let mut rows = Vec::new();
    for weights in Weights::ALL {
        let state = match &folder {
            Ok(folder) => weights.cached_in(folder)?,
            Err(_) if weights.is_embedded() => CacheState::Embedded,
            Err(_) => CacheState::Missing,
        };
        let record = record(weights, &state);
        output.json_record(&record)?;
        rows.push(row(&record));
    }
    output.text(|| table(&rows))
}

fn record(weights: Weights, state: &CacheState) -> Listed {
    let entry = weights.entry();
    let (cache, path) = match state {
        CacheState::Embedded => ("embedded", None),
        CacheState::Good(path) => ("cached", Some(path)),
        CacheState::Damaged { path, .. } => ("damaged", Some(path)),
        _ => ("missing", None),
    };
    Listed { entry, cache, path: path.map(|path| path.display().to_string()) }
}

fn row(listed: &Listed) -> [String; 6] {
    let entry = listed.entry;
    let data = entry.metrics.iter().next();
    let percent = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
    let cache = match (&listed.path, listed.cache) {
        (Some(path), "damaged") => format!("{path} (damaged)"),
        (Some(path), _) => path.clone(),
        (None, state) => state.to_string(),
    };
    [
        entry.name.clone(),
        format!("{:.2} M", entry.num_params as f64 / 1e6),
        format!("{:.1} MiB", entry.file_size_mib),
        percent(data.map(|(_, accuracy)| accuracy.acc1)),
        percent(data.and_then(|(_, accuracy)| accuracy.acc5)),
        cache,
    ]
}

/// Columns as wide as their widest cell, numbers to the right.
fn table(rows: &[[String; 6]]) -> String {
    let heads = ["NAME", "PARAMETERS", "FILE", "ACC@1", "ACC@5", "CACHE"].map(String::from);
    let lines: Vec<&[String; 6]> = std::iter::once(&heads).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let text = |line: &&[String; 6]| {
        let cell = |column: usize| match column {
            0 => format!("{:<1$}", line[0], widths[0]),
            5 => line[5].clone(),
            _ => format!("{:>1$}", line[column], widths[column]),
        };
        (0..6).map(cell).collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}
