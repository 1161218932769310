//! Tables of the outcome: on a terminal, and as the page `docs/benchmarks/compare.md`.

use std::fmt::Write as _;
use std::process::Command;

use crate::chart::{self, number};
use crate::contest::{Absent, Figure, Outcome, QUIET, Start};
use crate::engines::{ENGINES, Part};
use crate::workload;

/// What each workload is.
const ABOUT: [(&str, &str); 6] = [
    ("mlp", "a network 64-128-64-1 with relu, f32"),
    (
        "mlp-int8",
        "the same network with weights and values of 8 bits, where an engine has them; else its f32 (see settings)",
    ),
    ("mlp-shared", "the same network; half of the 64 inputs are the request's, the same in all rows"),
    (
        "din",
        "target attention: each candidate over a history of 50, 32 dimensions, attention 80-40-1, top 80-40-1; ids in",
    ),
    (
        "lgb100",
        "LightGBM, 100 trees of 31 leaves over 50 features; others have their own trees of that size from the same rows",
    ),
    ("lgb500", "the same with 500 trees"),
];

const HEAD: &str = "\
<!-- Written by `cargo xtask bench compare`; edit benches/compare/src/page.rs instead. -->
# Beside other runtimes

The same small ranking models in our engine and in other runtimes, on one machine, in one run:

```sh
cargo xtask bench compare --json compare.json
```

It installs every other runtime itself, into the cache outside the checkout. Every engine is a process of its own and has one thread. In
a round each has its turn, so what else the machine does is in all figures alike; inputs change from call to call. Scores are
compared with those of the library that the model comes from (onnxruntime, LightGBM, XGBoost, CatBoost, YDF) before the first timed call
and after the last; an engine that differs is named and not timed. A figure is the median over rounds of the median
call of a round; p10 and p90 are over rounds. *Times as fast* is the median of onnxruntime-web over that of the engine.

What a call is: the same matrix of features lies ready in the form that an engine takes, and scores come out. `selvedge-node` is the
guest module's `predict`: it copies the rows in, checks how many there are, makes columns of them, computes the scores of all rows, and
copies them out, into an array that is there. In two rows of italics ours does more: *with a request* is `score`, which gets an encoded request instead of a matrix,
checks it and computes the features from it; *with a slate* is `decide`, which ranks as well. Encoding a request is not in it, nor is
making tensors. Where ours spends its time is measured after the rounds, by V8's sampling profiler on the same module with the names of
its functions. What was tried to make it faster, and what limits it, is in
[decision 21](../decisions/0021-the-kernel-multiplies-and-nothing-else.md).
";

/// A table per workload, for a terminal.
pub(crate) fn plain(outcome: &Outcome) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<12}{:>5}  {:<24}{:>12}{:>12}{:>12}{:>9}",
        "workload", "rows", "engine", "us", "p10", "p90", "ratio"
    )];
    lines.extend(outcome.figures.iter().map(|figure| {
        let Figure { workload, rows, engine, .. } = figure;
        let [us, p10, p90] = [figure.median_us, figure.p10_us, figure.p90_us].map(number);
        format!("{workload:<12}{rows:>5}  {engine:<24}{us:>12}{p10:>12}{p90:>12}{:>9}", ratio(figure))
    }));
    for start in &outcome.starts {
        lines.push(format!(
            "{:<24}first result {:.1} ms, {} of memory",
            start.engine,
            start.first_ms,
            mega(start.memory_bytes)
        ));
    }
    if let Some(peak) = outcome.peak_gflops {
        lines.push(format!("peak of f32x4 in Node: {peak:.1} GFLOP/s"));
    }
    lines
}

fn ratio(figure: &Figure) -> String {
    figure.ratio_to_ort_web.map_or(String::new(), number)
}

/// The page.
pub(crate) fn markdown(outcome: &Outcome) -> String {
    let mut text = HEAD.to_owned();
    let _ = write!(text, "\n{}\n", machine(outcome));
    for name in workload::NAMES {
        let figures: Vec<&Figure> = outcome.figures.iter().filter(|figure| figure.workload == name).collect();
        if !figures.is_empty() {
            text += &of_workload(outcome, name, &figures);
        }
    }
    text += &sizes(&outcome.starts);
    text += &settings(&outcome.starts);
    text += &absences(&outcome.absent);
    text
}

/// What it was measured on.
fn machine(outcome: &Outcome) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_matches([' ', '\t', ':']));
    let node = Command::new("node").arg("--version").output().ok();
    let node = node.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let mut text = format!("Measured on: {}, Node {node}.", processor.unwrap_or("an unnamed processor"));
    if let Some(peak) = outcome.peak_gflops {
        let _ = write!(
            text,
            " The peak of its vector unit in Node, by a loop of `f32x4.mul` and `f32x4.add` with nothing else to do, is {peak:.1} GFLOP/s."
        );
    }
    if let Some(load) = outcome.load.filter(|load| *load > QUIET) {
        let _ = write!(text, " **Other programs were at work (a load of {load:.1}): these figures are noise.**");
    }
    text
}

fn of_workload(outcome: &Outcome, name: &str, figures: &[&Figure]) -> String {
    let about = ABOUT.iter().find(|(of, _)| *of == name).map_or("", |(_, about)| about);
    let mut text = format!("\n## {name}\n\n{about}.\n\n");
    if figures.iter().any(|figure| figure.rows == chart::ROWS) {
        let _ = write!(text, "![Microseconds of a call with {} rows]({})\n\n", chart::ROWS, chart::name(name));
    }
    let mut rows: Vec<usize> = figures.iter().map(|figure| figure.rows).collect();
    rows.dedup();
    text += "| engine |";
    for rows in &rows {
        let _ = write!(
            text,
            " {} | p10 to p90 | times as fast |",
            if *rows == 1 { "1 row, us".into() } else { format!("{rows} rows, us") }
        );
    }
    let _ = write!(text, "\n|---|{}\n", "--:|---|--:|".repeat(rows.len()));
    for engine in ENGINES.iter().filter(|engine| figures.iter().any(|figure| figure.engine == engine.name)) {
        let shown = match engine.name {
            "selvedge-node-score" => "*selvedge-node with a request*".to_owned(),
            "selvedge-node-decide" => "*selvedge-node with a slate*".to_owned(),
            name if engine.part == Part::Ours => format!("**{name}**"),
            name => name.to_owned(),
        };
        let _ = write!(text, "| {shown} |");
        for &rows in &rows {
            text += &outcome.figure(name, rows, engine.name).map_or_else(
                || " | | |".to_owned(),
                |f| format!(" {} | {} to {} | {} |", number(f.median_us), number(f.p10_us), number(f.p90_us), ratio(f)),
            );
        }
        text.push('\n');
    }
    text + &of_peak(outcome, name) + &of_profile(outcome, name)
}

/// What takes at least a fiftieth of our time.
fn of_profile(outcome: &Outcome, name: &str) -> String {
    let Some((_, shares)) = outcome.profiles.iter().find(|(of, _)| of == name) else { return String::new() };
    let large: Vec<String> = shares
        .iter()
        .filter(|(_, share)| *share >= 0.02)
        .map(|(function, share)| format!("{:.0} % `{function}`", 100.0 * share))
        .collect();
    let rest: f64 = shares.iter().filter(|(_, share)| *share < 0.02).map(|(_, share)| share).sum();
    format!(
        "\nWhere `selvedge-node` is with {} rows: {}; {:.0} % elsewhere.\n",
        chart::ROWS,
        large.join(", "),
        100.0 * rest
    )
}

/// How near to the peak ours comes. The count is of the network as it is written: what is computed once per request, or not at all,
/// makes it more than is done.
fn of_peak(outcome: &Outcome, name: &str) -> String {
    let flops = outcome.flops.iter().find(|(of, _)| of == name).map(|(_, flops)| *flops);
    let (Some(flops), Some(peak), Some(ours)) =
        (flops, outcome.peak_gflops, outcome.figure(name, chart::ROWS, "selvedge-node"))
    else {
        return String::new();
    };
    let rate = flops as f64 * chart::ROWS as f64 / ours.median_us / 1e3;
    format!(
        "\nThe network as written is {flops} additions and multiplications a row: with {} rows, `selvedge-node` does {rate:.1} GFLOP/s of \
         it, {:.0} % of the peak.{}\n",
        chart::ROWS,
        100.0 * rate / peak,
        if rate > peak { " What is the same for all rows is done once." } else { "" }
    )
}

fn mega(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn sizes(starts: &[Start]) -> String {
    let mut text = "\n## Size and start\n\n\
        Gzipped WebAssembly is what crosses a network, without the JavaScript beside it. An installation is all that the package manager \
        puts there. The first result is from the start of the engine's program in a fresh process to 100 scores of `lgb100`, or of `mlp` where an engine \
        has no trees; extra memory is what the process grew by meanwhile.\n\n\
        | engine | version | wasm, gzip | installation | first result, ms | extra memory |\n|---|---|--:|--:|--:|--:|\n"
        .to_owned();
    for start in starts {
        let bytes = |size: Option<u64>| {
            size.map_or(String::new(), |bytes| {
                if bytes < 1_000_000 { format!("{:.1} KB", bytes as f64 / 1e3) } else { mega(bytes) }
            })
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.1} | {} |",
            start.engine,
            start.version,
            bytes(start.size.wasm_gzip),
            bytes(start.size.package),
            start.first_ms,
            mega(start.memory_bytes)
        );
    }
    text
}

fn settings(starts: &[Start]) -> String {
    let mut text = "\n## Settings\n\n| engine | as it was run |\n|---|---|\n".to_owned();
    for start in starts {
        let _ = writeln!(text, "| {} | {} |", start.engine, start.settings);
    }
    text
}

fn absences(absent: &[Absent]) -> String {
    if absent.is_empty() {
        return String::new();
    }
    let mut text = "\n## Without a figure\n\n| workload | rows | engines | because |\n|---|---|---|---|\n".to_owned();
    for (workload, reason, rows, engines) in alike(absent) {
        let rows = if rows.is_empty() { "all".to_owned() } else { rows.join(", ") };
        let _ = writeln!(text, "| {workload} | {rows} | {} | {} |", engines.join(", "), reason.replace('|', "/"));
    }
    text
}

/// Workload, reason, rows, engines: those that only differ in rows or engine are one line.
fn alike(absent: &[Absent]) -> Vec<(&str, &str, Vec<String>, Vec<&str>)> {
    let mut lines: Vec<(&str, &str, Vec<String>, Vec<&str>)> = Vec::new();
    for Absent { workload, rows, engine, reason } in absent {
        let rows: Vec<String> = rows.iter().map(usize::to_string).collect();
        match lines.iter_mut().find(|line| line.0 == workload && line.1 == reason && line.2 == rows) {
            Some(line) => line.3.push(engine),
            None => lines.push((workload, reason, rows, vec![engine])),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_explained() {
        for name in workload::NAMES {
            assert!(ABOUT.iter().any(|(of, _)| *of == name), "{name}");
        }
    }

    #[test]
    fn an_engine_without_a_figure_is_on_the_page_with_its_reason() {
        let absent =
            Absent { workload: "din".into(), rows: Some(1), engine: "tract-wasm", reason: "it | broke".into() };
        let outcome = Outcome { absent: vec![absent], ..Outcome::default() };
        assert!(markdown(&outcome).contains("| din | 1 | tract-wasm | it / broke |"));
    }

    #[test]
    fn small_shares_of_a_profile_are_one() {
        let shares = [("kernel", 0.5), ("rest", 0.479), ("small", 0.011), ("smaller", 0.01)];
        let shares = shares.map(|(name, share)| (name.to_owned(), share)).to_vec();
        let outcome = Outcome { profiles: vec![("din".to_owned(), shares)], ..Outcome::default() };
        let expected = "\nWhere `selvedge-node` is with 100 rows: 50 % `kernel`, 48 % `rest`; 2 % elsewhere.\n";
        assert_eq!(of_profile(&outcome, "din"), expected);
    }
}
