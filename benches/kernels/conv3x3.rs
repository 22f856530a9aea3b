//! The 3×3 convolution: forward (norm, relu and moments included), input gradient (relu's and the norm's first stage
//! included) and weight gradient.

use super::numbers::{matrix, pictures, uniform, vector};
use super::table::{Table, Work};
use densenet::autograd::{convolution_backward, Convolution};
use densenet::kernels::conv3x3::{
    forward, input_gradient, weight_gradient, Algorithm, Destination, Input, InputGradient, Output, Packed,
    Pass, Pictures, Scratch, WeightGradient,
};
use densenet::kernels::{padded, Affine, Aligned, Machine, Moments, Norm, Rows, RowsMut};
use tch::Tensor;

/// A layer: pictures of `side`×`side`, in a block whose rows are `ld` apart.
struct Shape {
    name: &'static str,
    count: usize,
    side: usize,
    inputs: usize,
    outputs: usize,
    ld: usize,
}

const SHAPES: [Shape; 10] = [
    Shape { name: "densenet121 56×56", count: 8, side: 56, inputs: 128, outputs: 32, ld: 272 },
    Shape { name: "densenet121 28×28", count: 8, side: 28, inputs: 128, outputs: 32, ld: 528 },
    Shape { name: "densenet121 14×14", count: 8, side: 14, inputs: 128, outputs: 32, ld: 1040 },
    Shape { name: "densenet121 7×7", count: 8, side: 7, inputs: 128, outputs: 32, ld: 1040 },
    Shape { name: "densenet161 28×28", count: 8, side: 28, inputs: 192, outputs: 48, ld: 784 },
    Shape { name: "BC-100-12 32×32", count: 64, side: 32, inputs: 48, outputs: 12, ld: 224 },
    Shape { name: "BC-100-12 16×16", count: 64, side: 16, inputs: 48, outputs: 12, ld: 304 },
    Shape { name: "40-24 32×32", count: 16, side: 32, inputs: 400, outputs: 24, ld: 816 },
    Shape { name: "one picture 14×14", count: 1, side: 14, inputs: 128, outputs: 32, ld: 1040 },
    Shape { name: "one picture 7×7", count: 1, side: 7, inputs: 128, outputs: 32, ld: 1040 },
];

/// Prints the tables; with `all`, a line an algorithm.
pub fn measure(table: &mut Table, all: bool) -> anyhow::Result<()> {
    for (pass, group) in [
        (Pass::Forward, "3×3 forward"),
        (Pass::Inference, "3×3 forward, weights packed before"),
        (Pass::InputGradient, "3×3 input gradient"),
        (Pass::WeightGradient, "3×3 weight gradient"),
    ] {
        table.begin(group);
        for shape in &SHAPES {
            let pictures = Pictures { count: shape.count, height: shape.side, width: shape.side };
            let chosen = Algorithm::fastest(pass, pictures, shape.inputs, shape.outputs);
            for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| all || *algorithm == chosen) {
                let name = format!("{}, {} → {}, {algorithm:?}", shape.name, shape.inputs, shape.outputs);
                if table.wants(&name) {
                    measure_case(table, &name, Layer::new(table.on, shape, pictures), pass, algorithm)?;
                }
            }
        }
    }
    Ok(())
}

/// A layer's numbers, ours.
struct Layer<'a> {
    on: Machine<'a>,
    shape: &'a Shape,
    pictures: Pictures,
    x: Aligned,
    dy: Aligned,
    weights: Aligned,
    vector: Aligned,
    scratch: Scratch,
    packed: Packed,
    /// What a pass writes.
    to: Aligned,
    moments: Moments,
    dgamma: Vec<f64>,
    dbeta: Vec<f64>,
}

impl Layer<'_> {
    fn new<'a>(on: Machine<'a>, shape: &'a Shape, pictures: Pictures) -> Layer<'a> {
        let &Shape { inputs, outputs, ld, .. } = shape;
        let rows = pictures.rows();
        Layer {
            on,
            shape,
            pictures,
            x: matrix(rows, padded(inputs)),
            dy: matrix(rows, padded(outputs)),
            weights: matrix(outputs, inputs * 9),
            vector: vector(inputs),
            scratch: Scratch::default(),
            packed: Packed::default(),
            to: matrix(rows, ld.max(padded(inputs))),
            moments: Moments::default(),
            dgamma: vec![0.0; inputs],
            dbeta: vec![0.0; inputs],
        }
    }

    /// One pass. The weights of an inference pass are packed already.
    fn run(&mut self, pass: Pass, algorithm: Algorithm) {
        let &Shape { inputs, outputs, ld, .. } = self.shape;
        let Layer { on, pictures, scratch, packed, .. } = self;
        let norm = Affine { scale: &self.vector, shift: &self.vector };
        let rows = Rows::new(&self.x, padded(inputs));
        let input = Input { rows, norm: Some(norm) };
        let gradient = Rows::new(&self.dy, padded(outputs));
        match pass {
            Pass::Forward | Pass::Inference => {
                if pass == Pass::Forward {
                    packed.forward(*on, algorithm, &self.weights, outputs, inputs);
                }
                let to = RowsMut::new(&mut self.to, ld);
                let output = Output { to, at: 64, moments: Some(&mut self.moments) };
                forward(*on, scratch, *pictures, input, packed, output);
            }
            Pass::InputGradient => {
                packed.input_gradient(*on, algorithm, &self.weights, outputs, inputs);
                let result = InputGradient {
                    input: rows,
                    norm: Norm { affine: norm, mean: &self.vector, invstd: &self.vector },
                    to: Destination::Store(RowsMut::new(&mut self.to, padded(inputs))),
                    dgamma: &mut self.dgamma,
                    dbeta: &mut self.dbeta,
                };
                input_gradient(*on, scratch, *pictures, gradient, packed, result);
            }
            Pass::WeightGradient => {
                let to = &mut self.to[..outputs * inputs * 9];
                let of = WeightGradient { gradient, outputs, input, inputs, to };
                weight_gradient(*on, scratch, algorithm, *pictures, of);
            }
        }
    }
}

fn measure_case(
    table: &mut Table,
    name: &str,
    mut layer: Layer,
    pass: Pass,
    algorithm: Algorithm,
) -> anyhow::Result<()> {
    let &Shape { count, side, inputs, outputs, .. } = layer.shape;
    let operations = Work::Operations((2 * layer.pictures.rows() * inputs * outputs * 9) as f64);
    if pass == Pass::Inference {
        layer.packed = Packed::lasting();
        layer.packed.forward(layer.on, algorithm, &layer.weights, outputs, inputs);
    }
    let (x, dy) = (pictures(count, side, inputs), pictures(count, side, outputs));
    // Channels last, as the input: what oneDNN likes best.
    let weight = uniform(&[outputs as i64, 3, 3, inputs as i64]).permute([0, 3, 1, 2]);
    let convolution = Convolution { padding: [1, 1], ..Convolution::default() };
    let wanted = [pass == Pass::InputGradient, pass == Pass::WeightGradient, false];
    let gradients = || convolution_backward(&dy, &x, &weight, &convolution, wanted);
    gradients()?;
    let (theirs, mut run): (&str, Box<dyn FnMut()>) = match pass {
        Pass::Forward | Pass::Inference => {
            ("conv2d", Box::new(|| drop(x.conv2d(&weight, None::<&Tensor>, 1, 1, 1, 1))))
        }
        Pass::InputGradient | Pass::WeightGradient => {
            ("convolution_backward", Box::new(|| drop(gradients())))
        }
    };
    table.case(name, operations, &mut || layer.run(pass, algorithm), &mut [(theirs, &mut run)]);
    Ok(())
}
