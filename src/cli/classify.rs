//! `densenet classify`

use super::categories::categories;
use super::output::Output;
use super::pictures;
use super::reading;
use super::records::{Classified, Unreadable};
use super::source;
use anyhow::Result;
use densenet::model::{Arch, Memory};
use densenet::predictor::{Prediction, StreamOptions};
use densenet::tch::Device;
use densenet::weights::Outputs;
use densenet::Predictor;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Picture files, folders of pictures, or - for a list of files on standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A checkpoint file, or a name from `weights list`, downloaded on first use (fashion_mnist comes with the command:
    /// ten kinds of clothing, gray, 28×28); imagenet1k_v1 is enough with --arch
    #[arg(long, default_value = "fashion_mnist", value_name = "WEIGHTS")]
    weights: String,
    #[command(flatten)]
    reading: reading::Args,
    /// Refuse weights of another architecture than this one
    #[arg(long)]
    arch: Option<Arch>,
    /// Class names, one a line, in the classifier's order, or `imagenet` [default: the sidecar's]
    #[arg(long, value_name = "FILE")]
    categories: Option<String>,
    /// How many classes to print, likeliest first
    #[arg(long, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,
    /// How many pictures the network takes at once
    #[arg(long, default_value_t = 8, value_name = "B", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    let files = pictures::find(&args.images)?;
    let predictor = predictor(args, device, output)?;
    if predictor.categories().is_empty() {
        output.note(format_args!(
            "{} has no class names: classes are numbered; --categories names them",
            args.weights
        ));
    }
    let labels = Some(predictor.outputs()).filter(|outputs| *outputs == Outputs::Labels);
    if labels.is_some() {
        output.note(format_args!(
            "{}'s outputs are independent labels: each has a probability of its own, they need not add up to 100 %",
            args.weights
        ));
    }
    for note in predictor.notes() {
        output.note(note);
    }
    let options = StreamOptions {
        top_k: args.top_k as usize,
        batch_size: args.batch_size as usize,
        ..StreamOptions::default()
    };
    let mut written = Ok(());
    predictor.predict_files(&files, &options, |(path, result)| {
        let image = path.display().to_string();
        written = match &result {
            Ok(predictions) => {
                let text = || text(&image, predictions);
                output.record(&Classified { image: image.clone(), outputs: labels, predictions }, text)
            }
            Err(error) => {
                output.item_failed(error);
                output.json_record(&Unreadable { image, error: &error.to_string() })
            }
        };
        written.is_ok()
    });
    written
}

fn predictor(args: &Args, device: Device, output: &Output) -> Result<Predictor> {
    let source = source::weights(&args.weights, args.arch, output)?;
    let mut predictor = Predictor::load_with(&source, device, &args.reading.options(Memory::Standard))?;
    if let Some(arch) = args.arch {
        let found = predictor.config().arch();
        if found != Some(arch) {
            return Err(source.other_arch(found, arch).into());
        }
    }
    if let Some(names) = &args.categories {
        predictor = predictor.with_categories(categories(names)?)?;
    }
    Ok(predictor)
}

fn text(image: &str, predictions: &[Prediction]) -> String {
    let best = predictions.iter().map(|best| format!("{} {:.1} %", best.label, 100.0 * best.probability));
    format!("{image}: {}", best.collect::<Vec<_>>().join(", "))
}
