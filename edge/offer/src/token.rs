//! Offer tokens: what is signed when an offer is made, and who is believed when it comes back.
//!
//! A token is a JWS in compact form (RFC 7515) with claims in JSON (RFC 7519) and one algorithm, Ed25519 (RFC 8037,
//! RFC 8032). JWT's history is one of verifiers that believed the token about how to verify it, so nothing here is
//! chosen by the token: the header has one form, the algorithm is fixed, the key is one of ours or none, and nothing
//! that is not signed by it is parsed as claims (RFC 8725 collects the attacks). The page
//! `docs/format/offer-token.md` is normative.
//!
//! A token says what may be redeemed, not that it still may: that it was used, or that its budget is gone, only the
//! ledger knows. It is bound to one user by a keyed hash ([`crate::assign::subject`]), to terms by theirs
//! ([`OfferV1::hash`](selvedge_format::terms::OfferV1::hash)), and by `lease` to the budget that was reserved for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use ed25519_dalek::SigningKey;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use selvedge_format::container::ContentId;
use selvedge_format::head::{KeyId, is_name};
use selvedge_format::terms::{FunderV1, MAX_FUNDERS, MAX_LIFE_S, MAX_MINOR, MAX_NAME, MAX_OFFERS};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::assign::is_subject;
use crate::hex;
use crate::split::split;

/// The one algorithm.
pub const ALGORITHM: &str = "EdDSA";
/// What the header calls a token.
pub const TYPE: &str = "selvedge-offer+jwt";
/// Longest token in bytes. The largest claims fit.
pub const MAX_LEN: usize = 3072;
/// Longest issuer or audience in bytes.
pub const MAX_PARTY: usize = 128;
/// Largest integer: what a JSON number holds exactly in every reader.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
/// Longest life of a token: that of an offer and an hour, since `nbf` may be set back for clocks that are behind.
pub const MAX_VALID_S: u64 = MAX_LIFE_S as u64 + 3600;

/// Members of the header.
const HEADER: [&str; 3] = ["alg", "kid", "typ"];
/// Names of all claims, in the order in which they are written.
const CLAIMS: [&str; 18] = [
    "iss",
    "aud",
    "sub",
    "jti",
    "nbf",
    "exp",
    "terms",
    "campaign",
    "offer",
    "arm",
    "face",
    "currency",
    "budgets",
    "lease",
    "bundle",
    "price",
    "epoch",
    "propensity",
];

/// What a token says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Who made the offer. 1 to [`MAX_PARTY`] printable ASCII characters, without `"`, `\` and space.
    pub iss: String,
    /// Who may redeem it, likewise.
    pub aud: String,
    /// Whom it was made: the keyed hash of the user.
    #[serde(with = "hex")]
    pub sub: [u8; 16],
    /// Its own number, by which it is redeemed once.
    #[serde(with = "hex")]
    pub jti: [u8; 16],
    /// Valid from this second since 1970-01-01 UTC.
    pub nbf: u64,
    /// Valid before this second; above `nbf`, by at most [`MAX_VALID_S`].
    pub exp: u64,
    /// Hash of the offer's terms.
    #[serde(with = "hex")]
    pub terms: ContentId,
    /// Name of the campaign.
    pub campaign: String,
    /// Name of the offer.
    pub offer: String,
    /// The arm that was chosen, from 1.
    pub arm: u16,
    /// The most that it can cost, in minor units; above 0.
    pub face: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// Who pays how much of the face, ascending by budget. Left out for a campaign of one budget that the terms name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetFace>,
    /// The lease that the face was reserved in.
    #[serde(with = "hex")]
    pub lease: [u8; 16],
    /// The bundle that decided.
    #[serde(with = "hex")]
    pub bundle: ContentId,
    /// Sequence of the head whose prices it decided at.
    pub price: u64,
    /// Epoch of the draw.
    pub epoch: i64,
    /// With which probability the arm was chosen: above 0, at most 1.
    #[serde(deserialize_with = "nearest")]
    pub propensity: f64,
}

/// The number nearest to a text, as it is in every language; the parser's own is fast and may be one beside it.
fn nearest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    text.get().parse().map_err(|_| D::Error::custom("a number is expected"))
}

/// A budget's part of a face.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetFace {
    /// Name of the budget.
    pub budget: String,
    /// In minor units.
    pub face: u64,
}

/// Splits a face among those who pay, ascending by budget, as [`Claims::budgets`] wants it: by the largest remainder,
/// equal ones by the larger share and then by name, so that the parts add up and the order of the funders does not
/// matter.
#[must_use]
pub fn faces(funders: &[FunderV1], face: u64) -> Vec<BudgetFace> {
    let mut by_name: Vec<&FunderV1> = Vec::with_capacity(funders.len());
    for funder in funders {
        // At most eight, so in place as they come: a sort is 2 KB of a Worker.
        by_name.insert(by_name.partition_point(|known| known.budget <= funder.budget), funder);
    }
    let weights: Vec<u64> = by_name.iter().map(|funder| u64::from(funder.share)).collect();
    let parts = split(face, &weights, |a, b| a.cmp(&b));
    by_name.iter().zip(parts).map(|(funder, face)| BudgetFace { budget: funder.budget.clone(), face }).collect()
}

/// Splits what an offer gave among those who reserved its face: nobody pays more than that. `given` is at most the face.
#[must_use]
pub fn settle(faces: &[BudgetFace], given: u64) -> Vec<BudgetFace> {
    let weights: Vec<u64> = faces.iter().map(|part| part.face).collect();
    let parts = split(given, &weights, |a, b| faces[a].budget.cmp(&faces[b].budget));
    faces.iter().zip(parts).map(|(part, face)| BudgetFace { budget: part.budget.clone(), face }).collect()
}

/// Why a token is not believed, or cannot be made. [`name`](Self::name) is stable, and the same in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// Above [`MAX_LEN`].
    #[error("the token is longer than {MAX_LEN} bytes")]
    TooLong,
    /// Not three parts in unpadded base64url of JSON in its one form, or a claim is missing, twice, or of another type.
    #[error(
        "this is no offer token: three parts in unpadded base64url, header and claims as docs/format/offer-token.md says"
    )]
    Malformed,
    /// The header or the claims have a member that tokens do not have.
    #[error("the token has a member that offer tokens do not have")]
    UnknownField,
    /// The header names another algorithm.
    #[error("the token is not signed with {ALGORITHM}; there is no other algorithm")]
    Algorithm,
    /// The header names another type.
    #[error("the token is not of the type {TYPE}")]
    Type,
    /// Signed by nobody who is believed.
    #[error("the token names a key that is not among the trusted ones")]
    UnknownKey,
    /// The signature is not that of the key over these bytes.
    #[error("the signature is not that of the key that the token names")]
    Signature,
    /// A claim has a value that the page forbids.
    #[error("the claim `{0}` has a value that offer tokens do not have")]
    InvalidClaim(&'static str),
    /// Made by somebody else.
    #[error("the token was made by another issuer")]
    Issuer,
    /// Made for somebody else.
    #[error("the token was made for another audience")]
    Audience,
    /// Before `nbf`.
    #[error("the token is not valid yet")]
    NotYet,
    /// At or after `exp`.
    #[error("the token has expired")]
    Expired,
}

impl TokenRefusal {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Malformed => "malformed",
            Self::UnknownField => "unknown-field",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "signature",
            Self::InvalidClaim(_) => "invalid-claim",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::NotYet => "not-yet",
            Self::Expired => "expired",
        }
    }
}

/// What tokens and heads name a key by: the first bytes of the SHA-256 of its public half.
#[must_use]
pub fn key_id(key: &VerifyingKey) -> KeyId {
    let digest = Sha256::digest(key.as_bytes());
    std::array::from_fn(|byte| digest[byte])
}

/// The keys whose tokens are believed. Two of them overlap while a key is rotated: the new one is trusted before it
/// signs, the old one until the last token that it signed has expired.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(KeyId, VerifyingKey)>);

/// The bytes are no public key, or one for which anybody can make signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public key of Ed25519; take the one that belongs to the signing key")]
pub struct NotAKey;

impl Keys {
    /// The keys of these bytes.
    ///
    /// # Errors
    /// Some are no point of the curve, or one of small order.
    pub fn new(keys: impl IntoIterator<Item = [u8; 32]>) -> Result<Self, NotAKey> {
        let key = |bytes: [u8; 32]| {
            let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak()).ok_or(NotAKey)?;
            Ok((key_id(&key), key))
        };
        keys.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    fn verify(&self, id: KeyId, message: &[u8], signature: &Signature) -> Result<(), TokenRefusal> {
        let mut refusal = TokenRefusal::UnknownKey;
        for (_, key) in self.0.iter().filter(|(known, _)| *known == id) {
            if key.verify_strict(message, signature).is_ok() {
                return Ok(());
            }
            refusal = TokenRefusal::Signature;
        }
        Err(refusal)
    }
}

/// Makes a token.
///
/// # Errors
/// [`TokenRefusal::InvalidClaim`]: nobody would believe it.
pub fn mint(key: &SigningKey, claims: &Claims) -> Result<String, TokenRefusal> {
    claims.validate()?;
    let json = serde_json::to_string(claims).map_err(|_| TokenRefusal::Malformed)?;
    let header = header(&hex::text(&key_id(&key.verifying_key())));
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(json));
    let signature = key.sign(message.as_bytes()).to_bytes();
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    if token.len() > MAX_LEN { Err(TokenRefusal::TooLong) } else { Ok(token) }
}

/// What a token says, if one of `keys` has signed it, `issuer` made it for `audience`, and it is valid at `now_s`,
/// give or take `skew_s` for clocks that differ.
///
/// Whether it is the user's who shows it is another question, [`Claims::is_for`]; whether it was used, another's.
///
/// # Errors
/// The first reason not to believe it, in the order: length, form, header, key, signature, claims, issuer, audience,
/// time.
pub fn verify(
    token: &str,
    keys: &Keys,
    audience: &str,
    issuer: &str,
    now_s: u64,
    skew_s: u32,
) -> Result<Claims, TokenRefusal> {
    if token.len() > MAX_LEN {
        return Err(TokenRefusal::TooLong);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenRefusal::Malformed);
    };
    // The decoder refuses padding, other alphabets, and bits left over that are not 0.
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed);
    let key = named_key(&decode(header)?)?;
    let message = &token[..header.len() + 1 + claims.len()];
    let (claims, signature) = (decode(claims)?, decode(signature)?);
    let signature: [u8; 64] = signature.try_into().map_err(|_| TokenRefusal::Malformed)?;
    keys.verify(key, message.as_bytes(), &Signature::from_bytes(&signature))?;

    let claims = Claims::parse(&claims)?;
    if claims.iss != issuer {
        return Err(TokenRefusal::Issuer);
    }
    if claims.aud != audience {
        return Err(TokenRefusal::Audience);
    }
    let skew = u64::from(skew_s);
    if now_s.saturating_add(skew) < claims.nbf {
        return Err(TokenRefusal::NotYet);
    }
    if now_s >= claims.exp.saturating_add(skew) {
        return Err(TokenRefusal::Expired);
    }
    Ok(claims)
}

impl Claims {
    /// Whether the offer was made to this user, in constant time.
    #[must_use]
    pub fn is_for(&self, secret: &[u8], user: &str) -> bool {
        is_subject(secret, user, &self.sub)
    }

    fn parse(json: &[u8]) -> Result<Self, TokenRefusal> {
        let claims: Self = serde_json::from_slice(json).map_err(|_| misread(json))?;
        if !claims.are_written_as(json) || !claims.integers_are_exact() {
            return Err(TokenRefusal::Malformed);
        }
        claims.validate()?;
        Ok(claims)
    }

    /// Whether the text has the one form of these claims: the order of the page, no spaces, no escapes. Only the last
    /// one, a fraction, may be written otherwise, since languages do not agree on how.
    fn are_written_as(&self, json: &[u8]) -> bool {
        let Ok(written) = serde_json::to_vec(self) else { return false };
        let Some(last) = written.iter().rposition(|byte| *byte == b':') else { return false };
        let fraction = json.strip_prefix(&written[..=last]).and_then(|rest| rest.strip_suffix(b"}"));
        fraction.is_some_and(|text| text.iter().all(|byte| b"0123456789.eE+-".contains(byte)))
    }

    /// Whether every reader has read the same: JavaScript rounds what is larger.
    fn integers_are_exact(&self) -> bool {
        let amounts = self.budgets.iter().map(|part| part.face);
        let others = [self.nbf, self.exp, self.face, self.price, self.epoch.unsigned_abs()];
        amounts.chain(others).all(|integer| integer <= MAX_INTEGER)
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// The first claim, in the order in which they are written, with a value that the page forbids.
    pub fn validate(&self) -> Result<(), TokenRefusal> {
        let name = |text: &str| is_name(text, MAX_NAME);
        let checks = [
            ("iss", is_party(&self.iss)),
            ("aud", is_party(&self.aud)),
            ("nbf", self.nbf <= MAX_INTEGER),
            ("exp", self.exp <= MAX_INTEGER && self.exp > self.nbf && self.exp - self.nbf <= MAX_VALID_S),
            ("campaign", name(&self.campaign)),
            ("offer", name(&self.offer)),
            ("arm", (1..=MAX_OFFERS).contains(&usize::from(self.arm))),
            ("face", (1..=MAX_MINOR).contains(&self.face)),
            ("currency", self.currency.len() == 3 && self.currency.bytes().all(|byte| byte.is_ascii_uppercase())),
            ("budgets", self.budgets_are_valid()),
            ("price", self.price <= MAX_INTEGER),
            ("epoch", self.epoch.unsigned_abs() <= MAX_INTEGER),
            ("propensity", self.propensity > 0.0 && self.propensity <= 1.0),
        ];
        let wrong = checks.into_iter().find(|(_, holds)| !holds);
        wrong.map_or(Ok(()), |(claim, _)| Err(TokenRefusal::InvalidClaim(claim)))
    }

    fn budgets_are_valid(&self) -> bool {
        // Each part is at most the face, so the sum of eight does not overflow.
        let budgets = &self.budgets;
        budgets.is_empty()
            || (budgets.len() <= MAX_FUNDERS
                && budgets.iter().all(|part| part.face <= self.face && is_name(&part.budget, MAX_NAME))
                && budgets.windows(2).all(|pair| pair[0].budget < pair[1].budget)
                && budgets.iter().map(|part| part.face).sum::<u64>() == self.face)
    }
}

/// Whether a text can be an issuer or an audience: 1 to [`MAX_PARTY`] printable ASCII characters, without `"`, `\` and
/// space.
#[must_use]
pub fn is_party(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=MAX_PARTY).contains(&text.len()) && text.bytes().all(allowed)
}

/// The header's one form.
fn header(kid: &str) -> String {
    format!(r#"{{"alg":"{ALGORITHM}","kid":"{kid}","typ":"{TYPE}"}}"#)
}

/// The key that a header names.
fn named_key(bytes: &[u8]) -> Result<KeyId, TokenRefusal> {
    let read: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| TokenRefusal::Malformed)?;
    if read.keys().any(|name| !HEADER.contains(&name.as_str())) {
        return Err(TokenRefusal::UnknownField);
    }
    let [alg, kid, typ] = HEADER.map(|name| read.get(name).and_then(Value::as_str));
    let (Some(alg), Some(kid), Some(typ)) = (alg, kid, typ) else { return Err(TokenRefusal::Malformed) };
    if alg != ALGORITHM {
        return Err(TokenRefusal::Algorithm);
    }
    if typ != TYPE {
        return Err(TokenRefusal::Type);
    }
    // Whatever else was written there, spaces or a member twice: it is another text.
    let key = hex::bytes(kid).filter(|_| header(kid).as_bytes() == bytes);
    key.ok_or(TokenRefusal::Malformed)
}

/// Why claims were not read: a member too many has a name of its own.
fn misread(json: &[u8]) -> TokenRefusal {
    match serde_json::from_slice::<Map<String, Value>>(json) {
        Ok(object) if object.keys().any(|name| !CLAIMS.contains(&name.as_str())) => TokenRefusal::UnknownField,
        _ => TokenRefusal::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[1; 32])
    }

    fn keys() -> Keys {
        Keys::new([key().verifying_key().to_bytes()]).unwrap()
    }

    fn largest() -> Claims {
        let name = |letter: &str| letter.repeat(MAX_NAME);
        let budget =
            |at: usize| BudgetFace { budget: format!("{at}{}", "b".repeat(MAX_NAME - 1)), face: MAX_MINOR / 8 };
        Claims {
            iss: "i".repeat(MAX_PARTY),
            aud: "a".repeat(MAX_PARTY),
            sub: [0xff; 16],
            jti: [0xff; 16],
            nbf: MAX_INTEGER - MAX_VALID_S,
            exp: MAX_INTEGER,
            terms: [0xff; 32],
            campaign: name("c"),
            offer: name("o"),
            arm: MAX_OFFERS as u16,
            face: MAX_MINOR,
            currency: "EUR".into(),
            budgets: (0..MAX_FUNDERS).map(budget).collect(),
            lease: [0xff; 16],
            bundle: [0xff; 32],
            price: MAX_INTEGER,
            epoch: -(MAX_INTEGER as i64),
            propensity: 1.234_567_890_123_456_7e-300,
        }
    }

    #[test]
    fn the_largest_claims_fit_a_token() {
        let claims = largest();
        let token = mint(&key(), &claims).unwrap();
        assert!(token.len() > MAX_LEN * 3 / 4, "the limit is not far from what is needed: {}", token.len());
        assert_eq!(verify(&token, &keys(), &claims.aud, &claims.iss, claims.nbf, 0), Ok(claims));
    }

    #[test]
    fn claims_are_written_under_the_names_that_are_known() {
        let written = serde_json::to_string(&largest()).unwrap();
        let at = CLAIMS.map(|claim| written.find(&format!("\"{claim}\":")).unwrap());
        assert!(at.is_sorted());
        let object: Map<String, Value> = serde_json::from_str(&written).unwrap();
        assert_eq!(object.len(), CLAIMS.len());
    }

    #[test]
    fn what_nobody_would_believe_is_not_minted() {
        type Change = fn(&mut Claims);
        let changes: [(&str, Change); 22] = [
            ("iss", |claims| claims.iss.clear()),
            ("iss", |claims| claims.iss = "a\"b".into()),
            ("aud", |claims| claims.aud.push('a')),
            ("aud", |claims| claims.aud = "a b".into()),
            ("nbf", |claims| claims.nbf = MAX_INTEGER + 1),
            ("exp", |claims| claims.exp = claims.nbf),
            ("exp", |claims| claims.nbf -= 1),
            ("campaign", |claims| claims.campaign = "Spring".into()),
            ("offer", |claims| claims.offer.clear()),
            ("arm", |claims| claims.arm = 0),
            ("arm", |claims| claims.arm = 17),
            ("face", |claims| claims.face = 0),
            ("currency", |claims| claims.currency = "eur".into()),
            ("budgets", |claims| claims.budgets[0].face += 1),
            ("budgets", |claims| claims.budgets[0].face = u64::MAX),
            ("budgets", |claims| claims.budgets.swap(0, 1)),
            ("budgets", |claims| claims.budgets[0].budget.clear()),
            ("price", |claims| claims.price = u64::MAX),
            ("epoch", |claims| claims.epoch = i64::MIN),
            ("propensity", |claims| claims.propensity = 0.0),
            ("propensity", |claims| claims.propensity = 1.5),
            ("propensity", |claims| claims.propensity = f64::NAN),
        ];
        for (claim, change) in changes {
            let mut claims = largest();
            change(&mut claims);
            assert_eq!(mint(&key(), &claims), Err(TokenRefusal::InvalidClaim(claim)));
        }
    }

    #[test]
    fn a_token_is_for_one_user() {
        let claims = Claims { sub: crate::assign::subject(b"secret", "u1"), ..largest() };
        assert!(claims.is_for(b"secret", "u1"));
        assert!(!claims.is_for(b"secret", "u2") && !claims.is_for(b"other", "u1"));
    }

    #[test]
    fn a_weak_key_is_no_key() {
        assert_eq!(Keys::new([[0; 32]]).unwrap_err(), NotAKey);
    }

    #[test]
    fn a_face_is_split_among_those_who_pay_whatever_their_order() {
        let funder = |budget: &str, share| FunderV1 { budget: budget.into(), share };
        let of = |funders: &[FunderV1], face| {
            faces(funders, face).into_iter().map(|part| (part.budget, part.face)).collect::<Vec<_>>()
        };
        let part = |budget: &str, face| (budget.to_owned(), face);
        let funders = [funder("shop", 5000), funder("brand", 5000)];
        assert_eq!(of(&funders, 501), [part("brand", 251), part("shop", 250)]);
        assert_eq!(of(&[funder("shop", 9999), funder("brand", 1)], 1), [part("brand", 0), part("shop", 1)]);
        let claims = Claims { budgets: faces(&funders, 501), face: 501, ..largest() };
        assert_eq!(claims.validate(), Ok(()));
    }
}
