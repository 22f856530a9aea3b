//! The library in a few lines: classifies a folder of pictures whose names tell what is on them.
//!
//! ```text
//! cargo run --release --example demo
//! ```
//!
//! prints a line for each picture that is taken for something else, and
//! `27 of 30 pictures right (90 %), DenseNet-BC 40-12 on Fashion-MNIST, 0.1 s`. Exits with 1 below 90 %.

use densenet::tch::Device;
use densenet::{transforms, Predictor};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let start = Instant::now();
    let predictor = Predictor::open("fashion_mnist", Device::Cpu)?;
    let mut files: Vec<PathBuf> = std::fs::read_dir("examples/images")?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "png"));
    files.sort();

    let pictures = files.iter().map(transforms::open).collect::<Result<Vec<_>, _>>()?;
    let predictions = predictor.predict(&pictures, 1)?;

    let mut right = 0;
    for (file, best) in files.iter().zip(&predictions) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let truth = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        if truth == as_in_file_names(&best[0].label) {
            right += 1;
        } else {
            println!("{name} is taken for {} ({:.0} %)", best[0].label, 100.0 * best[0].probability);
        }
    }
    let share = 100.0 * right as f64 / files.len() as f64;
    println!(
        "{right} of {} pictures right ({share:.0} %), DenseNet-BC 40-12 on Fashion-MNIST, {:.1} s",
        files.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(if share >= 90.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `T-shirt/top` to `t_shirt_top`.
fn as_in_file_names(label: &str) -> String {
    let words: Vec<&str> =
        label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("_").to_lowercase()
}
