//! The stem's last norm, its ReLU and the max-pooling as one autograd function, on our own kernels.
//!
//! Keeps the convolution's output alone, where ATen's operations keep the ReLU's output and int64 indices besides.

use super::fast::{self, single, NormVectors};
use super::kept::Size;
use super::plan::NormState;
use super::stage::not_a_view;
use crate::autograd::{f32_slice, BoxError, Buffer, Context, Function};
use crate::kernels::norm::{self, MaxPool};
use crate::kernels::{Level, Rows, RowsMut};
use tch::Tensor;

/// One application: inputs are the convolution's output [N, C, H, W], γ and β.
pub(super) struct StemEnd {
    pub norm: NormState,
    pub train: bool,
    pub level: Level,
}

impl StemEnd {
    fn site(&self, xs: &Tensor) -> (fast::Site, MaxPool) {
        let size = match xs.size()[..] {
            [n, _, h, w] => Size { n, h, w },
            _ => Size { n: 0, h: 0, w: 0 },
        };
        let (n, h, w) = (size.n as usize, size.h as usize, size.w as usize);
        let channels = xs.size().get(1).map_or(0, |channels| *channels as usize);
        (fast::Site { level: self.level, size }, MaxPool { n, h, w, channels })
    }
}

impl Function for StemEnd {
    const NAME: &'static str = "the fused stem (Memory::Fused, Memory::Minimal)";
    const TWICE_DIFFERENTIABLE: bool = false;

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Result<Vec<Tensor>, BoxError> {
        let (site, pool) = self.site(&inputs[0]);
        let xs = site.size.rows_of(&inputs[0].f_detach()?)?.f_contiguous()?;
        let rows = Rows::new(f32_slice(&xs).unwrap_or_default(), pool.channels);
        let statistics = match self.train {
            true => {
                let moments = norm::moments(site.machine(), rows, site.rows(), pool.channels);
                (Tensor::from_slice(&single(&moments.mean)), Tensor::from_slice(&single(&moments.var)))
            }
            false => self.norm.running()?,
        };
        let vectors = NormVectors::from_tensors(&inputs[1], &inputs[2], &statistics, self.norm.eps);
        let (h, w) = pool.output();
        let small = Size { h: h as i64, w: w as i64, ..site.size };
        let mut output = Buffer::new(&[small.rows(), pool.channels as i64])?;
        let to = RowsMut::new(output.as_mut_slice(), pool.channels);
        norm::max_pool(site.machine(), pool, vectors.affine(), rows, to);
        if self.train {
            self.norm.move_by(&statistics, site.size.rows())?;
        }
        ctx.save_for_backward(&[&inputs[0], &inputs[1], &inputs[2], &statistics.0, &statistics.1]);
        Ok(vec![not_a_view(&small.image(&output.into_tensor())?)])
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
        let Some(Some(dy)) = grads.first() else { return Ok(vec![None, None, None]) };
        let xs = ctx.saved(0)?;
        let (site, pool) = self.site(&xs);
        let statistics = (ctx.saved(3)?, ctx.saved(4)?);
        let norm = NormVectors::from_tensors(&ctx.saved(1)?, &ctx.saved(2)?, &statistics, self.norm.eps);
        let xs = site.size.rows_of(&xs)?.f_contiguous()?;
        let dy = dy.f_permute([0, 2, 3, 1])?.f_contiguous()?;
        let rows = |tensor| Rows::new(f32_slice(tensor).unwrap_or_default(), pool.channels);
        let mut dx = Buffer::new(&[site.size.rows(), pool.channels as i64])?;
        let (dgamma, dbeta) = norm::max_pool_backward(
            site.machine(),
            pool,
            norm.affine(),
            &norm.mean,
            rows(&xs),
            rows(&dy),
            RowsMut::new(dx.as_mut_slice(), pool.channels),
        );
        let dgamma: Vec<f64> =
            dgamma.iter().zip(&norm.invstd).map(|(sum, invstd)| sum * f64::from(*invstd)).collect();
        let wanted =
            |at: usize, sums: &[f64]| ctx.needs_input_grad(at).then(|| Tensor::from_slice(&single(sums)));
        let mut input = None;
        if ctx.needs_input_grad(0) {
            let terms = fast::second_stage(&norm, &dgamma, &dbeta, site.rows(), self.train);
            let to = RowsMut::new(dx.as_mut_slice(), pool.channels);
            norm::gradient_in_place(
                site.machine(),
                terms.gradient(),
                rows(&xs),
                to,
                site.rows(),
                pool.channels,
            );
            input = Some(site.size.image(&dx.into_tensor())?);
        }
        Ok(vec![input, wanted(1, &dgamma), wanted(2, &dbeta)])
    }
}
