use super::*;

/// Every operation on `a`, `b` and `c`, one row each.
struct All<'a>(&'a [f32; 16], &'a [f32; 16], &'a [f32; 16]);

impl Kernel for All<'_> {
    type Output = Vec<[f32; 16]>;
    #[inline(always)]
    fn run<V: Vector>(self) -> Self::Output {
        let mut rows = vec![[0.0f32; 16]; 9];
        for at in (0..16).step_by(V::LANES) {
            // SAFETY: `at` + LANES is at most 16, and every row has 16.
            unsafe {
                let (a, b, c) = (V::load(&self.0[at]), V::load(&self.1[at]), V::load(&self.2[at]));
                let results = [
                    a.add(b),
                    a.sub(b),
                    a.mul(b),
                    a.mul_add(b, c),
                    a.relu(),
                    a.keep_where_positive(b),
                    V::splat(3.0),
                    a.max(b),
                    a.keep_where_equal(b, c),
                ];
                for (row, result) in rows.iter_mut().zip(results) {
                    result.store(&mut row[at]);
                }
            }
        }
        rows
    }
}

#[test]
fn every_level_computes_lane_by_lane_and_hands_nan_on_as_pytorch_does() {
    let a: [f32; 16] = std::array::from_fn(|i| if i == 5 { f32::NAN } else { i as f32 * 0.37 - 2.0 });
    let b: [f32; 16] = std::array::from_fn(|i| match i {
        3 => f32::NAN,
        4 => 0.0,
        _ => 1.5 - i as f32 * 0.21,
    });
    let c: [f32; 16] = std::array::from_fn(|i| if i == 9 { b[9] } else { i as f32 * -0.11 });
    let expected: [[f32; 16]; 9] = [
        std::array::from_fn(|i| a[i] + b[i]),
        std::array::from_fn(|i| a[i] - b[i]),
        std::array::from_fn(|i| a[i] * b[i]),
        std::array::from_fn(|i| (f64::from(a[i]) * f64::from(b[i]) + f64::from(c[i])) as f32),
        std::array::from_fn(|i| if a[i] <= 0.0 { 0.0 } else { a[i] }),
        std::array::from_fn(|i| if b[i] <= 0.0 { 0.0 } else { a[i] }),
        [3.0; 16],
        std::array::from_fn(|i| if a[i].is_nan() || b[i].is_nan() { f32::NAN } else { a[i].max(b[i]) }),
        std::array::from_fn(|i| if b[i] == c[i] { a[i] } else { 0.0 }),
    ];
    for level in Level::available() {
        for (operation, (got, want)) in level.run(All(&a, &b, &c)).iter().zip(&expected).enumerate() {
            for lane in 0..16 {
                let (got, want) = (got[lane], want[lane]);
                // A product and a sum may be rounded once or twice.
                let close = (got - want).abs() <= want.abs() * f32::EPSILON;
                assert!(
                    close || got == want || (got.is_nan() && want.is_nan()),
                    "{level}, operation {operation}, lane {lane}: {got}, not {want}"
                );
            }
        }
    }
}

#[test]
fn the_portable_level_is_everywhere_and_the_best_comes_first() {
    let levels = Level::available();
    assert_eq!(levels.last().unwrap().name(), "portable");
    assert_eq!(levels[0], Level::best());
    assert!(levels.iter().all(|level| super::super::PAD.is_multiple_of(level.lanes())));
}

/// Stores the first lanes of a vector of ones into zeros.
struct First(usize);

impl Kernel for First {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<V: Vector>(self) -> Vec<f32> {
        let mut to = vec![0.0; V::LANES];
        // SAFETY: `to` holds a vector.
        unsafe { V::splat(1.0).store_first(to.as_mut_ptr(), self.0) }
        to
    }
}

#[test]
fn store_first_writes_the_lanes_it_is_told_and_no_other() {
    for level in Level::available() {
        for lanes in 0..20 {
            let to = level.run(First(lanes));
            assert!(
                to.iter().enumerate().all(|(i, x)| (*x == 1.0) == (i < lanes)),
                "{level}, {lanes}: {to:?}"
            );
        }
    }
}
