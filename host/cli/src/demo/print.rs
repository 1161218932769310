//! The outcome as text.

use selvedge_train::bootstrap::Interval;

use super::experiment::{Household, MEASURES, Outcome, Shown, Size};
use crate::printer::{BOLD, DIM, GOOD, Printer, styled};
use crate::table::{Side, Table};

/// Reasons of an item that fit a line; the page has all.
const PRINTED_REASONS: usize = 2;

/// Prints everything.
pub(super) fn print(outcome: &Outcome, printer: &Printer) {
    for household in &outcome.households {
        show(household, printer);
    }
    quality(outcome, printer);
    costs(outcome, printer);
}

fn show(household: &Household, printer: &Printer) {
    printer.data(styled(
        BOLD,
        format_args!("Household {}, flyer of week {} ({} items)", household.id, household.week, household.candidates),
    ));
    let mut table = Table::new([
        ("", Side::Right),
        ("before", Side::Left),
        ("after", Side::Left),
        ("was", Side::Right),
        ("because", Side::Left),
    ]);
    for (place, (before, after)) in household.before.iter().zip(&household.after).enumerate() {
        let reasons = after.reasons.iter().take(PRINTED_REASONS);
        let reasons: Vec<String> = reasons.map(|(text, effect)| format!("{text} {effect:+.2}")).collect();
        table.row([
            (place + 1).to_string(),
            name(before),
            name(after),
            after.flyer_place.to_string(),
            reasons.join("; "),
        ]);
    }
    printer.data(table);
    let places: Vec<String> = household.bought.iter().map(|(before, after)| format!("{before} -> {after}")).collect();
    printer.data(format_args!(
        "  {} bought (marked *), places before -> after: {}\n",
        styled(GOOD, "*"),
        places.join(", ")
    ));
}

fn name(shown: &Shown) -> String {
    let mark = if shown.bought { "* " } else { "" };
    let text: String = format!("{mark}{}", shown.name).chars().take(34).collect();
    text
}

fn interval(interval: &Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", interval.mean, interval.low, interval.high)
}

fn signed(interval: &Interval) -> String {
    format!("{:+.4} [{:+.4}, {:+.4}]", interval.mean, interval.low, interval.high)
}

fn quality(outcome: &Outcome, printer: &Printer) {
    for (label, value) in &outcome.facts {
        printer.data(format_args!("{label:>10}  {value}"));
    }
    printer.data(format_args!(
        "\n{}",
        styled(
            BOLD,
            format_args!("{} unseen flyers, mean and 95 % bootstrap interval over households", outcome.queries)
        )
    ));
    let mut columns = vec![("", Side::Left)];
    columns.extend(MEASURES.map(|measure| (measure, Side::Right)));
    let mut table = Table::new(columns);
    for method in &outcome.methods {
        let mut row = vec![method.name.to_owned()];
        row.extend(method.intervals.iter().map(interval));
        table.row(row);
    }
    for (against, intervals) in &outcome.differences {
        let mut row = vec![format!("trees - {against}")];
        row.extend(intervals.iter().map(signed));
        table.row(row);
    }
    printer.data(table);
    let verdict = if outcome.difference.low > 0.0 { "above" } else { "not above" };
    printer.data(format_args!(
        "\nThe lower bound of trees - repeat count is {verdict} zero: {}",
        signed(&outcome.difference)
    ));
    printer.data(format_args!("\n{}", styled(BOLD, "NDCG@10 by unseen fifth of the households")));
    let mut columns = vec![("fold", Side::Right), ("flyers", Side::Right)];
    columns.extend(outcome.methods.iter().map(|method| (method.name, Side::Right)));
    columns.push(("trees - repeat count", Side::Right));
    let mut table = Table::new(columns);
    for fold in &outcome.folds {
        let mut row = vec![fold.fold.to_string(), fold.queries.to_string()];
        row.extend(fold.ndcg.iter().map(|ndcg| format!("{ndcg:.4}")));
        row.push(signed(&fold.difference));
        table.row(row);
    }
    printer.data(table);
}

fn costs(outcome: &Outcome, printer: &Printer) {
    let latency = &outcome.latency;
    printer.data(format_args!(
        "\n{}",
        styled(BOLD, format_args!("A decision under wasmtime, fuel on ({} requests, microseconds)", latency.requests))
    ));
    let mut table = Table::new([("", Side::Left), ("median", Side::Right), ("p99", Side::Right)]);
    for (name, stage) in [
        ("decision", latency.decision),
        ("  features", latency.features),
        ("  model", latency.model),
        ("  slate", latency.slate),
    ] {
        table.row([name.to_owned(), format!("{:.0}", stage.median_us), format!("{:.0}", stage.p99_us)]);
    }
    printer.data(table);
    printer.data(format_args!("load {:.2} ms, {} fuel per decision\n", latency.load_ms, latency.fuel));
    let mut table = Table::new([("sizes", Side::Left), ("bytes", Side::Right), ("gzip", Side::Right)]);
    let sizes: [(&str, Size); 4] = [
        ("guest module", outcome.guest),
        ("bundle, trees", outcome.bundle),
        ("bundle, linear", outcome.linear_bundle),
        ("shared state", outcome.shared),
    ];
    for (name, size) in sizes {
        table.row([name.to_owned(), size.bytes.to_string(), size.gzip_bytes.to_string()]);
    }
    printer.data(table);
    printer.data(styled(DIM, format_args!("largest user state: {} bytes", outcome.largest_state)));
}
