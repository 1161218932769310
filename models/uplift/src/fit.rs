//! Learners of the response to arms, cross-fitted and calibrated.
//!
//! Structures over two bases. The **response model** learns `P(y | x)` of all rows and takes everybody's response to an
//! offer for caused by it; it often wins where the effect follows the response. The **S-learner** is one model with the arm
//! among its inputs, the **T-learner** one model per arm (Künzel et al., "Metalearners for estimating heterogeneous
//! treatment effects", 2019); the X- and the DR-learner regress effects (`effect.rs`). What is learned leaves as one model
//! per arm over the plain features ([`crate::model`]).
//!
//! Every row is also scored by a model that has not seen it (cross-fitting, Chernozhukov et al. 2018); those scores
//! calibrate the model of all rows, and policies are compared on them. The two numbers of a calibration are fitted on all
//! out-of-fold scores at once. The models of the folds also say how sure a probability is: each lacks a group of rows, and
//! how far they differ is the delete-a-group jackknife (Kott, "The delete-a-group jackknife", 2001).

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use selvedge_spec::{Objective, TreeTraining};
use selvedge_train::learn::{self, LearnError, LinearWeights, TrainingSet};
use thiserror::Error;

use crate::model::{ArmModel, Calibration, Ladders, ResponseModel, Scorer, Trees};
use crate::specialise::{SpecialiseError, specialise};
use crate::trial::Trial;
use crate::{effect, logistic};

/// Log odds of what never happens: the control of a response model, which gives an offer credit for every response.
const NEVER: f32 = -30.0;

/// How arms enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// `P(y | x)` of all rows; no arm but the credit for every response.
    Response,
    /// One model, the arm among its inputs (S-learner).
    Single,
    /// One model per arm (T-learner).
    PerArm,
    /// Effects imputed by the models of other arms (X-learner).
    Imputed,
    /// Doubly robust effects (DR-learner).
    Robust,
    /// One model per arm of those who got it, where a response takes having got it: a coupon that was not mailed is not
    /// redeemed. The control never responds, and rows of it teach nothing.
    Redemption,
}

impl Structure {
    /// Whether it gives an offer credit for every response of those who got it.
    #[must_use]
    pub const fn credits_all(self) -> bool {
        matches!(self, Self::Response | Self::Redemption)
    }
}

/// What learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// Logistic regression.
    Linear(Ridge),
    /// Boosted trees.
    Trees(TreeTraining),
}

/// Penalties on squared weights of standardised features, in rows: a weight is held by as many rows of noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ridge {
    /// On the weight of a feature.
    pub main: f64,
    /// On what an arm adds to it, in an S-learner.
    pub interaction: f64,
}

impl Default for Ridge {
    fn default() -> Self {
        Self { main: 10.0, interaction: 30.0 }
    }
}

/// A learner.
#[derive(Clone, Debug, PartialEq)]
pub struct Learner {
    /// How arms enter.
    pub structure: Structure,
    /// What learns.
    pub base: Base,
}

/// How rows are dealt to folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossFit {
    /// Number of folds, at least 2.
    pub folds: usize,
    /// Seed of the deal.
    pub seed: u64,
}

impl Default for CrossFit {
    fn default() -> Self {
        Self { folds: 5, seed: 1 }
    }
}

/// A model, and what models that had not seen them said of the trial's rows.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Of all rows, calibrated.
    pub model: ResponseModel,
    /// Calibrated probabilities `[row][arm]` out of fold.
    pub out_of_fold: Vec<f32>,
}

/// Why nothing was learned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FitError {
    /// Folds that would leave an arm out.
    #[error(
        "arm `{arm}` has {rows} rows, too few for {folds} folds; at least 2 folds, each with a row of every arm, are needed"
    )]
    Folds {
        /// The arm.
        arm: String,
        /// Its rows.
        rows: usize,
        /// The folds asked for.
        folds: usize,
    },
    /// No features.
    #[error("the trial has no features: there is nothing to tell people apart by")]
    NoFeatures,
    /// Trees failed.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The booster refused its own model or rows.
    #[error("the booster refused the rows: {0}")]
    Booster(#[from] hessboost::error::HessboostError),
    /// A tree could not be specialised.
    #[error(transparent)]
    Specialise(#[from] SpecialiseError),
}

/// The fold of each row: arms are dealt one by one, so that each fold has its share of each.
///
/// # Errors
/// An arm has fewer rows than there are folds, or there are fewer than 2 folds.
pub fn folds(trial: &Trial, deal: CrossFit) -> Result<Vec<usize>, FitError> {
    let mut draw = ChaCha8Rng::seed_from_u64(deal.seed);
    let mut folds = vec![0; trial.rows()];
    for (arm, name) in trial.arms().iter().enumerate() {
        let mut rows = trial.rows_of(&[arm]);
        if deal.folds < 2 || rows.len() < deal.folds {
            return Err(FitError::Folds { arm: name.clone(), rows: rows.len(), folds: deal.folds });
        }
        rows.shuffle(&mut draw);
        for (at, row) in rows.into_iter().enumerate() {
            folds[row] = at % deal.folds;
        }
    }
    Ok(folds)
}

/// Learns from all rows, cross-fits and calibrates.
///
/// # Errors
/// The trial has too few rows or no features, or the booster refuses it.
pub fn fit(trial: &Trial, learner: &Learner, ladders: &Ladders, deal: CrossFit) -> Result<Fitted, FitError> {
    let folds = folds(trial, deal)?;
    let arms = trial.arm_count();
    let mut raw = vec![0.0_f32; trial.rows() * arms];
    // What the model of each fold says of all rows, `[fold][arm][row]`.
    let mut said: Vec<Vec<Vec<f32>>> = Vec::with_capacity(deal.folds);
    for fold in 0..deal.folds {
        let seen: Vec<usize> = (0..trial.rows()).filter(|row| folds[*row] != fold).collect();
        let scorers = learn(trial, &seen, learner)?;
        let scores: Vec<Vec<f32>> =
            scorers.iter().map(|scorer| scorer.raw(trial.values())).collect::<Result<_, _>>()?;
        for (arm, scores) in scores.iter().enumerate() {
            for row in (0..trial.rows()).filter(|row| folds[*row] == fold) {
                raw[row * arms + arm] = scores[row];
            }
        }
        said.push(scores);
    }
    let calibrations: Vec<Calibration> = (0..arms).map(|arm| calibrate(trial, learner.structure, &raw, arm)).collect();
    let errors: Vec<f32> = (0..arms).map(|arm| jackknife(&said, arm, calibrations[arm])).collect();
    let all: Vec<usize> = (0..trial.rows()).collect();
    let scorers = learn(trial, &all, learner)?;
    let mut out_of_fold = raw;
    for row in out_of_fold.chunks_exact_mut(arms) {
        for (score, calibration) in row.iter_mut().zip(&calibrations) {
            *score = calibration.probability(*score);
        }
        ladders.raise(row);
    }
    let arms = scorers.into_iter().zip(calibrations).zip(errors);
    let arms = arms.map(|((scorer, calibration), error)| ArmModel { scorer, calibration, error }).collect();
    Ok(Fitted { model: ResponseModel { arms, ladders: ladders.clone() }, out_of_fold })
}

/// The standard error of an arm's probabilities: `sqrt((K - 1)/K sum_k (p_k - mean)^2)` over the models of K folds, as root
/// of its mean square over rows.
fn jackknife(said: &[Vec<Vec<f32>>], arm: usize, calibration: Calibration) -> f32 {
    let folds = said.len() as f64;
    let rows = said.first().map_or(0, |scores| scores[arm].len());
    let variance = |row: usize| {
        let chances = || said.iter().map(|scores| f64::from(calibration.probability(scores[arm][row])));
        let mean = chances().sum::<f64>() / folds;
        chances().map(|chance| (chance - mean) * (chance - mean)).sum::<f64>() * (folds - 1.0) / folds
    };
    ((0..rows).map(variance).sum::<f64>() / rows.max(1) as f64).sqrt() as f32
}

/// The same chance for everybody, as the trial has seen it of each arm: what is shipped where an arm for all wins. The error
/// is that of a share of the arm's rows.
#[must_use]
pub fn alike(trial: &Trial, ladders: &Ladders) -> ResponseModel {
    let width = trial.features().len();
    let of = |arm: usize| {
        let rows = trial.rows_of(&[arm]).len() as f64;
        // Half a response more and less: neither never nor always has log odds.
        let chance = trial.response(arm).clamp(0.5 / rows, 1.0 - 0.5 / rows);
        let bias = (chance / (1.0 - chance)).ln() as f32;
        let model = LinearWeights { bias, weights: vec![0.0; width], centres: vec![0.0; width] };
        let error = (chance * (1.0 - chance) / rows).sqrt() as f32;
        ArmModel { scorer: Scorer::Linear(model), calibration: Calibration::NONE, error }
    };
    ResponseModel { arms: (0..trial.arm_count()).map(of).collect(), ladders: ladders.clone() }
}

/// Learns from some rows, without calibration: one model per arm.
///
/// # Errors
/// There are no features, or the booster refuses the rows.
pub fn learn(trial: &Trial, rows: &[usize], learner: &Learner) -> Result<Vec<Scorer>, FitError> {
    if trial.features().is_empty() {
        return Err(FitError::NoFeatures);
    }
    let base = &learner.base;
    match learner.structure {
        Structure::Response => Ok(credited(trial, &chance_of(trial, rows, base, &|row| trial.outcome(row))?)),
        Structure::Single => single(trial, rows, base),
        Structure::PerArm => per_arm(trial, rows, base),
        Structure::Imputed => effect::imputed(trial, rows, base),
        Structure::Robust => effect::robust(trial, rows, base),
        Structure::Redemption => {
            let others = (1..trial.arm_count()).map(|arm| of_arm(trial, rows, base, arm));
            std::iter::once(Ok(never(trial))).chain(others).collect()
        }
    }
}

/// One model of the chance per arm, each of the arm's rows.
pub(crate) fn per_arm(trial: &Trial, rows: &[usize], base: &Base) -> Result<Vec<Scorer>, FitError> {
    (0..trial.arm_count()).map(|arm| of_arm(trial, rows, base, arm)).collect()
}

fn of_arm(trial: &Trial, rows: &[usize], base: &Base, arm: usize) -> Result<Scorer, FitError> {
    let rows: Vec<usize> = rows.iter().copied().filter(|row| trial.arm(*row) == arm).collect();
    chance_of(trial, &rows, base, &|row| trial.outcome(row))
}

/// A model of a chance that is seen, as 0 or 1, or said by others.
pub(crate) fn chance_of(
    trial: &Trial,
    rows: &[usize],
    base: &Base,
    chance: &dyn Fn(usize) -> f64,
) -> Result<Scorer, FitError> {
    Ok(match base {
        Base::Linear(ridge) => {
            Scorer::Linear(linear_weights(trial, rows, ridge, &[], chance, logistic::fit)?.swap_remove(0))
        }
        Base::Trees(training) => Scorer::Trees(Box::new(Trees::new(trees(trial, rows, training, 0, chance)?)?)),
    })
}

/// One model with the arm among its inputs, as one per arm.
fn single(trial: &Trial, rows: &[usize], base: &Base) -> Result<Vec<Scorer>, FitError> {
    let outcome = |row: usize| trial.outcome(row);
    match base {
        Base::Linear(ridge) => {
            let arms: Vec<usize> = (1..trial.arm_count()).collect();
            let models = linear_weights(trial, rows, ridge, &arms, &outcome, logistic::fit)?;
            Ok(models.into_iter().map(Scorer::Linear).collect())
        }
        Base::Trees(training) => {
            let json = trees(trial, rows, training, trial.arm_count() - 1, &outcome)?;
            let of = |arm: usize| {
                let indicators: Vec<f32> =
                    (1..trial.arm_count()).map(|other| f32::from(u8::from(other == arm))).collect();
                Ok(Scorer::Trees(Box::new(Trees::new(specialise(&json, trial.features().len(), &indicators)?)?)))
            };
            (0..trial.arm_count()).map(of).collect()
        }
    }
}

/// Every arm the same model, but the control, which never gets a response.
fn credited(trial: &Trial, scorer: &Scorer) -> Vec<Scorer> {
    let others = std::iter::repeat_n(scorer, trial.arm_count() - 1).cloned();
    std::iter::once(never(trial)).chain(others).collect()
}

/// A response that does not happen.
fn never(trial: &Trial) -> Scorer {
    let width = trial.features().len();
    Scorer::Linear(LinearWeights { bias: NEVER, weights: vec![0.0; width], centres: vec![0.0; width] })
}

/// Platt's two numbers for an arm, on the scores of its rows out of fold.
fn calibrate(trial: &Trial, structure: Structure, raw: &[f32], arm: usize) -> Calibration {
    /// Holds the slope of a score that is constant.
    const SLOPE_PENALTY: f64 = 1e-3;
    let rows = match (structure, arm) {
        (Structure::Response | Structure::Redemption, 0) => return Calibration::NONE,
        (Structure::Response, _) => (0..trial.rows()).collect(),
        _ => trial.rows_of(&[arm]),
    };
    let score = |row: &usize| f64::from(raw[row * trial.arm_count() + arm]);
    let design: Vec<f64> = rows.iter().flat_map(|row| [1.0, score(row)]).collect();
    let outcomes: Vec<f64> = rows.iter().map(|row| trial.outcome(*row)).collect();
    let fitted = logistic::fit(&design, &outcomes, &[0.0, SLOPE_PENALTY]);
    if fitted[1] > 0.0 {
        return Calibration { a: fitted[1] as f32, b: fitted[0] as f32 };
    }
    let constant: Vec<f64> = vec![1.0; rows.len()];
    Calibration { a: 0.0, b: logistic::fit(&constant, &outcomes, &[SLOPE_PENALTY])[0] as f32 }
}

/// What finds coefficients: design, target of each row, penalties.
type Solver = fn(&[f64], &[f64], &[f64]) -> Vec<f64>;

/// A regression of `target` with a block of weights for each of `arms` besides the common one. Returns a model for the common
/// weights, then one for each of `arms`.
pub(crate) fn linear_weights(
    trial: &Trial,
    rows: &[usize],
    ridge: &Ridge,
    arms: &[usize],
    target: &dyn Fn(usize) -> f64,
    solver: Solver,
) -> Result<Vec<LinearWeights>, FitError> {
    if rows.is_empty() {
        return Err(LearnError::Empty.into());
    }
    let block = trial.features().len() + 1;
    let (centres, scales) = moments(trial, rows);
    let width = block * (1 + arms.len());
    let mut design = vec![0.0; rows.len() * width];
    for (row, out) in rows.iter().zip(design.chunks_exact_mut(width)) {
        let (common, own) = out.split_at_mut(block);
        common[0] = 1.0;
        for (at, x) in trial.row(*row).iter().enumerate() {
            common[at + 1] = if x.is_nan() { 0.0 } else { (f64::from(*x) - centres[at]) / scales[at] };
        }
        if let Some(at) = arms.iter().position(|arm| *arm == trial.arm(*row)) {
            own[at * block..(at + 1) * block].copy_from_slice(common);
        }
    }
    let targets: Vec<f64> = rows.iter().map(|row| target(*row)).collect();
    let penalty = |at: usize| match (at / block, at % block) {
        (_, 0) => 0.0,
        (0, _) => ridge.main,
        _ => ridge.interaction,
    };
    let penalties: Vec<f64> = (0..width).map(penalty).collect();
    let fitted = solver(&design, &targets, &penalties);
    let model = |own: Option<&[f64]>| {
        let sum = |at: usize| fitted[at] + own.map_or(0.0, |own| own[at]);
        let weights: Vec<f64> = (0..block - 1).map(|at| sum(at + 1) / scales[at]).collect();
        let bias = sum(0) - weights.iter().zip(&centres).map(|(weight, centre)| weight * centre).sum::<f64>();
        LinearWeights {
            bias: bias as f32,
            weights: weights.iter().map(|weight| *weight as f32).collect(),
            centres: centres.iter().map(|centre| *centre as f32).collect(),
        }
    };
    Ok(std::iter::once(model(None)).chain(fitted[block..].chunks_exact(block).map(|own| model(Some(own)))).collect())
}

/// Mean and standard deviation of the known values of each feature; a constant feature has the deviation 1.
fn moments(trial: &Trial, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
    const CONSTANT: f64 = 1e-6;
    let of = |at: usize| {
        let known = || rows.iter().map(|row| trial.row(*row)[at]).filter(|x| !x.is_nan()).map(f64::from);
        let count = known().count().max(1) as f64;
        let mean = known().sum::<f64>() / count;
        let deviation = (known().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt();
        (mean, if deviation > CONSTANT { deviation } else { 1.0 })
    };
    (0..trial.features().len()).map(of).unzip()
}

/// Boosted trees of a chance, with `indicators` of arms 1 and above after the features.
fn trees(
    trial: &Trial,
    rows: &[usize],
    training: &TreeTraining,
    indicators: usize,
    chance: &dyn Fn(usize) -> f64,
) -> Result<Vec<u8>, FitError> {
    let mut set = TrainingSet::new(trial.features().len() + indicators);
    for row in rows {
        set.values.extend_from_slice(trial.row(*row));
        set.values.extend((1..=indicators).map(|arm| f32::from(u8::from(arm == trial.arm(*row)))));
        set.labels.push(chance(*row) as f32);
    }
    set.groups.push(rows.len());
    Ok(learn::trees(&set, Objective::Logistic, training, &mut |_| {})?)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::model::Scorer;
    use crate::trial::{Assignment, Propensities, TrialData};

    /// Arm 1 helps those with a high first feature; the second is noise with gaps.
    fn trial(rows: usize) -> Trial {
        let mut draw = ChaCha8Rng::seed_from_u64(6);
        let mut data = TrialData {
            features: vec!["x".into(), "noise".into()],
            values: vec![],
            arms: vec!["none".into(), "coupon".into(), "more".into()],
            arm: vec![],
            assignment: Assignment::Randomised(Propensities::PerArm(vec![0.5, 0.25, 0.25])),
            outcome: vec![],
            value: vec![],
        };
        for _ in 0..rows {
            let x = draw.random_range(-1.0..1.0_f32);
            let noise = if draw.random_bool(0.2) { f32::NAN } else { draw.random() };
            let point: f64 = draw.random();
            let arm = usize::from(point > 0.5) + usize::from(point > 0.75);
            let p = 0.3 + if arm > 0 { 0.25 * x } else { 0.0 };
            data.values.extend([x, noise]);
            data.arm.push(arm);
            data.outcome.push(f32::from(u8::from(draw.random::<f32>() < p)));
        }
        Trial::new(data).unwrap()
    }

    fn learners() -> Vec<Learner> {
        let small = TreeTraining { rounds: 20, max_depth: 2, min_child_weight: 5.0, ..TreeTraining::default() };
        let bases = [Base::Linear(Ridge::default()), Base::Trees(small)];
        let structures =
            [Structure::Response, Structure::Single, Structure::PerArm, Structure::Imputed, Structure::Robust];
        let of = |base: Base| structures.map(|structure| Learner { structure, base: base.clone() });
        bases.into_iter().flat_map(of).collect()
    }

    #[test]
    fn folds_have_their_share_of_each_arm_and_repeat() {
        let trial = trial(403);
        let deal = CrossFit { folds: 4, seed: 9 };
        let folds = folds(&trial, deal).unwrap();
        for arm in 0..3 {
            let rows = trial.rows_of(&[arm]);
            for fold in 0..4 {
                let count = rows.iter().filter(|row| folds[**row] == fold).count();
                assert!(count == rows.len() / 4 || count == rows.len() / 4 + 1, "arm {arm}, fold {fold}: {count}");
            }
        }
        assert_eq!(folds, super::folds(&trial, deal).unwrap());
        assert_ne!(folds, super::folds(&trial, CrossFit { seed: 10, ..deal }).unwrap());
        assert!(matches!(super::folds(&trial, CrossFit { folds: 1, seed: 9 }), Err(FitError::Folds { .. })));
        assert!(matches!(super::folds(&trial, CrossFit { folds: 400, seed: 9 }), Err(FitError::Folds { .. })));
    }

    #[test]
    fn effects_are_found_by_both_bases_and_credit_is_all_a_response_model_gives() {
        let trial = trial(6_000);
        for learner in learners() {
            let fitted = fit(&trial, &learner, &Ladders::default(), CrossFit::default()).unwrap();
            let p = fitted.model.probabilities(&[0.8, 0.5, -0.8, 0.5]).unwrap();
            let (high, low) = (p[1] - p[0], p[4] - p[3]);
            match learner.structure {
                Structure::Response => assert!(p[0] < 1e-6 && p[1] == p[2], "{learner:?}: {p:?}"),
                _ => assert!(high > 0.1 && low < -0.1, "{learner:?}: {high} and {low}"),
            }
        }
    }

    #[test]
    fn redemption_is_learned_from_those_who_got_the_offer_and_never_expected_without_it() {
        let trial = trial(3_000);
        let all: Vec<usize> = (0..trial.rows()).collect();
        let treated: Vec<usize> = trial.rows_of(&[1, 2]);
        for Learner { base, .. } in [learners().swap_remove(0), learners().swap_remove(5)] {
            let learner = Learner { structure: Structure::Redemption, base };
            let raw = |rows: &[usize]| {
                let scorers = learn(&trial, rows, &learner).unwrap();
                scorers.iter().map(|scorer| scorer.raw(trial.values()).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(raw(&all), raw(&treated), "{learner:?}: rows of the control teach nothing");
            let fitted = fit(&trial, &learner, &Ladders::default(), CrossFit::default()).unwrap();
            assert!(fitted.out_of_fold.chunks_exact(3).all(|p| p[0] < 1e-6 && p[1] > 0.0 && p[2] > 0.0));
            let said: f64 = trial.rows_of(&[1]).iter().map(|row| f64::from(fitted.out_of_fold[row * 3 + 1])).sum();
            let seen: f64 = trial.rows_of(&[1]).iter().map(|row| trial.outcome(*row)).sum();
            assert!((said - seen).abs() < 2.0, "{said} said, {seen} seen");
        }
    }

    #[test]
    fn what_is_said_is_what_is_seen_on_average() {
        let trial = trial(6_000);
        for learner in learners() {
            let fitted = fit(&trial, &learner, &Ladders::default(), CrossFit::default()).unwrap();
            let arms = if learner.structure == Structure::Response { 1..1 } else { 0..3 };
            for arm in arms {
                let rows = trial.rows_of(&[arm]);
                let said: f64 = rows.iter().map(|row| f64::from(fitted.out_of_fold[row * 3 + arm])).sum();
                let seen: f64 = rows.iter().map(|row| trial.outcome(*row)).sum();
                assert!((said - seen).abs() / (rows.len() as f64) < 1e-3, "{learner:?}, arm {arm}: {said}, {seen}");
            }
        }
    }

    #[test]
    fn a_row_is_scored_by_a_model_that_has_not_seen_it() {
        // Outcomes that no feature tells: a model that had seen them would tell some of them.
        let mut draw = ChaCha8Rng::seed_from_u64(8);
        let trial = Trial::new(TrialData {
            features: vec!["noise".into()],
            values: (0..400).map(|_| draw.random()).collect(),
            arms: vec!["none".into(), "coupon".into()],
            arm: (0..400).map(|row| row % 2).collect(),
            assignment: Assignment::Randomised(Propensities::PerArm(vec![0.5, 0.5])),
            outcome: (0..400).map(|_| f32::from(u8::from(draw.random_bool(0.5)))).collect(),
            value: vec![],
        })
        .unwrap();
        let training =
            TreeTraining { rounds: 100, max_depth: 6, eta: 0.3, min_child_weight: 0.0, ..TreeTraining::default() };
        let learner = Learner { structure: Structure::PerArm, base: Base::Trees(training) };
        let right = |scores: &dyn Fn(usize) -> bool| {
            (0..400).filter(|row| scores(*row) == (trial.outcome(*row) == 1.0)).count()
        };
        let all: Vec<usize> = (0..400).collect();
        let seen = learn(&trial, &all, &learner).unwrap();
        let raw: Vec<Vec<f32>> = seen.iter().map(|scorer: &Scorer| scorer.raw(&values(&trial)).unwrap()).collect();
        let fitted = fit(&trial, &learner, &Ladders::default(), CrossFit::default()).unwrap();
        let unseen = right(&|row| fitted.out_of_fold[row * 2 + trial.arm(row)] > 0.5);
        assert!(right(&|row| raw[trial.arm(row)][row] > 0.0) > 300, "it can learn noise by heart");
        assert!(unseen < 250, "{unseen} of 400 are right of what nobody can know");
    }

    fn values(trial: &Trial) -> Vec<f32> {
        (0..trial.rows()).flat_map(|row| trial.row(row)).copied().collect()
    }

    #[test]
    fn a_ladder_rises_out_of_fold_and_in_the_model() {
        let trial = trial(1_000);
        let ladders = Ladders::new(vec![vec![1, 2]], 3).unwrap();
        let learner = Learner { structure: Structure::PerArm, base: Base::Linear(Ridge::default()) };
        let plain = fit(&trial, &learner, &Ladders::default(), CrossFit::default()).unwrap();
        let raised = fit(&trial, &learner, &ladders, CrossFit::default()).unwrap();
        let falls = |p: &[f32]| p.chunks_exact(3).any(|row| row[2] < row[1]);
        assert!(falls(&plain.out_of_fold), "or nothing had to be raised");
        assert!(!falls(&raised.out_of_fold) && !falls(&raised.model.probabilities(&values(&trial)).unwrap()));
    }

    #[test]
    fn a_trial_without_features_teaches_nothing() {
        let trial = Trial::new(TrialData {
            features: vec![],
            values: vec![],
            arms: vec!["none".into(), "coupon".into()],
            arm: vec![0, 1, 0, 1],
            assignment: Assignment::Randomised(Propensities::PerArm(vec![0.5, 0.5])),
            outcome: vec![0.0, 1.0, 1.0, 0.0],
            value: vec![],
        })
        .unwrap();
        let learner = &learners()[1];
        let refused = fit(&trial, learner, &Ladders::default(), CrossFit { folds: 2, seed: 1 });
        assert!(matches!(refused, Err(FitError::NoFeatures)));
    }
}
