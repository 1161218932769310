//! What the Worker is told: the variable `SELVEDGE`, a table in `wrangler.toml`. `docs/worker.md` is the reference.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Everything that can be configured. Secrets are not here: they are bindings that this names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where requests go; without it, to the origin of the Worker's route.
    pub(crate) origin: Option<String>,
    /// Feeds that are reranked; the first whose path matches counts.
    #[serde(default)]
    pub(crate) feeds: Vec<Feed>,
    /// Pages that carry state and bundle address.
    #[serde(default)]
    pub(crate) pages: Vec<String>,
    /// Who asks.
    pub(crate) user: Option<User>,
    /// Limits of time and size.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The decision log.
    #[serde(default)]
    pub(crate) log: Log,
    /// `Cache-Control` of answers that were reordered.
    #[serde(default = "private")]
    pub(crate) cache_control: String,
}

fn private() -> String {
    "private, no-store".to_owned()
}

/// A JSON document of the origin with an array to rerank.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Feed {
    /// Path of the request; a `*` at the end matches any rest.
    pub(crate) path: String,
    /// Members that lead to the array, outermost first; empty if the document is the array.
    #[serde(default)]
    pub(crate) items: Vec<String>,
    /// Member of an item that is its id.
    #[serde(default = "id")]
    pub(crate) id: String,
    /// Item fields of the bundle, and the members (`price.amount`) that hold them; fields of the same name need no line.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, String>,
    /// Context fields of the bundle, and the query parameters that hold them.
    #[serde(default)]
    pub(crate) context: BTreeMap<String, String>,
}

fn id() -> String {
    "id".to_owned()
}

/// Where a request says who asks, and why that is to be believed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// Where the id is.
    pub(crate) from: Place,
    /// What covers it. Without it every user is unknown.
    pub(crate) trust: Option<Trust>,
}

/// A part of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// A cookie of this name.
    Cookie(String),
    /// A header of this name.
    Header(String),
}

/// What makes an id trusted. Both name a secret binding.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trust {
    /// `id.signature`: HMAC-SHA256 of the id, hexadecimal.
    Hmac(String),
    /// A JWT signed with HS256 whose `sub` is the id; `exp` is needed.
    Jwt(String),
}

/// Counts and times beyond which the origin's answer goes out as it is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Bytes of a document or of an API request.
    pub(crate) body_bytes: usize,
    /// Milliseconds that the origin may take, from the request to the end of its body.
    pub(crate) origin_ms: u64,
    /// Milliseconds that the user's state may take.
    pub(crate) state_ms: u64,
    /// Milliseconds that the first request of an isolate waits for the bundle.
    pub(crate) bundle_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 2 << 20, origin_ms: 3_000, state_ms: 100, bundle_ms: 1_000 }
    }
}

/// What is logged, and how much of it may wait.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// Share of decisions that are logged with their request; of the others a digest is.
    pub(crate) share: f64,
    /// Bytes that may wait for the log; what comes after is counted and dropped.
    pub(crate) max_bytes: usize,
    /// Milliseconds that records wait for company.
    pub(crate) delay_ms: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { share: 0.01, max_bytes: 1 << 20, delay_ms: 1_000 }
    }
}

impl Config {
    /// The feed of a path.
    pub(crate) fn feed(&self, path: &str) -> Option<&Feed> {
        self.feeds.iter().find(|feed| matches(&feed.path, path))
    }

    /// Whether a path is a page that carries state.
    pub(crate) fn is_page(&self, path: &str) -> bool {
        self.pages.iter().any(|pattern| matches(pattern, path))
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == path, |start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_the_rest_and_nothing_else_does() {
        assert!(matches("/feed", "/feed") && matches("/feed/*", "/feed/7") && matches("*", "/"));
        assert!(!matches("/feed", "/feed/7") && !matches("/feed/*", "/feed"));
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let error = serde_json::from_str::<Config>(r#"{"feeds": [{"path": "/a", "item": []}]}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `item`"), "{error}");
    }
}
