//! Is this network the one PyTorch ran? Compares with tensors that PyTorch saved.
//!
//! A reference is a file of named tensors (safetensors or any checkpoint format) along the way of a picture:
//!
//! | name | what |
//! | --- | --- |
//! | `image_bytes` | the picture's file, uint8 of one dimension |
//! | `decoded` | its pixels, uint8 [3, H, W] |
//! | `resized` | before the crop, uint8 [C, h, w] |
//! | `input` | what the network takes, [N, C, H, W] |
//! | `features.conv0`, `features.denseblock1`, `features.denseblock1.denselayer1.conv1` … | outputs of modules, by torchvision's names |
//! | `logits` | [N, classes] |
//! | `target`, `loss`, `grad.<key>`, running statistics under their keys | of one training step, for [`training_step`] |
//!
//! Any of them may be absent. Every stage starts from what the reference holds of the one before, so the first that differs
//! is the one to look at, and not what it made of all that follow. `scripts/make_reference.py` makes such files. Uses
//! `model`, `checkpoint`, `transforms` and `runtime`.

mod compare;
mod error;
mod page;
mod reference;
mod walk;

pub use compare::{Stage, Worst};
pub use error::{ParityError, Result};
pub use page::PageContext;
pub use reference::{Condition, Reference};

use crate::model::{DenseNet, Memory, ModelError};
use crate::transforms::{decode, ImageClassification, RgbImage};
use compare::stage;
use serde::Serialize;
use tch::{no_grad, Kind, Tensor};
use walk::walk;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParityReport {
    /// Over all tensors compared.
    pub max_abs: f64,
    /// Over all tensors compared.
    pub max_ulp: u64,
    /// Share of pictures whose likeliest class is the reference's; `None` without `logits`.
    pub top1_agreement: Option<f64>,
    /// The first tensor, in the order of computation, that is not the same bits.
    pub first_difference: Option<String>,
    /// Every tensor compared, in the order of computation.
    pub stages: Vec<Stage>,
    /// Our logits of the picture, every step from its file on ours, against the reference's.
    pub from_file: Option<Stage>,
    /// Where the reference was made under other conditions, which make results round differently.
    pub warnings: Vec<Condition>,
}

/// Compares the network in evaluation mode with the reference, stage by stage from its `input` on.
///
/// # Errors
/// Any [`ParityError`].
pub fn evaluation(network: &DenseNet, reference: &Reference) -> Result<ParityReport> {
    let mut comparison = Comparison::new(reference);
    comparison.network(network, reference.need("input")?)?;
    comparison.report(network)
}

/// As [`evaluation`], from the picture's file or pixels on where the reference holds them: decoding, resizing, cropping
/// and normalizing by `transforms`, then the network.
///
/// # Errors
/// Any [`ParityError`].
pub fn pipeline(
    network: &DenseNet,
    transforms: &ImageClassification,
    reference: &Reference,
) -> Result<ParityReport> {
    let mut comparison = Comparison::new(reference);
    let input = comparison.picture(transforms)?;
    let input = match (reference.get("input"), input) {
        (Some(theirs), _) => theirs.shallow_clone(),
        (None, Some(ours)) => ours,
        (None, None) => reference.need("input")?.shallow_clone(),
    };
    comparison.network(network, &input)?;
    let mut report = comparison.report(network)?;
    if let (Some(bytes), Some(logits)) = (reference.image_bytes()?, reference.get("logits")) {
        let input = transforms.apply(&decode(&bytes)?)?.f_unsqueeze(0)?.f_to(network.device())?;
        let ours = no_grad(|| network.try_forward(&input, false))?;
        check_shape("logits", &ours, logits)?;
        report.from_file = Some(stage("logits".to_string(), &ours, logits)?);
    }
    Ok(report)
}

/// Runs one forward and backward in training mode (cross-entropy, mean over the batch) and compares what came out of it.
///
/// The network's gradients and running statistics change.
///
/// # Errors
/// Any [`ParityError`].
pub fn training_step(network: &DenseNet, reference: &Reference) -> Result<ParityReport> {
    let input = reference.need("input")?.f_to(network.device())?;
    let target = reference.need("target")?.f_to(network.device())?;
    let logits = network.try_forward(&input, true)?;
    let loss = logits.f_cross_entropy_loss(&target, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0)?;
    loss.f_backward()?;
    let mut comparison = Comparison::new(reference);
    comparison.logits(&logits)?;
    comparison.see("loss", &loss)?;
    let (parameters, buffers): (Vec<_>, Vec<_>) =
        network.named_tensors().into_iter().partition(|(_, tensor)| tensor.requires_grad());
    // Statistics move in the forward pass; gradients come after, the last layer's first.
    for (key, buffer) in buffers {
        comparison.see(&key, &buffer)?;
    }
    for (key, parameter) in parameters.into_iter().rev() {
        comparison.see(&format!("grad.{key}"), &parameter.grad())?;
    }
    comparison.report(network)
}

struct Comparison<'a> {
    reference: &'a Reference,
    stages: Vec<Stage>,
    top1_agreement: Option<f64>,
    /// Every name that could have been compared.
    known: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn new(reference: &'a Reference) -> Self {
        Comparison { reference, stages: Vec::new(), top1_agreement: None, known: Vec::new() }
    }

    /// Compares a tensor if the reference has it.
    fn see(&mut self, name: &str, ours: &Tensor) -> Result<()> {
        self.known.push(name.to_string());
        let Some(theirs) = self.reference.get(name) else { return Ok(()) };
        check_shape(name, ours, theirs)?;
        self.stages.push(stage(name.to_string(), ours, theirs)?);
        Ok(())
    }

    fn logits(&mut self, ours: &Tensor) -> Result<()> {
        self.see("logits", ours)?;
        if let Some(theirs) = self.reference.get("logits").filter(|theirs| theirs.size()[0] > 0) {
            let ours = ours.f_argmax(1, false)?.f_to(tch::Device::Cpu)?;
            let same = ours.f_eq_tensor(&theirs.f_argmax(1, false)?)?.f_to_kind(Kind::Double)?;
            self.top1_agreement = Some(f64::try_from(same.f_mean(Kind::Double)?)?);
        }
        Ok(())
    }

    /// From the picture's file to the network's input; `None` where the reference has no picture.
    fn picture(&mut self, transforms: &ImageClassification) -> Result<Option<Tensor>> {
        let mut ours = None;
        if let Some(bytes) = self.reference.image_bytes()? {
            let picture = decode(&bytes)?;
            self.see("decoded", &pixels(&picture)?)?;
            ours = Some(picture);
        }
        if let Some(picture) = self.reference.pixels("decoded")?.or(ours.take()) {
            let resized = transforms.resized(&picture)?;
            self.see("resized", &resized)?;
            ours = Some(picture);
        }
        let input = match (self.reference.pixels("resized")?, ours) {
            (Some(resized), _) => {
                let rest = ImageClassification { resize_size: None, ..transforms.clone() };
                Some(rest.apply(&resized)?)
            }
            (None, Some(picture)) => Some(transforms.apply(&picture)?),
            (None, None) => None,
        };
        let Some(input) = input else { return Ok(None) };
        let input = input.f_unsqueeze(0)?;
        self.see("input", &input)?;
        Ok(Some(input))
    }

    fn network(&mut self, network: &DenseNet, input: &Tensor) -> Result<()> {
        let input = input.f_to(network.device())?;
        network.check_input(&input)?;
        if matches!(network.config.memory, Memory::Fused | Memory::Minimal) {
            return self.fused_network(network, &input);
        }
        let logits =
            no_grad(|| walk(network, &input, &mut |name: &str, output: &Tensor| self.see(name, output)))?;
        self.logits(&logits)
    }

    /// A network whose blocks are one operation each: only their outputs can be seen.
    fn fused_network(&mut self, network: &DenseNet, input: &Tensor) -> Result<()> {
        let infos = network.feature_info();
        let all: Vec<i64> = (0..infos.len() as i64).collect();
        let (maps, logits) = no_grad(|| {
            let (_, maps) = network.forward_intermediates(input, &all, false)?;
            Ok::<_, ModelError>((maps, network.try_forward(input, false)?))
        })?;
        for (info, map) in infos.iter().zip(&maps) {
            self.see(&info.module, map)?;
        }
        self.logits(&logits)
    }

    fn report(self, network: &DenseNet) -> Result<ParityReport> {
        if self.stages.is_empty() {
            return Err(ParityError::NothingToCompare { known: self.known });
        }
        let stages = self.stages;
        Ok(ParityReport {
            max_abs: stages.iter().map(|stage| stage.max_abs).fold(0.0, f64::max),
            max_ulp: stages.iter().map(|stage| stage.max_ulp).max().unwrap_or(0),
            top1_agreement: self.top1_agreement,
            first_difference: stages.iter().find(|stage| stage.differing > 0).map(|stage| stage.name.clone()),
            stages,
            from_file: None,
            warnings: self.reference.other_conditions(network.device()),
        })
    }
}

fn check_shape(name: &str, ours: &Tensor, theirs: &Tensor) -> Result<()> {
    if ours.size() != theirs.size() {
        return Err(ParityError::Shape {
            stage: name.to_string(),
            reference: theirs.size(),
            ours: ours.size(),
        });
    }
    Ok(())
}

/// [3, H, W], uint8.
fn pixels(picture: &RgbImage) -> Result<Tensor> {
    let (width, height) = picture.dimensions();
    let rows = Tensor::f_from_slice(picture.as_raw().as_slice())?;
    Ok(rows.f_reshape([height.into(), width.into(), 3])?.f_permute([2, 0, 1])?)
}
