//! Every pass against the plain sum in f64, at every level, by every algorithm, on one thread and on three.

mod case;

use super::*;
use case::{bound, cases, convolved, error, for_each_tap, for_each_way, Case, Random};

#[test]
fn forward_is_the_convolution_with_its_moments_and_touches_no_other_column() {
    for case in cases() {
        let (rows, k) = (case.pictures.rows(), case.outputs);
        for (norm, at) in [(true, 24), (false, 0)] {
            let input = case.activated(norm);
            let mut want = vec![0.0; rows * k];
            for_each_tap(case.pictures, |row, tap, from| {
                for n in 0..k {
                    want[row * k + n] += (0..case.inputs)
                        .map(|c| input[from * case.inputs + c] * case.weight(n, c, tap))
                        .sum::<f64>();
                }
            });
            let ld = padded(at + k) + 16;
            let mut scratch = Scratch::default();
            let mut packed = Packed::default();
            for_each_way(|on, algorithm, way| {
                packed.forward(on, algorithm, &case.weights, k, case.inputs);
                // Up to the end of the last row's padded columns, and no further.
                let mut y = vec![7.0; rows * ld - 16];
                let mut moments = Moments::default();
                forward(
                    on,
                    &mut scratch,
                    case.pictures,
                    case.input(norm),
                    &packed,
                    Output { to: RowsMut::new(&mut y, ld), at, moments: Some(&mut moments) },
                );
                let what = format!("{:?}, {} -> {k}, {way}", case.pictures, case.inputs);
                let value = |row: usize, n: usize| f64::from(y[row * ld + at + n]);
                let got = (0..rows * k).map(|i| value(i / k, i % k));
                let error = error(got, &want);
                assert!(error < bound(algorithm), "{what}: {error:e}");
                for (i, y) in y.iter().enumerate() {
                    match i % ld {
                        column if column < at || column >= padded(at + k) => assert_eq!(*y, 7.0, "{what}"),
                        column if column >= at + k => assert_eq!(*y, 0.0, "{what}"),
                        _ => {}
                    }
                }
                // Of the values as written: their own rounding is not at issue.
                for n in 0..k {
                    let m = (0..rows).map(|row| value(row, n)).sum::<f64>() / rows as f64;
                    let v = (0..rows).map(|row| (value(row, n) - m).powi(2)).sum::<f64>() / rows as f64;
                    let scale = m.abs() + v.sqrt();
                    let (mean, var) = (moments.mean[n], moments.var[n]);
                    assert!((mean - m).abs() <= 1e-6 * scale, "{what}: mean {mean} not {m}");
                    let allowed = 1e-5 * v + 1e-12 * scale * scale;
                    assert!((var - v).abs() <= allowed, "{what}: variance {var} not {v}");
                }
            });
        }
    }
}

#[test]
fn input_gradient_is_masked_stored_or_added_and_summed_for_gamma_and_beta() {
    for case in cases() {
        let (rows, inputs) = (case.pictures.rows(), case.inputs);
        let mut want = vec![0.0; rows * inputs];
        for_each_tap(case.pictures, |row, tap, from| {
            for c in 0..inputs {
                want[from * inputs + c] +=
                    (0..case.outputs).map(|n| case.dy(row, n) * case.weight(n, c, tap)).sum::<f64>();
            }
        });
        let (mut dgamma, mut dbeta) = (vec![0.0; inputs], vec![0.0; inputs]);
        for (i, want) in want.iter_mut().enumerate() {
            let (row, c) = (i / inputs, i % inputs);
            let x = case.x[row * case.ld + c];
            // As the kernels decide it, in f32: near 0 f64 may differ.
            if x.mul_add(case.scale[c], case.shift[c]) <= 0.0 {
                *want = 0.0;
            }
            dgamma[c] += *want * f64::from(x - case.mean[c]) * f64::from(case.invstd[c]);
            dbeta[c] += *want;
        }
        let ld = padded(inputs) + 16;
        let before = Random(7).numbers(rows * ld);
        let mut scratch = Scratch::default();
        let mut packed = Packed::default();
        for_each_way(|on, algorithm, way| {
            packed.input_gradient(on, algorithm, &case.weights, case.outputs, inputs);
            for add in [false, true] {
                let what = format!("{:?}, {inputs} -> {}, {way}, add {add}", case.pictures, case.outputs);
                let mut v = before.clone();
                let (mut got_dgamma, mut got_dbeta) = (vec![1.0; inputs], vec![1.0; inputs]);
                let to = if add {
                    Destination::Add(RowsMut::new(&mut v, ld))
                } else {
                    Destination::Store(RowsMut::new(&mut v, ld))
                };
                input_gradient(
                    on,
                    &mut scratch,
                    case.pictures,
                    case.output_gradient(),
                    &packed,
                    InputGradient {
                        input: case.input(true).rows,
                        norm: Norm { affine: case.norm(), mean: &case.mean, invstd: &case.invstd },
                        to,
                        dgamma: &mut got_dgamma,
                        dbeta: &mut got_dbeta,
                    },
                );
                let wanted: Vec<f64> = (0..rows * inputs)
                    .map(|i| {
                        let (row, c) = (i / inputs, i % inputs);
                        if add {
                            f64::from(before[row * ld + c]) + f64::from(case.scale[c]) * want[i]
                        } else {
                            want[i]
                        }
                    })
                    .collect();
                let got = (0..rows * inputs).map(|i| f64::from(v[i / inputs * ld + i % inputs]));
                let all = [
                    ("values", error(got, &wanted)),
                    ("dgamma", error(got_dgamma.iter().copied(), &dgamma)),
                    ("dbeta", error(got_dbeta.iter().copied(), &dbeta)),
                ];
                for (name, error) in all {
                    assert!(error < bound(algorithm), "{what}: {name} {error:e}");
                }
                for (i, (v, before)) in v.iter().zip(&before).enumerate() {
                    let kept = if add { i % ld >= inputs } else { i % ld >= padded(inputs) };
                    assert!(!kept || v == before, "{what}: column {} of row {}", i % ld, i / ld);
                    let zero = !add && (inputs..padded(inputs)).contains(&(i % ld));
                    assert!(!zero || *v == 0.0, "{what}: column {} of row {}", i % ld, i / ld);
                }
            }
        });
    }
}

#[test]
fn weight_gradient_is_the_sum_over_all_pixels() {
    for case in cases() {
        let inputs = case.inputs;
        for norm in [true, false] {
            let input = case.activated(norm);
            let mut want = vec![0.0; case.weights.len()];
            for_each_tap(case.pictures, |row, tap, from| {
                for n in 0..case.outputs {
                    for c in 0..inputs {
                        want[(n * inputs + c) * 9 + tap] += case.dy(row, n) * input[from * inputs + c];
                    }
                }
            });
            let mut scratch = Scratch::default();
            for_each_way(|on, algorithm, way| {
                let mut dw = vec![7.0; want.len()];
                case.weight_gradient(on, &mut scratch, algorithm, norm, &mut dw);
                let error = error(dw.iter().map(|x| f64::from(*x)), &want);
                let what = format!("{:?}, {inputs} -> {}, {way}", case.pictures, case.outputs);
                assert!(error < bound(algorithm), "{what}: {error:e}");
            });
        }
    }
}

#[test]
fn results_repeat_to_the_bit_whatever_lies_in_the_scratch() {
    let mut poison = Case::new(Pictures { count: 2, height: 9, width: 9 }, 200, 48);
    poison.x.fill(f32::NAN);
    poison.gradient.fill(f32::NAN);
    for case in cases() {
        for_each_way(|on, algorithm, way| {
            let mut dirty = Scratch::default();
            convolved(&poison, on, algorithm, &mut dirty, &mut Packed::default());
            let mut dw = vec![0.0; poison.weights.len()];
            poison.weight_gradient(on, &mut dirty, algorithm, true, &mut dw);
            let of = |scratch: &mut Scratch, packed: &mut Packed| {
                let (y, moments) = convolved(&case, on, algorithm, scratch, packed);
                let mut dw = vec![0.0; case.weights.len()];
                case.weight_gradient(on, scratch, algorithm, true, &mut dw);
                let singles: Vec<u32> = y.iter().chain(&dw).map(|x| x.to_bits()).collect();
                let doubles: Vec<u64> =
                    moments.mean.iter().chain(&moments.var).map(|x| x.to_bits()).collect();
                (singles, doubles)
            };
            let clean = of(&mut Scratch::default(), &mut Packed::default());
            let again = of(&mut dirty, &mut Packed::lasting());
            assert!(clean == again, "{:?}, {way}", case.pictures);
        });
    }
}

#[test]
fn a_nan_reaches_every_output_that_reads_it_and_no_other_picture() {
    let mut case = Case::new(Pictures { count: 3, height: 5, width: 6 }, 24, 12);
    let ld = padded(case.outputs);
    let (picture, line, column) = (1, 2, 5);
    case.x[((picture * 5 + line) * 6 + column) * case.ld + 3] = f32::NAN;
    for_each_way(|on, algorithm, way| {
        let (y, _) = convolved(&case, on, algorithm, &mut Scratch::default(), &mut Packed::default());
        for row in 0..case.pictures.rows() {
            let (at, y) = ((row / 30, row / 6 % 5, row % 6), &y[row * ld..][..ld]);
            let reads = at.0 == picture && at.1.abs_diff(line) < 2 && at.2.abs_diff(column) < 2;
            assert!(!reads || y[..12].iter().all(|y| y.is_nan()), "{way}: {at:?}");
            assert!(at.0 == picture || y.iter().all(|y| y.is_finite()), "{way}: {at:?}");
            assert!(y[12..].iter().all(|y| *y == 0.0), "{way}: {at:?}");
        }
    });
}

#[test]
fn the_variance_of_outputs_far_from_zero_keeps_its_digits() {
    let mut case = Case::new(Pictures { count: 2, height: 20, width: 20 }, 16, 3);
    // Every output is its own pixel of the first channel.
    case.weights.fill(0.0);
    for n in 0..3 {
        case.weights[n * 16 * 9 + 4] = 1.0;
    }
    (case.scale, case.shift) = (vec![0.01; 16], vec![1000.0; 16]);
    for_each_way(|on, algorithm, way| {
        let (y, moments) = convolved(&case, on, algorithm, &mut Scratch::default(), &mut Packed::default());
        let values: Vec<f64> = y.iter().step_by(16).map(|y| f64::from(*y)).collect();
        let m = values.iter().sum::<f64>() / 800.0;
        let v = values.iter().map(|x| (x - m).powi(2)).sum::<f64>() / 800.0;
        let (mean, var) = (moments.mean[0], moments.var[0]);
        assert!((mean - m).abs() < 1e-6, "{way}: mean {mean} not {m}");
        assert!((var - v).abs() < 1e-4 * v, "{way}: variance {var} not {v}");
    });
}
