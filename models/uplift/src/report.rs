//! The comparison on one page: which policy ships and why, value by budget, and what its model is worth.
//!
//! The page is in the style of the project's other reports and, like them, opens from disk and asks nobody for anything. It
//! computes no verdict: what it says was decided in [`crate::compare`].

use maud::{Markup, html};
use selvedge_train::bootstrap::Interval;
use selvedge_train::report::chart::{self, Caption, Series};
use selvedge_train::report::{figure, shell};

use crate::compare::{CompareError, Contest, Policy, Rule, Verdict};
use crate::metric::{AUCC, Curve, Scored, UpliftMetric, aucc, cost_curve, qini_curve, uplift_curve};
use crate::plan::{Point, Priced};

/// Points of a curve that are drawn: more than a screen tells apart.
const DRAWN: usize = 100;
/// Groups of equal size in which calibration is checked.
const GROUPS: usize = 10;

/// The page of a contest and its verdict, with value over `budgets` per row.
///
/// # Errors
/// A budget is no number above 0.
pub fn html(title: &str, contest: &Contest, verdict: &Verdict, budgets: &[f64]) -> Result<String, CompareError> {
    html_after(title, contest, verdict, budgets, &html! {})
}

/// The same with sections of somebody else before it: what was decided, and what came of it.
///
/// # Errors
/// A budget is no number above 0.
pub fn html_after(
    title: &str,
    contest: &Contest,
    verdict: &Verdict,
    budgets: &[f64],
    before: &Markup,
) -> Result<String, CompareError> {
    let header = html! { p.lede { (verdict.reason) } };
    let modelled = best_modelled(contest, verdict);
    let sections = html! {
        (before)
        section {
            h2 { "Policies at equal budget" }
            (table(contest, verdict))
        }
        section {
            h2 { "Value by budget" }
            (value_by_budget(contest, verdict, budgets)?)
        }
        @if let Some(policy) = modelled { (self::model(contest, policy)) }
    };
    Ok(shell(title, &header, &sections).into_string())
}

/// The page of a plan: what is spent and earned at each price, and who is offered what.
#[must_use]
pub fn plan(title: &str, budget: f64, priced: &Priced, prices: &[Point], offers: &[&str]) -> String {
    let Priced { point, bound, gap } = priced;
    let header = html! {
        p.lede {
            "A budget of " (format!("{budget:.0}")) " is kept to at a price of " (format!("{:.4}", point.price)) ": "
            (format!("{:.0}", point.spend)) " are spent and " (format!("{:.0}", point.value)) " earned above making no offers. No \
            plan within the budget gains more than " (format!("{bound:.0}")) ", which is " (format!("{gap:.2}")) " above this one. All \
            of it is what the response model expects, in minor units."
        }
    };
    shell(title, &header, &plan_sections(prices, offers)).into_string()
}

/// What is spent, earned and offered at each price.
#[must_use]
pub fn plan_sections(prices: &[Point], offers: &[&str]) -> Markup {
    let line = |label, of: &dyn Fn(&Point) -> f64| {
        let mut points: Vec<_> = prices.iter().map(|point| (point.price, exactly(of(point)))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { label, points }
    };
    let money = [line("spent", &|point| point.spend), line("earned above no offers", &|point| point.value)];
    let given: Vec<Series<'_>> =
        offers.iter().enumerate().map(|(at, offer)| line(offer, &move |point| point.offers[at])).collect();
    html! {
        section {
            h2 { "By price of budget" }
            div.charts {
                (figure("Money", "What is spent and earned at each price, in minor units.", "plan-money", |caption| {
                    chart::curves(caption, "value that a unit of cost must bring", "minor units", &money)
                }))
                (figure("Offers", "How many users are offered what at each price.", "plan-offers", |caption| {
                    chart::curves(caption, "value that a unit of cost must bring", "users", &given)
                }))
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            @for name in ["Price", "Spent", "Earned"] { th.num scope="col" { (name) } }
                            @for offer in offers { th.num scope="col" { (offer) } }
                        }
                    }
                    tbody {
                        @for point in prices {
                            tr {
                                td.num { (format!("{:.4}", point.price)) }
                                td.num { (format!("{:.0}", point.spend)) }
                                td.num { (format!("{:.0}", point.value)) }
                                @for users in &point.offers { td.num { (format!("{users:.0}")) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The policy with a model of effects that earns most, whether it ships or not.
fn best_modelled<'c>(contest: &'c Contest, verdict: &Verdict) -> Option<&'c Policy> {
    let is_of_effects = |policy: &Policy| match &policy.rule {
        Rule::Top { learner, .. } | Rule::Best(learner) => !learner.structure.credits_all(),
        Rule::None | Rule::All(_) => false,
    };
    let of = verdict.table.iter().filter(|worth| is_of_effects(&contest.policies[worth.policy]));
    let best = of.max_by(|a, b| a.gain.mean.total_cmp(&b.gain.mean))?;
    Some(&contest.policies[best.policy])
}

fn table(contest: &Contest, verdict: &Verdict) -> Markup {
    let interval = |value: &Interval| format!("{:.4} ({:.4} to {:.4})", value.mean, value.low, value.high);
    html! {
        div.scroll {
            table {
                caption {
                    "Per row, at a budget of " (format!("{:.3}", verdict.budget)) "; gain is what is earned above treating nobody, doubly \
                    robust; response is self-normalised."
                }
                thead {
                    tr {
                        th scope="col" { "Policy" }
                        @for name in ["Gain", "Response", "Cost", "Treated"] { th.num scope="col" { (name) } }
                    }
                }
                tbody {
                    @for worth in &verdict.table {
                        tr.ours[worth.policy == verdict.winner] {
                            th scope="row" { (contest.policies[worth.policy].name) }
                            td.num { (interval(&worth.gain)) }
                            td.num { (worth.response.as_ref().map_or("no row".to_owned(), interval)) }
                            td.num { (format!("{:.3}", worth.cost)) }
                            td.num { (format!("{:.0} %", worth.treated * 100.0)) }
                        }
                    }
                }
            }
        }
    }
}

/// Q(B) of the winner, the next, and the best of everybody with one arm.
fn value_by_budget(contest: &Contest, verdict: &Verdict, budgets: &[f64]) -> Result<Markup, CompareError> {
    let by_budget = budgets.iter().map(|budget| Ok((*budget, contest.at(*budget)?)));
    let by_budget: Vec<_> = by_budget.collect::<Result<_, CompareError>>()?;
    let all = verdict.table.iter().filter(|worth| matches!(contest.policies[worth.policy].rule, Rule::All(_)));
    let all = all.max_by(|a, b| a.gain.mean.total_cmp(&b.gain.mean)).map(|worth| worth.policy);
    let mut shown = vec![verdict.winner, verdict.runner_up];
    shown.extend(all.filter(|policy| !shown.contains(policy)));
    let series = |policy: &usize| Series {
        label: &contest.policies[*policy].name,
        points: by_budget.iter().map(|(budget, table)| (*budget, table[*policy].gain)).collect(),
    };
    let series: Vec<Series<'_>> = shown.iter().map(series).collect();
    Ok(figure(
        "Q(B)",
        "Gain per row above treating nobody by budget per row, doubly robust, with intervals.",
        "value-by-budget",
        |caption: &Caption<'_>| chart::curves(caption, "budget per row", "gain per row", &series),
    ))
}

/// Curves and calibration of a policy's model, arm by arm, on rows that it had not seen.
fn model(contest: &Contest, policy: &Policy) -> Markup {
    let trial = contest.trial();
    let arms = trial.arm_count();
    html! {
        section {
            h2 { "The model of `" (policy.name) "`" }
            p.note { "On rows out of fold. Curves are those of scikit-uplift, over both groups ranked together." }
            @for arm in 1..arms {
                @let name = &trial.arms()[arm];
                @let rows = trial.rows_of(&[0, arm]);
                @let p = |row: usize, arm: usize| f64::from(policy.out_of_fold[row * arms + arm]);
                @let scores: Vec<f64> = rows.iter().map(|row| p(*row, arm) - p(*row, 0)).collect();
                @let treated: Vec<bool> = rows.iter().map(|row| trial.arm(*row) == arm).collect();
                @let responded: Vec<bool> = rows.iter().map(|row| trial.outcome(*row) == 1.0).collect();
                @let scored = Scored { scores: &scores, treated: &treated, responded: &responded };
                @let costed = Costed::new(contest, &rows, arm, p);
                @let by_cost = Scored { scores: &costed.scores, ..scored };
                h3 { (name) }
                p.note {
                    @for metric in UpliftMetric::ALL {
                        @if let Some(value) = metric.of(&scored) { (metric.name()) ": " (format!("{value:.4}")) ". " }
                    }
                    @if let Some(value) = aucc(&by_cost, &costed.costs) { (AUCC) ": " (format!("{value:.4}")) ", by value per cost." }
                }
                div.charts {
                    (curve("Uplift curve", &format!("uplift-{arm}"), &uplift_curve(&scored)))
                    (curve("Qini curve", &format!("qini-{arm}"), &qini_curve(&scored)))
                    @if costed.costs.iter().any(|cost| *cost > 0.0) {
                        (costs(&format!("cost-{arm}"), &cost_curve(&by_cost, &costed.costs)))
                    }
                    (calibration(contest, policy, arm))
                }
            }
        }
    }
}

/// Rows in the order of a budget: by value per cost, with what each cost.
struct Costed {
    scores: Vec<f64>,
    costs: Vec<f64>,
}

impl Costed {
    /// `p` is what the model says of a row and an arm.
    fn new(contest: &Contest, rows: &[usize], arm: usize, p: impl Fn(usize, usize) -> f64) -> Self {
        let (trial, economics) = (contest.trial(), &contest.settings().economics);
        let score = |row: &usize| {
            let (gain, cost) = (p(*row, arm) - p(*row, 0), economics.cost(arm, p(*row, arm)));
            // What costs nothing is in the order of its gain.
            if cost > 0.0 { gain / cost } else { gain }
        };
        Self {
            scores: rows.iter().map(score).collect(),
            costs: rows.iter().map(|row| economics.cost(trial.arm(*row), trial.outcome(*row))).collect(),
        }
    }
}

/// The cost curve against the straight line to its end.
fn costs(id: &str, curve: &Curve) -> Markup {
    let (cost, responses) = curve.last().copied().unwrap_or((1.0, 0.0));
    let step = curve.len().div_ceil(DRAWN).max(1);
    let mut points: Vec<_> = curve.iter().step_by(step).map(|(x, y)| (x / cost, exactly(*y))).collect();
    points.push((1.0, exactly(responses)));
    let lot = vec![(0.0, exactly(0.0)), (1.0, exactly(responses))];
    let series = [Series { label: "by the model", points }, Series { label: "by lot", points: lot }];
    figure("Cost curve", "Responses gained by the share of the cost, most value per cost first.", id, |caption| {
        chart::curves(caption, "share of cost", "responses gained", &series)
    })
}

/// A curve against the straight line to its end.
fn curve(title: &str, id: &str, curve: &Curve) -> Markup {
    let (rows, end) = curve.last().copied().unwrap_or((1.0, 0.0));
    let point = |(x, y): (f64, f64)| (x / rows, exactly(y));
    let step = curve.len().div_ceil(DRAWN).max(1);
    let mut points: Vec<_> = curve.iter().step_by(step).copied().map(point).collect();
    points.push(point((rows, end)));
    let lot = vec![point((0.0, 0.0)), point((rows, end))];
    let series = [Series { label: "by the model", points }, Series { label: "by lot", points: lot }];
    figure(title, "Responses gained by the share of rows treated, best first.", id, |caption| {
        chart::curves(caption, "share of rows treated", "responses gained", &series)
    })
}

/// Said and seen response of an arm's rows, in groups of equal size by what is said.
fn calibration(contest: &Contest, policy: &Policy, arm: usize) -> Markup {
    let trial = contest.trial();
    let mut rows: Vec<(f64, f64)> = trial
        .rows_of(&[arm])
        .into_iter()
        .map(|row| (f64::from(policy.out_of_fold[row * trial.arm_count() + arm]), trial.outcome(row)))
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let group = |rows: &[(f64, f64)]| {
        let count = rows.len() as f64;
        let (said, seen) = rows.iter().fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
        (said / count, seen / count)
    };
    let points: Vec<(f64, f64)> = rows.chunks(rows.len().div_ceil(GROUPS).max(1)).map(group).collect();
    let diagonal = points.iter().map(|(said, _)| (*said, exactly(*said))).collect();
    let seen = points.iter().map(|(said, seen)| (*said, exactly(*seen))).collect();
    let series = [Series { label: "seen", points: seen }, Series { label: "as said", points: diagonal }];
    figure("Calibration", "How many responded, by how many were said to.", &format!("calibration-{arm}"), |caption| {
        chart::curves(caption, "response that the model says", "response seen", &series)
    })
}

/// A number without an interval.
const fn exactly(value: f64) -> Interval {
    Interval { mean: value, low: value, high: value }
}
