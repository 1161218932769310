//! `selvedge train`: events become features, features and outcomes become a model.

use std::path::PathBuf;

use clap::Args;
use selvedge_compile::{TrainedModel, compile, import, lower_program};
use selvedge_train::dataset::{Dataset, FlyerQueries, Query};
use selvedge_train::learn::TrainingSet;
use selvedge_train::replay::{Keep, Replay, Replayed};
use serde::Serialize;

use crate::declared::DeclaredArgs;
use crate::error::{CliError, Exit};
use crate::file;
use crate::flyer::{DataArgs, Fold, Judged, Judgement, Weeks, progress};
use crate::learner;
use crate::printer::Printer;

/// Train a model on replayed events, and judge it on later weeks.
///
/// The data set is replayed in time order through the engine's own state and features, so that no feature sees the
/// future. The learner of model.toml is trained on the flyers of --weeks and judged on those of --tune, on the
/// households that were held out.
///
/// Written into --out: model.json, for `selvedge compile`; shared-state.bin, as of the last refresh that the replay saw;
/// and an example of a request with its user's state, for `selvedge rank`.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    declared: DeclaredArgs,
    #[command(flatten)]
    data: DataArgs,
    /// The weeks that are learned from, first and last.
    #[arg(long, value_name = "FIRST..LAST", default_value = "9..39", help_heading = "Data")]
    weeks: Weeks,
    /// The later weeks that the model is judged on, first and last.
    #[arg(long, value_name = "FIRST..LAST", default_value = "40..48", help_heading = "Data")]
    tune: Weeks,
    /// The fold of households (0 to 4) that is not learned from, or `none`.
    #[arg(long, value_name = "FOLD", default_value = "0", help_heading = "Data")]
    holdout_fold: Fold,
    /// The directory that is written.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    out: &'a PathBuf,
    trained_queries: usize,
    trained_rows: usize,
    largest_user_state_bytes: usize,
    tuning: &'a Judgement,
}

pub(crate) fn run(args: &TrainArgs, printer: &Printer) -> Result<(), CliError> {
    let declared = args.declared.read()?;
    let program = lower_program(&declared.features)?;
    let (negatives, seed) = learner::sampling(&declared.model)?;
    if args.tune.first() <= args.weeks.last() {
        let message = format!(
            "--tune {} must come after --weeks {}: a model is judged on what it has not seen",
            args.tune, args.weeks
        );
        return Err(CliError::new(Exit::Usage, message));
    }
    let dataset = args.data.load(printer)?;
    args.weeks.check(&dataset, "--weeks")?;
    args.tune.check(&dataset, "--tune")?;

    let mut queries = FlyerQueries::build(&dataset, args.weeks.range()).queries;
    let tuning = FlyerQueries::build(&dataset, args.tune.range());
    queries.extend(tuning.queries);
    let refresh_ms = i64::from(declared.features.shared_refresh.get()) * 1000;
    let replay = Replay { dataset: &dataset, program: &program, refresh_ms };
    let keep = |_, query: &Query| args.keep(&dataset, query);
    let replayed = replay.run(&queries, keep, &mut progress(printer))?;

    let mut set = TrainingSet::new(declared.features.features.len());
    for rows in &replayed.rows {
        set.push(rows.query as u32, &rows.values, &queries[rows.query].relevant, negatives, seed);
    }
    let trained = learner::learn(&declared.features, &declared.model, &set, printer)?;
    let model = import(&trained)?;
    // The model is judged by itself: stages before it are no part of what was trained.
    let mut alone = declared.model.clone();
    alone.stages.clear();
    let bundle = compile(&declared.features, &alone, &model)?;
    let judged = Judged::new(&bundle.bytes, &dataset, &queries, &replayed)
        .map_err(|error| CliError::new(Exit::No, format_args!("the engine refuses the trained model: {error}")))?;
    printer.end_progress();

    file::write(&args.out.join("model.json"), &trained)?;
    if let Some(shared) = replayed.shared_states.last() {
        file::write(&args.out.join("shared-state.bin"), shared)?;
    }
    write_example(args, &dataset, &queries, &replayed)?;
    let judgement = Judgement::new(&judged, &dataset, &args.tune, args.holdout_fold, tuning.left_out);
    if args.json {
        printer.json(&Output {
            out: &args.out,
            trained_queries: set.groups.len(),
            trained_rows: set.labels.len(),
            largest_user_state_bytes: replayed.largest_state,
            tuning: &judgement,
        });
    } else {
        printer.data(format_args!(
            "trained on {} rows of {} queries, weeks {}",
            set.labels.len(),
            set.groups.len(),
            args.weeks
        ));
        judgement.print(printer);
    }
    say_what_was_made(args, &model, printer);
    Ok(())
}

impl TrainArgs {
    fn keep(&self, dataset: &Dataset, query: &Query) -> Keep {
        let held_out = self.holdout_fold.holds(dataset, query);
        match self.weeks.contains(query.week) {
            true if held_out => Keep::Nothing,
            true => Keep::Rows,
            false if held_out || self.holdout_fold == Fold::None => Keep::Request,
            false => Keep::Nothing,
        }
    }
}

/// The last request of the tuning weeks, as a client would send it: the user's state beside it.
fn write_example(args: &TrainArgs, dataset: &Dataset, queries: &[Query], replayed: &Replayed) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Example<'a> {
        time: i64,
        candidates: Vec<Candidate<'a>>,
    }
    #[derive(Serialize)]
    struct Candidate<'a> {
        id: &'a str,
    }
    let Some(case) = replayed.cases.last() else { return Ok(()) };
    let query = &queries[case.query];
    let candidates = query.candidates.iter().map(|item| Candidate { id: &dataset.items[*item as usize].id });
    let example = Example { time: query.time_ms, candidates: candidates.collect() };
    let json = serde_json::to_vec_pretty(&example).unwrap_or_default();
    file::write(&args.out.join("request.json"), &json)?;
    let view = selvedge_format::request::RequestView::parse(&case.request, crate::show::limits());
    let state = view.map(|view| view.state.to_vec()).unwrap_or_default();
    file::write(&args.out.join("user-state.bin"), &state)
}

fn say_what_was_made(args: &TrainArgs, model: &TrainedModel, printer: &Printer) {
    let what = match model {
        TrainedModel::Trees(trees) => format!("{} trees", trees.trees()),
        TrainedModel::Linear(linear) => format!("{} weights", linear.weights.len()),
        #[cfg(feature = "onnx")]
        TrainedModel::Onnx(_) => "a graph".to_owned(),
    };
    let (out, declared) = (args.out.display(), args.declared.model().display());
    printer.say(format_args!("wrote {out}/model.json ({what}), shared-state.bin, request.json and user-state.bin"));
    printer.hint(format_args!(
        "`selvedge compile --model {declared} --trained {out}/model.json --out {out}/bundle.svb` makes a bundle of it"
    ));
}
