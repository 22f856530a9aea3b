//! Forward.

use crate::model::fused::kept::{output_size, Kept, Size};
use crate::model::fused::norm::{moments, sum_kind, Norm};
use crate::model::fused::plan::{LayerParameters, Plan, Tail};
use tch::{TchError, Tensor};

/// A stage's outputs (the main one; the block's features too where the plan says so) and what its backward needs. With
/// `keep` off, what a backward pass alone would need is not kept.
pub(in crate::model::fused) fn forward(
    plan: &Plan,
    inputs: &[Tensor],
    size: Size,
    keep: bool,
) -> Result<(Vec<Tensor>, Kept), TchError> {
    let xs = &inputs[0];
    let parameters = &inputs[1..];
    let (kind, sums) = (xs.kind(), sum_kind(xs.kind()));
    let first = xs.size()[1];
    let (gamma, beta, conv) = plan.tail_parameters(parameters);
    let total = gamma.size()[0];
    let features = Tensor::f_empty([size.rows(), total], (kind, xs.device()))?;
    size.image(&features)?.f_narrow(1, 0, first)?.f_copy_(xs)?;

    // Of the features' columns, filled as they come; then each norm's own.
    let shared = Tensor::f_zeros([2, total], (sums, xs.device()))?;
    let (mean, var) = (shared.f_get(0)?, shared.f_get(1)?);
    let measure = |from: i64, columns: &Tensor| -> Result<(), TchError> {
        let (batch_mean, batch_var) = moments(columns)?;
        mean.f_narrow(0, from, columns.size()[1])?.f_copy_(&batch_mean)?;
        var.f_narrow(0, from, columns.size()[1])?.f_copy_(&batch_var)
    };
    let shared_by = |index: usize, channels: i64| -> Result<(Tensor, Tensor), TchError> {
        if plan.train {
            return Ok((mean.f_narrow(0, 0, channels)?, var.f_narrow(0, 0, channels)?));
        }
        plan.norms[index].running()
    };

    if plan.train {
        measure(0, &features.f_narrow(1, 0, first)?)?;
    }
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    let (mut bottlenecks, mut masks) = (Vec::new(), Vec::new());
    for index in 0..plan.layers {
        let layer = plan.layer(parameters, index);
        let channels = layer.gamma1.size()[0];
        let statistics = shared_by(plan.norm1(index), channels)?;
        let eps = plan.norms[plan.norm1(index)].eps;
        let norm1 = Norm::new(layer.gamma1, layer.beta1, &statistics, eps, sums)?;
        firsts.push(statistics);
        let input = norm1.apply_relu(&features.f_narrow(1, 0, channels)?)?;
        let output = match &layer.second {
            None => convolve(size, &input, layer.conv1)?,
            Some(second) => {
                let (y1, mask) = dropped(conv1(&input, &layer)?, plan.bottleneck_drop_rate())?;
                drop(input);
                let state = &plan.norms[plan.norm2(index)];
                let statistics = if plan.train { moments(&y1)? } else { state.running()? };
                let norm2 = Norm::new(second.gamma2, second.beta2, &statistics, state.eps, sums)?;
                seconds.push(statistics);
                masks.extend(mask);
                let output = convolve(size, &norm2.apply_relu(&y1)?, second.conv2)?;
                if keep && plan.keeps_bottlenecks() {
                    bottlenecks.push(y1);
                }
                output
            }
        };
        let (output, mask) = dropped(output, plan.drop_rate)?;
        masks.extend(mask);
        let mut columns = features.f_narrow(1, channels, output.size()[1])?;
        columns.f_copy_(&output)?;
        if plan.train {
            measure(channels, &columns)?;
        }
    }

    let statistics = shared_by(plan.norm_tail(), total)?;
    let norm = Norm::new(gamma, beta, &statistics, plan.norms[plan.norm_tail()].eps, sums)?;
    let mut outputs = vec![tail(plan, size, &norm, &features, conv)?];
    if plan.tap {
        outputs.push(size.image(&features.f_detach_copy()?)?);
    }
    firsts.push(statistics);
    firsts.extend(seconds);
    let parameters = parameters.iter().map(Tensor::shallow_clone).collect();
    Ok((outputs, Kept { parameters, features, statistics: firsts, bottlenecks, masks }))
}

/// The 1×1 convolution: rows [M, C] to [M, B].
pub(super) fn conv1(input: &Tensor, layer: &LayerParameters) -> Result<Tensor, TchError> {
    input.f_mm(&matrix(layer.conv1)?.f_to_kind(input.kind())?.f_tr()?)
}

/// [out, in, 1, 1] as [out, in].
pub(super) fn matrix(weight: &Tensor) -> Result<Tensor, TchError> {
    weight.f_flatten(1, -1)
}

/// A 3×3 convolution: rows to rows.
fn convolve(size: Size, rows: &Tensor, weight: &Tensor) -> Result<Tensor, TchError> {
    let weight = weight.f_to_kind(rows.kind())?;
    let image = size.image(rows)?.f_conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1)?;
    size.rows_of(&image)
}

/// Dropout, and its mask where there is one.
fn dropped(rows: Tensor, rate: f64) -> Result<(Tensor, Option<Tensor>), TchError> {
    if rate == 0.0 {
        return Ok((rows, None));
    }
    let (rows, mask) = rows.f_native_dropout(rate, true)?;
    Ok((rows, Some(mask)))
}

fn tail(
    plan: &Plan,
    size: Size,
    norm: &Norm,
    features: &Tensor,
    conv: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    match (plan.tail, conv) {
        (Tail::Transition, Some(conv)) => {
            let pooled = pool(size, &norm.apply_relu(features)?)?;
            let conv = matrix(conv)?.f_to_kind(features.kind())?;
            output_size(plan.tail, size).image(&pooled.f_mm(&conv.f_tr()?)?)
        }
        (Tail::Pool, _) => {
            let image = size.image(&norm.apply_relu(features)?)?;
            image.f_mean_dim([2i64, 3].as_slice(), false, None)
        }
        _ => size.image(&norm.apply(features)?),
    }
}

/// 2×2 average pooling: rows [M, C] to [N·⌊H/2⌋·⌊W/2⌋, C].
pub(super) fn pool(size: Size, rows: &Tensor) -> Result<Tensor, TchError> {
    let image = size.image(rows)?.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)?;
    output_size(Tail::Transition, size).rows_of(&image)
}
