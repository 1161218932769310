//! Reading counters: what several kinds of feature have in common.

use super::declared::Parameters;
use super::{By, Counter, CounterKind};
use crate::error::{Problem, ProblemKind};
use crate::reader::Value;
use crate::seconds::Seconds;
use crate::vocabulary::{CounterScope, Measure};

/// The most steps of a window.
const MAX_WINDOW_BUCKETS: u8 = 64;

/// What is counted where: the part of a counter that all its relatives share.
pub(crate) struct Subject {
    pub(crate) scope: CounterScope,
    pub(crate) by: By,
}

/// One counter, forgetting as `forgetting` says.
pub(crate) fn counter(
    parameters: &Parameters<'_>,
    forgetting: fn(&Parameters<'_>) -> Option<CounterKind>,
) -> Option<Counter> {
    let subject = Subject::read(parameters);
    let kind = forgetting(parameters);
    counted(parameters, subject.as_ref(), kind)
}

/// A counter of the event and measure under `parameters`, with the rest given.
pub(crate) fn counted(
    parameters: &Parameters<'_>,
    subject: Option<&Subject>,
    kind: Option<CounterKind>,
) -> Option<Counter> {
    let event = parameters.event("event");
    let measure = parameters.word_or("measure", Measure::Count);
    let Subject { scope, by } = subject?;
    Some(Counter { scope: *scope, event: event?, by: by.clone(), measure: measure?, kind: kind? })
}

impl Subject {
    pub(crate) fn read(parameters: &Parameters<'_>) -> Option<Self> {
        let scope = parameters.word("scope");
        let by = parameters.by("by");
        Some(Self { scope: scope?, by: by? })
    }
}

/// A half-life.
pub(crate) fn decayed(parameters: &Parameters<'_>) -> Option<CounterKind> {
    let half_life = parameters.required("half_life")?.duration()?;
    Some(CounterKind::Decayed { half_life })
}

/// A window and its steps.
pub(crate) fn window(parameters: &Parameters<'_>) -> Option<CounterKind> {
    let window = parameters.required("window");
    let buckets = parameters.required("buckets");
    window_of(parameters, window, buckets)
}

/// Nothing is forgotten, so there is nothing to read.
pub(crate) fn lifetime(_: &Parameters<'_>) -> Option<CounterKind> {
    Some(CounterKind::Lifetime)
}

/// Exactly one of a half-life, a window with its steps, and `lifetime = true`.
pub(crate) fn any(parameters: &Parameters<'_>) -> Option<CounterKind> {
    let half_life = parameters.optional("half_life");
    let window = parameters.optional("window");
    let buckets = parameters.optional("buckets");
    let lifetime = parameters.optional("lifetime");
    match (half_life, window, lifetime) {
        (Some(half_life), None, None) => {
            let half_life = half_life.duration();
            refuse_stray_buckets(buckets)?;
            Some(CounterKind::Decayed { half_life: half_life? })
        }
        (None, Some(_), None) => window_of(parameters, window, parameters.required("buckets")),
        (None, None, Some(lifetime)) => {
            let on = lifetime.boolean();
            refuse_stray_buckets(buckets)?;
            if on? { Some(CounterKind::Lifetime) } else { lifetime.out_of_range("true, or left out") }
        }
        (None, None, None) => {
            let message = format!("{} does not say how it forgets", parameters.what());
            let problem = Problem::new(ProblemKind::MissingKey, parameters.span(), message, "forgets how?");
            parameters.report(problem.help(ONE_OF));
            None
        }
        _ => {
            let given = [half_life, window, lifetime].into_iter().flatten();
            let message = format!("{} says more than once how it forgets", parameters.what());
            let problem = Problem::new(ProblemKind::Conflict, parameters.span(), message, "forgets how?");
            parameters.report(given.fold(problem, |problem, way| problem.beside(way.span, "one way")).help(ONE_OF));
            None
        }
    }
}

const ONE_OF: &str = "give exactly one of half_life = \"30d\", window = \"28d\" with buckets = 4, and lifetime = true";

fn refuse_stray_buckets(buckets: Option<Value<'_>>) -> Option<()> {
    let Some(buckets) = buckets else { return Some(()) };
    buckets.report(
        Problem::new(ProblemKind::Conflict, buckets.span, "`buckets` goes with `window`", "no window to divide")
            .help(ONE_OF),
    );
    None
}

fn window_of(
    parameters: &Parameters<'_>,
    window: Option<Value<'_>>,
    buckets: Option<Value<'_>>,
) -> Option<CounterKind> {
    let length = window.and_then(Value::duration);
    let steps = buckets.and_then(|buckets| buckets.integer(1..=MAX_WINDOW_BUCKETS));
    let (window, length, buckets) = (window?, length?, steps?);
    if length.get().is_multiple_of(u32::from(buckets)) {
        return Some(CounterKind::Window { window: length, buckets });
    }
    let message = format!("a window of {length} does not divide into {buckets} buckets of whole seconds");
    let problem = Problem::new(ProblemKind::OutOfRange, window.span, message, "not divisible");
    // The nearest shorter window, unless that is none at all.
    let steps = u32::from(buckets);
    let fitting = Seconds((length.get() - length.get() % steps).max(steps));
    parameters.report(problem.help(format!("a window of \"{fitting}\" does")));
    None
}
