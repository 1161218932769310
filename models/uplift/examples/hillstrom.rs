//! The benchmark on Hillstrom's e-mail trial: `cargo xtask bench uplift --data PATH --json FILE`.
//!
//! Two questions. How well is the effect of the women's e-mail on visits ranked: AUUC (Criteo's definition) on the test rows
//! of 100 random splits, a fifth of the rows each. And what are three arms worth at equal budget: visits per customer above
//! mailing nobody, where a women's e-mail costs 0.6 units and a men's 1.0, by doubly robust estimate with every customer
//! judged by models that have not seen them. The penalty of linear learners is chosen anew in each split, by AUUC in folds
//! of its training rows; all other settings are the same throughout.
//!
//! Whoever picks the best of many policies by what they reached flatters it. So the choice is also made without the customers
//! that it is for: learners are compared in folds of four fifths of the customers, at the budget, and the best one decides
//! for the other fifth, which is then judged; once for policies of all arms and once for those of a single one.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use selvedge_engine::math::sigmoid;
use selvedge_spec::TreeTraining;
use selvedge_train::bootstrap::{Bootstrap, Interval};
use selvedge_uplift::compare::{Contest, Policy, Rule, Settings, Worth};
use selvedge_uplift::fit::{self, Base, CrossFit, Learner, Ridge, Structure};
use selvedge_uplift::hillstrom;
use selvedge_uplift::metric::{Scored, UpliftMetric};
use selvedge_uplift::model::Ladders;
use selvedge_uplift::policy::{Choice, Economics, Path};
use selvedge_uplift::trial::Trial;
use serde::Serialize;

/// Random splits.
const SPLITS: u64 = 100;
/// One row in so many is for testing.
const TEST_SHARE: usize = 5;
/// Assumed cost of an e-mail by arm, in the order of [`hillstrom::ARMS`].
const SENDING: [f64; 3] = [0.0, 0.6, 1.0];
/// Penalties on what an arm adds to a weight, to choose from.
const PENALTIES: [f64; 4] = [3.0, 30.0, 100.0, 300.0];
/// Folds of the training rows in which the choice is made.
const INNER_FOLDS: usize = 3;
/// Cost units per customer.
const BUDGETS: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/// Seed of the deal of customers to those whom a policy is chosen for.
const OUTER_SEED: u64 = 2;
/// Resamples of each interval.
const RESAMPLES: usize = 200;

#[derive(Parser)]
#[command(about = "AUUC and value by budget on Hillstrom's e-mail trial")]
struct Arguments {
    /// Hillstrom's CSV; without it nothing is measured
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Answer one of the two questions
    #[arg(long)]
    only: Option<Question>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Question {
    /// How well the effect of one arm is ranked
    Auuc,
    /// What three arms are worth by budget
    Budgets,
}

#[derive(Serialize)]
struct Figures {
    rows: usize,
    auuc: Vec<Auuc>,
    budgets: Vec<AtBudget>,
}

#[derive(Serialize)]
struct Auuc {
    learner: &'static str,
    definition: &'static str,
    splits: u64,
    mean: f64,
    two_sigma: f64,
}

#[derive(Serialize)]
struct AtBudget {
    budget: f64,
    policies: Vec<Value>,
    best_single_arm_top: String,
    /// Value of all arms over that of the best single-arm top share, minus 1.
    all_arms_over_top: f64,
    difference: [f64; 3],
    /// The same where both were chosen without the customers that they are for.
    chosen: Chosen,
}

#[derive(Serialize)]
struct Chosen {
    all_arms: [f64; 3],
    single_arm: [f64; 3],
    difference: [f64; 3],
    /// Over the single arm that was chosen, and over the best one as it turned out, minus 1.
    all_arms_over_single: f64,
    all_arms_over_top: f64,
    /// Learners of all arms, by outer fold.
    learners: Vec<String>,
}

#[derive(Serialize)]
struct Value {
    policy: String,
    value: f64,
    low: f64,
    high: f64,
    cost: f64,
    treated: f64,
}

fn linear(structure: Structure) -> Learner {
    Learner { structure, base: Base::Linear(Ridge::default()) }
}

/// Small trees: effects are faint, and deeper ones learn the noise.
fn trees(structure: Structure) -> Learner {
    let training = TreeTraining {
        rounds: 60,
        max_depth: 2,
        eta: 0.1,
        min_child_weight: 20.0,
        lambda: 10.0,
        max_bin: 64,
        ..TreeTraining::default()
    };
    Learner { structure, base: Base::Trees(training) }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let Some(path) = arguments.data else {
        anstream::println!("skipped: --data PATH names Hillstrom's CSV, which is not part of the project");
        return Ok(());
    };
    let trial = hillstrom::read(&path)?;
    anstream::println!("{} customers; arms: {}", trial.rows(), trial.arms().join(", "));
    let is_asked = |question| arguments.only.is_none_or(|only| only == question);
    let auuc = if is_asked(Question::Auuc) { auuc(&trial)? } else { vec![] };
    let budgets = if is_asked(Question::Budgets) { budgets(trial.clone())? } else { vec![] };
    if let Some(json) = arguments.json {
        let figures = Figures { rows: trial.rows(), auuc, budgets };
        std::fs::write(&json, serde_json::to_vec_pretty(&figures)?)
            .with_context(|| format!("cannot write {}", json.display()))?;
    }
    Ok(())
}

fn auuc(trial: &Trial) -> Result<Vec<Auuc>> {
    let pair = trial.against_control(1);
    let metric = UpliftMetric::AuucCriteo;
    anstream::println!("\n{}, {}, visit, {SPLITS} random splits, mean +- 2 sigma", pair.arms()[1], metric.name());
    let with = |structure, interaction| Learner {
        structure,
        base: Base::Linear(Ridge { interaction, main: Ridge::default().main }),
    };
    let same_penalty = |penalty| Base::Linear(Ridge { main: penalty, interaction: penalty });
    let per_arm = PENALTIES.map(|penalty| Learner { structure: Structure::PerArm, base: same_penalty(penalty) });
    let learners = [
        ("response model, linear", vec![linear(Structure::Response)]),
        ("S-learner, linear (25 weights)", PENALTIES.map(|penalty| with(Structure::Single, penalty)).to_vec()),
        ("T-learner, linear", per_arm.to_vec()),
        ("X-learner, linear", PENALTIES.map(|penalty| with(Structure::Imputed, penalty)).to_vec()),
        ("DR-learner, linear", PENALTIES.map(|penalty| with(Structure::Robust, penalty)).to_vec()),
        ("S-learner, trees", vec![trees(Structure::Single)]),
        ("T-learner, trees", vec![trees(Structure::PerArm)]),
    ];
    let mut figures = Vec::new();
    for (learner, settings) in learners {
        let values: Vec<f64> = (0..SPLITS).map(|split| of_split(&pair, &settings, split)).collect::<Result<_>>()?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let two_sigma = 2.0 * variance.sqrt();
        anstream::println!("  {learner:32} {mean:.5} +- {two_sigma:.5}");
        figures.push(Auuc { learner, definition: metric.name(), splits: SPLITS, mean, two_sigma });
    }
    Ok(figures)
}

/// AUUC on the test rows of a split, with the setting that does best in folds of its training rows.
fn of_split(pair: &Trial, settings: &[Learner], split: u64) -> Result<f64> {
    let mut rows: Vec<usize> = (0..pair.rows()).collect();
    rows.shuffle(&mut ChaCha8Rng::seed_from_u64(split));
    let (test, training) = rows.split_at(pair.rows() / TEST_SHARE);
    let mut best = (&settings[0], f64::NEG_INFINITY);
    if settings.len() > 1 {
        for setting in settings {
            let score = in_folds(pair, training, setting)?;
            if score > best.1 {
                best = (setting, score);
            }
        }
    }
    auuc_on(pair, training, test, best.0)
}

/// Sum of AUUC over folds of rows, each learned from the others. The rows are in random order.
fn in_folds(pair: &Trial, rows: &[usize], learner: &Learner) -> Result<f64> {
    let size = rows.len().div_ceil(INNER_FOLDS);
    let of = |fold: usize| {
        let inside = fold * size..((fold + 1) * size).min(rows.len());
        let others: Vec<usize> = rows[..inside.start].iter().chain(&rows[inside.end..]).copied().collect();
        auuc_on(pair, &others, &rows[inside], learner)
    };
    (0..INNER_FOLDS).map(of).sum()
}

fn auuc_on(pair: &Trial, training: &[usize], test: &[usize], learner: &Learner) -> Result<f64> {
    let scorers = fit::learn(pair, training, learner)?;
    let values: Vec<f32> = test.iter().flat_map(|row| pair.row(*row)).copied().collect();
    let (control, treated) = (scorers[0].raw(&values)?, scorers[1].raw(&values)?);
    let effect = |(control, treated): (&f32, &f32)| f64::from(sigmoid(*treated) - sigmoid(*control));
    let scores: Vec<f64> = control.iter().zip(&treated).map(effect).collect();
    let treated: Vec<bool> = test.iter().map(|row| pair.arm(*row) == 1).collect();
    let responded: Vec<bool> = test.iter().map(|row| pair.outcome(*row) == 1.0).collect();
    let scored = Scored { scores: &scores, treated: &treated, responded: &responded };
    UpliftMetric::AuucCriteo.of(&scored).context("a split left a group empty")
}

fn budgets(trial: Trial) -> Result<Vec<AtBudget>> {
    let rows = trial.rows();
    let economics = Economics::new(&trial, 1.0, vec![0.0; 3], SENDING.to_vec())?;
    let settings = Settings {
        economics,
        ladders: Ladders::default(),
        learners: vec![
            ("response model".into(), linear(Structure::Response)),
            ("S linear".into(), linear(Structure::Single)),
            ("T linear".into(), linear(Structure::PerArm)),
            ("X linear".into(), linear(Structure::Imputed)),
            ("DR linear".into(), linear(Structure::Robust)),
            ("S trees".into(), trees(Structure::Single)),
            ("T trees".into(), trees(Structure::PerArm)),
            ("X trees".into(), trees(Structure::Imputed)),
            ("DR trees".into(), trees(Structure::Robust)),
        ],
        deal: CrossFit::default(),
        bootstrap: Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() },
    };
    let chosen = chosen(&trial, &settings)?;
    let contest = Contest::new(trial, settings)?;
    anstream::println!(
        "\nVisits per 1,000 customers above mailing nobody, doubly robust, 95 % intervals; costs per e-mail: women's {}, men's {}",
        SENDING[1],
        SENDING[2]
    );
    let mut figures = Vec::new();
    for (budget, chosen) in BUDGETS.into_iter().zip(chosen) {
        let table = contest.at(budget)?;
        anstream::println!("\nbudget {budget:.1} per customer");
        for worth in &table {
            let Interval { mean, low, high } = per_thousand(worth.gain);
            let name = &contest.policies[worth.policy].name;
            anstream::println!(
                "  {name:34} {mean:6.2} ({low:6.2} to {high:6.2})  cost {:.3}  mailed {:3.0} %",
                worth.cost,
                worth.treated * 100.0
            );
        }
        let best = |is: &dyn Fn(&Rule) -> bool| {
            let of = table.iter().filter(|worth| is(&contest.policies[worth.policy].rule));
            of.max_by(|a, b| a.gain.mean.total_cmp(&b.gain.mean)).context("no such policy")
        };
        let (top, all) = (best(&is_single)?, best(&is_of_all)?);
        let lead = per_thousand(contest.difference(all.policy, top.policy, budget));
        let ratio = all.gain.mean / top.gain.mean - 1.0;
        anstream::println!(
            "  all arms over `{}`: {:+.1} %, {:+.2} ({:+.2} to {:+.2})",
            contest.policies[top.policy].name,
            ratio * 100.0,
            lead.mean,
            lead.low,
            lead.high
        );
        let ours = contest.value_of(&chosen.all_arms).gain;
        let single = contest.value_of(&chosen.single_arm).gain;
        let difference = contest.lead_of(&chosen.all_arms, &chosen.single_arm);
        let chosen = Chosen {
            all_arms: numbers(ours),
            single_arm: numbers(single),
            difference: numbers(difference),
            all_arms_over_single: ours.mean / single.mean - 1.0,
            all_arms_over_top: ours.mean / top.gain.mean - 1.0,
            learners: chosen.learners,
        };
        let shown = per_thousand(difference);
        anstream::println!(
            "  chosen on other customers: all arms {:.2}, one arm {:.2}: {:+.1} %, {:+.2} ({:+.2} to {:+.2}); {:+.1} % over the best single arm as it turned out; {}",
            per_thousand(ours).mean,
            per_thousand(single).mean,
            chosen.all_arms_over_single * 100.0,
            shown.mean,
            shown.low,
            shown.high,
            chosen.all_arms_over_top * 100.0,
            chosen.learners.join("; ")
        );
        anstream::println!("  {}", contest.verdict(budget)?.reason);
        let value = |worth: &Worth| Value {
            policy: contest.policies[worth.policy].name.clone(),
            value: worth.gain.mean,
            low: worth.gain.low,
            high: worth.gain.high,
            cost: worth.cost,
            treated: worth.treated,
        };
        figures.push(AtBudget {
            budget,
            policies: table.iter().map(value).collect(),
            best_single_arm_top: contest.policies[top.policy].name.clone(),
            all_arms_over_top: ratio,
            difference: numbers(lead).map(|value| value / 1_000.0),
            chosen,
        });
    }
    anstream::println!("\n{rows} customers, {} folds, {RESAMPLES} resamples", CrossFit::default().folds);
    Ok(figures)
}

/// Policies of one arm, by a model of its effect.
fn is_single(rule: &Rule) -> bool {
    matches!(rule, Rule::Top { learner, .. } if learner.structure != Structure::Response)
}

/// Policies of all arms.
fn is_of_all(rule: &Rule) -> bool {
    matches!(rule, Rule::Best(_))
}

/// What each customer is given at a budget by policies that were chosen without it.
struct Choices {
    all_arms: Vec<Choice>,
    single_arm: Vec<Choice>,
    learners: Vec<String>,
}

/// By budget, in the order of [`BUDGETS`].
fn chosen(trial: &Trial, settings: &Settings) -> Result<Vec<Choices>> {
    let nothing = || vec![Choice::always(0); trial.rows()];
    let mut chosen = BUDGETS.map(|_| Choices { all_arms: nothing(), single_arm: nothing(), learners: vec![] });
    let folds = fit::folds(trial, CrossFit { seed: OUTER_SEED, ..settings.deal })?;
    // Means alone are compared inside, so there are no intervals to make.
    let inside = Settings { bootstrap: Bootstrap { resamples: 1, ..settings.bootstrap }, ..settings.clone() };
    for fold in 0..settings.deal.folds {
        let rows = |is: &dyn Fn(usize) -> bool| (0..trial.rows()).filter(|row| is(folds[*row])).collect::<Vec<_>>();
        let (others, own) = (rows(&|of| of != fold), rows(&|of| of == fold));
        let contest = Contest::new(trial.subset(&others), inside.clone())?;
        let customers = trial.subset(&own);
        for (budget, chosen) in BUDGETS.into_iter().zip(&mut chosen) {
            let table = contest.at(budget)?;
            let best = |is: fn(&Rule) -> bool| {
                let of = table.iter().filter(|worth| is(&contest.policies[worth.policy].rule));
                let best = of.max_by(|a, b| a.gain.mean.total_cmp(&b.gain.mean)).context("no such policy")?;
                let policy = &contest.policies[best.policy];
                anyhow::Ok((policy.name.clone(), given(policy, &customers, budget, &settings.economics)?))
            };
            let ((learner, all_arms), (_, single_arm)) = (best(is_of_all)?, best(is_single)?);
            chosen.learners.push(learner);
            for (row, (all, single)) in own.iter().zip(all_arms.into_iter().zip(single_arm)) {
                (chosen.all_arms[*row], chosen.single_arm[*row]) = (all, single);
            }
        }
    }
    Ok(chosen.into())
}

/// What a policy gives customers that it has not seen.
fn given(policy: &Policy, customers: &Trial, budget: f64, economics: &Economics) -> Result<Vec<Choice>> {
    let allowed: Vec<usize> = match policy.rule {
        Rule::Top { arm, .. } => vec![arm],
        _ => (1..customers.arm_count()).collect(),
    };
    let model = policy.model.as_ref().context("a policy without a model")?;
    let chances = model.probabilities(customers.values())?;
    Ok(Path::new(&chances, customers.arm_count(), &allowed, economics).at(budget))
}

const fn numbers(interval: Interval) -> [f64; 3] {
    [interval.mean, interval.low, interval.high]
}

fn per_thousand(interval: Interval) -> Interval {
    let scale = |value: f64| value * 1_000.0;
    Interval { mean: scale(interval.mean), low: scale(interval.low), high: scale(interval.high) }
}
