//! Operator coverage: the node tests of ONNX's backend through import, lowering and engine, as a page and as JSON.
//!
//! ```text
//! coverage NODE_TESTS [--models DIRECTORY] [--json FILE] [--page FILE] [--log FILE]
//! coverage case TEST request|candidates|model
//! ```
//!
//! The second form runs one test and is how the first runs each: in a process of its own, so that a panic, an endless loop or
//! a stack that overflows is counted as `crashed` and ends nothing else. `--models` names cases of the same form made from
//! published models, `PACKAGE/MODEL/`. `cargo xtask coverage` fetches both.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's answer goes to its output")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use prost::Message;
use selvedge_compile::coverage::{Inputs, Outcome, check};
use serde::Serialize;
use tract_onnx::pb::ModelProto;

/// What exports of ranking, embedding and recommender models use. Tests of other operators are not counted.
const OPERATORS: &str = "
    Abs Add And ArgMax ArgMin Attention AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor GRU
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization
    LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max MaxPool Mean MeanVarianceNormalization Min
    Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Round Selu Shape Shrink Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze
    Sub Sum Swish Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
";
/// Time that a test may take, and a model, which is run again for every few thousand numbers of its outputs.
const LIMIT: Duration = Duration::from_secs(120);
const MODEL_LIMIT: Duration = Duration::from_secs(300);
/// Absolute differences that are allowed: those of ONNX's runner, and those that rounding adds up to over a hundred layers.
const NODE: f64 = 1e-7;
const MODEL: f64 = 1e-4;
/// Difference that the compiler's own proof allows, relative to the larger of a number and 1.
const STRICT: f64 = 1e-5;
/// Options, each with a value.
const OPTIONS: [&str; 4] = ["--models", "--json", "--page", "--log"];
/// Begin of the page.
const PAGE: &str = "\
# ONNX operator coverage

`cargo xtask coverage` writes this page: it runs the node tests of the backend of onnx 1.19.0, of the operators that exports of
ranking, embedding and recommender models use (listed in `models/compile/examples/coverage.rs`), through import, lowering and
engine, and compares every number of every output. A test is equal if all are within the tolerance of ONNX's own runner
(1e-3 relative, 1e-7 absolute; integers and truths exactly) in a program whose inputs are the request's and in one whose inputs
are a candidate's. Tests of an operator's function body (`_expanded`) count as tests of the operator.

Inputs that exports have as constants are bound as such: shapes, axes, sizes, numbers of repeats, the values of OneHot and Pad, what
a BatchNormalization has learnt. All others are computed from when a decision is made. Where the compiler refuses that, the test is
tried again with integers of at most one axis and single numbers bound as well.

The engine has one type. Integers and truths are held as f32, which is exact up to 2^24; float64 is rounded to it, float16 is
computed in it and not rounded to float16 in between. bfloat16, float8, float4, int4, text, sequences and optional values are
refused by name, as is what is empty.

";
/// Begin of the page's second table.
const MODELS: &str = "
## Published models

Models out of packages on PyPI, with seeded inputs of the request, against onnxruntime 1.32.0: every number of every output within
1e-4 plus a thousandth of it; the largest difference is relative to the larger of the number and 1. They are no ranking models:
they show what a program of this form holds.

| Package | Model | |
|---|---|---|
";
/// Processes at once.
const WORKERS: usize = 2;
/// What a line starts with that a case says; whatever else it prints is another's.
const SAID: &str = "case: ";

type Failed = Box<dyn Error + Send + Sync>;

/// A test and the operator that it is about.
struct Case {
    name: String,
    operator: String,
}

/// What came of a test on both ways.
#[derive(Clone)]
enum Result {
    Equal { difference: f64, is_folded: bool },
    Refused(String),
    Wrong(String),
    Crashed(String),
}

impl Result {
    const fn is_equal(&self) -> bool {
        matches!(self, Self::Equal { .. })
    }
}

/// The file that `--json` names.
#[derive(Default, Serialize)]
struct Counts {
    equal: usize,
    refused: usize,
    wrong: usize,
    crashed: usize,
}

fn main() -> std::result::Result<ExitCode, Failed> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["case", test, inputs] => {
            println!("{SAID}{}", say(&case(Path::new(test), inputs)?));
            Ok(ExitCode::SUCCESS)
        }
        [tests, options @ ..] if options.len().is_multiple_of(2) => all(Path::new(tests), options),
        _ => Err("coverage NODE_TESTS [--json FILE] [--page FILE]".into()),
    }
}

/// Runs one test here.
fn case(test: &Path, inputs: &str) -> std::result::Result<Outcome, Failed> {
    let (inputs, absolute) = match inputs {
        "request" => (Inputs::OfRequest, NODE),
        "candidates" => (Inputs::OfCandidates, NODE),
        _ => (Inputs::OfRequest, MODEL),
    };
    let data = test.join("test_data_set_0");
    let model = fs::read(test.join("model.onnx"))?;
    Ok(check(&model, &files(&data, "input")?, &files(&data, "output")?, inputs, absolute))
}

/// `input_0.pb`, `input_1.pb` and so on.
fn files(data: &Path, prefix: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let paths = (0..).map(|at| data.join(format!("{prefix}_{at}.pb")));
    paths.take_while(|path| path.exists()).map(fs::read).collect()
}

fn say(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Equal { difference, is_folded: false } => format!("equal {difference:e}"),
        Outcome::Equal { difference, is_folded: true } => format!("folded {difference:e}"),
        Outcome::Refused(reason) => format!("refused {reason}"),
        Outcome::Wrong(reason) => format!("wrong {reason}"),
    }
}

/// Runs all tests of the listed operators, and writes what was asked for.
fn all(tests: &Path, options: &[&str]) -> std::result::Result<ExitCode, Failed> {
    let option =
        |name: &str| options.chunks_exact(2).find(|option| option[0] == name).map(|option| Path::new(option[1]));
    if let Some(unknown) = options.iter().step_by(2).find(|name| !OPTIONS.contains(name)) {
        return Err(format!("{unknown} is no option").into());
    }
    let cases = cases(tests)?;
    let results = run(tests, &cases, &["request", "candidates"])?;
    let mut models = Vec::new();
    if let Some(directory) = option("--models") {
        let cases = published(directory)?;
        let results = run(directory, &cases, &["model"])?;
        models.extend(cases.into_iter().zip(results));
    }
    let counts = Counts::of(results.iter());
    for (case, result) in cases.iter().zip(&results).chain(models.iter().map(|(case, result)| (case, result))) {
        if let Result::Wrong(reason) | Result::Crashed(reason) = result {
            eprintln!("{}: {reason}", case.name);
        }
    }
    if let Some(file) = option("--json") {
        fs::write(file, serde_json::to_string_pretty(&counts)? + "\n")?;
    }
    if let Some(file) = option("--page") {
        fs::write(file, page(&cases, &results, &counts, &models)?)?;
    }
    if let Some(file) = option("--log") {
        fs::write(file, log(&cases, &results)?)?;
    }
    println!("{}", serde_json::to_string(&counts)?);
    let of_models = Counts::of(models.iter().map(|(_, result)| result));
    let bad = counts.wrong + counts.crashed + of_models.wrong + of_models.crashed;
    Ok(if bad > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Counts {
    fn of<'r>(results: impl Iterator<Item = &'r Result>) -> Self {
        let mut counts = Self::default();
        for result in results {
            *match result {
                Result::Equal { .. } => &mut counts.equal,
                Result::Refused(_) => &mut counts.refused,
                Result::Wrong(_) => &mut counts.wrong,
                Result::Crashed(_) => &mut counts.crashed,
            } += 1;
        }
        counts
    }
}

/// The tests of the listed operators. A test of an operator's function body (`test_x_expanded`) is one of the operator.
fn cases(tests: &Path) -> std::result::Result<Vec<Case>, Failed> {
    let listed: BTreeSet<&str> = OPERATORS.split_whitespace().collect();
    let mut cases = Vec::new();
    for name in sorted(tests)? {
        let of = name.split("_expanded").next().unwrap_or(&name);
        let of = if tests.join(of).exists() { of } else { &name };
        let model = ModelProto::decode(&*fs::read(tests.join(of).join("model.onnx"))?)?;
        let nodes = model.graph.map(|graph| graph.node).unwrap_or_default();
        if let [node] = nodes.as_slice()
            && node.domain.is_empty()
            && listed.contains(node.op_type.as_str())
        {
            cases.push(Case { operator: node.op_type.clone(), name });
        }
    }
    Ok(cases)
}

/// Published models, by package.
fn published(directory: &Path) -> std::result::Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    for package in sorted(directory)? {
        for model in sorted(&directory.join(&package))? {
            cases.push(Case { name: format!("{package}/{model}"), operator: package.clone() });
        }
    }
    Ok(cases)
}

/// The names in a directory.
fn sorted(directory: &Path) -> std::result::Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().into_string().map_err(|_| "a name that is not UTF-8")?);
    }
    names.sort_unstable();
    Ok(names)
}

/// The results by case: the first way on which a case is not equal, or the larger difference.
fn run(tests: &Path, cases: &[Case], ways: &[&str]) -> std::result::Result<Vec<Result>, Failed> {
    let next = AtomicUsize::new(0);
    let worker = || -> std::result::Result<Vec<(usize, Result)>, Failed> {
        let mut results = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { return Ok(results) };
            let mut all = Result::Equal { difference: 0.0, is_folded: true };
            for way in ways {
                all = match (all, run_case(&tests.join(&case.name), way)?) {
                    (Result::Equal { difference: before, .. }, Result::Equal { difference, is_folded }) => {
                        Result::Equal { difference: difference.max(before), is_folded }
                    }
                    (Result::Equal { .. }, other) | (other, _) => other,
                };
            }
            results.push((at, all));
        }
    };
    let mut all = BTreeMap::new();
    thread::scope(|scope| -> std::result::Result<(), Failed> {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a worker panicked")??);
        }
        Ok(())
    })?;
    Ok(all.into_values().collect())
}

/// Runs a test in a process of its own.
fn run_case(test: &Path, inputs: &str) -> std::result::Result<Result, Failed> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["case".as_ref(), test.as_os_str(), inputs.as_ref()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let limit = if inputs == "model" { MODEL_LIMIT } else { LIMIT };
    let Some(is_success) = wait(&mut child, limit)? else {
        return Ok(Result::Crashed(format!("no end after {} s ({inputs})", limit.as_secs())));
    };
    let output = child.wait_with_output()?;
    let (said, cried) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = said.lines().find_map(|line| line.strip_prefix(SAID)).filter(|_| is_success);
    Ok(match said.map(|said| said.split_once(' ').unwrap_or((said, ""))) {
        Some((how @ ("equal" | "folded"), difference)) => {
            Result::Equal { difference: difference.parse()?, is_folded: how == "folded" }
        }
        Some(("refused", reason)) => Result::Refused(reason.to_owned()),
        Some(("wrong", reason)) => Result::Wrong(format!("{reason} ({inputs})")),
        _ => Result::Crashed(format!("{} ({inputs})", cried.lines().collect::<Vec<_>>().join(" "))),
    })
}

/// Whether the child ended well; nothing if it had to be ended.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<bool>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A line per test.
fn log(cases: &[Case], results: &[Result]) -> std::result::Result<String, Failed> {
    let mut text = String::new();
    for (case, result) in cases.iter().zip(results) {
        let outcome = match result {
            Result::Equal { difference, .. } => format!("equal, apart by {difference:e}"),
            Result::Refused(reason) => format!("refused: {reason}"),
            Result::Wrong(reason) => format!("wrong: {reason}"),
            Result::Crashed(reason) => format!("crashed: {reason}"),
        };
        writeln!(text, "{} {} {outcome}", case.operator, case.name)?;
    }
    Ok(text)
}

/// The page `docs/reference/onnx-coverage.md`.
fn page(
    cases: &[Case],
    results: &[Result],
    counts: &Counts,
    models: &[(Case, Result)],
) -> std::result::Result<String, Failed> {
    let mut text = PAGE.to_owned();
    let Counts { equal, refused, wrong, crashed } = counts;
    let is_strict = |result: &&Result| matches!(result, Result::Equal { difference, .. } if *difference <= STRICT);
    let strict = results.iter().filter(is_strict).count();
    let folded = results.iter().filter(|result| matches!(result, Result::Equal { is_folded: true, .. })).count();
    writeln!(
        text,
        "Of {} tests {equal} are equal, {strict} of them within 1e-5; {refused} are refused, {wrong} are wrong and {crashed} \
         crash. In {folded} of the equal ones the compiler knew the answer, as it does of shapes, and nothing was left to \
         compute.\n",
        cases.len()
    )?;
    text.push_str("| Operator | Tests | Equal | Refused, because of |\n|---|--:|--:|---|\n");
    let mut operators: BTreeMap<&str, Vec<&Result>> = BTreeMap::new();
    for (case, result) in cases.iter().zip(results) {
        operators.entry(&case.operator).or_default().push(result);
    }
    for (operator, results) in operators {
        let equal = results.iter().filter(|result| result.is_equal()).count();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for result in &results {
            match result {
                Result::Equal { .. } => continue,
                Result::Refused(reason) => *reasons.entry(cell(reason)).or_default() += 1,
                Result::Wrong(_) => *reasons.entry("**wrong**".to_owned()).or_default() += 1,
                Result::Crashed(_) => *reasons.entry("**crashed**".to_owned()).or_default() += 1,
            }
        }
        let reasons: Vec<String> = reasons.iter().map(|(reason, number)| format!("{reason} ({number})")).collect();
        writeln!(text, "| {operator} | {} | {equal} | {} |", results.len(), reasons.join("; "))?;
    }
    if !models.is_empty() {
        text.push_str(MODELS);
        for (case, result) in models {
            let (package, model) = case.name.split_once('/').unwrap_or(("", &case.name));
            let outcome = match result {
                Result::Equal { difference, .. } => format!("compiles and matches, apart by at most {difference:.1e}"),
                Result::Refused(reason) => format!("refused: {}", cell(reason)),
                Result::Wrong(reason) => format!("**wrong**: {}", cell(reason)),
                Result::Crashed(_) => "**crashed**".to_owned(),
            };
            writeln!(text, "| {package} | `{model}` | {outcome} |")?;
        }
    }
    Ok(text)
}

/// Text that stands in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
