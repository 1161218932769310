//! The commands, one file each. To add one, write its file and its line in [`Command`].

#[cfg(all(feature = "compile", feature = "host"))]
mod budgets;
#[cfg(feature = "host")]
mod channels;
#[cfg(feature = "compile")]
mod compile;
#[cfg(all(feature = "compile", feature = "run", feature = "host"))]
mod diff;
#[cfg(feature = "train")]
mod eval;
#[cfg(feature = "compile")]
mod features;
#[cfg(all(feature = "run", feature = "host"))]
mod follow;
#[cfg(feature = "compile")]
mod inspect;
#[cfg(feature = "host")]
mod keygen;
#[cfg(feature = "train")]
pub(crate) mod plan;
#[cfg(feature = "host")]
mod promote;
#[cfg(feature = "host")]
mod publish;
#[cfg(feature = "run")]
mod rank;
#[cfg(feature = "run")]
mod replay;
#[cfg(feature = "host")]
mod rollback;
#[cfg(feature = "host")]
mod serve;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
pub(crate) mod uplift;

use clap::Subcommand;

use crate::error::CliError;
use crate::printer::Printer;

macro_rules! commands {
    ($($(#[$when:meta])* $variant:ident($args:ty) = $run:path,)+) => {
        /// What to do.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command { $($(#[$when])* $variant($args),)+ }

        impl Command {
            /// Does it.
            pub(crate) fn run(&self, printer: &Printer) -> Result<(), CliError> {
                match self { $($(#[$when])* Self::$variant(args) => $run(args, printer),)+ }
            }
        }
    };
}

commands! {
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs) = crate::demo::run,
    #[cfg(feature = "train")]
    Train(train::TrainArgs) = train::run,
    #[cfg(feature = "train")]
    Uplift(uplift::UpliftArgs) = uplift::run,
    #[cfg(feature = "train")]
    Plan(plan::PlanArgs) = plan::run,
    #[cfg(feature = "compile")]
    Compile(compile::CompileArgs) = compile::run,
    #[cfg(feature = "compile")]
    Inspect(inspect::InspectArgs) = inspect::run,
    #[cfg(feature = "run")]
    Rank(rank::RankArgs) = rank::run,
    #[cfg(feature = "run")]
    Replay(replay::ReplayArgs) = replay::run,
    #[cfg(feature = "train")]
    Eval(eval::EvalArgs) = eval::run,
    #[cfg(feature = "compile")]
    Features(features::FeaturesArgs) = features::run,
    #[cfg(feature = "host")]
    Keygen(keygen::KeygenArgs) = keygen::run,
    #[cfg(feature = "host")]
    Publish(publish::PublishArgs) = publish::run,
    #[cfg(feature = "host")]
    Promote(promote::PromoteArgs) = promote::run,
    #[cfg(feature = "host")]
    Rollback(rollback::RollbackArgs) = rollback::run,
    #[cfg(all(feature = "compile", feature = "host"))]
    Budgets(budgets::BudgetsArgs) = budgets::run,
    #[cfg(feature = "host")]
    Channels(channels::ChannelsArgs) = channels::run,
    #[cfg(all(feature = "compile", feature = "run", feature = "host"))]
    Diff(diff::DiffArgs) = diff::run,
    #[cfg(feature = "host")]
    Serve(serve::ServeArgs) = serve::run,
    #[cfg(all(feature = "run", feature = "host"))]
    Follow(follow::FollowArgs) = follow::run,
}
