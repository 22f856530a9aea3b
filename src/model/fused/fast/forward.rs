//! Forward.

use super::scratch::Scratch;
use super::vectors::{numbers, single, NormVectors};
use super::{contiguous, Site};
use crate::autograd::{f32_slice, Buffer};
use crate::kernels::conv3x3::{self, Algorithm, Pass};
use crate::kernels::norm::{self, Pool};
use crate::kernels::{self, conv1x1, padded, Moments, Rows, RowsMut};
use crate::model::fused::kept::{output_size, Kept};
use crate::model::fused::plan::{LayerParameters, Plan, Tail};
use tch::{Kind, TchError, Tensor};

/// A norm's batch statistics, each [C].
type MeanVar = (Tensor, Tensor);

/// A stage's outputs (the main one; the block's features too where the plan says so) and what its backward needs. With
/// `keep` off, what a backward pass alone would need is not kept.
pub(in crate::model::fused) fn forward(
    plan: &Plan,
    inputs: &[Tensor],
    site: Site,
    scratch: &mut Scratch,
    keep: bool,
) -> Result<(Vec<Tensor>, Kept), TchError> {
    let parameters = &inputs[1..];
    let total = plan.tail_parameters(parameters).0.numel();
    let rows = site.rows();
    let ld = kernels::spread(total);
    scratch.clock.start();
    let mut features = Buffer::new(&[rows as i64, ld as i64])?;
    let mut shared = Statistics::new(total);

    let xs = site.size.rows_of(&inputs[0].f_detach()?)?.f_contiguous()?;
    let first = xs.size()[1] as usize;
    {
        let from = Rows::new(f32_slice(&xs).unwrap_or_default(), first);
        let to = RowsMut::new(features.as_mut_slice(), ld);
        shared.put(0, &norm::copy_moments(site.machine(), from, to, rows, first));
    }
    drop(xs);
    scratch.clock.lap("input forward");

    let mut pass =
        Pass1 { plan, site, scratch, ld, features, shared, keep, kept: Vec::new(), masks: Vec::new() };
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    for index in 0..plan.layers {
        let layer = plan.layer(parameters, index);
        let (first, second) = pass.layer(index, &layer)?;
        firsts.push(first);
        seconds.extend(second);
    }
    let last = pass.statistics(plan.norm_tail(), total)?;
    let (gamma, beta, conv) = plan.tail_parameters(parameters);
    let norm = NormVectors::from_tensors(gamma, beta, &last, plan.norms[plan.norm_tail()].eps);
    let mut outputs = vec![pass.tail(&norm, conv)?];
    pass.scratch.clock.lap("tail forward");
    let features = pass.features.into_tensor();
    if plan.tap {
        let channels = features.f_narrow(1, 0, total as i64)?;
        outputs.push(site.size.image(&channels.f_contiguous()?.f_detach_copy()?)?);
    }
    // In training all first norms' statistics are the features': one tensor, which they share.
    if plan.train {
        let (mean, var) = (Tensor::from_slice(&pass.shared.mean), Tensor::from_slice(&pass.shared.var));
        for (index, first) in firsts.iter_mut().enumerate().take(plan.layers) {
            let channels = plan.layer(parameters, index).gamma1.size()[0];
            *first = (mean.f_narrow(0, 0, channels)?, var.f_narrow(0, 0, channels)?);
        }
        firsts.push((mean, var));
    } else {
        firsts.push(last);
    }
    firsts.extend(seconds);
    let parameters = parameters.iter().map(Tensor::shallow_clone).collect();
    let (bottlenecks, masks) = (pass.kept, pass.masks);
    Ok((outputs, Kept { parameters, features, statistics: firsts, bottlenecks, masks }))
}

/// Mean and variance of the features, filled as they come.
struct Statistics {
    mean: Vec<f32>,
    var: Vec<f32>,
}

impl Statistics {
    fn new(channels: usize) -> Self {
        Statistics { mean: vec![0.0; channels], var: vec![0.0; channels] }
    }

    fn put(&mut self, from: usize, moments: &Moments) {
        self.mean[from..from + moments.mean.len()].copy_from_slice(&single(&moments.mean));
        self.var[from..from + moments.var.len()].copy_from_slice(&single(&moments.var));
    }
}

struct Pass1<'a> {
    plan: &'a Plan,
    site: Site,
    scratch: &'a mut Scratch,
    /// From one row of `features` to the next.
    ld: usize,
    features: Buffer,
    shared: Statistics,
    keep: bool,
    /// conv1's outputs.
    kept: Vec<Tensor>,
    masks: Vec<Tensor>,
}

impl Pass1<'_> {
    /// (mean, variance) of the first channels, for a norm that reads them.
    fn statistics(&self, index: usize, channels: usize) -> Result<(Tensor, Tensor), TchError> {
        if !self.plan.train {
            return self.plan.norms[index].running();
        }
        let part = |vector: &[f32]| Tensor::from_slice(&vector[..channels]);
        Ok((part(&self.shared.mean), part(&self.shared.var)))
    }

    /// Writes a layer's columns. Gives the statistics of its norm1 and norm2.
    fn layer(
        &mut self,
        index: usize,
        layer: &LayerParameters,
    ) -> Result<(MeanVar, Option<MeanVar>), TchError> {
        let plan = self.plan;
        let channels = layer.gamma1.numel();
        let first = self.statistics(plan.norm1(index), channels)?;
        let norm1 =
            NormVectors::from_tensors(layer.gamma1, layer.beta1, &first, plan.norms[plan.norm1(index)].eps);
        let Some(second) = &layer.second else {
            let width = layer.conv1.size()[0] as usize;
            self.convolve(None, &norm1, layer.conv1, channels, width)?;
            self.drop_columns(channels, width)?;
            self.scratch.clock.lap("conv2 forward");
            return Ok((first, None));
        };
        let width = layer.conv1.size()[0] as usize;
        let (mut y1, moments) = self.bottleneck(layer, &norm1, width)?;
        let mut moments = moments;
        let rate = plan.bottleneck_drop_rate();
        if rate > 0.0 {
            let mask = y1.with_tensor(|y1| dropout(&mut y1.f_narrow(1, 0, width as i64)?, rate))?;
            self.masks.push(mask);
            moments = norm::moments(
                self.site.machine(),
                Rows::new(y1.as_slice(), padded(width)),
                self.site.rows(),
                width,
            );
        }
        let state = &plan.norms[plan.norm2(index)];
        let statistics = match plan.train {
            true => (Tensor::from_slice(&single(&moments.mean)), Tensor::from_slice(&single(&moments.var))),
            false => state.running()?,
        };
        let norm2 = NormVectors::from_tensors(second.gamma2, second.beta2, &statistics, state.eps);
        let growth = second.conv2.size()[0] as usize;
        self.convolve(Some((&y1, width)), &norm2, second.conv2, channels, growth)?;
        self.drop_columns(channels, growth)?;
        self.scratch.clock.lap("conv2 forward");
        if self.keep && plan.keeps_bottlenecks() {
            self.kept.push(y1.into_tensor());
        }
        Ok((first, Some(statistics)))
    }

    /// conv1: [M, B] and its moments.
    fn bottleneck(
        &mut self,
        layer: &LayerParameters,
        norm1: &NormVectors,
        width: usize,
    ) -> Result<(Buffer, Moments), TchError> {
        let (rows, ldy) = (self.site.rows(), padded(width));
        let mut y1 = Buffer::new(&[rows as i64, ldy as i64])?;
        let weight = contiguous(layer.conv1)?;
        let scratch = &mut *self.scratch;
        scratch.packed1.pack(self.site.machine(), &numbers(&weight), width, layer.gamma1.numel());
        let mut moments = Moments::default();
        let of = conv1x1::Forward {
            rows,
            x: Rows::new(self.features.as_slice(), self.ld),
            norm: Some(norm1.affine()),
            weight: &scratch.packed1,
            bias: None,
            relu: false,
        };
        let to = RowsMut::new(y1.as_mut_slice(), ldy);
        let wanted = self.plan.train.then_some(&mut moments);
        conv1x1::forward(self.site.machine(), &mut scratch.conv1, &of, to, wanted);
        scratch.clock.lap("conv1 forward");
        Ok((y1, moments))
    }

    /// The 3×3 convolution from `from` (or the features) to `count` new columns of the features at `at`.
    fn convolve(
        &mut self,
        from: Option<(&Buffer, usize)>,
        norm: &NormVectors,
        weight: &Tensor,
        at: usize,
        count: usize,
    ) -> Result<(), TchError> {
        let (site, scratch, ld) = (self.site, &mut *self.scratch, self.ld);
        let inputs = from.map_or(at, |(_, width)| width);
        let weight = contiguous(weight)?;
        let algorithm = Algorithm::fastest(Pass::Forward, site.pictures(), inputs, count);
        scratch.packed3.forward(site.machine(), algorithm, &numbers(&weight), count, inputs);
        let norm = Some(norm.affine());
        let mut moments = Moments::default();
        let wanted = self.plan.train.then_some(&mut moments);
        let convolve = |scratch: &mut Scratch, rows: Rows, to: RowsMut, at: usize| {
            let input = conv3x3::Input { rows, norm };
            let output = conv3x3::Output { to, at, moments: wanted };
            let (on, pictures) = (site.machine(), site.pictures());
            conv3x3::forward(on, &mut scratch.conv3, pictures, input, &scratch.packed3, output);
        };
        match from {
            Some((y1, width)) => {
                let to = RowsMut::new(self.features.as_mut_slice(), ld);
                convolve(scratch, Rows::new(y1.as_slice(), padded(width)), to, at);
            }
            // Reads and writes the features: by way of a buffer of its own.
            None => {
                let stride = padded(count);
                let mut columns = Buffer::new(&[site.rows() as i64, stride as i64])?;
                let to = RowsMut::new(columns.as_mut_slice(), stride);
                convolve(scratch, Rows::new(self.features.as_slice(), ld), to, 0);
                let columns = columns.into_tensor();
                self.features.with_tensor(|features| {
                    let end = padded(at + count).min(ld) - at;
                    let _ = features.f_narrow(1, at as i64, end as i64)?.f_zero_()?;
                    let new = columns.f_narrow(1, 0, count as i64)?;
                    features.f_narrow(1, at as i64, count as i64)?.f_copy_(&new)
                })?;
            }
        }
        self.shared.put(at, &moments);
        Ok(())
    }

    /// Dropout on the newest columns, whose moments are then others.
    fn drop_columns(&mut self, at: usize, count: usize) -> Result<(), TchError> {
        let rate = self.plan.drop_rate;
        if rate == 0.0 {
            return Ok(());
        }
        let mask = self
            .features
            .with_tensor(|features| dropout(&mut features.f_narrow(1, at as i64, count as i64)?, rate))?;
        self.masks.push(mask);
        let columns = Rows::new(&self.features.as_slice()[at..], self.ld);
        self.shared.put(at, &norm::moments(self.site.machine(), columns, self.site.rows(), count));
        Ok(())
    }

    fn tail(&mut self, norm: &NormVectors, conv: Option<&Tensor>) -> Result<Tensor, TchError> {
        let (site, channels) = (self.site, self.shared.mean.len());
        let affine = norm.affine();
        let xs = Rows::new(self.features.as_slice(), self.ld);
        let pool = tail_pool(self.plan.tail, site, channels);
        let windows = pool.windows();
        let Some(conv) = conv else {
            let mut output = Buffer::new(&[windows as i64, channels as i64])?;
            norm::pool(site.machine(), pool, affine, xs, RowsMut::new(output.as_mut_slice(), channels));
            let output = output.into_tensor();
            return match self.plan.tail {
                Tail::Pool => Ok(output),
                _ => site.size.image(&output),
            };
        };
        let scratch = &mut *self.scratch;
        let (width, outputs) = (padded(channels), conv.size()[0] as usize);
        let pooled = scratch.pooled.take(windows * width);
        norm::pool(site.machine(), pool, affine, xs, RowsMut::new(pooled, width));
        scratch.packed1.pack(self.site.machine(), &numbers(&contiguous(conv)?), outputs, channels);
        let of = conv1x1::Forward {
            rows: windows,
            x: Rows::new(pooled, width),
            norm: None,
            weight: &scratch.packed1,
            bias: None,
            relu: false,
        };
        let stride = padded(outputs);
        let mut output = Buffer::new(&[windows as i64, stride as i64])?;
        let to = RowsMut::new(output.as_mut_slice(), stride);
        conv1x1::forward(site.machine(), &mut scratch.conv1, &of, to, None);
        let output = output.into_tensor().f_narrow(1, 0, outputs as i64)?.f_contiguous()?;
        output_size(Tail::Transition, site.size).image(&output)
    }
}

/// The pooling of a stage's end.
pub(super) fn tail_pool(tail: Tail, site: Site, channels: usize) -> Pool {
    let pictures = site.pictures();
    let (n, h, w) = (pictures.count, pictures.height, pictures.width);
    let (window, relu) = match tail {
        Tail::Transition => ((2, 2), true),
        Tail::Pool => ((h, w), true),
        Tail::Norm => ((1, 1), false),
    };
    Pool { n, h, w, window, relu, channels }
}

/// Dropout in place. Gives its mask.
fn dropout(columns: &mut Tensor, rate: f64) -> Result<Tensor, TchError> {
    let (dropped, mask) = columns.f_native_dropout(rate, true)?;
    columns.f_copy_(&dropped)?;
    debug_assert_eq!(mask.kind(), Kind::Bool);
    Ok(mask)
}
