//! Damaged documents: no parser panics, and what is accepted nevertheless holds what it promises.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use selvedge_format::terms::{BenefitV1, MAX_MINOR, OfferV1, ScopeV1, StackingV1};
use selvedge_offer::token::{key_id, mint, verify};
use selvedge_offer::{Cart, Claims, Keys, Presented, TokenRefusal, price};

const NOW_S: u64 = 1_795_545_000;
const CART: &str = r#"{"currency":"EUR","shipping_minor":499,"lines":[
    {"item":"a","attributes":{"category":"dairy"},"quantity":2,"unit_minor":199,"unit_cost_minor":150},
    {"item":"b","quantity":1,"unit_minor":7}]}"#;

/// Pieces that change what JSON means, rather than only break it.
fn telling() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "0",
        "9",
        "-",
        ".5",
        "e9",
        "null",
        "\"",
        "{}",
        "[]",
        ",",
        ":",
        "\\u0000",
        "18446744073709551616",
        "\"id\":",
        "\u{e9}",
    ];
    prop_oneof![
        4 => proptest::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..5),
    ]
}

/// Pieces put over, or into, a text.
fn damages() -> impl Strategy<Value = Vec<(Index, Vec<u8>, bool)>> {
    vec((any::<Index>(), telling(), any::<bool>()), 1..4)
}

fn damaged(text: &[u8], damages: &[(Index, Vec<u8>, bool)]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for (at, piece, is_over) in damages {
        let at = at.index(bytes.len());
        let end = if *is_over { bytes.len().min(at + piece.len()) } else { at };
        bytes.splice(at..end, piece.iter().copied());
    }
    bytes
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn claims() -> Claims {
    Claims {
        iss: "shop".into(),
        aud: "shop".into(),
        sub: [1; 16],
        jti: [2; 16],
        nbf: NOW_S - 60,
        exp: NOW_S + 60,
        terms: [3; 32],
        campaign: "spring".into(),
        offer: "tenth-off".into(),
        arm: 1,
        face: 500,
        currency: "EUR".into(),
        budgets: vec![],
        lease: [4; 16],
        bundle: [5; 32],
        price: 7,
        epoch: -1,
        propensity: 0.25,
    }
}

/// A token of whatever claims, rightly signed.
fn signed(claims: &[u8]) -> String {
    let kid: String = key_id(&key().verifying_key()).iter().map(|byte| format!("{byte:02x}")).collect();
    let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"selvedge-offer+jwt"}}"#);
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key().sign(message.as_bytes()).to_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn believed(token: &str) -> Result<Claims, TokenRefusal> {
    let keys = Keys::new([key().verifying_key().to_bytes()]).unwrap();
    verify(token, &keys, "shop", "shop", NOW_S, u32::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_cart_is_refused_or_priced(damages in damages()) {
        let Ok(cart) = Cart::parse(&damaged(CART.as_bytes(), &damages), "EUR") else { return Ok(()) };
        let again = Cart::new("EUR", cart.lines().to_vec(), cart.shipping_minor());
        prop_assert_eq!(again.as_ref(), Ok(&cart));
        let offer = OfferV1 {
            offer: "half".into(),
            benefit: BenefitV1::Percent { share: 5000 },
            cap: MAX_MINOR,
            min_spend: 0,
            scope: ScopeV1::default(),
            stacking: StackingV1::default(),
            life_s: 60,
        };
        let priced = price(&cart, &[Presented { campaign: "spring", offer: &offer, margin_floor: 0 }]);
        prop_assert_eq!(priced.discount_minor(), (priced.lines_minor / 2).min(MAX_MINOR));
    }

    #[test]
    fn damaged_claims_are_refused_or_have_one_form(damages in damages()) {
        let text = serde_json::to_vec(&claims()).unwrap();
        let damaged = damaged(&text, &damages);
        let Ok(claims) = believed(&signed(&damaged)) else { return Ok(()) };
        prop_assert_eq!(believed(&mint(&key(), &claims).unwrap()), Ok(claims));
    }
}

#[test]
fn the_undamaged_documents_are_accepted() {
    assert_eq!(Cart::parse(CART.as_bytes(), "EUR").unwrap().lines().len(), 2);
    assert_eq!(believed(&signed(&serde_json::to_vec(&claims()).unwrap())), Ok(claims()));
}
