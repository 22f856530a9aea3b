//! What a stage keeps between its passes.

use super::plan::{Plan, Tail};
use tch::Tensor;

/// A stage after its forward pass.
///
/// Rows are pixels, M = N·H·W of them, channels last; a row may be longer than its channels.
#[derive(Debug)]
pub(super) struct Kept {
    /// The stage's inputs but for the first.
    pub parameters: Vec<Tensor>,
    /// The block's features, [M, ≥ C].
    pub features: Tensor,
    /// (mean, biased variance) of each of [`Plan::norms`]: the batch's, or the running ones.
    pub statistics: Vec<(Tensor, Tensor)>,
    /// conv1's outputs, a layer each, [M, ≥ B]; none where they are computed again.
    pub bottlenecks: Vec<Tensor>,
    /// Dropout's masks, a layer each: after the bottleneck (if there), after the last convolution.
    pub masks: Vec<Tensor>,
}

/// Both passes' view of sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub n: i64,
    pub h: i64,
    pub w: i64,
}

impl Size {
    /// M, pixels of the batch.
    pub fn rows(self) -> i64 {
        self.n * self.h * self.w
    }

    /// [M, C] as [N, C, H, W], sharing memory.
    pub fn image(self, rows: &Tensor) -> Result<Tensor, tch::TchError> {
        let channels = rows.size()[1];
        rows.f_view([self.n, self.h, self.w, channels])?.f_permute([0, 3, 1, 2])
    }

    /// [N, C, H, W] as [M, C]: a view of a channels-last tensor, a copy of any other.
    pub fn rows_of(self, image: &Tensor) -> Result<Tensor, tch::TchError> {
        image.f_permute([0, 2, 3, 1])?.f_reshape([self.rows(), image.size()[1]])
    }
}

impl Kept {
    /// One list, as autograd's context takes it.
    pub fn into_tensors(self) -> Vec<Tensor> {
        let mut tensors = self.parameters;
        tensors.push(self.features);
        tensors.extend(self.statistics.into_iter().flat_map(|(mean, var)| [mean, var]));
        tensors.extend(self.bottlenecks);
        tensors.extend(self.masks);
        tensors
    }

    /// Back from [`Kept::into_tensors`]; `None` where the list is too short to be one.
    pub fn from_tensors(plan: &Plan, tensors: Vec<Tensor>) -> Option<Kept> {
        let mut tensors = tensors.into_iter();
        let parameters: Vec<Tensor> = tensors.by_ref().take(plan.inputs() - 1).collect();
        let features = tensors.next()?;
        let statistics = (0..plan.norms.len())
            .map(|_| Some((tensors.next()?, tensors.next()?)))
            .collect::<Option<Vec<_>>>()?;
        let bottlenecks = match plan.keeps_bottlenecks() {
            true => tensors.by_ref().take(plan.layers).collect(),
            false => Vec::new(),
        };
        Some(Kept { parameters, features, statistics, bottlenecks, masks: tensors.collect() })
    }

    /// The masks of one layer: (after the bottleneck, after the last convolution).
    pub fn masks(&self, plan: &Plan, layer: usize) -> (Option<&Tensor>, Option<&Tensor>) {
        if plan.drop_rate == 0.0 {
            return (None, None);
        }
        if plan.drop_bottleneck && plan.bottleneck {
            (self.masks.get(2 * layer), self.masks.get(2 * layer + 1))
        } else {
            (None, self.masks.get(layer))
        }
    }
}

/// Height and width of a stage's main output.
pub(super) fn output_size(tail: Tail, size: Size) -> Size {
    match tail {
        Tail::Transition => Size { h: size.h / 2, w: size.w / 2, ..size },
        Tail::Norm => size,
        Tail::Pool => Size { h: 1, w: 1, ..size },
    }
}
