//! `selvedge features`: what can be written in features.toml.

use clap::Args;

use crate::error::CliError;
use crate::printer::Printer;

/// Print the reference of features.toml: every kind of feature, its parameters, defaults and an example.
#[derive(Debug, Args)]
pub(crate) struct FeaturesArgs {}

pub(crate) fn run(_: &FeaturesArgs, printer: &Printer) -> Result<(), CliError> {
    printer.data(selvedge_spec::reference_markdown().trim_end());
    Ok(())
}
