//! Fine-tuning and training, start to finish.
//!
//! - [`Run`]: a network, data and a folder; [`Run::start`] or [`Run::resume`], then [`Run::fit`]. An [`Observer`] watches.
//! - [`report`]: a page about a run; [`History`]: its metrics.
//! - [`Recipe`], [`DataSource`], [`Setup`]: all of it as data. [`RunDir`]: the folder.
//! - [`Trainer`]: one step after the other, for loops of one's own; made of [`Optimizer`] ([`Sgd`], [`AdamW`]),
//!   [`Scheduler`], [`Loss`], [`Ema`], [`GradScaler`], [`Freeze`] and [`Rates`], each usable alone.
//!
//! May use everything but `cli`. Invariants: on the CPU, with `Memory::Standard` or `Memory::Efficient`, a step is PyTorch's to the bit; whatever stops a run,
//! its folder holds a whole last state, and a run that goes on from there computes what it would have computed.
//!
//! Sources: `torch.optim`, `torch.optim.lr_scheduler`, `torch.amp`, and torchvision's `references/classification`.

mod ema;
mod error;
mod fit;
mod loss;
mod observer;
mod optimizer;
mod parameters;
mod precision;
mod progress;
mod recipe;
mod report;
mod run;
mod run_dir;
mod schedule;
mod source;
mod trainer;

pub use ema::{Ema, EmaOptions};
pub use error::{Result, TrainError};
pub use fit::{End, Summary};
pub use loss::{ClassWeights, Loss, LossOptions};
pub use observer::{EpochReport, Figures, Observer, Outline, StepReport};
pub use optimizer::{AdamW, Group, Optimizer, Rule, Sgd};
pub use parameters::{is_below, parameters, Freeze, Rates};
pub use precision::{GradScaler, Precision};
pub use progress::Best;
pub use recipe::{BatchNorms, Monitor, Recipe};
pub use report::{report, History, RunReport};
pub use run::{Run, Setup, Start};
pub use run_dir::{Plan, RunDir, Weights};
pub use schedule::{OneCycle, Schedule, Scheduler, WarmUp};
pub use source::{DataSource, TrainingData, Validation};
pub use trainer::{Seen, Trainer, Updated};
