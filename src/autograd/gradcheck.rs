//! Gradients against finite differences.

use super::engine::{self, Options};
use super::error::{AutogradError, Result};
use tch::{no_grad, Kind, Tensor};

/// How far apart finite differences and a gradient may be: `atol + rtol·|finite difference|`. torch: `gradcheck`'s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// The step of the central differences.
    pub eps: f64,
    /// Absolute part.
    pub atol: f64,
    /// Relative part.
    pub rtol: f64,
}

impl Default for Tolerance {
    /// torch's: 1e-6, 1e-5, 1e-3.
    fn default() -> Self {
        Tolerance { eps: 1e-6, atol: 1e-5, rtol: 1e-3 }
    }
}

/// Compares every gradient of `function` at `inputs`, by those of them that take one, with central differences.
///
/// The inputs that take a gradient are f64 (in f32 the differences would be noise). Each element of each input costs two
/// calls of `function`, each element of each output a backward pass: for small tensors. torch: `torch.autograd.gradcheck`.
///
/// # Errors
/// [`AutogradError::WrongGradient`] names the first element that is too far off; [`AutogradError::NotCheckable`]; what
/// `function` or its backward fails with.
///
/// ```
/// use densenet::autograd::{gradcheck, Tolerance};
/// use densenet::tch::{Kind, Tensor};
///
/// let x = Tensor::from_slice(&[0.5f64, -2.]).set_requires_grad(true);
/// gradcheck(|inputs| Ok(vec![inputs[0].f_sigmoid()?]), &[x], Tolerance::default())?;
/// # Ok::<(), densenet::autograd::AutogradError>(())
/// ```
pub fn gradcheck(
    function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    tolerance: Tolerance,
) -> Result<()> {
    let checked: Vec<usize> = (0..inputs.len()).filter(|&input| inputs[input].requires_grad()).collect();
    if checked.is_empty() {
        return Err(AutogradError::NotCheckable { index: 0, reason: "no input takes a gradient" });
    }
    if let Some(&index) = checked.iter().find(|&&input| inputs[input].kind() != Kind::Double) {
        return Err(AutogradError::NotCheckable { index, reason: "it is not f64" });
    }
    // Leaves of their own: what the caller's tensors come from is not gone through.
    let inputs: Vec<Tensor> =
        inputs.iter().map(|input| input.detach().copy().set_requires_grad(input.requires_grad())).collect();
    let leaves: Vec<&Tensor> = checked.iter().map(|&input| &inputs[input]).collect();
    let outputs = function(&inputs)?;
    for (output, value) in outputs.iter().enumerate().filter(|(_, value)| value.requires_grad()) {
        let analytic = (0..value.numel() as i64)
            .map(|element| row(value, element, &leaves))
            .collect::<Result<Vec<_>>>()?;
        for (position, &input) in checked.iter().enumerate() {
            for input_element in 0..inputs[input].numel() as i64 {
                let numeric = column(&function, &inputs, input, input_element, output, tolerance.eps)?;
                for (output_element, row) in analytic.iter().enumerate() {
                    let analytic = row[position].f_double_value(&[input_element])?;
                    let numeric = numeric.f_double_value(&[output_element as i64])?;
                    let close = (analytic - numeric).abs() <= tolerance.atol + tolerance.rtol * numeric.abs();
                    if !close {
                        let output_element = output_element as i64;
                        return Err(AutogradError::WrongGradient {
                            output,
                            input,
                            output_element,
                            input_element,
                            analytic,
                            numeric,
                        });
                    }
                }
            }
        }
    }
    Ok(())
}

/// The gradient of one element of an output by every leaf, flat; zeros where there is none.
fn row(output: &Tensor, element: i64, leaves: &[&Tensor]) -> Result<Vec<Tensor>> {
    let one = no_grad(|| {
        let one = output.f_zeros_like()?;
        let _ = one.f_view([-1])?.f_narrow(0, element, 1)?.f_fill_(1.)?;
        Ok::<_, tch::TchError>(one)
    })?;
    let options = Options { retain_graph: true, allow_unused: true, ..Options::default() };
    let gradients = engine::grad(&[output], leaves, &[Some(&one)], options)?;
    gradients
        .into_iter()
        .zip(leaves)
        .map(|(gradient, leaf)| Ok(gradient.map_or_else(|| leaf.f_zeros_like(), Ok)?.f_reshape([-1])?))
        .collect()
}

/// Central differences of one output, flat, by one element of an input.
fn column(
    function: &impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    input: usize,
    element: i64,
    output: usize,
    eps: f64,
) -> Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let at = |step: f64| {
        let mut inputs: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
        inputs[input] = inputs[input].copy();
        let _ = inputs[input].f_reshape([-1])?.f_narrow(0, element, 1)?.f_add_scalar_(step)?;
        Ok::<_, AutogradError>(function(&inputs)?.swap_remove(output).f_reshape([-1])?)
    };
    Ok(at(eps)?.f_sub(&at(-eps)?)?.f_div_scalar(2. * eps)?)
}
