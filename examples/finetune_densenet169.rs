//! Fine-tunes densenet169 on a folder of pictures, by the library alone: what `densenet finetune` does.
//!
//! ```text
//! cargo run --release --example finetune_densenet169 -- FOLDER RUN [WEIGHTS]
//! densenet finetune --data FOLDER --output RUN --weights densenet169.imagenet1k_v1 --epochs 5    # the same
//! ```
//!
//! FOLDER holds train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg. If RUN holds a run already, it goes on.

use densenet::runtime::{self, DeviceSpec};
use densenet::train::{DataSource, EpochReport, Observer, Recipe, Run, Setup, Start, TrainError};
use densenet::transforms::augment::Augment;
use densenet::weights::{NetworkOptions, WeightsSource};

/// Prints a line an epoch.
struct Lines;

impl Observer for Lines {
    fn epoch(&mut self, epoch: &EpochReport) {
        let judged = epoch.validation.unwrap_or(epoch.train);
        println!("epoch {}: loss {:.4}, accuracy {:.2} %", epoch.epoch, judged.loss, 100.0 * judged.accuracy);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    runtime::keep_freed_memory();
    let mut arguments = std::env::args().skip(1);
    let (folder, output) =
        arguments.next().zip(arguments.next()).ok_or("give a folder of pictures and one for the run")?;
    let weights = arguments.next().unwrap_or("densenet169.imagenet1k_v1".to_string());
    let device = runtime::device(DeviceSpec::Auto)?;

    let setup = Setup {
        start: Start::Weights(WeightsSource::resolve(&weights)?, NetworkOptions::default()),
        data: DataSource::at(folder),
        recipe: Recipe { epochs: 5, augment: Augment::named("imagenet")?, ..Recipe::default() },
        transforms: None,
        size: None,
    };
    let mut run = match Run::start(&output, &setup, device) {
        Err(TrainError::RunExists { .. }) => Run::resume(&output, device)?,
        run => run?,
    };
    let summary = run.fit(&mut Lines)?;
    println!("{:?} after {} epochs; the weights: {}", summary.end, summary.epochs, summary.weights.display());
    Ok(())
}
