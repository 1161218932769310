//! Off-policy evaluation: what a policy would have earned on the requests of another one's log.
//!
//! The logged policy drew one item per decision and noted how probable it was. Reweighting what was earned by the ratio of
//! the two policies' probabilities (importance sampling, Horvitz and Thompson 1952) gives the other policy's mean reward
//! without bias, as long as the logged policy could have drawn whatever the other one would: [`unsupported`] says where it
//! could not. Estimators are those of Dudík, Langford and Li ("Doubly robust policy evaluation and learning", 2011) and of
//! Swaminathan and Joachims ("The self-normalized estimator for counterfactual learning", 2015), named as in Saito et al.,
//! "Open Bandit Dataset and Pipeline" (2021).

mod reward;

pub use reward::{REWARD_FOLDS, RewardError, RewardModel};

use thiserror::Error;

use crate::bootstrap::{Bootstrap, Interval};

/// One logged draw, and what another policy makes of its request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// What the drawn item earned.
    pub reward: f64,
    /// Probability of the drawn item under the policy that drew it; above 0.
    pub logged: f64,
    /// Probability of the drawn item under the policy that is evaluated.
    pub target: f64,
    /// What a reward model expects of the drawn item.
    pub predicted: f64,
    /// What the reward model expects of the policy that is evaluated: the mean over its distribution.
    pub expected: f64,
}

impl Draw {
    /// Importance weight.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.target / self.logged
    }
}

/// Estimates of a policy's mean reward per decision, with intervals by bootstrap over decisions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimates {
    /// Mean reward of the policy that drew.
    pub logged: Interval,
    /// Inverse propensity scoring: no bias, the largest variance.
    pub ips: Interval,
    /// The same with weights of at most the clip: less variance, biased downwards for rewards above 0.
    pub clipped_ips: Interval,
    /// Self-normalised: divided by the sum of the weights.
    pub snips: Interval,
    /// Direct method: the reward model alone, as good as it is.
    pub direct: Interval,
    /// The reward model, corrected by what it got wrong on the draws: no bias if either propensities or model are right.
    pub doubly_robust: Interval,
    /// Decisions that a sample without weights would need for the same variance: `(sum w)² / sum w²` (Kish 1965).
    pub effective_sample_size: f64,
    /// Largest weight.
    pub largest_weight: f64,
    /// Mean weight; near 1 if the logged probabilities are those that were drawn with.
    pub mean_weight: f64,
}

/// Why there are no estimates.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum OpeError {
    /// Nothing was drawn.
    #[error("there are no draws")]
    Empty,
    /// A number that cannot be.
    #[error("draw {0}: a probability outside of 0 to 1, a logged one of 0, or a reward that is no number")]
    Invalid(usize),
    /// All weights are 0.
    #[error("the evaluated policy would have drawn none of the logged items")]
    NoOverlap,
}

impl Estimates {
    /// Estimates from draws. `clip` is the largest weight of the clipped estimator.
    ///
    /// # Errors
    /// There are no draws, one is invalid, or no drawn item has a probability under the evaluated policy.
    pub fn of(draws: &[Draw], clip: f64, bootstrap: &Bootstrap) -> Result<Self, OpeError> {
        let is_valid = |draw: &Draw| {
            let is_probability = |p: f64| (0.0..=1.0).contains(&p);
            let is_number = draw.reward.is_finite() && draw.predicted.is_finite() && draw.expected.is_finite();
            is_probability(draw.logged) && draw.logged > 0.0 && is_probability(draw.target) && is_number
        };
        if let Some(at) = draws.iter().position(|draw| !is_valid(draw)) {
            return Err(OpeError::Invalid(at));
        }
        let mean = |term: &dyn Fn(&Draw) -> f64| {
            bootstrap.mean(&draws.iter().map(term).collect::<Vec<_>>()).ok_or(OpeError::Empty)
        };
        let logged = mean(&|draw| draw.reward)?;
        let weights = || draws.iter().map(Draw::weight);
        let (sum, squares): (f64, f64) = (weights().sum(), weights().map(|weight| weight * weight).sum());
        if sum <= 0.0 {
            return Err(OpeError::NoOverlap);
        }
        let weighted: Vec<(f64, f64)> = draws.iter().map(|draw| (draw.weight() * draw.reward, draw.weight())).collect();
        Ok(Self {
            logged,
            ips: mean(&|draw| draw.weight() * draw.reward)?,
            clipped_ips: mean(&|draw| draw.weight().min(clip) * draw.reward)?,
            snips: bootstrap.ratio(&weighted).ok_or(OpeError::Empty)?,
            direct: mean(&|draw| draw.expected)?,
            doubly_robust: mean(&|draw| draw.expected + draw.weight() * (draw.reward - draw.predicted))?,
            effective_sample_size: sum * sum / squares,
            largest_weight: weights().fold(0.0, f64::max),
            mean_weight: sum / draws.len() as f64,
        })
    }
}

/// The probability that `target` has on candidates that `logged` could not draw: no estimator sees what those earn. Both
/// are candidates with probabilities, in any order.
#[must_use]
pub fn unsupported(target: &[(u32, f32)], logged: &[(u32, f32)]) -> f64 {
    let could_be_drawn = |candidate: u32| logged.iter().any(|(other, p)| *other == candidate && *p > 0.0);
    let lost = target.iter().filter(|(candidate, _)| !could_be_drawn(*candidate));
    lost.map(|(_, probability)| f64::from(*probability)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 200, confidence: 0.95, seed: 1 };

    fn draw(reward: f64, logged: f64, target: f64) -> Draw {
        Draw { reward, logged, target, predicted: 0.0, expected: 0.0 }
    }

    #[test]
    fn estimates_are_those_of_the_formulas() {
        let draws = [
            Draw { reward: 1.0, logged: 0.5, target: 1.0, predicted: 0.5, expected: 0.4 },
            Draw { reward: 0.0, logged: 0.25, target: 0.5, predicted: 0.25, expected: 0.2 },
            Draw { reward: 1.0, logged: 0.5, target: 0.0, predicted: 0.5, expected: 0.3 },
        ];
        // Weights 2, 2, 0.
        let estimates = Estimates::of(&draws, 1.5, &BOOTSTRAP).unwrap();
        let close = |interval: Interval, expected: f64| {
            assert!((interval.mean - expected).abs() < 1e-12, "{interval:?} is not {expected}");
        };
        close(estimates.logged, 2.0 / 3.0);
        close(estimates.ips, 2.0 / 3.0);
        close(estimates.clipped_ips, 0.5);
        close(estimates.snips, 0.5);
        close(estimates.direct, 0.3);
        close(estimates.doubly_robust, (0.4 + 1.0 + 0.2 - 0.5 + 0.3) / 3.0);
        assert_eq!((estimates.effective_sample_size, estimates.largest_weight), (2.0, 2.0));
    }

    #[test]
    fn what_cannot_be_estimated_is_refused() {
        let refused = |draws: &[Draw]| Estimates::of(draws, 10.0, &BOOTSTRAP).unwrap_err();
        assert_eq!(refused(&[]), OpeError::Empty);
        assert_eq!(refused(&[draw(1.0, 0.5, 0.5), draw(1.0, 0.0, 0.5)]), OpeError::Invalid(1));
        assert_eq!(refused(&[draw(1.0, 0.5, 1.5)]), OpeError::Invalid(0));
        assert_eq!(refused(&[draw(f64::NAN, 0.5, 0.5)]), OpeError::Invalid(0));
        assert_eq!(refused(&[draw(1.0, 0.5, 0.0)]), OpeError::NoOverlap);
    }

    #[test]
    fn a_policy_is_estimated_from_the_draws_of_another() {
        // Three items that earn 0.1, 0.5 and 0.9; the logged policy likes the worst, the evaluated one the best.
        let (earns, logged, target) = ([0.1, 0.5, 0.9], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]);
        let truth: f64 = earns.iter().zip(target).map(|(earns, p)| earns * p).sum();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let draws: Vec<Draw> = (0..20_000)
            .map(|_| {
                let point: f64 = rng.random();
                let item = if point < logged[0] { 0 } else { 1 + usize::from(point >= logged[0] + logged[1]) };
                let reward = f64::from(u8::from(rng.random::<f64>() < earns[item]));
                // A model that is wrong everywhere: the correction has to make up for it.
                Draw { reward, logged: logged[item], target: target[item], predicted: 0.4, expected: 0.4 }
            })
            .collect();
        let estimates = Estimates::of(&draws, f64::INFINITY, &BOOTSTRAP).unwrap();
        for interval in [estimates.ips, estimates.snips, estimates.doubly_robust] {
            assert!((interval.mean - truth).abs() < 0.03, "{interval:?} is far from {truth}");
        }
        assert!((estimates.direct.mean - 0.4).abs() < 1e-9, "the direct method believes the model");
        assert!((estimates.mean_weight - 1.0).abs() < 0.05, "{}", estimates.mean_weight);
    }

    #[test]
    fn probability_without_support_is_found() {
        assert_eq!(unsupported(&[(0, 0.5), (1, 0.5)], &[(1, 0.1), (0, 0.9)]), 0.0);
        assert_eq!(unsupported(&[(0, 0.5), (1, 0.5)], &[(1, 1.0)]), 0.5);
        assert_eq!(unsupported(&[(2, 1.0)], &[(2, 0.0), (1, 1.0)]), 1.0);
    }

    proptest! {
        #[test]
        fn a_policy_that_is_the_logged_one_has_its_mean(rewards in prop::collection::vec((0.0..1.0_f64, 0.01..=1.0_f64), 1..50)) {
            let draws: Vec<Draw> = rewards.into_iter().map(|(reward, p)| draw(reward, p, p)).collect();
            let estimates = Estimates::of(&draws, 1.0, &BOOTSTRAP).unwrap();
            for interval in [estimates.ips, estimates.clipped_ips, estimates.snips] {
                prop_assert!((interval.mean - estimates.logged.mean).abs() < 1e-12);
            }
            prop_assert!((estimates.effective_sample_size - draws.len() as f64).abs() < 1e-6);
        }
    }
}
