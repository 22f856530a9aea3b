//! `densenet finetune`

mod bar;
mod recipe;

use super::output::{self, Output};
use super::report;
use super::source;
use anyhow::{bail, Context, Result};
use bar::TrainingBar;
use densenet::data::OnUnreadable;
use densenet::model::{Arch, DenseNetConfig};
use densenet::runtime;
use densenet::tch::Device;
use densenet::train::{DataSource, End, Run, RunDir, Setup, Start, Summary, Validation};
use densenet::weights::{imagenet_categories, NetworkOptions, WeightsSource};
use recipe::RecipeArgs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// Go on with the run in this folder exactly where it was; everything else is as it was begun
    #[arg(long, value_name = "RUN", conflicts_with_all = ["data", "output", "RecipeArgs", "DataArgs"])]
    resume: Option<PathBuf>,
    /// Pictures: a folder of train/CLASS/… and val/CLASS/…, or of CLASS/…; MNIST's files; a list (path,label) in .csv or
    /// .jsonl, several labels a picture too (path,labels)
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// A new folder for weights, state and metrics
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    output: Option<PathBuf>,
    /// What to start from: a checkpoint file or a name from `weights list`; its classifier is replaced, unless it knows these
    /// very classes [default: densenet121.imagenet1k_v1]
    #[arg(long, value_name = "WEIGHTS", conflicts_with = "resume")]
    weights: Option<String>,
    /// Start from scratch: densenet121 …, densenet-bc-100-12 …; with --weights, the architecture of a half name
    #[arg(long, value_name = "ARCH", conflicts_with = "resume")]
    arch: Option<String>,
    /// Threads that read pictures [default: half the processors]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Do without the report at the end, which evaluates the best weights and draws curves (`densenet report RUN` writes it
    /// later)
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    data_options: DataArgs,
    #[command(flatten)]
    recipe: RecipeArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Data")]
struct DataArgs {
    /// A folder or list to validate with, instead of the data's own
    #[arg(long, value_name = "DIR", group = "judge")]
    validation: Option<PathBuf>,
    /// Validate with this share of the training pictures, 0 to 1
    #[arg(long, value_name = "SHARE", group = "judge")]
    validation_share: Option<f64>,
    /// Do without validation: the last weights are the result
    #[arg(long, group = "judge")]
    no_validation: bool,
    /// Class names for MNIST's files: a file with one a line, `imagenet`, or weights whose names are the same
    #[arg(long, value_name = "FILE")]
    categories: Option<String>,
    /// Leave out pictures that cannot be read, and say so; else they end the run
    #[arg(long)]
    skip_unreadable: bool,
    /// Side of the pictures, resized and cropped to it [default: the weights' own; for new networks 224, 32 for the small
    /// ones, or the size of MNIST's files]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..))]
    size: Option<u32>,
    /// What happens to pictures before they are learned from: none, flip, cifar, imagenet, jitter, trivial, rand, strong, or
    /// a recipe in a .json file
    #[arg(long, default_value = "imagenet", value_name = "NAME")]
    augment: String,
}

pub fn run(args: &Args, device: Device, threads_given: bool, output: &mut Output) -> Result<()> {
    let stop = signals()?;
    let mut run = match &args.resume {
        Some(path) => {
            let threads = RunDir::open(path)?.plan()?.threads;
            if !threads_given {
                runtime::set_threads(usize::try_from(threads).unwrap_or(1))?;
            } else if densenet::tch::get_num_threads() != threads {
                output.note(format_args!(
                    "the run began with {threads} threads: with another number it goes on, but not to the same bits"
                ));
            }
            Run::resume(path, device)?
        }
        None => {
            let (Some(data), Some(path)) = (&args.data, &args.output) else {
                bail!("--data and --output are needed")
            };
            let setup = args.setup(data.clone(), output)?;
            Run::start(path, &setup, device)?
        }
    };
    if let Some(workers) = args.workers {
        run.workers = workers;
    }
    let path = run.dir().path().display().to_string();
    let mut bar = TrainingBar::new(output, stop);
    let summary = run.fit(&mut bar)?;
    bar.written()?;
    output.record(&summary, || text(&summary, &path))?;
    if summary.end == End::Interrupted {
        output.interrupted();
    } else if !args.no_report {
        let report = report::write(run.dir(), None, device, output)?;
        output.note(format_args!("report: {}", report.page.display()));
    }
    Ok(())
}

/// Raised by SIGINT and SIGTERM; a second one ends the process at once.
fn signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the first signal finds the flag down, and raises it.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            output::INTERRUPTED.into(),
            Arc::clone(&stop),
        )
        .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
        .context("cannot listen for signals")?;
    }
    stop.store(false, Ordering::SeqCst);
    Ok(stop)
}

fn text(summary: &Summary, path: &str) -> String {
    let Summary { epochs, steps, seconds, .. } = summary;
    let took = format!("{epochs} epochs, {steps} steps, {seconds:.0} s");
    if summary.end == End::Interrupted {
        return format!("stopped after {took}; go on with: densenet finetune --resume {path}");
    }
    let early = if summary.end == End::Patience { " (no better epoch for long enough)" } else { "" };
    let weights = summary.weights.display();
    match &summary.best {
        Some(best) => format!(
            "{took}{early}; best epoch {}: accuracy {:.2} %, loss {:.4}; its weights: {weights}",
            best.epoch,
            100.0 * best.figures.accuracy,
            best.figures.loss
        ),
        None => format!("{took}; weights: {weights}"),
    }
}

impl Args {
    fn setup(&self, data: PathBuf, output: &Output) -> Result<Setup> {
        let options = &self.data_options;
        let validation = match (&options.validation, options.validation_share) {
            (Some(path), _) => Validation::At(path.clone()),
            (None, Some(share)) => Validation::Share(share),
            (None, None) if options.no_validation => Validation::Nothing,
            (None, None) => Validation::Own,
        };
        let on_unreadable = if options.skip_unreadable { OnUnreadable::Skip } else { OnUnreadable::Fail };
        let categories = options.categories.as_deref().map(categories).transpose()?;
        Ok(Setup {
            start: self.start(output)?,
            data: DataSource { path: data, validation, categories, on_unreadable },
            recipe: self.recipe.recipe(&options.augment)?,
            size: options.size,
            transforms: None,
        })
    }

    fn start(&self, output: &Output) -> Result<Start> {
        let name = match (&self.weights, &self.arch) {
            (None, Some(arch)) => return Ok(Start::Scratch(DenseNetConfig::named(arch)?)),
            (Some(name), _) => name.as_str(),
            (None, None) => "densenet121.imagenet1k_v1",
        };
        let arch = self.arch.as_deref().map(str::parse::<Arch>).transpose()?;
        Ok(Start::Weights(source::weights(name, arch, output)?, NetworkOptions::default()))
    }
}

/// `imagenet`, names in a file, or those of weights.
fn categories(text: &str) -> Result<Vec<String>> {
    if text == "imagenet" {
        return Ok(imagenet_categories());
    }
    let source = WeightsSource::resolve(text)?;
    if let WeightsSource::File(path) = &source {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the class names in {}", path.display()))?;
        return Ok(text
            .lines()
            .map(|line| line.trim().to_string())
            .filter(|line| !line.is_empty())
            .collect());
    }
    Ok(source.sidecar()?.unwrap_or_default().categories)
}
