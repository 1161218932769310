//! `selvedge replay`: the decisions of a log again, compared to the byte.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use clap::Args;
use selvedge_format::decision::DecisionView;
use selvedge_format::record::RecordView;
use selvedge_runner::Instance;
use serde::Serialize;

use crate::bundle::{BundleFile, SharedFile, hex, short};
use crate::difference::{Difference, differences};
use crate::error::{CliError, Exit};
use crate::file;
use crate::guest::{GuestArgs, failed};
use crate::log::{Stretch, stretches};
use crate::printer::{BAD, GOOD, Printer, styled};

/// Decide again what a log has recorded, and compare the decisions byte by byte.
///
/// A decision is a function of its request, bundle and shared state, so every record must come out the same. Where one
/// does not, the first difference of each field is shown, with the bits of numbers. A damaged stretch of the log is
/// reported, and the records around it are replayed.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The log that `selvedge rank --record` or a host wrote.
    log: PathBuf,
    /// A bundle that decided; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    bundle: Vec<PathBuf>,
    /// A shared state that was in place; may be given several times.
    #[arg(long, value_name = "FILE")]
    shared: Vec<PathBuf>,
    #[command(flatten)]
    guest: GuestArgs,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// What came of a log.
#[derive(Debug, Default, Serialize)]
struct Report {
    records: usize,
    equal: usize,
    different: Vec<Differing>,
    /// Decisions whose request was not kept.
    digests: usize,
    /// Events that followed decisions.
    outcomes: usize,
    /// Records whose bundle or shared state is not at hand, by what is missing.
    not_at_hand: BTreeMap<String, usize>,
    damage: Vec<Damage>,
}

#[derive(Debug, Serialize)]
struct Differing {
    record: usize,
    at: usize,
    request_id: String,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Damage {
    from: usize,
    to: usize,
    error: String,
}

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> Result<(), CliError> {
    let log = file::read(&args.log, file::MAX_BYTES)?;
    let mut decider = Decider::new(args)?;
    let mut report = Report::default();
    let cut = stretches(&log);
    for (done, stretch) in cut.iter().enumerate() {
        printer.progress("replaying decisions", done as u64, cut.len() as u64);
        match stretch {
            Stretch::Record { at, record: RecordView::Full { request, decision } } => {
                replay(&mut decider, &mut report, *at, request, decision, args)?;
            }
            Stretch::Record { record: RecordView::Digest(_), .. } => report.digests += 1,
            Stretch::Record { record: RecordView::Outcome(_), .. } => report.outcomes += 1,
            Stretch::Damage { range, error } => {
                report.damage.push(Damage { from: range.start, to: range.end, error: error.to_string() });
            }
        }
    }
    printer.end_progress();
    if args.json {
        printer.json(&report);
    } else {
        print(&report, printer);
    }
    verdict(&report, args)
}

fn replay(
    decider: &mut Decider,
    report: &mut Report,
    at: usize,
    request: &[u8],
    decision: &[u8],
    args: &ReplayArgs,
) -> Result<(), CliError> {
    let number = report.records;
    report.records += 1;
    let recorded = match DecisionView::parse(decision) {
        Ok(recorded) => recorded,
        Err(error) => {
            let to = at + RecordView::Full { request, decision }.encoded_len();
            report.damage.push(Damage { from: at, to, error: format!("the recorded decision is refused: {error}") });
            return Ok(());
        }
    };
    let instance = match decider.instance(&recorded, args)? {
        Ok(instance) => instance,
        Err(missing) => {
            *report.not_at_hand.entry(missing).or_default() += 1;
            return Ok(());
        }
    };
    let decided = instance.decide(request).map_err(|error| failed(&error, &args.log))?;
    if decided.decision == decision {
        report.equal += 1;
    } else {
        let replayed = DecisionView::parse(decided.decision).map_err(|error| super::rank::malformed(&error))?;
        report.different.push(Differing {
            record: number,
            at,
            request_id: hex(&recorded.request_id),
            differences: differences(&recorded, &replayed),
        });
    }
    Ok(())
}

fn print(report: &Report, printer: &Printer) {
    for differing in &report.different {
        let Differing { record, at, request_id, differences } = differing;
        printer.data(format_args!("{} record {record} (byte {at}, request {request_id})", styled(BAD, "different")));
        for difference in differences {
            printer.data(format_args!("  {difference}"));
        }
    }
    let style = if report.different.is_empty() { GOOD } else { BAD };
    let equal = format!("{} of {} decisions reproduced to the byte", report.equal, report.records);
    printer.data(styled(style, equal));
    if report.digests + report.outcomes > 0 {
        printer.data(format_args!("passed over: {} digests, {} outcomes", report.digests, report.outcomes));
    }
}

fn verdict(report: &Report, args: &ReplayArgs) -> Result<(), CliError> {
    let log = args.log.display();
    let damaged: usize = report.damage.iter().map(|damage| damage.to - damage.from).sum();
    let first = report.damage.first();
    let damage = first.map(|first| {
        let places: Vec<String> =
            report.damage.iter().map(|damage| format!("{} to {}", damage.from, damage.to)).collect();
        let message = format!("{damaged} bytes of {log} are no record (bytes {}): {}", places.join(", "), first.error);
        CliError::new(Exit::Refused, message)
            .hint("all other records were replayed; a log that is being written may end in half a record")
    });
    let missing = (!report.not_at_hand.is_empty()).then(|| {
        let list: Vec<String> = report.not_at_hand.iter().map(|(what, count)| format!("{what} ({count})")).collect();
        let message = format!("records of {log} were decided with what is not at hand: {}", list.join(", "));
        CliError::new(Exit::Usage, message).hint("name the files with --bundle and --shared")
    });
    match (report.different.is_empty(), damage, missing) {
        (false, ..) => Err(CliError::answer_is_no()),
        (true, Some(damage), _) => Err(damage),
        (true, None, Some(missing)) => Err(missing),
        (true, None, None) => Ok(()),
    }
}

/// The bundles and shared states at hand, and an instance for each pair that a record asks for.
struct Decider {
    module: selvedge_runner::GuestModule,
    bundles: Vec<BundleFile>,
    shared: Vec<SharedFile>,
    instances: BTreeMap<([u8; 32], [u8; 32]), Instance>,
}

impl Decider {
    fn new(args: &ReplayArgs) -> Result<Self, CliError> {
        Ok(Self {
            bundles: args.bundle.iter().map(|path| BundleFile::read(path)).collect::<Result<_, _>>()?,
            shared: args.shared.iter().map(|path| SharedFile::read(path)).collect::<Result<_, _>>()?,
            module: args.guest.module()?,
            instances: BTreeMap::new(),
        })
    }

    /// The instance for a decision, or the name of what is missing.
    fn instance(
        &mut self,
        decision: &DecisionView<'_>,
        args: &ReplayArgs,
    ) -> Result<Result<&mut Instance, String>, CliError> {
        let pair = (decision.bundle_id, decision.shared_id);
        let vacant = match self.instances.entry(pair) {
            Entry::Occupied(instance) => return Ok(Ok(instance.into_mut())),
            Entry::Vacant(vacant) => vacant,
        };
        let Some((path, bundle)) = args.bundle.iter().zip(&self.bundles).find(|(_, bundle)| bundle.id == pair.0) else {
            return Ok(Err(format!("bundle {}", short(&pair.0))));
        };
        let mut instance = Instance::new(&self.module, args.guest.limits());
        instance.load(bundle.bytes.as_slice()).map_err(|error| failed(&error, path))?;
        if pair.1 != [0; 32] {
            let Some((path, shared)) = args.shared.iter().zip(&self.shared).find(|(_, shared)| shared.id == pair.1)
            else {
                return Ok(Err(format!("shared state {}", short(&pair.1))));
            };
            instance.load_shared(shared.bytes.as_slice()).map_err(|error| failed(&error, path))?;
        }
        Ok(Ok(vacant.insert(instance)))
    }
}
