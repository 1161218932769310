//! `selvedge compile`: declarations and a trained model become a bundle, with campaigns if there are any.

use std::path::PathBuf;

use clap::Args;
use selvedge_compile::{CompileReport, Parity, compile, compile_with_campaigns};
use serde::Serialize;

use crate::bundle::hex;
use crate::campaigns::CampaignFile;
use crate::declared::{DeclaredArgs, read_trained};
use crate::error::CliError;
use crate::file;
use crate::printer::{BOLD, Printer, styled};
use crate::table::{Side, Table};

/// Compile declarations and a trained model into a bundle, and prove that it scores like the model, bit for bit.
///
/// The trained model is what `selvedge train` writes, or a file of XGBoost (JSON, UBJSON), LightGBM (text), CatBoost
/// (JSON) or ONNX (trees), known by its content. A model whose scores would not be reproduced exactly is refused.
///
/// With --campaigns the bundle also decides offers. The response models that the campaigns name, as `selvedge uplift`
/// writes them, are read beside the file and become part of the bundle.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    #[command(flatten)]
    declared: DeclaredArgs,
    /// The trained model.
    #[arg(long, value_name = "FILE")]
    trained: PathBuf,
    /// Campaigns whose offers the bundle decides (campaign.toml).
    #[arg(long, value_name = "TOML")]
    campaigns: Option<PathBuf>,
    /// Where the bundle goes.
    #[arg(long, value_name = "FILE", default_value = "bundle.svb")]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    id: String,
    path: &'a PathBuf,
    #[serde(flatten)]
    report: &'a CompileReport,
}

pub(crate) fn run(args: &CompileArgs, printer: &Printer) -> Result<(), CliError> {
    let declared = args.declared.read()?;
    let trained = read_trained(&args.trained, &declared.model)?;
    let campaigns = args.campaigns.as_deref().map(CampaignFile::read).transpose()?;
    let compiled = match &campaigns {
        None => compile(&declared.features, &declared.model, &trained),
        Some(file) => {
            file.spec.check(&declared.features)?;
            compile_with_campaigns(&declared.features, &declared.model, &trained, &file.spec, &file.responses()?)
        }
    };
    let compiled = compiled.map_err(|error| {
        // A place in a campaign or a response model names its file. Otherwise what is wrong may be in either of two files,
        // and the trained one is the one whose places a message names.
        let names_its_file = campaigns.as_ref().is_some_and(|file| file.is_named_by(error.place()));
        let error = CliError::from(error);
        if names_its_file { error } else { error.in_file(&args.trained) }
    })?;
    file::write(&args.out, &compiled.bytes)?;
    let id = hex(&compiled.id);
    if args.json {
        printer.json(&Output { id, path: &args.out, report: &compiled.report });
    } else {
        printer.data(format_args!("{} {id}", styled(BOLD, "bundle")));
        print_report(&compiled.report, printer);
    }
    printer.say(format_args!("wrote {}", args.out.display()));
    Ok(())
}

fn print_report(report: &CompileReport, printer: &Printer) {
    printer.data(format_args!("trained by {}", report.trainer));
    let Parity { rows, thresholds, difference } = report.parity;
    printer.data(match difference {
        None => format!("parity: {rows} rows score alike bit for bit, at and beside {thresholds} thresholds"),
        Some(difference) => {
            format!("parity: {rows} rows score alike within {difference:.1e} of the larger of the score and 1")
        }
    });
    printer.data(format_args!("\n{} bytes", report.bytes));
    let mut sections = Table::new([("section", Side::Left), ("bytes", Side::Right)]);
    for section in &report.sections {
        sections.row([section.name.clone(), section.bytes.to_string()]);
    }
    printer.data(sections);
    let mut features =
        Table::new([("feature", Side::Left), ("splits", Side::Right), ("gain", Side::Right), ("weight", Side::Right)]);
    let mut order: Vec<_> = report.features.iter().collect();
    let worth = |use_: &selvedge_compile::FeatureUse| use_.gain.max(f64::from(use_.weight.abs()));
    order.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    for feature in order {
        let shown = |is_shown: bool, text: String| if is_shown { text } else { String::new() };
        features.row([
            feature.name.clone(),
            shown(feature.splits > 0, feature.splits.to_string()),
            shown(feature.splits > 0, format!("{:.1}", feature.gain)),
            shown(feature.weight != 0.0, format!("{:.4}", feature.weight)),
        ]);
    }
    printer.data(format_args!("\n{features}"));
    let idle: Vec<&str> = report
        .features
        .iter()
        .filter(|feature| feature.splits == 0 && feature.weight == 0.0)
        .map(|feature| feature.name.as_str())
        .collect();
    if !idle.is_empty() {
        printer.warn(format_args!("the model makes no use of {}: computed, and changing nothing", idle.join(", ")));
    }
}
