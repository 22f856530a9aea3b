//! `densenet evaluate`

use super::categories::categories;
use super::output::Output;
use super::progress::Pictures;
use super::reading;
use super::source;
use anyhow::{Context, Result};
use densenet::data::{open_evaluation, Dataset, OnUnreadable};
use densenet::evaluate::{evaluate, EvaluateOptions, Evaluation};
use densenet::model::{Arch, Memory};
use densenet::report::{
    confusion_matrix, evaluation_page, mistakes_sheet, reliability_diagram, EvaluationPage, Page,
};
use densenet::tch::Device;
use densenet::weights::Outputs;
use densenet::Predictor;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Labelled pictures: a folder with a folder for each class (of a folder with train and val, val), a folder of MNIST's
    /// files (its t10k part), or a list: CSV (path,label or path,labels) or JSON lines. All of it is evaluated on: for the
    /// share that `finetune` split off, see `densenet report`
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A checkpoint file, or a name from `weights list`, downloaded on first use
    #[arg(long, value_name = "WEIGHTS")]
    weights: String,
    #[command(flatten)]
    reading: reading::Args,
    /// Completes a tag given as --weights (imagenet1k_v1)
    #[arg(long)]
    arch: Option<Arch>,
    /// Class names, one a line, in the classifier's order, or `imagenet` [default: the sidecar's]
    #[arg(long, value_name = "FILE")]
    categories: Option<String>,
    /// Average the outputs of ten crops (corners, middle, mirrored), as the original code does
    #[arg(long)]
    ten_crop: bool,
    /// Pictures the network takes at once
    #[arg(long, default_value_t = 32, value_name = "B", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Threads that read pictures
    #[arg(long, default_value_t = 2, value_name = "N")]
    workers: u16,
    /// Go on without pictures that cannot be read, and exit with 1 in the end
    #[arg(long)]
    skip_unreadable: bool,
    /// Write a page with everything on it, pictures too: FILE.html
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the pictures alone: confusion.svg, reliability.svg, mistakes.svg
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    args.report.as_deref().map_or(Ok(()), Page::check_path)?;
    let dataset = open_evaluation(&args.data)?;
    let source = source::weights(&args.weights, args.arch, output)?;
    let mut predictor = Predictor::load_with(&source, device, &args.reading.options(Memory::Standard))?;
    if let Some(names) = &args.categories {
        predictor = predictor.with_categories(categories(names)?)?;
    }
    predictor.notes().iter().for_each(|note| output.note(note));
    let options = EvaluateOptions {
        batch_size: args.batch_size as usize,
        workers: args.workers.into(),
        ten_crop: args.ten_crop,
        on_unreadable: if args.skip_unreadable { OnUnreadable::Skip } else { OnUnreadable::Fail },
        ..EvaluateOptions::default()
    };
    let bar = Pictures::new(output);
    let evaluation =
        evaluate(&predictor, dataset.clone(), &options, &mut |done, total| bar.set(done, total))?;
    drop(bar);
    evaluation.note.iter().for_each(|note| output.note(note));
    for skipped in &evaluation.skipped {
        output.note(format_args!("left out: {}", skipped.error));
        output.answer_is_no();
    }
    if let Some(folder) = &args.pictures {
        write_pictures(folder, &evaluation, &*dataset)?;
    }
    if let Some(path) = &args.report {
        let facts = [
            ("weights".to_string(), source.name()),
            ("pictures".to_string(), format!("{} ({})", evaluation.images, args.data.display())),
        ];
        let page = EvaluationPage {
            title: "Evaluation",
            facts: &facts,
            evaluation: &evaluation,
            dataset: &*dataset,
            before: &[],
        };
        evaluation_page(&page)?.write(path)?;
    }
    output.record(&evaluation, || text(&evaluation))
}

fn write_pictures(folder: &Path, evaluation: &Evaluation, dataset: &dyn Dataset) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut pictures = vec![
        ("reliability.svg", reliability_diagram(&evaluation.calibration)),
        ("mistakes.svg", mistakes_sheet(&evaluation.mistakes, dataset)?),
    ];
    if evaluation.outputs == Outputs::Classes {
        pictures.push(("confusion.svg", confusion_matrix(evaluation)?));
    }
    for (name, svg) in pictures {
        let path = folder.join(name);
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn text(evaluation: &Evaluation) -> String {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mut lines = vec![format!("{} pictures, loss {:.4}", evaluation.images, evaluation.loss)];
    if let (Some(top1), Some(top5)) = (evaluation.top1, evaluation.top5) {
        lines.push(format!("top-1 {}, top-5 {}", percent(top1), percent(top5)));
    }
    if let Some(exact) = evaluation.exact_match {
        lines.push(format!("every label right {}", percent(exact)));
    }
    let means = [
        ("precision", evaluation.macro_precision),
        ("recall", evaluation.macro_recall),
        ("F1", evaluation.macro_f1),
        ("AUROC", evaluation.macro_auroc),
    ];
    let means = means.iter().filter_map(|(name, mean)| mean.map(|mean| format!("{name} {}", percent(mean))));
    lines.push(format!("mean of classes: {}", means.collect::<Vec<_>>().join(", ")));
    lines.push(format!("expected calibration error {}", percent(evaluation.calibration.ece)));
    lines.join("\n")
}
