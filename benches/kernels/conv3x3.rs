//! The 3×3 convolution of the networks' layers: forward (norm, relu and moments included), input gradient (relu's and the
//! norm's first half included) and weight gradient. PyTorch gets ready inputs, channels last, and does only the convolution.

use crate::seconds;
use densenet::autograd::{convolution_backward, Convolution, LibtorchThreads};
use densenet::kernels::conv3x3::{
    forward, input_gradient, weight_gradient, Algorithm, Destination, Input, InputGradient, Output, Packed,
    Pass, Pictures, Scratch, WeightGradient,
};
use densenet::kernels::{padded, Affine, Level, Machine, Moments, Rows, RowsMut};
use tch::{Device, Kind, Tensor};

/// A layer: pictures of `side`×`side`, in a block whose rows are `ld` apart.
struct Shape {
    name: &'static str,
    count: usize,
    side: usize,
    inputs: usize,
    outputs: usize,
    ld: usize,
}

const SHAPES: [Shape; 9] = [
    Shape { name: "densenet121 56x56", count: 8, side: 56, inputs: 128, outputs: 32, ld: 272 },
    Shape { name: "densenet121 28x28", count: 8, side: 28, inputs: 128, outputs: 32, ld: 528 },
    Shape { name: "densenet121 14x14", count: 8, side: 14, inputs: 128, outputs: 32, ld: 1040 },
    Shape { name: "densenet121 7x7", count: 8, side: 7, inputs: 128, outputs: 32, ld: 1040 },
    Shape { name: "densenet161 28x28", count: 8, side: 28, inputs: 192, outputs: 48, ld: 784 },
    Shape { name: "BC-100-12 32x32", count: 64, side: 32, inputs: 48, outputs: 12, ld: 224 },
    Shape { name: "BC-100-12 16x16", count: 64, side: 16, inputs: 48, outputs: 12, ld: 304 },
    Shape { name: "plain 32x32", count: 16, side: 32, inputs: 400, outputs: 24, ld: 816 },
    Shape { name: "one picture 14x14", count: 1, side: 14, inputs: 128, outputs: 32, ld: 1040 },
];

/// Prints the table.
pub fn run(level: Level, only: &str) -> anyhow::Result<()> {
    println!("\n3x3 convolution, GF/s{:>26}  direct      F2      F4  chosen  PyTorch", "");
    for shape in SHAPES.iter().filter(|shape| shape.name.contains(only)) {
        let layer = Layer::new(shape);
        let flops = 2.0 * (layer.pictures.rows() * shape.inputs * shape.outputs * 9) as f64 / 1e9;
        for (pass, name) in [
            (Pass::Forward, "forward"),
            (Pass::Inference, "forward, weights packed"),
            (Pass::InputGradient, "input gradient"),
            (Pass::WeightGradient, "weight gradient"),
        ] {
            print!("{:20} {name:25}", shape.name);
            for algorithm in Algorithm::ALL {
                print!(" {:7.0}", flops / layer.seconds(level, pass, algorithm));
            }
            let chosen = Algorithm::fastest(pass, layer.pictures, shape.inputs, shape.outputs);
            println!("  {:>6} {:8.0}", format!("{chosen:?}"), flops / layer.pytorch(pass)?);
        }
    }
    Ok(())
}

/// A layer's numbers. What they are makes no difference to time.
struct Layer<'a> {
    shape: &'a Shape,
    pictures: Pictures,
    x: Vec<f32>,
    dy: Vec<f32>,
    weights: Vec<f32>,
    vector: Vec<f32>,
}

impl Layer<'_> {
    fn new(shape: &Shape) -> Layer<'_> {
        let pictures = Pictures { count: shape.count, height: shape.side, width: shape.side };
        let numbers = |count: usize| (0..count).map(|i| (i * 7919 % 1013) as f32 / 506.0 - 1.0).collect();
        Layer {
            shape,
            pictures,
            x: numbers(pictures.rows() * padded(shape.inputs)),
            dy: numbers(pictures.rows() * padded(shape.outputs)),
            weights: numbers(shape.outputs * shape.inputs * 9),
            vector: numbers(padded(shape.inputs)),
        }
    }

    fn seconds(&self, level: Level, pass: Pass, algorithm: Algorithm) -> f64 {
        let &Shape { inputs, outputs, ld, .. } = self.shape;
        let on = Machine { level, threads: &LibtorchThreads };
        let norm = Affine { scale: &self.vector, shift: &self.vector };
        let rows = Rows::new(&self.x, padded(inputs));
        let input = Input { rows, norm: Some(norm) };
        let gradient = Rows::new(&self.dy, padded(outputs));
        let mut scratch = Scratch::default();
        match pass {
            Pass::Forward | Pass::Inference => {
                let mut packed = if pass == Pass::Forward { Packed::default() } else { Packed::lasting() };
                packed.forward(on, algorithm, &self.weights, outputs, inputs);
                let mut y = vec![0.0; self.pictures.rows() * ld];
                let mut moments = Moments::default();
                seconds(|| {
                    if pass == Pass::Forward {
                        packed.forward(on, algorithm, &self.weights, outputs, inputs);
                    }
                    let to = RowsMut::new(&mut y, ld);
                    let output = Output { to, at: 64, moments: Some(&mut moments) };
                    forward(on, &mut scratch, self.pictures, input, &packed, output);
                })
            }
            Pass::InputGradient => {
                let mut packed = Packed::default();
                let mut v = vec![0.0; self.x.len()];
                let (mut dgamma, mut dbeta) = (vec![0.0; inputs], vec![0.0; inputs]);
                seconds(|| {
                    packed.input_gradient(on, algorithm, &self.weights, outputs, inputs);
                    let result = InputGradient {
                        input: rows,
                        norm,
                        mean: &self.vector,
                        invstd: &self.vector,
                        to: Destination::Store { to: RowsMut::new(&mut v, padded(inputs)) },
                        dgamma: &mut dgamma,
                        dbeta: &mut dbeta,
                    };
                    input_gradient(on, &mut scratch, self.pictures, gradient, &packed, result);
                })
            }
            Pass::WeightGradient => {
                let mut dw = vec![0.0; self.weights.len()];
                seconds(|| {
                    let of = WeightGradient { gradient, outputs, input, inputs, to: &mut dw };
                    weight_gradient(on, &mut scratch, algorithm, self.pictures, of);
                })
            }
        }
    }

    fn pytorch(&self, pass: Pass) -> anyhow::Result<f64> {
        let &Shape { count, side, inputs, outputs, .. } = self.shape;
        let random = |channels: usize, height: usize, width: usize, count: usize| {
            let size = [count as i64, height as i64, width as i64, channels as i64];
            // [N, C, H, W] to look at, channels last in memory.
            Tensor::rand(size, (Kind::Float, Device::Cpu)).permute([0, 3, 1, 2])
        };
        let (x, dy) = (random(inputs, side, side, count), random(outputs, side, side, count));
        let weight = random(inputs, 3, 3, outputs);
        let convolution = Convolution { padding: [1, 1], ..Convolution::default() };
        let wanted = match pass {
            Pass::Forward | Pass::Inference => {
                let convolve = || x.conv2d(&weight, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
                return Ok(tch::no_grad(|| seconds(|| drop(convolve()))));
            }
            Pass::InputGradient => [true, false, false],
            Pass::WeightGradient => [false, true, false],
        };
        convolution_backward(&dy, &x, &weight, &convolution, wanted)?;
        Ok(seconds(|| drop(convolution_backward(&dy, &x, &weight, &convolution, wanted))))
    }
}
