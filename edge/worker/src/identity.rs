//! Who asks, and whether that is to be believed.
//!
//! An id from a cookie or a header can be written by anyone. Only one that is covered by a signature of the shop's opens
//! a user's state; every other request is that of an unknown user.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use crate::config::{Place, Trust};
use crate::paths;

/// Longest token that is looked at.
const MAX_TOKEN: usize = 4096;
/// Longest user id.
const MAX_ID: usize = 256;

/// The value of a cookie in a `Cookie` header.
fn cookie<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// What follows the scheme in an `Authorization` header (RFC 6750).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a request for `path` shows at `place`; `header` gives its headers.
pub(crate) fn shown(place: &Place, path: &str, header: impl Fn(&str) -> Option<String>) -> Option<String> {
    match place {
        Place::Header(name) if name.eq_ignore_ascii_case("authorization") => bearer(&header(name)?).map(str::to_owned),
        Place::Header(name) => header(name),
        Place::Cookie(name) => cookie(&header("cookie")?, name).map(str::to_owned),
        Place::Path(pattern) => paths::id(pattern, path),
    }
}

/// The user's id, if `token` proves it with `secret` at this time.
pub(crate) fn trusted(token: &str, trust: &Trust, secret: &[u8], now_ms: u64) -> Option<String> {
    if token.len() > MAX_TOKEN || secret.is_empty() {
        return None;
    }
    let id = match trust {
        Trust::Hmac(_) => {
            let (id, signature) = token.rsplit_once('.')?;
            verify(secret, id.as_bytes(), &hexadecimal(signature)?)?;
            id.to_owned()
        }
        Trust::Jwt(_) => jwt(token, secret, now_ms)?,
    };
    (!id.is_empty() && id.len() <= MAX_ID).then_some(id)
}

/// The subject of a JSON Web Token (RFC 7519) signed with HS256: no other algorithm is taken, whatever the header says.
fn jwt(token: &str, secret: &[u8], now_ms: u64) -> Option<String> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
        exp: f64,
        #[serde(default)]
        nbf: f64,
    }
    let (signed, signature) = token.rsplit_once('.')?;
    verify(secret, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let now = now_ms as f64 / 1000.0;
    (header.alg == "HS256" && claims.nbf <= now && now < claims.exp).then_some(claims.sub)
}

/// In constant time.
fn verify(secret: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(message);
    mac.verify_slice(signature).ok()
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    text.len().is_multiple_of(2).then(|| (0..text.len()).step_by(2).map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of the shop";
    const NOW_MS: u64 = 1_795_545_000_000;

    fn sign(message: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
        mac.update(message.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    fn hmac_token(id: &str) -> String {
        let signature: String = sign(id).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{id}.{signature}")
    }

    fn jwt_token(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(&signed));
        format!("{signed}.{signature}")
    }

    #[test]
    fn a_signed_id_is_trusted_and_a_bent_one_is_not() {
        let trust = Trust::Hmac(String::new());
        let token = hmac_token("user.7");
        assert_eq!(trusted(&token, &trust, SECRET, NOW_MS).as_deref(), Some("user.7"));
        assert_eq!(trusted(&token.replace('7', "8"), &trust, SECRET, NOW_MS), None);
        assert_eq!(trusted(&token, &trust, b"another secret", NOW_MS), None);
        assert_eq!(trusted(&token, &trust, b"", NOW_MS), None);
        for forged in ["", "user.7", "user.7.", "user.7.00", "user.7.zz", &token[..token.len() - 2], &hmac_token("")] {
            assert_eq!(trusted(forged, &trust, SECRET, NOW_MS), None, "{forged}");
        }
        assert_eq!(trusted(&hmac_token(&"x".repeat(MAX_ID + 1)), &trust, SECRET, NOW_MS), None);
    }

    #[test]
    fn a_token_is_trusted_while_it_is_valid_and_with_one_algorithm() {
        let trust = Trust::Jwt(String::new());
        let check = |header: &str, claims: &str| trusted(&jwt_token(header, claims), &trust, SECRET, NOW_MS);
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        assert_eq!(check(header, r#"{"sub":"u1","exp":1795545001}"#).as_deref(), Some("u1"));
        assert_eq!(check(header, r#"{"sub":"u1","exp":1795545000}"#), None, "expired");
        assert_eq!(check(header, r#"{"sub":"u1","exp":1795545009,"nbf":1795545001}"#), None, "not yet");
        assert_eq!(check(header, r#"{"sub":"u1"}"#), None, "without an end");
        assert_eq!(check(r#"{"alg":"none"}"#, r#"{"sub":"u1","exp":1795545001}"#), None);
        assert_eq!(check(r#"{"alg":"HS512"}"#, r#"{"sub":"u1","exp":1795545001}"#), None);
    }

    #[test]
    fn an_id_is_found_where_it_was_said_to_be() {
        let header = |name: &str| match name {
            "cookie" => Some("a=1; uid=x.y=; uid2=3".to_owned()),
            "authorization" => Some("bearer  t.o.k".to_owned()),
            "x-user" => Some("Bearer u".to_owned()),
            _ => None,
        };
        let shown = |place: Place| shown(&place, "/users/7/feed", header);
        assert_eq!(shown(Place::Cookie("uid".to_owned())).as_deref(), Some("x.y="));
        assert_eq!(shown(Place::Cookie("u".to_owned())), None);
        assert_eq!(shown(Place::Header("authorization".to_owned())).as_deref(), Some("t.o.k"));
        assert_eq!(shown(Place::Header("x-user".to_owned())).as_deref(), Some("Bearer u"), "no scheme, a value");
        assert_eq!(shown(Place::Header("x-other".to_owned())), None);
        assert_eq!(shown(Place::Path("/users/{id}/feed".to_owned())).as_deref(), Some("7"));
        assert_eq!(shown(Place::Path("/u/{id}".to_owned())), None);
        assert_eq!(bearer("Basic dTE6"), None);
    }
}
