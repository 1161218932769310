//! A tensor program as people read it: its steps, and where its work is.

use std::fmt::{self, Display, Formatter};

use selvedge_format::graph::{Each, Function, Gather, Graph, Product, Step};
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
    /// `request` or `candidate`: how often it is done.
    pub per: &'static str,
    /// Values that it computes, or multiplications with an addition.
    pub work: u64,
}

pub(super) fn inspect(graph: &Graph<'_>) -> ModelInspection {
    let multiply_adds = |of_request: bool| {
        let steps = graph.steps.iter().filter(|step| step.is_of_request() == of_request);
        steps.filter(|step| is_product(step)).map(Step::work).sum()
    };
    let (of_request, of_candidates): (Vec<&Step>, Vec<&Step>) =
        graph.steps.iter().partition(|step| step.is_of_request());
    let describe = |step: &&Step| StepInspection {
        what: step_text(step),
        per: if step.is_of_request() { "request" } else { "candidate" },
        work: step.work(),
    };
    ModelInspection::Graph(GraphInspection {
        parameters: graph.constants.len(),
        request_multiply_adds: multiply_adds(true),
        candidate_multiply_adds: multiply_adds(false),
        request_bytes: graph.request * size_of::<f32>(),
        candidate_bytes: graph.columns * size_of::<f32>(),
        steps: of_request.iter().chain(&of_candidates).map(describe).collect(),
    })
}

fn is_product(step: &Step) -> bool {
    match step {
        Step::Product(_) => true,
        Step::Each(each) => each.function == Function::Multiply && each.out.strides.contains(&0),
        Step::Gather(_) => false,
    }
}

/// A step in words.
pub(crate) fn step_text(step: &Step) -> String {
    match step {
        Step::Product(Product { inputs, outputs, positions, function, .. }) => {
            let then = match function {
                Function::Left => String::new(),
                Function::Max => ", relu".to_owned(),
                other => format!(", {}", format!("{other:?}").to_lowercase()),
            };
            let times = if *positions == 1 { String::new() } else { format!("{positions} times ") };
            format!("dense {times}{inputs} -> {outputs}{then}")
        }
        Step::Each(Each { function, combination, sizes, .. }) => {
            let sizes = sizes.iter().filter(|size| **size > 1).map(u32::to_string).collect::<Vec<_>>().join("x");
            let (function, combination) = (format!("{function:?}"), format!("{combination:?}"));
            let each = format!("{function}, {combination}").to_lowercase();
            format!("each {each} [{sizes}]")
        }
        Step::Gather(Gather { ids, rows, width, .. }) => format!("gather {ids} of {rows} rows of {width}"),
    }
}

impl Display for GraphInspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph model: {} parameters, {} steps", self.parameters, self.steps.len())?;
        writeln!(f, "  per request    {} multiply-adds, {} bytes", self.request_multiply_adds, self.request_bytes)?;
        writeln!(f, "  per candidate  {} multiply-adds, {} bytes", self.candidate_multiply_adds, self.candidate_bytes)?;
        writeln!(f, "  no contributions: a layer mixes its inputs")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {:<9}  {:>10}  {}", step.per, step.work, step.what))
    }
}
