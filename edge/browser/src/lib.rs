//! The engine for JavaScript hosts: browsers, Node and Workers that load the npm package.
//!
//! The module is the engine, one user's state, and nothing else: requests come in and decisions go out as the bytes of
//! `docs/format`. Names, storage and networks are the package's business (`www/sdk`). A method that can be refused
//! returns 0 or the number of the [`ErrorCode`](selvedge_format::ErrorCode), and [`Engine::last_error`] says it in words.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_engine::{Limits, Loaded};
use selvedge_format::container::{Container, Kind, verify_id};
use selvedge_format::decision::floats;
use selvedge_format::meta::{self, MetaV1};
use selvedge_format::program::{FieldType, Scope, field_id};
use selvedge_format::state::ProfileValue;
use selvedge_format::{AlignedBytes, DecodeError, key};
use wasm_bindgen::prelude::wasm_bindgen;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// No words, only a trap: the package knows the request, and the words of a panic would be a third of the module.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// An engine and the state of the user at this device.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine {
    engine: selvedge_engine::Engine,
    user: UserState,
    /// By feature, as the bundle calls them.
    names: Vec<String>,
    refusal: Option<DecodeError>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

#[wasm_bindgen]
impl Engine {
    /// An engine with nothing loaded, for a user of whom nothing is known.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self {
            engine: selvedge_engine::Engine::new(Limits::default()),
            user: UserState::new(),
            names: Vec::new(),
            refusal: None,
        }
    }

    /// Loads a bundle or a shared state. What is refused changes nothing. The content must hash to the id that it
    /// carries: it may come from a cache that others write to.
    pub fn load(&mut self, bytes: &[u8]) -> u32 {
        let aligned = AlignedBytes::copy_of(bytes);
        // What does not hash to its id is first asked what else is wrong with it: that says more.
        let loaded = match verify_id(bytes) {
            Ok(_) => self.engine.load(aligned),
            Err(other) => selvedge_engine::Engine::new(Limits::default()).load(aligned).and(Err(other)),
        };
        if let Ok(Loaded::Bundle(_)) = loaded {
            self.names = feature_names(bytes).unwrap_or_default();
        }
        self.answer(loaded.map(|_| ()))
    }

    /// Id of the bundle, 32 bytes; none if there is none.
    #[wasm_bindgen(js_name = bundleId)]
    #[must_use]
    pub fn bundle_id(&self) -> Option<Vec<u8>> {
        self.engine.snapshot().map(|snapshot| snapshot.id().to_vec())
    }

    /// Id of the shared state, 32 bytes; none if there is none.
    #[wasm_bindgen(js_name = sharedId)]
    #[must_use]
    pub fn shared_id(&self) -> Option<Vec<u8>> {
        self.engine.shared().map(|shared| shared.id().to_vec())
    }

    /// Names of the features, for reasons; empty if the bundle carries none.
    #[wasm_bindgen(js_name = featureNames)]
    #[must_use]
    pub fn feature_names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// The type that the bundle gives a field: 0 number, 1 string, 2 tokens, 3 time; 255 if no feature reads it. Scopes
    /// are 0 item, 1 user, 2 context.
    #[wasm_bindgen(js_name = fieldType)]
    #[must_use]
    pub fn field_type(&self, scope: u8, name: &str) -> u8 {
        let id = self.field_id(scope, name);
        let fields = self.engine.snapshot().map_or(&[][..], |snapshot| &snapshot.program().fields);
        match fields.iter().find(|field| field.id == id).map(|field| field.ty) {
            Some(FieldType::Number) => 0,
            Some(FieldType::String) => 1,
            Some(FieldType::Tokens) => 2,
            Some(FieldType::Time) => 3,
            None => 255,
        }
    }

    /// The id under which a request's column names a field.
    #[wasm_bindgen(js_name = fieldId)]
    #[must_use]
    pub fn field_id(&self, scope: u8, name: &str) -> u64 {
        let scope = match scope {
            0 => Scope::Item,
            1 => Scope::User,
            _ => Scope::Context,
        };
        field_id(scope, name)
    }

    /// The key of a text, by which a question for an offer names campaigns and budgets; 0 for the empty text.
    #[must_use]
    pub fn key(&self, text: &str) -> u64 {
        key(text.as_bytes())
    }

    /// The decision on a request, both as bytes. Total: what cannot be ranked keeps its order.
    pub fn decide(&mut self, request: &[u8]) -> Vec<u8> {
        self.refusal = None;
        self.engine.decide(request).to_vec()
    }

    /// The features of a request: `candidates u32, features u32`, then `f32[features][candidates]`. Empty if the request
    /// is refused.
    pub fn features(&mut self, request: &[u8]) -> Vec<u8> {
        self.refusal = None;
        let mut out = Vec::new();
        if let Ok(matrix) = self.engine.features(request) {
            matrix.write(&mut out);
        }
        out
    }

    /// The score of each candidate, `f32[candidates]`. Empty if the request is refused.
    pub fn score(&mut self, request: &[u8]) -> Vec<u8> {
        self.refusal = None;
        let scores = self.engine.score(request).unwrap_or_default();
        let mut out = Vec::new();
        floats(&mut out, scores);
        out
    }

    /// Counts something that the user did at `device`. `time_ms` is since 1970-01-01 UTC; `value` is what counters of
    /// values add.
    pub fn observe(&mut self, device: u64, event: &str, item: &str, time_ms: f64, value: f32) -> u32 {
        let applied = match self.engine.snapshot() {
            Some(snapshot) => {
                let items = ItemKeys::new(snapshot.program(), self.engine.shared());
                let (event, item) = (key(event.as_bytes()), key(item.as_bytes()));
                let event = Event { event, time_ms: time_ms as i64, item, value };
                self.user.apply(device, snapshot.program(), &items, &event)
            }
            None => Err(DecodeError::not_loaded()),
        };
        self.answer(applied)
    }

    /// Sets a number of the user's profile.
    #[wasm_bindgen(js_name = setNumber)]
    pub fn set_number(&mut self, device: u64, field: &str, time_ms: f64, value: f32) -> u32 {
        self.set(device, field, time_ms, ProfileValue::Number(value))
    }

    /// Sets a text of the user's profile. The state keeps its hash.
    #[wasm_bindgen(js_name = setString)]
    pub fn set_string(&mut self, device: u64, field: &str, time_ms: f64, value: &str) -> u32 {
        self.set(device, field, time_ms, ProfileValue::String(key(value.as_bytes())))
    }

    fn set(&mut self, device: u64, field: &str, time_ms: f64, value: ProfileValue) -> u32 {
        let set = self.user.set(device, field_id(Scope::User, field), time_ms as i64, value);
        self.answer(set)
    }

    /// The user's state as bytes.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        self.user.encode()
    }

    /// Takes over what another copy of the user's state knows: another tab's, another device's, the server's.
    pub fn merge(&mut self, state: &[u8]) -> u32 {
        let merged = UserState::decode(state).and_then(|other| self.user.merge(&other));
        self.answer(merged)
    }

    /// Forgets the user.
    pub fn forget(&mut self) {
        self.user = UserState::new();
    }

    /// Why the last call refused what it was given, in words; empty if it did not.
    #[wasm_bindgen(js_name = lastError)]
    #[must_use]
    pub fn last_error(&self) -> String {
        self.refusal.or_else(|| self.engine.last_error().copied()).map_or_else(String::new, |error| error.to_string())
    }

    fn answer(&mut self, result: Result<(), DecodeError>) -> u32 {
        self.refusal = result.err();
        self.refusal.map_or(0, |error| error.code() as u32)
    }
}

/// Names are optional, and a bundle whose names cannot be read still ranks.
fn feature_names(bundle: &[u8]) -> Option<Vec<String>> {
    let container = Container::parse(bundle, Kind::Bundle).ok()?;
    let section = container.require(meta::TAG, meta::VERSION, "names").ok()?;
    let names = MetaV1::decode(&bundle[section.range.clone()]).ok()?;
    Some(names.features.into_iter().map(|feature| feature.name).collect())
}
