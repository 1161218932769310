//! The commands, one file each. To add one, write its file and its line in [`Command`].

#[cfg(feature = "compile")]
mod compile;
#[cfg(feature = "train")]
mod eval;
#[cfg(feature = "compile")]
mod features;
#[cfg(feature = "compile")]
mod inspect;
#[cfg(feature = "run")]
mod rank;
#[cfg(feature = "run")]
mod replay;
#[cfg(feature = "train")]
mod train;

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
}
