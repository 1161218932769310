//! `selvedge uplift`: a trial becomes the response model of a campaign, if targeting pays.

use std::path::PathBuf;

use clap::Args;
use selvedge_train::bootstrap::{Bootstrap, Interval};
use selvedge_uplift::compare::{Contest, Finding, Verdict};
use selvedge_uplift::table::{Columns, Origin};
use selvedge_uplift::{file as response_file, report};
use serde::Serialize;

use crate::campaigns::CampaignFile;
use crate::error::{CliError, Exit};
use crate::file;
use crate::printer::{BOLD, GOOD, Printer, styled};
use crate::table::{Side, Table};
use crate::trial::{arms, model_of, only_arm, read_table, settings};

/// Budgets at which the report shows value, as shares of the one that is asked about.
const SHOWN: [f64; 5] = [0.25, 0.5, 1.0, 1.5, 2.0];
/// Resamples of an interval: there are dozens of them, and a trial may have 100,000 rows.
const RESAMPLES: usize = 1_000;

/// Learn from a trial who responds to which offer, and whether it pays.
///
/// Policies are compared at equal budget; the winner's response model is written.
///
/// The trial is a CSV with a line of names: a column with the offer that each row was given, or `none`; a column with the
/// outcome, 0 or 1; and the features, named as features.toml names them. Offers, costs, margin and budget are the
/// campaign's. Compared are treating nobody, each offer for all, a response model, and learners of the effect (S, T, X and
/// DR, each linear and with trees), each on rows that its model has not seen. Nothing is written, and the exit code is 1,
/// where the trial is too small to tell whether offers pay at all.
#[derive(Debug, Args)]
pub(crate) struct UpliftArgs {
    /// The campaign's declaration (campaign.toml).
    #[arg(long, value_name = "TOML")]
    campaigns: PathBuf,
    /// Which campaign, if the file declares several.
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// The trial; - reads standard input.
    #[arg(long, value_name = "CSV", help_heading = "Trial")]
    trial: PathBuf,
    /// The column that has the outcome, 0 or 1.
    #[arg(long, value_name = "COLUMN", help_heading = "Trial")]
    outcome: String,
    /// The column that has the arm.
    #[arg(long, value_name = "COLUMN", default_value = "arm", help_heading = "Trial")]
    arm: String,
    /// What the trial calls the arm without an offer.
    #[arg(long, value_name = "NAME", default_value = "none", help_heading = "Trial")]
    control: String,
    /// The column with the probability of the row's arm; with more than two arms, the columns COLUMN.ARM. Otherwise the arms'
    /// shares of the rows.
    #[arg(long, value_name = "COLUMN", help_heading = "Trial")]
    propensity: Option<String>,
    /// A column that is no feature; may be given several times.
    #[arg(long, value_name = "COLUMN", help_heading = "Trial")]
    ignore: Vec<String>,
    /// Arms were not drawn: go on without checking that they were, and say so.
    #[arg(long, help_heading = "Trial")]
    observational: bool,
    /// What may be spent on as many users as the trial has, in minor units; otherwise what the campaign's budgets have.
    #[arg(long, value_name = "MINOR")]
    budget: Option<f64>,
    /// Write the model of this policy, whether it wins or not.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Where the response model goes; otherwise where the campaign says.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the comparison as a page, with curves.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the comparison as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    rows: usize,
    observational: bool,
    arms: Vec<ArmOutput<'a>>,
    budget: f64,
    policies: Vec<PolicyOutput<'a>>,
    winner: &'a str,
    runner_up: &'a str,
    lead: [f64; 3],
    finding: &'static str,
    reason: &'a str,
    wrote: Option<&'a PathBuf>,
}

#[derive(Serialize)]
struct ArmOutput<'a> {
    name: &'a str,
    rows: usize,
    response: f64,
    /// The smallest effect that the arm's rows would show four times in five; none for the control.
    detectable: Option<f64>,
}

/// Per row, in minor units.
#[derive(Serialize)]
struct PolicyOutput<'a> {
    name: &'a str,
    gain: [f64; 3],
    cost: f64,
    response: Option<[f64; 3]>,
    treated: f64,
}

pub(crate) fn run(args: &UpliftArgs, printer: &Printer) -> Result<(), CliError> {
    let declared = CampaignFile::read(&args.campaigns)?;
    let campaign = declared.campaign(args.campaign.as_deref())?;
    let mut names: Vec<String> = arms(campaign).into_iter().map(str::to_owned).collect();
    names[0].clone_from(&args.control);
    let columns = Columns {
        arm: args.arm.clone(),
        outcome: args.outcome.clone(),
        propensity: args.propensity.clone(),
        ignored: args.ignore.clone(),
    };
    let origin = if args.observational { Origin::Observed } else { Origin::Drawn };
    let trial = read_table(&args.trial)?
        .trial(&columns, &names, origin)
        .map_err(|error| CliError::from(error).in_file(&args.trial))?;
    let budget = args.budget.unwrap_or_else(|| declared.budget(campaign)) / trial.rows() as f64;

    printer.progress("learning from the trial", 0, 0);
    let settings = settings(campaign, &trial, Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() })?;
    let contest = Contest::new(trial, settings)?;
    let verdict = contest.verdict(budget)?;
    printer.end_progress();
    let shipped = args.shipped(&contest, &verdict)?;
    let out = args.out.clone().unwrap_or_else(|| declared.response_path(campaign));
    let model = model_of(&contest, &contest.policies[shipped]);
    if let Some(model) = &model {
        let bytes = response_file::write(model, contest.trial().features(), &arms(campaign));
        file::write(&out, &bytes.map_err(|error| CliError::new(Exit::Io, error))?)?;
    }
    let wrote = model.is_some().then_some(&out);
    if args.json {
        printer.json(&output(&contest, &verdict, wrote));
    } else {
        print(&contest, &verdict, printer);
    }
    if let Some(path) = &args.report {
        let title = format!("Does `{}` pay?", campaign.name);
        let page = report::html(&title, &contest, &verdict, &SHOWN.map(|share| share * budget))?;
        file::write(path, page.as_bytes())?;
        printer.say(format_args!("report: {}", path.display()));
    }
    warn(&contest, printer);
    match wrote {
        None => Err(CliError::answer_is_no()),
        Some(path) => {
            let policy = &contest.policies[shipped];
            printer.say(format_args!("wrote {}, the model of `{}`", path.display(), policy.name));
            if let (Some(arm), true) = (only_arm(&policy.rule), contest.trial().arm_count() > 2) {
                let arm = &contest.trial().arms()[arm];
                printer.warn(format_args!("`{}` gives `{arm}` and nothing else", policy.name));
                printer.hint(format_args!(
                    "take the other offers out of `{}`: what was compared is without them",
                    campaign.name
                ));
            }
            Ok(())
        }
    }
}

impl UpliftArgs {
    /// The policy whose model is written.
    fn shipped(&self, contest: &Contest, verdict: &Verdict) -> Result<usize, CliError> {
        let Some(name) = &self.policy else { return Ok(verdict.winner) };
        contest.policies.iter().position(|policy| policy.name == *name).ok_or_else(|| {
            let names: Vec<&str> = contest.policies.iter().map(|policy| policy.name.as_str()).collect();
            let message = format!("there is no policy `{name}`");
            CliError::new(Exit::Usage, message).hint(format_args!("there are {}", names.join("; ")))
        })
    }
}

const fn numbers(interval: &Interval) -> [f64; 3] {
    [interval.mean, interval.low, interval.high]
}

fn output<'a>(contest: &'a Contest, verdict: &'a Verdict, wrote: Option<&'a PathBuf>) -> Output<'a> {
    let trial = contest.trial();
    let arm = |(at, name): (usize, &'a String)| ArmOutput {
        name,
        rows: trial.rows_of(&[at]).len(),
        response: trial.response(at),
        detectable: (at > 0).then(|| trial.power(at).detectable),
    };
    let policies = verdict.table.iter().map(|worth| PolicyOutput {
        name: &contest.policies[worth.policy].name,
        gain: numbers(&worth.gain),
        cost: worth.cost,
        response: worth.response.as_ref().map(numbers),
        treated: worth.treated,
    });
    Output {
        rows: trial.rows(),
        observational: trial.is_observational(),
        arms: trial.arms().iter().enumerate().map(arm).collect(),
        budget: verdict.budget,
        policies: policies.collect(),
        winner: &contest.policies[verdict.winner].name,
        runner_up: &contest.policies[verdict.runner_up].name,
        lead: numbers(&verdict.lead),
        finding: finding(verdict.finding),
        reason: &verdict.reason,
        wrote,
    }
}

const fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Clear => "clear",
        Finding::NotFromTheNext => "not-from-the-next",
        Finding::NotFromNothing => "not-from-nothing",
    }
}

/// The arms of a trial and the policies of a verdict, as tables, and its reason.
pub(crate) fn print(contest: &Contest, verdict: &Verdict, printer: &Printer) {
    printer.data(arms_table(contest));
    printer.data(format_args!(
        "\n{}",
        styled(BOLD, format_args!("Per row at a budget of {:.3}, on rows that no model had seen", verdict.budget))
    ));
    printer.data(policies_table(contest, verdict));
    printer.data(format_args!("\n{}", verdict.reason));
}

fn arms_table(contest: &Contest) -> Table {
    let trial = contest.trial();
    let mut table = Table::new([
        ("arm", Side::Left),
        ("rows", Side::Right),
        ("respond", Side::Right),
        ("effect", Side::Right),
        ("smallest to be seen", Side::Right),
    ]);
    let control = trial.response(0);
    for (at, name) in trial.arms().iter().enumerate() {
        let of_offers = |text: String| if at > 0 { text } else { String::new() };
        table.row([
            name.clone(),
            trial.rows_of(&[at]).len().to_string(),
            format!("{:.4}", trial.response(at)),
            of_offers(format!("{:+.4}", trial.response(at) - control)),
            of_offers(format!("{:.4}", trial.power(at).detectable)),
        ]);
    }
    table
}

fn policies_table(contest: &Contest, verdict: &Verdict) -> Table {
    let mut table = Table::new([
        ("policy", Side::Left),
        ("earned above nobody", Side::Right),
        ("95 % interval", Side::Right),
        ("spent", Side::Right),
        ("treated", Side::Right),
        ("", Side::Left),
    ]);
    for worth in &verdict.table {
        let is_winner = worth.policy == verdict.winner;
        table.row([
            contest.policies[worth.policy].name.clone(),
            format!("{:.4}", worth.gain.mean),
            format!("{:.4} to {:.4}", worth.gain.low, worth.gain.high),
            format!("{:.4}", worth.cost),
            format!("{:.0} %", worth.treated * 100.0),
            if is_winner { styled(GOOD, "ships") } else { String::new() },
        ]);
    }
    table
}

/// Warns of arms whose effect is smaller than their rows can show.
fn warn(contest: &Contest, printer: &Printer) {
    let trial = contest.trial();
    for arm in 1..trial.arm_count() {
        let effect = (trial.response(arm) - trial.response(0)).abs();
        // Of an effect of nothing no number of rows is enough.
        if effect > 0.0
            && let Some(too_small) = trial.too_small(arm, effect)
        {
            printer.warn(too_small);
        }
    }
}
