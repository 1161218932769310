//! `selvedge eval`: how good a bundle's rankings are, against orders that need no model, or against what a log shows.

use std::path::PathBuf;

use clap::Args;
use selvedge_train::dataset::FlyerQueries;
use selvedge_train::replay::{Keep, Replay};

use crate::bundle::BundleFile;
use crate::error::{CliError, Exit};
use crate::flyer::{DataArgs, Fold, Judged, Judgement, Weeks, progress};
use crate::off_policy::{self, LogArgs};
use crate::printer::Printer;

/// Judge a bundle on weeks that it was not trained on, against flyer order, popularity and repeat purchases.
///
/// The events up to each week are replayed through the bundle's own features and state. Give the fold that `selvedge
/// train --holdout-fold` kept out: its households are new to the model. Ranking metrics come with 95 % intervals, by
/// bootstrap over households.
///
/// With --log, judge it on decisions of production instead: what its choices for the first free slot would have earned, by
/// inverse propensity scoring (IPS), self-normalised (SNIPS) and doubly robust estimates. The bundle that decided must have
/// explored; where it could not have shown what this one would, there is no estimate, and the exit code is 1.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The weeks whose flyers are ranked, first and last.
    #[arg(long, value_name = "FIRST..LAST", default_value = "49..52")]
    weeks: Weeks,
    /// The households that are judged: a fold, or `none` for all.
    #[arg(long, value_name = "FOLD", default_value = "none")]
    fold: Fold,
    #[command(flatten)]
    log: LogArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Time between refreshes of the shared state where a bundle does not say.
const DAY_S: u32 = 86_400;

pub(crate) fn run(args: &EvalArgs, printer: &Printer) -> Result<(), CliError> {
    if !args.log.log.is_empty() {
        return off_policy::run(&args.log, &args.bundle, args.json, printer);
    }
    let bundle = BundleFile::read(&args.bundle)?;
    let dataset = args.data.load(printer)?;
    args.weeks.check(&dataset, "--weeks")?;
    let posed = FlyerQueries::build(&dataset, args.weeks.range());
    let refresh_s = Some(bundle.names.shared_refresh_s).filter(|seconds| *seconds > 0).unwrap_or(DAY_S);
    let replay = Replay { dataset: &dataset, program: &bundle.program, refresh_ms: i64::from(refresh_s) * 1000 };
    let judges = |query: &_| args.fold == Fold::None || args.fold.holds(&dataset, query);
    let keep = |_, query: &_| if judges(query) { Keep::Request } else { Keep::Nothing };
    let replayed = replay.run(&posed.queries, keep, &mut progress(printer))?;
    let judged = Judged::new(&bundle.bytes, &dataset, &posed.queries, &replayed)
        .map_err(|error| crate::bundle::refused("bundle", &args.bundle, &error))?;
    printer.end_progress();
    if judged.queries() == 0 {
        let message = format!("no household of fold {} bought from its flyer in the weeks {}", args.fold, args.weeks);
        return Err(CliError::new(Exit::Usage, message).hint("choose other --weeks or another --fold"));
    }
    let judgement = Judgement::new(&judged, &dataset, &args.weeks, args.fold, posed.left_out);
    if args.json {
        printer.json(&judgement);
    } else {
        judgement.print(printer);
    }
    Ok(())
}
