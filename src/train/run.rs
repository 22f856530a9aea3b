//! A run: a network, data and a folder, begun or gone on with.

use super::loss::{outputs_of, Loss};
use super::observer::Outline;
use super::parameters::parameters;
use super::progress::Progress;
use super::recipe::{Monitor, Recipe};
use super::run_dir::{Metrics, Plan, RunDir};
use super::source::{DataSource, IdxPictures, TrainingData};
use super::trainer::Trainer;
use super::{Result, TrainError};
use crate::checkpoint::{self, LoadOptions};
use crate::data::{augmented, plain, Loader, LoaderOptions};
use crate::model::{DenseNetConfig, Init, Stem};
use crate::transforms::ImageClassification;
use crate::weights::{NetworkOptions, Outputs, WeightsSource};
use crate::DenseNet;
use std::path::Path;
use std::sync::Arc;
use tch::{nn, Device, Kind};

/// What a run starts from.
#[derive(Debug, Clone)]
pub enum Start {
    /// Weights by file or name, and what is known of them.
    Weights(WeightsSource, NetworkOptions),
    /// A new network of that name or kind; classes and, for MNIST's files, input channels follow the data.
    Scratch(DenseNetConfig),
}

/// A new run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The network at first.
    pub start: Start,
    /// The pictures.
    pub data: DataSource,
    /// How it is trained.
    pub recipe: Recipe,
    /// How pictures become inputs; where absent as the weights say, and for new networks the size of MNIST's files, 32×32 for
    /// the small stem, else torchvision's ImageNet preset.
    pub transforms: Option<ImageClassification>,
    /// Another side of the inputs, in pixels; what is cut off around them keeps its share.
    pub size: Option<u32>,
}

/// A network being trained on data, in a folder that always holds its last state.
///
/// ```no_run
/// // (needs pictures)
/// use densenet::train::{DataSource, Recipe, Run, Setup, Start};
/// use densenet::weights::{NetworkOptions, WeightsSource};
/// use tch::Device;
///
/// let weights = WeightsSource::resolve("densenet169.imagenet1k_v1")?;
/// let setup = Setup {
///     start: Start::Weights(weights, NetworkOptions::default()),
///     data: DataSource::at("flowers"),
///     recipe: Recipe { epochs: 5, ..Recipe::default() },
///     transforms: None,
///     size: None,
/// };
/// let summary = Run::start("flowers-run", &setup, Device::Cpu)?.fit(&mut ())?;
/// println!("{:?}", summary.best);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Run {
    /// The network, optimizer and schedule.
    pub trainer: Trainer,
    /// Threads that read pictures. Nothing that is computed depends on it.
    pub workers: usize,
    pub(super) plan: Plan,
    pub(super) dir: RunDir,
    pub(super) data: TrainingData,
    pub(super) progress: Progress,
    pub(super) metrics: Metrics,
    pub(super) device: Device,
    notes: Vec<String>,
}

impl Run {
    /// Opens the data, makes the network, and saves what there is before the first step. Seeds libtorch's generator.
    ///
    /// # Errors
    /// Any [`TrainError`].
    pub fn start(output: impl AsRef<Path>, setup: &Setup, device: Device) -> Result<Run> {
        setup.recipe.validate()?;
        setup.recipe.precision.check(device)?;
        let data = setup.data.open(setup.recipe.seed)?;
        let dir = RunDir::create(output)?;
        let mut notes = Vec::new();
        if let Some(share) = data.split_off() {
            notes.push(format!(
                "the data is in one part: {:.0} % of each class, drawn by seed {}, are for validation",
                100.0 * share,
                setup.recipe.seed
            ));
        }
        tch::manual_seed(setup.recipe.seed as i64);
        let (network, transforms, start) = setup.network(&data, device, &mut notes)?;
        let plan = Plan {
            version: Plan::VERSION,
            densenet: env!("CARGO_PKG_VERSION").to_string(),
            recipe: setup.recipe.clone(),
            data: setup.data.clone(),
            start,
            config: network.config.clone(),
            categories: data.classes().to_vec(),
            outputs: outputs_of(data.train.as_ref()),
            transforms,
            threads: tch::get_num_threads(),
            pictures: data.fingerprint(),
        };
        let mut run = Run::assembled(network, plan, data, dir, Progress::default(), device)?;
        run.notes = notes;
        run.save()?;
        // Last: where the plan is, the state is.
        run.dir.write_plan(&run.plan)?;
        Ok(run)
    }

    /// Goes on with the run in a folder as if it had never stopped: on the CPU and with the same number of threads
    /// ([`Plan::threads`]) to the same bits.
    ///
    /// # Errors
    /// [`TrainError::NotARun`], [`TrainError::DataChanged`], or any other.
    pub fn resume(output: impl AsRef<Path>, device: Device) -> Result<Run> {
        let dir = RunDir::open(output)?;
        let plan = dir.plan()?;
        plan.recipe.precision.check(device)?;
        let data = plan.data.open(plan.recipe.seed)?;
        if data.fingerprint() != plan.pictures {
            let what = "pictures were added, removed or renamed, or their classes changed".to_string();
            return Err(TrainError::DataChanged { path: plan.data.path.clone(), what });
        }
        let vs = nn::VarStore::new(device);
        let network = DenseNet::with_init(&vs.root(), &plan.config, Init::Zeros)?;
        let (tensors, progress) = dir.state::<Progress>()?;
        let mut run = Run::assembled(network, plan, data, dir, progress, device)?;
        run.restore(tensors)?;
        Ok(run)
    }

    fn assembled(
        network: DenseNet,
        plan: Plan,
        data: TrainingData,
        dir: RunDir,
        progress: Progress,
        device: Device,
    ) -> Result<Run> {
        let recipe = &plan.recipe;
        let metrics = dir.open_metrics(progress.metrics)?;
        let loss = Loss::new(&recipe.loss, data.train.as_ref(), device)?;
        let batches = match recipe.drop_last {
            true => data.train.len() / recipe.batch_size,
            false => data.train.len().div_ceil(recipe.batch_size),
        };
        if batches == 0 {
            let (option, value) = ("the batch size", recipe.batch_size.to_string());
            let expected =
                "at most the number of training pictures where batches that are not full are left out";
            return Err(TrainError::Option { option, value, expected });
        }
        let trainer = Trainer::new(network, loss, recipe, recipe.steps_per_epoch(batches))?;
        recipe.freeze.apply(&trainer.network, progress.epoch)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (threads / 2).clamp(1, 8);
        Ok(Run { trainer, workers, plan, dir, data, progress, metrics, device, notes: Vec::new() })
    }

    /// What the run is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Its pictures.
    pub fn data(&self) -> &TrainingData {
        &self.data
    }

    /// What tells the best epoch.
    pub fn monitor(&self) -> Monitor {
        self.plan.recipe.monitor.unwrap_or(match self.plan.outputs {
            Outputs::Classes => Monitor::Accuracy,
            Outputs::Labels => Monitor::Loss,
        })
    }

    pub(super) fn outline(&self) -> Outline {
        let trained = parameters(&self.trainer.network);
        let trained = trained.iter().filter(|(_, parameter)| parameter.requires_grad());
        Outline {
            epochs: self.plan.recipe.epochs,
            epochs_done: self.progress.epoch,
            steps_per_epoch: self.steps_per_epoch(),
            train_images: self.data.train.len(),
            validation_images: self.data.validation.as_ref().map_or(0, |validation| validation.len()),
            classes: self.plan.categories.len(),
            parameters: [
                self.trainer.network.num_parameters(),
                trained.map(|(_, parameter)| parameter.numel() as i64).sum(),
            ],
            notes: self.notes.clone(),
        }
    }

    pub(super) fn steps_per_epoch(&self) -> usize {
        let recipe = &self.plan.recipe;
        let pictures = self.data.train.len();
        recipe.steps_per_epoch(match recipe.drop_last {
            true => pictures / recipe.batch_size,
            false => pictures.div_ceil(recipe.batch_size),
        })
    }

    /// The training pictures in the recipe's order, augmented.
    pub(super) fn train_loader(&self) -> Result<Loader> {
        let recipe = &self.plan.recipe;
        let pipeline = augmented(recipe.augment.clone(), self.plan.transforms.clone())?;
        let options =
            LoaderOptions { shuffle: recipe.shuffle, drop_last: recipe.drop_last, ..self.loader_options() };
        Ok(Loader::new(Arc::clone(&self.data.train), pipeline, options)?)
    }

    /// The validation pictures in their own order, as they are.
    pub(super) fn validation_loader(&self) -> Result<Option<Loader>> {
        let Some(validation) = &self.data.validation else { return Ok(None) };
        let pipeline = plain(self.plan.transforms.clone())?;
        Ok(Some(Loader::new(Arc::clone(validation), pipeline, self.loader_options())?))
    }

    fn loader_options(&self) -> LoaderOptions {
        LoaderOptions {
            batch_size: self.plan.recipe.batch_size,
            workers: self.workers,
            seed: self.plan.recipe.seed,
            on_unreadable: self.plan.data.on_unreadable,
            pin_memory: matches!(self.device, Device::Cuda(_)),
            ..LoaderOptions::default()
        }
    }
}

impl Setup {
    /// The network with the data's classes, its transforms, and what to call its beginning.
    fn network(
        &self,
        data: &TrainingData,
        device: Device,
        notes: &mut Vec<String>,
    ) -> Result<(DenseNet, ImageClassification, String)> {
        let classes = data.classes().len() as i64;
        let vs = nn::VarStore::new(device);
        let own = |config: DenseNetConfig| DenseNetConfig {
            memory: self.recipe.memory,
            drop_rate: self.recipe.drop_rate.unwrap_or(config.drop_rate),
            ..config
        };
        match &self.start {
            Start::Scratch(config) => {
                let in_channels = data.idx.as_ref().map_or(config.in_channels, |idx| idx.channels.into());
                let config = own(DenseNetConfig { num_classes: classes, in_channels, ..config.clone() });
                let network = DenseNet::new(&vs.root(), &config)?;
                let transforms = self.transforms.clone();
                let transforms = transforms.unwrap_or_else(|| fitting(&config, data.idx.as_ref()));
                let start = config.arch().map_or("a new network".to_string(), |arch| format!("a new {arch}"));
                Ok((network, sized(transforms, self.size), start))
            }
            Start::Weights(source, options) => {
                let dict = source.open_with(options)?;
                let description = source.describe(&dict, options)?;
                let config = own(description.config.clone());
                let mut network = DenseNet::with_init(&vs.root(), &config, Init::Empty)?;
                let load = LoadOptions { names: options.names.clone(), ..LoadOptions::default() };
                checkpoint::load(&network.named_tensors(), &dict, &load)?;
                if !description.categories.is_empty() && description.categories == data.classes() {
                    notes.push(format!("{} knows these very classes: its classifier stays", source.name()));
                } else {
                    network.reset_classifier(&vs, classes)?;
                }
                let known = self.transforms.clone().or(description.transforms);
                let transforms = known.unwrap_or_else(|| fitting(&config, None));
                Ok((network, sized(transforms, self.size), source.name()))
            }
        }
    }
}

/// Inputs of another side.
fn sized(mut transforms: ImageClassification, size: Option<u32>) -> ImageClassification {
    let Some(side) = size else { return transforms };
    transforms.resize_size = Some(match (transforms.resize_size, transforms.crop_size) {
        (Some(resize), Some(crop)) if crop > 0 => {
            (f64::from(side) * f64::from(resize) / f64::from(crop)).round() as u32
        }
        _ => side,
    });
    transforms.crop_size = Some(side);
    transforms
}

/// The transforms of a new network.
fn fitting(config: &DenseNetConfig, idx: Option<&IdxPictures>) -> ImageClassification {
    if let Some(IdxPictures { size: (width, height), channels, mean, std }) = idx {
        let side = (width == height).then_some(*width);
        return ImageClassification {
            resize_size: side,
            crop_size: side,
            mean: mean.clone(),
            std: std.iter().map(|std| if *std > 0.0 { *std } else { 1.0 }).collect(),
            channels: *channels,
            ..ImageClassification::default()
        };
    }
    let mut transforms = ImageClassification::default();
    if config.stem == Stem::Small {
        (transforms.resize_size, transforms.crop_size) = (Some(32), Some(32));
    }
    if config.in_channels == 1 {
        let mean = |values: &[f64]| vec![values.iter().sum::<f64>() / values.len() as f64];
        (transforms.mean, transforms.std) = (mean(&transforms.mean), mean(&transforms.std));
        transforms.channels = 1;
    }
    transforms
}

/// Whether all tensors of numbers are finite; else the first that is not.
pub(super) fn check_finite(tensors: &[(String, tch::Tensor)], step: usize) -> Result<()> {
    for (name, tensor) in tensors {
        let numbers = matches!(tensor.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16);
        if numbers && !bool::try_from(tensor.f_isfinite()?.f_all()?)? {
            return Err(TrainError::WeightsNotFinite { tensor: name.clone(), step });
        }
    }
    Ok(())
}
