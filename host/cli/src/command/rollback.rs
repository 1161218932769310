//! `selvedge rollback`: back to what decided before, or to nothing at all.

use clap::Args;
use selvedge_sync::publish::{Change, before};

use crate::error::{CliError, Exit};
use crate::printer::Printer;
use crate::registry::{RegistryArgs, SigningArgs};

/// Go back to the bundle before, end a rollout, or stop personalising.
///
/// A rollback is a new head with a higher sequence that deploys an older bundle: edges never accept an older head. If a
/// rollout is under way it ends; otherwise the newest bundle that is another one decides again.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The channel.
    channel: String,
    /// Go back to what the head of this sequence deployed.
    #[arg(long, value_name = "SEQUENCE")]
    sequence: Option<u64>,
    /// Personalise nothing: every edge answers in the order of the request, until --revive.
    #[arg(long, conflicts_with_all = ["sequence", "revive"])]
    kill: bool,
    /// Personalise again.
    #[arg(long, conflicts_with = "sequence")]
    revive: bool,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(crate) fn run(args: &RollbackArgs, printer: &Printer) -> Result<(), CliError> {
    let key = args.signing.read()?;
    let registry = args.registry.open(Some(&key))?;
    let terms = args.signing.terms();
    if args.kill || args.revive {
        let change = if args.kill { Change::Kill } else { Change::Revive };
        return registry.publish(&args.channel, change, &terms, &key, printer);
    }
    let history = registry.history(&args.channel)?;
    if history.is_empty() {
        return Err(registry.no_channel(&args.channel));
    }
    let to = match args.sequence {
        Some(sequence) => history.iter().find(|head| head.sequence == sequence),
        None => before(&history),
    };
    let to = to.ok_or_else(|| {
        let what = args.sequence.map_or_else(|| "no other bundle".to_owned(), |sequence| format!("no head {sequence}"));
        CliError::new(Exit::Usage, format_args!("channel {} has {what} in its history", args.channel))
            .hint(format_args!("`selvedge channels {}` lists its heads", args.channel))
    })?;
    registry.publish(&args.channel, Change::GoBack { to }, &terms, &key, printer)
}
