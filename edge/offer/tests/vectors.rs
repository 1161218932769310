//! The table that every verifier of offer tokens passes: this crate, and the npm package in
//! `www/sdk/test/offer.test.mjs`. `SELVEDGE_BLESS=1` writes it anew from the cases here: the expected outcomes are
//! written by hand, tokens are signed by fixed keys.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use selvedge_format::terms::{BenefitV1, FunderV1, OfferV1, ScopeV1, StackingV1, TestV1};
use selvedge_offer::assign::{bucket, draw, subject};
use selvedge_offer::token::{MAX_LEN, faces, key_id, mint, verify};
use selvedge_offer::{Claims, Keys};
use serde_json::{Value, json};

const NOW_S: u64 = 1_795_545_000;
const DAY_S: u64 = 86_400;
const ISSUER: &str = "https://shop.example";
const AUDIENCE: &str = "shop.main";
const SECRET: &[u8] = b"a secret of the shop";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn kid(seed: u8) -> String {
    key_id(&key(seed).verifying_key()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn offer() -> OfferV1 {
    let dairy = TestV1 { attribute: "category".into(), values: vec!["dairy".into()] };
    OfferV1 {
        offer: "tenth-off".into(),
        benefit: BenefitV1::Percent { share: 1000 },
        cap: 501,
        min_spend: 2000,
        scope: ScopeV1 { only: vec![dairy], except: vec![] },
        stacking: StackingV1 { group: "spring".into(), ..StackingV1::default() },
        life_s: DAY_S as u32,
    }
}

fn claims() -> Claims {
    let funder = |budget: &str, share| FunderV1 { budget: budget.into(), share };
    Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: subject(SECRET, "user-7"),
        jti: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10",
        nbf: NOW_S - 60,
        exp: NOW_S + DAY_S,
        terms: offer().hash(),
        campaign: "spring".into(),
        offer: "tenth-off".into(),
        arm: 2,
        face: 501,
        currency: "EUR".into(),
        budgets: faces(&[funder("shop", 6000), funder("brand", 4000)], 501),
        lease: [0xa5; 16],
        bundle: [0xb7; 32],
        price: 300,
        epoch: draw_epoch(),
        propensity: 0.912_345_678_901_234_5,
    }
}

const fn draw_epoch() -> i64 {
    selvedge_offer::assign::epoch(NOW_S as i64 * 1000, 7 * DAY_S as u32)
}

/// A token of whatever header and claims, rightly signed.
fn forged(header: &str, claims: &str, seed: u8) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key(seed).sign(message.as_bytes()).to_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header() -> String {
    format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"selvedge-offer+jwt"}}"#, kid(1))
}

fn with_header(header: &str) -> String {
    forged(header, &serde_json::to_string(&claims()).unwrap(), 1)
}

fn with_claims(change: impl Fn(&str) -> String) -> String {
    let text = serde_json::to_string(&claims()).unwrap();
    let changed = change(&text);
    assert_ne!(changed, text, "the case changes something");
    forged(&header(), &changed, 1)
}

fn replaced(from: &str, to: &str) -> String {
    with_claims(|text| text.replace(from, to))
}

fn of(change: impl Fn(&mut Claims)) -> String {
    let mut changed = claims();
    change(&mut changed);
    mint(&key(1), &changed).unwrap()
}

/// Name, token, time, skew, outcome.
type Case = (&'static str, String, u64, u32, &'static str);

fn believed() -> Vec<Case> {
    let token = mint(&key(1), &claims()).unwrap();
    let (nbf, exp) = (claims().nbf, claims().exp);
    vec![
        ("a token is believed", token.clone(), NOW_S, 0, "accept"),
        ("a token of the next key is believed", mint(&key(2), &claims()).unwrap(), NOW_S, 0, "accept"),
        ("a token without budgets is believed", of(|claims| claims.budgets.clear()), NOW_S, 0, "accept"),
        ("a token is valid from its first second", token.clone(), nbf, 0, "accept"),
        ("it is not valid before", token.clone(), nbf - 1, 0, "not-yet"),
        ("a clock may be behind by the skew", token.clone(), nbf - 30, 30, "accept"),
        ("but not by more", token.clone(), nbf - 31, 30, "not-yet"),
        ("a token is valid until its last second", token.clone(), exp - 1, 0, "accept"),
        ("it is not valid after", token.clone(), exp, 0, "expired"),
        ("a clock may be ahead by the skew", token.clone(), exp + 29, 30, "accept"),
        ("but not by more", token, exp + 30, 30, "expired"),
        ("a certain choice is believed", of(|claims| claims.propensity = 1.0), NOW_S, 0, "accept"),
        (
            "a fraction may be written in another way",
            with_claims(|text| text.replace("0.9123456789012345", "9123456789012345E-16")),
            NOW_S,
            0,
            "accept",
        ),
        ("an epoch before 1970 is believed", of(|claims| claims.epoch = -3), NOW_S, 0, "accept"),
        ("a token of another issuer is refused", of(|claims| claims.iss = "https://other".into()), NOW_S, 0, "issuer"),
        ("a token for another audience is refused", of(|claims| claims.aud = "other".into()), NOW_S, 0, "audience"),
        ("the issuer is looked at before the time", of(|claims| claims.iss = "x".into()), exp, 0, "issuer"),
    ]
}

fn forgeries() -> Vec<Case> {
    let token = mint(&key(1), &claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let dearer = of(|claims| {
        claims.budgets.clear();
        claims.face = 90_000;
    });
    let dearer = dearer.split('.').nth(1).unwrap();
    let mut bent = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bent[40] ^= 1;
    let bent = URL_SAFE_NO_PAD.encode(bent);
    // The order of the group is added to the scalar: the equation still holds, the text is another.
    let malleable = with_order_added(signature);
    let named = |typ: &str, alg: &str| format!(r#"{{"alg":"{alg}","kid":"{}","typ":"{typ}"}}"#, kid(1));
    let typ = "selvedge-offer+jwt";
    let none = URL_SAFE_NO_PAD.encode(named(typ, "none"));
    let plus = |member: &str| with_header(&header().replace(r#","typ""#, &format!(r#",{member},"typ""#)));
    let cases = vec![
        ("a foreign key is refused", mint(&key(3), &claims()).unwrap(), "unknown-key"),
        (
            "a foreign key under a trusted name is refused",
            forged(&header(), &serde_json::to_string(&claims()).unwrap(), 3),
            "signature",
        ),
        ("claims that were changed on the way are refused", format!("{head}.{dearer}.{signature}"), "signature"),
        ("a changed signature is refused", format!("{head}.{body}.{bent}"), "signature"),
        ("a second form of a signature is refused", format!("{head}.{body}.{malleable}"), "signature"),
        ("no signature is refused", format!("{head}.{body}."), "malformed"),
        ("the algorithm `none` is refused", format!("{none}.{body}."), "algorithm"),
        ("a code with the public key as its secret is refused", with_header(&named(typ, "HS256")), "algorithm"),
        ("another curve is refused", with_header(&named(typ, "ES256")), "algorithm"),
        ("an algorithm is a name in one case", with_header(&named(typ, "eddsa")), "algorithm"),
        ("a token of another type is refused", with_header(&named("JWT", "EdDSA")), "type"),
        ("a key in the header is refused", plus(r#""jwk":{}"#), "unknown-field"),
        ("an address of keys is refused", plus(r#""jku":"https://evil.example""#), "unknown-field"),
        ("a critical extension is refused", plus(r#""crit":["b64"]"#), "unknown-field"),
        ("an algorithm is looked at before the form", with_header(&named(typ, "none").replace(':', ": ")), "algorithm"),
        ("the last of two algorithms is looked at", plus(r#""alg":"none""#), "algorithm"),
        ("a header with spaces is refused", with_header(&header().replace(':', ": ")), "malformed"),
        (
            "a header in another order is refused",
            with_header(&format!(r#"{{"kid":"{}","alg":"EdDSA","typ":"{typ}"}}"#, kid(1))),
            "malformed",
        ),
        ("an algorithm given twice is refused", plus(r#""alg":"EdDSA""#), "malformed"),
        ("a header as a list is refused", with_header(&format!(r#"["EdDSA","{}","{typ}"]"#, kid(1))), "malformed"),
        ("a header without a key is refused", with_header(&format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#)), "malformed"),
        ("a key of another length is refused", with_header(&header().replace(&kid(1), &kid(1)[1..])), "malformed"),
        ("a key in capitals is refused", with_header(&header().replace(&kid(1), "ABCDEF0123456789")), "malformed"),
        ("a header that is no JSON is refused", with_header("EdDSA"), "malformed"),
        ("nothing is no token", String::new(), "malformed"),
        ("two parts are no token", format!("{head}.{body}"), "malformed"),
        ("so whatever the header says", format!("{none}.{body}"), "malformed"),
        ("four parts are no token", format!("{token}.{signature}"), "malformed"),
        ("a token with a space behind it is refused", format!("{token} "), "malformed"),
        ("padding is refused", format!("{token}=="), "malformed"),
        ("the other alphabet of base64 is refused", format!("{head}.{body}.{}+", &signature[..85]), "malformed"),
        ("bits that mean nothing are refused", with_stray_bits(&token), "malformed"),
        ("a length that base64 does not have is refused", format!("{head}.{body}.{}", &signature[..85]), "malformed"),
        ("a longer text than any token is refused", "a".repeat(MAX_LEN + 1), "too-long"),
        ("a text as long as the longest is looked at", "a".repeat(MAX_LEN), "malformed"),
    ];
    cases.into_iter().map(|(name, token, outcome)| (name, token, NOW_S, 0, outcome)).collect()
}

fn bent_claims() -> Vec<Case> {
    let cases = vec![
        (
            "a claim that tokens do not have is refused",
            replaced(r#""arm":2"#, r#""arm":2,"admin":true"#),
            "unknown-field",
        ),
        ("so is one that JavaScript has", replaced(r#""arm":2"#, r#""arm":2,"__proto__":{}"#), "unknown-field"),
        ("a claim that is missing is refused", replaced(r#""arm":2,"#, ""), "malformed"),
        ("a claim given twice is refused", replaced(r#""face":501,"c"#, r#""face":1,"face":501,"c"#), "malformed"),
        ("a number as a text is refused", replaced(r#""arm":2"#, r#""arm":"2""#), "malformed"),
        ("null is no value", replaced(r#""arm":2"#, r#""arm":null"#), "malformed"),
        ("an integer has no point", replaced(r#""arm":2"#, r#""arm":2.0"#), "malformed"),
        ("an integer has no exponent", replaced(r#""price":300"#, r#""price":3e2"#), "malformed"),
        ("an integer has no sign that means nothing", replaced(r#""price":300"#, r#""price":-0"#), "malformed"),
        ("an amount is not negative", replaced(r#""face":501,"c"#, r#""face":-501,"c"#), "malformed"),
        ("digits are small", replaced("a5a5", "A5A5"), "malformed"),
        ("a number of one length is refused in another", replaced(r#""lease":"a5"#, r#""lease":""#), "malformed"),
        ("spaces are refused", replaced(r#""arm":2"#, r#""arm": 2"#), "malformed"),
        ("escapes are refused", replaced("spring", r"spr\u0069ng"), "malformed"),
        ("another order is refused", with_claims(|text| swapped(text, r#""price":300"#, r#""arm":2"#)), "malformed"),
        ("budgets are objects", replaced(r#"{"budget":"brand","face":200}"#, r#"["brand",200]"#), "malformed"),
        ("budgets have two members", replaced(r#""face":200"#, r#""face":200,"x":1"#), "malformed"),
        ("an empty list of budgets is left out", with_claims(|text| without_budgets(text, "[]")), "malformed"),
        ("claims are no list", with_claims(|_| r#"["https://shop.example"]"#.into()), "malformed"),
        ("claims are no text", with_claims(|_| r#""claims""#.into()), "malformed"),
        ("what no number holds is refused", replaced("0.9123456789012345", "1e999"), "invalid-claim"),
        ("a fraction below 0 is refused", replaced("0.9123456789012345", "-0.5"), "invalid-claim"),
        ("a fraction as a text is refused", replaced("0.9123456789012345", "\"0.5\""), "malformed"),
        ("a fraction has no space behind it", replaced("0.9123456789012345", "0.5 "), "malformed"),
        ("claims are JSON", with_claims(|text| text[1..].into()), "malformed"),
        ("nothing follows claims", with_claims(|text| format!("{text}{{}}")), "malformed"),
        ("a face of 0 is refused", replaced(r#""face":501,"c"#, r#""face":0,"c"#), "invalid-claim"),
        ("an arm of 0 is refused", replaced(r#""arm":2"#, r#""arm":0"#), "invalid-claim"),
        ("budgets that do not add up are refused", replaced(r#""face":200"#, r#""face":199"#), "invalid-claim"),
        ("a propensity of 0 is refused", replaced("0.9123456789012345", "0"), "invalid-claim"),
        ("a propensity above 1 is refused", replaced("0.9123456789012345", "1.0000000000000002"), "invalid-claim"),
        ("a name in capitals is refused", replaced("spring", "SPRING"), "invalid-claim"),
        ("a currency in small letters is refused", replaced("EUR", "eur"), "invalid-claim"),
        ("an end before the beginning is refused", replaced("1795631400", "1795544940"), "invalid-claim"),
        ("a life longer than any offer's is refused", replaced("1795631400", "1895631400"), "invalid-claim"),
        ("an integer that JavaScript cannot hold is refused", replaced("300", "9007199254740993"), "malformed"),
    ];
    cases.into_iter().map(|(name, token, outcome)| (name, token, NOW_S, 0, outcome)).collect()
}

fn swapped(text: &str, one: &str, other: &str) -> String {
    text.replace(one, "#").replace(other, one).replace('#', other)
}

fn without_budgets(text: &str, list: &str) -> String {
    let (before, rest) = text.split_once(r#""budgets":"#).unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    format!("{before}\"budgets\":{list}{after}")
}

/// The last character of the signature carries four bits that belong to no byte.
fn with_stray_bits(token: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(token.chars().last().unwrap()).unwrap();
    assert_eq!(at % 16, 0);
    format!("{}{}", &token[..token.len() - 1], alphabet.as_bytes()[at + 1] as char)
}

/// RFC 8032, 5.1: L is 2^252 + 27742317777372353535851937790883648493, here little-endian.
fn with_order_added(signature: &str) -> String {
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn cases() -> Vec<Case> {
    [believed(), forgeries(), bent_claims()].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn table() -> Value {
    let public = |seed| format!("ed25519:{}", URL_SAFE_NO_PAD.encode(key(seed).verifying_key().as_bytes()));
    let case = |(name, token, now_s, skew_s, outcome): Case| json!({"name": name, "token": token, "now_s": now_s, "skew_s": skew_s, "outcome": outcome});
    let draws =
        [("user-7", "spring", draw_epoch()), ("user-7", "spring", draw_epoch() + 1), ("", "", 0), ("é", "a", -1)];
    let subjects = ["user-7", "é", ""].map(|user| json!({"user": user, "subject": hex(&subject(SECRET, user))}));
    let buckets = [("seed", "a"), ("89123klj", "8952klfjas09ujkasdf"), ("spring", "é\u{1f600}")];
    json!({
        "keys": [public(1), public(2)],
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "claims": claims(),
        "tokens": cases().into_iter().map(case).collect::<Vec<_>>(),
        "secret": String::from_utf8(SECRET.to_vec()).unwrap(),
        "subjects": subjects,
        "draws": draws.map(|(user, campaign, epoch)| {
            json!({"user": user, "campaign": campaign, "epoch": epoch, "draw": hex(&draw(SECRET, user, campaign, epoch))})
        }),
        "buckets": buckets.map(|(seed, user)| json!({"seed": seed, "user": user, "bucket": bucket(seed, user)})),
    })
}

#[test]
fn every_token_of_the_table_has_its_outcome() {
    let keys = Keys::new([1, 2].map(|seed| key(seed).verifying_key().to_bytes())).unwrap();
    for (name, token, now_s, skew_s, outcome) in cases() {
        let found = verify(&token, &keys, AUDIENCE, ISSUER, now_s, skew_s).map_or_else(|why| why.name(), |_| "accept");
        assert_eq!(found, outcome, "{name}");
    }
}

#[test]
fn the_table_in_the_file_is_that_of_these_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/v1.json");
    let written = format!("{:#}\n", table());
    if std::env::var_os("SELVEDGE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &written).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == written, "bless with SELVEDGE_BLESS=1");
}

#[test]
fn the_example_of_the_page_is_the_first_of_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/offer-token.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, token, ..) = &cases()[0];
    for part in token.split('.') {
        // As the page breaks it into lines.
        let lines: Vec<&str> = part.as_bytes().chunks(100).map(|line| std::str::from_utf8(line).unwrap()).collect();
        assert!(page.contains(&lines.join("\n")), "the page lacks\n{}", lines.join("\n"));
    }
    assert!(page.contains(&format!("`{}`", hex(&offer().hash()))), "the hash of the terms, {}", hex(&offer().hash()));
}

#[test]
fn any_flipped_bit_is_found() {
    let keys = Keys::new([key(1).verifying_key().to_bytes()]).unwrap();
    let token = mint(&key(1), &claims()).unwrap();
    for at in 0..token.len() {
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let bent = String::from_utf8(bytes).unwrap();
            assert!(verify(&bent, &keys, AUDIENCE, ISSUER, NOW_S, 0).is_err(), "bit {bit} of {at}");
        }
    }
}
