//! `selvedge publish`: a bundle becomes what a channel deploys.

use std::path::PathBuf;

use clap::Args;
use selvedge_format::head::{GuardV1, PriceV1};
use selvedge_sync::publish::Change;

use crate::bundle::{BundleFile, SharedFile};
use crate::error::{CliError, Exit};
use crate::printer::Printer;
use crate::registry::{RegistryArgs, SigningArgs, share};

/// Deploy a bundle in a channel: for everyone, or for a share of the users.
///
/// Bundle and shared state are uploaded first; then a signed head that names them becomes the channel's newest. Edges that
/// follow the channel have it within seconds. Without a bundle what is deployed stays, with a new shared state, new
/// prices, or for longer.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The channel: 1 to 64 of a-z, 0-9, '.', '_' and '-'. It is made if it is not there.
    channel: String,
    /// The bundle, as `selvedge compile` made it.
    bundle: Option<PathBuf>,
    /// The shared state that goes with it; otherwise the one that is deployed stays.
    #[arg(long, value_name = "FILE")]
    shared: Option<PathBuf>,
    /// Deploy the bundle without a shared state.
    #[arg(long, conflicts_with = "shared", requires = "bundle")]
    no_shared: bool,
    /// Deploy it for this share of the users, such as 5%, and leave the others where they are.
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "bundle")]
    rollout: Option<u16>,
    /// The price of a budget: the value that a unit of its cost must bring; may be given several times.
    #[arg(long, value_name = "BUDGET=VALUE", value_parser = price)]
    price: Vec<PriceV1>,
    /// Edges go back by themselves when more than this share of decisions falls back, after so many, such as 2%/500.
    #[arg(long, value_name = "SHARE/DECISIONS", value_parser = guard)]
    guard: Option<GuardV1>,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(crate) fn run(args: &PublishArgs, printer: &Printer) -> Result<(), CliError> {
    let key = args.signing.read()?;
    let bundle = args.bundle.as_deref().map(BundleFile::read).transpose()?;
    let shared = args.shared.as_deref().map(SharedFile::read).transpose()?;
    let registry = args.registry.open(Some(&key))?;
    let shared = shared.map(|file| registry.put_blob(&file.id, &file.bytes)).transpose()?;
    let bundle = bundle.map(|file| registry.put_blob(&file.id, &file.bytes)).transpose()?;
    let change = match (bundle, shared) {
        (None, Some(shared)) => Change::Refresh { shared },
        (None, None) => Change::Renew,
        (Some(bundle), shared) => {
            let kept = if args.no_shared { None } else { registry.head(&args.channel)?.and_then(|head| head.shared) };
            let shared = shared.or(kept);
            match args.rollout {
                Some(share) => Change::Rollout { bundle, shared, share },
                None => Change::Deploy { bundle, shared },
            }
        }
    };
    let mut terms = args.signing.terms();
    terms.guard = args.guard;
    if !args.price.is_empty() {
        let mut prices = args.price.clone();
        prices.sort_by(|a, b| a.budget.cmp(&b.budget));
        if let Some(twice) = prices.windows(2).find(|pair| pair[0].budget == pair[1].budget) {
            let message = format!("budget {} has two prices", twice[0].budget);
            return Err(CliError::new(Exit::Usage, message).hint("give each budget one --price"));
        }
        terms.prices = Some(prices);
    }
    registry.publish(&args.channel, change, &terms, &key, printer)
}

/// Parses `BUDGET=VALUE`.
fn price(text: &str) -> Result<PriceV1, String> {
    const MILLION: f64 = 1e6;
    let (budget, value) = text.split_once('=').ok_or("a price is BUDGET=VALUE, such as autumn=1.25")?;
    let value = value.parse::<f64>().ok().filter(|value| (0.0..1e12).contains(value));
    let micros = value.ok_or("a price is a number from 0 on, such as 1.25")? * MILLION;
    Ok(PriceV1 { budget: budget.to_owned(), price_micros: micros.round() as u64 })
}

/// Parses `SHARE/DECISIONS`.
fn guard(text: &str) -> Result<GuardV1, String> {
    let (most, decisions) = text.split_once('/').ok_or("a guard is SHARE/DECISIONS, such as 2%/500")?;
    let min_decisions = decisions.parse().ok().filter(|decisions| *decisions > 0);
    let min_decisions = min_decisions.ok_or("the number of decisions is a whole number from 1 on")?;
    Ok(GuardV1 { max_fallback_share: share(most)?, min_decisions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_guards_are_read_or_refused() {
        assert_eq!(price("autumn=1.25"), Ok(PriceV1 { budget: "autumn".into(), price_micros: 1_250_000 }));
        assert_eq!(guard("2%/500"), Ok(GuardV1 { max_fallback_share: 200, min_decisions: 500 }));
        for text in ["autumn", "autumn=", "autumn=-1", "autumn=NaN"] {
            assert!(price(text).is_err(), "{text}");
        }
        for text in ["2%", "2/500", "2%/0", "2%/x"] {
            assert!(guard(text).is_err(), "{text}");
        }
    }
}
