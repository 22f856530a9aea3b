//! The stage's end, backwards.

use super::{weight_buffer, Pass};
use crate::autograd::{f32_slice, Buffer};
use crate::kernels::{conv1x1, norm, padded, Aligned, Rows, RowsMut};
use crate::model::fused::fast::contiguous;
use crate::model::fused::fast::forward::tail_pool;
use crate::model::fused::fast::scratch::Scratch;
use crate::model::fused::fast::vectors::{numbers, single};
use crate::model::fused::plan::Tail;
use tch::{TchError, Tensor};

impl Pass<'_> {
    /// From the gradient of the stage's output to g, where the layers' add up.
    pub(super) fn tail(&mut self, scratch: &mut Scratch, output: &Tensor) -> Result<(), TchError> {
        let (plan, site, channels) = (self.plan, self.site, self.mean.len());
        let at = plan.tail_at();
        let (gamma, beta, conv) = plan.tail_parameters(&self.kept.parameters);
        let norm = self.norm(plan.norm_tail(), gamma, beta);
        let affine = norm.affine();
        let pool = tail_pool(plan.tail, site, channels);
        let xs = Rows::new(self.features, self.ld);
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
                let to = RowsMut::new(pooled, width);
                norm::pool(site.machine(), pool, affine, xs, to);
                let (v, stride) = padded_rows(output, windows, outputs, rows);
                let weight = contiguous(conv)?;
                let of = conv1x1::Backward {
                    rows: windows,
                    weight: &numbers(&weight),
                    outputs,
                    inputs: channels,
                    gradient: conv1x1::Gradient::Plain { v: Rows::new(v, stride) },
                    x: Rows::new(pooled, width),
                };
                let dx = pooled_gradient.take(windows * width);
                let mut dw = weight_buffer(conv, (self.needs)(at + 2))?;
                let to = Some(RowsMut::new(dx, width));
                conv1x1::backward(site.machine(), conv1, &of, to, dw.as_mut().map(Buffer::as_mut_slice));
                self.gradients[at + 2] = dw.map(Buffer::into_tensor);
                (&*dx, width)
            }
        };
        let g = RowsMut::new(g.take(site.rows() * self.ld), self.ld);
        let dy = Rows::new(dy, stride);
        let (slopes, betas) = norm::pool_backward(site.machine(), pool, affine, &norm.mean, xs, dy, g);
        let invstd = norm.invstd.iter().map(|x| f64::from(*x));
        let dgamma: Vec<f32> =
            slopes.iter().zip(invstd).map(|(slope, invstd)| (slope * invstd) as f32).collect();
        let dbeta = single(&betas);
        self.shared.add(&norm, &dgamma, &dbeta);
        self.set(at, &dgamma, &dbeta);
        Ok(())
    }
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
