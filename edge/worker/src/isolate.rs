//! What lives as long as the isolate: configuration, engine, names, counters. One thread, no locks; nothing here is held
//! across an `await`, so a bundle is swapped between two decisions and never within one.

use std::cell::RefCell;
use std::mem::{replace, swap, take};
use std::rc::Rc;

use selvedge_engine::{Engine, Limits, Loaded};
use selvedge_format::container::{Container, Kind, verify_id};
use selvedge_format::decision::DecisionView;
use selvedge_format::head::RolloutV1;
use selvedge_format::meta::{self, MetaV1};
use selvedge_format::terms::{self, TermsV1};
use selvedge_format::{AlignedBytes, DecodeError};
use serde::Serialize;
use worker::Env;
use worker::js_sys::{JSON, Reflect};

use crate::bundle::Failure;
use crate::config::Config;
use crate::head::{Held, Tally, in_rollout};
use crate::journal::Journal;

/// How long prices are good without a word from where the head is: ten looks, the `stale_after` of `docs/follow.md`.
const FRESH_MS: u64 = 50_000;

thread_local! {
    static ISOLATE: RefCell<Isolate> = RefCell::new(Isolate::new());
}

/// Runs `use_it` with the isolate's only one.
pub(crate) fn with<R>(use_it: impl FnOnce(&mut Isolate) -> R) -> R {
    ISOLATE.with_borrow_mut(use_it)
}

pub(crate) struct Isolate {
    config: Option<Result<Rc<Config>, String>>,
    pub(crate) engine: Engine,
    /// Names of the bundle in place.
    pub(crate) names: Rc<MetaV1>,
    /// Terms of its campaigns; none has none.
    pub(crate) terms: Rc<TermsV1>,
    /// The head in force.
    pub(crate) held: Option<Held>,
    /// What decides for the users of a rollout.
    pub(crate) rollout: Option<(RolloutV1, Placed)>,
    /// What decided before, until the guard is content.
    previous: Option<Placed>,
    tally: Tally,
    is_given_up: bool,
    is_rolled_back: bool,
    /// When a head was last read and believed, milliseconds.
    pub(crate) heard_ms: u64,
    /// When the bundle was last looked after, milliseconds.
    pub(crate) checked_ms: u64,
    /// Why the last look at the head did not bring what it names.
    pub(crate) failure: Option<Failure>,
    pub(crate) counters: Counters,
    pub(crate) journal: Journal,
}

/// Since the isolate began.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counters {
    pub(crate) decisions: u64,
    pub(crate) fallbacks: u64,
    pub(crate) bundles_loaded: u64,
    pub(crate) bundles_refused: u64,
    pub(crate) heads_refused: u64,
    pub(crate) records: u64,
    pub(crate) records_dropped: u64,
    pub(crate) log_failures: u64,
}

impl Isolate {
    fn new() -> Self {
        Self {
            config: None,
            engine: Engine::new(Limits::default()),
            names: Rc::new(MetaV1::default()),
            terms: Rc::default(),
            held: None,
            rollout: None,
            previous: None,
            tally: Tally::default(),
            is_given_up: false,
            is_rolled_back: false,
            heard_ms: 0,
            checked_ms: 0,
            failure: None,
            counters: Counters::default(),
            journal: Journal::default(),
        }
    }

    /// Puts what decides in place. What decided before is kept, for a guard that gives this one up.
    pub(crate) fn place(&mut self, placed: Placed) {
        let before = self.engine.snapshot().is_some();
        let old = Placed {
            engine: replace(&mut self.engine, placed.engine),
            names: replace(&mut self.names, placed.names),
            terms: replace(&mut self.terms, placed.terms),
        };
        self.previous = before.then_some(old);
        self.tally = Tally::default();
    }

    /// Holds a head, whose bundle is in place: the one that may have been given up is not held any more.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held = Some(held);
        self.is_rolled_back = false;
    }

    /// Does something with what decides for the user `unit`.
    pub(crate) fn for_user<R>(&mut self, unit: &str, decide: impl FnOnce(&mut Self) -> R) -> R {
        let rollout = self.rollout.as_ref().map(|(rollout, _)| *rollout);
        let is_theirs = rollout.is_some_and(|rollout| in_rollout(rollout.salt, unit, rollout.share));
        if is_theirs {
            self.exchange();
        }
        let result = decide(self);
        if is_theirs {
            self.exchange();
        }
        // Not before: what is given up is what decides for most users, whoever asked last.
        if take(&mut self.is_given_up)
            && !self.is_rolled_back
            && let Some(previous) = self.previous.take()
        {
            (self.engine, self.names, self.terms) = (previous.engine, previous.names, previous.terms);
            self.is_rolled_back = true;
        }
        result
    }

    fn exchange(&mut self) {
        if let Some((_, theirs)) = &mut self.rollout {
            swap(&mut self.engine, &mut theirs.engine);
            swap(&mut self.names, &mut theirs.names);
            swap(&mut self.terms, &mut theirs.terms);
        }
    }

    /// Decides, and counts.
    pub(crate) fn decide(&mut self, request: &[u8]) -> Vec<u8> {
        self.counters.decisions += 1;
        if self.is_killed() {
            // An engine without a bundle: the order of the request.
            return Engine::new(Limits::default()).decide(request).to_vec();
        }
        let decision = self.engine.decide(request).to_vec();
        self.judge(&decision);
        decision
    }

    /// Counts a decision for the guard.
    fn judge(&mut self, decision: &[u8]) {
        let guard = self.held.as_ref().and_then(|held| held.guard);
        let fell_back = DecisionView::parse(decision).is_ok_and(|view| view.status.names().0 == "fallback");
        self.is_given_up = self.tally.gives_up(fell_back, guard);
    }

    /// Whether the head says that nothing is personalised.
    pub(crate) fn is_killed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.killed)
    }

    /// Whether prices are as good as new: the head in force was heard of lately.
    pub(crate) fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms) < FRESH_MS
    }

    /// How the channel is followed: the names of `docs/follow.md`.
    pub(crate) fn following(&self, now_ms: i64) -> &'static str {
        match &self.held {
            None => "bootstrap",
            Some(held) if held.killed => "killed",
            Some(held) if now_ms >= held.not_after_ms => "expired",
            Some(_) if self.is_rolled_back => "rolled-back",
            Some(_) => "following",
        }
    }

    /// Hexadecimal ids of bundle and shared state.
    #[inline(never)]
    pub(crate) fn ids(&self) -> (Option<String>, Option<String>) {
        ids(&self.engine)
    }
}

/// What decides, and its names.
pub(crate) struct Placed {
    engine: Engine,
    names: Rc<MetaV1>,
    terms: Rc<TermsV1>,
}

impl Placed {
    /// Loads a bundle and its shared state, both or neither; each must have the id beside it.
    #[inline(never)]
    pub(crate) fn load(parts: &[(String, Vec<u8>)]) -> Result<Self, String> {
        let mut engine = Engine::new(Limits::default());
        let mut names = MetaV1::default();
        let mut terms = TermsV1::default();
        for (id, bytes) in parts {
            let loaded = load(&mut engine, id, bytes).map_err(|error| format!("{id}: {error}"))?;
            if let Loaded::Bundle(_) = loaded {
                names = self::names(bytes).unwrap_or(names);
                terms = self::terms(bytes).map_err(|error| format!("{id}: {error}"))?.unwrap_or_default();
            }
        }
        Ok(Self { engine, names: Rc::new(names), terms: Rc::new(terms) })
    }

    /// Hexadecimal ids of bundle and shared state.
    pub(crate) fn ids(&self) -> (Option<String>, Option<String>) {
        ids(&self.engine)
    }
}

fn ids(engine: &Engine) -> (Option<String>, Option<String>) {
    let bundle = engine.snapshot().map(|snapshot| hexadecimal(snapshot.id()));
    (bundle, engine.shared().map(|shared| hexadecimal(shared.id())))
}

fn load(engine: &mut Engine, id: &str, bytes: &[u8]) -> Result<Loaded, String> {
    let loaded = match verify_id(bytes) {
        Ok(named) if hexadecimal(&named) == id => engine.load(AlignedBytes::copy_of(bytes)),
        Ok(named) => return Err(format!("the content has the id {}", hexadecimal(&named))),
        // What does not hash to its id is first asked what else is wrong with it: that says more.
        Err(other) => Engine::new(Limits::default()).load(AlignedBytes::copy_of(bytes)).and(Err(other)),
    };
    loaded.map_err(|error| error.to_string())
}

/// The configuration, read once.
pub(crate) fn config(env: &Env) -> Result<Rc<Config>, String> {
    with(|isolate| {
        // By way of JSON: read from the JavaScript object itself, a misspelt setting would pass unnoticed.
        let read = || {
            let object = Reflect::get(env, &"SELVEDGE".into()).unwrap_or_default();
            let text = JSON::stringify(&object).ok().and_then(|text| text.as_string()).unwrap_or_default();
            let config = Config::parse(&text).map(Rc::new);
            config.map_err(|error| format!("the variable SELVEDGE is no configuration: {error}"))
        };
        isolate.config.get_or_insert_with(read).clone()
    })
}

#[inline(never)]
fn names(bundle: &[u8]) -> Result<MetaV1, DecodeError> {
    let container = Container::parse(bundle, Kind::Bundle)?;
    let section = container.require(meta::TAG, meta::VERSION, "names")?;
    MetaV1::decode(&bundle[section.range.clone()])
}

/// The terms of a bundle's campaigns, if it has any.
#[inline(never)]
fn terms(bundle: &[u8]) -> Result<Option<TermsV1>, DecodeError> {
    let container = Container::parse(bundle, Kind::Bundle)?;
    container.find(terms::TAG).map(|section| TermsV1::decode(&bundle[section.range.clone()])).transpose()
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
