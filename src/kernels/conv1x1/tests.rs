//! Against sums in f64, at every level, on one thread and on three.
//!
//! A number is right when it is no further from the reference than (terms + 16)·2⁻²³ times the sum of the terms'
//! magnitudes: twice what rounding can do to a sum of so many products in whatever order, and far less than one missing
//! term.

mod case;

use super::*;
use crate::kernels::{padded, Affine, Moments, Norm, RowsMut};
use case::{everywhere, normalized, packed, Inputs, Kind, Numbers, Sum, SHAPES};

#[test]
fn forward_with_norm_and_relu_is_the_product_of_the_normalized_input_and_moments_are_those_of_its_outputs() {
    everywhere(|on, place| {
        let mut scratch = Scratch::default();
        for (rows, inputs, outputs) in SHAPES {
            let case = format!("{place}, {rows} × {inputs} → {outputs}");
            let mut numbers = Numbers(rows as u64);
            let x = numbers.matrix(rows, inputs, f32::NAN);
            let (scale, shift) = (numbers.vector(inputs), numbers.vector(inputs));
            let weight = numbers.vector(outputs * inputs);
            let weight_packed = packed(on, &weight, outputs, inputs);
            let norm = Some(Affine { scale: &scale, shift: &shift });
            let of = Forward { rows, x: x.rows(), norm, weight: &weight_packed, bias: None, relu: false };
            let mut y = numbers.matrix(rows, outputs, 7.0);
            let mut moments = Moments::default();
            forward(on, &mut scratch, &of, y.rows_mut(), Some(&mut moments));
            y.assert_padding(7.0, &case);
            for output in 0..outputs {
                for row in 0..rows {
                    let terms = (0..inputs).map(|channel| {
                        normalized(&x, &scale, &shift, row, channel)
                            * f64::from(weight[output * inputs + channel])
                    });
                    Sum::of(terms).assert(y.at(row, output), &format!("{case}: y[{row}, {output}]"));
                }
                let column = |power: i32| Sum::of((0..rows).map(|row| y.at(row, output).powi(power)));
                let (mean, var) = (moments.mean[output], moments.var[output]);
                let count = rows as f64;
                column(1).assert(mean * count, &format!("{case}: mean of y[{output}]"));
                column(2).assert((var + mean * mean) * count, &format!("{case}: variance of y[{output}]"));
            }
            let without = y.data.to_vec();
            forward(on, &mut scratch, &of, y.rows_mut(), None);
            assert_eq!(y.data.to_vec(), without, "{case}: with and without moments, twice");
        }
    });
}

#[test]
fn forward_of_the_input_as_it_is_takes_a_bias_and_a_relu() {
    everywhere(|on, place| {
        let mut scratch = Scratch::default();
        for (rows, inputs, outputs) in SHAPES {
            let case = format!("{place}, {rows} × {inputs} → {outputs}");
            let mut numbers = Numbers(rows as u64);
            let x = numbers.matrix(rows, inputs, f32::NAN);
            let weight = numbers.vector(outputs * inputs);
            let bias = numbers.vector(outputs);
            let weight_packed = packed(on, &weight, outputs, inputs);
            for (bias, relu) in
                [(None, false), (None, true), (Some(&bias[..outputs]), false), (Some(&bias[..outputs]), true)]
            {
                let of = Forward { rows, x: x.rows(), norm: None, weight: &weight_packed, bias, relu };
                let mut y = numbers.matrix(rows, outputs, 7.0);
                forward(on, &mut scratch, &of, y.rows_mut(), None);
                y.assert_padding(7.0, &case);
                for row in 0..rows {
                    for output in 0..outputs {
                        let mut sum = Sum::of((0..inputs).map(|channel| {
                            x.at(row, channel) * f64::from(weight[output * inputs + channel])
                        }));
                        sum.add(bias.map_or(0.0, |bias| f64::from(bias[output])));
                        if relu {
                            sum.value = sum.value.max(0.0);
                        }
                        sum.assert(y.at(row, output), &format!("{case}, relu {relu}: y[{row}, {output}]"));
                    }
                }
            }
        }
    });
}

#[test]
fn a_variance_keeps_its_digits_where_the_mean_is_a_thousand_deviations_from_zero() {
    everywhere(|on, place| {
        let (rows, inputs, outputs) = (5000, 3, 40);
        let mut numbers = Numbers(1);
        let x = numbers.matrix(rows, inputs, f32::NAN);
        let weight = numbers.vector(outputs * inputs);
        let weight = packed(on, &weight, outputs, inputs);
        let bias = vec![1000.0; outputs];
        let of = Forward { rows, x: x.rows(), norm: None, weight: &weight, bias: Some(&bias), relu: false };
        let mut y = numbers.matrix(rows, outputs, 7.0);
        let mut moments = Moments::default();
        forward(on, &mut Scratch::default(), &of, y.rows_mut(), Some(&mut moments));
        for output in 0..outputs {
            let mean = (0..rows).map(|row| y.at(row, output)).sum::<f64>() / rows as f64;
            let variance = (0..rows).map(|row| (y.at(row, output) - mean).powi(2)).sum::<f64>() / rows as f64;
            let (got_mean, got) = (moments.mean[output], moments.var[output]);
            assert!((got_mean - mean).abs() < 1e-9 * mean, "{place}: mean {got_mean}, not {mean}");
            assert!((got - variance).abs() < 1e-5 * variance, "{place}: variance {got}, not {variance}");
        }
    });
}

#[test]
fn plain_backward_gives_both_products_or_either() {
    everywhere(|on, place| {
        let mut scratch = Scratch::default();
        for (index, (rows, inputs, outputs)) in SHAPES.into_iter().enumerate() {
            let kind = [Kind::Plain, Kind::Scaled, Kind::Normed][index % 3];
            let case = format!("{place}, {rows} × {inputs} → {outputs}, {kind:?}");
            let given = Inputs::new(rows, inputs, outputs);
            let of = given.backward(kind);
            let mut dx = Numbers(0).matrix(rows, inputs, 7.0);
            let mut dweight = vec![f32::NAN; outputs * inputs];
            backward(on, &mut scratch, &of, Some(dx.rows_mut()), Some(&mut dweight));
            dx.assert_padding(7.0, &case);
            for row in 0..rows {
                for input in 0..inputs {
                    let what = format!("{case}: dX[{row}, {input}]");
                    given.dx(kind, row, input).assert(dx.at(row, input), &what);
                }
            }
            given.assert_weight(kind, &dweight, |row, input| given.x.at(row, input), &case);

            let (mut dx_alone, mut dweight_alone) = (dx.clone(), vec![f32::NAN; outputs * inputs]);
            dx_alone.data.fill(7.0);
            backward(on, &mut scratch, &of, Some(dx_alone.rows_mut()), None);
            backward(on, &mut scratch, &of, None, Some(&mut dweight_alone));
            assert_eq!(dx_alone.data.to_vec(), dx.data.to_vec(), "{case}: dX without dW");
            assert_eq!(dweight_alone, dweight, "{case}: dW without dX");
        }
    });
}

#[test]
fn backward_through_the_norm_adds_to_g_and_gives_the_gradients_of_gamma_and_beta() {
    everywhere(|on, place| {
        let mut scratch = Scratch::default();
        for (index, (rows, inputs, outputs)) in SHAPES.into_iter().enumerate() {
            let kind = [Kind::Normed, Kind::Normed, Kind::Scaled][index % 3];
            let case = format!("{place}, {rows} × {inputs} → {outputs}, {kind:?}");
            let given = Inputs::new(rows, inputs, outputs);
            let mut numbers = Numbers(3);
            let [scale, shift, mean, invstd] = [0; 4].map(|_| numbers.vector(inputs));
            let affine = Affine { scale: &scale, shift: &shift };
            let norm = Norm { affine, mean: &mean, invstd: &invstd };
            let before = numbers.matrix(rows, inputs, 7.0);
            let of = given.backward(kind);
            let (mut g, mut g_again) = (before.clone(), before.clone());
            let mut results =
                [vec![f32::NAN; outputs * inputs], vec![f32::NAN; inputs], vec![f32::NAN; inputs]];
            let [dweight, dgamma, dbeta] = &mut results;
            let gradients = Gradients { weight: Some(dweight), gamma: dgamma, beta: dbeta };
            backward_normed(on, &mut scratch, &of, &norm, g.rows_mut(), gradients);
            g.assert_padding(7.0, &case);

            let p = |row, input| normalized(&given.x, &scale, &shift, row, input);
            for input in 0..inputs {
                let (mut beta, mut products) = (Sum::default(), Sum::default());
                for row in 0..rows {
                    let mut dp = given.dx(kind, row, input);
                    if p(row, input) <= 0.0 {
                        dp.value = 0.0;
                    }
                    let mut sum = Sum { value: dp.value * f64::from(scale[input]), ..dp };
                    sum.magnitude *= f64::from(scale[input]).abs();
                    sum.add(before.at(row, input));
                    sum.assert(g.at(row, input), &format!("{case}: g[{row}, {input}]"));
                    let x_hat = (given.x.at(row, input) - f64::from(mean[input])) * f64::from(invstd[input]);
                    let size = (given.x.at(row, input).abs() + f64::from(mean[input]).abs())
                        * f64::from(invstd[input]).abs();
                    beta.value += dp.value;
                    beta.magnitude += dp.magnitude;
                    products.value += dp.value * x_hat;
                    products.magnitude += dp.magnitude * size;
                }
                beta.terms = rows + outputs;
                products.terms = rows + outputs;
                beta.assert(f64::from(results[2][input]), &format!("{case}: dβ[{input}]"));
                products.assert(f64::from(results[1][input]), &format!("{case}: dγ[{input}]"));
            }
            given.assert_weight(kind, &results[0], p, &case);

            let (mut dgamma, mut dbeta) = (vec![f32::NAN; inputs], vec![f32::NAN; inputs]);
            let gradients = Gradients { weight: None, gamma: &mut dgamma, beta: &mut dbeta };
            backward_normed(on, &mut scratch, &of, &norm, g_again.rows_mut(), gradients);
            assert_eq!(g_again.data.to_vec(), g.data.to_vec(), "{case}: g without dW");
            assert_eq!([dgamma, dbeta], results[1..], "{case}: dγ and dβ without dW");
        }
    });
}

#[test]
fn nan_in_one_row_reaches_that_row_and_every_sum_and_nothing_else() {
    everywhere(|on, place| {
        let (rows, inputs, outputs) = (40, 40, 36);
        let mut given = Inputs::new(rows, inputs, outputs);
        given.x.data[17 * given.x.stride + 5] = f32::NAN;
        let (scale, shift) = (vec![1.0; padded(inputs)], vec![0.0; padded(inputs)]);
        let weight = packed(on, &given.weight, outputs, inputs);
        let norm = Some(Affine { scale: &scale, shift: &shift });
        let of = Forward { rows, x: given.x.rows(), norm, weight: &weight, bias: None, relu: false };
        let mut y = Numbers(0).matrix(rows, outputs, 7.0);
        let mut scratch = Scratch::default();
        forward(on, &mut scratch, &of, y.rows_mut(), None);
        y.assert_padding(7.0, place);
        for row in 0..rows {
            assert!(
                (0..outputs).all(|output| y.at(row, output).is_nan() == (row == 17)),
                "{place}: row {row}"
            );
        }
        let mut dweight = vec![0.0; outputs * inputs];
        backward(on, &mut scratch, &given.backward(Kind::Plain), None, Some(&mut dweight));
        assert!((0..outputs * inputs).all(|at| dweight[at].is_nan() == (at % inputs == 5)), "{place}");
    });
}

#[test]
fn no_rows_have_no_moments_and_a_weight_gradient_of_zero() {
    everywhere(|on, place| {
        let given = Inputs::new(0, 40, 36);
        let weight = packed(on, &given.weight, 36, 40);
        let of = Forward { rows: 0, x: given.x.rows(), norm: None, weight: &weight, bias: None, relu: false };
        let mut scratch = Scratch::default();
        let mut moments = Moments::default();
        forward(on, &mut scratch, &of, RowsMut::new(&mut [], 48), Some(&mut moments));
        assert!(moments.mean.len() == 36 && moments.mean.iter().all(|x| x.is_nan()), "{place}");
        let mut dweight = vec![1.0; 36 * 40];
        backward(on, &mut scratch, &given.backward(Kind::Plain), None, Some(&mut dweight));
        assert!(dweight.iter().all(|x| *x == 0.0), "{place}");
    });
}
