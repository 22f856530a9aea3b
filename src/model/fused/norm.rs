//! Batch norms as vectors: a norm over a stage's rows is x·scale + shift, and its statistics are shared by every norm
//! that reads the same channels.

use super::plan::NormState;
use tch::{Kind, TchError, Tensor};

/// The dtype of statistics and of sums of gradients: f32 for half types.
pub(super) fn sum_kind(kind: Kind) -> Kind {
    match kind {
        Kind::Half | Kind::BFloat16 => Kind::Float,
        other => other,
    }
}

/// A norm over C channels with its statistics put in, \[C\] each.
pub(super) struct Norm {
    pub mean: Tensor,
    /// 1/√(var + ε).
    pub invstd: Tensor,
    /// γ·invstd: also what dy is multiplied with in the norm's backward.
    pub scale: Tensor,
    /// β − mean·scale.
    pub shift: Tensor,
}

impl Norm {
    /// From γ, β and statistics (biased variance), all \[C\]; computed in `kind`.
    pub fn new(
        gamma: &Tensor,
        beta: &Tensor,
        (mean, var): &(Tensor, Tensor),
        eps: f64,
        kind: Kind,
    ) -> Result<Norm, TchError> {
        let mean = mean.f_to_kind(kind)?;
        let invstd = var.f_to_kind(kind)?.f_add_scalar(eps)?.f_rsqrt()?;
        let scale = gamma.f_to_kind(kind)?.f_mul(&invstd)?;
        let shift = beta.f_to_kind(kind)?.f_sub(&mean.f_mul(&scale)?)?;
        Ok(Norm { mean, invstd, scale, shift })
    }

    /// rows [M, C] normalized, in the rows' dtype.
    pub fn apply(&self, rows: &Tensor) -> Result<Tensor, TchError> {
        let wide = rows.f_to_kind(self.scale.kind())?;
        self.shift.f_addcmul(&wide, &self.scale)?.f_to_kind(rows.kind())
    }

    /// [`Norm::apply`] and ReLU.
    pub fn apply_relu(&self, rows: &Tensor) -> Result<Tensor, TchError> {
        self.apply(rows)?.f_relu_()
    }

    /// (dγ, dβ) from dy and the norm's input, [M, C] each.
    pub fn parameter_gradients(&self, dy: &Tensor, rows: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let sum = |tensor: &Tensor| tensor.f_sum_dim_intlist(0i64, false, None);
        let centered = rows.f_to_kind(self.mean.kind())?.f_sub(&self.mean)?.f_mul_(dy)?;
        Ok((sum(&centered)?.f_mul_(&self.invstd)?, sum(dy)?))
    }
}

/// (mean, biased variance) of each column of [M, C], in [`sum_kind`].
pub(super) fn moments(rows: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let (var, mean) = rows.f_to_kind(sum_kind(rows.kind()))?.f_var_mean_dim(0i64, false, false)?;
    Ok((mean, var))
}

impl NormState {
    /// Moves the running statistics by a batch of `count` values a channel, as PyTorch does: unbiased variance, the batch's
    /// weight `momentum`.
    pub fn move_by(&self, (mean, var): &(Tensor, Tensor), count: i64) -> Result<(), TchError> {
        let unbias = count as f64 / (count - 1) as f64;
        for (running, batch, factor) in [(&self.running_mean, mean, 1.0), (&self.running_var, var, unbias)] {
            let moved = running
                .f_to_kind(batch.kind())?
                .f_mul_scalar(1.0 - self.momentum)?
                .f_add_(&batch.f_mul_scalar(self.momentum * factor)?)?;
            running.shallow_clone().f_copy_(&moved)?;
        }
        let _ = self.num_batches_tracked.shallow_clone().f_add_scalar_(1)?;
        Ok(())
    }
}
