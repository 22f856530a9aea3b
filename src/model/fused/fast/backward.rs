//! Backward: as the generic one, with the norms' first stages inside the convolutions.

mod layers;
mod tail;

use super::scratch::Scratch;
use super::vectors::{numbers, NormVectors, SecondTerm};
use super::Site;
use crate::autograd::{f32_slice, Buffer};
use crate::kernels::{norm, padded, Rows, RowsMut};
use crate::model::fused::kept::Kept;
use crate::model::fused::plan::{LayerParameters, Plan};
use tch::{TchError, Tensor};

/// Gradients of the inputs from those of the outputs (the main one; the features' where they were handed out).
pub(in crate::model::fused) fn backward(
    plan: &Plan,
    kept: &Kept,
    site: Site,
    scratch: &mut Scratch,
    needs: &dyn Fn(usize) -> bool,
    outputs: &[Option<Tensor>],
) -> Result<Vec<Option<Tensor>>, TchError> {
    scratch.clock.start();
    let total = plan.tail_parameters(&kept.parameters).0.numel();
    let tapped = match outputs.get(1) {
        Some(Some(tapped)) => Some(site.size.rows_of(tapped)?.f_contiguous()?),
        _ => None,
    };
    let mean = numbers(&kept.statistics[plan.norm_tail()].0).into_owned();
    let ld = kept.features.size()[1] as usize;
    let mut pass = Pass {
        plan,
        kept,
        site,
        features: f32_slice(&kept.features).unwrap_or_default(),
        ld,
        mean,
        tapped,
        needs,
        shared: SecondTerm::new(total),
        gradients: (0..plan.inputs()).map(|_| None).collect(),
    };
    match outputs.first() {
        Some(Some(output)) => pass.tail(scratch, output)?,
        _ => scratch.g.take(site.rows() * ld).fill(0.0),
    }
    scratch.clock.lap("tail backward");
    let mut first = total;
    for index in (0..plan.layers).rev() {
        // Nothing before this layer asks for a gradient either.
        if !(0..plan.layer_at(index + 1)).any(needs) {
            return Ok(pass.gradients);
        }
        let layer = plan.layer(&kept.parameters, index);
        first = layer.gamma1.numel();
        pass.layer(scratch, index, &layer)?;
    }
    if needs(0) {
        let mut dx = Buffer::new(&[site.rows() as i64, first as i64])?;
        pass.feature_gradient(&scratch.g, 0, first, RowsMut::new(dx.as_mut_slice(), first));
        scratch.clock.lap("feature gradient");
        pass.gradients[0] = Some(site.size.image(&dx.into_tensor())?);
    }
    Ok(pass.gradients)
}

struct Pass<'a> {
    plan: &'a Plan,
    kept: &'a Kept,
    site: Site,
    features: &'a [f32],
    /// From one row of the features, and of g, to the next.
    ld: usize,
    /// The features' batch means.
    mean: Vec<f32>,
    tapped: Option<Tensor>,
    needs: &'a dyn Fn(usize) -> bool,
    shared: SecondTerm,
    gradients: Vec<Option<Tensor>>,
}

impl Pass<'_> {
    fn norm(&self, index: usize, gamma: &Tensor, beta: &Tensor) -> NormVectors {
        NormVectors::from_tensors(gamma, beta, &self.kept.statistics[index], self.plan.norms[index].eps)
    }

    /// Puts the gradients of a norm's γ and β in their places.
    fn set(&mut self, at: usize, dgamma: &[f32], dbeta: &[f32]) {
        for (at, gradient) in [(at, dgamma), (at + 1, dbeta)] {
            if (self.needs)(at) {
                self.gradients[at] = Some(Tensor::from_slice(gradient));
            }
        }
    }

    /// The whole gradient of some of the features, once all that read them are done.
    fn feature_gradient(&self, g: &[f32], from: usize, count: usize, to: RowsMut) {
        let rows = self.site.rows();
        let terms = self.shared.terms(&self.mean, from, count, rows, self.plan.train);
        let columns = |data| Rows::new(data, self.ld);
        let more = self.tapped.as_ref().map(|tapped| {
            let slice = f32_slice(tapped).unwrap_or_default();
            Rows::new(slice.get(from..).unwrap_or_default(), self.mean.len())
        });
        norm::gradient(
            self.site.machine(),
            terms.gradient(),
            columns(&g[from..]),
            columns(&self.features[from..]),
            more,
            to,
            rows,
            count,
        );
    }

    fn layer(
        &mut self,
        scratch: &mut Scratch,
        index: usize,
        layer: &LayerParameters,
    ) -> Result<(), TchError> {
        let (plan, site, kept) = (self.plan, self.site, self.kept);
        let channels = layer.gamma1.numel();
        let last = layer.second.as_ref().map_or(layer.conv1, |second| second.conv2);
        let growth = last.size()[0] as usize;
        let mut output = std::mem::take(&mut scratch.output);
        let to = RowsMut::new(output.take(site.rows() * padded(growth)), padded(growth));
        self.feature_gradient(&scratch.g, channels, growth, to);
        let (bottleneck_mask, output_mask) = kept.masks(plan, index);
        undrop(&mut output, growth, output_mask, plan.drop_rate)?;
        scratch.clock.lap("feature gradient");
        let norm1 = self.norm(plan.norm1(index), layer.gamma1, layer.beta1);
        let (dgamma, dbeta) = match &layer.second {
            None => self.plain(scratch, index, layer, &norm1, &output)?,
            Some(second) => {
                self.bottleneck(scratch, index, layer, second, &norm1, &output, bottleneck_mask)?
            }
        };
        scratch.output = output;
        self.shared.add(&norm1, &dgamma, &dbeta);
        self.set(plan.layer_at(index), &dgamma, &dbeta);
        Ok(())
    }
}

/// A buffer for a weight's gradient, where it is wanted.
fn weight_buffer(weight: &Tensor, wanted: bool) -> Result<Option<Buffer>, TchError> {
    wanted.then(|| Buffer::new(&weight.size())).transpose()
}

/// The gradient of a dropout's input, in place, from that of its output; also the dropout itself, by a known mask.
fn undrop(rows: &mut [f32], channels: usize, mask: Option<&Tensor>, rate: f64) -> Result<(), TchError> {
    let Some(mask) = mask else { return Ok(()) };
    let scale = if rate < 1.0 { (1.0 / (1.0 - rate)) as f32 } else { 0.0 };
    let factors = mask.f_to_kind(tch::Kind::Float)?.f_mul_scalar(f64::from(scale))?;
    let factors = f32_slice(&factors).unwrap_or_default();
    for (row, factors) in rows.chunks_exact_mut(padded(channels)).zip(factors.chunks_exact(channels)) {
        row.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
    }
    Ok(())
}
