//! `densenet explain`

use super::output::Output;
use super::reading;
use super::records::{Explained, Unreadable};
use super::source;
use anyhow::{bail, Context, Result};
use clap::ValueEnum;
use densenet::explain::{overlay, Method};
use densenet::model::{Arch, Memory};
use densenet::predictor::{PredictError, Prediction};
use densenet::tch::Device;
use densenet::{transforms, Predictor};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Picture files, folders of pictures, or - for a list of files on standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A checkpoint file, or a name from `weights list`, downloaded on first use
    #[arg(long, default_value = "fashion_mnist", value_name = "WEIGHTS")]
    weights: String,
    #[command(flatten)]
    reading: reading::Args,
    /// Completes a tag given as --weights (imagenet1k_v1)
    #[arg(long)]
    arch: Option<Arch>,
    /// The class to explain, by name or number [default: each picture's likeliest]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// How channels are weighed
    #[arg(long, value_enum, default_value_t = MethodArg::GradCam)]
    method: MethodArg,
    /// The folder for the overlays, or for one picture a file that ends in .png
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodArg {
    GradCam,
    #[value(name = "grad-cam++")]
    GradCamPlusPlus,
}

impl From<MethodArg> for Method {
    fn from(method: MethodArg) -> Method {
        match method {
            MethodArg::GradCam => Method::GradCam,
            MethodArg::GradCamPlusPlus => Method::GradCamPlusPlus,
        }
    }
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    let files = super::pictures::find(&args.images)?;
    let single = args.output.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    if single && files.len() != 1 {
        bail!("{} is one file, but there are {} pictures: name a folder", args.output.display(), files.len());
    }
    let source = source::weights(&args.weights, args.arch, output)?;
    let predictor = Predictor::load_with(&source, device, &args.reading.options(Memory::Standard))?;
    let class = args.class.as_deref().map(|class| class_number(&predictor, class)).transpose()?;
    if !single {
        let folder = &args.output;
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut taken = HashSet::new();
    for file in &files {
        let image = file.display().to_string();
        match explain(&predictor, file, class, args.method.into()) {
            Ok((overlay, prediction, map)) => {
                let path = match single {
                    true => args.output.clone(),
                    false => args.output.join(file_name(file, prediction.index, &mut taken)),
                };
                overlay.save(&path).with_context(|| format!("cannot write {}", path.display()))?;
                let written = path.display().to_string();
                let text = format!(
                    "{image}: {} {:.1} % → {written}",
                    prediction.label,
                    100.0 * prediction.probability
                );
                let record =
                    Explained { image, class: &prediction, method: args.method.into(), output: written, map };
                output.record(&record, || text)?;
            }
            Err(error) => {
                output.item_failed(&error);
                output.json_record(&Unreadable { image, error: &error.to_string() })?;
            }
        }
    }
    Ok(())
}

/// A class by its name, else by its number.
fn class_number(predictor: &Predictor, class: &str) -> Result<i64> {
    let classes = predictor.config().num_classes;
    if let Some(place) = predictor.categories().iter().position(|name| name == class) {
        return Ok(place as i64);
    }
    match class.parse() {
        Ok(number) if (0..classes).contains(&number) => Ok(number),
        _ => bail!("no class is called {class:?}, and none has that number: there are 0 to {}", classes - 1),
    }
}

type Overlaid = (transforms::RgbImage, Prediction, Vec<Vec<f32>>);

fn explain(
    predictor: &Predictor,
    file: &Path,
    class: Option<i64>,
    method: Method,
) -> Result<Overlaid, PredictError> {
    let picture = transforms::open(file)?;
    let activation = predictor.explain(&picture, class, method)?;
    let seen = predictor.transforms().seen(&picture)?;
    let prediction = predictor.rated(&activation.logits, activation.class as usize)?;
    let rows = activation.map.f_unbind(0)?;
    let map = rows.iter().map(Vec::try_from).collect::<std::result::Result<_, _>>()?;
    Ok((overlay(&seen, &activation.map)?, prediction, map))
}

/// `NAME_CLASS.png`; of pictures with one name the later ones get a number.
fn file_name(file: &Path, class: usize, taken: &mut HashSet<String>) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut name = format!("{stem}_{class}.png");
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{stem}_{class}_{number}.png");
        number += 1;
    }
    name
}
