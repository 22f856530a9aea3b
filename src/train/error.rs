//! What can go wrong in `train`.

use crate::autograd::AutogradError;
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::evaluate::EvaluateError;
use crate::model::ModelError;
use crate::report::ReportError;
use crate::transforms::TransformError;
use crate::weights::WeightsError;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Errors of [`crate::train`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An option out of range.
    #[error("{option} is {value}, it must be {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A name or a prefix that no parameter of the network has.
    #[error("no parameter is called {prefix:?} or lies below it; there are, for example: {known}")]
    UnknownPrefix {
        /// As given.
        prefix: String,
        /// Some that there are.
        known: String,
    },
    /// Everything is frozen.
    #[error("nothing is left to train: every parameter is frozen ({frozen})")]
    NothingTrainable {
        /// By what.
        frozen: String,
    },
    /// A parameter that is in two groups, or twice in one.
    #[error("the parameter {name} is given twice")]
    RepeatedParameter {
        /// Its name.
        name: String,
    },
    /// A state that is another optimizer's.
    #[error("the optimizer's state does not fit: {key} {problem}")]
    OptimizerState {
        /// The tensor.
        key: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No pictures to validate with.
    #[error(
        "{}: no pictures to validate with (no val/, valid/, validation/ or test/ beside train/): a network cannot be judged \
         by what it was trained on; add them, take a share of the training pictures (--validation-share 0.2), or do \
         without (--no-validation)",
        path.display()
    )]
    NoValidation {
        /// The data.
        path: PathBuf,
    },
    /// Something that is no data set.
    #[error("{}: {reason}", path.display())]
    NoData {
        /// What was given.
        path: PathBuf,
        /// What was looked for.
        reason: &'static str,
    },
    /// The loss is no number any more.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step} (learning rate {lr:.2e}): lower the learning rate, add warm-up \
         (--warm-up) or clip gradients (--clip-norm){}", if *half { "; or train in f32 (--precision f32)" } else { "" }
    )]
    LossNotFinite {
        /// NaN or an infinity.
        loss: f64,
        /// Counted from 1.
        epoch: usize,
        /// Counted from 1, over all epochs.
        step: usize,
        /// The learning rate of the step.
        lr: f64,
        /// Whether computed in a half type.
        half: bool,
    },
    /// The loss grows beyond what guessing gives.
    #[error(
        "training diverges: the loss has grown to {loss:.3} by epoch {epoch}, step {step} (learning rate {lr:.2e}), where \
         guessing gives {guess:.3}: lower the learning rate, add warm-up (--warm-up) or clip gradients (--clip-norm)"
    )]
    Diverged {
        /// The smoothed loss.
        loss: f64,
        /// The loss of equal probabilities.
        guess: f64,
        /// Counted from 1.
        epoch: usize,
        /// Counted from 1, over all epochs.
        step: usize,
        /// The learning rate of the step.
        lr: f64,
    },
    /// Weights that are no numbers, which would replace a checkpoint that is good.
    #[error("{tensor} holds NaN or infinity after step {step}: nothing was saved, the checkpoint before it is as it was")]
    WeightsNotFinite {
        /// The first such tensor.
        tensor: String,
        /// Steps done.
        step: usize,
    },
    /// A folder that already holds a run.
    #[error("{} holds a run already: go on with it (--resume), or give another folder", path.display())]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// Another process trains there.
    #[error("another process is at work on the run in {}", path.display())]
    RunBusy {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without a run.
    #[error("{} holds no run to go on with: {reason}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A file of a run that could not be read or written.
    #[error("{}: {source}", path.display())]
    RunIo {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The data is not what the run began with.
    #[error("{}: {what} since the run began: a run goes on with the very data it began with", path.display())]
    DataChanged {
        /// The data.
        path: PathBuf,
        /// What changed.
        what: String,
    },
    /// A line of a run's metrics that is none.
    #[error("{}, line {line}: not a line of metrics: {reason}", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The parser's words.
        reason: String,
    },
    /// A report of a run without weights.
    #[error("{} holds no weights yet: the run's first epoch is not done", path.display())]
    NoWeights {
        /// The run's folder.
        path: PathBuf,
    },
    /// From [`crate::data`].
    #[error(transparent)]
    Data(#[from] DataError),
    /// From [`crate::evaluate`].
    #[error(transparent)]
    Evaluate(Box<EvaluateError>),
    /// From [`crate::report`].
    #[error(transparent)]
    Report(#[from] ReportError),
    /// From [`crate::model`].
    #[error(transparent)]
    Model(#[from] ModelError),
    /// From [`crate::transforms`].
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// From [`crate::weights`].
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// From [`crate::checkpoint`].
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// From [`crate::autograd`].
    #[error(transparent)]
    Autograd(#[from] AutogradError),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl From<EvaluateError> for TrainError {
    fn from(error: EvaluateError) -> Self {
        TrainError::Evaluate(Box::new(error))
    }
}

/// `Result` of [`crate::train`].
pub type Result<T> = std::result::Result<T, TrainError>;

/// Refuses a number outside a range; NaN is outside every one.
pub(super) fn in_range(
    option: &'static str,
    value: f64,
    range: RangeInclusive<f64>,
    expected: &'static str,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(TrainError::Option { option, value: value.to_string(), expected })
}
