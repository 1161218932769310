//! What lives as long as the isolate: configuration, engine, names, counters. One thread, no locks; nothing here is held
//! across an `await`, so a bundle is swapped between two decisions and never within one.

use std::cell::RefCell;
use std::rc::Rc;

use selvedge_engine::{Engine, Limits, Loaded};
use selvedge_format::container::{Container, Kind, verify_id};
use selvedge_format::meta::{self, MetaV1};
use selvedge_format::{AlignedBytes, DecodeError};
use serde::Serialize;
use worker::Env;
use worker::js_sys::{JSON, Reflect};

use crate::bundle::Failure;
use crate::config::Config;
use crate::head::Held;
use crate::journal::Journal;

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
    /// The head in force.
    pub(crate) held: Option<Held>,
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
            held: None,
            checked_ms: 0,
            failure: None,
            counters: Counters::default(),
            journal: Journal::default(),
        }
    }

    /// Puts a bundle and its shared state in place, both or neither; each must have the id beside it.
    #[inline(never)]
    pub(crate) fn place(&mut self, parts: &[(String, Vec<u8>)]) -> Result<(), String> {
        let mut engine = Engine::new(Limits::default());
        let mut names = MetaV1::default();
        for (id, bytes) in parts {
            let loaded = load(&mut engine, id, bytes).map_err(|error| format!("{id}: {error}"))?;
            if let Loaded::Bundle(_) = loaded {
                names = self::names(bytes).unwrap_or(names);
            }
        }
        (self.engine, self.names) = (engine, Rc::new(names));
        Ok(())
    }

    /// Decides, and counts.
    pub(crate) fn decide(&mut self, request: &[u8]) -> Vec<u8> {
        self.counters.decisions += 1;
        if self.is_killed() {
            // An engine without a bundle: the order of the request.
            return Engine::new(Limits::default()).decide(request).to_vec();
        }
        self.engine.decide(request).to_vec()
    }

    /// Whether the head says that nothing is personalised.
    pub(crate) fn is_killed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.killed)
    }

    /// How the channel is followed: the names of `docs/follow.md`.
    pub(crate) fn following(&self, now_ms: i64) -> &'static str {
        match &self.held {
            None => "bootstrap",
            Some(held) if held.killed => "killed",
            Some(held) if now_ms >= held.not_after_ms => "expired",
            Some(_) => "following",
        }
    }

    /// Hexadecimal ids of bundle and shared state.
    #[inline(never)]
    pub(crate) fn ids(&self) -> (Option<String>, Option<String>) {
        let bundle = self.engine.snapshot().map(|snapshot| hexadecimal(snapshot.id()));
        (bundle, self.engine.shared().map(|shared| hexadecimal(shared.id())))
    }
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

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
