//! `selvedge.toml`: one file, every key with a safe default, every mistake with its place.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_budget::ledger::Rules;
use selvedge_follow::{Keys, PublicKey};
use selvedge_format::head::{MAX_CHANNEL, is_name};
use selvedge_offer::token;
use serde::Deserialize;
use toml::Spanned;

/// The file could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConfigError {
    /// The file, the line and the column.
    pub place: String,
    /// What was wrong.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Heads, blobs and items.
    Publish,
    /// States and exports of users.
    Read,
    /// Events and states of users.
    Ingest,
    /// Redeems offers.
    Redeem,
    /// Asks for offers in the name of users.
    Offer,
    /// Leases of edges.
    Lease,
    /// Erasure of users.
    Erase,
}

impl Scope {
    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Ingest => "ingest",
            Self::Redeem => "redeem",
            Self::Offer => "offer",
            Self::Lease => "lease",
            Self::Erase => "erase",
        }
    }
}

/// A host's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Directory of the store.
    pub data: PathBuf,
    /// Certificate and key, PEM, if it speaks TLS itself.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Seconds that requests get to finish when it ends.
    pub drain_s: u64,
    /// Bounds.
    pub limits: Limits,
    /// Origins whose pages may send events and states.
    pub origins: Vec<String>,
    /// Who may publish.
    pub keys: Keys,
    /// Who may do what.
    pub tokens: Vec<Token>,
    /// Users.
    pub users: Users,
    /// The private key with which the host renews heads and refreshes shared states.
    pub signing: Option<Signing>,
    /// Offers, if the host makes or redeems any.
    pub offers: Option<Offers>,
    /// Budgets whose prices the host sets by itself, if there are any.
    pub prices: Option<Prices>,
    /// The log.
    pub log: Log,
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Token {
    /// For logs.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// Requests per second.
    pub rate: NonZeroU32,
    /// Requests at once, after a pause.
    pub burst: NonZeroU32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    serve: Serve,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    cors: Cors,
    #[serde(default)]
    key: Vec<KeyEntry>,
    #[serde(default)]
    token: Vec<TokenEntry>,
    #[serde(default)]
    users: Users,
    signing: Option<Signing>,
    offers: Option<OffersEntry>,
    prices: Option<PricesEntry>,
    #[serde(default)]
    log: Log,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Serve {
    listen: Option<Spanned<SocketAddr>>,
    data: PathBuf,
    tls: Option<Tls>,
    behind_proxy: bool,
    drain_s: u64,
}

impl Default for Serve {
    fn default() -> Self {
        Self { listen: None, data: "selvedge-data".into(), tls: None, behind_proxy: false, drain_s: 20 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert: PathBuf,
    key: PathBuf,
}

/// Bounds on what clients may ask for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's body, blobs apart.
    pub body: usize,
    /// Bytes of a blob.
    pub blob: usize,
    /// Events of a request.
    pub batch_events: usize,
    /// Requests at once.
    pub in_flight: usize,
    /// Followers that are connected at once, by long polls and server-sent events.
    pub followers: usize,
    /// Seconds for the header of a request.
    pub header_timeout_s: u64,
    /// Seconds for a request, long polls and server-sent events apart.
    pub request_timeout_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1 << 20,
            blob: 64 << 20,
            batch_events: 1000,
            in_flight: 1024,
            followers: 10_000,
            header_timeout_s: 10,
            request_timeout_s: 30,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Cors {
    origins: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    public: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    name: String,
    sha256: Spanned<String>,
    scopes: Vec<Scope>,
    #[serde(default = "default_rate")]
    rate: NonZeroU32,
    burst: Option<NonZeroU32>,
}

const fn default_rate() -> NonZeroU32 {
    NonZeroU32::new(100).unwrap()
}

/// What is kept of users, and for how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    /// The channel whose bundle says what is counted.
    pub channel: String,
    /// Days that events are kept; 0 is for ever.
    pub retention_days: u32,
    /// Days that users are kept who are not heard of; 0 is for ever.
    pub ttl_days: u32,
    /// Memory for states, in MiB.
    pub cache_mb: usize,
}

impl Default for Users {
    fn default() -> Self {
        Self { channel: "main".to_owned(), retention_days: 90, ttl_days: 400, cache_mb: 256 }
    }
}

/// The host's own key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// PKCS#8 PEM, as `selvedge keygen` writes it.
    pub key: PathBuf,
    /// Hours that heads of the host are believed.
    #[serde(default = "default_valid")]
    pub valid_hours: u32,
}

const fn default_valid() -> u32 {
    48
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OffersEntry {
    key: PathBuf,
    secret: PathBuf,
    issuer: Spanned<String>,
    audience: Spanned<String>,
    #[serde(default)]
    previous: Vec<Spanned<String>>,
    #[serde(default = "default_lease")]
    lease_minutes: u32,
    #[serde(default = "default_longest")]
    longest_offer_hours: u32,
    #[serde(default = "default_skew")]
    skew_s: u32,
    #[serde(default = "default_share")]
    largest_share: Spanned<f64>,
}

const fn default_lease() -> u32 {
    60
}

const fn default_longest() -> u32 {
    7 * 24
}

const fn default_skew() -> u32 {
    60
}

fn default_share() -> Spanned<f64> {
    Spanned::new(0..0, 0.002)
}

/// How offers are signed and paid.
#[derive(Clone, Debug)]
pub struct Offers {
    /// PKCS#8 PEM, as `selvedge keygen` writes it.
    pub key: PathBuf,
    /// At least 32 bytes that nobody else knows.
    pub secret: PathBuf,
    /// Who makes offers: what stands in `iss`.
    pub issuer: String,
    /// Who redeems them: what stands in `aud`.
    pub audience: String,
    /// Public keys whose offers are still taken.
    pub previous: Vec<PublicKey>,
    /// How leases are granted.
    pub rules: Rules,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PricesEntry {
    budgets: Vec<Spanned<String>>,
    #[serde(default = "default_every")]
    every_s: NonZeroU32,
    #[serde(default = "default_days")]
    days: NonZeroU32,
    #[serde(default = "default_band")]
    band: Spanned<f64>,
}

const fn default_every() -> NonZeroU32 {
    NonZeroU32::new(300).unwrap()
}

const fn default_days() -> NonZeroU32 {
    NonZeroU32::new(30).unwrap()
}

fn default_band() -> Spanned<f64> {
    Spanned::new(0..0, 0.05)
}

/// Which prices the host sets by itself, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// The budgets. Prices of others stay as they were published.
    pub budgets: Vec<String>,
    /// Time between two steps.
    pub every: Duration,
    /// A budget is to last until its campaigns end, and is planned at most so far ahead.
    pub ahead_ms: i64,
    /// A price is published when it is off by more than this part of the one that edges know.
    pub band: f64,
}

/// The log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives by module.
    pub level: Option<String>,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON document per line.
    Json,
}

impl Config {
    /// What holds without a file: loopback, no token, nobody may publish.
    ///
    /// # Errors
    /// Never: the defaults are valid. The signature is that of [`parse`](Self::parse).
    pub fn default_config() -> Result<Self, ConfigError> {
        Self::parse("", Path::new("selvedge.toml"))
    }

    /// Reads a file's text. Relative paths are relative to the file.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let at = |span: Option<Range<usize>>, what: String, hint: Option<&str>| {
            let before = &text[..span.map_or(0, |span| span.start).min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            let place = format!("{}:{line}:{column}", path.display());
            ConfigError { place, what, hint: hint.map(str::to_owned) }
        };
        let file: File =
            toml::from_str(text).map_err(|error| at(error.span(), error.message().to_owned(), Some(REFERENCE)))?;
        let listen = file.serve.listen.as_ref().map_or(DEFAULT_LISTEN, |listen| *listen.get_ref());
        if !listen.ip().is_loopback() && file.serve.tls.is_none() && !file.serve.behind_proxy {
            let span = file.serve.listen.as_ref().map(Spanned::span);
            let what = format!("{listen} can be reached from outside, and tokens would travel unencrypted");
            let hint = "set `serve.tls`, or `serve.behind_proxy = true` if something in front of it speaks TLS";
            return Err(at(span, what, Some(hint)));
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        for entry in &file.key {
            let hint = "`selvedge keygen --public FILE` prints the public half of a key";
            let key = entry.public.get_ref().parse();
            keys.push(key.map_err(|error: selvedge_follow::NotAKey| {
                at(Some(entry.public.span()), error.to_string(), Some(hint))
            })?);
        }
        let mut tokens = Vec::new();
        for entry in file.token {
            let hint = "`selvedge keygen --token` makes a token and prints its hash";
            let sha256 = unhex(entry.sha256.get_ref()).ok_or_else(|| {
                at(Some(entry.sha256.span()), "64 hexadecimal digits are expected".to_owned(), Some(hint))
            })?;
            let burst = entry.burst.unwrap_or(entry.rate);
            tokens.push(Token { name: entry.name, sha256, scopes: entry.scopes, rate: entry.rate, burst });
        }
        let mut origins = Vec::new();
        for origin in file.cors.origins {
            let text = origin.get_ref();
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '*', ' '])) {
                let what = format!("{text:?} is not an origin");
                return Err(at(
                    Some(origin.span()),
                    what,
                    Some("an origin is such as https://shop.example, without a path"),
                ));
            }
            origins.push(text.clone());
        }
        if !is_name(&file.users.channel, MAX_CHANNEL) {
            let what = format!("users.channel: {:?} is not the name of a channel", file.users.channel);
            return Err(at(None, what, Some("names are 1 to 64 of a-z, 0-9, '.', '_' and '-'")));
        }
        for (name, value) in [
            ("limits.body", file.limits.body),
            ("limits.blob", file.limits.blob),
            ("limits.batch_events", file.limits.batch_events),
            ("limits.in_flight", file.limits.in_flight),
            ("limits.followers", file.limits.followers),
            ("users.cache_mb", file.users.cache_mb),
            ("limits.header_timeout_s", usize::try_from(file.limits.header_timeout_s).unwrap_or(usize::MAX)),
            ("limits.request_timeout_s", usize::try_from(file.limits.request_timeout_s).unwrap_or(usize::MAX)),
        ] {
            // Above, a number of MiB or seconds would not fit where it is used.
            if value == 0 || value > 1 << 32 {
                return Err(at(None, format!("{name}: a number from 1 to {} is expected", 1_u64 << 32), None));
            }
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        let beside = |path: PathBuf| directory.join(path);
        let offers = file.offers.map(|entry| entry.read(&at, &beside)).transpose()?;
        let prices = file.prices.map(|entry| entry.read(&at)).transpose()?;
        if prices.is_some() && (file.signing.is_none() || offers.is_none()) {
            let what =
                "prices: a host that sets prices needs budgets to look at and a key to sign heads with".to_owned();
            return Err(at(None, what, Some("set [offers] and [signing] as well, or leave [prices] out")));
        }
        Ok(Self {
            listen,
            data: beside(file.serve.data),
            tls: file.serve.tls.map(|tls| (beside(tls.cert), beside(tls.key))),
            drain_s: file.serve.drain_s,
            limits: file.limits,
            origins,
            keys: Keys::new(keys),
            tokens,
            users: file.users,
            signing: file.signing.map(|signing| Signing { key: beside(signing.key), ..signing }),
            offers,
            prices,
            log: file.log,
        })
    }
}

impl OffersEntry {
    fn read(
        self,
        at: &impl Fn(Option<Range<usize>>, String, Option<&str>) -> ConfigError,
        beside: &impl Fn(PathBuf) -> PathBuf,
    ) -> Result<Offers, ConfigError> {
        for party in [&self.issuer, &self.audience] {
            let text = party.get_ref();
            let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
            if text.is_empty() || text.len() > token::MAX_PARTY || !text.bytes().all(allowed) {
                let what = format!("1 to {} printable characters without spaces are expected", token::MAX_PARTY);
                return Err(at(Some(party.span()), what, Some("an address such as https://shop.example is usual")));
            }
        }
        let mut previous: Vec<PublicKey> = Vec::new();
        for key in &self.previous {
            let refused = |error: selvedge_follow::NotAKey| at(Some(key.span()), error.to_string(), None);
            previous.push(key.get_ref().parse().map_err(refused)?);
        }
        let share = *self.largest_share.get_ref();
        let rules = Rules {
            lease_ms: i64::from(self.lease_minutes) * 60_000,
            longest_offer_ms: i64::from(self.longest_offer_hours) * 3_600_000,
            skew_ms: i64::from(self.skew_s) * 1000,
            largest_share: (share * 10_000.0).round().clamp(0.0, 65_535.0) as u16,
        };
        if let Err(refusal) = rules.check() {
            return Err(at(None, format!("offers: {refusal}"), Some(REFERENCE)));
        }
        let (issuer, audience) = (self.issuer.into_inner(), self.audience.into_inner());
        Ok(Offers { key: beside(self.key), secret: beside(self.secret), issuer, audience, previous, rules })
    }
}

impl PricesEntry {
    fn read(
        self,
        at: &impl Fn(Option<Range<usize>>, String, Option<&str>) -> ConfigError,
    ) -> Result<Prices, ConfigError> {
        const DAY_MS: i64 = 86_400_000;
        if let Some(wrong) = self.budgets.iter().find(|budget| !selvedge_budget::is_name(budget.get_ref())) {
            let what = format!("{:?} is not the name of a budget", wrong.get_ref());
            return Err(at(Some(wrong.span()), what, Some("names are 1 to 64 of a-z, 0-9, '.', '_' and '-'")));
        }
        let band = *self.band.get_ref();
        if !(0.0..1.0).contains(&band) {
            return Err(at(Some(self.band.span()), "a part from 0 to below 1 is expected".to_owned(), None));
        }
        let budgets = self.budgets.into_iter().map(Spanned::into_inner).collect();
        let every = Duration::from_secs(self.every_s.get().into());
        Ok(Prices { budgets, every, ahead_ms: i64::from(self.days.get()) * DAY_MS, band })
    }
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7070);
const REFERENCE: &str = "docs/reference/selvedge.toml has every key";

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("dir/selvedge.toml"))
    }

    #[test]
    fn without_a_file_nothing_is_open() {
        let config = Config::default_config().unwrap();
        assert!(config.listen.ip().is_loopback());
        assert!(config.tokens.is_empty() && config.keys.is_empty() && config.origins.is_empty());
    }

    #[test]
    fn the_reference_file_is_read_and_names_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/selvedge.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let config = parse(&text).unwrap();
        assert_eq!(config.tokens.len(), 2);
        assert_eq!(config.data, Path::new("dir/selvedge-data"));
        // Every key that is commented out is one that is known: with the marks gone it is read as well.
        let open: String = text.lines().map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line))).collect();
        assert_ne!(open, text);
        let config = parse(&open).unwrap();
        assert!(config.tls.is_some() && config.signing.is_some() && config.offers.is_some());
        assert!(config.prices.is_some());
    }

    const OFFERS: &str = "[offers]\nkey = \"k\"\nsecret = \"s\"\n";

    #[test]
    fn mistakes_are_told_with_their_place() {
        let cases = [
            ("[serve]\nlisten = \"0.0.0.0:80\"", "2:10", "unencrypted"),
            ("[serve]\nlissten = \"127.0.0.1:80\"", "2:1", "lissten"),
            ("[serve]\nlisten = 80", "2:10", "socket address"),
            ("[[key]]\npublic = \"ed25519:abc\"", "2:10", "public key"),
            ("[[token]]\nname = \"a\"\nsha256 = \"00\"\nscopes = []", "3:10", "64 hexadecimal"),
            ("[[token]]\nname = \"a\"\nsha256 = \"00\"\nscopes = [\"write\"]", "4:11", "write"),
            ("[cors]\norigins = [\"*\"]", "2:12", "origin"),
            ("[limits]\nbody = 0", "1:1", "limits.body"),
            ("[users]\nchannel = \"A\"", "1:1", "users.channel"),
            (&format!("{OFFERS}issuer = \"a b\"\naudience = \"shop\""), "4:10", "printable"),
            (&format!("{OFFERS}issuer = \"a\"\naudience = \"shop\"\nlease_minutes = 1"), "1:1", "twice"),
            (&format!("{OFFERS}issuer = \"a\"\naudience = \"shop\"\nprevious = [\"x\"]"), "6:13", "public key"),
            ("[prices]\nbudgets = [\"Shop\"]", "2:12", "name of a budget"),
            ("[prices]\nbudgets = []\nband = 1.0", "3:8", "below 1"),
            ("[prices]\nbudgets = [\"shop\"]", "1:1", "a key to sign"),
            ("[serve", "1:7", ""),
        ];
        for (text, place, what) in cases {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert_eq!(error.place, format!("dir/selvedge.toml:{place}"), "{text}: {error}");
            assert!(error.what.contains(what), "{text}: {error}");
        }
        for more in ["behind_proxy = true", "tls = { cert = \"c\", key = \"k\" }"] {
            assert!(parse(&format!("[serve]\nlisten = \"0.0.0.0:80\"\n{more}")).is_ok());
        }
    }
}
