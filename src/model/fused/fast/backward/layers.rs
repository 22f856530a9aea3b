//! The convolutions of a layer, backwards.

use super::{undrop, weight_buffer, Pass};
use crate::autograd::{f32_slice, Buffer};
use crate::kernels::conv3x3::{self, Algorithm, Pass as Of};
use crate::kernels::{conv1x1, norm, padded, Rows, RowsMut};
use crate::model::fused::fast::contiguous;
use crate::model::fused::fast::scratch::Scratch;
use crate::model::fused::fast::vectors::{numbers, second_stage, single, NormVectors};
use crate::model::fused::plan::{LayerParameters, SecondParameters};
use tch::{TchError, Tensor};

impl Pass<'_> {
    /// A layer without bottleneck, from the gradient of its output. Gives norm1's (dγ, dβ).
    pub(super) fn plain(
        &mut self,
        scratch: &mut Scratch,
        index: usize,
        layer: &LayerParameters,
        norm1: &NormVectors,
        output: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>), TchError> {
        let (rows, channels) = (Rows::new(self.features, self.ld), layer.gamma1.numel());
        let at = self.plan.layer_at(index) + 2;
        let mut g = std::mem::take(&mut scratch.g);
        let to = conv3x3::Destination::Add(RowsMut::new(&mut g, self.ld));
        let (dgamma, dbeta) =
            self.convolution(scratch, layer.conv1, at, (rows, channels), norm1, output, to)?;
        scratch.g = g;
        Ok((single(&dgamma), single(&dbeta)))
    }

    /// A layer with a bottleneck, from the gradient of its output. Gives norm1's (dγ, dβ).
    #[allow(clippy::too_many_arguments)]
    pub(super) fn bottleneck(
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
        let to = conv3x3::Destination::Store(RowsMut::new(v.take(rows * ldy), ldy));
        let input = (Rows::new(y1, ldy), width);
        let (dgamma, dbeta) = self.convolution(scratch, second.conv2, at + 5, input, &norm2, output, to)?;
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
            let (xs, to) = (Rows::new(y1, ldy), RowsMut::new(&mut v, ldy));
            norm::gradient_in_place(site.machine(), terms.gradient(), xs, to, rows, width);
            undrop(&mut v, width, mask, plan.drop_rate)?;
        }
        let v_rows = Rows::new(&v, ldy);
        let gradient = if mask.is_some() {
            conv1x1::Gradient::Plain { v: v_rows }
        } else if plan.train {
            let y = Rows::new(y1, ldy);
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
            x: Rows::new(self.features, self.ld),
        };
        let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
        let mut dw = weight_buffer(layer.conv1, (self.needs)(at + 2))?;
        let gradients = conv1x1::Gradients {
            weight: dw.as_mut().map(Buffer::as_mut_slice),
            gamma: &mut dgamma,
            beta: &mut dbeta,
        };
        let g = RowsMut::new(&mut scratch.g, self.ld);
        conv1x1::backward_normed(site.machine(), &mut scratch.conv1, &of, &norm1.norm(), g, gradients);
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
        scratch.packed1.pack(self.site.machine(), &numbers(&weight), width, layer.gamma1.numel());
        let of = conv1x1::Forward {
            rows: self.site.rows(),
            x: Rows::new(self.features, self.ld),
            norm: Some(norm1.affine()),
            weight: &scratch.packed1,
            bias: None,
            relu: false,
        };
        let to = RowsMut::new(to, padded(width));
        conv1x1::forward(self.site.machine(), &mut scratch.conv1, &of, to, None);
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
        (rows, inputs): (Rows, usize),
        norm: &NormVectors,
        output: &[f32],
        to: conv3x3::Destination,
    ) -> Result<(Vec<f64>, Vec<f64>), TchError> {
        let (site, pictures) = (self.site, self.site.pictures());
        let outputs = weight.size()[0] as usize;
        let output = Rows::new(output, padded(outputs));
        if let Some(mut dw) = weight_buffer(weight, (self.needs)(at))? {
            let algorithm = Algorithm::fastest(Of::WeightGradient, pictures, inputs, outputs);
            let of = conv3x3::WeightGradient {
                gradient: output,
                outputs,
                input: conv3x3::Input { rows, norm: Some(norm.affine()) },
                inputs,
                to: dw.as_mut_slice(),
            };
            conv3x3::weight_gradient(site.machine(), &mut scratch.conv3, algorithm, pictures, of);
            self.gradients[at] = Some(dw.into_tensor());
        }
        scratch.clock.lap("conv2 weight gradient");
        let algorithm = Algorithm::fastest(Of::InputGradient, pictures, inputs, outputs);
        let weight = contiguous(weight)?;
        scratch.packed3.input_gradient(site.machine(), algorithm, &numbers(&weight), outputs, inputs);
        let (mut dgamma, mut dbeta) = (vec![0.0; inputs], vec![0.0; inputs]);
        let result = conv3x3::InputGradient {
            input: rows,
            norm: norm.norm(),
            to,
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        let on = site.machine();
        conv3x3::input_gradient(on, &mut scratch.conv3, pictures, output, &scratch.packed3, result);
        scratch.clock.lap("conv2 input gradient");
        Ok((dgamma, dbeta))
    }
}
