//! Winograd's transforms for F(M×M, 3×3), T = M + 2: one dimension at a time, each lane on its own.
//!
//! With d the input tile, g the kernel and y the output tile, y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A; the kernel's gradient from the
//! output's dy is Gᵀ[(A dy Aᵀ) ⊙ (Bᵀ d B)]G. Points 0, ±1, (±2,) ∞, as in Lavin and Gray.

use crate::kernels::simd::Vector;

/// The matrices of one M.
pub(super) trait Winograd<const M: usize, const T: usize> {
    /// Bᵀ x.
    fn input<V: Vector>(x: [V; T]) -> [V; T];
    /// Aᵀ x.
    fn output<V: Vector>(x: [V; T]) -> [V; M];
    /// A x.
    fn output_gradient<V: Vector>(x: [V; M]) -> [V; T];
    /// G x.
    fn kernel<V: Vector>(x: [V; 3]) -> [V; T];
    /// Gᵀ x.
    fn kernel_gradient<V: Vector>(x: [V; T]) -> [V; 3];
}

/// All of them.
pub(super) struct Points;

/// The plain sum: nine "points" are the nine taps. Their products add up as they are made, so that no output transform is
/// left; [`super::engine`] and [`super::weight_gradient`] see to that.
impl Winograd<1, 3> for Points {
    #[inline(always)]
    fn input<V: Vector>(x: [V; 3]) -> [V; 3] {
        x
    }

    #[inline(always)]
    fn output<V: Vector>(x: [V; 3]) -> [V; 1] {
        [x[0].add(x[1]).add(x[2])]
    }

    #[inline(always)]
    fn output_gradient<V: Vector>(x: [V; 1]) -> [V; 3] {
        [x[0]; 3]
    }

    #[inline(always)]
    fn kernel<V: Vector>(x: [V; 3]) -> [V; 3] {
        x
    }

    #[inline(always)]
    fn kernel_gradient<V: Vector>(x: [V; 3]) -> [V; 3] {
        x
    }
}

impl Winograd<2, 4> for Points {
    #[inline(always)]
    fn input<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 4] {
        [a.sub(c), b.add(c), c.sub(b), b.sub(d)]
    }

    #[inline(always)]
    fn output<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 2] {
        [a.add(b).add(c), b.sub(c).sub(d)]
    }

    #[inline(always)]
    fn output_gradient<V: Vector>([a, b]: [V; 2]) -> [V; 4] {
        [a, a.add(b), a.sub(b), V::zero().sub(b)]
    }

    #[inline(always)]
    fn kernel<V: Vector>([a, b, c]: [V; 3]) -> [V; 4] {
        let half = V::splat(0.5);
        let (even, odd) = (a.add(c).mul(half), b.mul(half));
        [a, even.add(odd), even.sub(odd), c]
    }

    #[inline(always)]
    fn kernel_gradient<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 3] {
        let half = V::splat(0.5);
        let (even, odd) = (b.add(c).mul(half), b.sub(c).mul(half));
        [a.add(even), odd, even.add(d)]
    }
}

impl Winograd<4, 6> for Points {
    #[inline(always)]
    fn input<V: Vector>([x0, x1, x2, x3, x4, x5]: [V; 6]) -> [V; 6] {
        let (two, four, minus_four, minus_five) =
            (V::splat(2.0), V::splat(4.0), V::splat(-4.0), V::splat(-5.0));
        // Even and odd parts at ±1, then at ±2.
        let (even1, odd1) = (minus_four.mul_add(x2, x4), minus_four.mul_add(x1, x3));
        let (even2, odd2) = (x4.sub(x2), x3.sub(x1).mul(two));
        [
            four.mul_add(x0, minus_five.mul_add(x2, x4)),
            even1.add(odd1),
            even1.sub(odd1),
            even2.add(odd2),
            even2.sub(odd2),
            four.mul_add(x1, minus_five.mul_add(x3, x5)),
        ]
    }

    #[inline(always)]
    fn output<V: Vector>([x0, x1, x2, x3, x4, x5]: [V; 6]) -> [V; 4] {
        let (sum1, difference1) = (x1.add(x2), x1.sub(x2));
        let (sum2, difference2) = (x3.add(x4), x3.sub(x4));
        [
            x0.add(sum1).add(sum2),
            V::splat(2.0).mul_add(difference2, difference1),
            V::splat(4.0).mul_add(sum2, sum1),
            V::splat(8.0).mul_add(difference2, difference1).add(x5),
        ]
    }

    #[inline(always)]
    fn output_gradient<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 6] {
        let (even1, odd1) = (a.add(c), b.add(d));
        let (even2, odd2) = (V::splat(4.0).mul_add(c, a), V::splat(8.0).mul_add(d, V::splat(2.0).mul(b)));
        [a, even1.add(odd1), even1.sub(odd1), even2.add(odd2), even2.sub(odd2), d]
    }

    #[inline(always)]
    fn kernel<V: Vector>([a, b, c]: [V; 3]) -> [V; 6] {
        let (sixth, twelfth, twenty_fourth) =
            (V::splat(1.0 / 6.0), V::splat(1.0 / 12.0), V::splat(1.0 / 24.0));
        let minus_sixth = V::splat(-1.0 / 6.0);
        let (even1, odd1) = (a.add(c).mul(minus_sixth), b.mul(minus_sixth));
        let (even2, odd2) = (a.mul_add(twenty_fourth, c.mul(sixth)), b.mul(twelfth));
        [a.mul(V::splat(0.25)), even1.add(odd1), even1.sub(odd1), even2.add(odd2), even2.sub(odd2), c]
    }

    #[inline(always)]
    fn kernel_gradient<V: Vector>([x0, x1, x2, x3, x4, x5]: [V; 6]) -> [V; 3] {
        let minus_sixth = V::splat(-1.0 / 6.0);
        let (even1, odd1) = (x1.add(x2).mul(minus_sixth), x1.sub(x2).mul(minus_sixth));
        let (even2, odd2) = (x3.add(x4), x3.sub(x4));
        [
            x0.mul_add(V::splat(0.25), even2.mul_add(V::splat(1.0 / 24.0), even1)),
            odd2.mul_add(V::splat(1.0 / 12.0), odd1),
            even2.mul_add(V::splat(1.0 / 6.0), even1).add(x5),
        ]
    }
}
