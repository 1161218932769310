//! Whether a channel's head is believed. The signature is checked by the platform, so that no cryptography ships here.
//!
//! The order of the checks, and their names, are those of every follower: `docs/follow.md`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use selvedge_format::head::{GuardV1, HeadV1, HeadView, KeyId, PriceV1, SHARE};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;
use worker::js_sys::{Array, Promise, Uint8Array};
use worker::wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = importKey, catch)]
    fn import_key(
        format: &str,
        key: &Uint8Array,
        algorithm: &str,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], catch)]
    fn verify(algorithm: &str, key: &JsValue, signature: &Uint8Array, message: &Uint8Array)
    -> Result<Promise, JsValue>;
}

/// The channel that is followed, and whose heads are believed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Channel {
    /// Its name.
    pub(crate) name: String,
    /// Public keys, as `selvedge keygen` prints them; two of them while one is rotated.
    pub(crate) keys: Vec<String>,
}

impl Channel {
    /// The public key that a head names.
    fn key(&self, id: KeyId) -> Option<[u8; 32]> {
        let keys = self.keys.iter().filter_map(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("ed25519:")?).ok()?;
            <[u8; 32]>::try_from(bytes).ok()
        });
        keys.into_iter().find(|key| Sha256::digest(key)[..id.len()] == id)
    }
}

/// A head that is in force.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) not_after_ms: i64,
    pub(crate) killed: bool,
    pub(crate) guard: Option<GuardV1>,
    pub(crate) prices: Vec<PriceV1>,
}

/// Decisions since a bundle went live, and how many of them fell back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    decisions: u64,
    fallbacks: u64,
}

impl Tally {
    /// Counts a decision; whether the bundle is given up with it.
    pub(crate) fn gives_up(&mut self, fell_back: bool, guard: Option<GuardV1>) -> bool {
        self.decisions += 1;
        self.fallbacks += u64::from(fell_back);
        guard.is_some_and(|guard| {
            self.decisions >= u64::from(guard.min_decisions)
                && self.fallbacks * u64::from(SHARE) > self.decisions * u64::from(guard.max_fallback_share)
        })
    }
}

/// Whether a user is among those for whom a rollout's bundle decides.
pub(crate) fn in_rollout(salt: u64, unit: &str, share: u16) -> bool {
    let digest: [u8; 32] = Sha256::new().chain_update(salt.to_le_bytes()).chain_update(unit).finalize().into();
    let drawn = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    drawn % u32::from(SHARE) < u32::from(share)
}

/// Judges `bytes`; `None` is the head that is held.
pub(crate) async fn judge(
    channel: &Channel,
    held: Option<&Held>,
    bytes: &[u8],
    now_ms: i64,
) -> Result<Option<HeadV1>, &'static str> {
    if held.is_some_and(|held| held.bytes == bytes) {
        return Ok(None);
    }
    let view = HeadView::parse(bytes).map_err(|_| "malformed")?;
    if view.head.channel != channel.name {
        return Err("other-channel");
    }
    let key = channel.key(view.key).ok_or("unknown-key")?;
    if !is_signed(&key, &view).await.unwrap_or(false) {
        return Err("bad-signature");
    }
    if now_ms < view.head.not_before_ms {
        return Err("not-yet-valid");
    }
    if now_ms >= view.head.not_after_ms {
        return Err("expired");
    }
    match held.map_or(0, |held| held.sequence) {
        newest if view.head.sequence < newest => Err("sequence-lower"),
        newest if view.head.sequence == newest => Err("sequence-reused"),
        _ => Ok(Some(view.head)),
    }
}

async fn is_signed(key: &[u8; 32], view: &HeadView<'_>) -> Result<bool, JsValue> {
    const ED25519: &str = "Ed25519";
    let usages = Array::of1(&"verify".into());
    let key = import_key("raw", &Uint8Array::from(&key[..]), ED25519, false, &usages)?;
    let key = JsFuture::from(key).await?;
    let signature = Uint8Array::from(&view.signature[..]);
    let message = Uint8Array::from(&view.message()[..]);
    let verified = JsFuture::from(verify(ED25519, &key, &signature, &message)?).await?;
    Ok(verified.is_truthy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The table that every follower passes, as far as it needs no platform.
    #[test]
    fn the_table_of_cases_holds() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/follow/tests/cases/v1.json");
        let table: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in table["guard"].as_array().unwrap() {
            let number = |value: &Value| value.as_u64().unwrap();
            let guard = case["guard"].as_object().map(|guard| GuardV1 {
                max_fallback_share: number(&guard["max_fallback_share"]) as u16,
                min_decisions: number(&guard["min_decisions"]) as u32,
            });
            let (decisions, fallbacks) = (number(&case["decisions"]), number(&case["fallbacks"]));
            // The last of the decisions is the one that is counted here.
            let mut tally = Tally { decisions: decisions - 1, fallbacks: fallbacks.saturating_sub(1) };
            assert_eq!(tally.gives_up(fallbacks > 0, guard), case["gives_up"], "{}", case["name"]);
        }
        for case in table["rollout"].as_array().unwrap() {
            let salt = case["salt"].as_str().unwrap().parse().unwrap();
            let (unit, least) = (case["unit"].as_str().unwrap(), case["least_share"].as_u64().unwrap() as u16);
            assert!(in_rollout(salt, unit, least) && !in_rollout(salt, unit, least - 1), "{unit}");
        }
    }
}
