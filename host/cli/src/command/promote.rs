//! `selvedge promote`: more users, everyone, or another channel get a bundle that has proven itself.

use clap::Args;
use selvedge_sync::publish::Change;

use crate::error::{CliError, Exit};
use crate::printer::Printer;
use crate::registry::{RegistryArgs, SigningArgs, share};

/// Give a rollout's bundle to everyone, to a larger share of the users, or to another channel.
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The channel.
    channel: String,
    /// Give the rollout's bundle to this share of the users instead of everyone.
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "from")]
    share: Option<u16>,
    /// Deploy what this other channel deploys for everyone.
    #[arg(long, value_name = "CHANNEL")]
    from: Option<String>,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(crate) fn run(args: &PromoteArgs, printer: &Printer) -> Result<(), CliError> {
    let key = args.signing.read()?;
    let registry = args.registry.open(Some(&key))?;
    let change = match &args.from {
        None => Change::Promote { share: args.share },
        Some(from) => {
            let head = registry.head(from)?.ok_or_else(|| registry.no_channel(from))?;
            if head.killed {
                let message = format!("channel {from} is killed: what it deploys decides nothing there");
                return Err(CliError::new(Exit::Usage, message).hint("`selvedge rollback --revive` ends that"));
            }
            Change::Deploy { bundle: head.bundle, shared: head.shared }
        }
    };
    registry.publish(&args.channel, change, &args.signing.terms(), &key, printer)
}
