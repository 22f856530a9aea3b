//! How far two tensors are apart.

use super::error::Result;
use serde::Serialize;
use tch::{Kind, Tensor};

/// How far one tensor is from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Values that are not the same bits.
    pub differing: usize,
    /// Largest absolute difference; infinite (`null` in JSON) where one is NaN and the other is not.
    pub max_abs: f64,
    /// `max_abs` over the largest magnitude in the reference's tensor.
    pub relative: f64,
    /// Largest distance in units in the last place, of f32 (f64 where both are).
    pub max_ulp: u64,
    /// Where the absolute difference is largest; `None` where all bits are the same.
    pub worst: Option<Worst>,
}

/// A value that is off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worst {
    /// Its place, one index a dimension.
    pub index: Vec<i64>,
    /// What the reference holds there.
    pub reference: f64,
    /// What this network computed.
    pub ours: f64,
}

/// Compares two tensors of one shape, value by value.
pub(super) fn stage(name: String, ours: &Tensor, theirs: &Tensor) -> Result<Stage> {
    let shape = ours.size();
    let mut stage = Stage { name, shape, differing: 0, max_abs: 0.0, relative: 0.0, max_ulp: 0, worst: None };
    let wide = ours.kind() == Kind::Double && theirs.kind() == Kind::Double;
    let mut largest = 0f64;
    for (place, (a, b)) in values(ours)?.into_iter().zip(values(theirs)?).enumerate() {
        largest = largest.max(b.abs());
        let (same, ulp) = if wide {
            (a.to_bits() == b.to_bits(), ordered64(a).abs_diff(ordered64(b)))
        } else {
            let (a, b) = (a as f32, b as f32);
            (a.to_bits() == b.to_bits(), ordered32(a).abs_diff(ordered32(b)).into())
        };
        if same {
            continue;
        }
        stage.differing += 1;
        stage.max_ulp = stage.max_ulp.max(ulp);
        let distance = (a - b).abs();
        let distance = if distance.is_nan() { f64::INFINITY } else { distance };
        if stage.worst.is_none() || distance > stage.max_abs {
            stage.worst = Some(Worst { index: unravel(place, &stage.shape), reference: b, ours: a });
        }
        stage.max_abs = stage.max_abs.max(distance);
    }
    stage.relative = if stage.max_abs > 0.0 { stage.max_abs / largest } else { 0.0 };
    Ok(stage)
}

/// The indices of the element at `place` in row-major order.
fn unravel(place: usize, shape: &[i64]) -> Vec<i64> {
    let mut rest = place as i64;
    let mut index = vec![0; shape.len()];
    for (at, size) in index.iter_mut().zip(shape).rev() {
        *at = rest % size;
        rest /= size;
    }
    index
}

/// All values as f64 (which holds every f32 and every count exactly), row-major.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let flat = tensor.f_detach()?.f_to(tch::Device::Cpu)?.f_to_kind(Kind::Double)?.f_reshape([-1])?;
    Ok(Vec::try_from(flat)?)
}

/// Integers in the order of the floats, neighbours one apart, both zeros at 0.
fn ordered32(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if bits < 0 {
        i32::MIN.wrapping_sub(bits)
    } else {
        bits
    }
}

fn ordered64(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    if bits < 0 {
        i64::MIN.wrapping_sub(bits)
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(ours: &[f32], theirs: &[f32]) -> Stage {
        stage("x".into(), &Tensor::from_slice(ours), &Tensor::from_slice(theirs)).unwrap()
    }

    #[test]
    fn ulps_count_representable_steps() {
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        assert_eq!(between(&[1.0, 2.0], &[1.0, 2.0]).max_ulp, 0);
        assert_eq!(between(&[1.0], &[next]).max_ulp, 1);
        assert_eq!(between(&[-1.0], &[-next]).max_ulp, 1);
        let tiny = f32::from_bits(1);
        assert_eq!(between(&[tiny], &[-tiny]).max_ulp, 2);
        let zeros = between(&[0.0], &[-0.0]);
        assert_eq!((zeros.differing, zeros.max_ulp, zeros.max_abs), (1, 0, 0.0));
    }

    #[test]
    fn nan_against_a_number_is_infinitely_far_and_against_itself_equal() {
        assert_eq!(between(&[f32::NAN], &[1.0]).max_abs, f64::INFINITY);
        assert_eq!(between(&[f32::NAN], &[f32::NAN]).differing, 0);
        assert_eq!(between(&[f32::INFINITY], &[f32::INFINITY]).differing, 0);
    }

    #[test]
    fn the_worst_value_is_named_by_its_place() {
        let ours = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.5, 5.0, 6.1]).reshape([2, 3]);
        let theirs = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([2, 3]);
        let stage = stage("x".into(), &ours, &theirs).unwrap();
        assert_eq!(stage.worst, Some(Worst { index: vec![1, 0], reference: 4.0, ours: 4.5 }));
        assert_eq!((stage.differing, stage.max_abs, stage.relative), (2, 0.5, 0.5 / 6.0));
    }
}
