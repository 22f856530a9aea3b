//! `densenet weights convert`

use super::dtype_name;
use crate::cli::output::Output;
use crate::cli::reading;
use crate::cli::records::{Conversion, ConvertedTensors};
use crate::cli::source;
use anyhow::{bail, Context, Result};
use densenet::checkpoint::{self, ConvertOptions, Converted, KeyStyle, WriteFormat};
use densenet::model::Memory;
use densenet::tch::Kind;
use densenet::weights::{Sidecar, WeightsSource};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// A checkpoint file, or a name from `weights list`, downloaded on first use
    #[arg(value_name = "IN")]
    input: String,
    /// The file to write; a NAME.json that lies beside IN comes along
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The format to write [default: by OUT's ending: .pth, .pt, .bin, .ckpt are pth-zip]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FormatArg>,
    /// Whose names the tensors get
    #[arg(long, value_enum, default_value_t = KeyArg::Torchvision, value_name = "STYLE")]
    key_style: KeyArg,
    /// The dtype of all floating-point tensors [default: each its own]
    #[arg(long, value_enum, value_name = "DTYPE")]
    dtype: Option<KindArg>,
    /// Leave out the head: everything outside `features.`
    #[arg(long)]
    strip_head: bool,
    #[command(flatten)]
    reading: reading::Args,
    /// Write over an existing file; it may be IN itself
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FormatArg {
    /// torch's zip archive, as torch.save writes it
    PthZip,
    /// torch's format before 1.6
    PthLegacy,
    /// safetensors
    Safetensors,
    /// tch's archive, for VarStore::load
    Ot,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum KeyArg {
    /// torchvision's of today
    Torchvision,
    /// torchvision's up to 0.2.0 (denselayer1.norm.1.weight), without counters
    Old,
    /// the file's own
    AsIs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum KindArg {
    F16,
    Bf16,
    F32,
}

impl From<FormatArg> for WriteFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::PthZip => WriteFormat::PthZip,
            FormatArg::PthLegacy => WriteFormat::PthLegacy,
            FormatArg::Safetensors => WriteFormat::Safetensors,
            FormatArg::Ot => WriteFormat::Ot,
        }
    }
}

impl From<KeyArg> for KeyStyle {
    fn from(style: KeyArg) -> Self {
        match style {
            KeyArg::Torchvision => KeyStyle::Torchvision,
            KeyArg::Old => KeyStyle::Old,
            KeyArg::AsIs => KeyStyle::AsIs,
        }
    }
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::F16 => Kind::Half,
            KindArg::Bf16 => Kind::BFloat16,
            KindArg::F32 => Kind::Float,
        }
    }
}

pub fn run(args: &Args, output: &mut Output) -> Result<()> {
    let format =
        args.format.map_or_else(|| WriteFormat::of_path(&args.output), |format| Ok(format.into()))?;
    if args.output.exists() && !args.force {
        bail!("{} exists already: --force writes over it", args.output.display());
    }
    let source = source::weights(&args.input, None, output)?;
    let reading = args.reading.options(Memory::Standard);
    let dict = source.open_with(&reading)?;
    let options = ConvertOptions {
        names: args.reading.names(),
        keys: args.key_style.into(),
        kind: args.dtype.map(Kind::from),
        strip_head: args.strip_head,
    };
    let converted = checkpoint::convert(&dict, &options).with_context(|| source.name())?;
    let sidecar = sidecar(args, &source, source.full_sidecar(&dict, &reading)?)?;

    let metadata: BTreeMap<String, String> = dict.metadata.iter().cloned().collect();
    if !metadata.is_empty() && !format.has_metadata() {
        output.note(format_args!(
            "the text in {}'s header has no place in this format and stays behind",
            args.input
        ));
    }
    let metadata = with_framework(metadata);
    checkpoint::write(&args.output, format, &converted.entries, &metadata)?;
    if let Some(sidecar) = &sidecar {
        sidecar.write_beside(&args.output)?;
    }
    let sidecar = sidecar.map(|_| Sidecar::path_beside(&args.output).display().to_string());
    let record = record(args, format, &converted, sidecar)?;
    output.record(&record, || text(&record))
}

/// What readers in Python look for in safetensors.
fn with_framework(mut metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
    metadata.entry("format".to_string()).or_insert("pt".to_string());
    metadata
}

/// The sidecar to write beside the output; `None` where there is none, or where the input's serves both.
fn sidecar(args: &Args, source: &WeightsSource, known: Option<Sidecar>) -> Result<Option<Sidecar>> {
    let place = Sidecar::path_beside(&args.output);
    let Some(mut sidecar) = known else {
        if place.exists() {
            bail!(
                "{} describes other weights than {}, which have no such file: move it away or choose another name",
                place.display(),
                source.name()
            );
        }
        return Ok(None);
    };
    let shared =
        matches!(source, WeightsSource::File(path) if same_file(&Sidecar::path_beside(path), &place));
    if shared && args.strip_head && place.exists() {
        bail!(
            "{} would describe both {} and the weights without their head: choose another name",
            place.display(),
            source.name()
        );
    }
    // One that is there serves both files. One of what is known of IN's origin is written for both, if both are whole.
    if shared && (place.exists() || args.strip_head) {
        return Ok(None);
    }
    if place.exists() && !args.force {
        bail!("{} exists already: --force writes over it", place.display());
    }
    if args.strip_head {
        sidecar.categories.clear();
        sidecar.outputs = None;
        if let Some(config) = &mut sidecar.config {
            config.num_classes = 0;
        }
    }
    Ok(Some(sidecar))
}

fn same_file(a: &Path, b: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    a == b || canonical(a).is_some_and(|a| Some(a) == canonical(b))
}

fn record<'a>(
    args: &'a Args,
    format: WriteFormat,
    converted: &'a Converted,
    sidecar: Option<String>,
) -> Result<Conversion<'a>> {
    let written = std::fs::metadata(&args.output).with_context(|| args.output.display().to_string())?;
    let mut tensors: Vec<ConvertedTensors> = Vec::new();
    for entry in &converted.entries {
        let dtype = dtype_name(entry.kind);
        match tensors.iter_mut().find(|tensors| tensors.dtype == dtype) {
            Some(tensors) => tensors.count += 1,
            None => tensors.push(ConvertedTensors { dtype, count: 1 }),
        }
    }
    Ok(Conversion {
        input: &args.input,
        output: args.output.display().to_string(),
        format: format.read_as(),
        bytes: written.len(),
        tensors,
        stripped_prefix: converted.stripped_prefix.as_deref(),
        origin: converted.origin.as_deref(),
        renamed: converted.renamed,
        dropped: &converted.dropped,
        sidecar,
    })
}

fn text(record: &Conversion) -> String {
    let tensors: Vec<String> =
        record.tensors.iter().map(|tensors| format!("{} {}", tensors.count, tensors.dtype)).collect();
    let mut line = format!("{}: {} tensors, {} bytes", record.output, tensors.join(" + "), record.bytes);
    if let Some(prefix) = record.stripped_prefix {
        line.push_str(&format!("; prefix {prefix} taken off"));
    }
    if record.renamed > 0 {
        line.push_str(&format!("; {} renamed", record.renamed));
    }
    if !record.dropped.is_empty() {
        let example = &record.dropped[0];
        line.push_str(&format!(
            "; {} left out ({}: {}{})",
            record.dropped.len(),
            example.name,
            example.reason,
            if record.dropped.len() > 1 { ", …" } else { "" }
        ));
    }
    if let Some(sidecar) = &record.sidecar {
        line.push_str(&format!("; {sidecar} beside it"));
    }
    line
}
