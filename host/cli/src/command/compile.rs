//! `selvedge compile`: declarations and a trained model become a bundle, with campaigns if there are any.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use selvedge_compile::{CompileReport, ModelReport, Parity, QuantiseReport, Trained, TrainedModel, compile_stages};
use selvedge_emit::{EmitError, emit};
use serde::Serialize;

use crate::bundle::hex;
use crate::campaigns::CampaignFile;
use crate::declared::{DeclaredArgs, read_trained};
use crate::error::{CliError, Exit};
use crate::file;
use crate::module::{BUILD_IT, ModuleArgs};
use crate::printer::{BOLD, Printer, styled};
use crate::sample;
use crate::table::{Side, Table};

/// Compile declarations and a trained model into a bundle, and prove that it scores like the model, bit for bit.
///
/// The trained model is what `selvedge train` writes, or a file of XGBoost (JSON, UBJSON), LightGBM (text), CatBoost
/// (JSON) or ONNX (trees, linear models, networks), known by its content. A model whose scores would not be reproduced
/// exactly, or those of a network within 1e-5, is refused. Where model.toml declares stages before it, their models are
/// read beside model.toml.
///
/// With --campaigns the bundle also decides offers. The response models that the campaigns name, as `selvedge uplift`
/// writes them, are read beside the file and become part of the bundle.
///
/// With `[quantise]` in model.toml the weights of a network become bytes or halves, by the requests of --sample. What is lost is
/// measured on them, and a model that loses more than declared is refused with exit code 1.
///
/// With --emit wasm the bundle is baked into the guest module: one file of WebAssembly that imports nothing and decides
/// (docs/reference/emit.md).
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
    /// Requests to quantise by: a decision log, or a JSON request per line.
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// The shared state in which the requests of the sample were made.
    #[arg(long, value_name = "FILE", requires = "sample")]
    shared: Option<PathBuf>,
    /// What is written.
    #[arg(long, value_name = "WHAT", default_value = "bundle")]
    emit: Emit,
    #[command(flatten)]
    module: ModuleArgs,
    /// Where it goes; otherwise bundle.svb or bundle.wasm.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Kinds of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The bundle.
    Bundle,
    /// The guest module with the bundle in it.
    Wasm,
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
    let mut stages: Vec<TrainedModel> = Vec::with_capacity(declared.model.stages.len() + 1);
    for stage in &declared.model.stages {
        let read = read_trained(&args.declared.beside_model(&stage.trained), stage.output);
        stages.push(read.map_err(|error| error.hint("a [[stage]] of model.toml names it, beside model.toml"))?);
    }
    stages.push(read_trained(&args.trained, declared.model.output)?);
    let campaigns = args.campaigns.as_deref().map(CampaignFile::read).transpose()?;
    let responses = match &campaigns {
        None => None,
        Some(file) => {
            file.spec.check(&declared.features)?;
            Some((&file.spec, file.responses()?))
        }
    };
    let campaigns_of = responses.as_ref().map(|(spec, responses)| (*spec, responses));
    let sample = args.sample.as_deref().map(|path| sample::read(path, args.shared.as_deref(), &declared.features));
    let sample = sample.transpose()?;
    let trained = Trained { stages: &stages, campaigns: campaigns_of, sample: sample.as_ref() };
    let compiled = compile_stages(&declared.features, &declared.model, trained);
    let compiled = compiled.map_err(|error| {
        // A place in a campaign, a response model or the model of a stage names its file. Otherwise what is wrong may be in
        // either of two files, and the trained one is the one whose places a message names.
        let is_of_stage = declared.model.stages.iter().any(|stage| error.place().starts_with(&stage.trained));
        let names_its_file = is_of_stage || campaigns.as_ref().is_some_and(|file| file.is_named_by(error.place()));
        let error = CliError::from(error);
        if names_its_file { error } else { error.in_file(&args.trained) }
    })?;
    let (out, bytes) = match args.emit {
        Emit::Bundle => ("bundle.svb", compiled.bytes),
        Emit::Wasm => ("bundle.wasm", baked(&args.module, &compiled.bytes)?),
    };
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(out));
    file::write(&out, &bytes)?;
    let id = hex(&compiled.id);
    if args.json {
        printer.json(&Output { id, path: &out, report: &compiled.report });
    } else {
        printer.data(format_args!("{} {id}", styled(BOLD, "bundle")));
        print_report(&compiled.report, printer);
    }
    if args.sample.is_some() && declared.model.quantise.is_none() {
        printer.warn("--sample changes nothing: model.toml does not declare `[quantise]`");
    }
    printer.say(format_args!("wrote {}", out.display()));
    Ok(())
}

/// The guest module with the bundle in it.
fn baked(module: &ModuleArgs, bundle: &[u8]) -> Result<Vec<u8>, CliError> {
    let path = module.path()?;
    let guest = file::read(&path, file::MAX_BYTES).map_err(|error| error.hint(BUILD_IT))?;
    emit(&guest, bundle).map_err(|error| {
        let refused = CliError::new(Exit::Refused, &error);
        match error {
            EmitError::Bundle(_) => refused,
            _ => refused.in_file(&path).hint(BUILD_IT),
        }
    })
}

fn print_model(number: Option<usize>, model: &ModelReport, printer: &Printer) {
    let ModelReport { trainer, parity: Parity { rows, thresholds, difference, tolerance } } = model;
    let stage = number.map_or_else(String::new, |number| format!("stage {number}: "));
    printer.data(format_args!("{stage}trained by {trainer}"));
    printer.data(match (difference, tolerance) {
        (Some(difference), Some(tolerance)) => format!(
            "{stage}parity: {rows} rows score alike within {difference:.1e} of the larger of the score and 1, {tolerance:.0e} is allowed"
        ),
        _ => format!("{stage}parity: {rows} rows score alike bit for bit, at and beside {thresholds} thresholds"),
    });
}

fn print_quantised(report: &QuantiseReport, printer: &Printer) {
    let QuantiseReport { weights, layers, tables, bytes: [before, after], candidates, loss, max_loss } = report;
    let share = 100.0 * *after as f64 / *before as f64;
    printer.data(format_args!(
        "quantised to {weights}: {layers} layers and {tables} lookups, {after} bytes of weights where {before} were ({share:.0} %)"
    ));
    printer.data(format_args!(
        "lost, by {} requests with {candidates} candidates: {:.4} % of {:.4} % allowed",
        loss.requests,
        100.0 * loss.share(),
        100.0 * max_loss
    ));
    printer.data(format_args!("  correlation of ranks {:.5} (Spearman), {:.5} (Kendall)", loss.spearman, loss.kendall));
    for (name, measure) in [("NDCG@10", loss.ndcg), ("AUC", loss.auc)] {
        if let Some([before, after]) = measure {
            printer.data(format_args!("  {name} {before:.4} before, {after:.4} after"));
        }
    }
}

fn print_report(report: &CompileReport, printer: &Printer) {
    let is_cascade = report.stages.len() > 1;
    for (model, number) in report.stages.iter().zip(1..) {
        print_model(is_cascade.then_some(number), model, printer);
    }
    if let Some(quantised) = &report.quantised {
        print_quantised(quantised, printer);
    }
    printer.data(format_args!("\n{}", report.cost.to_string().trim_end()));
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
