//! Users' states: one Durable Object per user, so that events of one user are applied one after the other.

use std::cell::RefCell;

use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_format::key;
use serde::{Deserialize, Serialize};
use worker::js_sys::Uint8Array;
use worker::{DurableObject, Env, Method, Request, Response, Result, State, durable_object};

use crate::{bundle, isolate, origin};

/// Events of a request.
const MAX_EVENTS: usize = 100;
/// Ids of events that an object remembers: an event that comes again is counted once.
const REMEMBERED: usize = 256;
/// The part of the state that edges write.
const DEVICE: u64 = 0;
/// A stored value may have 128 KiB.
const MAX_STORED: usize = 120 << 10;
const KEY: &str = "user";

/// What `POST /v1/events` takes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Events {
    pub(crate) events: Vec<UserEvent>,
}

/// Something that the user did.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserEvent {
    /// Makes it count once, however often it is sent.
    pub(crate) id: Option<String>,
    /// One of the bundle's events.
    pub(crate) event: String,
    /// Id of the item.
    pub(crate) item: String,
    /// What counters of values add.
    #[serde(default)]
    pub(crate) value: f32,
    /// Milliseconds since 1970-01-01 UTC; the time of arrival unless given.
    pub(crate) time: Option<i64>,
    /// The decision that it follows, 32 hexadecimal digits.
    pub(crate) request_id: Option<String>,
}

impl Events {
    /// Reads a body.
    pub(crate) fn parse(body: &[u8]) -> std::result::Result<Self, String> {
        let events: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if events.events.len() > MAX_EVENTS {
            return Err(format!("{} events, of which a request may have {MAX_EVENTS}", events.events.len()));
        }
        for (at, event) in events.events.iter().enumerate() {
            if event.request_id.as_deref().is_some_and(|id| crate::request_id(id).is_none()) {
                return Err(format!(
                    "events[{at}].request_id: 32 hexadecimal digits, as `Selvedge-Request-Id` has them"
                ));
            }
            if !event.value.is_finite() {
                return Err(format!("events[{at}].value: too large a number"));
            }
        }
        Ok(events)
    }
}

impl UserEvent {
    /// When it happened: not in the future, which would never be forgotten.
    pub(crate) fn time_ms(&self, now_ms: i64) -> i64 {
        self.time.unwrap_or(now_ms).min(now_ms)
    }

    /// Key of its id; 0 if it has none.
    pub(crate) fn key(&self) -> u64 {
        self.id.as_ref().map_or(0, |id| key(id.as_bytes()))
    }
}

/// The state of a user; empty for an unknown one.
pub(crate) async fn state(env: &Env, user: &str) -> Result<Vec<u8>> {
    let stub = env.durable_object("USERS")?.get_by_name(user)?;
    let mut answer = stub.fetch_with_str("https://user/state").await?;
    match answer.status_code() {
        200 => answer.bytes().await,
        status => Err(worker::Error::RustError(format!("the user's object answered {status}"))),
    }
}

/// Applies events to the state of a user.
pub(crate) async fn apply(env: &Env, user: &str, events: &Events) -> Result<Response> {
    let stub = env.durable_object("USERS")?.get_by_name(user)?;
    stub.fetch_with_request(origin::post("https://user/events", &serde_json::to_string(events)?)?).await
}

/// The object: state and remembered event ids, written together.
#[durable_object(fetch)]
pub struct User {
    object: State,
    env: Env,
    /// What is stored, once it was read.
    kept: RefCell<Option<Kept>>,
}

#[derive(Clone, Default)]
struct Kept {
    /// Oldest first.
    seen: Vec<u64>,
    state: UserState,
}

impl DurableObject for User {
    fn new(object: State, env: Env) -> Self {
        Self { object, env, kept: RefCell::new(None) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.method() != Method::Post {
            let kept = self.kept().await?;
            let state = if kept.state == UserState::new() { Vec::new() } else { kept.state.encode() };
            return Response::from_bytes(state);
        }
        let events = match Events::parse(&request.bytes().await?) {
            Ok(events) => events,
            Err(error) => return Response::error(error, 400),
        };
        // Without a configuration there is no channel, and the Worker says so elsewhere.
        if let Ok(config) = isolate::config(&self.env) {
            bundle::look_after(&self.object, &self.env, &config, false).await;
        }
        // Whoever waits for anything but the storage lets the next request in: from here to the write nothing else waits.
        let mut kept = self.kept().await?;
        match kept.apply(&events) {
            Ok(applied) => {
                self.keep(kept).await?;
                Response::from_json(&serde_json::json!({ "applied": applied }))
            }
            Err(error) => Response::error(error, 409),
        }
    }
}

impl User {
    async fn kept(&self) -> Result<Kept> {
        if let Some(kept) = self.kept.borrow().clone() {
            return Ok(kept);
        }
        let stored = self.object.storage().get::<Vec<u8>>(KEY).await?;
        // What does not decode is of a version that was never released: the user begins anew.
        let kept = stored.and_then(|stored| Kept::decode(&stored)).unwrap_or_default();
        *self.kept.borrow_mut() = Some(kept.clone());
        Ok(kept)
    }

    async fn keep(&self, kept: Kept) -> Result<()> {
        let bytes = kept.encode();
        if bytes.len() > MAX_STORED {
            return Err(worker::Error::RustError(format!("a state of {} bytes", bytes.len())));
        }
        let written = self.object.storage().put_raw(KEY, Uint8Array::from(bytes.as_slice())).await;
        // What may not be stored is read again.
        *self.kept.borrow_mut() = written.is_ok().then_some(kept);
        written
    }
}

impl Kept {
    /// Counts the events that were not counted before; all or none. Returns how many.
    fn apply(&mut self, events: &Events) -> std::result::Result<u32, String> {
        let now = worker::Date::now().as_millis() as i64;
        isolate::with(|isolate| {
            let Some(snapshot) = isolate.engine.snapshot() else { return Err("no bundle is loaded".to_owned()) };
            let items = ItemKeys::new(snapshot.program(), isolate.engine.shared());
            let mut applied = 0;
            for event in &events.events {
                let id = event.key();
                if id != 0 && self.seen.contains(&id) {
                    continue;
                }
                let happened = Event {
                    event: key(event.event.as_bytes()),
                    time_ms: event.time_ms(now),
                    item: key(event.item.as_bytes()),
                    value: event.value,
                };
                let outcome = self.state.apply(DEVICE, snapshot.program(), &items, &happened);
                outcome.map_err(|error| error.to_string())?;
                if id != 0 {
                    self.seen.push(id);
                }
                applied += 1;
            }
            let surplus = self.seen.len().saturating_sub(REMEMBERED);
            self.seen.drain(..surplus);
            Ok(applied)
        })
    }

    /// Number of ids `u32`, the ids `u64` each, the state.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::from((self.seen.len() as u32).to_le_bytes());
        bytes.extend(self.seen.iter().flat_map(|id| id.to_le_bytes()));
        bytes.extend(self.state.encode());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let (ids, state) = rest.split_at_checked(8 * u32::from_le_bytes(*count) as usize)?;
        let (ids, _) = ids.as_chunks();
        let state = UserState::decode(state).ok()?;
        Some(Self { seen: ids.iter().map(|id| u64::from_le_bytes(*id)).collect(), state })
    }
}
