//! What stands around the convolutions: statistics, a transition's norm, relu and pooling, the stem's, and their gradients.
//! Bound by memory: bytes are what has to be read and written, each once.

use super::numbers::{matrix, pictures, vector};
use super::table::{Table, Work};
use densenet::autograd::{grad, Options};
use densenet::kernels::norm::{self, Gradient, MaxPool, Pool};
use densenet::kernels::{Affine, Aligned, Machine, Rows, RowsMut};
use tch::{Device, Kind, Tensor};

/// Pictures, their side, channels.
type Shape = (usize, usize, usize);

const TRANSITIONS: [(&str, Shape); 3] = [
    ("densenet121 56×56, 256", (8, 56, 256)),
    ("densenet121 14×14, 1024", (8, 14, 1024)),
    ("BC-100-12 32×32, 216", (64, 32, 216)),
];
const STEMS: [(&str, Shape); 2] =
    [("densenet121 112×112, 64", (8, 112, 64)), ("one picture 112×112, 64", (1, 112, 64))];

/// Prints the tables.
pub fn measure(table: &mut Table) -> anyhow::Result<()> {
    table.begin("statistics");
    TRANSITIONS.iter().for_each(|(name, shape)| statistics(table, name, *shape));
    table.begin("transition: norm, relu, 2×2 mean");
    TRANSITIONS.iter().for_each(|(name, shape)| transition(table, name, *shape));
    table.begin("transition, gradients");
    TRANSITIONS.iter().try_for_each(|(name, shape)| transition_backward(table, name, *shape))?;
    table.begin("stem: statistics, norm, relu, 3×3 maximum");
    STEMS.iter().for_each(|(name, shape)| stem(table, name, *shape));
    table.begin("stem, gradients");
    STEMS.iter().try_for_each(|(name, shape)| stem_backward(table, name, *shape))
}

/// Numbers of one case, ours.
struct Ours {
    rows: usize,
    channels: usize,
    x: Aligned,
    scale: Aligned,
    shift: Aligned,
}

impl Ours {
    fn new((count, side, channels): Shape) -> Self {
        let rows = count * side * side;
        Ours { rows, channels, x: matrix(rows, channels), scale: vector(channels), shift: vector(channels) }
    }

    fn affine(&self) -> Affine<'_> {
        Affine { scale: &self.scale, shift: &self.shift }
    }

    fn x(&self) -> Rows<'_> {
        Rows::new(&self.x, self.channels)
    }

    /// So many matrices as large as the input are read and written.
    fn moves(&self, matrices: f64) -> Work {
        let matrix = (4 * self.rows * self.channels) as f64;
        Work::Bytes { moved: matrices * matrix, matrix }
    }

    /// The gradient of a norm's input from that of its output, which `to` holds, in place.
    fn second_stage(&self, on: Machine, to: &mut [f32]) {
        let terms =
            Gradient { scale: &self.scale, mean: &self.shift, slope: &self.shift, offset: &self.shift };
        let to = RowsMut::new(to, self.channels);
        norm::gradient_in_place(on, terms, self.x(), to, self.rows, self.channels);
    }
}

/// libtorch's norm and relu.
struct Theirs {
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
}

impl Theirs {
    fn new((count, side, channels): Shape) -> Self {
        let vector = || Tensor::ones([channels as i64], (Kind::Float, Device::Cpu));
        Theirs { x: pictures(count, side, channels), gamma: vector(), beta: vector() }
    }

    fn normed(&self, train: bool) -> Tensor {
        // A norm by statistics that are known already takes γ and β for them.
        let known = (!train).then_some(&self.gamma);
        self.x.batch_norm(Some(&self.gamma), Some(&self.beta), known, known, train, 0.1, 1e-5, true).relu_()
    }

    /// Runs backward through `forward` of the norm once more, again and again.
    fn backward(&self, forward: &dyn Fn(&Tensor) -> Tensor) -> anyhow::Result<impl FnMut() + '_> {
        let inputs = [&self.x, &self.gamma, &self.beta].map(|x| x.detach().set_requires_grad(true));
        let output = tch::with_grad(|| {
            let [x, gamma, beta] = &inputs;
            let mut normed = x.batch_norm(
                Some(gamma),
                Some(beta),
                None::<&Tensor>,
                None::<&Tensor>,
                true,
                0.1,
                1e-5,
                true,
            );
            forward(&normed.relu_())
        });
        let dy = output.ones_like();
        let options = Options { retain_graph: true, ..Options::default() };
        let run = move || grad(&[&output], &inputs.each_ref(), &[Some(&dy)], options).map(drop);
        run()?;
        Ok(move || drop(run()))
    }
}

fn statistics(table: &mut Table, name: &str, shape: Shape) {
    if !table.wants(name) {
        return;
    }
    let (ours, theirs, on) = (Ours::new(shape), Theirs::new(shape), table.on);
    table.case(
        name,
        ours.moves(1.0),
        &mut || drop(norm::moments(on, ours.x(), ours.rows, ours.channels)),
        &mut [("batch_norm_update_stats", &mut || {
            drop(theirs.x.batch_norm_update_stats(None::<&Tensor>, None::<&Tensor>, 0.1));
        })],
    );
}

fn transition_pool((count, side, channels): Shape) -> Pool {
    Pool { n: count, h: side, w: side, window: (2, 2), relu: true, channels }
}

fn transition(table: &mut Table, name: &str, shape: Shape) {
    if !table.wants(name) {
        return;
    }
    let (ours, theirs, on) = (Ours::new(shape), Theirs::new(shape), table.on);
    let pool = transition_pool(shape);
    let mut y = matrix(pool.windows(), ours.channels);
    table.case(
        name,
        ours.moves(1.25),
        &mut || norm::pool(on, pool, ours.affine(), ours.x(), RowsMut::new(&mut y, ours.channels)),
        &mut [("batch_norm, relu, avg_pool2d", &mut || {
            drop(theirs.normed(false).avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None));
        })],
    );
}

fn transition_backward(table: &mut Table, name: &str, shape: Shape) -> anyhow::Result<()> {
    if !table.wants(name) {
        return Ok(());
    }
    let (ours, theirs, on) = (Ours::new(shape), Theirs::new(shape), table.on);
    let pool = transition_pool(shape);
    let (dy, mut g) = (matrix(pool.windows(), ours.channels), matrix(ours.rows, ours.channels));
    let mut backward = theirs.backward(&|x| x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None))?;
    table.case(
        name,
        // Both stages: x, dy and g; x, g and g again.
        ours.moves(5.25),
        &mut || {
            let to = RowsMut::new(&mut g, ours.channels);
            let dy = Rows::new(&dy, ours.channels);
            norm::pool_backward(on, pool, ours.affine(), &ours.shift, ours.x(), dy, to);
            ours.second_stage(on, &mut g);
        },
        &mut [("autograd", &mut backward)],
    );
    Ok(())
}

fn stem_pool((n, h, channels): Shape) -> MaxPool {
    MaxPool { n, h, w: h, channels }
}

fn stem(table: &mut Table, name: &str, shape: Shape) {
    if !table.wants(name) {
        return;
    }
    let (ours, theirs, on) = (Ours::new(shape), Theirs::new(shape), table.on);
    let pool = stem_pool(shape);
    let mut y = matrix(ours.rows.div_ceil(4), ours.channels);
    table.case(
        name,
        ours.moves(2.25),
        &mut || {
            drop(norm::moments(on, ours.x(), ours.rows, ours.channels));
            norm::max_pool(on, pool, ours.affine(), ours.x(), RowsMut::new(&mut y, ours.channels));
        },
        &mut [("batch_norm, relu, max_pool2d", &mut || {
            drop(theirs.normed(true).max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false));
        })],
    );
}

fn stem_backward(table: &mut Table, name: &str, shape: Shape) -> anyhow::Result<()> {
    if !table.wants(name) {
        return Ok(());
    }
    let (ours, theirs, on) = (Ours::new(shape), Theirs::new(shape), table.on);
    let pool = stem_pool(shape);
    let (dy, mut v) = (matrix(ours.rows.div_ceil(4), ours.channels), matrix(ours.rows, ours.channels));
    let mut backward = theirs.backward(&|x| x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false))?;
    table.case(
        name,
        ours.moves(5.25),
        &mut || {
            let dy = Rows::new(&dy, ours.channels);
            let to = RowsMut::new(&mut v, ours.channels);
            norm::max_pool_backward(on, pool, ours.affine(), &ours.shift, ours.x(), dy, to);
            ours.second_stage(on, &mut v);
        },
        &mut [("autograd", &mut backward)],
    );
    Ok(())
}
