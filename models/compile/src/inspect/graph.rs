//! A tensor program as people read it: its steps, and where its work is.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use selvedge_format::graph::{Each, Function, Gather, Graph, Meet, Numbers, Per, Product, Step};
use serde::Serialize;

use super::ModelInspection;

/// A tensor program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GraphInspection {
    /// Weights, table rows and other constants.
    pub parameters: usize,
    /// Multiplications with an addition, once per request.
    pub request_multiply_adds: u64,
    /// The same per candidate.
    pub candidate_multiply_adds: u64,
    /// The same per pair of candidates.
    pub pair_multiply_adds: u64,
    /// Whether a score depends on who else is ranked.
    pub is_of_list: bool,
    /// Bytes of intermediate values of the request.
    pub request_bytes: usize,
    /// Bytes of intermediate values of a candidate.
    pub candidate_bytes: usize,
    /// Steps in order, those of the request first.
    pub steps: Vec<StepInspection>,
}

/// A step of a tensor program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepInspection {
    /// What it does.
    pub what: String,
    /// `request`, `candidate` or `pair` of candidates: how often it is done.
    pub per: &'static str,
    /// Values that it computes, or multiplications with an addition.
    pub work: u64,
}

pub(super) fn inspect(graph: &Graph<'_>) -> ModelInspection {
    let multiply_adds = |per: Per| {
        let steps = graph.steps.iter().filter(|step| step.per() == per);
        steps.filter(|step| is_product(step)).map(Step::work).sum()
    };
    let (of_request, of_candidates): (Vec<&Step>, Vec<&Step>) =
        graph.steps.iter().partition(|step| step.is_of_request());
    let describe = |step: &&Step| StepInspection {
        what: step_text(step),
        per: match step.per() {
            Per::Request => "request",
            Per::Candidate => "candidate",
            Per::Pair => "pair",
        },
        work: step.work(),
    };
    ModelInspection::Graph(GraphInspection {
        parameters: graph.constants.len() + narrow_parameters(graph),
        request_multiply_adds: multiply_adds(Per::Request),
        candidate_multiply_adds: multiply_adds(Per::Candidate),
        pair_multiply_adds: multiply_adds(Per::Pair),
        is_of_list: graph.steps.iter().any(Step::is_of_list),
        request_bytes: graph.request * size_of::<f32>(),
        candidate_bytes: graph.columns * size_of::<f32>(),
        steps: of_request.iter().chain(&of_candidates).map(describe).collect(),
    })
}

fn is_product(step: &Step) -> bool {
    match step {
        Step::Product(_) => true,
        Step::Meet(meet) => meet.width > 0,
        Step::Each(each) => each.function == Function::Multiply && each.out.strides.contains(&0),
        Step::Gather(_) => false,
    }
}

/// A step in words.
pub(crate) fn step_text(step: &Step) -> String {
    match step {
        Step::Product(Product { inputs, outputs, positions, function, numbers, .. }) => {
            let then = match function {
                Function::Left => String::new(),
                Function::Max => ", relu".to_owned(),
                other => format!(", {}", format!("{other:?}").to_lowercase()),
            };
            let times = if *positions == 1 { String::new() } else { format!("{positions} times ") };
            format!("dense {times}{inputs} -> {outputs}{then}{}", stored(*numbers))
        }
        Step::Each(Each { function, combination, sizes, .. }) => {
            let sizes = sizes.iter().filter(|size| **size > 1).map(u32::to_string).collect::<Vec<_>>().join("x");
            let (function, combination) = (format!("{function:?}"), format!("{combination:?}"));
            let each = format!("{function}, {combination}").to_lowercase();
            format!("each {each} [{sizes}]")
        }
        Step::Gather(Gather { ids, rows, width, numbers, .. }) => {
            format!("gather {ids} of {rows} rows of {width}{}", stored(*numbers))
        }
        Step::Meet(Meet { heads, width, value_width, .. }) if *width > 0 => {
            format!("attend {heads} heads of {width}, values of {value_width}")
        }
        Step::Meet(Meet { function, heads, value_width, .. }) => {
            format!("list {} [{}]", format!("{function:?}").to_lowercase(), heads * value_width)
        }
    }
}

const fn stored(numbers: Numbers) -> &'static str {
    match numbers {
        Numbers::Single => "",
        Numbers::Half => ", f16",
        Numbers::Byte { .. } => ", int8",
        Numbers::Request => ", weights of the request",
    }
}

/// Weights that are stored in less than a constant.
fn narrow_parameters(graph: &Graph<'_>) -> usize {
    let tables = graph.steps.iter().filter_map(|step| match step {
        Step::Gather(gather) if gather.numbers != Numbers::Single => {
            Some((gather.table, gather.rows as usize * gather.width as usize))
        }
        _ => None,
    });
    let layers = graph.steps.iter().filter_map(|step| match step {
        Step::Product(product) if !matches!(product.numbers, Numbers::Single | Numbers::Request) => {
            Some(product.stored() as usize)
        }
        _ => None,
    });
    // Lookups share tables.
    layers.sum::<usize>() + tables.collect::<BTreeMap<_, _>>().into_values().sum::<usize>()
}

impl Display for GraphInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph model: {} parameters, {} steps", self.parameters, self.steps.len())?;
        writeln!(f, "  per request    {} multiply-adds, {} bytes", self.request_multiply_adds, self.request_bytes)?;
        writeln!(f, "  per candidate  {} multiply-adds, {} bytes", self.candidate_multiply_adds, self.candidate_bytes)?;
        if self.is_of_list {
            writeln!(f, "  per pair       {} multiply-adds, of each two candidates", self.pair_multiply_adds)?;
            writeln!(f, "  scores depend on who else is ranked: all candidates' columns are kept")?;
        }
        writeln!(f, "  no contributions: a layer mixes its inputs")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {:<9}  {:>10}  {}", step.per, step.work, step.what))
    }
}
