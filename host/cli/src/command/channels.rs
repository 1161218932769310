//! `selvedge channels`: what is deployed where, and what was.

use clap::Args;
use selvedge_format::head::HeadV1;
use serde_json::{Value, json};

use crate::bundle::{hex, short};
use crate::error::CliError;
use crate::printer::Printer;
use crate::registry::{RegistryArgs, percent, time};
use crate::table::{Side, Table};

/// List channels and what they deploy, or the heads that a channel had.
#[derive(Debug, Args)]
pub(crate) struct ChannelsArgs {
    /// Show the heads of this channel, newest first.
    channel: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ChannelsArgs, printer: &Printer) -> Result<(), CliError> {
    let registry = args.registry.open(None)?;
    let heads = match &args.channel {
        None => registry.list()?,
        Some(channel) => registry.history(channel)?,
    };
    if let (Some(channel), true) = (&args.channel, heads.is_empty()) {
        return Err(registry.no_channel(channel));
    }
    if args.json {
        printer.json(&heads.iter().map(document).collect::<Vec<_>>());
        return Ok(());
    }
    if heads.is_empty() {
        printer.say(format_args!("there are no channels in {}; `selvedge publish` makes one", registry.place()));
        return Ok(());
    }
    let mut table = Table::new([
        ("channel", Side::Left),
        ("sequence", Side::Right),
        ("published", Side::Left),
        ("believed until", Side::Left),
        ("bundle", Side::Left),
        ("bytes", Side::Right),
        ("shared state", Side::Left),
        ("rollout", Side::Left),
        ("", Side::Left),
    ]);
    for head in &heads {
        let rollout = head.rollout.map(|rollout| format!("{} {}", short(&rollout.bundle.id), percent(rollout.share)));
        table.row([
            head.channel.clone(),
            head.sequence.to_string(),
            time(head.issued_ms),
            time(head.not_after_ms),
            short(&head.bundle.id),
            head.bundle.size.to_string(),
            head.shared.map_or_else(|| "-".to_owned(), |shared| short(&shared.id)),
            rollout.unwrap_or_else(|| "-".to_owned()),
            if head.killed { "killed".to_owned() } else { String::new() },
        ]);
    }
    printer.data(table);
    Ok(())
}

/// A head as scripts read it: ids in hexadecimal, shares of 1.
fn document(head: &HeadV1) -> Value {
    let blob = |blob: &selvedge_format::head::BlobV1| json!({ "id": hex(&blob.id), "bytes": blob.size });
    let share = |share: u16| f64::from(share) / f64::from(selvedge_format::head::SHARE);
    json!({
        "channel": head.channel,
        "sequence": head.sequence,
        "issued": time(head.issued_ms),
        "not_before": time(head.not_before_ms),
        "not_after": time(head.not_after_ms),
        "bundle": blob(&head.bundle),
        "shared": head.shared.as_ref().map(blob),
        "rollout": head.rollout.map(|rollout| json!({
            "bundle": blob(&rollout.bundle),
            "shared": rollout.shared.as_ref().map(blob),
            "share": share(rollout.share),
        })),
        "prices": head.prices.iter().map(|price| json!({
            "budget": price.budget,
            "price": price.price_micros as f64 / 1e6,
        })).collect::<Vec<_>>(),
        "guard": head.guard.map(|guard| json!({
            "max_fallback_share": share(guard.max_fallback_share),
            "min_decisions": guard.min_decisions,
        })),
        "killed": head.killed,
    })
}
