//! `selvedge diff`: what another bundle changes, in the files and in decisions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use selvedge_compile::inspect::{BundleInspection, Inspection, TableInspection, inspect};
use selvedge_format::decision::DecisionView;
use selvedge_format::record::RecordView;
use selvedge_format::{record, request as layout};
use selvedge_runner::{GuestModule, Instance};
use selvedge_wire::json;
use serde::Serialize;
use serde_json::Value;

use crate::bundle::{BundleFile, SharedFile, short};
use crate::error::{CliError, Exit};
use crate::file;
use crate::guest::{GuestArgs, failed};
use crate::log::{Stretch, stretches};
use crate::printer::{BAD, BOLD, GOOD, Printer, styled};
use crate::registry::{Registry, RegistryArgs};

/// Show what changes between two bundles: features, models, rules, sizes, and decisions on sample requests.
///
/// A bundle is a file, or a channel: `shop` is what the channel deploys, `shop@12` what its head of sequence 12 did.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The bundle before: a file, CHANNEL or CHANNEL@SEQUENCE.
    before: String,
    /// The bundle after.
    after: String,
    /// A request as JSON, or a decision log whose requests are decided again; may be given several times.
    #[arg(long, value_name = "FILE")]
    request: Vec<PathBuf>,
    /// The shared state that both decide with.
    #[arg(long, value_name = "FILE")]
    shared: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    before: String,
    after: String,
    bytes: (usize, usize),
    sections: Vec<Change>,
    features: Vec<Change>,
    fields: Vec<Change>,
    counters: Vec<Change>,
    models: Vec<Change>,
    rules: Vec<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<Decisions>,
}

/// Something that is on one side alone, or differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// What both bundles decided on the same requests.
#[derive(Debug, Default, Serialize)]
struct Decisions {
    requests: usize,
    /// The same candidates in the same slots.
    same: usize,
    /// Another candidate in the first slot.
    first_changed: usize,
    /// Candidates that both slates have, of all slots: 1 if only the order changed.
    overlap: f64,
    /// Decisions that fell back, before and after.
    fallbacks: (usize, usize),
}

pub(crate) fn run(args: &DiffArgs, printer: &Printer) -> Result<(), CliError> {
    let (before, after) = (bundle(&args.before, args)?, bundle(&args.after, args)?);
    let (old, new) = (inspected(&before, &args.before)?, inspected(&after, &args.after)?);
    let decisions = match args.request.is_empty() {
        true => None,
        false => Some(decide(&before, &after, args)?),
    };
    let report = Report {
        before: short(&before.id),
        after: short(&after.id),
        bytes: (before.bytes.len(), after.bytes.len()),
        sections: changes(
            named(&old.sections, |section| section.name.clone()),
            &named(&new.sections, |section| section.name.clone()),
        ),
        features: changes(
            named(&old.features, |feature| feature.name.clone()),
            &named(&new.features, |feature| feature.name.clone()),
        ),
        fields: changes(
            named(&old.fields, |field| field.name.clone()),
            &named(&new.fields, |field| field.name.clone()),
        ),
        counters: changes(counters(&old), &counters(&new)),
        models: changes(models(&old), &models(&new)),
        rules: changes(rules(&old), &rules(&new)),
        decisions,
    };
    if args.json {
        printer.json(&report);
    } else {
        print(&report, printer);
    }
    Ok(())
}

/// Reads a bundle from a file, or from a channel.
fn bundle(name: &str, args: &DiffArgs) -> Result<BundleFile, CliError> {
    let path = Path::new(name);
    if path.exists() {
        return BundleFile::read(path);
    }
    let (channel, sequence) = match name.split_once('@') {
        Some((channel, sequence)) => (channel, Some(sequence)),
        None => (name, None),
    };
    if !selvedge_format::head::is_name(channel, selvedge_format::head::MAX_CHANNEL) {
        return BundleFile::read(path);
    }
    let registry = args.registry.open(None)?;
    let id = deployed(&registry, channel, sequence)?;
    let bytes = registry.blob(&id)?.ok_or_else(|| {
        let message = format!("bundle {} of channel {channel} is not stored in {}", short(&id), registry.place());
        CliError::new(Exit::Io, message).hint("publish it again")
    })?;
    BundleFile::parse(bytes).map_err(|error| crate::bundle::refused("bundle", path, &error))
}

fn deployed(registry: &Registry, channel: &str, sequence: Option<&str>) -> Result<[u8; 32], CliError> {
    let Some(sequence) = sequence else {
        let head = registry.head(channel)?.ok_or_else(|| registry.no_channel(channel))?;
        return Ok(head.bundle.id);
    };
    let history = registry.history(channel)?;
    let head = history.iter().find(|head| head.sequence.to_string() == sequence);
    head.map(|head| head.bundle.id).ok_or_else(|| {
        CliError::new(Exit::Usage, format_args!("channel {channel} has no head of sequence {sequence}"))
            .hint(format_args!("`selvedge channels {channel}` lists its heads"))
    })
}

fn inspected(bundle: &BundleFile, name: &str) -> Result<BundleInspection, CliError> {
    match inspect(&bundle.bytes).map_err(|error| CliError::from(error).in_file(Path::new(name)))? {
        Inspection::Bundle(bundle) => Ok(*bundle),
        Inspection::SharedState(_) => Err(CliError::new(Exit::Refused, format_args!("{name} is no bundle"))),
    }
}

type Named = BTreeMap<String, String>;

fn named<T: Serialize>(list: &[T], name: impl Fn(&T) -> String) -> Named {
    list.iter().map(|element| (name(element), words(&serde_json::to_value(element).unwrap_or_default()))).collect()
}

/// A value in a line: what differs from nothing, without the name that stands before it.
fn words(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let fields = fields.iter().filter(|(name, value)| *name != "name" && !is_nothing(value));
    let fields = fields.map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        Value::Array(list) => format!("{name} {}", list.iter().map(plain).collect::<Vec<_>>().join(", ")),
        value => format!("{name} {value}"),
    });
    fields.collect::<Vec<_>>().join("; ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn counters(bundle: &BundleInspection) -> Named {
    let tables = [("user", &bundle.user_tables), ("global", &bundle.global_tables)];
    let tables = tables.into_iter().flat_map(|(scope, tables)| tables.iter().map(move |table| (scope, table)));
    let name = |(scope, table): (&str, &TableInspection)| {
        let capacity = table.capacity.map_or_else(String::new, |capacity| format!(", {capacity} keys"));
        (format!("{scope} {} by {}", table.event, table.by), format!("{}{capacity}", table.columns.join("; ")))
    };
    tables.map(name).collect()
}

fn models(bundle: &BundleInspection) -> Named {
    let mut models = Named::new();
    for (position, model) in bundle.models.iter().enumerate() {
        let Ok(Value::Object(fields)) = serde_json::to_value(model) else { continue };
        for (name, value) in fields {
            let Value::Array(parts) = value else {
                models.insert(format!("model {position}: {name}"), plain(&value));
                continue;
            };
            for part in parts {
                let feature = part.get("feature").map(plain).unwrap_or_default();
                let numbers = part.as_object().into_iter().flatten().filter(|(name, _)| *name != "feature");
                let numbers: Vec<_> = numbers.map(|(name, number)| format!("{name} {number}")).collect();
                models.insert(format!("model {position}: {feature}"), numbers.join(", "));
            }
        }
    }
    models
}

fn rules(bundle: &BundleInspection) -> Named {
    let mut rules: Named = bundle.policy.rules.iter().map(|rule| (rule.clone(), String::new())).collect();
    rules.insert("slots".to_owned(), bundle.policy.slate_size.to_string());
    rules
}

fn changes(before: Named, after: &Named) -> Vec<Change> {
    let new = after.iter().filter(|(name, _)| !before.contains_key(*name));
    let new: Vec<_> =
        new.map(|(what, text)| Change { what: what.clone(), before: None, after: Some(text.clone()) }).collect();
    let mut changes: Vec<_> = before
        .into_iter()
        .filter_map(|(what, before)| {
            let after = after.get(&what).cloned();
            (after.as_ref() != Some(&before)).then_some(Change { what, before: Some(before), after })
        })
        .collect();
    changes.extend(new);
    changes
}

/// Decides all requests with both bundles.
fn decide(before: &BundleFile, after: &BundleFile, args: &DiffArgs) -> Result<Decisions, CliError> {
    let module = args.guest.module()?;
    let shared = args.shared.as_deref().map(SharedFile::read).transpose()?;
    let mut old = instance(&module, before, shared.as_ref(), &args.before, args)?;
    let mut new = instance(&module, after, shared.as_ref(), &args.after, args)?;
    let mut decisions = Decisions::default();
    let mut overlap = 0.0;
    for path in &args.request {
        for (old_request, new_request) in requests(path, before, after)? {
            let decided = old.decide(&old_request).map_err(|error| failed(&error, path))?.decision.to_vec();
            let old = DecisionView::parse(&decided).map_err(|error| super::rank::malformed(&error))?;
            let decided = new.decide(&new_request).map_err(|error| failed(&error, path))?;
            let new = DecisionView::parse(decided.decision).map_err(|error| super::rank::malformed(&error))?;
            let slots = |view: &DecisionView<'_>| view.slots.iter().collect::<Vec<u32>>();
            let (slots, others) = (slots(&old), slots(&new));
            decisions.requests += 1;
            decisions.same += usize::from(slots == others);
            decisions.first_changed += usize::from(slots.first() != others.first());
            decisions.fallbacks.0 += usize::from(old.status.names().0 == "fallback");
            decisions.fallbacks.1 += usize::from(new.status.names().0 == "fallback");
            let both = slots.iter().filter(|slot| others.contains(slot)).count();
            overlap += both as f64 / slots.len().max(others.len()).max(1) as f64;
        }
    }
    if decisions.requests == 0 {
        return Err(CliError::new(Exit::Usage, "the files hold no request").hint("--request takes requests and logs"));
    }
    decisions.overlap = overlap / decisions.requests as f64;
    Ok(decisions)
}

fn instance(
    module: &GuestModule,
    bundle: &BundleFile,
    shared: Option<&SharedFile>,
    name: &str,
    args: &DiffArgs,
) -> Result<Instance, CliError> {
    let mut instance = Instance::new(module, args.guest.limits());
    instance.load(bundle.bytes.as_slice()).map_err(|error| failed(&error, Path::new(name)))?;
    if let (Some(shared), Some(path)) = (shared, &args.shared) {
        instance.load_shared(shared.bytes.as_slice()).map_err(|error| failed(&error, path))?;
    }
    Ok(instance)
}

/// A request as the bundle before reads it, and as the one after does.
type Pair = (Vec<u8>, Vec<u8>);

/// The requests of a file, as each bundle reads them: a document names fields, and the bundles may know different ones.
fn requests(path: &Path, before: &BundleFile, after: &BundleFile) -> Result<Vec<Pair>, CliError> {
    let bytes = file::read(path, file::MAX_BYTES)?;
    if bytes.starts_with(&record::MAGIC) {
        let records = stretches(&bytes).into_iter().filter_map(|stretch| match stretch {
            Stretch::Record { record: RecordView::Full { request, .. }, .. } => {
                Some((request.to_vec(), request.to_vec()))
            }
            _ => None,
        });
        return Ok(records.collect());
    }
    if bytes.starts_with(&layout::KIND.magic) {
        return Ok(vec![(bytes.clone(), bytes)]);
    }
    let read = |bundle: &BundleFile| {
        json::request(&bytes, &bundle.program)
            .map(|request| request.bytes)
            .map_err(|error| CliError::new(Exit::Usage, format_args!("{}: {error}", path.display())))
    };
    Ok(vec![(read(before)?, read(after)?)])
}

fn print(report: &Report, printer: &Printer) {
    if report.before == report.after {
        printer.data(styled(GOOD, format_args!("both are bundle {}", report.before)));
    } else {
        let (before, after) = report.bytes;
        printer.data(format_args!("{} {} bytes", styled(BAD, format_args!("- {}", report.before)), before));
        printer.data(format_args!("{} {} bytes", styled(GOOD, format_args!("+ {}", report.after)), after));
    }
    let parts = [
        ("sections", &report.sections),
        ("fields", &report.fields),
        ("counters", &report.counters),
        ("features", &report.features),
        ("models", &report.models),
        ("rules", &report.rules),
    ];
    for (title, changes) in parts.into_iter().filter(|(_, changes)| !changes.is_empty()) {
        printer.data(styled(BOLD, title));
        for Change { what, before, after } in changes {
            for (style, sign, text) in [(BAD, '-', before), (GOOD, '+', after)] {
                let Some(text) = text else { continue };
                let separator = if text.is_empty() { "" } else { ": " };
                printer.data(styled(style, format_args!("  {sign} {what}{separator}{text}")));
            }
        }
    }
    if let Some(decisions) = &report.decisions {
        printer.data(styled(BOLD, "decisions"));
        let Decisions { requests, same, first_changed, overlap, fallbacks } = decisions;
        printer.data(format_args!(
            "  {requests} requests: {same} with the same slate, {first_changed} with another first slot, \
             {:.1} % of the slots hold a candidate of both",
            overlap * 100.0
        ));
        printer.data(format_args!("  fallbacks: {} before, {} after", fallbacks.0, fallbacks.1));
    }
}
