//! Random numbers for augmentation: the same for the same (seed, epoch, picture), whoever asks, on every machine.

/// Which picture of which epoch of which run is drawn for. Nothing else enters what is drawn, so neither the number of
/// workers nor their order can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// Epochs before this one.
    pub epoch: u64,
    /// The picture's place in its data set.
    pub index: u64,
}

impl Draw {
    /// The generator that draws for this picture.
    pub fn rng(self) -> Rng {
        let mut rng = Rng { state: 0 };
        for part in [self.seed, self.epoch, self.index] {
            rng.state ^= part;
            rng.state = rng.next_u64();
        }
        rng
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): eight bytes of state.
///
/// Written here and not taken from a crate because its numbers are part of what `--resume` promises to repeat: the usual
/// crates keep the right to change what their distributions draw.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), of 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Uniform in 0..`n`, without bias; 0 for an `n` of 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // The numbers past the last whole multiple of n would favour small remainders.
        let past = u64::MAX - (u64::MAX % n + 1) % n;
        loop {
            let drawn = self.next_u64();
            if drawn <= past {
                return drawn % n;
            }
        }
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Beta(α, α), for mixup and cutmix; α over 0.
    pub fn symmetric_beta(&mut self, alpha: f64) -> f64 {
        let (a, b) = (self.gamma(alpha), self.gamma(alpha));
        if a + b > 0.0 {
            a / (a + b)
        } else {
            // Both underflowed: such a small α is a coin.
            f64::from(self.chance(0.5))
        }
    }

    /// Gamma(shape, 1): Marsaglia and Tsang, "A simple method for generating gamma variables" (2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * (1.0 - self.uniform()).powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// 0..`len` in random order (Fisher and Yates).
    pub fn permutation(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(index: u64) -> Rng {
        Draw { seed: 1, epoch: 2, index }.rng()
    }

    #[test]
    fn what_is_drawn_is_fixed_for_ever() {
        // SplitMix64's published first outputs for the seed 1234567.
        let mut rng = Rng { state: 1_234_567 };
        assert_eq!(
            [rng.next_u64(), rng.next_u64(), rng.next_u64()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn every_part_of_a_draw_changes_it() {
        let first = |seed, epoch, index| Draw { seed, epoch, index }.rng().next_u64();
        let all =
            [first(0, 0, 0), first(1, 0, 0), first(0, 1, 0), first(0, 0, 1), first(1, 1, 0), first(0, 1, 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "{all:?}");
        }
    }

    #[test]
    fn distributions_have_their_moments() {
        const N: usize = 40_000;
        let moments = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / N as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / N as f64;
            (mean, variance)
        };
        let mut rng = rng(0);
        let near = |(mean, variance): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.02, "mean {mean}, not {}", expected.0);
            assert!((variance - expected.1).abs() < 0.02, "variance {variance}, not {}", expected.1);
        };
        near(moments((0..N).map(|_| rng.uniform()).collect()), (0.5, 1.0 / 12.0));
        near(moments((0..N).map(|_| rng.normal()).collect()), (0.0, 1.0));
        for alpha in [0.2, 1.0, 4.0] {
            let variance = 0.25 / (2.0 * alpha + 1.0);
            near(moments((0..N).map(|_| rng.symmetric_beta(alpha)).collect()), (0.5, variance));
        }
        let mut counts = [0; 7];
        (0..N).for_each(|_| counts[rng.below(7) as usize] += 1);
        assert!(counts.iter().all(|&count| (count as f64 - N as f64 / 7.0).abs() < 400.0), "{counts:?}");
    }

    #[test]
    fn a_permutation_holds_every_index_once_and_differs_by_draw() {
        let order = rng(0).permutation(50);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_ne!(order, rng(1).permutation(50));
        assert_eq!(order, rng(0).permutation(50));
    }
}
