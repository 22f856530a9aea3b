//! One θ for all transitions: out = ⌊θ·in⌋, as the network's constructor computes it in f64.

use super::contradiction;
use crate::checkpoint::error::{CheckpointError, Result};

/// A transition's channels.
pub(super) struct Transition {
    /// Its convolution's weight.
    pub name: String,
    /// Channels that enter.
    pub input: i64,
    /// Channels that leave.
    pub output: i64,
}

impl Transition {
    /// ⌊θ·in⌋ = out, with f64's rounding: what the constructor will compute.
    fn has(&self, theta: f64) -> bool {
        (self.input as f64 * theta).floor() == self.output as f64
    }
}

/// The θ of all transitions: 0.5 if that fits, else 1, else the first of 0.1 … 0.9 and 0.01 … 0.99, else the fraction
/// with the smallest denominator.
pub(super) fn infer(transitions: &[Transition]) -> Result<f64> {
    let fits = |theta: &f64| transitions.iter().all(|transition| transition.has(*theta));
    let tenths = (1..10).map(|tenth| f64::from(tenth) / 10.0);
    let hundredths = (1..100).map(|hundredth| f64::from(hundredth) / 100.0);
    if let Some(theta) = [0.5, 1.0].into_iter().chain(tenths).chain(hundredths).find(fits) {
        return Ok(theta);
    }
    // Exactly: out/in ≤ θ < (out+1)/in for every transition.
    let (mut low, mut high) = (Fraction { over: 0, under: 1 }, Fraction { over: 2, under: 1 });
    for transition in transitions {
        let own_low = Fraction { over: transition.output, under: transition.input };
        let own_high = Fraction { over: transition.output + 1, under: transition.input };
        let (old_low, old_high) = (low, high);
        low = if low < own_low { own_low } else { low };
        high = if own_high < high { own_high } else { high };
        if transition.output > transition.input || low >= high {
            return Err(disagree(transition, old_low, old_high));
        }
    }
    let exact = simplest(low, high).value();
    // The nearest f64 may lie just below the fraction, and ⌊θ·in⌋ be one too low: then the next one is right.
    let theta = if fits(&exact) { exact } else { exact.next_up() };
    match transitions.iter().find(|transition| !transition.has(theta)) {
        None => Ok(theta),
        Some(transition) => Err(disagree(transition, low, high)),
    }
}

fn disagree(transition: &Transition, low: Fraction, high: Fraction) -> CheckpointError {
    let Transition { name, input, output } = transition;
    let bounds = if high.value() > 1.0 {
        format!("from {:.4} to 1", low.value())
    } else {
        format!("from {:.4} to less than {:.4}", low.value(), high.value())
    };
    contradiction(
        name,
        &[*output, *input, 1, 1],
        &format!("[⌊θ·{input}⌋, {input}, 1, 1]"),
        &format!("all transitions have one compression θ, by the other ones {bounds}"),
    )
}

/// A fraction of channel counts (at most 2²⁰, so products fit).
#[derive(Clone, Copy)]
struct Fraction {
    over: i64,
    under: i64,
}

impl Fraction {
    fn value(self) -> f64 {
        self.over as f64 / self.under as f64
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.over * other.under == other.over * self.under
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.over * other.under).partial_cmp(&(other.over * self.under))
    }
}

/// The fraction with the smallest denominator that is at least `low` and under `high`; `low < high`.
fn simplest(low: Fraction, high: Fraction) -> Fraction {
    // `low` itself is one, so the search ends.
    (1..low.under)
        .map(|under| Fraction { over: (low.over * under + low.under - 1) / low.under, under })
        .find(|fraction| *fraction < high)
        .unwrap_or(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transitions(sizes: &[(i64, i64)]) -> Vec<Transition> {
        let of = |(index, &(input, output)): (usize, &(i64, i64))| Transition {
            name: format!("features.transition{}.conv.weight", index + 1),
            input,
            output,
        };
        sizes.iter().enumerate().map(of).collect()
    }

    #[test]
    fn the_usual_values_come_first() {
        for (sizes, want) in [
            (&[][..], 0.5),
            (&[(256, 128), (512, 256), (1024, 512)], 0.5),
            (&[(27, 13), (255, 127)], 0.5),
            (&[(1, 1)], 1.0),
            (&[(160, 160), (304, 304)], 1.0),
            (&[(100, 70), (210, 147)], 0.7),
            (&[(1000, 570)], 0.57),
        ] {
            assert_eq!(infer(&transitions(sizes)).unwrap(), want, "{sizes:?}");
        }
    }

    #[test]
    fn any_theta_is_matched_width_for_width() {
        // A fixed sequence of odd fractions and widths; what counts is that the constructor's formula gives the widths.
        let mut state = 1u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for _ in 0..2000 {
            let under = 2 + draw(400);
            let theta = (1 + draw(under)) as f64 / under as f64;
            let sizes: Vec<(i64, i64)> = (0..1 + draw(5))
                .map(|_| 1 + draw(5000) as i64)
                .map(|input| (input, (input as f64 * theta).floor() as i64))
                .filter(|&(_, output)| output > 0)
                .collect();
            let found =
                infer(&transitions(&sizes)).unwrap_or_else(|error| panic!("θ = {theta}, {sizes:?}: {error}"));
            assert!(found > 0.0 && found <= 1.0);
            for (input, output) in sizes {
                assert_eq!((input as f64 * found).floor() as i64, output, "θ = {theta}, found {found}");
            }
        }
    }

    #[test]
    fn the_first_transition_that_disagrees_is_named() {
        for (sizes, culprit) in [
            (&[(100, 50), (100, 50), (100, 60)][..], "transition3"),
            (&[(100, 100), (100, 99)], "transition2"),
            (&[(100, 101)], "transition1"),
            (&[(1000, 333), (1000, 334)], "transition2"),
        ] {
            let error = infer(&transitions(sizes)).unwrap_err();
            assert!(
                matches!(&error, CheckpointError::Contradiction { name, .. } if name.contains(culprit)),
                "{sizes:?}: {error}"
            );
        }
    }
}
