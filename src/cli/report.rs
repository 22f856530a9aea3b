//! `densenet report`

use super::output::Output;
use super::progress::Pictures;
use super::records::Reported;
use anyhow::Result;
use densenet::tch::Device;
use densenet::train::{report, RunDir, RunReport};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder: `finetune --output`
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The page: .html or .md [default: RUN/report.html]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    let report = write(&RunDir::open(&args.run)?, args.output.as_deref(), device, output)?;
    let page = report.page.display().to_string();
    let text = match report.evaluation.as_ref().and_then(|evaluation| evaluation.top1) {
        Some(top1) => format!("{page}: top-1 {:.2} %", 100.0 * top1),
        None => page.clone(),
    };
    output.record(&Reported { output: &page, evaluation: report.evaluation.as_ref() }, || text)
}

/// With a bar of the pictures.
pub fn write(dir: &RunDir, page: Option<&Path>, device: Device, output: &Output) -> Result<RunReport> {
    let bar = Pictures::new(output);
    Ok(report(dir, page, device, &mut |done, total| bar.set(done, total))?)
}
