//! Where in a picture a network sees a class: Grad-CAM and Grad-CAM++.
//!
//! Both weigh the channels of `norm5`'s output (before the last ReLU) by how the class's logit depends on them.
//!
//! - [`class_activation`]: the map, of `norm5`'s size.
//! - [`overlay`]: the map over the picture.
//!
//! May use `model`, `transforms`. Sources: Selvaraju et al., "Grad-CAM" (2017), equations 1 and 2; Chattopadhay et al.,
//! "Grad-CAM++" (2018), equation 19, of the logit itself.

mod overlay;

pub use overlay::{heat_color, overlay};

use crate::model::{DenseNet, ModelError};
use serde::{Deserialize, Serialize};
use tch::{no_grad, with_grad, Kind, Tensor};

/// How channels are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// By the mean of the gradient.
    #[default]
    GradCam,
    /// By its positive part, places that stand alone counting more: several objects of a class each get their share.
    #[serde(rename = "grad-cam++")]
    GradCamPlusPlus,
}

/// Errors of [`crate::explain`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// A class that the network does not have.
    #[error("the network has no class {class}: its {classes} classes are 0 to {}", classes - 1)]
    NoSuchClass {
        /// The one asked for.
        class: i64,
        /// How many there are.
        classes: i64,
    },
    /// A network that tells no classes apart.
    #[error("the network has no classifier: there is no class to explain")]
    NoClassifier,
    /// The network refused its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// Result of [`crate::explain`].
pub type Result<T> = std::result::Result<T, ExplainError>;

/// What speaks for a class, and where.
#[derive(Debug)]
pub struct Activation {
    /// The class explained.
    pub class: i64,
    /// The network's logits, \[classes\].
    pub logits: Tensor,
    /// [H', W'] of `norm5`'s output, f32, 0 where nothing speaks for the class; of no particular scale.
    pub map: Tensor,
}

/// The map of `class` (of the likeliest one for `None`) for one input [1, C, H, W], in evaluation mode. Nothing of the
/// network changes, and it collects no gradients.
///
/// # Errors
/// [`ExplainError`].
pub fn class_activation(
    network: &DenseNet,
    input: &Tensor,
    class: Option<i64>,
    method: Method,
) -> Result<Activation> {
    let classes = network.config.num_classes;
    if classes == 0 {
        return Err(ExplainError::NoClassifier);
    }
    // Gradients are needed from here on alone: features do not depend on what comes after them.
    let features =
        no_grad(|| network.forward_features(input, false))?.f_detach()?.f_set_requires_grad(true)?;
    let (logits, class, gradient) = with_grad(|| -> Result<_> {
        let logits = network.forward_head(&features, false)?.f_select(0, 0)?;
        let class = match class {
            Some(class) if (0..classes).contains(&class) => class,
            Some(class) => return Err(ExplainError::NoSuchClass { class, classes }),
            None => logits.f_argmax(0, false)?.f_int64_value(&[])?,
        };
        let score = logits.f_get(class)?;
        let gradients = Tensor::f_run_backward(&[&score], &[&features], false, false)?;
        let [gradient]: [Tensor; 1] = gradients
            .try_into()
            .map_err(|_| tch::TchError::Torch("not one gradient of one tensor".into()))?;
        Ok((logits.detach(), class, gradient))
    })?;
    let map = no_grad(|| -> Result<Tensor> {
        let (features, gradient) = (features.f_detach()?.f_select(0, 0)?, gradient.f_select(0, 0)?);
        let weights = match method {
            Method::GradCam => gradient.f_mean_dim([1i64, 2].as_slice(), true, None)?,
            Method::GradCamPlusPlus => plus_plus(&features, &gradient)?,
        };
        let sum = (&features * weights).f_sum_dim_intlist([0i64].as_slice(), false, None)?;
        Ok(sum.f_relu()?.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)?)
    })?;
    Ok(Activation { class, logits, map })
}

/// Grad-CAM++'s weights [C, 1, 1] of [C, H, W]: Σ α·relu(g), α = g² / (2g² + Σ(A)·g³), 0 where g is.
fn plus_plus(features: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    /// Against division by zero where both terms cancel.
    const EPSILON: f64 = 1e-6;
    let spatial = [1i64, 2];
    let square = gradient.f_mul(gradient)?;
    let cube = square.f_mul(gradient)?;
    let total = features.f_sum_dim_intlist(spatial.as_slice(), true, None)?;
    let divisor = square.f_mul_scalar(2.0)?.f_add(&total.f_mul(&cube)?)?.f_add_scalar(EPSILON)?;
    let alpha = square.f_div(&divisor)?;
    let alpha = alpha.f_where_self(&gradient.f_ne(0.0)?, &Tensor::f_zeros_like(&alpha)?)?;
    Ok(alpha.f_mul(&gradient.f_relu()?)?.f_sum_dim_intlist(spatial.as_slice(), true, None)?)
}
