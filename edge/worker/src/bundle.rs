//! Bundles and shared states, from KV or R2 (the binding `BUNDLES`).
//!
//! The key `channels/<name>/head` holds the channel's signed head, and `blobs/<id>` the bytes that it names, as
//! `selvedge publish --to` lays them out. Blobs never change, so a look at the head tells whether there is anything to fetch.

use std::rc::Rc;

use selvedge_format::head::{BlobV1, HeadV1};
use worker::kv::KvStore;
use worker::{Bucket, Date, Env, State};

use crate::config::Config;
use crate::head::{self, Held};
use crate::isolate::{self, Counters, Placed, hexadecimal};
use crate::origin;
use crate::rank::Reason;

/// Age at which the head is looked at again, milliseconds.
const STALE_MS: u64 = 5_000;

/// How long the first request of an object waits for the bundle, milliseconds.
const LOAD_MS: u64 = 5_000;

enum Blobs {
    R2(Bucket),
    Kv(KvStore),
}

/// Why what the head names is not in place.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be read.
    Missing(String),
    /// It was read, and is not fit to be used.
    Refused(String),
}

impl Failure {
    /// In a word.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Missing(_) => "bundle-missing",
            Self::Refused(_) => "bundle-refused",
        }
    }

    /// In words.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Missing(why) | Self::Refused(why) => why,
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Missing(why)
    }
}

impl Blobs {
    fn of(env: &Env) -> Result<Self, String> {
        let bucket = env.bucket("BUNDLES").map(Self::R2);
        bucket.or_else(|_| env.kv("BUNDLES").map(Self::Kv)).map_err(|error| format!("the binding BUNDLES: {error}"))
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("reading {key}: {error}");
        match self {
            Self::R2(bucket) => {
                let object = bucket.get(key).execute().await.map_err(|error| failed(&error))?;
                let Some(body) = object.as_ref().and_then(worker::Object::body) else { return Ok(None) };
                body.bytes().await.map(Some).map_err(|error| failed(&error))
            }
            Self::Kv(store) => store.get(key).bytes().await.map_err(|error| failed(&error)),
        }
    }
}

/// Whether the head should be looked at; whoever is told so is the one to look.
pub(crate) fn is_stale() -> bool {
    let now = Date::now().as_millis();
    isolate::with(|isolate| {
        let is_stale = now.saturating_sub(isolate.checked_ms) >= STALE_MS;
        if is_stale {
            isolate.checked_ms = now;
        }
        is_stale
    })
}

/// Brings the engine to what the head says. What is in place stays until what replaces it is good; why it is not stands
/// in the status.
pub(crate) async fn refresh(env: &Env, config: &Config) {
    let outcome = try_refresh(env, config).await;
    isolate::with(|isolate| isolate.failure = outcome.err());
}

/// [`refresh`], for someone who waits at most so long.
pub(crate) async fn refresh_within(env: &Env, config: &Config, ms: u64) {
    if origin::within(ms, refresh(env, config)).await.is_none() {
        let failure = Failure::Missing(format!("BUNDLES did not answer within {ms} ms"));
        isolate::with(|isolate| isolate.failure = Some(failure));
    }
}

/// Has the bundle looked after for a Durable Object. Who cannot do without news waits for them a while; the others have
/// them next time.
pub(crate) async fn look_after(object: &State, env: &Env, config: &Rc<Config>, is_waiting: bool) {
    let is_missing = isolate::with(|isolate| isolate.engine.snapshot().is_none());
    let is_stale = is_stale();
    if is_missing || is_waiting && is_stale {
        refresh_within(env, config, LOAD_MS).await;
    } else if is_stale {
        let (env, config) = (env.clone(), Rc::clone(config));
        object.wait_until(async move { refresh(&env, &config).await });
    }
}

#[inline(never)]
async fn try_refresh(env: &Env, config: &Config) -> Result<(), Failure> {
    let channel = config.channel.as_ref().ok_or_else(|| "the variable SELVEDGE has no `channel`".to_owned())?;
    let blobs = Blobs::of(env)?;
    let key = format!("channels/{}/head", channel.name);
    let bytes = blobs.get(&key).await?.ok_or_else(|| format!("BUNDLES has no `{key}`"))?;
    let held = isolate::with(|isolate| isolate.held.clone());
    let judged = head::judge(channel, held.as_ref(), &bytes, Date::now().as_millis() as i64).await;
    if judged.is_ok() {
        isolate::with(|isolate| isolate.heard_ms = Date::now().as_millis());
    }
    let head = match judged {
        Ok(Some(head)) => head,
        // What is in place was placed whole.
        Ok(None) => return Ok(()),
        Err(reason) => {
            isolate::with(|isolate| isolate.counters.heads_refused += 1);
            return Err(Failure::Refused(format!("{key} is refused: {reason}")));
        }
    };
    // A kill is obeyed whatever becomes of the bundle.
    let placed = place(&blobs, &head).await;
    if !head.killed {
        placed?;
    }
    let HeadV1 { sequence, not_after_ms, killed, guard, prices, .. } = head;
    isolate::with(|isolate| isolate.hold(Held { bytes, sequence, not_after_ms, killed, guard, prices }));
    Ok(())
}

/// Puts in place what the head names, the rollout's too, as far as it is not there.
async fn place(blobs: &Blobs, head: &HeadV1) -> Result<(), Failure> {
    let (ids, theirs) =
        isolate::with(|isolate| (isolate.ids(), isolate.rollout.as_ref().map(|(_, placed)| placed.ids())));
    let main = loaded(blobs, head.bundle, head.shared, Some(&ids)).await?;
    let rollout = match head.rollout {
        Some(rollout) => {
            loaded(blobs, rollout.bundle, rollout.shared, theirs.as_ref()).await?.map(|placed| (rollout, placed))
        }
        None => None,
    };
    isolate::with(|isolate| {
        if let Some(main) = main {
            isolate.place(main);
        }
        isolate.rollout = match (head.rollout, rollout, isolate.rollout.take()) {
            (_, Some(new), _) => Some(new),
            // The same bundle for another share.
            (Some(rollout), None, Some((_, placed))) => Some((rollout, placed)),
            _ => None,
        };
    });
    Ok(())
}

/// A bundle and its shared state, unless they are in place.
async fn loaded(
    blobs: &Blobs,
    bundle: BlobV1,
    shared: Option<BlobV1>,
    there: Option<&(Option<String>, Option<String>)>,
) -> Result<Option<Placed>, Failure> {
    let wanted = (Some(hexadecimal(&bundle.id)), shared.map(|shared| hexadecimal(&shared.id)));
    if there == Some(&wanted) {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for blob in shared.iter().chain([&bundle]) {
        let id = hexadecimal(&blob.id);
        let bytes = blobs.get(&format!("blobs/{id}")).await?;
        let bytes = bytes.ok_or_else(|| format!("BUNDLES has no `blobs/{id}`, which the head names"))?;
        parts.push((id, bytes));
    }
    let placed = Placed::load(&parts);
    isolate::with(|isolate| {
        let Counters { bundles_loaded, bundles_refused, .. } = &mut isolate.counters;
        *(if placed.is_ok() { bundles_loaded } else { bundles_refused }) += 1;
    });
    placed.map(Some).map_err(Failure::Refused)
}

/// The bytes of the bundle or shared state in place with this id, for those who rank elsewhere.
pub(crate) async fn published(env: &Env, id: &str) -> Result<Option<Vec<u8>>, String> {
    let is_in_use = isolate::with(|isolate| {
        let theirs = isolate.rollout.as_ref().map(|(_, placed)| placed.ids());
        let in_use = [Some(isolate.ids()), theirs].into_iter().flatten();
        in_use.flat_map(|(bundle, shared)| [bundle, shared]).any(|known| known.as_deref() == Some(id))
    });
    // Nothing else of the store is anyone's business.
    if !is_in_use {
        return Ok(None);
    }
    Blobs::of(env)?.get(&format!("blobs/{id}")).await
}
