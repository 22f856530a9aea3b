//! `densenet parity`

use super::memory::MemoryArg;
use super::output::Output;
use super::reading;
use super::source;
use anyhow::{bail, Result};
use densenet::parity::{evaluation, training_step, ParityReport, Reference};
use densenet::tch::Device;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A checkpoint file, or a name from `weights list`, downloaded on first use
    #[arg(long, value_name = "WEIGHTS")]
    weights: String,
    #[command(flatten)]
    reading: reading::Args,
    /// Tensors saved by PyTorch: `input`, `logits`, and outputs of `features.*` modules; with --train `target`, `loss`,
    /// `grad.<name>` and running statistics
    #[arg(long, value_name = "REF")]
    reference: PathBuf,
    /// Largest absolute difference to accept: 0 asks for the same bits
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    tolerance: f64,
    /// Run one training step instead
    #[arg(long)]
    train: bool,
    /// What the training step keeps for its backward pass
    #[arg(long, value_enum, default_value_t = MemoryArg::Standard, requires = "train")]
    memory: MemoryArg,
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    if args.tolerance.is_nan() || args.tolerance < 0.0 {
        bail!("--tolerance is {}, it must be 0 or more", args.tolerance);
    }
    let reference = Reference::open(&args.reference)?;
    let source = source::weights(&args.weights, None, output)?;
    let loaded = source.load_with(device, &args.reading.options(args.memory.into()))?;
    let compare = if args.train { training_step } else { evaluation };
    let report = compare(&loaded.network, &reference)?;
    output.record(&report, || text(&report))?;
    // 0 asks for the same bits: -0 is not 0, and NaN is only NaN's equal.
    let equal = report.first_difference.is_none();
    if !equal && (args.tolerance == 0.0 || report.max_abs.is_nan() || report.max_abs > args.tolerance) {
        output.answer_is_no();
        output.note(format_args!(
            "not equal within {}: the first difference is in {}. Another libtorch, processor, device or thread count \
             than the reference's rounds differently (try --threads); differences beyond 1e-4 are another model",
            args.tolerance,
            report.first_difference.as_deref().unwrap_or("none"),
        ));
    }
    Ok(())
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
    lines.push(format!(
        "{} tensors compared: max abs {:.3e}, max ULP {}{agreement}",
        report.stages.len(),
        report.max_abs,
        report.max_ulp
    ));
    lines.join("\n")
}
