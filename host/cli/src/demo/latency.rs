//! What a decision costs under wasmtime, and where the time goes.
//!
//! The guest has no clock, so a decision is timed from outside, copies and call included. Its parts are told apart by
//! three calls that stop at different places (features; features and model; everything), one after the other on the
//! same request, so that whatever slows the machine down slows all three. Of each call the median over the rounds is
//! taken, and then the differences per request. The first part includes reading the request and copying in and out.

use std::sync::Arc;
use std::time::Instant;

use selvedge_runner::{GuestModule, Instance, RunnerLimits};
use selvedge_train::bootstrap::quantile;

use super::in_guest;
use crate::error::CliError;
use crate::printer::Printer;

/// Times that each request is decided.
const ROUNDS: usize = 9;
/// Instances that are loaded to time loading.
const LOADS: usize = 21;

/// Costs of decisions.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    pub(super) decision: Stage,
    pub(super) features: Stage,
    pub(super) model: Stage,
    pub(super) slate: Stage,
    /// Milliseconds from a compiled module to an instance that has verified and loaded the bundle.
    pub(super) load_ms: f64,
    /// Median fuel of a decision.
    pub(super) fuel: u64,
    /// Every decision, in microseconds.
    pub(super) decisions_us: Vec<f64>,
    /// Number of requests.
    pub(super) requests: usize,
}

/// Microseconds of one part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stage {
    pub(super) median_us: f64,
    pub(super) p99_us: f64,
}

impl Stage {
    fn of(samples: &mut [f64]) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { median_us: quantile(samples, 0.5), p99_us: quantile(samples, 0.99) }
    }
}

fn microseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// Times decisions.
pub(super) fn measure(
    module: &GuestModule,
    bundle: &[u8],
    shared: &Arc<[u8]>,
    requests: &[Vec<u8>],
    printer: &Printer,
) -> Result<Latency, CliError> {
    let bundle: Arc<[u8]> = bundle.into();
    let mut loads = Vec::with_capacity(LOADS);
    for _ in 0..LOADS {
        let mut instance = Instance::new(module, RunnerLimits::default());
        let start = Instant::now();
        instance.load(Arc::clone(&bundle)).map_err(in_guest)?;
        loads.push(start.elapsed().as_secs_f64() * 1e3);
    }
    loads.sort_by(f64::total_cmp);

    let mut instance = Instance::new(module, RunnerLimits::default());
    instance.load(bundle).map_err(in_guest)?;
    instance.load_shared(Arc::clone(shared)).map_err(in_guest)?;
    let mut fuel = Vec::with_capacity(requests.len());
    for request in requests {
        fuel.push(instance.decide(request).map_err(in_guest)?.fuel);
    }
    fuel.sort_unstable();

    // By request, by round.
    let mut timed = vec![[const { Vec::new() }; 3]; requests.len()];
    for round in 0..ROUNDS {
        printer.progress("timing decisions", round as u64, ROUNDS as u64);
        for (request, [features, scores, decisions]) in requests.iter().zip(&mut timed) {
            let start = Instant::now();
            instance.features(request).map_err(in_guest)?;
            features.push(microseconds(start));
            let start = Instant::now();
            instance.score(request).map_err(in_guest)?;
            scores.push(microseconds(start));
            let start = Instant::now();
            instance.decide(request).map_err(in_guest)?;
            decisions.push(microseconds(start));
        }
    }
    let mut decisions: Vec<f64> = timed.iter().flat_map(|[.., decisions]| decisions.iter().copied()).collect();
    let (mut features, mut models, mut slates) = (Vec::new(), Vec::new(), Vec::new());
    for calls in &mut timed {
        let [to_features, to_scores, to_end] = calls.each_mut().map(|call| Stage::of(call).median_us);
        features.push(to_features);
        models.push((to_scores - to_features).max(0.0));
        slates.push((to_end - to_scores).max(0.0));
    }
    Ok(Latency {
        decisions_us: decisions.clone(),
        decision: Stage::of(&mut decisions),
        features: Stage::of(&mut features),
        model: Stage::of(&mut models),
        slate: Stage::of(&mut slates),
        load_ms: quantile(&loads, 0.5),
        fuel: fuel.get(fuel.len() / 2).copied().unwrap_or(0),
        requests: requests.len(),
    })
}
