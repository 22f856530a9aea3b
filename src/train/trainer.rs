//! A network in training: one step after the other.

use super::ema::Ema;
use super::loss::Loss;
use super::optimizer::Optimizer;
use super::precision::{GradScaler, Precision};
use super::recipe::{BatchNorms, Recipe};
use super::schedule::Scheduler;
use super::Result;
use crate::weights::Outputs;
use crate::DenseNet;
use tch::{no_grad, Device, Kind, Tensor};

/// What is added to a norm before dividing by it. torch: `clip_grad_norm_`.
const CLIP_EPS: f64 = 1e-6;

/// A network with all that changes in training: optimizer, schedule, mean weights, the loss's scale.
///
/// Knows nothing of data and files: [`Run`](super::Run) does, and calls this.
///
/// ```
/// use densenet::model::Cifar;
/// use densenet::train::{Loss, Recipe, Trainer};
/// use densenet::DenseNet;
/// use tch::{nn, Device, Kind, Tensor};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let network = DenseNet::new(&vs.root(), &Cifar::new(10, 4).bc().drop_rate(0.0).num_classes(2).build()?)?;
/// let mut trainer = Trainer::new(network, Loss::of_classes(2), &Recipe::default(), 100)?;
/// let images = Tensor::rand([4, 3, 8, 8], (Kind::Float, Device::Cpu));
/// let seen = trainer.backward(&images, &Tensor::from_slice(&[0i64, 1, 0, 1]), 1.0)?;
/// trainer.update()?;
/// assert!(seen.loss.is_finite());
/// # Ok::<(), densenet::train::TrainError>(())
/// ```
pub struct Trainer {
    /// The network.
    pub network: DenseNet,
    /// What is minimized.
    pub loss: Loss,
    /// Updates its parameters.
    pub optimizer: Optimizer,
    /// Moves the learning rate.
    pub scheduler: Scheduler,
    /// The mean weights, if the recipe has them.
    pub ema: Option<Ema>,
    /// The loss's scale, in f16.
    pub scaler: Option<GradScaler>,
    precision: Precision,
    clip_norm: Option<f64>,
    device: Device,
    /// In torchvision's order, as `named_tensors` hands them out.
    tensors: Vec<(String, Tensor)>,
}

/// What a batch showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// The mean loss.
    pub loss: f64,
    /// Pictures.
    pub images: usize,
    /// Those (of labels: the mean share of labels, in pictures) whose answer was right; of mixed pictures, where the likeliest
    /// class is the one with the larger share.
    pub right: f64,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Updated {
    /// The gradients' norm before clipping; only where they are clipped.
    pub norm: Option<f64>,
    /// False where the loss's scale was too large for f16, and the step was left out.
    pub taken: bool,
}

impl Trainer {
    /// The parts that `recipe` asks for. Sets the network's batch norms and layout; `steps_per_epoch` as
    /// [`Recipe::steps_per_epoch`] says.
    ///
    /// # Errors
    /// [`TrainError::Option`](super::TrainError::Option), [`TrainError::UnknownPrefix`](super::TrainError::UnknownPrefix).
    pub fn new(mut network: DenseNet, loss: Loss, recipe: &Recipe, steps_per_epoch: usize) -> Result<Self> {
        recipe.validate()?;
        let device = network.device();
        recipe.precision.check(device)?;
        network.freeze_batch_norms(recipe.batch_norms == BatchNorms::Frozen);
        if recipe.channels_last {
            network.to_channels_last()?;
        }
        recipe.freeze.apply(&network, 0)?;
        let groups = recipe.rates.groups(&network, recipe.lr)?;
        let rates = groups.iter().map(|group| group.lr).collect();
        let scheduler =
            Scheduler::new(&recipe.schedule, recipe.warm_up, rates, recipe.epochs, steps_per_epoch)?;
        let mut trainer = Trainer {
            tensors: network.named_tensors(),
            ema: recipe.ema.map(|options| Ema::new(options, &network.named_tensors())).transpose()?,
            scaler: (recipe.precision == Precision::F16).then(GradScaler::default),
            optimizer: Optimizer::new(recipe.optimizer, groups)?,
            network,
            loss,
            scheduler,
            precision: recipe.precision,
            clip_norm: recipe.clip_norm,
            device,
        };
        trainer.obey_schedule();
        Ok(trainer)
    }

    /// The network's tensors under torchvision's names, in its order.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// Forward and backward of a batch, f32 [N, C, H, W] and targets as [`Loss::compute`] takes them, from any device; adds
    /// `share` of its gradients (1 for a step of one batch) to those that are there.
    ///
    /// # Errors
    /// [`TrainError::Model`](super::TrainError::Model) for an input the network does not take; libtorch's own.
    pub fn backward(&mut self, images: &Tensor, targets: &Tensor, share: f64) -> Result<Seen> {
        let (images, targets) = (images.f_to_device(self.device)?, targets.f_to_device(self.device)?);
        let logits = self.precision.run(self.device, || self.network.try_forward(&images, true))??;
        let loss = self.loss.compute(&logits, &targets)?;
        let factor = share * self.scaler.as_ref().map_or(1.0, GradScaler::scale);
        let scaled = if factor == 1.0 { loss.shallow_clone() } else { loss.f_mul_scalar(factor)? };
        crate::autograd::backward(&scaled)?;
        let right = no_grad(|| right(&logits, &targets, self.loss.outputs()))?;
        Ok(Seen { loss: loss.f_double_value(&[])?, images: images.size()[0] as usize, right })
    }

    /// A step with the gradients there are; then they are forgotten, and schedule and mean weights move on.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn update(&mut self) -> Result<Updated> {
        let gradients = self.optimizer.gradients();
        let taken = match &self.scaler {
            Some(scaler) => scaler.unscale(&gradients)?,
            None => true,
        };
        let mut norm = None;
        if taken {
            norm = self.clip_norm.map(|highest| clip(&gradients, highest)).transpose()?;
            self.optimizer.step()?;
        }
        drop(gradients);
        if let Some(scaler) = &mut self.scaler {
            scaler.update(taken);
        }
        self.optimizer.zero_grad()?;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.tensors)?;
        }
        self.scheduler.step();
        self.obey_schedule();
        Ok(Updated { norm, taken })
    }

    /// Logits of a batch in evaluation mode, f32 on the CPU: of the mean weights inside
    /// [`with_mean_weights`](Self::with_mean_weights), of the network's own elsewhere.
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub fn evaluate(&self, images: &Tensor) -> Result<Tensor> {
        no_grad(|| {
            let images = images.f_to_device(self.device)?;
            let logits = self.precision.run(self.device, || self.network.try_forward(&images, false))??;
            Ok(logits.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?)
        })
    }

    /// Runs `body` with the mean weights in the network's place, if there are any.
    pub fn with_mean_weights<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let Some(mut ema) = self.ema.take_if(|ema| ema.updates() > 0) else { return body(self) };
        ema.swap(&self.tensors);
        let result = body(self);
        ema.swap(&self.tensors);
        self.ema = Some(ema);
        result
    }

    /// Goes on after so many steps: the schedule is where it was then.
    pub(super) fn advance_to(&mut self, steps: usize) {
        self.scheduler.advance_to(steps);
        self.obey_schedule();
    }

    /// Gives the optimizer the rates of the next step.
    fn obey_schedule(&mut self) {
        for (group, lr) in self.optimizer.groups.iter_mut().zip(self.scheduler.rates()) {
            group.lr = *lr;
        }
        if let Some(momentum) = self.scheduler.momentum() {
            self.optimizer.set_momentum(momentum);
        }
    }
}

/// Scales gradients down to a norm of `highest` where they have more; their norm before. torch: `clip_grad_norm_`.
fn clip(gradients: &[Tensor], highest: f64) -> Result<f64> {
    let norms = gradients.iter().map(Tensor::f_norm).collect::<std::result::Result<Vec<_>, _>>()?;
    if norms.is_empty() {
        return Ok(0.0);
    }
    let total = Tensor::f_stack(&norms, 0)?.f_norm()?;
    let factor = total.f_add_scalar(CLIP_EPS)?.f_reciprocal()?.f_mul_scalar(highest)?.f_clamp_max(1.0)?;
    for gradient in gradients {
        let _ = gradient.shallow_clone().f_mul_(&factor)?;
    }
    Ok(total.f_double_value(&[])?)
}

/// See [`Seen::right`].
pub(super) fn right(logits: &Tensor, targets: &Tensor, outputs: Outputs) -> Result<f64> {
    let hits = match outputs {
        Outputs::Classes => {
            let classes =
                if targets.dim() > 1 { targets.f_argmax(1, false)? } else { targets.shallow_clone() };
            logits.f_argmax(1, false)?.f_eq_tensor(&classes)?.f_to_kind(Kind::Double)?
        }
        Outputs::Labels => {
            let same = logits.f_gt(0.0)?.f_eq_tensor(&targets.f_gt(0.5)?)?;
            same.f_to_kind(Kind::Double)?.f_mean_dim(1i64, false, None)?
        }
    };
    Ok(hits.f_sum(None)?.f_double_value(&[])?)
}
