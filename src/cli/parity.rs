//! `densenet parity`

use super::memory::MemoryArg;
use super::output::Output;
use super::reading;
use super::source;
use anyhow::{bail, Result};
use densenet::parity::{pipeline, training_step, PageContext, ParityReport, Reference};
use densenet::runtime;
use densenet::tch::Device;
use densenet::DenseNet;
use std::path::PathBuf;

/// Makes references; part of the repository, printed by `--print-script`.
const SCRIPT: &str = include_str!("../../scripts/make_reference.py");

#[derive(clap::Args)]
pub struct Args {
    /// A checkpoint file, or a name from `weights list`, downloaded on first use
    #[arg(long, value_name = "WEIGHTS", required_unless_present = "print_script")]
    weights: Option<String>,
    #[command(flatten)]
    reading: reading::Args,
    /// Tensors saved by PyTorch: `image_bytes`, `decoded`, `resized`, `input`, outputs of modules, `logits`; with --train
    /// `target`, `loss`, `grad.<name>` and running statistics
    #[arg(long, value_name = "REF", required_unless_present = "print_script")]
    reference: Option<PathBuf>,
    /// Largest absolute difference to accept: 0 asks for the same bits
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    tolerance: f64,
    /// Run one training step instead
    #[arg(long)]
    train: bool,
    /// What the training step keeps for its backward pass
    #[arg(long, value_enum, default_value_t = MemoryArg::Standard, requires = "train")]
    memory: MemoryArg,
    /// Also write a page with the worst tensors: .md or .html
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the Python script that makes references from torchvision's models and a picture
    #[arg(long)]
    print_script: bool,
}

pub fn run(args: &Args, device: impl FnOnce() -> Result<Device>, output: &mut Output) -> Result<()> {
    let (Some(weights), Some(path), false) = (&args.weights, &args.reference, args.print_script) else {
        return output.verbatim(SCRIPT);
    };
    if args.tolerance.is_nan() || args.tolerance < 0.0 {
        bail!("--tolerance is {}, it must be 0 or more", args.tolerance);
    }
    let reference = Reference::open(path)?;
    let source = source::weights(weights, None, output)?;
    let loaded = source.load_with(device()?, &args.reading.options(args.memory.into()))?;
    let transforms = loaded.description.transforms.clone().unwrap_or_default();
    let report = match args.train {
        true => training_step(&loaded.network, &reference)?,
        false => pipeline(&loaded.network, &transforms, &reference)?,
    };
    if let Some(page) = &args.report {
        let mut facts =
            vec![("weights".to_string(), source.name()), ("reference".into(), path.display().to_string())];
        facts.extend(
            reference.about().iter().map(|(key, value)| (format!("reference: {key}"), value.clone())),
        );
        facts.extend(here(&loaded.network));
        report.write_page(page, &PageContext { facts, tolerance: args.tolerance })?;
    }
    output.record(&report, || text(&report))?;
    for warning in &report.warnings {
        output.note(format_args!("warning: {warning}"));
    }
    if !report.is_within(args.tolerance) {
        output.answer_is_no();
        let first = report.first_difference.as_deref().unwrap_or("none");
        output.note(format_args!(
            "not equal within {}: the first difference is in {first}. {}",
            args.tolerance,
            explanation(first, reference.states_conditions() && report.warnings.is_empty())
        ));
    }
    Ok(())
}

/// What a difference that begins at this stage usually is.
fn explanation(first: &str, same_conditions: bool) -> &'static str {
    match first {
        "decoded" => {
            "Decoders of JPEG differ by a level or two; the feature libjpeg-turbo decodes as Pillow does. More than that \
             is another picture, or its EXIF orientation was applied"
        }
        "resized" => {
            "Another size, interpolation or antialiasing: compare the sidecar's transforms with the reference's preset"
        }
        "input" => {
            "Another crop, range, mean or std: compare the sidecar's transforms with the reference's preset"
        }
        _ if same_conditions => {
            "The reference was made under these very conditions: differences beyond rounding are other weights or \
             another network"
        }
        _ => {
            "Another libtorch, processor, device or thread count than the reference's rounds differently (try \
             --threads); differences beyond 1e-4 are another model"
        }
    }
}

/// This machine, for the page.
fn here(network: &DenseNet) -> Vec<(String, String)> {
    let libtorch = runtime::libtorch_version().unwrap_or("not stated".to_string());
    [
        ("here: libtorch", libtorch),
        ("here: instruction set", runtime::cpu_capability().unwrap_or("unknown").to_string()),
        ("here: threads", runtime::threads().intra_op.to_string()),
        ("here: device", format!("{:?}", network.device())),
        ("here: jpeg", densenet::transforms::JPEG_DECODER.to_string()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .to_vec()
}

fn text(report: &ParityReport) -> String {
    let width = report.stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
    let mut lines: Vec<String> = report
        .stages
        .iter()
        .filter(|stage| stage.differing > 0 || report.stages.len() <= 16)
        .map(|stage| {
            let values: i64 = stage.shape.iter().product();
            format!(
                "{:width$}  max abs {:.3e}  max ULP {}  {} of {values} values differ",
                stage.name, stage.max_abs, stage.max_ulp, stage.differing
            )
        })
        .collect();
    let agreement = report
        .top1_agreement
        .map_or(String::new(), |share| format!(", top-1 agreement {:.2} %", 100.0 * share));
    if let Some(whole) = &report.from_file {
        lines.push(format!(
            "logits from the picture's file, every step on ours: max abs {:.3e}, max ULP {}",
            whole.max_abs, whole.max_ulp
        ));
    }
    lines.push(format!(
        "{} tensors compared: max abs {:.3e}, max ULP {}{agreement}",
        report.stages.len(),
        report.max_abs,
        report.max_ulp
    ));
    lines.join("\n")
}
