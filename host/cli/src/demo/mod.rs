//! `selvedge demo`: from a year of shopping to a personalised flyer under wasmtime, with nothing but this command.
//!
//! The year is replayed in time order into user states and features; a LambdaMART ranker and a linear one learn from
//! four fifths of the households and each becomes a bundle; the guest module decides the flyers of the other fifth,
//! five times over so that every household is unseen once. What is printed, written to the page and to the file of
//! figures is the same [`Outcome`].
//!
//! `selvedge demo coupons` is the other half of the product in the same manner: [`coupons`] goes from a real trial of
//! incentives to offers within a budget, and [`redemption`] from coupon books that were mailed to those that are worth it.

mod coupons;
mod declared;
mod experiment;
mod latency;
mod page;
mod print;
mod redemption;
mod rows;
mod storefront;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use selvedge_runner::RunError;

use crate::error::{CliError, Exit};
use crate::guest::{self, GuestArgs};
use crate::printer::Printer;

use experiment::{Experiment, Outcome};

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Job {
    /// A year of shopping becomes a flyer for each household.
    Flyer,
    /// A trial of incentives, and coupon books that were mailed, become offers within a budget.
    Coupons,
}

/// Run the whole chain on real data, up to decisions under wasmtime.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What is shown.
    #[arg(default_value = "flyer")]
    job: Job,
    /// Write the figures as JSON: a list of {name, value, unit, command}.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the page goes.
    #[arg(long, value_name = "FILE", default_value = "target/demo/report.html")]
    report: PathBuf,
    /// Use made-up households or people instead of fetching the data.
    #[arg(long)]
    offline: bool,
    /// Use a few made-up households or people, and small models: seconds instead of minutes, and the same figures every time.
    #[arg(long)]
    quick: bool,
    /// Also write the feature rows, and how each test flyer was ranked, for other trainers to be compared on.
    #[arg(long, value_name = "DIR")]
    rows: Option<PathBuf>,
    /// Write the data of the storefront page instead: bundles, states and products.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "report", "rows"])]
    storefront: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestArgs,
}

impl DemoArgs {
    /// The command that makes the same figures again: made-up data are asked for, even if they were not this time.
    fn command(&self, is_made_up: bool) -> &'static str {
        match (self.job, self.quick, is_made_up) {
            (Job::Flyer, true, _) => "cargo xtask demo --quick",
            (Job::Flyer, false, true) => "cargo xtask demo --offline",
            (Job::Flyer, false, false) => "cargo xtask demo",
            (Job::Coupons, true, _) => "cargo xtask demo coupons --quick",
            (Job::Coupons, false, true) => "cargo xtask demo coupons --offline",
            (Job::Coupons, false, false) => "cargo xtask demo coupons",
        }
    }

    fn write_figures(&self, figures: &[Figure], printer: &Printer) -> Result<(), CliError> {
        printer.say(format_args!("report: {}", self.report.display()));
        if let Some(path) = &self.json {
            let json = serde_json::to_vec_pretty(figures).map_err(|error| CliError::new(Exit::Io, error))?;
            write(path, &json)?;
            printer.say(format_args!("figures: {}", path.display()));
        }
        Ok(())
    }
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs, printer: &Printer) -> Result<(), CliError> {
    if args.job == Job::Coupons {
        return coupons::run(args, printer);
    }
    if let Some(directory) = &args.storefront {
        return storefront::export(directory, &Experiment::prepare(args.offline, args.quick, printer)?, printer);
    }
    let module = args.guest.module()?;
    let wasm = std::fs::read(args.guest.path()?).map_err(|error| CliError::new(Exit::Io, error))?;
    let experiment = Experiment::prepare(args.offline, args.quick, printer)?;
    let outcome = experiment.run(&module, &wasm, args.rows.as_deref(), printer)?;
    let figures = outcome.figures(args.command(outcome.is_made_up));
    printer.end_progress();
    print::print(&outcome, printer);
    let html = page::report(&outcome, &figures).to_html();
    write(&args.report, html.as_bytes())?;
    args.write_figures(&figures, printer)
}

/// The name and the text of a file of a recipe.
const fn recipe(name: &'static str, text: &'static str) -> (&'static str, &'static str) {
    (name, text)
}

/// What the guest's error means here: nothing was read from a file.
fn in_guest(error: RunError) -> CliError {
    guest::failed(&error, Path::new("the demo's own bytes"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let made = parent.map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes)).map_err(|error| CliError::io("write", path, &error))
}

/// One measured number and how to measure it again.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    command: String,
}

impl Figure {
    /// Figures of one command: names, values and units.
    fn of_list<N: Into<String>>(list: impl IntoIterator<Item = (N, f64, &'static str)>, command: &str) -> Vec<Self> {
        let figure = |(name, value, unit): (N, f64, &'static str)| Self {
            name: name.into(),
            value,
            unit,
            command: command.to_owned(),
        };
        list.into_iter().map(figure).collect()
    }
}

impl Outcome {
    fn figures(&self, command: &str) -> Vec<Figure> {
        let ndcg = |method: usize| self.methods[method].mean.ndcg;
        let latency = &self.latency;
        let list = [
            ("ndcg10.unseen.selvedge", ndcg(0), "NDCG@10"),
            ("ndcg10.unseen.linear", ndcg(1), "NDCG@10"),
            ("ndcg10.unseen.repeat", ndcg(2), "NDCG@10"),
            ("ndcg10.unseen.popularity", ndcg(3), "NDCG@10"),
            ("ndcg10.unseen.flyer", ndcg(4), "NDCG@10"),
            ("ndcg10.unseen.diff", self.difference.mean, "NDCG@10"),
            ("ndcg10.unseen.diff_low", self.difference.low, "NDCG@10"),
            ("ndcg10.unseen.diff_high", self.difference.high, "NDCG@10"),
            ("queries.unseen", self.queries as f64, "queries"),
            ("decision.median_us", latency.decision.median_us, "us"),
            ("decision.p99_us", latency.decision.p99_us, "us"),
            ("decision.features_us", latency.features.median_us, "us"),
            ("decision.model_us", latency.model.median_us, "us"),
            ("decision.slate_us", latency.slate.median_us, "us"),
            ("load.median_ms", latency.load_ms, "ms"),
            ("fuel.decision", latency.fuel as f64, "fuel"),
            ("guest.bytes", self.guest.bytes as f64, "bytes"),
            ("guest.gzip_bytes", self.guest.gzip_bytes as f64, "bytes"),
            ("bundle.bytes", self.bundle.bytes as f64, "bytes"),
            ("bundle.gzip_bytes", self.bundle.gzip_bytes as f64, "bytes"),
            ("bundle.linear.gzip_bytes", self.linear_bundle.gzip_bytes as f64, "bytes"),
            ("shared_state.gzip_bytes", self.shared.gzip_bytes as f64, "bytes"),
            ("user_state.largest_bytes", self.largest_state as f64, "bytes"),
        ];
        Figure::of_list(list, command)
    }
}
