//! Bundles and shared states, from KV or R2 (the binding `BUNDLES`).
//!
//! The key `head` holds `{"bundle": id, "shared": id}`, and `blob/<id>` the bytes. Blobs never change, so a look at the head
//! tells whether there is anything to fetch.

use serde::Deserialize;
use worker::kv::KvStore;
use worker::{Bucket, Date, Env};

use crate::isolate::{self, Counters};
use crate::origin;
use crate::rank::Reason;

/// Age at which the head is looked at again, milliseconds.
const STALE_MS: u64 = 5_000;

enum Blobs {
    R2(Bucket),
    Kv(KvStore),
}

#[derive(Deserialize)]
struct Head {
    bundle: String,
    shared: Option<String>,
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
pub(crate) async fn refresh(env: &Env) {
    let outcome = try_refresh(env).await;
    isolate::with(|isolate| isolate.failure = outcome.err());
}

/// [`refresh`], for someone who waits at most so long.
pub(crate) async fn refresh_within(env: &Env, ms: u64) {
    if origin::within(ms, refresh(env)).await.is_none() {
        let failure = Failure::Missing(format!("BUNDLES did not answer within {ms} ms"));
        isolate::with(|isolate| isolate.failure = Some(failure));
    }
}

#[inline(never)]
async fn try_refresh(env: &Env) -> Result<(), Failure> {
    let blobs = Blobs::of(env)?;
    let head = blobs.get("head").await?.ok_or_else(|| "BUNDLES has no `head`".to_owned())?;
    let head: Head = serde_json::from_slice(&head).map_err(|error| format!("the head is no head: {error}"))?;
    let (bundle, shared) = isolate::with(|isolate| isolate.ids());
    if bundle.as_ref() == Some(&head.bundle) && shared == head.shared {
        return Ok(());
    }
    let mut parts = Vec::new();
    for id in head.shared.iter().chain([&head.bundle]) {
        let bytes = blobs.get(&format!("blob/{id}")).await?;
        parts.push((id.as_str(), bytes.ok_or_else(|| format!("BUNDLES has no `blob/{id}`, which the head names"))?));
    }
    isolate::with(|isolate| {
        let placed = isolate.place(&parts);
        let Counters { bundles_loaded, bundles_refused, .. } = &mut isolate.counters;
        *(if placed.is_ok() { bundles_loaded } else { bundles_refused }) += 1;
        placed.map_err(Failure::Refused)
    })
}

/// The bytes of the bundle or shared state in place with this id, for those who rank elsewhere.
pub(crate) async fn published(env: &Env, id: &str) -> Result<Option<Vec<u8>>, String> {
    let (bundle, shared) = isolate::with(|isolate| isolate.ids());
    // Nothing else of the store is anyone's business.
    if bundle.as_deref() != Some(id) && shared.as_deref() != Some(id) {
        return Ok(None);
    }
    Blobs::of(env)?.get(&format!("blob/{id}")).await
}
