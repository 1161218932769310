//! Offers: what is asked and answered, and who may sign.
//!
//! The documents are those of the host's `POST /v1/offers`, but for the user, who is the one that the request proves. A
//! question that names another is refused; one that proves nobody is not answered, since whoever may choose a name may look
//! for one that gets the large coupon. What is asked goes to the [object](crate::budget) that the user's hash says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selvedge_offer::token::SigningKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use worker::Env;

use crate::config::Offers;

/// Stands for the item of a request that is about none.
const NO_ITEM: &str = "none";
/// Shortest secret, as at the host.
const LEAST_SECRET: usize = 32;
/// What stands before the seed in PKCS#8 (RFC 8410), after the outer length: version 1 or 2, the algorithm, two lengths.
const VERSIONS: [[u8; 14]; 2] = [version(0), version(1)];

const fn version(number: u8) -> [u8; 14] {
    [2, 1, number, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20]
}

/// What `POST /v1/offer` takes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Who asks; the user that the request proves, unless given.
    pub(crate) user: Option<String>,
    /// On which device, if devices are told apart.
    pub(crate) device: Option<String>,
    /// Name of the campaign; the first that the user is eligible for, unless given.
    pub(crate) campaign: Option<String>,
    #[serde(default)]
    utc_offset_min: i32,
    #[serde(default)]
    fields: Map<String, Value>,
    #[serde(default)]
    context: Map<String, Value>,
    /// Only look: nothing is drawn, noted or put aside.
    #[serde(default)]
    pub(crate) preview: bool,
}

impl Question {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    }

    /// The request document of it.
    pub(crate) fn document(&self, now_ms: i64, state: &str) -> String {
        json!({
            "time": now_ms,
            "utc_offset_min": self.utc_offset_min,
            "user": { "fields": self.fields },
            "state": state,
            "context": self.context,
            "candidates": [{ "id": NO_ITEM }],
        })
        .to_string()
    }
}

/// What the object of a user is asked.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Message {
    /// Which object it is.
    pub(crate) shard: u16,
    /// Proven.
    pub(crate) user: String,
    pub(crate) question: Question,
    /// The user's state in base64.
    pub(crate) state: String,
}

impl Message {
    pub(crate) fn new(offers: &Offers, user: String, question: Question, state: &[u8]) -> Self {
        let shard = selvedge_format::key(user.as_bytes()) % u64::from(offers.shards);
        Self { shard: shard as u16, user, question, state: STANDARD.encode(state) }
    }
}

/// What the configuration names and does not hold.
pub(crate) struct Secrets {
    /// Signs tokens.
    pub(crate) key: SigningKey,
    /// Hides users in tokens and makes draws that nobody can reproduce.
    pub(crate) secret: Vec<u8>,
    /// Opens the host's leases.
    pub(crate) token: String,
}

impl Secrets {
    /// Those of the environment.
    ///
    /// # Errors
    /// The first that is missing or cannot be used, by the name of its binding. What it holds is not told.
    pub(crate) fn of(env: &Env, offers: &Offers) -> Result<Self, String> {
        let get = |name: &str| {
            let found = env.secret(name).map(|secret| secret.to_string().trim().to_owned()).unwrap_or_default();
            if found.is_empty() {
                return Err(format!(
                    "the binding {name} is missing, so no offer is made: `wrangler secret put` sets it"
                ));
            }
            Ok(found)
        };
        let key = signing_key(&get(&offers.key)?);
        let key = key.ok_or_else(|| {
            format!("the binding {} is no Ed25519 private key in PKCS#8 PEM: `selvedge keygen` makes one", offers.key)
        })?;
        let secret = get(&offers.secret)?.into_bytes();
        if secret.len() < LEAST_SECRET {
            let (name, bytes) = (&offers.secret, secret.len());
            return Err(format!(
                "the binding {name} has {bytes} bytes, fewer than {LEAST_SECRET}: the host's secret is"
            ));
        }
        Ok(Self { key, secret, token: get(&offers.token)? })
    }
}

/// The key of a PKCS#8 PEM, with or without the public half.
fn signing_key(pem: &str) -> Option<SigningKey> {
    let inner = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----")?.strip_suffix("-----END PRIVATE KEY-----")?;
    let inner: String = inner.split_ascii_whitespace().collect();
    let der = STANDARD.decode(inner).ok()?;
    let [0x30, length, rest @ ..] = &der[..] else { return None };
    let (head, rest) = rest.split_first_chunk()?;
    let (seed, _) = rest.split_first_chunk()?;
    let is_whole = usize::from(*length) + 2 == der.len() && VERSIONS.contains(head);
    is_whole.then(|| SigningKey::from_bytes(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, 10.3.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                       -----END PRIVATE KEY-----\n";
    const WITH_PUBLIC: &str = "-----BEGIN PRIVATE KEY-----\n\
                               MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                               oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
                               Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                               -----END PRIVATE KEY-----\n";

    #[test]
    fn the_published_keys_are_read_and_nothing_else_is() {
        for pem in [PEM, WITH_PUBLIC] {
            let public = signing_key(pem).unwrap().verifying_key().to_bytes();
            assert_eq!(public[..4], [0x19, 0xbf, 0x44, 0x09]);
        }
        for other in
            ["", "MC4CAQ", &PEM.replace("MC4C", "MC8C"), &PEM.replace("VwBC", "VuBC"), &PEM.replace("PRIVATE", "EC")]
        {
            assert!(signing_key(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_user_has_one_object() {
        let offers: Offers =
            serde_json::from_str(r#"{"host": "https://h", "issuer": "i", "audience": "a", "shards": 7}"#).unwrap();
        let shard = |user: &str| Message::new(&offers, user.to_owned(), Question::parse(b"{}").unwrap(), &[]).shard;
        let mut users = [0; 7];
        (0..700).for_each(|user| users[usize::from(shard(&user.to_string()))] += 1);
        assert_eq!(shard("u1"), shard("u1"));
        assert!(users.iter().all(|users| (50..150).contains(users)), "{users:?}");
    }
}
