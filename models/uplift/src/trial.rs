//! A trial: who was given which arm, with what probability, and what came of it.
//!
//! The one thing that separates a trial from a table is that the probability of each arm is known for each row: only then is
//! a difference between arms caused by the arms. [`Trial::new`] therefore wants these propensities, and looks whether the
//! arms were really drawn with them: a draw does not know a feature, so inverse-propensity weights leave its mean where it
//! was. Where they do not, the data were observed, not drawn, and are taken only when they are declared
//! [`Assignment::Observational`]; every comparison made of them then says so.
//!
//! A trial knows no campaign, no money and no model. Arm 0 is always the control.

use thiserror::Error;

/// How many standard errors a weighted mean may be off before a draw is disbelieved: one in 500 million by chance, so that
/// even a thousand features in ten arms raise no false alarm.
const LARGEST_IMBALANCE: f64 = 6.0;

/// `(z of 97.5 % + z of 80 %)^2`: a two-sided test at 5 % that finds the effect four times in five.
const POWER: f64 = 7.85;

/// Probabilities of the arms.
#[derive(Clone, Debug, PartialEq)]
pub enum Propensities {
    /// One per arm, the same for every row.
    PerArm(Vec<f64>),
    /// `[row][arm]`.
    PerRow(Vec<f64>),
}

/// How rows came by their arms.
#[derive(Clone, Debug, PartialEq)]
pub enum Assignment {
    /// Drawn, with these probabilities.
    Randomised(Propensities),
    /// Chosen by someone or something; the probabilities are somebody's estimate, and conclusions are as good as it is.
    Observational(Propensities),
}

impl Assignment {
    fn propensities(&self) -> &Propensities {
        match self {
            Self::Randomised(propensities) | Self::Observational(propensities) => propensities,
        }
    }
}

/// What a trial is made of; [`Trial::new`] checks it.
#[derive(Clone, Debug)]
pub struct TrialData {
    /// Names of the features.
    pub features: Vec<String>,
    /// `[row][feature]`; NaN is missing.
    pub values: Vec<f32>,
    /// Names of the arms; the first is the control.
    pub arms: Vec<String>,
    /// Arm of each row.
    pub arm: Vec<usize>,
    /// How rows came by them.
    pub assignment: Assignment,
    /// Whether each row responded: 0 or 1.
    pub outcome: Vec<f32>,
    /// What each row was worth, in the currency of the campaign; empty where that is not known.
    pub value: Vec<f32>,
}

/// Why data are no trial.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TrialError {
    /// Nothing to compare.
    #[error("a trial needs a control and at least one other arm; arm names given: {0}")]
    Arms(usize),
    /// No row was left alone.
    #[error("no row is in the control, arm 0 (`{0}`): without it no effect can be seen")]
    NoControl(String),
    /// An arm that nobody got.
    #[error("arm {arm} (`{name}`) has no rows: leave it out, or look where its rows went")]
    EmptyArm {
        /// Its number.
        arm: usize,
        /// Its name.
        name: String,
    },
    /// A row of an arm that is not there.
    #[error("row {row} is in arm {arm}; there are arms 0 to {last}")]
    UnknownArm {
        /// The row.
        row: usize,
        /// The arm it names.
        arm: usize,
        /// The last arm.
        last: usize,
    },
    /// Columns of different lengths.
    #[error("{column}: {found} values where the {rows} rows need {expected}")]
    Length {
        /// Which.
        column: &'static str,
        /// Rows of the trial, by its column of arms.
        rows: usize,
        /// How many values they need.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// An infinite feature.
    #[error("row {row}, feature `{feature}` is infinite; a missing value is NaN")]
    Feature {
        /// The row.
        row: usize,
        /// The feature.
        feature: String,
    },
    /// An outcome that is none.
    #[error("row {row}: outcome {outcome} is neither 0 nor 1")]
    Outcome {
        /// The row.
        row: usize,
        /// What it says.
        outcome: f32,
    },
    /// A value that is no number.
    #[error("row {row}: value {value} is not a finite number")]
    Value {
        /// The row.
        row: usize,
        /// What it says.
        value: f32,
    },
    /// An arm that could not have been drawn.
    #[error(
        "row {row}, arm {arm}: propensity {propensity}; every arm needs one above 0 in every row, since what is never tried is never learned"
    )]
    Propensity {
        /// The row.
        row: usize,
        /// The arm.
        arm: usize,
        /// Its propensity.
        propensity: f64,
    },
    /// Propensities that are no distribution.
    #[error("row {row}: the propensities of the arms add up to {sum}, not to 1")]
    Distribution {
        /// The row.
        row: usize,
        /// What they add up to.
        sum: f64,
    },
    /// The arms were not drawn with the declared propensities.
    #[error(
        "{what} in arm `{arm}` is {deviations:.1} standard errors from what a draw with the declared propensities gives: correct them, or declare the data observational"
    )]
    NotDrawn {
        /// What is out of balance: the number of rows, or a feature.
        what: String,
        /// The arm.
        arm: String,
        /// By how much.
        deviations: f64,
    },
}

/// A checked trial.
#[derive(Clone, Debug)]
pub struct Trial {
    data: TrialData,
}

/// How large an effect an arm and the control can show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Power {
    /// Rows of both.
    pub rows: usize,
    /// Share of them in the control.
    pub holdout: f64,
    /// How many of the control respond.
    pub baseline: f64,
    /// The smallest difference in response that would be found four times in five.
    pub detectable: f64,
}

impl Power {
    /// Rows it takes to see an effect of `delta`: `N = 7.85 p(1-p) / (h(1-h) delta^2)`, with `p` the baseline and `h` the
    /// share of the control.
    #[must_use]
    pub fn rows_for(&self, delta: f64) -> f64 {
        POWER * self.baseline * (1.0 - self.baseline) / (self.holdout * (1.0 - self.holdout) * delta * delta)
    }
}

/// That a trial cannot show an effect of a size; its text says what would.
#[derive(Clone, Debug, PartialEq, Error)]
#[error(
    "arm `{arm}`: {} rows with {:.0} % in the control can show effects of {:.4} and more; an effect of {effect:.4} needs {needed:.0} rows",
    power.rows, power.holdout * 100.0, power.detectable
)]
pub struct TooSmall {
    /// The arm.
    pub arm: String,
    /// What its rows can show.
    pub power: Power,
    /// The effect that was asked about.
    pub effect: f64,
    /// Rows that it takes.
    pub needed: f64,
}

impl Trial {
    /// Checks data and, unless they are declared observational, that their arms were drawn with the declared propensities.
    ///
    /// # Errors
    /// The first thing that makes the data no trial.
    pub fn new(data: TrialData) -> Result<Self, TrialError> {
        check_shape(&data)?;
        check_numbers(&data)?;
        check_propensities(&data)?;
        let trial = Self { data };
        if !trial.is_observational() {
            trial.check_balance()?;
        }
        Ok(trial)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.data.arm.len()
    }

    /// Number of arms, the control among them.
    #[must_use]
    pub fn arm_count(&self) -> usize {
        self.data.arms.len()
    }

    /// Names of the arms.
    #[must_use]
    pub fn arms(&self) -> &[String] {
        &self.data.arms
    }

    /// Names of the features.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.data.features
    }

    /// The features of all rows, `[row][feature]`; NaN is missing.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.data.values
    }

    /// A row's features.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        let width = self.data.features.len();
        &self.data.values[row * width..(row + 1) * width]
    }

    /// A row's arm.
    #[must_use]
    pub fn arm(&self, row: usize) -> usize {
        self.data.arm[row]
    }

    /// Probability with which a row could be given an arm.
    #[must_use]
    pub fn propensity(&self, row: usize, arm: usize) -> f64 {
        propensity(&self.data, row, arm)
    }

    /// Whether a row responded, as 0 or 1.
    #[must_use]
    pub fn outcome(&self, row: usize) -> f64 {
        f64::from(self.data.outcome[row])
    }

    /// What a row was worth, where that is known.
    #[must_use]
    pub fn value(&self, row: usize) -> Option<f64> {
        self.data.value.get(row).copied().map(f64::from)
    }

    /// Whether arms were chosen, not drawn: what comes of it is not proof.
    #[must_use]
    pub fn is_observational(&self) -> bool {
        matches!(self.data.assignment, Assignment::Observational(_))
    }

    /// The rows of some arms, in order.
    #[must_use]
    pub fn rows_of(&self, arms: &[usize]) -> Vec<usize> {
        (0..self.rows()).filter(|row| arms.contains(&self.arm(*row))).collect()
    }

    /// Responses of an arm, with each row weighted by the inverse of its propensity.
    #[must_use]
    pub fn response(&self, arm: usize) -> f64 {
        let rows = (0..self.rows()).filter(|row| self.arm(*row) == arm);
        let (sum, weights) = rows.fold((0.0, 0.0), |(sum, weights), row| {
            let weight = 1.0 / self.propensity(row, arm);
            (sum + weight * self.outcome(row), weights + weight)
        });
        sum / weights
    }

    /// How large an effect `arm` could show against the control.
    #[must_use]
    pub fn power(&self, arm: usize) -> Power {
        let of = |arm: usize| self.data.arm.iter().filter(|other| **other == arm).count();
        let (control, treated) = (of(0), of(arm));
        let rows = control + treated;
        let holdout = control as f64 / rows as f64;
        let baseline = self.response(0);
        let variance = baseline * (1.0 - baseline) / (holdout * (1.0 - holdout));
        Power { rows, holdout, baseline, detectable: (POWER * variance / rows as f64).sqrt() }
    }

    /// `Some` if `arm` has too few rows to show an effect of `effect`, a difference in response.
    #[must_use]
    pub fn too_small(&self, arm: usize, effect: f64) -> Option<TooSmall> {
        let power = self.power(arm);
        let needed = power.rows_for(effect);
        let is_too_small = needed > power.rows as f64;
        is_too_small.then(|| TooSmall { arm: self.data.arms[arm].clone(), power, effect, needed })
    }

    /// The trial of these rows alone, as they are: no check of balance, which a chosen subset need not have.
    #[must_use]
    pub fn subset(&self, rows: &[usize]) -> Self {
        let data = &self.data;
        let propensities = match data.assignment.propensities() {
            Propensities::PerArm(shares) => Propensities::PerArm(shares.clone()),
            Propensities::PerRow(_) => {
                let of = |row: &usize| (0..self.arm_count()).map(|arm| self.propensity(*row, arm)).collect::<Vec<_>>();
                Propensities::PerRow(rows.iter().flat_map(of).collect())
            }
        };
        let assignment = match data.assignment {
            Assignment::Randomised(_) => Assignment::Randomised(propensities),
            Assignment::Observational(_) => Assignment::Observational(propensities),
        };
        Self {
            data: TrialData {
                features: data.features.clone(),
                values: rows.iter().flat_map(|row| self.row(*row)).copied().collect(),
                arms: data.arms.clone(),
                arm: rows.iter().map(|row| data.arm[*row]).collect(),
                assignment,
                outcome: rows.iter().map(|row| data.outcome[*row]).collect(),
                value: if data.value.is_empty() { vec![] } else { rows.iter().map(|row| data.value[*row]).collect() },
            },
        }
    }

    /// The trial with these features alone, in this order; names that are none of its features are passed over.
    #[must_use]
    pub fn with_features(&self, names: &[&str]) -> Self {
        let find = |name: &&str| self.data.features.iter().position(|feature| feature == name);
        let kept: Vec<usize> = names.iter().filter_map(find).collect();
        let mut data = self.data.clone();
        data.features = kept.iter().map(|at| self.data.features[*at].clone()).collect();
        data.values = (0..self.rows()).flat_map(|row| kept.iter().map(move |at| self.row(row)[*at])).collect();
        Self { data }
    }

    /// The trial of one arm against the control: their rows, with the propensities that they have given that a row is in
    /// either.
    ///
    /// # Panics
    /// If `arm` is the control or no arm.
    #[must_use]
    pub fn against_control(&self, arm: usize) -> Self {
        assert!((1..self.arm_count()).contains(&arm), "arm {arm} is none of 1 to {}", self.arm_count() - 1);
        let rows = self.rows_of(&[0, arm]);
        let mut data = self.subset(&rows).data;
        let share = |row: &usize| {
            let (control, treated) = (self.propensity(*row, 0), self.propensity(*row, arm));
            [control / (control + treated), treated / (control + treated)]
        };
        let propensities = match data.assignment.propensities() {
            Propensities::PerArm(_) => Propensities::PerArm(share(&0).to_vec()),
            Propensities::PerRow(_) => Propensities::PerRow(rows.iter().flat_map(share).collect()),
        };
        data.assignment = match data.assignment {
            Assignment::Randomised(_) => Assignment::Randomised(propensities),
            Assignment::Observational(_) => Assignment::Observational(propensities),
        };
        data.arm.iter_mut().for_each(|of| *of = usize::from(*of == arm));
        data.arms = vec![self.data.arms[0].clone(), self.data.arms[arm].clone()];
        Self { data }
    }

    /// Weighting an arm's rows by `1/propensity` must leave the number of rows, and every feature's mean, where they are
    /// over all rows.
    fn check_balance(&self) -> Result<(), TrialError> {
        for arm in 0..self.arm_count() {
            let excess = |row: usize| f64::from(u8::from(self.arm(row) == arm)) / self.propensity(row, arm) - 1.0;
            let excesses: Vec<f64> = (0..self.rows()).map(excess).collect();
            let check = |what: &dyn Fn() -> String, deviations: f64| match deviations.abs() > LARGEST_IMBALANCE {
                true => Err(TrialError::NotDrawn { what: what(), arm: self.data.arms[arm].clone(), deviations }),
                false => Ok(()),
            };
            check(&|| "the number of rows".to_owned(), deviations(excesses.iter().map(|excess| (*excess, 1.0))))?;
            for (at, name) in self.data.features.iter().enumerate() {
                let known = || (0..self.rows()).map(|row| self.row(row)[at]).filter(|x| !x.is_nan()).map(f64::from);
                let mean = known().sum::<f64>() / known().count().max(1) as f64;
                let centred = excesses.iter().enumerate().filter_map(|(row, excess)| {
                    let x = self.row(row)[at];
                    (!x.is_nan()).then(|| (*excess, f64::from(x) - mean))
                });
                check(&|| format!("the mean of feature `{name}`"), deviations(centred))?;
            }
        }
        Ok(())
    }
}

/// A sum of products of mean 0, in its standard errors.
fn deviations(terms: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, squares) = terms.fold((0.0, 0.0), |(sum, squares), (excess, x)| {
        let product = excess * x;
        (sum + product, squares + product * product)
    });
    if squares > 0.0 { sum / squares.sqrt() } else { 0.0 }
}

fn propensity(data: &TrialData, row: usize, arm: usize) -> f64 {
    match data.assignment.propensities() {
        Propensities::PerArm(shares) => shares[arm],
        Propensities::PerRow(shares) => shares[row * data.arms.len() + arm],
    }
}

fn check_shape(data: &TrialData) -> Result<(), TrialError> {
    let (rows, arms) = (data.arm.len(), data.arms.len());
    if arms < 2 {
        return Err(TrialError::Arms(arms));
    }
    let length = |column, expected: usize, found: usize| match expected == found {
        true => Ok(()),
        false => Err(TrialError::Length { column, rows, expected, found }),
    };
    length("features", rows * data.features.len(), data.values.len())?;
    length("outcomes", rows, data.outcome.len())?;
    if !data.value.is_empty() {
        length("values", rows, data.value.len())?;
    }
    match data.assignment.propensities() {
        Propensities::PerArm(shares) => length("propensities of arms", arms, shares.len())?,
        Propensities::PerRow(shares) => length("propensities of rows", rows * arms, shares.len())?,
    }
    if let Some((row, arm)) = data.arm.iter().enumerate().find(|(_, arm)| **arm >= arms) {
        return Err(TrialError::UnknownArm { row, arm: *arm, last: arms - 1 });
    }
    for (arm, name) in data.arms.iter().enumerate() {
        if !data.arm.contains(&arm) {
            let name = name.clone();
            return Err(if arm == 0 { TrialError::NoControl(name) } else { TrialError::EmptyArm { arm, name } });
        }
    }
    Ok(())
}

fn check_numbers(data: &TrialData) -> Result<(), TrialError> {
    if let Some(at) = data.values.iter().position(|x| x.is_infinite()) {
        let width = data.features.len();
        return Err(TrialError::Feature { row: at / width, feature: data.features[at % width].clone() });
    }
    let is_response = |outcome: f32| outcome == 0.0 || outcome == 1.0;
    if let Some((row, outcome)) = data.outcome.iter().enumerate().find(|(_, outcome)| !is_response(**outcome)) {
        return Err(TrialError::Outcome { row, outcome: *outcome });
    }
    match data.value.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((row, value)) => Err(TrialError::Value { row, value: *value }),
        None => Ok(()),
    }
}

fn check_propensities(data: &TrialData) -> Result<(), TrialError> {
    const ROUNDING: f64 = 1e-6;
    let arms = data.arms.len();
    let rows = if matches!(data.assignment.propensities(), Propensities::PerArm(_)) { 1 } else { data.arm.len() };
    for row in 0..rows {
        let of = |arm: usize| propensity(data, row, arm);
        if let Some(arm) = (0..arms).find(|arm| !(of(*arm) > 0.0 && of(*arm) <= 1.0)) {
            return Err(TrialError::Propensity { row, arm, propensity: of(arm) });
        }
        let sum: f64 = (0..arms).map(of).sum();
        if (sum - 1.0).abs() > ROUNDING {
            return Err(TrialError::Distribution { row, sum });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> TrialData {
        let arm: Vec<usize> = (0..400).map(|row| row % 2).collect();
        TrialData {
            features: vec!["age".into()],
            values: (0..400_u16).map(|row| f32::from(row / 2 % 7)).collect(),
            arms: vec!["none".into(), "coupon".into()],
            assignment: Assignment::Randomised(Propensities::PerArm(vec![0.5, 0.5])),
            outcome: arm.iter().enumerate().map(|(row, arm)| f32::from(u8::from(row / 2 % 10 <= 2 * arm))).collect(),
            arm,
            value: vec![],
        }
    }

    /// The error that a change to a good trial makes.
    fn refused(change: impl FnOnce(&mut TrialData)) -> TrialError {
        let mut data = data();
        change(&mut data);
        Trial::new(data).unwrap_err()
    }

    #[test]
    fn what_is_no_trial_is_refused_by_name() {
        assert!(Trial::new(data()).is_ok());
        assert_eq!(refused(|data| data.arms.truncate(1)), TrialError::Arms(1));
        assert_eq!(refused(|data| data.arm.fill(1)), TrialError::NoControl("none".into()));
        assert!(matches!(refused(|data| data.arm.fill(0)), TrialError::EmptyArm { arm: 1, .. }));
        assert!(matches!(refused(|data| data.arm[7] = 2), TrialError::UnknownArm { row: 7, arm: 2, last: 1 }));
        assert!(matches!(refused(|data| data.outcome.truncate(3)), TrialError::Length { column: "outcomes", .. }));
        assert!(matches!(refused(|data| data.values[5] = f32::INFINITY), TrialError::Feature { row: 5, .. }));
        assert!(matches!(refused(|data| data.outcome[4] = f32::NAN), TrialError::Outcome { row: 4, .. }));
        assert!(matches!(refused(|data| data.outcome[4] = 0.5), TrialError::Outcome { row: 4, .. }));
        assert!(matches!(refused(|data| data.value = vec![f32::NAN; 400]), TrialError::Value { row: 0, .. }));
        let propensities = |shares: [f64; 2]| {
            refused(|data| data.assignment = Assignment::Randomised(Propensities::PerArm(shares.to_vec())))
        };
        assert!(matches!(propensities([1.0, 0.0]), TrialError::Propensity { arm: 1, .. }));
        assert!(matches!(propensities([0.5, f64::NAN]), TrialError::Propensity { arm: 1, .. }));
        assert!(matches!(propensities([0.5, 0.4]), TrialError::Distribution { .. }));
    }

    #[test]
    fn arms_that_were_not_drawn_are_taken_only_when_flagged() {
        let chosen_by_age = |data: &mut TrialData| {
            data.values = data.arm.iter().map(|arm| *arm as f32).collect();
        };
        let error = refused(chosen_by_age);
        assert!(error.to_string().contains("`age`") && error.to_string().contains("observational"), "{error}");
        let mut flagged = data();
        chosen_by_age(&mut flagged);
        flagged.assignment = Assignment::Observational(Propensities::PerArm(vec![0.5, 0.5]));
        assert!(Trial::new(flagged).unwrap().is_observational());
        let shares = refused(|data| data.assignment = Assignment::Randomised(Propensities::PerArm(vec![0.9, 0.1])));
        assert!(matches!(&shares, TrialError::NotDrawn { what, .. } if what == "the number of rows"), "{shares}");
    }

    #[test]
    fn propensities_by_row_balance_what_they_unbalance() {
        // Those with the feature are given the arm three times in four, the others once in four.
        let mut data = data();
        data.values = (0..400_u16).map(|row| f32::from(u8::from(row < 200))).collect();
        data.arm = (0..400).map(|row| usize::from((row % 4 == 0) != (row < 200))).collect();
        let shares = (0..400).flat_map(|row| if row < 200 { [0.25, 0.75] } else { [0.75, 0.25] }).collect();
        assert!(Trial::new(data.clone()).is_err());
        data.assignment = Assignment::Randomised(Propensities::PerRow(shares));
        assert!(Trial::new(data).is_ok());
    }

    #[test]
    fn one_arm_against_the_control_keeps_their_odds() {
        let mut data = data();
        data.arms.push("more".into());
        data.arm = (0..400).map(|row| [0, 0, 1, 2][row % 4]).collect();
        data.assignment = Assignment::Randomised(Propensities::PerArm(vec![0.5, 0.25, 0.25]));
        let pair = Trial::new(data).unwrap().against_control(2);
        assert_eq!((pair.rows(), pair.arms()), (300, &["none".to_owned(), "more".to_owned()][..]));
        assert!((pair.propensity(0, 0) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(pair.rows_of(&[1]).len(), 100);
        assert!(Trial::new(pair.data).is_ok(), "it is a trial by itself");
    }

    #[test]
    fn a_trial_says_what_it_could_see() {
        let trial = Trial::new(data()).unwrap();
        let power = trial.power(1);
        assert_eq!((power.rows, power.holdout), (400, 0.5));
        assert!((power.baseline - 0.1).abs() < 1e-12);
        // 7.85 * 0.09 / (0.25 * 0.01^2).
        assert!((power.rows_for(0.01) - 28_260.0).abs() < 1e-6);
        assert!((power.rows_for(power.detectable) - 400.0).abs() < 1e-6);
        let too_small = trial.too_small(1, 0.01).unwrap();
        assert!(too_small.to_string().contains("28260 rows"), "{too_small}");
        assert_eq!(trial.too_small(1, 0.2), None);
    }
}
