//! A page about a run: its curves, and how good its best weights are.

use super::observer::{EpochReport, Figures, StepReport};
use super::run_dir::{Plan, RunDir, Weights};
use super::{Result, TrainError};
use crate::data::Dataset;
use crate::evaluate::{evaluate, EvaluateError, EvaluateOptions, Evaluation};
use crate::predictor::Predictor;
use crate::report::{evaluation_page, line_chart, Chart, EvaluationPage, Line, Page, Part};
use crate::weights::{Outputs, WeightsSource};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::Device;

/// Points of a curve; of more, neighbours are averaged.
const POINTS: usize = 600;

/// What a run's metrics tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Means over some steps each, in order.
    pub steps: Vec<StepReport>,
    /// The epochs that are done, in order.
    pub epochs: Vec<EpochReport>,
}

/// A line of `metrics.jsonl`, read back.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Record {
    Step(StepReport),
    Epoch(EpochReport),
}

impl History {
    /// Reads a run's `metrics.jsonl`. A last line without its end is left out: it was cut off in writing.
    ///
    /// # Errors
    /// [`TrainError::RunIo`], [`TrainError::Metrics`].
    pub fn read(path: &Path) -> Result<History> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::RunIo { path: path.to_path_buf(), source })?;
        let mut history = History::default();
        for (number, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n'))
        {
            match serde_json::from_str(line) {
                Ok(Record::Step(step)) => history.steps.push(step),
                Ok(Record::Epoch(epoch)) => history.epochs.push(epoch),
                Err(error) => {
                    let (path, reason) = (path.to_path_buf(), error.to_string());
                    return Err(TrainError::Metrics { path, line: number + 1, reason });
                }
            }
        }
        Ok(history)
    }

    /// Loss, accuracy and learning rate over epochs, as figures of a page; none of a run without a step.
    pub fn curves(&self) -> Vec<Part> {
        if self.steps.is_empty() && self.epochs.is_empty() {
            return Vec::new();
        }
        let of_epochs = |name: &str, figure: &dyn Fn(&EpochReport) -> Option<f64>| {
            let points = self.epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64, figure(epoch)?)));
            Line::new(name, points.collect())
        };
        let validation = |figure: fn(&Figures) -> f64| {
            of_epochs("validation", &move |epoch| epoch.validation.as_ref().map(figure))
        };
        let steps = Line { faint: true, ..self.of_steps("training, single steps", |step| step.loss) };
        let training = of_epochs("training", &|epoch| Some(epoch.train.loss));
        let accuracy = [
            of_epochs("training", &|epoch| Some(epoch.train.accuracy)),
            validation(|figures| figures.accuracy),
        ];
        let rate = match self.steps.is_empty() {
            true => of_epochs("learning rate", &|epoch| Some(epoch.lr)),
            false => self.of_steps("learning rate", |step| step.lr),
        };
        let figure = |title: &str, y_label: &str, from_zero: bool, lines: &[Line], caption: &str| {
            let lines: Vec<Line> = lines.iter().filter(|line| !line.points.is_empty()).cloned().collect();
            let chart = Chart { title, x_label: "epoch", y_label, from_zero, lines: &lines };
            (!lines.is_empty())
                .then(|| Part::Figure { svg: line_chart(&chart), caption: caption.to_string() })
        };
        let figures = [
            figure(
                "Loss",
                "loss",
                false,
                &[training, validation(|figures| figures.loss), steps],
                "Training is judged on augmented pictures, by weights that changed meanwhile; validation after each epoch.",
            ),
            figure("Accuracy", "share that is right", false, &accuracy, "Of training and validation, judged as the loss is."),
            figure("Learning rate", "learning rate", true, &[rate], "Of the first group of parameters."),
        ];
        figures.into_iter().flatten().collect()
    }

    /// Over epochs, a step being its part of one.
    fn of_steps(&self, name: &str, figure: fn(&StepReport) -> f64) -> Line {
        // An epoch's steps: of one that is done, else what there is of the first.
        let whole = self.epochs.first().map(|epoch| epoch.step as f64 / epoch.epoch as f64);
        let steps = whole.or(self.steps.last().map(|step| step.step as f64)).unwrap_or(1.0).max(1.0);
        let together = self.steps.len().div_ceil(POINTS).max(1);
        let points = self.steps.chunks(together).map(|chunk| {
            let count = chunk.len() as f64;
            let mean = |of: &dyn Fn(&StepReport) -> f64| chunk.iter().map(of).sum::<f64>() / count;
            (mean(&|step| step.step as f64) / steps, mean(&figure))
        });
        Line::new(name, points.collect())
    }
}

/// What [`report`] made.
#[derive(Debug)]
pub struct RunReport {
    /// The page.
    pub page: PathBuf,
    /// Of the best weights on the validation pictures; `None` without such pictures.
    pub evaluation: Option<Evaluation>,
}

/// Evaluates a run's best weights on its validation pictures and writes the page about it all: to `page`, else to the run's
/// folder, where the evaluation is kept too. `progress` hears how many pictures are done, of how many.
///
/// # Errors
/// [`TrainError::NoWeights`] before the first epoch is done, or any other.
pub fn report(
    dir: &RunDir,
    page: Option<&Path>,
    device: Device,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<RunReport> {
    let path = page.map_or_else(|| dir.report(), Path::to_path_buf);
    Page::check_path(&path)?;
    let (plan, history) = (dir.plan()?, History::read(&dir.metrics())?);
    let weights = [Weights::Best, Weights::Last]
        .map(|which| dir.weights(which))
        .into_iter()
        .find(|path| path.is_file());
    let weights = weights.ok_or_else(|| TrainError::NoWeights { path: dir.path().to_path_buf() })?;
    let title = format!("{} on {}", plan.start, plan.data.path.display());
    let facts = facts(&plan, &history, &weights);
    let mut before = vec![Part::Heading("Training".to_string())];
    before.extend(history.curves());
    before.push(recipe(&plan)?);
    let (page, evaluation) = match plan.data.open(plan.recipe.seed)?.validation {
        Some(validation) => {
            let evaluation = judged(&plan, &weights, &validation, device, progress)?;
            dir.write_evaluation(&evaluation)?;
            let page = EvaluationPage {
                title: &title,
                facts: &facts,
                evaluation: &evaluation,
                dataset: validation.as_ref(),
                before: &before,
            };
            (evaluation_page(&page)?, Some(evaluation))
        }
        None => {
            let mut parts = vec![Part::table(["", ""], facts.into_iter().map(|(name, value)| [name, value]))];
            parts.append(&mut before);
            (Page { title, parts }, None)
        }
    };
    page.write(&path)?;
    Ok(RunReport { page: path, evaluation })
}

fn judged(
    plan: &Plan,
    weights: &Path,
    validation: &Arc<dyn Dataset>,
    device: Device,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    let predictor =
        Predictor::load(&WeightsSource::File(weights.to_path_buf()), device).map_err(EvaluateError::from)?;
    let options = EvaluateOptions {
        batch_size: plan.recipe.batch_size,
        on_unreadable: plan.data.on_unreadable,
        ..EvaluateOptions::default()
    };
    Ok(evaluate(&predictor, Arc::clone(validation), &options, progress)?)
}

fn facts(plan: &Plan, history: &History, weights: &Path) -> Vec<(String, String)> {
    let mut facts = vec![
        ("weights".to_string(), weights.display().to_string()),
        ("began as".to_string(), plan.start.clone()),
        ("pictures".to_string(), plan.data.path.display().to_string()),
        ("classes".to_string(), plan.categories.len().to_string()),
    ];
    if plan.outputs == Outputs::Labels {
        facts.push(("a picture".to_string(), "has any number of them".to_string()));
    }
    if let Some(last) = history.epochs.last() {
        facts.push(("epochs".to_string(), format!("{} of {}", last.epoch, plan.recipe.epochs)));
        facts.push(("time".to_string(), format!("{:.0} s; threads: {}", last.seconds, plan.threads)));
    }
    if let Some(best) = history.epochs.iter().rev().find(|epoch| epoch.best) {
        facts.push(("best epoch".to_string(), best.epoch.to_string()));
    }
    facts
}

/// The recipe as it stands in `run.json`.
fn recipe(plan: &Plan) -> Result<Part> {
    let fields = serde_json::to_value(&plan.recipe)
        .map_err(|error| TrainError::RunIo { path: plan.data.path.clone(), source: error.into() })?;
    let rows = fields.as_object().into_iter().flatten().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        [name.clone(), value]
    });
    let table = Part::table(["", ""], rows);
    Ok(Part::Folded { summary: "The recipe".to_string(), parts: vec![table] })
}
