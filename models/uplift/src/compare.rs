//! Does targeting pay? Policies at equal budget, by what the trial says of each.
//!
//! Each policy is followed on every row by a model that has not seen the row, and its worth is estimated from what the row's
//! own arm earned: doubly robust (Dudík, Langford and Li 2011), with a cross-fitted model of responses that is the same for
//! all policies, and self-normalised (Swaminathan and Joachims 2015) beside it. Worth is what a policy earns above treating
//! nobody; costs count against the budget and are no part of it, so that policies of equal budget compare by worth alone.
//!
//! The winner is shipped with its reason. Where the interval of its lead over the next policy, or over treating nobody,
//! holds 0, the trial is too small to tell, and the verdict says so. A winner of many is flattered by its luck: the
//! more learners and arms are compared, the more. On thousands of rows that is little beside the interval, but it is there.

use std::fmt;
use std::sync::Arc;

use selvedge_train::bootstrap::{Bootstrap, Interval};
use thiserror::Error;

use crate::fit::{self, Base, CrossFit, FitError, Fitted, Learner, Ridge, Structure};
use crate::model::{Ladders, ResponseModel};
use crate::policy::{Choice, Economics, Path};
use crate::trial::Trial;

/// Who is treated with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Nobody.
    None,
    /// Everybody gets this arm, or as many as the budget pays for, by lot.
    All(usize),
    /// One arm, first to whom the model has most value per cost.
    Top {
        /// Learner of the responses.
        learner: Learner,
        /// The arm.
        arm: usize,
    },
    /// Any arm, first where the model has most value per cost.
    Best(Learner),
}

/// What a response is worth per row under every arm, as well as one trial can say: `[row][arm]` with mean the arm's response.
#[derive(Clone, Debug)]
pub struct Responses {
    arms: usize,
    /// `mu_k + 1[a = k] (y - mu_k) / e_k`.
    robust: Vec<f64>,
}

impl Responses {
    /// Doubly robust responses, with `predicted` probabilities `[row][arm]` made out of fold.
    #[must_use]
    pub fn new(trial: &Trial, predicted: &[f32]) -> Self {
        let arms = trial.arm_count();
        let of = |(at, predicted): (usize, &f32)| {
            let (row, arm, predicted) = (at / arms, at % arms, f64::from(*predicted));
            let seen =
                if trial.arm(row) == arm { (trial.outcome(row) - predicted) / trial.propensity(row, arm) } else { 0.0 };
            predicted + seen
        };
        Self { arms, robust: predicted.iter().enumerate().map(of).collect() }
    }

    /// The response of a row to an arm; unbiased over rows, far from 0 to 1 in each.
    #[must_use]
    pub fn of(&self, row: usize, arm: usize) -> f64 {
        self.robust[row * self.arms + arm]
    }

    /// What each row's choice earns above no treatment.
    #[must_use]
    pub fn gains(&self, choices: &[Choice], economics: &Economics) -> Vec<f64> {
        let gain = |(row, choice): (usize, &Choice)| {
            economics.margin() * (choice.mean(|arm| self.of(row, arm)) - self.of(row, 0))
        };
        choices.iter().enumerate().map(gain).collect()
    }

    /// What each row's choice costs.
    #[must_use]
    pub fn costs(&self, choices: &[Choice], economics: &Economics) -> Vec<f64> {
        let cost = |(row, choice): (usize, &Choice)| choice.mean(|arm| economics.cost(arm, self.of(row, arm)));
        choices.iter().enumerate().map(cost).collect()
    }
}

/// The self-normalised estimate of the response under choices: responses weighted by the choices' probability over the
/// trial's. `None` if no row was given what the choices would have given it.
#[must_use]
pub fn self_normalised(trial: &Trial, choices: &[Choice], bootstrap: &Bootstrap) -> Option<Interval> {
    let term = |(row, choice): (usize, &Choice)| {
        let arm = trial.arm(row);
        let weight = choice.probability(arm) / trial.propensity(row, arm);
        (weight * trial.outcome(row), weight)
    };
    let terms: Vec<(f64, f64)> = choices.iter().enumerate().map(term).collect();
    if terms.iter().all(|(_, weight)| *weight == 0.0) {
        return None;
    }
    bootstrap.ratio(&terms)
}

/// A policy ready to spend any budget.
#[derive(Clone, Debug)]
pub struct Policy {
    /// For people.
    pub name: String,
    /// Who is treated with what.
    pub rule: Rule,
    /// What ships: the model of all rows; none for policies without one.
    pub model: Option<ResponseModel>,
    /// What models that had not seen them say of the trial's rows, `[row][arm]`; empty for policies without a model.
    pub out_of_fold: Arc<[f32]>,
    way: Way,
}

/// How it spends.
#[derive(Clone, Debug)]
enum Way {
    None,
    Lot { arm: usize, cost: f64 },
    Path(Path),
}

impl Policy {
    /// What each of `rows` is given when `budget` per row may be spent.
    #[must_use]
    pub fn at(&self, budget: f64, rows: usize) -> Vec<Choice> {
        match &self.way {
            Way::None => vec![Choice::always(0); rows],
            Way::Lot { arm, cost } => {
                let share = if *cost > 0.0 { (budget / cost).min(1.0) } else { 1.0 };
                vec![Choice { arm: *arm, share, otherwise: 0 }; rows]
            }
            Way::Path(path) => path.at(budget),
        }
    }
}

/// What policies are made of, and how they are judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worth and costs.
    pub economics: Economics,
    /// Arms of rising face value.
    pub ladders: Ladders,
    /// Learners to compare.
    pub learners: Vec<(String, Learner)>,
    /// How rows are dealt.
    pub deal: CrossFit,
    /// How intervals are made.
    pub bootstrap: Bootstrap,
}

/// What choices are worth.
#[derive(Clone, Debug)]
pub struct Value {
    /// Earned per row above treating nobody, doubly robust.
    pub gain: Interval,
    /// Spent per row, as estimated.
    pub cost: f64,
    /// Response per row, self-normalised.
    pub response: Option<Interval>,
    /// Share of rows that are given anything.
    pub treated: f64,
}

/// A policy's worth at a budget.
#[derive(Clone, Debug)]
pub struct Worth {
    /// Index into [`Contest::policies`].
    pub policy: usize,
    /// Earned per row above treating nobody, doubly robust.
    pub gain: Interval,
    /// Spent per row, as estimated.
    pub cost: f64,
    /// Response per row under the policy, self-normalised.
    pub response: Option<Interval>,
    /// Share of rows that are given anything.
    pub treated: f64,
}

/// Policies and the trial's view of responses.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The policies, treating nobody first.
    pub policies: Vec<Policy>,
    responses: Responses,
    settings: Settings,
    trial: Trial,
}

/// Why nothing was compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A learner failed.
    #[error("learner `{learner}`: {source}")]
    Fit {
        /// Which.
        learner: String,
        /// Why.
        source: FitError,
    },
    /// A budget that is none.
    #[error("a budget of {0} per row: it must be a number above 0")]
    Budget(f64),
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Budget per row.
    pub budget: f64,
    /// All policies at it, in the order of the contest.
    pub table: Vec<Worth>,
    /// Index of the policy to ship.
    pub winner: usize,
    /// The next best.
    pub runner_up: usize,
    /// Winner's gain minus the next one's.
    pub lead: Interval,
    /// What can be said of it.
    pub finding: Finding,
    /// The same in words.
    pub reason: String,
}

/// How sure the order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The winner is better than the next one.
    Clear,
    /// The winner pays, but whether it is better than the next one the trial cannot tell.
    NotFromTheNext,
    /// The trial cannot tell whether treating anybody pays: nobody is treated.
    NotFromNothing,
}

impl Contest {
    /// Learns, and makes every policy: nobody, everybody with each arm, and of each learner each single arm and, with more
    /// than one, the best of all.
    ///
    /// # Errors
    /// A learner fails.
    pub fn new(trial: Trial, settings: Settings) -> Result<Self, CompareError> {
        let arms = trial.arm_count();
        let fitted = |name: &str, learner: &Learner| {
            fit::fit(&trial, learner, &settings.ladders, settings.deal)
                .map_err(|source| CompareError::Fit { learner: name.to_owned(), source })
        };
        let nuisance = Learner { structure: Structure::Single, base: Base::Linear(Ridge::default()) };
        let responses = Responses::new(&trial, &fitted("model of responses", &nuisance)?.out_of_fold);
        let mut policies = vec![Policy {
            name: "treat nobody".into(),
            rule: Rule::None,
            model: None,
            out_of_fold: [].into(),
            way: Way::None,
        }];
        for (arm, name) in trial.arms().iter().enumerate().skip(1) {
            let way = Way::Lot { arm, cost: settings.economics.cost(arm, trial.response(arm)) };
            policies.push(Policy {
                name: format!("{name} for all"),
                rule: Rule::All(arm),
                model: None,
                out_of_fold: [].into(),
                way,
            });
        }
        for (name, learner) in &settings.learners {
            let Fitted { model, out_of_fold } = fitted(name, learner)?;
            let out_of_fold: Arc<[f32]> = out_of_fold.into();
            let mut add = |name: String, rule: Rule, allowed: &[usize]| {
                let path = Path::new(&out_of_fold, arms, allowed, &settings.economics);
                policies.push(Policy {
                    name,
                    rule,
                    model: Some(model.clone()),
                    out_of_fold: out_of_fold.clone(),
                    way: Way::Path(path),
                });
            };
            for (arm, arm_name) in trial.arms().iter().enumerate().skip(1) {
                let rule = Rule::Top { learner: learner.clone(), arm };
                add(format!("{name}, {arm_name}"), rule, &[arm]);
            }
            // A response model tells no arm from another.
            if arms > 2 && learner.structure != Structure::Response {
                let all: Vec<usize> = (1..arms).collect();
                add(format!("{name}, all arms"), Rule::Best(learner.clone()), &all);
            }
        }
        Ok(Self { policies, responses, settings, trial })
    }

    /// The trial.
    #[must_use]
    pub fn trial(&self) -> &Trial {
        &self.trial
    }

    /// The worth of every policy at a budget per row: one point of each Q(B).
    ///
    /// # Errors
    /// The budget is no number above 0.
    pub fn at(&self, budget: f64) -> Result<Vec<Worth>, CompareError> {
        if !(budget.is_finite() && budget > 0.0) {
            return Err(CompareError::Budget(budget));
        }
        Ok((0..self.policies.len()).map(|policy| self.worth(policy, budget)).collect())
    }

    fn worth(&self, policy: usize, budget: f64) -> Worth {
        let rows = self.trial.rows();
        let Value { gain, cost, response, treated } = self.value_of(&self.policies[policy].at(budget, rows));
        Worth { policy, gain, cost, response, treated }
    }

    /// What choices for the trial's rows, however they were made, are worth by the trial: gain, cost per row, and share of
    /// rows that are given anything.
    #[must_use]
    pub fn value_of(&self, choices: &[Choice]) -> Value {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let treated: Vec<f64> = choices.iter().map(|choice| 1.0 - choice.probability(0)).collect();
        Value {
            gain: self.interval(&self.gains(choices)),
            cost: mean(&self.responses.costs(choices, &self.settings.economics)),
            response: self_normalised(&self.trial, choices, &self.settings.bootstrap),
            treated: mean(&treated),
        }
    }

    /// What some choices for the trial's rows gain more than others, row by row.
    #[must_use]
    pub fn lead_of(&self, ours: &[Choice], theirs: &[Choice]) -> Interval {
        let (ours, theirs) = (self.gains(ours), self.gains(theirs));
        self.interval(&ours.iter().zip(&theirs).map(|(a, b)| a - b).collect::<Vec<_>>())
    }

    /// What policies are made of, and how they are judged.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn gains(&self, choices: &[Choice]) -> Vec<f64> {
        self.responses.gains(choices, &self.settings.economics)
    }

    fn interval(&self, values: &[f64]) -> Interval {
        // A trial has rows, so there is a mean.
        self.settings.bootstrap.mean(values).unwrap_or(Interval { mean: 0.0, low: 0.0, high: 0.0 })
    }

    /// One policy's gain minus another's at a budget, row by row.
    #[must_use]
    pub fn difference(&self, ours: usize, theirs: usize, budget: f64) -> Interval {
        let choices = |policy: usize| self.policies[policy].at(budget, self.trial.rows());
        self.lead_of(&choices(ours), &choices(theirs))
    }

    /// The policy to ship at a budget per row, and why.
    ///
    /// # Errors
    /// The budget is no number above 0.
    pub fn verdict(&self, budget: f64) -> Result<Verdict, CompareError> {
        let table = self.at(budget)?;
        let mut order: Vec<usize> = (0..table.len()).collect();
        // Stable: of equals the first, which is the simplest, wins.
        order.sort_by(|a, b| table[*b].gain.mean.total_cmp(&table[*a].gain.mean));
        let best = order[0];
        // A policy that does the same is no rival.
        let differs = |policy: &&usize| table[**policy].gain != table[best].gain;
        let runner_up = order[1..].iter().find(differs).copied().unwrap_or(order[1]);
        let lead = self.difference(best, runner_up, budget);
        let (winner, finding) = match (table[best].gain.low > 0.0, lead.low > 0.0) {
            (false, _) => (0, Finding::NotFromNothing),
            (true, false) => (best, Finding::NotFromTheNext),
            (true, true) => (best, Finding::Clear),
        };
        let reason = Reason { contest: self, worth: &table[best], next: runner_up, lead, finding, budget }.to_string();
        Ok(Verdict { budget, table, winner, runner_up, lead, finding, reason })
    }
}

/// A verdict in words.
struct Reason<'a> {
    contest: &'a Contest,
    worth: &'a Worth,
    next: usize,
    lead: Interval,
    finding: Finding,
    budget: f64,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |policy: usize| &self.contest.policies[policy].name;
        let (best, next) = (name(self.worth.policy), name(self.next));
        let gain = self.worth.gain;
        let Interval { mean, low, high } = self.lead;
        write!(f, "At a budget of {:.3} per row, ", self.budget)?;
        match self.finding {
            Finding::Clear => write!(
                f,
                "`{best}` earns {:.4} ({:.4} to {:.4}) per row above treating nobody, and {mean:.4} ({low:.4} to {high:.4}) above the next, `{next}`.",
                gain.mean, gain.low, gain.high
            )?,
            Finding::NotFromTheNext => write!(
                f,
                "`{best}` earns {:.4} ({:.4} to {:.4}) per row above treating nobody. Whether it is better than `{next}` the trial is too small to tell: the difference of {mean:.4} may be anything from {low:.4} to {high:.4}.",
                gain.mean, gain.low, gain.high
            )?,
            Finding::NotFromNothing => write!(
                f,
                "the trial is too small to tell whether treating anybody pays: `{best}`, the best, earns {:.4}, which may be anything from {:.4} to {:.4}. Nobody is treated.",
                gain.mean, gain.low, gain.high
            )?,
        }
        if self.contest.trial.is_observational() {
            f.write_str(" The data were observed, not drawn: this is no proof that arms cause anything.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::trial::{Assignment, Propensities, TrialData};

    /// Two features; arm 1 helps by `effect` where the first is high, arm 2 by as much where it is low.
    fn trial(rows: usize, effect: f64) -> Trial {
        let mut draw = ChaCha8Rng::seed_from_u64(4);
        let mut data = TrialData {
            features: vec!["x".into(), "noise".into()],
            values: vec![],
            arms: vec!["none".into(), "a".into(), "b".into()],
            arm: vec![],
            assignment: Assignment::Randomised(Propensities::PerArm(vec![0.4, 0.3, 0.3])),
            outcome: vec![],
            value: vec![],
        };
        for _ in 0..rows {
            let (x, noise): (f32, f32) = (draw.random(), draw.random());
            let point: f64 = draw.random();
            let arm = usize::from(point > 0.4) + usize::from(point > 0.7);
            let helps = (arm == 1 && x > 0.5) || (arm == 2 && x <= 0.5);
            let p = 0.2 + if helps { effect } else { 0.0 };
            data.values.extend([x, noise]);
            data.arm.push(arm);
            data.outcome.push(f32::from(u8::from(draw.random::<f64>() < p)));
        }
        Trial::new(data).unwrap()
    }

    fn contest(rows: usize, effect: f64) -> Contest {
        let trial = trial(rows, effect);
        let economics = Economics::new(&trial, 1.0, vec![0.0; 3], vec![0.0, 1.0, 1.0]).unwrap();
        let linear = |structure| Learner { structure, base: Base::Linear(Ridge::default()) };
        let settings = Settings {
            economics,
            ladders: Ladders::default(),
            learners: vec![
                ("response".into(), linear(Structure::Response)),
                ("S-learner".into(), linear(Structure::Single)),
                ("T-learner".into(), linear(Structure::PerArm)),
            ],
            deal: CrossFit { folds: 3, seed: 1 },
            bootstrap: Bootstrap { resamples: 200, ..Bootstrap::default() },
        };
        Contest::new(trial, settings).unwrap()
    }

    #[test]
    fn where_arms_help_different_people_the_best_of_all_arms_wins() {
        let contest = contest(6_000, 0.3);
        let verdict = contest.verdict(1.0).unwrap();
        let winner = &contest.policies[verdict.winner];
        assert!(matches!(winner.rule, Rule::Best(_)), "{}", verdict.reason);
        assert!(winner.model.as_ref().is_some_and(|model| model.arms.len() == 3));
        // Everybody who can be helped is: 0.3 in truth, less what a linear model gets wrong near the border.
        let gain = verdict.table[verdict.winner].gain;
        assert!(gain.mean > 0.22 && gain.low < 0.3, "{gain:?}");
        let all = verdict.table.iter().find(|worth| contest.policies[worth.policy].rule == Rule::All(1)).unwrap();
        assert!(all.gain.low < 0.15 && all.gain.high > 0.15, "half of the people are helped: {:?}", all.gain);
        assert!((all.cost - 1.0).abs() < 1e-9 && all.treated == 1.0);
    }

    #[test]
    fn where_nothing_helps_nobody_is_treated_and_the_trial_called_too_small() {
        let verdict = contest(1_500, 0.0).verdict(0.5).unwrap();
        assert_eq!((verdict.winner, verdict.finding), (0, Finding::NotFromNothing));
        assert!(verdict.reason.contains("too small to tell"), "{}", verdict.reason);
    }

    #[test]
    fn the_page_gives_the_reason_and_is_well_formed() {
        let contest = contest(1_500, 0.3);
        let verdict = contest.verdict(0.5).unwrap();
        let page = crate::report::html("Coupons <of> spring", &contest, &verdict, &[0.2, 0.5, 1.0]).unwrap();
        assert!(page.contains("Coupons &lt;of&gt; spring") && page.contains("At a budget of 0.500 per row"), "{page}");
        assert_eq!(page.matches("<svg").count(), 1 + 2 * 4, "Q(B), and four drawings for each arm");
        assert!(page.contains(crate::metric::AUCC), "offers cost, so the cost curve has its figure");
        for svg in page.split("<svg").skip(1).map(|rest| rest.split("</svg>").next().unwrap()) {
            let document = format!("<svg{svg}</svg>");
            assert!(roxmltree::Document::parse(&document).is_ok() && !svg.contains("NaN"), "{document}");
        }
        let ours = page.split("<tr class=\"ours\">").nth(1).expect("a row of the table is the winner's");
        assert!(ours.contains(&contest.policies[verdict.winner].name));
    }

    #[test]
    fn no_policy_spends_more_than_the_budget() {
        let contest = contest(1_500, 0.3);
        for budget in [0.1, 0.4, 0.9, 2.0] {
            for worth in contest.at(budget).unwrap() {
                assert!(worth.cost <= budget + 1e-9, "{} spends {}", contest.policies[worth.policy].name, worth.cost);
            }
        }
        assert!(matches!(contest.at(f64::NAN), Err(CompareError::Budget(_))));
    }

    #[test]
    fn both_estimates_agree_on_an_arm_for_all() {
        let contest = contest(6_000, 0.3);
        let worth = &contest.at(1.0).unwrap()[1];
        let response = worth.response.unwrap().mean - contest.trial.response(0);
        assert!((worth.gain.mean - response).abs() < 0.02, "{} and {response}", worth.gain.mean);
    }
}
