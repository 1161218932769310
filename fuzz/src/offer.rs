//! What the targets of offers share: a key that signs whatever is to be looked at, and offers of every kind.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use selvedge_format::terms::{BenefitV1, OfferV1, PriceOf, ScopeV1, StackingV1, TestV1, TierV1};
use selvedge_offer::Keys;
use selvedge_offer::token::{ALGORITHM, Claims, TYPE, key_id};

/// Who makes the tokens.
pub const ISSUER: &str = "fuzz";
/// Whom they are for.
pub const AUDIENCE: &str = "fuzz";
/// When they are shown.
pub const NOW_S: u64 = 1_700_000_000;
/// So much that few tokens are refused for their time.
pub const SKEW_S: u32 = u32::MAX;
/// Of the carts.
pub const CURRENCY: &str = "EUR";

/// A key, and that it is trusted.
#[must_use]
pub fn keys() -> (SigningKey, Keys) {
    let key = SigningKey::from_bytes(&[1; 32]);
    let keys = Keys::new([key.verifying_key().to_bytes()]).expect("a key of its own is a key");
    (key, keys)
}

/// A token with a right header and signature around whatever bytes.
#[must_use]
pub fn signed(key: &SigningKey, claims: &[u8]) -> String {
    let kid: String = key_id(&key.verifying_key()).iter().map(|byte| format!("{byte:02x}")).collect();
    let header = format!(r#"{{"alg":"{ALGORITHM}","kid":"{kid}","typ":"{TYPE}"}}"#);
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(message.as_bytes()).to_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Claims that are believed, as text.
#[must_use]
pub fn claims() -> Vec<u8> {
    let claims = Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: [1; 16],
        jti: [2; 16],
        nbf: NOW_S - 60,
        exp: NOW_S + 60,
        terms: [3; 32],
        campaign: "spring".into(),
        offer: "tenth-off".into(),
        arm: 1,
        face: 500,
        currency: CURRENCY.into(),
        budgets: Vec::new(),
        lease: [4; 16],
        bundle: [5; 32],
        price: 7,
        epoch: -1,
        propensity: 0.25,
    };
    serde_json::to_vec(&claims).expect("claims are JSON")
}

/// A cart that is accepted, as text.
#[must_use]
pub fn cart() -> Vec<u8> {
    br#"{"currency":"EUR","shipping_minor":499,"lines":[
        {"item":"a","attributes":{"category":"dairy"},"quantity":2,"unit_minor":1999,"unit_cost_minor":900},
        {"item":"b","attributes":{},"quantity":1,"unit_minor":7,"unit_cost_minor":7}]}"#
        .to_vec()
}

/// One of each kind, in the order in which they are tried.
#[must_use]
pub fn offers() -> Vec<OfferV1> {
    let dairy = TestV1 { attribute: "category".into(), values: vec!["dairy".into()] };
    let steps = vec![TierV1 { spend: 1000, save: 100 }, TierV1 { spend: 3000, save: 400 }];
    let benefits = [
        ("amount", BenefitV1::Amount { minor: 333 }),
        ("percent", BenefitV1::Percent { share: 1250 }),
        ("shipping", BenefitV1::FreeShipping),
        ("tiers", BenefitV1::Tiers { steps }),
    ];
    let offer = |(name, benefit): (&str, BenefitV1)| OfferV1 {
        offer: name.into(),
        scope: ScopeV1 { only: if name == "amount" { vec![dairy.clone()] } else { vec![] }, except: vec![] },
        benefit,
        cap: 1 << 30,
        min_spend: 5,
        stacking: StackingV1 { on: PriceOf::Discounted, ..StackingV1::default() },
        life_s: 60,
    };
    benefits.map(offer).to_vec()
}
