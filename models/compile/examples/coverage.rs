//! Operator coverage: the node tests of ONNX's backend through import, lowering and engine, as a page and as JSON.
//!
//! ```text
//! coverage NODE_TESTS [--json FILE] [--page FILE]
//! coverage case TEST request|candidates
//! ```
//!
//! The second form runs one test and is how the first runs each: in a process of its own, so that a panic, an endless loop or
//! a stack that overflows is counted as `crashed` and ends nothing else. `cargo xtask coverage` fetches the tests.

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
    ConstantOfShape Conv Cos CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor GRU
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization
    LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max MaxPool Mean MeanVarianceNormalization Min
    Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Round Selu Shape Shrink Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze
    Sub Sum Swish Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
";
/// Time that a test may take.
const LIMIT: Duration = Duration::from_secs(30);
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
    Equal { strictly: bool },
    Refused(String),
    Wrong(String),
    Crashed(String),
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
    let inputs = if inputs == "request" { Inputs::OfRequest } else { Inputs::OfCandidates };
    let data = test.join("test_data_set_0");
    let model = fs::read(test.join("model.onnx"))?;
    Ok(check(&model, &files(&data, "input")?, &files(&data, "output")?, inputs))
}

/// `input_0.pb`, `input_1.pb` and so on.
fn files(data: &Path, prefix: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let paths = (0..).map(|at| data.join(format!("{prefix}_{at}.pb")));
    paths.take_while(|path| path.exists()).map(fs::read).collect()
}

fn say(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Equal { strictly: true } => "equal".to_owned(),
        Outcome::Equal { strictly: false } => "close".to_owned(),
        Outcome::Refused(reason) => format!("refused {reason}"),
        Outcome::Wrong(reason) => format!("wrong {reason}"),
    }
}

/// Runs all tests of the listed operators, and writes what was asked for.
fn all(tests: &Path, options: &[&str]) -> std::result::Result<ExitCode, Failed> {
    let cases = cases(tests)?;
    let results = run(tests, &cases)?;
    let mut counts = Counts::default();
    for (case, result) in cases.iter().zip(&results) {
        match result {
            Result::Equal { .. } => counts.equal += 1,
            Result::Refused(_) => counts.refused += 1,
            Result::Wrong(reason) => {
                counts.wrong += 1;
                eprintln!("{}: wrong: {reason}", case.name);
            }
            Result::Crashed(reason) => {
                counts.crashed += 1;
                eprintln!("{}: crashed: {reason}", case.name);
            }
        }
    }
    for option in options.chunks_exact(2) {
        match option {
            ["--json", file] => fs::write(file, serde_json::to_string_pretty(&counts)? + "\n")?,
            ["--page", file] => fs::write(file, page(&cases, &results, &counts)?)?,
            ["--log", file] => fs::write(file, log(&cases, &results)?)?,
            _ => return Err(format!("{} is no option", option[0]).into()),
        }
    }
    println!("{}", serde_json::to_string(&counts)?);
    Ok(if counts.wrong + counts.crashed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The tests of the listed operators. A test of an operator's function body (`test_x_expanded`) is one of the operator.
fn cases(tests: &Path) -> std::result::Result<Vec<Case>, Failed> {
    let listed: BTreeSet<&str> = OPERATORS.split_whitespace().collect();
    let mut names = Vec::new();
    for entry in fs::read_dir(tests)? {
        names.push(entry?.file_name().into_string().map_err(|_| "a test whose name is not UTF-8")?);
    }
    names.sort_unstable();
    let mut cases = Vec::new();
    for name in names {
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

/// The results by case.
fn run(tests: &Path, cases: &[Case]) -> std::result::Result<Vec<Result>, Failed> {
    let next = AtomicUsize::new(0);
    let worker = || -> std::result::Result<Vec<(usize, Result)>, Failed> {
        let mut results = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { return Ok(results) };
            let mut result = run_case(&tests.join(&case.name), "request")?;
            if matches!(result, Result::Equal { .. }) {
                result = run_case(&tests.join(&case.name), "candidates")?;
            }
            results.push((at, result));
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
    let Some(is_success) = wait(&mut child)? else {
        return Ok(Result::Crashed(format!("no end after {} s ({inputs})", LIMIT.as_secs())));
    };
    let output = child.wait_with_output()?;
    let (said, cried) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = said.lines().find_map(|line| line.strip_prefix(SAID)).filter(|_| is_success);
    Ok(match said.map(|said| said.split_once(' ').unwrap_or((said, ""))) {
        Some(("equal", _)) => Result::Equal { strictly: true },
        Some(("close", _)) => Result::Equal { strictly: false },
        Some(("refused", reason)) => Result::Refused(reason.to_owned()),
        Some(("wrong", reason)) => Result::Wrong(format!("{reason} ({inputs})")),
        _ => Result::Crashed(format!("{} ({inputs})", cried.lines().collect::<Vec<_>>().join(" "))),
    })
}

/// Whether the child ended well; nothing if it had to be ended.
fn wait(child: &mut Child) -> std::io::Result<Option<bool>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() > LIMIT {
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
            Result::Equal { strictly: true } => "equal".to_owned(),
            Result::Equal { strictly: false } => "close".to_owned(),
            Result::Refused(reason) => format!("refused: {reason}"),
            Result::Wrong(reason) => format!("wrong: {reason}"),
            Result::Crashed(reason) => format!("crashed: {reason}"),
        };
        writeln!(text, "{} {} {outcome}", case.operator, case.name)?;
    }
    Ok(text)
}

fn page(_cases: &[Case], _results: &[Result], _counts: &Counts) -> std::result::Result<String, Failed> {
    Ok(String::new())
}
