//! The 1×1 convolution: forward (norm, relu and moments included) and both gradients together (the norm's second stage of
//! what comes in, relu's and the norm's first stage of what goes out included).

use super::numbers::{matrix, pictures, uniform, vector};
use super::table::{Table, Work};
use densenet::autograd::{convolution_backward, Convolution};
use densenet::kernels::conv1x1::{
    backward_normed, forward, Backward, Forward, Gradient, Gradients, Packed, Scratch,
};
use densenet::kernels::{padded, Affine, Moments, Norm, Rows, RowsMut};
use tch::Tensor;

/// A layer: pictures of `side`×`side`, inputs in a block's rows of `features`.
struct Shape {
    name: &'static str,
    count: usize,
    side: usize,
    inputs: usize,
    features: usize,
    outputs: usize,
}

const SHAPES: [Shape; 9] = [
    Shape { name: "densenet121 56×56", count: 8, side: 56, inputs: 160, features: 256, outputs: 128 },
    Shape { name: "densenet121 28×28", count: 8, side: 28, inputs: 320, features: 528, outputs: 128 },
    Shape { name: "densenet121 14×14", count: 8, side: 14, inputs: 640, features: 1040, outputs: 128 },
    Shape { name: "densenet121 7×7", count: 8, side: 7, inputs: 768, features: 1040, outputs: 128 },
    Shape { name: "densenet161 14×14", count: 8, side: 14, inputs: 1248, features: 2128, outputs: 192 },
    Shape { name: "BC-100-12 32×32", count: 64, side: 32, inputs: 120, features: 224, outputs: 48 },
    Shape { name: "BC-100-12 16×16", count: 64, side: 16, inputs: 204, features: 304, outputs: 48 },
    Shape { name: "transition 28×28", count: 8, side: 28, inputs: 256, features: 256, outputs: 128 },
    Shape { name: "one picture 14×14", count: 1, side: 14, inputs: 640, features: 1040, outputs: 128 },
];

/// Prints the tables.
pub fn measure(table: &mut Table) -> anyhow::Result<()> {
    table.begin("1×1 forward");
    SHAPES.iter().for_each(|shape| measure_forward(table, shape));
    table.begin("1×1 both gradients");
    SHAPES.iter().try_for_each(|shape| measure_backward(table, shape))
}

impl Shape {
    fn rows(&self) -> usize {
        self.count * self.side * self.side
    }

    /// Of one product.
    fn operations(&self) -> f64 {
        (2 * self.rows() * self.inputs * self.outputs) as f64
    }

    /// With its channels.
    fn name(&self) -> String {
        format!("{}, {} → {}", self.name, self.inputs, self.outputs)
    }

    fn theirs(&self, channels: usize) -> (Tensor, Tensor) {
        let pictures = pictures(self.count, self.side, channels);
        let flat = pictures.permute([0, 2, 3, 1]).reshape([-1, channels as i64]);
        (pictures, flat)
    }

    fn weight(&self) -> (Tensor, Tensor) {
        let weight = uniform(&[self.outputs as i64, self.inputs as i64, 1, 1]);
        let flat = weight.reshape([self.outputs as i64, self.inputs as i64]);
        (weight, flat)
    }
}

fn measure_forward(table: &mut Table, shape: &Shape) {
    let &Shape { inputs, features, outputs, .. } = shape;
    if !table.wants(&shape.name()) {
        return;
    }
    let (on, rows) = (table.on, shape.rows());
    let x = matrix(rows, features);
    let weight = matrix(outputs, inputs);
    let (scale, shift) = (vector(inputs), vector(inputs));
    let mut y = matrix(rows, padded(outputs));
    let (mut packed, mut scratch, mut moments) = (Packed::default(), Scratch::default(), Moments::default());
    let ((p, flat), (w, w_flat)) = (shape.theirs(inputs), shape.weight());
    table.case(
        &shape.name(),
        Work::Operations(shape.operations()),
        &mut || {
            packed.pack(on, &weight, outputs, inputs);
            let norm = Some(Affine { scale: &scale, shift: &shift });
            let x = Rows::new(&x, features);
            let of = Forward { rows, x, norm, weight: &packed, bias: None, relu: false };
            let to = RowsMut::new(&mut y, padded(outputs));
            forward(on, &mut scratch, &of, to, Some(&mut moments));
        },
        &mut [
            ("mm", &mut || drop(flat.mm(&w_flat.tr()))),
            ("conv2d", &mut || drop(p.conv2d(&w, None::<&Tensor>, 1, 0, 1, 1))),
        ],
    );
}

fn measure_backward(table: &mut Table, shape: &Shape) -> anyhow::Result<()> {
    let &Shape { inputs, features, outputs, .. } = shape;
    if !table.wants(&shape.name()) {
        return Ok(());
    }
    let (on, rows, ldy) = (table.on, shape.rows(), padded(outputs));
    let (x, y, v) = (matrix(rows, features), matrix(rows, ldy), matrix(rows, ldy));
    let mut g = matrix(rows, features);
    let weight = matrix(outputs, inputs);
    let [scale, shift, mean, invstd] = [0; 4].map(|_| vector(inputs));
    let [a, b, c] = [0; 3].map(|_| vector(outputs));
    let (mut dweight, mut dgamma, mut dbeta) =
        (vec![0.0; outputs * inputs], vec![0.0; inputs], vec![0.0; inputs]);
    let mut scratch = Scratch::default();
    let ((p, flat), (dy, dy_flat)) = (shape.theirs(inputs), shape.theirs(outputs));
    let (w, w_flat) = shape.weight();
    let convolution = Convolution::default();
    convolution_backward(&dy, &p, &w, &convolution, [true, true, false])?;
    table.case(
        &shape.name(),
        Work::Operations(2.0 * shape.operations()),
        &mut || {
            let (v, y) = (Rows::new(&v, ldy), Rows::new(&y, ldy));
            let gradient = Gradient::Normed { v, y, a: &a, b: &b, c: &c };
            let x = Rows::new(&x, features);
            let of = Backward { rows, weight: &weight, outputs, inputs, gradient, x };
            let affine = Affine { scale: &scale, shift: &shift };
            let norm = Norm { affine, mean: &mean, invstd: &invstd };
            let gradients = Gradients { weight: Some(&mut dweight), gamma: &mut dgamma, beta: &mut dbeta };
            backward_normed(on, &mut scratch, &of, &norm, RowsMut::new(&mut g, features), gradients);
        },
        &mut [
            ("mm", &mut || drop((dy_flat.tr().mm(&flat), dy_flat.mm(&w_flat)))),
            ("convolution_backward", &mut || {
                drop(convolution_backward(&dy, &p, &w, &convolution, [true, true, false]));
            }),
        ],
    );
    Ok(())
}
