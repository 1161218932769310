//! What the Worker is told: the variable `SELVEDGE`, a table in `wrangler.toml`. `docs/worker.md` is the reference.

use std::collections::BTreeMap;
use std::fmt;

use selvedge_offer::token;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::head::Channel;
use crate::paths;

/// Everything that can be configured. Secrets are not here: they are bindings that this names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where requests go; without it, to the origin of the Worker's route.
    pub(crate) origin: Option<String>,
    /// Where bundles come from.
    pub(crate) channel: Option<Channel>,
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
    /// Offers; without it none is made.
    pub(crate) offers: Option<Offers>,
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
    /// Path of the request: `{id}` matches a segment, a `*` at the end any rest.
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
    /// Where the id may be: the first place that has one counts.
    #[serde(deserialize_with = "places")]
    pub(crate) from: Vec<Place>,
    /// What covers it. Without it every user is unknown.
    pub(crate) trust: Option<Trust>,
}

/// A part of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// A cookie of this name.
    Cookie(String),
    /// A header of this name; of `Authorization`, what follows `Bearer`.
    Header(String),
    /// The segment of the path at `{id}`.
    Path(String),
}

/// One place, or a list of them.
fn places<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Place>, D::Error> {
    struct OneOrMore;
    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Vec<Place>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a place, such as { cookie = \"uid\" }, or a list of places")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Place::deserialize(MapAccessDeserializer::new(map)).map(|place| vec![place])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(OneOrMore)
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

impl Trust {
    /// The binding that holds the secret.
    pub(crate) fn secret(&self) -> &str {
        let (Self::Hmac(binding) | Self::Jwt(binding)) = self;
        binding
    }
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

/// Who makes offers, for whom, and who pays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offers {
    /// Address of the host whose ledger grants leases, and that redeems.
    pub(crate) host: String,
    /// What stands in a token's `iss`: the host's own.
    pub(crate) issuer: String,
    /// What stands in its `aud`: the host's own.
    pub(crate) audience: String,
    /// Objects that share the users. Who moves to another object has no decision there: change it between epochs.
    #[serde(default = "one")]
    pub(crate) shards: u16,
    /// Milliseconds that the host may take to answer.
    #[serde(default = "host_ms")]
    pub(crate) host_ms: u64,
    /// The secret binding with a token of the scope `lease`.
    #[serde(default = "lease_token")]
    pub(crate) token: String,
    /// The secret binding with the key that signs: PKCS#8 PEM, as `selvedge keygen` writes it.
    #[serde(default = "offer_key")]
    pub(crate) key: String,
    /// The secret binding with the secret of draws and subjects, the host's own.
    #[serde(default = "offer_secret")]
    pub(crate) secret: String,
}

const fn one() -> u16 {
    1
}

const fn host_ms() -> u64 {
    1_000
}

fn lease_token() -> String {
    "LEASE_TOKEN".to_owned()
}

fn offer_key() -> String {
    "OFFER_KEY".to_owned()
}

fn offer_secret() -> String {
    "OFFER_SECRET".to_owned()
}

/// Most objects that share the users.
const MAX_SHARDS: u16 = 1024;

impl Offers {
    /// What types cannot say.
    fn mistake(&self) -> Option<String> {
        let is_loopback = |rest: &str| matches!(rest.split([':', '/']).next(), Some("127.0.0.1" | "localhost"));
        if !self.host.starts_with("https://") && !self.host.strip_prefix("http://").is_some_and(is_loopback) {
            let mistake = "it begins with https://, since a token goes there; http:// is for 127.0.0.1 alone";
            return Some(format!("offers.host: `{}` cannot be used; {mistake}", self.host));
        }
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return Some(format!("offers.shards: {} cannot be; it is from 1 to {MAX_SHARDS}", self.shards));
        }
        let parties = [("issuer", &self.issuer), ("audience", &self.audience)];
        parties.into_iter().find(|(_, party)| !token::is_party(party)).map(|(setting, party)| {
            let most = token::MAX_PARTY;
            format!("offers.{setting}: {party:?} has not 1 to {most} printable characters without spaces and quotes")
        })
    }
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It is none, has a setting that there is not, or one that could not mean anything.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        let config: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.mistake().map_or(Ok(config), Err)
    }

    /// The feed of a path.
    pub(crate) fn feed(&self, path: &str) -> Option<&Feed> {
        self.feeds.iter().find(|feed| paths::matches(&feed.path, path))
    }

    /// Whether a path is a page that carries state.
    pub(crate) fn is_page(&self, path: &str) -> bool {
        self.pages.iter().any(|pattern| paths::matches(pattern, path))
    }

    /// What types cannot say.
    fn mistake(&self) -> Option<String> {
        let origin = self.origin.as_deref().unwrap_or("https://");
        if !origin.starts_with("https://") && !origin.starts_with("http://") {
            return Some(format!("origin: `{origin}` is no address; it begins with https://"));
        }
        if !(0.0..=1.0).contains(&self.log.share) {
            return Some(format!("log.share: {} is no share; it is from 0 to 1", self.log.share));
        }
        if self.cache_control.contains(|character: char| !(' '..='~').contains(&character)) {
            return Some(format!("cache_control: {:?} is no value of a header", self.cache_control));
        }
        if let Some(mistake) = self.offers.as_ref().and_then(Offers::mistake) {
            return Some(mistake);
        }
        let feeds = self.feeds.iter().map(|feed| ("feeds[].path", &feed.path));
        let pages = self.pages.iter().map(|page| ("pages", page));
        let users = self.user.iter().flat_map(|user| &user.from).filter_map(|place| match place {
            Place::Path(pattern) => Some(("user.from.path", pattern)),
            Place::Cookie(_) | Place::Header(_) => None,
        });
        feeds.chain(pages).chain(users).find_map(|(setting, pattern)| {
            let lacks_id = setting.starts_with("user") && !paths::has_id(pattern);
            let mistake =
                paths::mistake(pattern).or(lacks_id.then_some("it needs `{id}` where the user's id stands"))?;
            Some(format!("{setting}: `{pattern}`: {mistake}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_setting_is_refused() {
        for (json, words) in [
            (r#"{"feeds": [{"path": "/a", "item": []}]}"#, "unknown field `item`"),
            (r#"{"user": {"from": {"kookie": "uid"}}}"#, "unknown variant `kookie`"),
            (r#"{"user": {"from": "uid"}}"#, "a place, such as"),
            (r#"{"user": {"from": {"path": "/users/7"}}}"#, "user.from.path: `/users/7`: it needs `{id}`"),
            (r#"{"feeds": [{"path": "feed"}]}"#, "feeds[].path: `feed`: a path begins with `/`"),
            (r#"{"pages": ["/{name}"]}"#, "pages: `/{name}`: braces"),
            (r#"{"origin": "shop.example"}"#, "origin: `shop.example` is no address"),
            (r#"{"log": {"share": 2}}"#, "log.share: 2 is no share"),
            (r#"{"offers": {"host": "https://h", "issuer": "i", "audience": "a", "seed": 1}}"#, "unknown field `seed`"),
            (r#"{"offers": {"host": "https://h", "issuer": "i"}}"#, "missing field `audience`"),
            (r#"{"offers": {"host": "http://h", "issuer": "i", "audience": "a"}}"#, "offers.host: `http://h` cannot"),
            (
                r#"{"offers": {"host": "http://127.0.0.1.h", "issuer": "i", "audience": "a"}}"#,
                "offers.host: `http://127.0.0.1.h` cannot",
            ),
            (
                r#"{"offers": {"host": "http://127.0.0.1:7070", "issuer": "i", "audience": "a b"}}"#,
                "offers.audience: \"a b\" has not",
            ),
            (r#"{"offers": {"host": "https://h", "issuer": "", "audience": "a"}}"#, "offers.issuer: \"\" has not"),
            (r#"{"offers": {"host": "https://h", "issuer": "i", "audience": "a", "shards": 0}}"#, "offers.shards: 0 "),
            (r#"{"cache_control": "a\nb"}"#, "cache_control: \"a\\nb\" is no value"),
        ] {
            let error = Config::parse(json).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_user_may_be_in_one_place_or_in_several() {
        let from =
            |json: &str| Config::parse(&format!(r#"{{"user": {{"from": {json}}}}}"#)).unwrap().user.unwrap().from;
        assert!(matches!(&from(r#"{"cookie": "uid"}"#)[..], [Place::Cookie(name)] if name == "uid"));
        let several = from(r#"[{"path": "/users/{id}/*"}, {"header": "authorization"}]"#);
        assert!(matches!(&several[..], [Place::Path(_), Place::Header(_)]));
    }
}
