//! Money for offers: a few Durable Objects, each with the [`Holder`] of its users.
//!
//! A user's hash says which object is asked, so one user's decisions are made in one place and one after the other. The object
//! keeps the holder and what is noted of its users in its storage, by the calls that do not wait: a [turn](crate::decide)
//! reads, decides and writes without letting anybody in, and the platform lets nothing out, neither an answer nor a request
//! to the host, before what was written is safe.
//!
//! The host is talked to by one exchange at a time; who finds no money meanwhile waits for its end. What was not answered is
//! repeated under the same id, by an alarm if nobody comes.
//!
//! The class is in Rust, as `User` is: the entry already makes the other half of such an object anew when the module traps,
//! and one in JavaScript would have to pass the holder's bytes, the notes and the decision to and fro.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use selvedge_budget::holder::{Habits, Holder};
use selvedge_budget::ledger::Refusal;
use selvedge_budget::{Lease, Minor, Reported};
use selvedge_offer::Answer;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use worker::js_sys::{Promise, Uint8Array};
use worker::wasm_bindgen_futures::{JsFuture, future_to_promise};
use worker::{Date, DurableObject, Env, Fetch, Request, Response, Result, State, durable_object};

use crate::api::{Refused, refused};
use crate::config::{Config, Offers};
use crate::decide::{self, Desk, Left, Turn};
use crate::offer::{Message, Secrets};
use crate::{bundle, isolate, journal, origin, record};

/// The binding of the class.
pub(crate) const BINDING: &str = "BUDGETS";
/// Where the holder is stored. Notes begin with another letter.
const HOLDER: &str = "holder";
/// Turns of a question that finds no money: the last one makes do with what is held. Of a small budget a lease is an offer or
/// two, and those who ask at once wait for one another's.
const TURNS: usize = 8;
/// Least time between alarms, milliseconds.
const LEAST_ALARM_MS: i64 = 500;
/// A lease lasts a minute or so at the present use, and goes back as soon when nobody comes.
const HABITS: Habits =
    Habits { cover_ms: 60_000, idle_ms: 60_000, most: Minor::MOST, retry_ms: 2_000, pause_ms: 10_000 };

#[wasm_bindgen]
extern "C" {
    /// The part of an object's storage that answers at once.
    #[derive(Clone)]
    type SyncStorage;

    #[wasm_bindgen(method, catch)]
    fn get(this: &SyncStorage, key: &str) -> std::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn put(this: &SyncStorage, key: &str, value: &Uint8Array) -> std::result::Result<(), JsValue>;

    type HasSync;

    #[wasm_bindgen(method, getter)]
    fn kv(this: &HasSync) -> SyncStorage;
}

/// Asks a user's object.
pub(crate) async fn ask(env: &Env, message: &Message) -> std::result::Result<Response, Refused> {
    let objects = env.durable_object(BINDING).map_err(|_| {
        refused(503, "misconfigured", format!("the binding {BINDING} is missing: it is the class Budget"))
    })?;
    let stub = objects.get_by_name(&format!("budget-{}", message.shard))?;
    Ok(stub.fetch_with_request(origin::post("https://budget/", &json(message)?)?).await?)
}

/// What an object has stored.
#[derive(Clone)]
pub(crate) struct Kept(SyncStorage);

impl Kept {
    pub(crate) fn get(&self, key: &str) -> std::result::Result<Option<Vec<u8>>, Refused> {
        let found = self.0.get(key).map_err(|error| not_stored(&error))?;
        Ok(found.dyn_into::<Uint8Array>().ok().map(|bytes| bytes.to_vec()))
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) -> std::result::Result<(), Refused> {
        self.0.put(key, &Uint8Array::from(bytes)).map_err(|error| not_stored(&error))
    }

    pub(crate) fn put_holder(&self, holder: &Holder) -> std::result::Result<(), Refused> {
        self.put(HOLDER, &holder.encode())
    }

    /// The holder, if there was one.
    fn holder(&self) -> std::result::Result<Option<Holder>, Refused> {
        let Some(bytes) = self.get(HOLDER)? else { return Ok(None) };
        match Holder::decode(&bytes, HABITS) {
            Ok(holder) => Ok(Some(holder)),
            Err(error) => {
                // Its leases come back by time.
                worker::console_error!("selvedge: {error}; the object begins anew");
                Ok(None)
            }
        }
    }

    /// The holder, or a new one of this name.
    fn holder_or_new(&self, shard: u16) -> std::result::Result<Holder, Refused> {
        if let Some(holder) = self.holder()? {
            return Ok(holder);
        }
        let mut nonce = [0; 8];
        crate::random(&mut nonce);
        let named = Holder::new(&format!("worker-{shard}"), u64::from_le_bytes(nonce), HABITS);
        named.map_err(|error| refused(503, "internal", error.to_string()))
    }
}

fn not_stored(error: &JsValue) -> Refused {
    refused(503, "not-stored", format!("the object's storage: {error:?}"))
}

fn now_ms() -> i64 {
    Date::now().as_millis() as i64
}

/// The object.
#[durable_object(alarm)]
pub struct Budget {
    object: State,
    env: Env,
    secrets: RefCell<Option<Rc<Secrets>>>,
    /// The exchange with the host that is under way.
    exchange: Rc<RefCell<Option<Promise>>>,
    /// When the alarm rings, as far as it is known.
    alarm_ms: Cell<Option<i64>>,
}

impl DurableObject for Budget {
    fn new(object: State, env: Env) -> Self {
        Self { object, env, secrets: RefCell::default(), exchange: Rc::default(), alarm_ms: Cell::default() }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let message: Message = serde_json::from_slice(&request.bytes().await?)?;
        match self.answer(&message).await {
            Ok(answer) => Response::from_json(&answer),
            Err(refused) => refused.answer(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_ms.set(None);
        // Without a configuration there is nobody to talk to, and the Worker says so elsewhere.
        if let Ok((_, offers, secrets)) = self.configured() {
            self.exchanged(&offers, &secrets).await;
            self.set_alarm().await;
        }
        Response::empty()
    }
}

type Configured = (Rc<Config>, Offers, Rc<Secrets>);

impl Budget {
    fn configured(&self) -> std::result::Result<Configured, Refused> {
        let misconfigured = |error| refused(503, "misconfigured", error);
        let config = isolate::config(&self.env).map_err(misconfigured)?;
        let offers = config.offers.clone().ok_or_else(|| misconfigured("no offers are configured".to_owned()))?;
        let known = self.secrets.borrow().clone();
        let secrets = match known {
            Some(secrets) => secrets,
            None => Rc::new(Secrets::of(&self.env, &offers).map_err(misconfigured)?),
        };
        *self.secrets.borrow_mut() = Some(Rc::clone(&secrets));
        Ok((config, offers, secrets))
    }

    fn kept(&self) -> Kept {
        Kept(self.object.storage().as_raw().unchecked_ref::<HasSync>().kv())
    }

    async fn answer(&self, message: &Message) -> std::result::Result<Answer, Refused> {
        let (config, offers, secrets) = self.configured()?;
        let is_fresh = isolate::with(|isolate| isolate.is_fresh(now_ms() as u64));
        bundle::look_after(&self.object, &self.env, &config, !is_fresh).await;
        for turn in 1..=TURNS {
            let left = if turn == TURNS { Left::Held } else { Left::Unknown };
            match self.turn(&offers, &secrets, message, left)? {
                Turn::Answered(answer) => return Ok(answer),
                Turn::Decided(answer, ranked) => {
                    let wait_until = |write| self.object.wait_until(write);
                    journal::append(&self.env, wait_until, config.log, |share| record::decision(&ranked, share));
                    self.look_ahead(&offers, &secrets)?;
                    self.set_alarm().await;
                    return Ok(answer);
                }
                Turn::Short => self.exchanged(&offers, &secrets).await,
            }
        }
        Err(refused(503, "internal", "a question was not decided"))
    }

    /// From reading to writing without a wait.
    fn turn(
        &self,
        offers: &Offers,
        secrets: &Secrets,
        message: &Message,
        left: Left,
    ) -> std::result::Result<Turn, Refused> {
        let kept = self.kept();
        let mut holder = kept.holder_or_new(message.shard)?;
        let desk = Desk { now_ms: now_ms(), offers, secrets, kept: &kept, holder: &mut holder, left };
        isolate::with(|isolate| isolate.for_user(&message.user, |isolate| decide::turn(isolate, desk, message)))
    }

    /// Asks for the next lease before the last of this one is gone, while nobody waits.
    fn look_ahead(&self, offers: &Offers, secrets: &Rc<Secrets>) -> std::result::Result<(), Refused> {
        // What this one notes is thrown away: the exchange will ask for the same.
        let wants = self.kept().holder()?.and_then(|mut holder| holder.wants(now_ms()));
        if wants.is_some() {
            let _ = self.begin_exchange(offers, secrets);
        }
        Ok(())
    }

    /// Returns when an exchange with the host has ended.
    async fn exchanged(&self, offers: &Offers, secrets: &Rc<Secrets>) {
        let exchange = self.begin_exchange(offers, secrets);
        let _ = JsFuture::from(exchange).await;
    }

    /// The exchange that is under way, or a new one.
    fn begin_exchange(&self, offers: &Offers, secrets: &Rc<Secrets>) -> Promise {
        if let Some(exchange) = &*self.exchange.borrow() {
            return exchange.clone();
        }
        let (kept, under_way) = (self.kept(), Rc::clone(&self.exchange));
        let host = Host { offers: offers.clone(), secrets: Rc::clone(secrets) };
        let exchange = future_to_promise(std::panic::AssertUnwindSafe(async move {
            if let Err(refused) = host.exchange(&kept).await {
                worker::console_error!("selvedge: leases: {}", refused.message());
            }
            under_way.borrow_mut().take();
            Ok(JsValue::UNDEFINED)
        }));
        *self.exchange.borrow_mut() = Some(exchange.clone());
        exchange
    }

    /// Has the object woken for what the holder has to do without anybody asking.
    async fn set_alarm(&self) {
        let next_ms = self.kept().holder().ok().flatten().and_then(|holder| holder.next_ms());
        let Some(next_ms) = next_ms else { return };
        if self.alarm_ms.get().is_some_and(|alarm_ms| alarm_ms <= next_ms) {
            return;
        }
        let delay_ms = next_ms.saturating_sub(now_ms()).max(LEAST_ALARM_MS);
        self.alarm_ms.set(Some(now_ms() + delay_ms));
        if self.object.storage().set_alarm(delay_ms).await.is_err() {
            self.alarm_ms.set(None);
        }
    }
}

/// Whoever grants leases.
struct Host {
    offers: Offers,
    secrets: Rc<Secrets>,
}

/// What the host says.
enum Said {
    /// The document.
    Yes(Vec<u8>),
    /// What it refuses with.
    No(Refusal),
    /// Nothing that can be used; it will be asked again.
    Nothing,
}

/// What the host says no with: of a refusal, the holder acts by the budget that it names and by nothing else, so the rest
/// is not read. (All of [`Refusal`] is 32 KB of a reader.)
#[derive(Deserialize)]
struct Refusing {
    error: Told,
    refusal: serde_json::Value,
}

#[derive(Deserialize)]
struct Told {
    message: String,
}

impl Refusing {
    fn refusal(self) -> Refusal {
        worker::console_warn!("selvedge: the host refuses: {}", self.error.message);
        let named = self.refusal.as_object().and_then(|kinds| kinds.values().next()?.get("budget")?.as_str());
        named.map_or(Refusal::NothingWanted, |budget| Refusal::UnknownBudget { budget: budget.to_owned() })
    }
}

impl Host {
    /// Tells the host what it should know, and asks it for what is wanted. What leaves was stored before.
    async fn exchange(&self, kept: &Kept) -> std::result::Result<(), Refused> {
        let Some(mut holder) = kept.holder()? else { return Ok(()) };
        let (reports, wanted) = (holder.report(now_ms()), holder.wants(now_ms()));
        if reports.is_empty() && wanted.is_none() {
            return Ok(());
        }
        kept.put_holder(&holder)?;
        for report in reports {
            let answer = match self.post("/v1/leases/reports", json(&report)?).await {
                Said::Yes(body) => match serde_json::from_slice::<Reported>(&body) {
                    Ok(reported) => Ok(reported),
                    Err(_) => continue,
                },
                Said::No(refusal) => Err(refusal),
                Said::Nothing => continue,
            };
            change(kept, |holder| holder.reported(report.lease, report.sequence, &answer))?;
        }
        let Some(request) = wanted else { return Ok(()) };
        match self.post("/v1/leases", json(&request)?).await {
            Said::Yes(body) => {
                let lease: Lease = serde_json::from_slice(&body).map_err(|error| internal(&error))?;
                change(kept, |holder| holder.accept(now_ms(), lease))
            }
            Said::No(refusal) => change(kept, |holder| holder.refused(now_ms(), request.id, &refusal)),
            Said::Nothing => Ok(()),
        }
    }

    /// What the host says, in time.
    async fn post(&self, path: &str, document: String) -> Said {
        match origin::within(self.offers.host_ms, self.try_post(path, document)).await {
            Some(Ok(said)) => return said,
            Some(Err(error)) => worker::console_error!("selvedge: {path} of the host: {error}"),
            None => worker::console_error!("selvedge: {path} of the host: no answer in {} ms", self.offers.host_ms),
        }
        Said::Nothing
    }

    async fn try_post(&self, path: &str, document: String) -> Result<Said> {
        let request = origin::post(&format!("{}{path}", self.offers.host.trim_end_matches('/')), &document)?;
        let headers = request.inner().headers();
        headers.set("content-type", "application/json")?;
        headers.set("authorization", &format!("Bearer {}", self.secrets.token))?;
        let mut answer = Fetch::Request(request).send().await?;
        let body = answer.bytes().await?;
        match answer.status_code() {
            200 => Ok(Said::Yes(body)),
            409 => Ok(Said::No(serde_json::from_slice::<Refusing>(&body)?.refusal())),
            status => Err(worker::Error::RustError(format!("status {status}: {}", String::from_utf8_lossy(&body)))),
        }
    }
}

fn json(document: &impl Serialize) -> std::result::Result<String, Refused> {
    serde_json::to_string(document).map_err(|error| internal(&error))
}

fn internal(error: &serde_json::Error) -> Refused {
    refused(503, "internal", error.to_string())
}

/// Changes the holder as it is now.
fn change(kept: &Kept, change: impl FnOnce(&mut Holder)) -> std::result::Result<(), Refused> {
    let Some(mut holder) = kept.holder()? else { return Ok(()) };
    change(&mut holder);
    kept.put_holder(&holder)
}
