//! `densenet features`

use super::output::Output;
use super::reading;
use super::records::{Embedded, Unreadable};
use super::source;
use anyhow::{bail, Result};
use densenet::model::{Arch, Memory};
use densenet::predictor::{embed_files, Embeddings, StreamOptions};
use densenet::tch::Device;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Picture files, folders of pictures, or - for a list of files on standard input; one folder with a folder for each
    /// class gives labels too
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A checkpoint file (one without a classifier will do), or a name from `weights list`, downloaded on first use
    #[arg(long, default_value = "fashion_mnist", value_name = "WEIGHTS")]
    weights: String,
    #[command(flatten)]
    reading: reading::Args,
    /// Completes a tag given as --weights (imagenet1k_v1)
    #[arg(long)]
    arch: Option<Arch>,
    /// Pictures the network takes at once
    #[arg(long, default_value_t = 8, value_name = "B", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// What is written: FILE.safetensors (names in its header), or FILE.npy (names beside it in FILE.json)
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    Embeddings::check_path(&args.output)?;
    let files = super::pictures::find(&args.images)?;
    let source = source::weights(&args.weights, args.arch, output)?;
    let loaded = source.load_with(device, &args.reading.options(Memory::Standard))?;
    let transforms = loaded.description.transforms.clone().unwrap_or_default();
    let mut embeddings = Embeddings::new(loaded.network.config.num_features() as usize, source.name());
    let folder = match &args.images[..] {
        [folder] if folder.is_dir() => Some(folder.as_path()),
        _ => None,
    };
    let options = StreamOptions { batch_size: args.batch_size as usize, ..StreamOptions::default() };
    let mut written = Ok(());
    embed_files(&loaded.network, &transforms, &files, &options, |(path, result)| {
        let image = path.display().to_string();
        match result {
            Ok(row) => embeddings.push(image, class_of(path, folder), &row),
            Err(error) => {
                output.item_failed(&error);
                written = output.json_record(&Unreadable { image, error: &error.to_string() });
            }
        }
        written.is_ok()
    });
    written?;
    if embeddings.is_empty() {
        bail!("none of {} pictures could be read: nothing is written", files.len());
    }
    embeddings.write(&args.output)?;
    let path = args.output.display().to_string();
    let (images, features) = (embeddings.len(), embeddings.width());
    let text = format!("{path}: {images} pictures, {features} features each");
    output.record(&Embedded { output: path, images, features, classes: embeddings.classes() }, || text)
}

/// The folder right below `folder` that a picture is in.
fn class_of(path: &Path, folder: Option<&Path>) -> Option<String> {
    let mut parts = path.strip_prefix(folder?).ok()?.components();
    let first = parts.next()?;
    parts.next()?;
    Some(first.as_os_str().to_string_lossy().into_owned())
}
