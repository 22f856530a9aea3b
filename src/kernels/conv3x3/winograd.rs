//! Winograd's transforms for F(M×M, 3×3), T = M + 2: one dimension at a time, each lane on its own.
//!
//! With d the input tile, g the kernel and y the output tile, y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A; the kernel's gradient from the
//! output's dy is Gᵀ[(A dy Aᵀ) ⊙ (Bᵀ d B)]G.
//!
//! F2 interpolates at 0, ±1, ∞ as in Lavin and Gray. F4's usual points 0, ±1, ±2, ∞ lose four times what a plain sum in f32
//! does; 0, ±5/8, ±3/2, ∞ lose half of that, for as many operations: powers up to the third lie closer together, and every
//! coefficient of A and B is a short binary fraction, so only G rounds. Found by a search over pairs of points, in the
//! spirit of Alam et al. 2022, *Winograd Convolution for Deep Neural Networks: Efficient Point Selection*.

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

/// F4's points ±P and ±Q.
const P: f32 = 0.625;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;
/// What the values at 0, ±P and ±Q are divided by: the products of the distances to the other points, in f64 until the end.
const OVER_0: f32 = (1.0 / (P2 as f64 * Q2 as f64)) as f32;
const OVER_P: f64 = 1.0 / (2.0 * P2 as f64 * (P2 as f64 - Q2 as f64));
const OVER_Q: f64 = 1.0 / (2.0 * Q2 as f64 * (Q2 as f64 - P2 as f64));
/// Powers of a point over its divisor: the rows of G.
const G_P: [f32; 3] = [OVER_P as f32, (OVER_P * P as f64) as f32, (OVER_P * P2 as f64) as f32];
const G_Q: [f32; 3] = [OVER_Q as f32, (OVER_Q * Q as f64) as f32, (OVER_Q * Q2 as f64) as f32];

impl Winograd<4, 6> for Points {
    #[inline(always)]
    fn input<V: Vector>([x0, x1, x2, x3, x4, x5]: [V; 6]) -> [V; 6] {
        let (p, q, minus_p, minus_q) = (V::splat(P), V::splat(Q), V::splat(-P), V::splat(-Q));
        let (minus_p2, minus_q2) = (V::splat(-P2), V::splat(-Q2));
        let (product, minus_sum) = (V::splat(P2 * Q2), V::splat(-(P2 + Q2)));
        // Even and odd parts at ±P, then at ±Q.
        let (even_p, odd_p) = (minus_q2.mul_add(x2, x4), minus_q2.mul_add(x1, x3));
        let (even_q, odd_q) = (minus_p2.mul_add(x2, x4), minus_p2.mul_add(x1, x3));
        [
            product.mul_add(x0, minus_sum.mul_add(x2, x4)),
            p.mul_add(odd_p, even_p),
            minus_p.mul_add(odd_p, even_p),
            q.mul_add(odd_q, even_q),
            minus_q.mul_add(odd_q, even_q),
            product.mul_add(x1, minus_sum.mul_add(x3, x5)),
        ]
    }

    #[inline(always)]
    fn output<V: Vector>([x0, x1, x2, x3, x4, x5]: [V; 6]) -> [V; 4] {
        let (sum_p, difference_p) = (x1.add(x2), x1.sub(x2));
        let (sum_q, difference_q) = (x3.add(x4), x3.sub(x4));
        [
            x0.add(sum_p).add(sum_q),
            V::splat(Q).mul_add(difference_q, V::splat(P).mul(difference_p)),
            V::splat(Q2).mul_add(sum_q, V::splat(P2).mul(sum_p)),
            V::splat(Q2 * Q).mul_add(difference_q, V::splat(P2 * P).mul_add(difference_p, x5)),
        ]
    }

    #[inline(always)]
    fn output_gradient<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 6] {
        let at = |x: f32| {
            let even = V::splat(x * x).mul_add(c, a);
            let odd = V::splat(x * x * x).mul_add(d, V::splat(x).mul(b));
            (even.add(odd), even.sub(odd))
        };
        let ((plus_p, minus_p), (plus_q, minus_q)) = (at(P), at(Q));
        [a, plus_p, minus_p, plus_q, minus_q, d]
    }

    #[inline(always)]
    fn kernel<V: Vector>([a, b, c]: [V; 3]) -> [V; 6] {
        let at = |[one, x, square]: [f32; 3]| {
            let even = V::splat(one).mul_add(a, V::splat(square).mul(c));
            let odd = V::splat(x).mul(b);
            (even.add(odd), even.sub(odd))
        };
        let ((plus_p, minus_p), (plus_q, minus_q)) = (at(G_P), at(G_Q));
        [a.mul(V::splat(OVER_0)), plus_p, minus_p, plus_q, minus_q, c]
    }

    #[inline(always)]
    fn kernel_gradient<V: Vector>([x0, x1, x2, x3, x4, x5]: [V; 6]) -> [V; 3] {
        let (sum_p, difference_p) = (x1.add(x2), x1.sub(x2));
        let (sum_q, difference_q) = (x3.add(x4), x3.sub(x4));
        let of = |power: usize, p: V, q: V| V::splat(G_Q[power]).mul_add(q, V::splat(G_P[power]).mul(p));
        [
            V::splat(OVER_0).mul_add(x0, of(0, sum_p, sum_q)),
            of(1, difference_p, difference_q),
            of(2, sum_p, sum_q).add(x5),
        ]
    }
}
