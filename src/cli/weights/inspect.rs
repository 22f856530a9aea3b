//! `densenet weights inspect`

use super::dtype_name;
use crate::cli::output::Output;
use crate::cli::reading;
use crate::cli::records::{Inspected, InspectedTensor};
use crate::cli::source;
use anyhow::Result;
use densenet::checkpoint::StateDict;
use densenet::model::{DenseNetConfig, Memory};
use densenet::transforms::ImageClassification;
use densenet::weights::Outputs;

#[derive(clap::Args)]
pub struct Args {
    /// A checkpoint file, or a name from `weights list`, downloaded on first use
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    reading: reading::Args,
}

pub fn run(args: &Args, output: &mut Output) -> Result<()> {
    let source = source::weights(&args.file, None, output)?;
    let options = args.reading.options(Memory::Standard);
    let dict = source.open_with(&options)?;
    let normalized = source.normalize(&dict, &options);
    let description = match &normalized {
        Ok(normalized) => {
            source.describe_normalized(&dict, normalized, &options).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let (normalized, known) = (normalized.as_ref().ok(), description.as_ref().ok());
    let record = Inspected {
        format: dict.format,
        root: dict.root.as_deref(),
        stripped_prefix: normalized.and_then(|normalized| normalized.stripped_prefix.as_deref()),
        origin: normalized.and_then(|normalized| normalized.origin()),
        renamed: normalized.map_or(0, |normalized| normalized.renamed),
        dropped: normalized.map_or(&[], |normalized| &normalized.dropped),
        foreign_globals: &dict.foreign_globals,
        rules: normalized.map_or(Vec::new(), |all| all.rules.iter().map(|rule| rule.name).collect()),
        preset: known.and_then(|known| known.transforms.as_ref()),
        outputs: known.map(|known| known.outputs),
        notes: normalized.map_or(Vec::new(), |normalized| normalized.notes()),
        config: known.map(|known| &known.config),
        config_error: description.as_ref().err().map(String::as_str),
        tensors: dict
            .tensors
            .iter()
            .map(|(name, view)| InspectedTensor { name, dtype: dtype_name(view.kind()), shape: view.shape() })
            .collect(),
    };
    output.record(&record, || text(&record, &dict))
}

fn text(record: &Inspected, dict: &StateDict) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<16}{value}"));
    let quoted = serde_json::to_string(&record.format).unwrap_or_default();
    line("format", quoted.trim_matches('"').to_string());
    line("state dict at", record.root.unwrap_or("the top").to_string());
    if let Some(prefix) = record.stripped_prefix {
        line("prefix", format!("{prefix} (left out)"));
    }
    let origin = record.origin.as_deref().unwrap_or("torchvision");
    line("names", format!("{origin}, {} renamed", record.renamed));
    if !record.dropped.is_empty() {
        let names: Vec<_> =
            record.dropped.iter().map(|dropped| format!("{} ({})", dropped.name, dropped.reason)).collect();
        line("left out", names.join(", "));
    }
    if !record.foreign_globals.is_empty() {
        line("not run", record.foreign_globals.join(", "));
    }
    match (record.config, record.config_error) {
        (Some(config), _) => line("network", describe(config)),
        (None, Some(error)) => line("network", format!("none: {error}")),
        (None, None) => {}
    }
    if let Some(preset) = record.preset {
        line("input", describe_input(preset));
    }
    if record.outputs == Some(Outputs::Labels) {
        line("outputs", "independent labels, a sigmoid each".to_string());
    }
    for note in &record.notes {
        line("note", note.to_string());
    }
    let numbers: i64 = dict.tensors.iter().map(|(_, view)| view.shape().iter().product::<i64>()).sum();
    line("tensors", format!("{} of {numbers} numbers", dict.tensors.len()));
    let width = record.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in &record.tensors {
        lines.push(format!("  {:width$}  {:<8} {:?}", tensor.name, tensor.dtype, tensor.shape));
    }
    lines.join("\n")
}

fn describe_input(preset: &ImageClassification) -> String {
    let size = |size: Option<u32>| size.map_or("none".to_string(), |size| size.to_string());
    format!(
        "{} channels, resize {}{}, crop {}, {:?}, {} to {}, mean {:?}, std {:?}",
        preset.channels,
        size(preset.resize_size),
        if preset.squash { " (both sides)" } else { "" },
        size(preset.crop_size),
        preset.interpolation,
        preset.range[0],
        preset.range[1],
        preset.mean,
        preset.std,
    )
}

fn describe(config: &DenseNetConfig) -> String {
    let name = config.arch().map_or("DenseNet".to_string(), |arch| arch.to_string());
    let bottleneck = config.bn_size.map_or("no bottleneck".to_string(), |size| format!("bottleneck {size}k"));
    format!(
        "{name}: k = {}, blocks {:?}, {} initial features, {bottleneck}, compression {}, {} input channels, {} classes, \
         {:?} stem",
        config.growth_rate,
        config.block_config,
        config.num_init_features,
        config.compression,
        config.in_channels,
        config.num_classes,
        config.stem,
    )
}
