//! One draw per decision, the same on every machine: what stands in the first free slot, and how probable that was.
//!
//! The generator has no state. Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
//! 3", 2011) maps a counter and a key to 128 random bits; the counter is the request id, the key the policy's seed.
//! A repeated request repeats its draw, and a log that has the request id has the draw.

use alloc::vec::Vec;

use selvedge_format::explore::ExploreKindV1;

use crate::math::exp;

/// The probabilities of the last draw, and the buffer that they need.
#[derive(Debug, Default)]
pub(crate) struct Draw {
    /// Candidates that the rules allow in the slot, best first.
    feasible: Vec<u32>,
    /// By position in `feasible`, summing to 1.
    probabilities: Vec<f32>,
}

impl Draw {
    /// Sets out the distribution over `feasible`, of which `greedy` is the policy's choice. `scores` are by candidate;
    /// NaN has no probability unless there is nothing else.
    #[inline(never)]
    pub(crate) fn prepare(
        &mut self,
        kind: ExploreKindV1,
        feasible: impl Iterator<Item = u32>,
        greedy: u32,
        scores: &[f32],
    ) {
        self.feasible.clear();
        self.feasible.extend(feasible);
        self.probabilities.clear();
        let score = |candidate: &u32| scores[*candidate as usize];
        match kind {
            ExploreKindV1::EpsilonGreedy { epsilon } => {
                let each = epsilon / self.feasible.len() as f32;
                let share = |candidate: &u32| if *candidate == greedy { 1.0 - epsilon + each } else { each };
                self.probabilities.extend(self.feasible.iter().map(share));
            }
            ExploreKindV1::Softmax { temperature } => {
                let best = self.feasible.iter().map(score).fold(f32::NAN, f32::max);
                let weight = |score: f32| match score {
                    // An infinite best score would be subtracted from itself.
                    score if score == best || best.is_nan() => 1.0,
                    score if score.is_nan() => 0.0,
                    score => exp((score - best) / temperature),
                };
                self.probabilities.extend(self.feasible.iter().map(|candidate| weight(score(candidate))));
                // At least 1: the best candidate's weight.
                let sum: f32 = self.probabilities.iter().sum();
                self.probabilities.iter_mut().for_each(|probability| *probability /= sum);
            }
        }
    }

    /// Draws for a request: a candidate and its probability. None where no candidate may stand.
    #[inline(never)]
    pub(crate) fn pick(&self, seed: u64, request_id: &[u8; 16]) -> Option<(u32, f32)> {
        let mut words = request_id.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let counter = [(); 4].map(|()| words.next().unwrap_or_default());
        let [high, low, ..] = philox([seed as u32, (seed >> 32) as u32], counter);
        // 53 random bits in 0..1, exact in f64.
        let point = (u64::from(high) << 21 | u64::from(low >> 11)) as f64 / (1_u64 << 53) as f64;
        // The probabilities' rounding must not shift the draw: the last one ends where their sum does.
        let sum: f64 = self.probabilities.iter().map(|probability| f64::from(*probability)).sum();
        let mut below = 0.0;
        let mut drawn = None;
        for (candidate, probability) in self.feasible.iter().zip(&self.probabilities) {
            if *probability > 0.0 {
                drawn = Some((*candidate, *probability));
            }
            below += f64::from(*probability);
            if point * sum < below {
                break;
            }
        }
        drawn
    }

    /// Candidates and probabilities of the last draw.
    #[cfg(feature = "host")]
    pub(crate) fn distribution(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.feasible.iter().copied().zip(self.probabilities.iter().copied())
    }

    /// Forgets the last draw.
    pub(crate) fn clear(&mut self) {
        self.feasible.clear();
        self.probabilities.clear();
    }
}

/// Philox4x32 with 10 rounds.
fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    let multiply = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let (high_0, low_0) = multiply(0xD251_1F53, counter[0]);
        let (high_1, low_1) = multiply(0xCD9E_8D57, counter[2]);
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_vectors() {
        // Random123's known-answer file, philox4x32 with 10 rounds.
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox(key, counter), expected);
        }
    }

    fn draw(kind: ExploreKindV1, scores: &[f32]) -> Draw {
        let mut draw = Draw::default();
        draw.prepare(kind, 0..scores.len() as u32, 0, scores);
        draw
    }

    const KINDS: [ExploreKindV1; 2] =
        [ExploreKindV1::EpsilonGreedy { epsilon: 0.3 }, ExploreKindV1::Softmax { temperature: 0.5 }];

    #[test]
    fn probabilities_sum_to_one_whatever_the_scores() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let cases: [&[f32]; 7] = [
            &[1.0],
            &[3.0, 2.0, 1.0],
            &[1.0; 500],
            &[inf, inf, 1.0, -inf],
            &[-inf, -inf],
            &[1.0, nan],
            &[nan, nan, nan],
        ];
        for kind in KINDS {
            for scores in cases {
                let draw = draw(kind, scores);
                let sum: f32 = draw.probabilities.iter().sum();
                assert!((sum - 1.0).abs() < 1e-4, "{kind:?} {scores:?}: {sum}");
                assert!(draw.probabilities.iter().all(|probability| (0.0..=1.0).contains(probability)));
                assert!(draw.pick(1, &[2; 16]).is_some());
            }
            assert_eq!(draw(kind, &[]).pick(1, &[2; 16]), None);
        }
    }

    #[test]
    fn candidates_are_drawn_as_often_as_their_probability_says() {
        const DRAWS: u32 = 20_000;
        for kind in KINDS {
            let draw = draw(kind, &[1.0, 0.8, 0.8, 0.1, -1.0]);
            let mut drawn = [0_u32; 5];
            for request in 0..DRAWS {
                let mut id = [0; 16];
                id[..4].copy_from_slice(&request.to_le_bytes());
                let (candidate, probability) = draw.pick(42, &id).unwrap();
                assert_eq!(probability.to_bits(), draw.probabilities[candidate as usize].to_bits());
                drawn[candidate as usize] += 1;
            }
            // Pearson's chi-square with 4 degrees of freedom: 18.5 is exceeded once in 1,000 seeds; this seed is fixed.
            let expected = draw.probabilities.iter().map(|probability| f64::from(*probability) * f64::from(DRAWS));
            let chi_square: f64 = drawn
                .iter()
                .zip(expected)
                .map(|(drawn, expected)| {
                    let difference = f64::from(*drawn) - expected;
                    difference * difference / expected
                })
                .sum();
            assert!(chi_square < 18.5, "{kind:?}: {drawn:?}, chi-square {chi_square}");
        }
    }

    #[test]
    fn a_candidate_without_probability_is_never_drawn() {
        let draw = draw(ExploreKindV1::Softmax { temperature: 0.5 }, &[f32::NEG_INFINITY, 0.0, f32::NAN]);
        for request in 0..1_000_u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&request.to_le_bytes());
            assert_eq!(draw.pick(0, &id).map(|(candidate, _)| candidate), Some(1));
        }
    }
}
