//! dW = dYᵀ·X and dX = dY·W, together: dY is made, and each panel of X packed, once for both.

use super::part::{Gather, Part, GROUPS};
use super::scratch::with_slot;
use super::shape::Panels;
use super::split::{Costs, Split};
use super::{check_weight, Gradient, Scratch};
use crate::kernels::shared::Shared;
use crate::kernels::threads::part;
use crate::kernels::{Machine, Norm, Rows, RowsMut};

/// What the backward pass computes from.
#[derive(Debug, Clone, Copy)]
pub struct Backward<'a> {
    /// Rows: N·H·W.
    pub rows: usize,
    /// The weight, \[outputs, inputs\] (torch's \[outputs, inputs, 1, 1\]).
    pub weight: &'a [f32],
    /// Output channels.
    pub outputs: usize,
    /// Input channels.
    pub inputs: usize,
    /// The gradient of the outputs.
    pub gradient: Gradient<'a>,
    /// The forward pass's input, \[rows, inputs\], each row padded with finite numbers.
    pub x: Rows<'a>,
}

/// What [`backward_normed`] gives beside dX.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// dW = dYᵀ·P, \[outputs, inputs\], written; none where nobody asks for it.
    pub weight: Option<&'a mut [f32]>,
    /// dγ = Σ dP·x̂, written.
    pub gamma: &'a mut [f32],
    /// dβ = Σ dP, written.
    pub beta: &'a mut [f32],
}

/// Backward through convolution, relu and the first stage of the norm before it: with P = relu(x·scale + shift) and
/// dP = relu'(P)·(dY·W), *adds* scale·dP to `g` and writes `gradients`.
///
/// All that read a channel add to one `g`: the norms' second stages are linear, and applied once for all. Its columns after the
/// last, up to the padded length, get zeros added.
///
/// # Panics
/// If a slice is too short for the given sizes.
pub fn backward_normed(
    on: Machine,
    scratch: &mut Scratch,
    of: &Backward,
    norm: &Norm,
    g: RowsMut,
    gradients: Gradients,
) {
    norm.check(of.inputs);
    g.as_rows().check_padded("g", of.rows, of.inputs);
    let Gradients { weight, gamma, beta } = gradients;
    let shorter = gamma.len().min(beta.len());
    assert!(
        shorter >= of.inputs,
        "gradients of gamma and beta: {shorter} numbers for {} channels",
        of.inputs
    );
    let (mut sums, mut products) = (vec![0.0f64; of.inputs], vec![0.0f64; of.inputs]);
    let dx = (Shared(g.data.as_mut_ptr()), g.ld);
    run(on, scratch, of, Some((norm, &mut sums, &mut products)), Some(dx), weight);
    for channel in 0..of.inputs {
        beta[channel] = sums[channel] as f32;
        gamma[channel] = (products[channel] * f64::from(norm.invstd[channel])) as f32;
    }
}

/// Backward through the convolution alone: *writes* dX = dY·W, each row with zeros up to its padded length, and
/// dW = dYᵀ·X, each where asked for.
///
/// # Panics
/// If a slice is too short for the given sizes.
pub fn backward(
    on: Machine,
    scratch: &mut Scratch,
    of: &Backward,
    dx: Option<RowsMut>,
    dweight: Option<&mut [f32]>,
) {
    if let Some(dx) = &dx {
        dx.as_rows().check_padded("dx", of.rows, of.inputs);
    }
    let dx = dx.map(|dx| (Shared(dx.data.as_mut_ptr()), dx.ld));
    if dx.is_some() || dweight.is_some() {
        run(on, scratch, of, None, dx, dweight);
    }
}

/// In elements of the result for one output channel: see [`Split`]. Reading and packing dY takes about 13 times an
/// element's product; where the rows are split, each column's dW is written, read and added up.
const COSTS: Costs = Costs { row: 13, column: 4, shared_column: 16 };

/// Both passes. `norm` comes with where Σ dP and Σ dP·(x − mean) are added to.
fn run(
    on: Machine,
    scratch: &mut Scratch,
    of: &Backward,
    norm: Option<(&Norm, &mut [f64], &mut [f64])>,
    dx: Option<(Shared, usize)>,
    dweight: Option<&mut [f32]>,
) {
    let (outputs, inputs) = (of.outputs, of.inputs);
    assert!(inputs > 0 && outputs > 0, "a convolution of {inputs} to {outputs} channels");
    check_weight("weight", of.weight, outputs, inputs);
    of.x.check_padded("x", of.rows, inputs);
    of.gradient.check(of.rows, outputs);
    if let Some(dweight) = &dweight {
        check_weight("dweight", dweight, outputs, inputs);
    }
    let panels = Panels::at(on.level, inputs);
    let tile = panels.tile(on.level);
    let split = Split::new(on.threads.count(), of.rows, tile, &panels, &COSTS);
    let size = panels.columns(&(0..panels.count)).len() * outputs.next_multiple_of(GROUPS);
    let (slots, partial) = scratch.take(split.parts(), if dweight.is_some() { size * split.rows } else { 0 });
    let partial = Shared(partial.as_mut_ptr());
    let gather = dweight.map(|dweight| Gather {
        partial,
        size,
        parts: split.rows,
        panels,
        outputs,
        inputs,
        to: Shared(dweight.as_mut_ptr()),
    });
    let constants = norm.as_ref().map(|(norm, ..)| *norm);
    on.threads.run(split.parts(), &|index| {
        let (rows, mine) = split.get(index, of.rows, tile, &panels);
        let dweight = gather.as_ref().map(|gather| gather.part(index / split.columns));
        with_slot(&slots[index], |slot| {
            on.level.run(Part { of, norm: constants, dx, dweight, panels, rows, mine: mine.clone(), slot });
        });
        if let (Some(gather), 1) = (&gather, split.rows) {
            // SAFETY: these panels are this part's alone, and complete.
            unsafe { gather.run(mine) };
        }
    });
    if let (Some(gather), 2..) = (&gather, split.rows) {
        let tasks = on.threads.count().min(panels.count);
        // SAFETY: all parts are complete, and each task has panels of its own.
        on.threads.run(tasks, &|task| unsafe { gather.run(part(panels.count, tasks, task)) });
    }
    if let Some((_, sums, products)) = norm {
        for (index, slot) in slots.iter().enumerate() {
            let mine = panels.columns(&split.get(index, of.rows, tile, &panels).1);
            with_slot(slot, |slot| {
                let (mine_sums, mine_products) = slot.totals.split_at(mine.len());
                for (column, (sum, product)) in
                    mine.zip(mine_sums.iter().zip(mine_products)).take_while(|(c, _)| *c < inputs)
                {
                    sums[column] += sum;
                    products[column] += product;
                }
            });
        }
    }
}
