//! The table of cases that every follower passes. `SELVEDGE_BLESS=1` writes it anew from the cases here: the expected
//! outcomes are written by hand, heads are signed by fixed keys.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use selvedge_follow::{Keys, Known, PublicKey, Tally, in_rollout, judge, next_poll_ms, status};
use selvedge_format::head::{BlobV1, GuardV1, HeadV1, HeadView, PriceV1, RolloutV1};
use serde_json::{Value, json};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> String {
    format!("ed25519:{}", URL_SAFE_NO_PAD.encode(key(seed).verifying_key().as_bytes()))
}

fn head() -> HeadV1 {
    let blob = |first, size| BlobV1 { id: [first; 32], size };
    HeadV1 {
        channel: "shop".into(),
        sequence: 5,
        issued_ms: NOW_MS,
        not_before_ms: NOW_MS - HOUR_MS,
        not_after_ms: NOW_MS + HOUR_MS,
        bundle: blob(1, 1000),
        shared: Some(blob(2, 2000)),
        rollout: Some(RolloutV1 { bundle: blob(3, 3000), shared: None, share: 500, salt: u64::MAX - 6 }),
        prices: vec![PriceV1 { budget: "autumn".into(), price_micros: 1_250_000 }],
        guard: Some(GuardV1 { max_fallback_share: 200, min_decisions: 100 }),
        killed: false,
    }
}

fn signed(head: &HeadV1, seed: u8) -> Vec<u8> {
    let public: PublicKey = public(seed).parse().unwrap();
    let unsigned = head.unsigned(public.id()).unwrap();
    let signature = key(seed).sign(&unsigned.message());
    unsigned.sign(&signature.to_bytes())
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

/// Name, held head, offered bytes, time, outcome.
type Judged = (&'static str, Option<Vec<u8>>, Vec<u8>, i64, &'static str);

fn judged() -> Vec<Judged> {
    let five = signed(&head(), 1);
    let of = |change: fn(&mut HeadV1)| {
        let mut changed = head();
        change(&mut changed);
        signed(&changed, 1)
    };
    let six = of(|head| head.sequence = 6);
    let held = || Some(five.clone());
    vec![
        ("the first head is taken", None, five.clone(), NOW_MS, "accept"),
        ("a higher sequence is taken", held(), six.clone(), NOW_MS, "accept"),
        ("a head of the next key is taken", held(), signed(&HeadV1 { sequence: 6, ..head() }, 2), NOW_MS, "accept"),
        ("a killed head is taken", held(), of(|head| (head.sequence, head.killed) = (6, true)), NOW_MS, "accept"),
        (
            "a head without anything optional is taken",
            held(),
            of(|head| {
                head.sequence = u64::MAX;
                (head.shared, head.rollout, head.guard) = (None, None, None);
                head.prices.clear();
            }),
            NOW_MS,
            "accept",
        ),
        ("the same head is no news", held(), five.clone(), NOW_MS, "unchanged"),
        ("the same head is no news even when it has expired", held(), five.clone(), NOW_MS + 2 * HOUR_MS, "unchanged"),
        ("a lower sequence is refused", Some(six.clone()), five.clone(), NOW_MS, "sequence-lower"),
        (
            "other bytes of the same sequence are refused",
            held(),
            of(|head| head.killed = true),
            NOW_MS,
            "sequence-reused",
        ),
        ("the same content signed by another key is refused", held(), signed(&head(), 2), NOW_MS, "sequence-reused"),
        (
            "a head of another channel is refused",
            None,
            of(|head| head.channel = "other".into()),
            NOW_MS,
            "other-channel",
        ),
        ("a foreign key is refused", None, signed(&head(), 3), NOW_MS, "unknown-key"),
        (
            "a foreign key is refused before the sequence is looked at",
            Some(six),
            signed(&head(), 3),
            NOW_MS,
            "unknown-key",
        ),
        ("a changed signature is refused", None, flipped(five.clone(), 30), NOW_MS, "bad-signature"),
        (
            "a switch that was turned on the way is refused",
            None,
            flipped(five.clone(), five.len() - 1),
            NOW_MS,
            "bad-signature",
        ),
        ("a key id that was changed is refused", None, flipped(five.clone(), 16), NOW_MS, "unknown-key"),
        ("a head is valid from its first millisecond", None, five.clone(), NOW_MS - HOUR_MS, "accept"),
        ("a head is refused before", None, five.clone(), NOW_MS - HOUR_MS - 1, "not-yet-valid"),
        ("a head is valid until its last millisecond", None, five.clone(), NOW_MS + HOUR_MS - 1, "accept"),
        ("a head is refused after", None, five.clone(), NOW_MS + HOUR_MS, "expired"),
        ("nothing is no head", None, Vec::new(), NOW_MS, "malformed"),
        ("other magic is no head", None, flipped(five.clone(), 0), NOW_MS, "malformed"),
        ("another version is no head", None, flipped(five.clone(), 8), NOW_MS, "malformed"),
        ("another length is no head", None, flipped(five.clone(), 10), NOW_MS, "malformed"),
        ("a reserved byte is no head", None, flipped(five.clone(), 12), NOW_MS, "malformed"),
        ("a cut head is no head", None, five[..five.len() - 1].to_vec(), NOW_MS, "malformed"),
        ("a longer head is no head", None, [&five[..], &[0]].concat(), NOW_MS, "malformed"),
        ("a page is no head", None, b"<!doctype html><title>502</title>".to_vec(), NOW_MS, "malformed"),
    ]
}

fn cases() -> Value {
    let judged = judged().into_iter().map(|(name, held, offered, now_ms, outcome)| {
        json!({
            "name": name,
            "held": held.map(|held| STANDARD.encode(held)),
            "offered": STANDARD.encode(offered),
            "now_ms": now_ms,
            "outcome": outcome,
        })
    });
    let scheduled = [
        ("a period after a success, spread over a fifth", 30_000, 0, 0.0, 0, 27_000),
        ("in the middle", 30_000, 0, 0.5, 0, 30_000),
        ("at the end", 30_000, 0, 0.999, 0, 32_994),
        ("what the server asks for counts after a success too", 30_000, 0, 0.5, 60_000, 60_000),
        ("up to two seconds after a failure", 30_000, 1, 0.5, 0, 1000),
        ("never at once", 30_000, 1, 0.0, 0, 100),
        ("twice as long after each further one", 30_000, 3, 0.5, 0, 4000),
        ("at most five minutes", 30_000, 30, 0.999, 0, 299_700),
        ("not before the server wants it", 30_000, 1, 0.5, 7000, 7000),
    ];
    let scheduled = scheduled.map(|(name, poll_ms, failures, random, retry_after_ms, wait_ms)| {
        json!({ "name": name, "poll_ms": poll_ms, "failures": failures, "random": random,
            "retry_after_ms": retry_after_ms, "wait_ms": wait_ms })
    });
    let guarded = [
        ("no guard never gives up", None, 1_000_000, 1_000_000, false),
        ("too few decisions say nothing", Some((200, 100)), 99, 99, false),
        ("at the share it stays", Some((200, 100)), 100, 2, false),
        ("above the share it goes", Some((200, 100)), 100, 3, true),
        ("a share of nothing allows nothing", Some((0, 1)), 1, 1, true),
        ("a share of everything allows everything", Some((10_000, 1)), 10, 10, false),
    ];
    let guarded = guarded.map(|(name, guard, decisions, fallbacks, gives_up)| {
        let guard = guard.map(|(share, least)| json!({ "max_fallback_share": share, "min_decisions": least }));
        json!({ "name": name, "guard": guard, "decisions": decisions, "fallbacks": fallbacks, "gives_up": gives_up })
    });
    let stale = 300_000;
    let states = [
        ("without a head it is at its start", false, false, false, 0, 0, "bootstrap", false),
        ("with a valid head it follows", true, false, false, 0, 0, "following", true),
        ("it is not stale at the limit", true, false, false, 0, stale, "following", true),
        ("it is stale after it", true, false, false, 0, stale + 1, "stale", true),
        ("it has given up", true, false, true, 0, 0, "rolled-back", true),
        ("it is expired at the end, and prices are void", true, false, false, HOUR_MS, HOUR_MS, "expired", false),
        ("expired counts more than given up", true, false, true, HOUR_MS, HOUR_MS, "expired", false),
        ("killed counts more than expired", true, true, true, HOUR_MS, HOUR_MS, "killed", false),
    ];
    let states = states.map(|(name, has_head, killed, rolled_back, heard, now, state, prices_valid)| {
        json!({ "name": name, "not_after_ms": has_head.then_some(NOW_MS + HOUR_MS), "killed": killed,
            "rolled_back": rolled_back, "heard_ms": NOW_MS + heard, "stale_after_ms": stale,
            "now_ms": NOW_MS + now, "state": state, "prices_valid": prices_valid })
    });
    let units = ["ann", "ben", "cleo", "dana", "eve", "Zoë", "", "user-7"];
    let drawn = units.iter().flat_map(|unit| [1_u64, u64::MAX - 6].map(|salt| (salt, *unit)));
    let drawn = drawn.map(|(salt, unit)| {
        // The least share that has the unit: all below have it not.
        let least = (1..=10_000).find(|share| in_rollout(salt, unit, *share)).unwrap();
        json!({ "salt": salt.to_string(), "unit": unit, "least_share": least })
    });
    json!({
        "about": "Cases that every follower of a channel passes: docs/follow.md. Heads are base64.",
        "version": 1,
        "channel": "shop",
        "keys": [public(1), public(2)],
        "judge": judged.collect::<Vec<_>>(),
        "schedule": scheduled,
        "guard": guarded,
        "status": states,
        "rollout": drawn.collect::<Vec<_>>(),
    })
}

fn table() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/v1.json");
    let written = format!("{}\n", serde_json::to_string_pretty(&cases()).unwrap());
    if std::env::var_os("SELVEDGE_BLESS").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text == written, "the table is not the one that is written here; bless it with SELVEDGE_BLESS=1");
    serde_json::from_str(&text).unwrap()
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|text| STANDARD.decode(text).unwrap())
}

#[test]
fn the_table_of_cases_holds() {
    let table = table();
    let list = |name: &str| table[name].as_array().unwrap().clone();
    let number = |value: &Value| value.as_i64().unwrap();
    let keys = Keys::new(list("keys").iter().map(|key| key.as_str().unwrap().parse().unwrap()));
    for case in list("judge") {
        let (held, offered) = (bytes(&case["held"]), bytes(&case["offered"]).unwrap());
        let outcome = match judge(held.as_deref(), "shop", &keys, &offered, number(&case["now_ms"])) {
            Ok(Some(head)) => {
                assert_eq!(HeadView::parse(&offered).unwrap().head, head);
                "accept"
            }
            Ok(None) => "unchanged",
            Err(refusal) => refusal.code(),
        };
        assert_eq!(outcome, case["outcome"], "{}", case["name"]);
    }
    for case in list("schedule") {
        let [poll, failures, retry] =
            ["poll_ms", "failures", "retry_after_ms"].map(|name| case[name].as_u64().unwrap());
        let wait = next_poll_ms(poll, failures as u32, case["random"].as_f64().unwrap(), retry);
        assert_eq!(wait, case["wait_ms"].as_u64().unwrap(), "{}", case["name"]);
    }
    for case in list("guard") {
        let guard = case["guard"].as_object().map(|guard| GuardV1 {
            max_fallback_share: guard["max_fallback_share"].as_u64().unwrap() as u16,
            min_decisions: guard["min_decisions"].as_u64().unwrap() as u32,
        });
        let (decisions, fallbacks) = (case["decisions"].as_u64().unwrap(), case["fallbacks"].as_u64().unwrap());
        assert_eq!(Tally { decisions, fallbacks }.gives_up(guard), case["gives_up"], "{}", case["name"]);
    }
    for case in list("status") {
        let head = case["not_after_ms"].as_i64().map(|not_after_ms| HeadV1 {
            not_after_ms,
            killed: case["killed"].as_bool().unwrap(),
            ..head()
        });
        let rolled_back = case["rolled_back"].as_bool().unwrap();
        let known = Known { head: head.as_ref(), heard_ms: number(&case["heard_ms"]), rolled_back };
        let (state, prices) = status(known, number(&case["stale_after_ms"]), number(&case["now_ms"]));
        assert_eq!(
            (state.name(), prices),
            (case["state"].as_str().unwrap(), case["prices_valid"] == true),
            "{}",
            case["name"]
        );
    }
    for case in list("rollout") {
        let (salt, unit) = (case["salt"].as_str().unwrap().parse().unwrap(), case["unit"].as_str().unwrap());
        let least = case["least_share"].as_u64().unwrap() as u16;
        assert!(in_rollout(salt, unit, least) && !in_rollout(salt, unit, least - 1), "{unit}");
    }
}

#[test]
fn a_rollout_has_about_its_share_of_the_users() {
    let drawn = (0..20_000).filter(|user| in_rollout(7, &format!("user-{user}"), 500)).count();
    assert!((900..=1100).contains(&drawn), "{drawn} of 20,000 at 5 %");
}
