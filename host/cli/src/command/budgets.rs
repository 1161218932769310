//! `selvedge budgets`: what may be spent, what is promised, and what is left.

use std::path::PathBuf;

use clap::Args;
use selvedge_follow::client::{Api, ApiError};
use selvedge_spec::CampaignSpec;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{CliError, Exit};
use crate::file;
use crate::printer::Printer;
use crate::registry::{TOKEN_VARIABLE, from_host, host_of};
use crate::table::{Side, Table};

/// Show the budgets of a host, or open those that a campaign file declares.
///
/// `price` is what the channel's head says; `paced` what the host's controller holds, where the host sets the price by itself,
/// and publishes when it has moved far enough. A total can be raised at any time, and lowered to what is settled and held.
/// With `--open` the token needs the scope `publish`, without it `read`.
#[derive(Debug, Args)]
pub(crate) struct BudgetsArgs {
    /// Open the budgets of this campaign file, or change their totals to what it says.
    #[arg(long, value_name = "CAMPAIGN.TOML")]
    open: Option<PathBuf>,
    /// The host; otherwise $SELVEDGE_HOST, or http://127.0.0.1:7070. $SELVEDGE_TOKEN holds the token.
    #[arg(long, value_name = "URL")]
    host: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A budget as the host tells of it, in minor units.
#[derive(Deserialize)]
struct Budget {
    budget: String,
    total: u64,
    settled: u64,
    held: u64,
    locked: u64,
    free: u64,
    price_micros: Option<u64>,
    paced: Option<Paced>,
}

/// A price that the host sets by itself.
#[derive(Deserialize)]
struct Paced {
    price_micros: u64,
}

pub(crate) fn run(args: &BudgetsArgs, printer: &Printer) -> Result<(), CliError> {
    let url = host_of(args.host.as_deref());
    let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    let failed = |error: ApiError| from_host(&url, &error);
    let api = Api::new(&url, token).map_err(failed)?;
    if let Some(path) = &args.open {
        let spec = CampaignSpec::parse(&path.display().to_string(), &file::read_text(path)?)?;
        for budget in &spec.budgets {
            let terms = json!({"total": budget.total, "per_day": budget.per_day});
            api.put_document(&format!("/v1/budgets/{}", budget.name), &terms).map_err(failed)?;
            printer.say(format_args!("budget {}: {} in all, in {url}", budget.name, budget.total));
        }
        return Ok(());
    }
    let document: Value = api.document("/v1/budgets").map_err(failed)?;
    if args.json {
        printer.json(&document);
        return Ok(());
    }
    let budgets: Vec<Budget> = serde_json::from_value(document).map_err(|error| {
        CliError::new(Exit::Refused, format_args!("{url}: the answer is not that of a Selvedge host: {error}"))
    })?;
    if budgets.is_empty() {
        printer.say(format_args!("there are no budgets in {url}; `selvedge budgets --open campaign.toml` opens some"));
        return Ok(());
    }
    let mut table = Table::new([
        ("budget", Side::Left),
        ("total", Side::Right),
        ("settled", Side::Right),
        ("held", Side::Right),
        ("of it locked", Side::Right),
        ("free", Side::Right),
        ("price", Side::Right),
        ("paced", Side::Right),
    ]);
    for budget in budgets {
        let price = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), |it| format!("{}", it as f64 / 1e6));
        let paced = price(budget.paced.map(|paced| paced.price_micros));
        let price = price(budget.price_micros);
        let amounts =
            [budget.total, budget.settled, budget.held, budget.locked, budget.free].map(|minor| minor.to_string());
        let [total, settled, held, locked, free] = amounts;
        table.row([budget.budget, total, settled, held, locked, free, price, paced]);
    }
    printer.data(table);
    Ok(())
}
