//! Learners of effects: what an arm adds to the response is itself what is regressed.
//!
//! The **X-learner** (Künzel et al., "Metalearners for estimating heterogeneous treatment effects", 2019) imputes to each row
//! what the other arm would have made of it, by a model of that other arm, which has not seen the row; it regresses those
//! effects once on the treated and once on the control, and mixes the two by the known propensities. The **DR-learner**
//! (Kennedy, "Towards optimal doubly robust estimation of heterogeneous causal effects", 2023) regresses the doubly robust
//! effect of each row, made with models of folds that lack the row; with known propensities it is right on average whatever
//! those models say.
//!
//! A regression of effects has its own noise, so penalties are carried over: what is believed of an effect beforehand is what
//! an S-learner with the same settings believes, in probabilities instead of log odds.
//!
//! The edge adds no effect to a response: it knows one chance per arm. So the response with an effect on it is what a last
//! model is fitted to, of the same kind as every other, with log odds that are linear or of trees. The format needs nothing
//! new, parity is that of any response model, and what the last model loses is part of every comparison.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use selvedge_engine::math::sigmoid;
use selvedge_spec::TreeTraining;
use selvedge_train::learn::{self, TrainingSet};

use crate::fit::{Base, FitError, Ridge, chance_of, linear_weights, per_arm};
use crate::model::{Scorer, Trees};
use crate::trial::Trial;

/// Folds in which the DR-learner models responses, and the seed of their deal.
const FOLDS: usize = 3;
const SEED: u64 = 0x0d0b;
/// A chance with an effect on it stays within this of never and always: log odds are finite.
const MARGIN: f64 = 1e-3;

/// One model per arm by the X-learner.
pub(crate) fn imputed(trial: &Trial, rows: &[usize], base: &Base) -> Result<Vec<Scorer>, FitError> {
    let first = per_arm(trial, rows, base)?;
    let chances = chances(trial, &first)?;
    let of = |arm: usize| rows.iter().copied().filter(|row| trial.arm(*row) == arm).collect::<Vec<_>>();
    let control = of(0);
    let effects = (1..trial.arm_count()).map(|arm| {
        let gained = |row: usize| trial.outcome(row) - chances[0][row];
        let missed = |row: usize| chances[arm][row] - trial.outcome(row);
        let on_treated = regress(trial, &of(arm), base, rows, &gained)?.raw(trial.values())?;
        let on_control = regress(trial, &control, base, rows, &missed)?.raw(trial.values())?;
        let mixed = |row: usize| {
            let (with, without) = (trial.propensity(row, arm), trial.propensity(row, 0));
            (with * f64::from(on_control[row]) + without * f64::from(on_treated[row])) / (with + without)
        };
        Ok((0..trial.rows()).map(mixed).collect())
    });
    let effects = effects.collect::<Result<Vec<_>, FitError>>()?;
    on_top(trial, rows, base, first, &effects)
}

/// One model per arm by the DR-learner.
pub(crate) fn robust(trial: &Trial, rows: &[usize], base: &Base) -> Result<Vec<Scorer>, FitError> {
    let unseen = unseen(trial, rows, base)?;
    let robust = |row: usize, arm: usize| {
        let chance = unseen[arm][row];
        let seen = if trial.arm(row) == arm { (trial.outcome(row) - chance) / trial.propensity(row, arm) } else { 0.0 };
        chance + seen
    };
    let effects = (1..trial.arm_count()).map(|arm| {
        let effect = |row: usize| robust(row, arm) - robust(row, 0);
        let effects = regress(trial, rows, base, rows, &effect)?.raw(trial.values())?;
        Ok(effects.into_iter().map(f64::from).collect())
    });
    let effects = effects.collect::<Result<Vec<_>, FitError>>()?;
    on_top(trial, rows, base, per_arm(trial, rows, base)?, &effects)
}

/// The chances `[arm][row]` of all rows of the trial.
fn chances(trial: &Trial, scorers: &[Scorer]) -> Result<Vec<Vec<f64>>, FitError> {
    let of = |scorer: &Scorer| {
        let raw = scorer.raw(trial.values())?;
        Ok(raw.into_iter().map(|raw| f64::from(sigmoid(raw))).collect())
    };
    scorers.iter().map(of).collect()
}

/// The chances `[arm][row]` of `rows`, each by models that have not seen it.
fn unseen(trial: &Trial, rows: &[usize], base: &Base) -> Result<Vec<Vec<f64>>, FitError> {
    let fold = deal(trial, rows);
    let mut unseen = vec![vec![0.0; trial.rows()]; trial.arm_count()];
    for held_out in 0..FOLDS {
        let pick = |is: &dyn Fn(usize) -> bool| {
            rows.iter().zip(&fold).filter(|(_, fold)| is(**fold)).map(|(row, _)| *row).collect::<Vec<_>>()
        };
        let scorers = per_arm(trial, &pick(&|fold| fold != held_out), base)?;
        let said = chances(trial, &scorers)?;
        for row in pick(&|fold| fold == held_out) {
            for (unseen, said) in unseen.iter_mut().zip(&said) {
                unseen[row] = said[row];
            }
        }
    }
    Ok(unseen)
}

/// The fold of each of `rows`; arms are dealt one by one, so that none is missing where it has rows enough.
fn deal(trial: &Trial, rows: &[usize]) -> Vec<usize> {
    let mut draw = ChaCha8Rng::seed_from_u64(SEED);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.shuffle(&mut draw);
    order.sort_by_key(|at| trial.arm(rows[*at]));
    let mut fold = vec![0; rows.len()];
    for (position, at) in order.into_iter().enumerate() {
        fold[at] = position % FOLDS;
    }
    fold
}

/// The control's model, and for each other arm one of the response with the arm's effect on it.
fn on_top(
    trial: &Trial,
    rows: &[usize],
    base: &Base,
    mut first: Vec<Scorer>,
    effects: &[Vec<f64>],
) -> Result<Vec<Scorer>, FitError> {
    first.truncate(1);
    let control = chances(trial, &first)?.swap_remove(0);
    for effects in effects {
        let with = |row: usize| (control[row] + effects[row]).clamp(MARGIN, 1.0 - MARGIN);
        first.push(chance_of(trial, rows, base, &with)?);
    }
    Ok(first)
}

/// Least squares of a number per row on the features of `rows`. `all` are the rows whose response says what a step in log odds
/// is in probability.
fn regress(
    trial: &Trial,
    rows: &[usize],
    base: &Base,
    all: &[usize],
    target: &dyn Fn(usize) -> f64,
) -> Result<Scorer, FitError> {
    let scale = Scale::of(trial, rows, all, target);
    Ok(match base {
        Base::Linear(ridge) => {
            let penalty = ridge.interaction * scale.penalty();
            let ridge = Ridge { main: penalty, interaction: penalty };
            Scorer::Linear(
                linear_weights(trial, rows, &ridge, &[], target, crate::logistic::least_squares)?.swap_remove(0),
            )
        }
        Base::Trees(training) => {
            let mut set = TrainingSet::new(trial.features().len());
            for row in rows {
                set.values.extend_from_slice(trial.row(*row));
                set.labels.push(target(*row) as f32);
            }
            set.groups.push(rows.len());
            let training = TreeTraining {
                lambda: training.lambda * scale.penalty(),
                min_child_weight: training.min_child_weight * scale.rows(),
                ..training.clone()
            };
            Scorer::Trees(Box::new(Trees::new(learn::regression_trees(&set, &training)?)?))
        }
    })
}

/// How penalties of a logistic model read for a regression.
struct Scale {
    /// Probability per log odds, `y (1 - y)`; also what a row weighs in a logistic model.
    slope: f64,
    /// Variance of what is regressed.
    noise: f64,
}

impl Scale {
    fn of(trial: &Trial, rows: &[usize], all: &[usize], target: &dyn Fn(usize) -> f64) -> Self {
        /// Where everybody or nobody responds, there is still a step.
        const LEAST: f64 = 1e-3;
        let count = rows.len().max(1) as f64;
        let mean = rows.iter().map(|row| target(*row)).sum::<f64>() / count;
        let noise = rows.iter().map(|row| (target(*row) - mean).powi(2)).sum::<f64>() / count;
        let response = all.iter().map(|row| trial.outcome(*row)).sum::<f64>() / all.len().max(1) as f64;
        Self { slope: (response * (1.0 - response)).max(LEAST), noise }
    }

    /// A penalty holds a weight as the prior of variance `1/penalty` in log odds, `slope²/penalty` in probabilities, does
    /// against this noise.
    fn penalty(&self) -> f64 {
        self.noise / (self.slope * self.slope)
    }

    /// A row weighs 1 in a regression.
    fn rows(&self) -> f64 {
        1.0 / self.slope
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::trial::{Assignment, Propensities, TrialData};

    /// A response that bends where no linear model follows, and an arm for one in ten that adds .15 for all.
    fn trial(rows: usize, seed: u64) -> Trial {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let mut data = TrialData {
            features: vec!["x".into(), "z".into()],
            values: vec![],
            arms: vec!["none".into(), "coupon".into()],
            arm: vec![],
            assignment: Assignment::Randomised(Propensities::PerArm(vec![0.9, 0.1])),
            outcome: vec![],
            value: vec![],
        };
        for _ in 0..rows {
            let (x, z): (f32, f32) = (draw.random(), draw.random());
            let arm = usize::from(draw.random_bool(0.1));
            let chance = if x * 4.0 % 2.0 < 1.0 { 0.2 } else { 0.6 } + 0.1 * z + 0.15 * arm as f32;
            data.values.extend([x, z]);
            data.arm.push(arm);
            data.outcome.push(f32::from(u8::from(draw.random::<f32>() < chance)));
        }
        Trial::new(data).unwrap()
    }

    fn trees() -> Base {
        Base::Trees(TreeTraining { rounds: 40, max_depth: 3, min_child_weight: 5.0, ..TreeTraining::default() })
    }

    fn effects(trial: &Trial, scorers: &[Scorer]) -> Vec<f64> {
        let chances = chances(trial, scorers).unwrap();
        chances[1].iter().zip(&chances[0]).map(|(with, without)| with - without).collect()
    }

    fn error(effects: &[f64]) -> f64 {
        (effects.iter().map(|effect| (effect - 0.15).powi(2)).sum::<f64>() / effects.len() as f64).sqrt()
    }

    #[test]
    fn a_plain_effect_on_a_bent_response_is_found_better_than_by_a_model_per_arm() {
        for seed in [1, 2, 3] {
            let trial = trial(4_000, seed);
            let rows: Vec<usize> = (0..trial.rows()).collect();
            let per_arm = error(&effects(&trial, &per_arm(&trial, &rows, &trees()).unwrap()));
            for learn in [imputed, robust] {
                let ours = error(&effects(&trial, &learn(&trial, &rows, &trees()).unwrap()));
                assert!(ours < 0.8 * per_arm, "seed {seed}: {ours}, and {per_arm} by a model per arm");
            }
        }
    }

    #[test]
    fn responses_that_no_model_follows_leave_the_mean_effect_where_it_is() {
        let trial = trial(20_000, 4);
        let rows: Vec<usize> = (0..trial.rows()).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let seen = trial.response(1) - trial.response(0);
        for learn in [imputed, robust] {
            let said = mean(&effects(&trial, &learn(&trial, &rows, &Base::Linear(Ridge::default())).unwrap()));
            assert!((said - seen).abs() < 0.01, "{said} said, {seen} seen");
        }
    }

    #[test]
    fn a_row_that_is_not_among_those_learned_from_changes_nothing() {
        let trial = trial(1_500, 5);
        let rows: Vec<usize> = (0..1_000).collect();
        let seen = trial.subset(&rows);
        for learn in [imputed, robust] {
            let with = learn(&trial, &rows, &trees()).unwrap();
            let without = learn(&seen, &rows, &trees()).unwrap();
            for (with, without) in with.iter().zip(&without) {
                assert_eq!(with.raw(seen.values()).unwrap(), without.raw(seen.values()).unwrap());
            }
        }
    }

    #[test]
    fn every_row_is_dealt_and_every_fold_has_its_share_of_each_arm() {
        let trial = trial(601, 6);
        let rows: Vec<usize> = (0..601).step_by(2).collect();
        let fold = deal(&trial, &rows);
        for arm in 0..2 {
            let count = |of: usize| {
                rows.iter().zip(&fold).filter(|(row, fold)| trial.arm(**row) == arm && **fold == of).count()
            };
            let counts: Vec<usize> = (0..FOLDS).map(count).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "arm {arm}: {counts:?}");
        }
    }
}
