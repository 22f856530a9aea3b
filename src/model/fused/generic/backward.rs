//! Backward: DESIGN's recurrence, last layer first.
//!
//! With x̂ = (f − mean)·invstd and s_l = γ_l·invstd_l, every norm that reads a channel adds s_l·(v_l − dβ_l/M − x̂·dγ_l/M) to
//! its gradient (v_l: dy after relu'). Only the first term differs from pixel to pixel in a way of its own: it is summed in
//! `g`; the other two are sums a channel, applied once, when all readers are done.

use super::forward::{conv1, matrix, pool};
use crate::autograd::{convolution_backward, BoxError, Convolution};
use crate::model::fused::kept::{output_size, Kept, Size};
use crate::model::fused::norm::{sum_kind, Norm};
use crate::model::fused::plan::{LayerParameters, Plan, SecondParameters, Tail};
use tch::{Kind, TchError, Tensor};

/// Gradients of the inputs from those of the outputs (the main one; the features' where they were handed out).
pub(in crate::model::fused) fn backward(
    plan: &Plan,
    kept: &Kept,
    size: Size,
    needs: &dyn Fn(usize) -> bool,
    outputs: &[Option<Tensor>],
) -> Result<Vec<Option<Tensor>>, BoxError> {
    let pass = Pass::new(plan, kept, size)?;
    let mut gradients: Vec<Option<Tensor>> = (0..plan.inputs()).map(|_| None).collect();
    if let Some(Some(output)) = outputs.first() {
        pass.tail(output, needs, &mut gradients)?;
    }
    let tapped = match outputs.get(1) {
        Some(Some(tapped)) => Some(size.rows_of(tapped)?),
        _ => None,
    };
    let mut first = pass.total;
    for index in (0..plan.layers).rev() {
        // Nothing before this layer asks for a gradient either.
        if !(0..plan.layer_at(index + 1)).any(needs) {
            return Ok(gradients);
        }
        let layer = plan.layer(&kept.parameters, index);
        first = layer.gamma1.size()[0];
        let growth = layer.second.as_ref().map_or(layer.conv1, |second| second.conv2).size()[0];
        let output = pass.feature_gradient(first, growth, tapped.as_ref())?;
        pass.layer(index, &layer, output, needs, &mut gradients)?;
    }
    if needs(0) {
        gradients[0] = Some(size.image(&pass.feature_gradient(0, first, tapped.as_ref())?)?);
    }
    Ok(gradients)
}

struct Pass<'a> {
    plan: &'a Plan,
    kept: &'a Kept,
    size: Size,
    /// The features' dtype, and that of sums.
    kind: Kind,
    sums: Kind,
    /// Channels of the block's output.
    total: i64,
    /// Σ s·v, [M, C].
    g: Tensor,
    /// Σ s·dβ/M, \[C\].
    beta: Tensor,
    /// Σ s·invstd·dγ/M, \[C\].
    gamma: Tensor,
}

impl<'a> Pass<'a> {
    fn new(plan: &'a Plan, kept: &'a Kept, size: Size) -> Result<Self, TchError> {
        let total = plan.tail_parameters(&kept.parameters).0.size()[0];
        let kind = kept.features.kind();
        let options = (sum_kind(kind), kept.features.device());
        Ok(Pass {
            plan,
            kept,
            size,
            kind,
            sums: options.0,
            total,
            g: Tensor::f_zeros([size.rows(), total], options)?,
            beta: Tensor::f_zeros([total], options)?,
            gamma: Tensor::f_zeros([total], options)?,
        })
    }

    fn norm(&self, index: usize, gamma: &Tensor, beta: &Tensor) -> Result<Norm, TchError> {
        Norm::new(gamma, beta, &self.kept.statistics[index], self.plan.norms[index].eps, self.sums)
    }

    /// Adds what a norm over the first channels hands back: `dy` [M, C] is the gradient of its output. Gives (dγ, dβ).
    fn read_by(&self, norm: &Norm, dy: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let channels = dy.size()[1];
        let (gamma, beta) = norm.parameter_gradients(dy, &self.kept.features.f_narrow(1, 0, channels)?)?;
        let _ = self.g.f_narrow(1, 0, channels)?.f_addcmul_(dy, &norm.scale)?;
        if self.plan.train {
            let scale = norm.scale.f_div_scalar(self.size.rows() as f64)?;
            let _ = self.beta.f_narrow(0, 0, channels)?.f_addcmul_(&beta, &scale)?;
            let _ = self.gamma.f_narrow(0, 0, channels)?.f_addcmul_(&gamma, &scale.f_mul(&norm.invstd)?)?;
        }
        Ok((gamma, beta))
    }

    /// The whole gradient of some of the features, once all that read them are done: [M, count] in the features' dtype.
    fn feature_gradient(&self, from: i64, count: i64, tapped: Option<&Tensor>) -> Result<Tensor, TchError> {
        let mut gradient = self.g.f_narrow_copy(1, from, count)?;
        if self.plan.train {
            let part = |tensor: &Tensor| tensor.f_narrow(0, from, count);
            let mean = part(&self.kept.statistics[self.plan.norm_tail()].0)?;
            let centered = self.kept.features.f_narrow(1, from, count)?.f_to_kind(self.sums)?.f_sub(&mean)?;
            let _ = gradient.f_sub_(&part(&self.beta)?)?.f_sub_(&centered.f_mul(&part(&self.gamma)?)?)?;
        }
        if let Some(tapped) = tapped {
            let _ = gradient.f_add_(&tapped.f_narrow(1, from, count)?)?;
        }
        gradient.f_to_kind(self.kind)
    }

    fn tail(
        &self,
        output: &Tensor,
        needs: &dyn Fn(usize) -> bool,
        gradients: &mut [Option<Tensor>],
    ) -> Result<(), TchError> {
        let at = self.plan.tail_at();
        let (gamma, beta, conv) = self.plan.tail_parameters(&self.kept.parameters);
        let norm = self.norm(self.plan.norm_tail(), gamma, beta)?;
        let features = self.kept.features.f_narrow(1, 0, self.total)?;
        let size = self.size;
        let dy = match (self.plan.tail, conv) {
            (Tail::Transition, Some(conv)) => {
                let small = output_size(self.plan.tail, size);
                let output = small.rows_of(output)?;
                let activated = norm.apply_relu(&features)?;
                if needs(at + 2) {
                    let weight = output.f_tr()?.f_mm(&pool(size, &activated)?)?;
                    gradients[at + 2] = Some(weight.f_view(conv.size().as_slice())?.f_to_kind(conv.kind())?);
                }
                let pooled = small.image(&output.f_mm(&matrix(conv)?.f_to_kind(self.kind)?)?)?;
                let image = size.image(&activated)?;
                let dy = image.f_avg_pool2d_backward(&pooled, [2, 2], [2, 2], [0, 0], false, true, None)?;
                self.relu_backward(&size.rows_of(&dy)?, &activated)?
            }
            (Tail::Pool, _) => {
                let activated = norm.apply_relu(&features)?;
                let spread = output.f_to_kind(self.sums)?.f_div_scalar((size.h * size.w) as f64)?;
                let spread = spread.f_unsqueeze(1)?.f_expand([size.n, size.h * size.w, self.total], false)?;
                self.relu_backward(&spread.f_reshape([size.rows(), self.total])?, &activated)?
            }
            _ => size.rows_of(output)?.f_to_kind(self.sums)?,
        };
        let (dgamma, dbeta) = self.read_by(&norm, &dy)?;
        set(gradients, needs, at, dgamma, gamma)?;
        set(gradients, needs, at + 1, dbeta, beta)
    }

    /// dy where the ReLU's output is positive, in the sums' dtype.
    fn relu_backward(&self, dy: &Tensor, activated: &Tensor) -> Result<Tensor, TchError> {
        activated.f_to_kind(self.sums)?.f_threshold_backward(&dy.f_to_kind(self.sums)?, 0)
    }

    fn layer(
        &self,
        index: usize,
        layer: &LayerParameters,
        output: Tensor,
        needs: &dyn Fn(usize) -> bool,
        gradients: &mut [Option<Tensor>],
    ) -> Result<(), BoxError> {
        let at = self.plan.layer_at(index);
        let (bottleneck_mask, output_mask) = self.kept.masks(self.plan, index);
        let output = undrop(output, output_mask, self.plan.drop_rate)?;
        let norm1 = self.norm(self.plan.norm1(index), layer.gamma1, layer.beta1)?;
        let channels = layer.gamma1.size()[0];
        let activated = norm1.apply_relu(&self.kept.features.f_narrow(1, 0, channels)?)?;
        let dy = match &layer.second {
            None => {
                let (dx, dw) = self.convolution(&output, &activated, layer.conv1, needs(at + 2))?;
                gradients[at + 2] = dw;
                dx
            }
            Some(second) => {
                let y1 = match self.kept.bottlenecks.get(index) {
                    Some(y1) => y1.f_narrow(1, 0, layer.conv1.size()[0])?,
                    None => undrop(conv1(&activated, layer)?, bottleneck_mask, self.plan.drop_rate)?,
                };
                let y1 = self.second(index, second, &output, &y1, needs, gradients)?;
                let y1 = undrop(y1, bottleneck_mask, self.plan.drop_rate)?;
                if needs(at + 2) {
                    let weight = y1.f_tr()?.f_mm(&activated)?;
                    gradients[at + 2] =
                        Some(weight.f_view(layer.conv1.size().as_slice())?.f_to_kind(layer.conv1.kind())?);
                }
                y1.f_mm(&matrix(layer.conv1)?.f_to_kind(self.kind)?)?
            }
        };
        let (dgamma, dbeta) = self.read_by(&norm1, &self.relu_backward(&dy, &activated)?)?;
        set(gradients, needs, at, dgamma, layer.gamma1)?;
        Ok(set(gradients, needs, at + 1, dbeta, layer.beta1)?)
    }

    /// conv2 and norm2: the gradient of conv1's (dropped) output, [M, B], in the features' dtype.
    fn second(
        &self,
        index: usize,
        second: &SecondParameters,
        output: &Tensor,
        y1: &Tensor,
        needs: &dyn Fn(usize) -> bool,
        gradients: &mut [Option<Tensor>],
    ) -> Result<Tensor, BoxError> {
        let at = self.plan.layer_at(index) + 3;
        let norm2 = self.norm(self.plan.norm2(index), second.gamma2, second.beta2)?;
        let activated = norm2.apply_relu(y1)?;
        let (dx, dw) = self.convolution(output, &activated, second.conv2, needs(at + 2))?;
        gradients[at + 2] = dw;
        let mut dy = self.relu_backward(&dx, &activated)?;
        let (dgamma, dbeta) = norm2.parameter_gradients(&dy, y1)?;
        if self.plan.train {
            let count = self.size.rows() as f64;
            let slope = dgamma.f_mul(&norm2.invstd)?.f_div_scalar(count)?;
            let centered = y1.f_to_kind(self.sums)?.f_sub(&norm2.mean)?.f_mul_(&slope)?;
            let _ = dy.f_sub_(&dbeta.f_div_scalar(count)?)?.f_sub_(&centered)?;
        }
        let _ = dy.f_mul_(&norm2.scale)?;
        set(gradients, needs, at, dgamma, second.gamma2)?;
        set(gradients, needs, at + 1, dbeta, second.beta2)?;
        Ok(dy.f_to_kind(self.kind)?)
    }

    /// A 3×3 convolution's gradients of its input rows and (where wanted) its weight.
    fn convolution(
        &self,
        output: &Tensor,
        input: &Tensor,
        weight: &Tensor,
        wanted: bool,
    ) -> Result<(Tensor, Option<Tensor>), BoxError> {
        let size = self.size;
        let geometry = Convolution { padding: [1, 1], ..Convolution::default() };
        let cast = weight.f_to_kind(self.kind)?;
        let (output, input) = (size.image(output)?, size.image(input)?);
        let [dx, dw, _] = convolution_backward(&output, &input, &cast, &geometry, [true, wanted, false])?;
        let dw = dw.map(|dw| dw.f_to_kind(weight.kind())).transpose()?;
        Ok((size.rows_of(&dx.unwrap_or_default())?, dw))
    }
}

/// dy of a dropout's input.
fn undrop(dy: Tensor, mask: Option<&Tensor>, rate: f64) -> Result<Tensor, TchError> {
    let Some(mask) = mask else { return Ok(dy) };
    let scale = if rate < 1.0 { 1.0 / (1.0 - rate) } else { 0.0 };
    Tensor::f_native_dropout_backward(&dy, mask, scale)
}

/// Puts a parameter's gradient in its place, in the parameter's dtype.
fn set(
    gradients: &mut [Option<Tensor>],
    needs: &dyn Fn(usize) -> bool,
    at: usize,
    gradient: Tensor,
    parameter: &Tensor,
) -> Result<(), TchError> {
    if needs(at) {
        gradients[at] = Some(gradient.f_to_kind(parameter.kind())?);
    }
    Ok(())
}
