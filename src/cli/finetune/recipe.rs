//! A recipe as it is typed.

use crate::cli::memory::MemoryArg;
use anyhow::{Context, Result};
use clap::ValueEnum;
use densenet::train::{
    AdamW, BatchNorms, ClassWeights, EmaOptions, Freeze, LossOptions, Monitor, OneCycle, Precision, Rates,
    Recipe, Rule, Schedule, Sgd, WarmUp,
};
use densenet::transforms::augment::Augment;

/// Numbers of at least one.
fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "must be a whole number, at least 1".to_string())
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerArg {
    Sgd,
    Adamw,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleArg {
    Constant,
    Step,
    Cosine,
    OneCycle,
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionArg {
    F32,
    Bf16,
    F16,
}

#[derive(Clone, Copy, ValueEnum)]
enum MonitorArg {
    Accuracy,
    Loss,
}

#[derive(Clone, Copy, ValueEnum)]
enum BatchNormsArg {
    Live,
    Frozen,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Recipe")]
pub struct RecipeArgs {
    /// Passes over the data
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count)]
    epochs: usize,
    /// Pictures a batch
    #[arg(long, default_value_t = 32, value_name = "B", value_parser = count)]
    batch_size: usize,
    /// Batches whose gradients make one step
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = count)]
    accumulate: usize,
    /// Seed of weights, order, augmentation and dropout
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    /// Learning rate; the highest one of a one-cycle schedule [default: 0.01 for sgd, 0.001 for adamw]
    #[arg(long, value_name = "L")]
    lr: Option<f64>,
    /// sgd or adamw
    #[arg(long, value_enum, default_value_t = OptimizerArg::Sgd)]
    optimizer: OptimizerArg,
    /// Momentum of SGD, Nesterov's where over 0
    #[arg(long, default_value_t = 0.9, value_name = "M")]
    momentum: f64,
    /// Decay of weights [default: 0.0001 for sgd, 0.01 for adamw]
    #[arg(long, value_name = "D")]
    weight_decay: Option<f64>,
    /// Decay of batch norms' parameters and biases, instead of that
    #[arg(long, value_name = "D")]
    norm_weight_decay: Option<f64>,
    /// A factor of the learning rate for a module (denseblock1=0.1); may be repeated, the longest name that fits counts
    #[arg(long = "rate", value_name = "MODULE=FACTOR", value_parser = rate)]
    rates: Vec<(String, f64)>,
    /// Each block learns by this factor slower than the one after it
    #[arg(long, value_name = "FACTOR")]
    layer_decay: Option<f64>,
    /// How the learning rate moves
    #[arg(long, value_enum, default_value_t = ScheduleArg::Cosine)]
    schedule: ScheduleArg,
    /// Epochs at which the step schedule divides by ten [default: after half and three quarters of them]
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    milestones: Vec<f64>,
    /// Let the one-cycle schedule move the momentum too, between 0.95 and 0.85
    #[arg(long)]
    cycle_momentum: bool,
    /// Epochs in which the learning rate rises from a hundredth, before the schedule
    #[arg(long, value_name = "EPOCHS")]
    warm_up: Option<f64>,
    /// What is not trained: nothing, backbone (all but the classifier), up-to:MODULE, gradual:EPOCHS (a block more every so
    /// many epochs, from the end), or modules (denseblock1,transition1)
    #[arg(long, default_value = "nothing", value_name = "WHAT", value_parser = freeze)]
    freeze: Freeze,
    /// Whether batch norms go on learning the statistics of pictures
    #[arg(long, value_enum, default_value_t = BatchNormsArg::Live)]
    batch_norms: BatchNormsArg,
    /// Probability taken from the right class and given to all
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    label_smoothing: f64,
    /// equal, balanced (rare classes count as much as frequent ones), or a number for each class
    #[arg(long, default_value = "equal", value_name = "WEIGHTS", value_parser = class_weights)]
    class_weights: ClassWeights,
    /// Scale gradients down where their norm is above this
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f64>,
    /// Keep a running mean of the weights with this decay (0.999), and validate and hand out that
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// What a forward pass computes in; f16 on CUDA alone
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// What a step keeps for its backward pass
    #[arg(long, value_enum, default_value_t = MemoryArg::Standard)]
    memory: MemoryArg,
    /// Lay weights out channels-last
    #[arg(long)]
    channels_last: bool,
    /// Dropout [default: the network's own, usually none]
    #[arg(long, value_name = "P")]
    drop_rate: Option<f64>,
    /// What tells the best epoch [default: accuracy; loss where pictures have several labels]
    #[arg(long, value_enum)]
    monitor: Option<MonitorArg>,
    /// End after so many epochs without a better one
    #[arg(long, value_name = "EPOCHS", value_parser = count)]
    patience: Option<usize>,
    /// Save after every so many steps too, not only after every epoch
    #[arg(long, value_name = "STEPS", value_parser = count)]
    save_every: Option<usize>,
}

fn rate(text: &str) -> Result<(String, f64), String> {
    let parts =
        text.split_once('=').and_then(|(name, factor)| Some((name.to_string(), factor.parse().ok()?)));
    parts.ok_or_else(|| "must be MODULE=FACTOR, such as denseblock1=0.1".to_string())
}

fn freeze(text: &str) -> Result<Freeze, String> {
    Ok(match text.split_once(':') {
        Some(("up-to", module)) => Freeze::UpTo(module.to_string()),
        Some(("gradual", epochs)) => Freeze::Gradual { epochs: count(epochs)? },
        Some((what, _)) => return Err(format!("{what:?} is neither up-to nor gradual")),
        None if text == "nothing" => Freeze::Nothing,
        None if text == "backbone" => Freeze::Backbone,
        None => Freeze::Modules(text.split(',').map(str::to_string).collect()),
    })
}

fn class_weights(text: &str) -> Result<ClassWeights, String> {
    Ok(match text {
        "equal" => ClassWeights::Equal,
        "balanced" => ClassWeights::Balanced,
        _ => {
            let numbers = text.split(',').map(str::parse).collect::<Result<_, _>>();
            ClassWeights::Given(
                numbers.map_err(|_| "must be equal, balanced, or numbers with commas between")?,
            )
        }
    })
}

impl RecipeArgs {
    pub fn recipe(&self, augment: &str) -> Result<Recipe> {
        let (rule, lr, decay) = match self.optimizer {
            OptimizerArg::Sgd => {
                let sgd = Sgd { momentum: self.momentum, nesterov: self.momentum > 0.0, ..Sgd::default() };
                (Rule::Sgd(sgd), 0.01, 1e-4)
            }
            OptimizerArg::Adamw => (Rule::AdamW(AdamW::default()), 1e-3, 1e-2),
        };
        let epochs = self.epochs as f64;
        let milestones = match self.milestones.is_empty() {
            // The paper's.
            true => vec![0.5 * epochs, 0.75 * epochs],
            false => self.milestones.clone(),
        };
        Ok(Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            accumulate: self.accumulate,
            seed: self.seed,
            lr: self.lr.unwrap_or(lr),
            rates: Rates {
                weight_decay: self.weight_decay.unwrap_or(decay),
                norm_weight_decay: self.norm_weight_decay,
                factors: self.rates.clone(),
                layer_decay: self.layer_decay,
            },
            optimizer: rule,
            schedule: match self.schedule {
                ScheduleArg::Constant => Schedule::Constant,
                ScheduleArg::Step => Schedule::MultiStep { milestones, gamma: 0.1 },
                ScheduleArg::Cosine => Schedule::Cosine { min_lr: 0.0 },
                ScheduleArg::OneCycle => Schedule::OneCycle(OneCycle {
                    cycle_momentum: self.cycle_momentum.then_some((0.85, 0.95)),
                    ..OneCycle::default()
                }),
            },
            warm_up: self.warm_up.map(|epochs| WarmUp { epochs, start_factor: 0.01 }),
            freeze: self.freeze.clone(),
            batch_norms: match self.batch_norms {
                BatchNormsArg::Live => BatchNorms::Live,
                BatchNormsArg::Frozen => BatchNorms::Frozen,
            },
            loss: LossOptions {
                label_smoothing: self.label_smoothing,
                class_weights: self.class_weights.clone(),
            },
            clip_norm: self.clip_norm,
            ema: self.ema.map(|decay| EmaOptions { decay, warm_up: true }),
            precision: match self.precision {
                PrecisionArg::F32 => Precision::F32,
                PrecisionArg::Bf16 => Precision::Bf16,
                PrecisionArg::F16 => Precision::F16,
            },
            memory: self.memory.into(),
            channels_last: self.channels_last,
            drop_rate: self.drop_rate,
            augment: augmentation(augment)?,
            monitor: self.monitor.map(|monitor| match monitor {
                MonitorArg::Accuracy => Monitor::Accuracy,
                MonitorArg::Loss => Monitor::Loss,
            }),
            patience: self.patience,
            save_every: self.save_every,
            ..Recipe::default()
        })
    }
}

fn augmentation(name: &str) -> Result<Augment> {
    if !name.ends_with(".json") {
        return Ok(Augment::named(name)?);
    }
    let text = std::fs::read_to_string(name).with_context(|| format!("cannot read the recipe in {name}"))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is no recipe of augmentation"))
}
