//! The commands, one file each. To add one, write its file and its variant here.

#[cfg(feature = "compile")]
mod features;

use clap::Subcommand;

use crate::error::CliError;
use crate::printer::Printer;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "compile")]
    Features(features::FeaturesArgs),
}

impl Command {
    /// Does it.
    pub(crate) fn run(&self, printer: &Printer) -> Result<(), CliError> {
        match self {
            #[cfg(feature = "compile")]
            Self::Features(args) => features::run(args, printer),
        }
    }
}
