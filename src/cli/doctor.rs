//! `densenet doctor`

use super::output::Output;
use anyhow::Result;
use densenet::runtime::{self, DeviceSpec, Report};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, device: DeviceSpec, output: &mut Output) -> Result<()> {
    let report = Report::collect();
    output.record(&report, || report.to_string().trim_end().to_string())?;
    // Told last, after everything that explains it.
    runtime::device(device)?;
    Ok(())
}
