//! Backward: as the generic one, with the norms' first stages inside the convolutions.

use super::forward::tail_pool;
use super::scratch::Scratch;
use super::vectors::{numbers, second_stage, NormVectors, Shared};
use super::{contiguous, Site};
use crate::autograd::{f32_slice, Buffer, LibtorchThreads};
use crate::kernels::conv3x3::{self, Algorithm, Pass as Of};
use crate::kernels::norm::{self, Affine, Gradient};
use crate::kernels::{conv1x1, padded, Aligned};
use crate::model::fused::kept::Kept;
use crate::model::fused::plan::{LayerParameters, Plan, SecondParameters, Tail};
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
        shared: Shared::new(total),
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
        pass.feature_gradient(&scratch.g, 0, first, norm::RowsMut::new(dx.as_mut_slice(), first));
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
    shared: Shared,
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
    fn feature_gradient(&self, g: &[f32], from: usize, count: usize, to: norm::RowsMut) {
        let rows = self.site.rows();
        let terms = self.shared.terms(&self.mean, from, count, rows, self.plan.train);
        let terms =
            Gradient { scale: &terms.scale, mean: &terms.mean, slope: &terms.slope, offset: &terms.offset };
        let columns = |data| norm::Rows::new(data, self.ld);
        let more = self.tapped.as_ref().map(|tapped| {
            let slice = f32_slice(tapped).unwrap_or_default();
            norm::Rows::new(slice.get(from..).unwrap_or_default(), self.mean.len())
        });
        norm::gradient(
            self.site.machine(),
            terms,
            columns(&g[from..]),
            columns(&self.features[from..]),
            more,
            to,
            rows,
            count,
        );
    }

    fn tail(&mut self, scratch: &mut Scratch, output: &Tensor) -> Result<(), TchError> {
        let (plan, site, channels) = (self.plan, self.site, self.mean.len());
        let at = plan.tail_at();
        let (gamma, beta, conv) = plan.tail_parameters(&self.kept.parameters);
        let norm = self.norm(plan.norm_tail(), gamma, beta);
        let affine = Affine { scale: &norm.scale, shift: &norm.shift };
        let pool = tail_pool(plan.tail, site, channels);
        let xs = norm::Rows::new(self.features, self.ld);
        let output = match plan.tail {
            Tail::Pool => output.f_contiguous()?,
            _ => output.f_permute([0, 2, 3, 1])?.f_contiguous()?,
        };
        let output = f32_slice(&output).unwrap_or_default();
        let Scratch { g, pooled, pooled_gradient, rows, conv1, .. } = scratch;
        let (dy, stride) = match conv {
            None => (output, channels),
            Some(conv) => {
                let (width, outputs, windows) = (padded(channels), conv.size()[0] as usize, pool.windows());
                let pooled = pooled.take(windows * width);
                let to = norm::RowsMut::new(pooled, width);
                norm::pool(site.machine(), pool, affine, xs, to);
                let (v, stride) = padded_rows(output, windows, outputs, rows);
                let weight = contiguous(conv)?;
                let of = conv1x1::Backward {
                    rows: windows,
                    weight: &numbers(&weight),
                    outputs,
                    inputs: channels,
                    gradient: conv1x1::Gradient::Plain { v: conv1x1::Rows { data: v, stride } },
                    x: conv1x1::Rows { data: pooled, stride: width },
                };
                let dx = pooled_gradient.take(windows * width);
                let mut dw = weight_buffer(conv, (self.needs)(at + 2))?;
                conv1x1::backward(
                    site.level,
                    &LibtorchThreads,
                    conv1,
                    &of,
                    Some(conv1x1::RowsMut { data: dx, stride: width }),
                    dw.as_mut().map(Buffer::as_mut_slice),
                );
                self.gradients[at + 2] = dw.map(Buffer::into_tensor);
                (&*dx, width)
            }
        };
        let g = norm::RowsMut::new(g.take(site.rows() * self.ld), self.ld);
        let dy = norm::Rows::new(dy, stride);
        let (slopes, betas) = norm::pool_backward(site.machine(), pool, affine, &norm.mean, xs, dy, g);
        let invstd = norm.invstd.iter().map(|x| f64::from(*x));
        let dgamma: Vec<f32> =
            slopes.iter().zip(invstd).map(|(slope, invstd)| (slope * invstd) as f32).collect();
        let dbeta: Vec<f32> = betas.iter().map(|beta| *beta as f32).collect();
        self.shared.add(&norm, &dgamma, &dbeta);
        self.set(at, &dgamma, &dbeta);
        Ok(())
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
        let to = norm::RowsMut::new(output.take(site.rows() * padded(growth)), padded(growth));
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

    /// A layer without bottleneck, from the gradient of its output. Gives norm1's (dγ, dβ).
    fn plain(
        &mut self,
        scratch: &mut Scratch,
        index: usize,
        layer: &LayerParameters,
        norm1: &NormVectors,
        output: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>), TchError> {
        let rows = conv3x3::Rows { data: self.features, ld: self.ld, channels: layer.gamma1.numel() };
        let at = self.plan.layer_at(index) + 2;
        let mut g = std::mem::take(&mut scratch.g);
        let to = conv3x3::Destination::Add { data: &mut g, ld: self.ld, gamma: &norm1.scale };
        let (dgamma, dbeta) = self.convolution(scratch, layer.conv1, at, rows, norm1, output, to)?;
        scratch.g = g;
        let single = |sums: Vec<f64>| sums.iter().map(|sum| *sum as f32).collect();
        Ok((single(dgamma), single(dbeta)))
    }

    /// A layer with a bottleneck, from the gradient of its output. Gives norm1's (dγ, dβ).
    #[allow(clippy::too_many_arguments)]
    fn bottleneck(
        &mut self,
        scratch: &mut Scratch,
        index: usize,
        layer: &LayerParameters,
        second: &SecondParameters,
        norm1: &NormVectors,
        output: &[f32],
        mask: Option<&Tensor>,
    ) -> Result<(Vec<f32>, Vec<f32>), TchError> {
        let (plan, site, kept) = (self.plan, self.site, self.kept);
        let (at, rows) = (plan.layer_at(index), site.rows());
        let (channels, width) = (layer.gamma1.numel(), layer.conv1.size()[0] as usize);
        let ldy = padded(width);
        let mut again = std::mem::take(&mut scratch.y1);
        let y1 = match kept.bottlenecks.get(index) {
            Some(y1) => f32_slice(y1).unwrap_or_default(),
            None => {
                self.bottleneck_again(scratch, layer, norm1, again.take(rows * ldy))?;
                undrop(&mut again, width, mask, plan.drop_rate)?;
                scratch.clock.lap("conv1 again");
                &again[..]
            }
        };
        let norm2 = self.norm(plan.norm2(index), second.gamma2, second.beta2);
        let mut v = std::mem::take(&mut scratch.v);
        let to = conv3x3::Destination::Store { data: v.take(rows * ldy), ld: ldy };
        let input = conv3x3::Rows { data: y1, ld: ldy, channels: width };
        let (dgamma, dbeta) = self.convolution(scratch, second.conv2, at + 5, input, &norm2, output, to)?;
        let single = |sums: &[f64]| sums.iter().map(|sum| *sum as f32).collect::<Vec<f32>>();
        self.set(at + 3, &single(&dgamma), &single(&dbeta));

        let terms = second_stage(&norm2, &dgamma, &dbeta, rows, plan.train);
        let constants: Vec<f32> = terms
            .offset
            .iter()
            .zip(&terms.slope)
            .zip(&terms.mean)
            .map(|((c, b), mean)| c - b * mean)
            .collect();
        if mask.is_some() {
            // The mask stands between norm2 and conv1: their gradient has to exist.
            let terms = Gradient {
                scale: &terms.scale,
                mean: &terms.mean,
                slope: &terms.slope,
                offset: &terms.offset,
            };
            let xs = norm::Rows::new(y1, ldy);
            norm::gradient_in_place(site.machine(), terms, xs, norm::RowsMut::new(&mut v, ldy), rows, width);
            undrop(&mut v, width, mask, plan.drop_rate)?;
        }
        let v_rows = conv1x1::Rows { data: &v, stride: ldy };
        let gradient = if mask.is_some() {
            conv1x1::Gradient::Plain { v: v_rows }
        } else if plan.train {
            let y = conv1x1::Rows { data: y1, stride: ldy };
            conv1x1::Gradient::Normed { v: v_rows, y, a: &terms.scale, b: &terms.slope, c: &constants }
        } else {
            conv1x1::Gradient::Scaled { v: v_rows, a: &terms.scale }
        };
        let weight = contiguous(layer.conv1)?;
        let of = conv1x1::Backward {
            rows,
            weight: &numbers(&weight),
            outputs: width,
            inputs: channels,
            gradient,
            x: conv1x1::Rows { data: self.features, stride: self.ld },
        };
        let norm = conv1x1::Norm {
            scale: &norm1.scale,
            shift: &norm1.shift,
            mean: &norm1.mean,
            invstd: &norm1.invstd,
            gamma: &norm1.scale,
        };
        let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
        let mut dw = weight_buffer(layer.conv1, (self.needs)(at + 2))?;
        let gradients = conv1x1::Gradients {
            weight: dw.as_mut().map(Buffer::as_mut_slice),
            gamma: &mut dgamma,
            beta: &mut dbeta,
        };
        let g = conv1x1::RowsMut { data: &mut scratch.g, stride: self.ld };
        conv1x1::backward_normed(site.level, &LibtorchThreads, &mut scratch.conv1, &of, &norm, g, gradients);
        scratch.clock.lap("conv1 backward");
        self.gradients[at + 2] = dw.map(Buffer::into_tensor);
        (scratch.v, scratch.y1) = (v, again);
        Ok((dgamma, dbeta))
    }

    /// conv1's output, as the forward had it before dropout.
    fn bottleneck_again(
        &self,
        scratch: &mut Scratch,
        layer: &LayerParameters,
        norm1: &NormVectors,
        to: &mut [f32],
    ) -> Result<(), TchError> {
        let width = layer.conv1.size()[0] as usize;
        let weight = contiguous(layer.conv1)?;
        scratch.packed1.pack(&LibtorchThreads, &numbers(&weight), width, layer.gamma1.numel());
        let of = conv1x1::Forward {
            rows: self.site.rows(),
            x: conv1x1::Rows { data: self.features, stride: self.ld },
            norm: Some(conv1x1::Affine { scale: &norm1.scale, shift: &norm1.shift }),
            weight: &scratch.packed1,
            bias: None,
            relu: false,
        };
        let to = conv1x1::RowsMut { data: to, stride: padded(width) };
        conv1x1::forward(&LibtorchThreads, &mut scratch.conv1, &of, to, None);
        Ok(())
    }

    /// A 3×3 convolution with its norm and ReLU before it, from the gradient of its output: the weight's gradient (input
    /// number `at`) and v, the gradient after the norm, to `to`. Gives the norm's (dγ, dβ).
    #[allow(clippy::too_many_arguments)]
    fn convolution(
        &mut self,
        scratch: &mut Scratch,
        weight: &Tensor,
        at: usize,
        input: conv3x3::Rows,
        norm: &NormVectors,
        output: &[f32],
        to: conv3x3::Destination,
    ) -> Result<(Vec<f64>, Vec<f64>), TchError> {
        let (site, pictures) = (self.site, self.site.pictures());
        let (outputs, inputs) = (weight.size()[0] as usize, input.channels);
        let output = conv3x3::Rows { data: output, ld: padded(outputs), channels: outputs };
        let affine = conv3x3::Norm { scale: &norm.scale, shift: &norm.shift };
        if let Some(mut dw) = weight_buffer(weight, (self.needs)(at))? {
            let algorithm = Algorithm::fastest(Of::WeightGradient, pictures, inputs, outputs);
            let input = conv3x3::Input { rows: input, norm: Some(affine) };
            let to = dw.as_mut_slice();
            conv3x3::weight_gradient(
                site.machine(),
                &mut scratch.conv3,
                algorithm,
                pictures,
                output,
                input,
                to,
            );
            self.gradients[at] = Some(dw.into_tensor());
        }
        scratch.clock.lap("conv2 weight gradient");
        let algorithm = Algorithm::fastest(Of::InputGradient, pictures, inputs, outputs);
        let weight = contiguous(weight)?;
        scratch.packed3.input_gradient(site.machine(), algorithm, &numbers(&weight), outputs, inputs);
        let (mut dgamma, mut dbeta) = (vec![0.0; inputs], vec![0.0; inputs]);
        let result = conv3x3::InputGradient {
            input,
            norm: affine,
            mean: &norm.mean,
            invstd: &norm.invstd,
            to,
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        conv3x3::input_gradient(
            site.machine(),
            &mut scratch.conv3,
            pictures,
            output,
            &scratch.packed3,
            result,
        );
        scratch.clock.lap("conv2 input gradient");
        Ok((dgamma, dbeta))
    }
}

/// A buffer for a weight's gradient, where it is wanted.
fn weight_buffer(weight: &Tensor, wanted: bool) -> Result<Option<Buffer>, TchError> {
    wanted.then(|| Buffer::new(&weight.size())).transpose()
}

/// Dense rows as padded ones, and their stride: as they are where they need no padding, else copied.
fn padded_rows<'a>(data: &'a [f32], rows: usize, channels: usize, to: &'a mut Aligned) -> (&'a [f32], usize) {
    let width = padded(channels);
    if width == channels {
        return (data, channels);
    }
    let to = to.take(rows * width);
    for (to, from) in to.chunks_exact_mut(width).zip(data.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
        to[channels..].fill(0.0);
    }
    (to, width)
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
