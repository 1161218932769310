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

use crate::config::Config;

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
    /// When the bundle was last looked after, milliseconds.
    pub(crate) checked_ms: u64,
    /// Why the last bundle was refused.
    pub(crate) refusal: Option<String>,
    pub(crate) counters: Counters,
    /// Records that wait to be written.
    pub(crate) journal: Vec<u8>,
    /// Whether someone is on the way to write them.
    pub(crate) is_writing: bool,
}

/// Since the isolate began.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counters {
    pub(crate) decisions: u64,
    pub(crate) fallbacks: u64,
    pub(crate) records: u64,
    pub(crate) records_dropped: u64,
    pub(crate) log_failures: u64,
}

impl Isolate {
    fn new() -> Self {
        Self {
            config: None,
            engine: Engine::new(Limits::default()),
            names: Rc::new(no_names()),
            checked_ms: 0,
            refusal: None,
            counters: Counters::default(),
            journal: Vec::new(),
            is_writing: false,
        }
    }

    /// Loads a bundle or shared state that must have this id.
    #[inline(never)]
    pub(crate) fn load(&mut self, id: &str, bytes: &[u8]) -> Result<(), String> {
        let named = verify_id(bytes).map_err(|error| error.to_string())?;
        if hexadecimal(&named) != id {
            return Err(format!("the content of {id} has the id {}", hexadecimal(&named)));
        }
        let loaded = self.engine.load(AlignedBytes::copy_of(bytes)).map_err(|error| error.to_string())?;
        if let Loaded::Bundle(_) = loaded {
            self.names = Rc::new(names(bytes).unwrap_or_else(|_| no_names()));
        }
        Ok(())
    }

    /// Hexadecimal ids of bundle and shared state.
    #[inline(never)]
    pub(crate) fn ids(&self) -> (Option<String>, Option<String>) {
        let bundle = self.engine.snapshot().map(|snapshot| hexadecimal(snapshot.id()));
        (bundle, self.engine.shared().map(|shared| hexadecimal(shared.id())))
    }
}

/// The configuration, read once.
pub(crate) fn config(env: &Env) -> Result<Rc<Config>, String> {
    with(|isolate| {
        // By way of JSON: read from the JavaScript object itself, a misspelt setting would pass unnoticed.
        let read = || {
            let object = Reflect::get(env, &"SELVEDGE".into()).unwrap_or_default();
            let text = JSON::stringify(&object).ok().and_then(|text| text.as_string()).unwrap_or_default();
            let config = serde_json::from_str(&text).map(Rc::new);
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

fn no_names() -> MetaV1 {
    MetaV1 {
        name: String::new(),
        producer: String::new(),
        fields: Vec::new(),
        features: Vec::new(),
        events: Vec::new(),
        shared_refresh_s: 0,
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
