//! JPEG photographs to batches: the loader against torchvision's `ImageFolder` under torch's `DataLoader`, with PIL.
//!
//! ```text
//! pip download --no-deps scikit-image && unzip scikit_image-*.whl 'skimage/data/*'
//! cargo bench --bench loader -- --photos skimage/data
//! ```
//!
//! The photographs are scikit-image's that are free for any use: astronaut (NASA, public domain), chelsea (CC0), coffee
//! (CC0, by the photographer), rocket (SpaceX, CC0), hubble_deep_field (NASA, public domain); as JPEG files of about
//! 500×375 pixels, quality 90, 4:2:0, made anew each time and not part of the repository. Without `--photos`, made-up pictures
//! of that size. Every file lies in the page cache, every participant runs an epoch before it is measured, and Python's workers
//! live on between epochs.

mod peer;

use anyhow::{bail, Context, Result};
use clap::Parser;
use densenet::data::{augmented, ImageFolder, Loader, LoaderOptions};
use densenet::runtime;
use densenet::transforms::augment::Augment;
use densenet::transforms::{ImageClassification, JPEG_DECODER};
use peer::table::{self, median, Row};
use peer::{count, in_turn, number, serve_if_participant, text, Participant, Peer};
use serde_json::{json, Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Compares making batches of JPEG files: torchvision's DataLoader, this crate's loader.
#[derive(Parser)]
struct Args {
    /// The folder of scikit-image's photographs (`skimage/data` of its wheel)
    #[arg(long)]
    photos: Option<PathBuf>,
    /// Pictures an epoch
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pictures: u32,
    /// Pictures a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// How often each participant is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only this many workers
    #[arg(long)]
    workers: Option<u32>,
    /// Only this recipe: none (evaluation's preset) or imagenet (RandomResizedCrop, flip)
    #[arg(long, value_parser = ["none", "imagenet"])]
    recipe: Option<String>,
    /// Print one JSON object a participant
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let mut prepared = None;
    if serve_if_participant(|command, question| answer(&mut prepared, command, question))? {
        return Ok(());
    }
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let made = json!({
        "command": "photographs", "source": args.photos, "folder": folder.path(), "count": args.pictures
    });
    let version = Peer::python("PyTorch")?.ask(&made)?;
    for recipe in ["none", "imagenet"] {
        for workers in [1, 2] {
            let other = args.recipe.as_deref().is_some_and(|only| only != recipe);
            if other || args.workers.is_some_and(|only| only != workers) {
                continue;
            }
            compare(&args, &folder.path().display().to_string(), recipe, workers, &version)?;
        }
    }
    Ok(())
}

fn compare(args: &Args, folder: &str, recipe: &str, workers: u32, version: &Value) -> Result<()> {
    let prepare = json!({
        "command": "prepare_loader", "folder": folder, "recipe": recipe, "workers": workers,
        "batch_size": args.batch_size
    });
    let run = json!({ "command": "load_epoch" });
    let mut participants = Vec::new();
    let names = ["torchvision: DataLoader, PIL", "densenet: Loader"];
    for (name, peer) in names.into_iter().zip([Peer::python(names[0])?, Peer::this_binary(names[1])?]) {
        let mut peer = peer;
        peer.ask(&prepare)?;
        participants.push(Participant { name: name.to_string(), peer, run: run.clone() });
    }
    in_turn(&mut participants, 1)?;
    let answers = in_turn(&mut participants, args.rounds as usize)?;
    let mut rows = Vec::new();
    for (participant, answers) in participants.iter().zip(&answers) {
        let each = |answer| Ok(1000.0 * number(answer, "seconds")? / f64::from(args.pictures));
        let figures = answers.iter().map(each).collect::<Result<Vec<f64>>>()?;
        let speed = 1000.0 / median(&figures);
        let mut fields = Map::new();
        fields.insert("images_per_second".into(), speed.into());
        rows.push(Row {
            name: participant.name.clone(),
            figures,
            note: format!("{speed:.0} images/s"),
            fields,
        });
    }
    if !args.json {
        println!(
            "\nrecipe {recipe}, {workers} workers, {} pictures, {} rounds; JPEG here: {JPEG_DECODER}; {}: ms an image",
            args.pictures,
            args.rounds,
            version.as_str().context("no version")?
        );
    }
    let fields = json!({
        "bench": "loader", "recipe": recipe, "workers": workers, "pictures": args.pictures,
        "batch_size": args.batch_size, "decoder": JPEG_DECODER, "python": version,
    });
    let Value::Object(fields) = fields else { bail!("not an object") };
    table::print(&rows, 0, "ms an image", &fields, args.json);
    Ok(())
}

/// A loader and how many epochs it has made.
type Prepared = Option<(Loader, u64)>;

/// This binary as a participant.
fn answer(prepared: &mut Prepared, command: &str, question: &Value) -> Result<Value> {
    match command {
        "prepare_loader" => {
            runtime::keep_freed_memory();
            let dataset = Arc::new(ImageFolder::open(text(question, "folder")?)?);
            let recipe = Augment::named(text(question, "recipe")?)?;
            let options = LoaderOptions {
                batch_size: count(question, "batch_size")?.try_into()?,
                workers: count(question, "workers")?.try_into()?,
                shuffle: true,
                ..LoaderOptions::default()
            };
            let pipeline = augmented(recipe, ImageClassification::default())?;
            *prepared = Some((Loader::new(dataset, pipeline, options)?, 0));
            Ok(Value::Null)
        }
        "load_epoch" => {
            let (loader, epochs) = prepared.as_mut().context("not prepared")?;
            *epochs += 1;
            let start = Instant::now();
            let mut pictures = 0;
            for batch in loader.epoch(*epochs, 0)? {
                pictures += batch?.images.size()[0];
            }
            let seconds = start.elapsed().as_secs_f64();
            if pictures as usize != loader.dataset().len() {
                bail!("{pictures} pictures came out of {}", loader.dataset().len());
            }
            Ok(json!({ "seconds": seconds }))
        }
        _ => bail!("unknown command {command}"),
    }
}
