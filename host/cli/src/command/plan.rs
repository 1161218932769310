//! `selvedge plan`: what a campaign's budget buys at which price, before it begins.

use std::path::PathBuf;

use clap::Args;
use selvedge_spec::{Margin, Test};
use selvedge_uplift::plan::{Planned, Point, Priced};
use selvedge_uplift::report;
use serde::Serialize;

use crate::campaigns::CampaignFile;
use crate::error::{CliError, Exit};
use crate::file;
use crate::printer::{BOLD, Printer, styled};
use crate::table::{Side, Table};
use crate::trial::{planned, read_table};

/// Shares of the largest spend at which prices are shown.
const SHARES: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Show what a campaign spends and earns at each price of its budget.
///
/// The users are a CSV with a line of names, a column for each feature that the response model reads: the trial's rows, or
/// next month's. All of them are taken for eligible. Each is given what the edge would give at the price, so what is shown
/// is what the model expects; what came of it, a trial tells. The gap says how much more any plan within the budget could
/// earn at most.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The campaign's declaration (campaign.toml); the response model that it names is read beside it.
    #[arg(long, value_name = "TOML")]
    campaigns: PathBuf,
    /// Which campaign, if the file declares several.
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// The users; - reads standard input.
    #[arg(long, value_name = "CSV")]
    users: PathBuf,
    /// What may be spent on these users, in minor units; otherwise what the campaign's budgets have.
    #[arg(long, value_name = "MINOR")]
    budget: Option<f64>,
    /// Write the plan as a page, with charts.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    users: usize,
    budget: f64,
    planned: PointOutput<'a>,
    /// No plan within the budget earns more, by the campaign's goal.
    bound: f64,
    gap: f64,
    prices: Vec<PointOutput<'a>>,
}

#[derive(Serialize)]
struct PointOutput<'a> {
    price: f64,
    price_micros: u64,
    spend: f64,
    value: f64,
    offers: Vec<(&'a str, f64)>,
}

impl<'a> PointOutput<'a> {
    fn new(point: &Point, names: &[&'a str]) -> Self {
        Self {
            price: point.price,
            price_micros: micros(point.price),
            spend: point.spend,
            value: point.value,
            offers: names.iter().copied().zip(point.offers.iter().copied()).collect(),
        }
    }
}

/// A price as heads carry it, rounded up: it spends no more.
fn micros(price: f64) -> u64 {
    (price * 1e6).ceil() as u64
}

pub(crate) fn run(args: &PlanArgs, printer: &Printer) -> Result<(), CliError> {
    let declared = CampaignFile::read(&args.campaigns)?;
    let campaign = declared.campaign(args.campaign.as_deref())?;
    let response = declared.response(campaign)?;
    let mut names = response.features()?;
    if let Margin::Feature { name, .. } = &campaign.margin
        && !names.contains(name)
    {
        names.push(name.clone());
    }
    let table = read_table(&args.users)?;
    // A model of no features still has users.
    let rows = match names.is_empty() {
        true => vec![0.0; table.rows()],
        false => table.numbers(&names).map_err(|error| CliError::from(error).in_file(&args.users))?,
    };
    let budget = args.budget.unwrap_or_else(|| declared.budget(campaign));
    let planned = planned(campaign, &response, &names, &rows)?;
    let priced = planned.price(budget).map_err(|error| CliError::new(Exit::Usage, error))?;
    let prices = prices(&planned);
    let offers: Vec<&str> = campaign.offers.iter().map(|offer| offer.name.as_str()).collect();
    if args.json {
        printer.json(&Output {
            users: planned.users(),
            budget,
            planned: PointOutput::new(&priced.point, &offers),
            bound: priced.bound,
            gap: priced.gap,
            prices: prices.iter().map(|point| PointOutput::new(point, &offers)).collect(),
        });
    } else {
        let shown = Shown { budget, priced: &priced, prices: &prices, offers: &offers };
        shown.print(&declared.spec.currency, planned.users(), printer);
    }
    if let Some(path) = &args.report {
        let title = format!("The price of `{}`", campaign.name);
        file::write(path, report::plan(&title, budget, &priced, &prices, &offers).as_bytes())?;
        printer.say(format_args!("report: {}", path.display()));
    }
    if campaign.eligible.iter().any(|test| !matches!(test, Test::And | Test::Or | Test::Not)) {
        printer
            .warn(format_args!("`{}` is not for everyone, and all users here are taken for eligible", campaign.name));
        printer.hint("leave the others out of the CSV");
    }
    if campaign.explore > 0.0 {
        printer.warn("exploration gives some users another arm than the best: the spend will differ from the plan");
    }
    Ok(())
}

/// Prices from the highest, at even steps of what is spent.
pub(crate) fn prices(planned: &Planned) -> Vec<Point> {
    let most = planned.at(0.0).spend;
    SHARES.iter().map(|share| planned.lowest_price(share * most)).collect()
}

/// A plan as people read it.
struct Shown<'a> {
    budget: f64,
    priced: &'a Priced,
    prices: &'a [Point],
    offers: &'a [&'a str],
}

impl Shown<'_> {
    fn print(&self, currency: &str, users: usize, printer: &Printer) {
        let Priced { point, bound, gap } = self.priced;
        printer.data(format_args!(
            "{} for {users} users, amounts in minor units of {currency}",
            styled(BOLD, format_args!("A budget of {:.0}", self.budget))
        ));
        printer.data(format_args!("  price     {:.6}, as heads carry it {}", point.price, micros(point.price)));
        printer.data(format_args!("  spends    {:.0}", point.spend));
        printer.data(format_args!("  earns     {:.0} above making no offers", point.value));
        printer.data(format_args!("  gap       {gap:.2}: no plan within the budget gains more than {bound:.0}\n"));
        let mut columns = vec![("price", Side::Right), ("spent", Side::Right), ("earned", Side::Right)];
        columns.extend(self.offers.iter().map(|offer| (*offer, Side::Right)));
        let mut table = Table::new(columns);
        for point in self.prices {
            let mut row =
                vec![format!("{:.4}", point.price), format!("{:.0}", point.spend), format!("{:.0}", point.value)];
            row.extend(point.offers.iter().map(|users| format!("{users:.0}")));
            table.row(row);
        }
        printer.data(table);
    }
}
