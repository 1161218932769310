//! `selvedge demo coupons`: from a trial of incentives to offers that keep to a budget, decided by the guest.
//!
//! Thornton's trial drew cash for people who come to learn a test result. Learners are compared on it, the best policy's
//! model becomes a bundle, and the guest decides for people that the model has not seen: five times over, each time learned
//! and priced on the other four fifths, so that everybody is unseen once. What these decisions are worth is estimated from the
//! trial, doubly robust, because the trial gave most people something else than the guest would.
//!
//! The order of policies was seen on all rows; that flatters the winner a little, as its report says. [`redemption`] follows,
//! on campaigns that were observed and not drawn.

use maud::{Markup, html};
use selvedge_compile::CompiledBundle;
use selvedge_train::bootstrap::{Bootstrap, Interval};
use selvedge_train::dataset::fetch;
use selvedge_uplift::compare::{Contest, Policy, Rule, Value, Verdict};
use selvedge_uplift::fit::{self, CrossFit};
use selvedge_uplift::model::ResponseModel;
use selvedge_uplift::plan::{Point, Priced};
use selvedge_uplift::policy::Choice;
use selvedge_uplift::trial::Trial;
use selvedge_uplift::{report, thornton};

use super::declared::{Declared, Guest, Recipe};
use super::experiment::Size;
use super::{DemoArgs, Figure, recipe, redemption, write};
use crate::command::{plan, uplift};
use crate::error::{CliError, Exit};
use crate::flyer::progress;
use crate::printer::{BOLD, Printer, styled};
use crate::table::{Side, Table};
use crate::trial::{only_arm, settings};

/// The recipe that runs, as it stands in `models/recipes/incentives`.
pub(super) const RECIPE: Recipe = Recipe {
    features: recipe("features.toml", include_str!("../../../../models/recipes/incentives/features.toml")),
    model: recipe("model.toml", include_str!("../../../../models/recipes/incentives/model.toml")),
    campaign: recipe("campaign.toml", include_str!("../../../../models/recipes/incentives/campaign.toml")),
    ranking: include_str!("../../../../models/recipes/incentives/ranking.json"),
};

/// What the models may read; the campaign excludes the third feature of the trial.
const READ: [&str; 2] = ["age", "distvct"];
/// Seed of made-up people.
const SEED: u64 = 7;
/// How many there are, and how many in a quick run.
const MADE_UP: (usize, usize) = (3_000, 1_200);
/// Resamples of a quick run's intervals.
const QUICK_RESAMPLES: usize = 200;
/// Noon of a day of the campaign, in the middle of 2026.
const DAY_MS: i64 = 1_782_907_200_000;
/// Minor units of a dollar.
const MINOR: f64 = 100.0;
/// Columns of the comparison.
const COMPARED: [(&str, Side); 4] = [
    ("who gets what", Side::Left),
    ("people offered", Side::Right),
    ("spent, $", Side::Right),
    ("people more who came", Side::Right),
];
/// Budgets of the page's curves, as shares of the declared one.
const SHOWN: [f64; 8] = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0];

/// What came out.
struct Outcome {
    source: String,
    is_made_up: bool,
    budget: f64,
    contest: Contest,
    verdict: Verdict,
    shipped: Shipped,
    decided: Decided,
    /// The arm for all, by lot within the budget, that earns most: what targeting has to beat.
    lottery: (String, Value),
    lead: Interval,
}

/// The bundle of all rows.
struct Shipped {
    policy: String,
    response: Vec<u8>,
    bundle: CompiledBundle,
    offers: Vec<String>,
    priced: Priced,
    prices: Vec<Point>,
}

/// What the guest decided for people that its model had not seen.
struct Decided {
    choices: Vec<Choice>,
    prices: Vec<f64>,
    value: Value,
    fuel: u64,
}

pub(super) fn run(args: &DemoArgs, printer: &Printer) -> Result<(), CliError> {
    if args.rows.is_some() || args.storefront.is_some() {
        let message = "--rows and --storefront are of `selvedge demo flyer`: the trial has no flyers";
        return Err(CliError::new(Exit::Usage, message));
    }
    let outcome = outcome(args, printer)?;
    let observed = redemption::outcome(args, printer)?;
    let command = args.command(outcome.is_made_up || observed.is_made_up);
    let mut figures = outcome.figures(command);
    figures.extend(observed.figures(command));
    printer.end_progress();
    outcome.print(printer);
    observed.print(printer);
    observed.write(args, printer)?;
    let budgets = SHOWN.map(|share| share * outcome.verdict.budget);
    let title = "Selvedge: who is offered cash to learn a result";
    let page = report::html_after(title, &outcome.contest, &outcome.verdict, &budgets, &outcome.sections())?;
    write(&args.report, page.as_bytes())?;
    write(&args.report.with_file_name("response.json"), &outcome.shipped.response)?;
    write(&args.report.with_file_name("coupons.svb"), &outcome.shipped.bundle.bytes)?;
    args.write_figures(&figures, printer)
}

fn outcome(args: &DemoArgs, printer: &Printer) -> Result<Outcome, CliError> {
    let mut declared = Declared::read(&RECIPE)?;
    let (trial, source, is_made_up) = people(args, printer)?;
    let trial = trial.with_features(&READ);
    let budget = declared.budget();
    let per_row = budget / trial.rows() as f64;
    let resamples = if args.quick { QUICK_RESAMPLES } else { Bootstrap::default().resamples };
    printer.progress("comparing policies", 0, 0);
    let settings = settings(declared.campaign(), &trial, Bootstrap { resamples, ..Bootstrap::default() })?;
    let contest = Contest::new(trial, settings)?;
    let verdict = contest.verdict(per_row)?;
    // Where the trial cannot tell whether anything pays, targeting is shown all the same, and the verdict says so.
    let Some((policy, model)) = targeting(&contest, &verdict) else {
        return Err(CliError::new(Exit::No, "no learner was compared"));
    };
    let rule = policy.rule.clone();
    if let Some(arm) = only_arm(&rule) {
        declared.keep(arm);
    }
    let shipped = ship(&declared, &contest, policy.name.clone(), model)?;
    let decided = decide_unseen(&declared, &contest, &rule, args, printer)?;
    let (lottery, lead) = lottery(&contest, &verdict, &decided.choices);
    Ok(Outcome { source, is_made_up, budget, contest, verdict, shipped, decided, lottery, lead })
}

/// The trial, what it is called, and whether it is made up.
fn people(args: &DemoArgs, printer: &Printer) -> Result<(Trial, String, bool), CliError> {
    let made_up = || {
        let rows = if args.quick { MADE_UP.1 } else { MADE_UP.0 };
        let trial = thornton::made_up(SEED, rows).map_err(|error| CliError::new(Exit::Usage, error))?;
        Ok((trial, format!("{rows} made-up people (seed {SEED}), not real ones"), true))
    };
    if args.quick || args.offline {
        return made_up();
    }
    let fetched = fetch::cache_dir().and_then(|cache| thornton::fetch(&cache, &mut progress(printer)));
    match fetched {
        Ok(package) => {
            let trial = thornton::read(&package).map_err(|error| CliError::new(Exit::Refused, error))?;
            let rows = trial.rows();
            Ok((trial, format!("{rows} people of Thornton's trial in Malawi (American Economic Review 2008)"), false))
        }
        Err(error) if !error.is_unreachable() => Err(error.into()),
        Err(error) => {
            printer.warn(format_args!("the trial is not to be had: {error}"));
            printer.hint("going on with made-up people; their figures say nothing about real ones");
            made_up()
        }
    }
}

/// The policy with a model that earns most. An arm for all has none: at one price the edge gives it to all or to nobody.
fn targeting<'c>(contest: &'c Contest, verdict: &Verdict) -> Option<(&'c Policy, &'c ResponseModel)> {
    let best = verdict.table.iter().filter(|worth| contest.policies[worth.policy].model.is_some());
    let best = best.reduce(|best, worth| if worth.gain.mean > best.gain.mean { worth } else { best })?;
    let policy = &contest.policies[best.policy];
    Some((policy, policy.model.as_ref()?))
}

/// Compiles what was learned from all rows, and plans its budget.
fn ship(declared: &Declared, contest: &Contest, policy: String, model: &ResponseModel) -> Result<Shipped, CliError> {
    let (file, response) = declared.response(model, contest.trial())?;
    let planned = declared.planned(&response, contest.trial())?;
    let priced = planned.price(declared.budget()).map_err(|error| CliError::new(Exit::Usage, error))?;
    Ok(Shipped {
        policy,
        response: file,
        bundle: declared.compile(&response)?,
        offers: declared.campaign().offers.iter().map(|offer| offer.name.clone()).collect(),
        priced,
        prices: plan::prices(&planned),
    })
}

/// Decides everybody by a bundle, and at a price, that were made without them.
fn decide_unseen(
    declared: &Declared,
    contest: &Contest,
    rule: &Rule,
    args: &DemoArgs,
    printer: &Printer,
) -> Result<Decided, CliError> {
    let module = args.guest.module()?;
    let (trial, settings) = (contest.trial(), contest.settings());
    let deal = settings.deal;
    let folds = fit::folds(trial, deal).map_err(|error| CliError::new(Exit::Usage, error))?;
    let mut choices = vec![Choice::always(0); trial.rows()];
    let (mut prices, mut fuel) = (Vec::new(), 0);
    for fold in 0..deal.folds {
        printer.progress("deciding for people unseen", fold as u64, deal.folds as u64);
        let seen: Vec<usize> = (0..trial.rows()).filter(|row| folds[*row] != fold).collect();
        let seen = trial.subset(&seen);
        let model = match rule {
            Rule::Top { learner, .. } | Rule::Best(learner) => {
                let fitted = fit::fit(&seen, learner, &settings.ladders, CrossFit { seed: deal.seed + 1, ..deal });
                fitted.map_err(|error| CliError::new(Exit::Usage, error))?.model
            }
            Rule::None | Rule::All(_) => fit::alike(&seen, &settings.ladders),
        };
        let (_, response) = declared.response(&model, &seen)?;
        let share = seen.rows() as f64 / trial.rows() as f64;
        let priced = declared.planned(&response, &seen)?.price(share * declared.budget());
        let price = priced.map_err(|error| CliError::new(Exit::Usage, error))?.point.price;
        let mut guest = Guest::new(&module, args, declared, &declared.compile(&response)?, price)?;
        for row in (0..trial.rows()).filter(|row| folds[*row] == fold) {
            choices[row] = Choice::always(guest.arm(declared, trial, row, DAY_MS)?);
        }
        prices.push(price);
        fuel = fuel.max(guest.fuel);
    }
    Ok(Decided { value: contest.value_of(&choices), choices, prices, fuel })
}

/// The arm for all that earns most at the budget, its name and worth, and what the choices gain more.
fn lottery(contest: &Contest, verdict: &Verdict, choices: &[Choice]) -> ((String, Value), Interval) {
    let is_for_all = |policy: usize| matches!(contest.policies[policy].rule, Rule::All(_));
    let all = verdict.table.iter().filter(|worth| is_for_all(worth.policy));
    let best = all.reduce(|best, worth| if worth.gain.mean > best.gain.mean { worth } else { best });
    // A trial has at least one arm besides the control.
    let policy = &contest.policies[best.map_or(0, |worth| worth.policy)];
    let by_lot = policy.at(verdict.budget, contest.trial().rows());
    ((policy.name.clone(), contest.value_of(&by_lot)), contest.lead_of(choices, &by_lot))
}

impl Outcome {
    fn rows(&self) -> f64 {
        self.contest.trial().rows() as f64
    }

    /// People who respond because of the offers: gain per row, over what a response is worth.
    fn responses(&self, gain: &Interval) -> Interval {
        let per = self.rows() / self.contest.settings().economics.margin();
        Interval { mean: gain.mean * per, low: gain.low * per, high: gain.high * per }
    }

    /// How many people were offered each arm, those without an offer first.
    fn offered(&self) -> Vec<(String, usize)> {
        let count = |arm: usize| self.decided.choices.iter().filter(|choice| choice.arm == arm).count();
        self.contest.trial().arms().iter().enumerate().map(|(arm, name)| (name.clone(), count(arm))).collect()
    }

    /// Targeted and by lot: name, people treated, spent, people more who respond.
    fn compared(&self) -> [[String; 4]; 2] {
        let row = |name: String, value: &Value| {
            let Interval { mean, low, high } = self.responses(&value.gain);
            let spent = format!("{:.0}", value.cost * self.rows() / MINOR);
            [name, format!("{:.0}", value.treated * self.rows()), spent, format!("{mean:.0} ({low:.0} to {high:.0})")]
        };
        let targeted = format!("decided by the guest ({})", self.shipped.policy);
        [row(targeted, &self.decided.value), row(format!("{}, by lot", self.lottery.0), &self.lottery.1)]
    }

    fn print(&self, printer: &Printer) {
        printer.data(format_args!("{}\n", styled(BOLD, &self.source)));
        uplift::print(&self.contest, &self.verdict, printer);
        let Shipped { policy, bundle, priced, .. } = &self.shipped;
        printer.data(format_args!(
            "\n{} {} bytes with the model of `{policy}`; {} rows score alike bit for bit",
            styled(BOLD, "bundle"),
            bundle.bytes.len(),
            bundle.report.parity.rows
        ));
        printer.data(format_args!(
            "price of a budget of ${:.0}: {:.4} in value for a unit of cost; gap to the best plan at most ${:.2}",
            self.budget / MINOR,
            priced.point.price,
            priced.gap / MINOR
        ));
        printer.data(format_args!(
            "\n{}",
            styled(BOLD, "Decided under wasmtime for everybody, by a model that had not seen them")
        ));
        let mut table = Table::new([("offer", Side::Left), ("people", Side::Right)]);
        for (name, people) in self.offered() {
            table.row([name, people.to_string()]);
        }
        printer.data(table);
        printer.data("");
        let mut table = Table::new(COMPARED);
        for row in self.compared() {
            table.row(row);
        }
        printer.data(table);
        printer.data(format_args!("\n{}", self.conclusion()));
    }

    /// Whether targeting was worth it, in words.
    fn conclusion(&self) -> String {
        let Interval { mean, low, high } = self.responses(&self.lead);
        let said = format!(
            "For ${:.0}, targeting brings {mean:+.0} ({low:+.0} to {high:+.0}) people compared with one offer by lot",
            self.budget / MINOR
        );
        match (low > 0.0, high < 0.0) {
            (true, _) => format!("{said}: it pays."),
            (_, true) => format!("{said}: it does not pay."),
            _ => format!("{said}: this trial cannot tell which is better."),
        }
    }

    /// What the page shows before the comparison.
    fn sections(&self) -> Markup {
        let offers: Vec<&str> = self.shipped.offers.iter().map(String::as_str).collect();
        html! {
            section {
                h2 { "Decided by the guest" }
                p {
                    (self.source) ". A module that runs at the edge decided for everybody, each by a model and at a price that were made \
                    without them. " (self.conclusion()) " Estimates are doubly \
                    robust, intervals 95 % by bootstrap."
                }
                div.scroll {
                    table {
                        thead { tr { @for (name, _) in COMPARED { th scope="col" { (name) } } } }
                        tbody { @for row in self.compared() { tr { @for cell in row { td { (cell) } } } } }
                    }
                }
                div.scroll {
                    table {
                        thead { tr { th scope="col" { "Offer" } th.num scope="col" { "People" } } }
                        tbody {
                            @for (name, people) in self.offered() { tr { th scope="row" { (name) } td.num { (people) } } }
                        }
                    }
                }
            }
            (report::plan_sections(&self.shipped.prices, &offers))
        }
    }

    fn figures(&self, command: &str) -> Vec<Figure> {
        let responses = self.responses(&self.decided.value.gain);
        let lead = self.responses(&self.lead);
        let size = Size::of(&self.shipped.bundle.bytes);
        let price = self.decided.prices.iter().sum::<f64>() / self.decided.prices.len().max(1) as f64;
        let list = [
            ("coupons.people", self.rows(), "people"),
            ("coupons.budget", self.budget, "minor units"),
            ("coupons.spent", self.decided.value.cost * self.rows(), "minor units"),
            ("coupons.price", price, "value per cost"),
            ("coupons.price_gap", self.shipped.priced.gap, "minor units"),
            ("coupons.offered", self.decided.value.treated * self.rows(), "people"),
            ("coupons.responses", responses.mean, "people"),
            ("coupons.responses_low", responses.low, "people"),
            ("coupons.responses_high", responses.high, "people"),
            ("coupons.lead", lead.mean, "people"),
            ("coupons.lead_low", lead.low, "people"),
            ("coupons.lead_high", lead.high, "people"),
            ("coupons.fuel", self.decided.fuel as f64, "fuel"),
            ("coupons.bundle_bytes", size.bytes as f64, "bytes"),
            ("coupons.bundle_gzip_bytes", size.gzip_bytes as f64, "bytes"),
        ];
        Figure::of_list(list, command)
    }
}
