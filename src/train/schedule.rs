//! Learning rates over a run, to the numbers of `torch.optim.lr_scheduler`.

use super::error::in_range;
use super::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::f64::consts::PI;

/// How the learning rate moves. Lengths are in epochs (fractions too) and become whole steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// Times `gamma` after every `every` epochs. torch: `StepLR`.
    Step {
        /// Epochs between two drops.
        every: f64,
        /// The factor.
        gamma: f64,
    },
    /// Times `gamma` at each of `milestones`. torch: `MultiStepLR`.
    MultiStep {
        /// Epochs.
        milestones: Vec<f64>,
        /// The factor.
        gamma: f64,
    },
    /// Half a cosine down to `min_lr`, over the epochs that warm-up leaves. torch: `CosineAnnealingLR`.
    Cosine {
        /// Where it ends.
        min_lr: f64,
    },
    /// Up to the learning rate and down to nearly nothing, half a cosine each. torch: `OneCycleLR`.
    OneCycle(OneCycle),
}

/// torch: `OneCycleLR`, annealed by cosines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneCycle {
    /// Share of the run on the way up.
    pub pct_start: f64,
    /// The rate begins as this part of the highest.
    pub div_factor: f64,
    /// It ends as this part of where it began.
    pub final_div_factor: f64,
    /// Momentum (β₁ in AdamW) that moves the other way, from the second number down to the first and up again; `None`
    /// leaves it alone. torch's default is 0.85 and 0.95.
    pub cycle_momentum: Option<(f64, f64)>,
}

impl Default for OneCycle {
    /// torch's, with the momentum left alone.
    fn default() -> Self {
        OneCycle { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4, cycle_momentum: None }
    }
}

/// A linear rise before the schedule. torch: `LinearLR` in a `SequentialLR`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// How long.
    pub epochs: f64,
    /// What part of the learning rate it begins with, over 0.
    pub start_factor: f64,
}

/// The learning rates of a run, one step after the other. torch: an `LRScheduler`.
///
/// torch computes most schedules from one step's rate to the next, so rounding depends on the way; this one goes it too.
#[derive(Debug, Clone)]
pub struct Scheduler {
    plan: Plan,
    /// Steps of warm-up, and where it begins.
    warm_up: Option<(usize, f64)>,
    /// The groups' own rates.
    base: Vec<f64>,
    /// Of the next step.
    now: Vec<f64>,
    momentum: Option<f64>,
    step: usize,
}

/// A schedule in steps.
#[derive(Debug, Clone)]
enum Plan {
    Constant,
    Step {
        size: usize,
        gamma: f64,
    },
    /// Steps, and how often each is given.
    MultiStep {
        milestones: BTreeMap<usize, i32>,
        gamma: f64,
    },
    Cosine {
        total: usize,
        min_lr: f64,
    },
    OneCycle {
        total: usize,
        options: OneCycle,
    },
}

impl Scheduler {
    /// The schedule of `epochs` epochs of `steps_per_epoch` steps for groups with the rates `base`.
    ///
    /// # Errors
    /// [`TrainError::Option`](super::TrainError::Option) for a length, factor or share that makes no schedule.
    pub fn new(
        schedule: &Schedule,
        warm_up: Option<WarmUp>,
        base: Vec<f64>,
        epochs: usize,
        steps_per_epoch: usize,
    ) -> Result<Self> {
        let steps = |epochs: f64| (epochs * steps_per_epoch as f64).round() as usize;
        let positive = f64::MIN_POSITIVE..=f64::MAX;
        let warm_up = match warm_up {
            Some(WarmUp { epochs: length, start_factor }) => {
                in_range("the length of warm-up", length, 0.0..=epochs as f64, "within the run")?;
                in_range("the start of warm-up", start_factor, f64::MIN_POSITIVE..=1.0, "over 0, at most 1")?;
                Some((steps(length), start_factor)).filter(|(steps, _)| *steps > 0)
            }
            None => None,
        };
        let left = (epochs * steps_per_epoch).saturating_sub(warm_up.map_or(0, |(steps, _)| steps)).max(1);
        let plan = match schedule {
            Schedule::Constant => Plan::Constant,
            Schedule::Step { every, gamma } => {
                in_range("the schedule's step", *every, positive.clone(), "over 0 epochs")?;
                in_range("gamma", *gamma, positive, "over 0")?;
                Plan::Step { size: steps(*every).max(1), gamma: *gamma }
            }
            Schedule::MultiStep { milestones, gamma } => {
                in_range("gamma", *gamma, positive.clone(), "over 0")?;
                let mut counted = BTreeMap::new();
                for milestone in milestones {
                    in_range("a milestone", *milestone, positive.clone(), "over 0 epochs")?;
                    *counted.entry(steps(*milestone)).or_default() += 1;
                }
                Plan::MultiStep { milestones: counted, gamma: *gamma }
            }
            Schedule::Cosine { min_lr } => {
                in_range("the lowest learning rate", *min_lr, 0.0..=f64::MAX, "at least 0")?;
                Plan::Cosine { total: left, min_lr: *min_lr }
            }
            Schedule::OneCycle(options) => {
                in_range("pct_start", options.pct_start, 0.0..=1.0, "0 to 1")?;
                in_range("div_factor", options.div_factor, positive.clone(), "over 0")?;
                in_range("final_div_factor", options.final_div_factor, positive, "over 0")?;
                Plan::OneCycle { total: left, options: options.clone() }
            }
        };
        let mut scheduler = Scheduler { plan, warm_up, now: base.clone(), base, momentum: None, step: 0 };
        scheduler.enter();
        Ok(scheduler)
    }

    /// The rates of the next step, one a group.
    pub fn rates(&self) -> &[f64] {
        &self.now
    }

    /// The momentum of the next step, if the schedule moves it.
    pub fn momentum(&self) -> Option<f64> {
        self.momentum
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// On to the next step. torch: `scheduler.step()` after `optimizer.step()`.
    pub fn step(&mut self) {
        self.step += 1;
        match self.warm_up {
            Some((length, start)) if self.step < length => {
                let (rise, done) = (1.0 - start, (self.step - 1) as f64);
                let factor = 1.0 + rise / (length as f64 * start + done * rise);
                self.now.iter_mut().for_each(|lr| *lr *= factor);
            }
            Some((length, _)) if self.step == length => self.begin(),
            Some((length, _)) => self.advance(self.step - length),
            None => self.advance(self.step),
        }
    }

    /// Where `steps` steps lead: a run that goes on.
    pub fn advance_to(&mut self, steps: usize) {
        while self.step < steps {
            self.step();
        }
    }

    /// The first step's rates.
    fn enter(&mut self) {
        self.begin();
        if let Some((_, start)) = self.warm_up {
            // Up to where the schedule begins; its momentum counts as soon as it is made, in torch too.
            let first = match &self.plan {
                Plan::OneCycle { options, .. } => options.div_factor,
                _ => 1.0,
            };
            self.now = self.base.iter().map(|lr| lr / first * start).collect();
        }
    }

    /// The schedule's own beginning: torch's closed form at 0.
    fn begin(&mut self) {
        match &self.plan {
            Plan::Constant | Plan::Step { .. } | Plan::MultiStep { .. } => self.now.clone_from(&self.base),
            Plan::Cosine { min_lr, .. } if self.warm_up.is_some() => {
                self.now =
                    self.base.iter().map(|lr| min_lr + (lr - min_lr) * (1.0 + 0f64.cos()) / 2.0).collect();
            }
            Plan::Cosine { .. } => self.now.clone_from(&self.base),
            Plan::OneCycle { .. } => self.advance(0),
        }
    }

    /// From step `at` − 1 of the schedule to step `at`.
    fn advance(&mut self, at: usize) {
        match &self.plan {
            Plan::Constant => {}
            Plan::Step { size, gamma } => {
                if at.is_multiple_of(*size) {
                    self.now.iter_mut().for_each(|lr| *lr *= gamma);
                }
            }
            Plan::MultiStep { milestones, gamma } => {
                if let Some(&count) = milestones.get(&at) {
                    let factor = gamma.powf(f64::from(count));
                    self.now.iter_mut().for_each(|lr| *lr *= factor);
                }
            }
            Plan::Cosine { total, min_lr } => {
                let (at, total) = (at as i64, *total as i64);
                let cosine = |step: i64| 1.0 + (PI * step as f64 / total as f64).cos();
                for (lr, base) in self.now.iter_mut().zip(&self.base) {
                    *lr = if (at - 1 - total) % (2 * total) == 0 {
                        *lr + (base - min_lr) * (1.0 - (PI / total as f64).cos()) / 2.0
                    } else {
                        cosine(at) / cosine(at - 1) * (*lr - min_lr) + min_lr
                    };
                }
            }
            Plan::OneCycle { total, options } => {
                let total = *total as f64;
                let (turn, end, at) = (options.pct_start * total - 1.0, total - 1.0, at as f64);
                let up = at <= turn;
                let share = if up { at / turn } else { (at - turn) / (end - turn) };
                let anneal = |from: f64, to: f64| to + (from - to) / 2.0 * ((PI * share).cos() + 1.0);
                for (lr, highest) in self.now.iter_mut().zip(&self.base) {
                    let first = highest / options.div_factor;
                    let last = first / options.final_div_factor;
                    *lr = if up { anneal(first, *highest) } else { anneal(*highest, last) };
                }
                self.momentum =
                    options
                        .cycle_momentum
                        .map(|(low, high)| if up { anneal(high, low) } else { anneal(low, high) });
            }
        }
    }
}
