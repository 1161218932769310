//! Offers from the question to the order: sticky, within their budgets, good once, and of no use to anybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use selvedge_budget::ledger::{Refusal, Rules, TermsV1 as BudgetTerms};
use selvedge_budget::{Amounts, GrantRequest, Minor};
use selvedge_format::container::verify_id;
use selvedge_format::head::{BlobV1, HeadV1, PriceV1};
use selvedge_offer::TokenRefusal;
use serde_json::json;

use super::{Answer, Asked, Offers, OffersError, OffersOptions, Order, Redeemed};
use crate::config::Prices;
use crate::key::SigningKey;
use crate::sample::bundle_with_campaigns;
use crate::store::fault::FaultyDisk;
use crate::store::{RedbStore, Store};

const NOW_MS: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;
const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

const RULES: Rules = Rules { lease_ms: 3_600_000, longest_offer_ms: 2 * DAY_MS, skew_ms: 60_000, largest_share: 1_000 };

fn options(seed: u8) -> OffersOptions {
    OffersOptions {
        key: SigningKey::from_seed(&[seed; 32]),
        previous: vec![],
        secret: SECRET.to_vec(),
        issuer: "https://shop.example".to_owned(),
        audience: "shop".to_owned(),
        rules: RULES,
    }
}

struct Shop {
    offers: Offers,
    store: Arc<dyn Store>,
    head: HeadV1,
    _directory: tempfile::TempDir,
}

/// A shop with so much money in each of two budgets.
fn shop(control: &str, total: u64) -> Shop {
    let directory = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&directory.path().join("store.redb")).expect("a store"));
    let bundle = bundle_with_campaigns(control);
    let id = verify_id(&bundle).expect("a bundle");
    store.put_blob(&id, &bundle).expect("stored");
    let head = HeadV1 {
        channel: "main".into(),
        sequence: 7,
        issued_ms: NOW_MS,
        not_before_ms: 0,
        not_after_ms: NOW_MS + 400 * DAY_MS,
        bundle: BlobV1 { id, size: bundle.len() as u32 },
        shared: None,
        rollout: None,
        prices: ["brand", "shop"].map(|budget| PriceV1 { budget: budget.into(), price_micros: 100_000 }).into(),
        guard: None,
        killed: false,
    };
    let offers = Offers::new(Arc::clone(&store), options(1)).expect("valid options");
    offers.deploy(&head).expect("the bundle loads");
    for budget in ["shop", "brand"] {
        let terms = BudgetTerms { total: Minor(total), daily: None };
        offers.set_budget(NOW_MS, budget, terms).expect("a budget");
    }
    Shop { offers, store, head, _directory: directory }
}

impl Shop {
    fn asks(&self, now_ms: i64, user: &str) -> Answer {
        self.asks_as(now_ms, user, json!({}), false)
    }

    fn asks_as(&self, now_ms: i64, user: &str, fields: serde_json::Value, is_preview: bool) -> Answer {
        let document = json!({"time": now_ms, "candidates": [{"id": "none"}], "user": {"fields": fields}});
        let asked = Asked { user, device: None, campaign: None, document, state: &[], is_preview };
        self.offers.decide(now_ms, &asked).expect("an answer")
    }

    fn token(&self, now_ms: i64, user: &str) -> String {
        self.asks(now_ms, user).offer.expect("an offer").token.expect("a token")
    }

    fn redeems(&self, now_ms: i64, order: &str, user: &str, tokens: &[String]) -> Result<Redeemed, OffersError> {
        self.redeems_cart(now_ms, order, user, tokens, &cart(3_000))
    }

    fn redeems_cart(
        &self,
        now_ms: i64,
        order: &str,
        user: &str,
        tokens: &[String],
        cart: &str,
    ) -> Result<Redeemed, OffersError> {
        self.offers.redeem(now_ms, &Order { order, user, tokens, cart: cart.as_bytes(), is_preview: false })
    }

    /// Settled and held of the two budgets together, each at most its total.
    fn committed(&self, now_ms: i64) -> (u64, u64) {
        let mut sum = (0, 0);
        for (name, balance) in self.offers.balances(now_ms).expect("balances") {
            assert!(balance.settled.plus(balance.held) <= balance.total, "{name}: {balance:?}");
            sum = (sum.0 + balance.settled.0, sum.1 + balance.held.0);
        }
        sum
    }
}

fn cart(unit_minor: u64) -> String {
    json!({"currency": "EUR", "lines": [{"item": "tea", "quantity": 1, "unit_minor": unit_minor}]}).to_string()
}

#[test]
fn an_offer_is_made_and_redeemed_and_paid_by_both_budgets() {
    let shop = shop("", 100_000);
    let answer = shop.asks(NOW_MS, "ada");
    assert_eq!((answer.campaign.as_str(), answer.status, answer.reason), ("spring", "offered", None));
    let made = answer.offer.expect("an offer");
    assert_eq!((made.offer.as_str(), made.currency.as_str(), made.disclosed), ("five_off", "EUR", true));
    assert_eq!(made.expires_ms, NOW_MS + DAY_MS);
    let redeemed = shop.redeems(NOW_MS + 1, "order-1", "ada", &[made.token.unwrap()]).unwrap();
    assert_eq!((redeemed.before_minor, redeemed.discount_minor, redeemed.after_minor), (3_000, 500, 2_500));
    let balances = shop.offers.balances(NOW_MS + 2).unwrap();
    let settled: Vec<_> = balances.iter().map(|(name, balance)| (name.as_str(), balance.settled.0)).collect();
    assert_eq!(settled, [("brand", 200), ("shop", 300)]);
}

#[test]
fn a_decision_stays_as_it_is_until_its_epoch_ends() {
    let shop = shop("holdout = 0.3\nexplore = 0.5\n", 100_000_000);
    for user in 0..40 {
        let user = format!("user-{user}");
        let first = shop.asks(NOW_MS, &user);
        let again = shop.asks(NOW_MS + 60_000, &user);
        assert_eq!(Answer { repeated: true, ..first.clone() }, again);
        assert!(!first.repeated);
    }
    let token = |now_ms| shop.asks(now_ms, "user-1").offer.map(|made| made.token);
    let tomorrow = NOW_MS + DAY_MS;
    assert!(!shop.asks(tomorrow, "user-1").repeated);
    assert!(token(tomorrow).is_none() || token(tomorrow) != token(NOW_MS));
}

#[test]
fn the_hold_out_gets_nothing_and_has_its_share() {
    let shop = shop("holdout = 0.3\n", 100_000_000);
    let held_out = (0..200).filter(|user| shop.asks(NOW_MS, &format!("user-{user}")).status == "held-out").count();
    // 60 are expected; so far off it is once in ten thousand secrets, and this one is fixed.
    assert!((35..=85).contains(&held_out), "{held_out}");
}

#[test]
fn a_preview_shows_the_terms_and_commits_nothing() {
    let shop = shop("holdout = 1.0\n", 100_000);
    let preview = shop.asks_as(NOW_MS, "ada", json!({}), true);
    assert_eq!(preview.status, "offered", "who is held out cannot be told from a preview");
    assert_eq!(preview.offer.unwrap().token, None);
    assert_eq!(shop.committed(NOW_MS), (0, 0));
    assert_eq!(shop.asks(NOW_MS, "ada").status, "held-out");
}

#[test]
fn who_is_not_eligible_gets_none() {
    let shop = shop("", 100_000);
    let answer = shop.asks_as(NOW_MS, "ada", json!({"tier": "staff"}), false);
    assert_eq!((answer.status, answer.reason), ("none", Some("not-eligible")));
}

#[test]
fn a_cap_counts_over_epochs() {
    let shop = shop("epoch = \"1h\"\n[[campaign.caps]]\ncount = 2\nperiod = \"1d\"\n", 100_000);
    let statuses: Vec<_> = (0..4)
        .map(|hour| {
            let answer = shop.asks(NOW_MS + hour * 3_600_000, "ada");
            (answer.status, answer.reason)
        })
        .collect();
    let capped = ("none", Some("capped"));
    assert_eq!(statuses, [("offered", None), ("offered", None), capped, capped]);
    assert_eq!(
        shop.asks(NOW_MS + 25 * 3_600_000, "ada").status,
        "offered",
        "a day later the first has left the period"
    );
}

#[test]
fn an_order_that_asks_again_gets_the_same_answer_and_another_order_none() {
    let shop = shop("", 100_000);
    let token = [shop.token(NOW_MS, "ada")];
    let first = shop.redeems(NOW_MS, "order-1", "ada", &token).unwrap();
    let again = shop.redeems(NOW_MS + 2 * DAY_MS, "order-1", "ada", &token).unwrap();
    assert!(again.offers[0].repeated && !first.offers[0].repeated);
    assert_eq!(again.discount_minor, first.discount_minor);
    let other = shop.redeems(NOW_MS, "order-2", "ada", &token).unwrap_err();
    assert!(matches!(other, OffersError::Refused(Refusal::AlreadyRedeemed { .. })), "{other}");
    assert_eq!(shop.committed(NOW_MS).0, 500);
}

#[test]
fn of_a_hundred_clients_that_spend_one_offer_at_once_one_does() {
    let shop = shop("", 100_000);
    let token = [shop.token(NOW_MS, "ada")];
    let redeemed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..100 {
            let (shop, token, redeemed) = (&shop, &token, &redeemed);
            scope.spawn(move || match shop.redeems(NOW_MS, &format!("order-{client}"), "ada", token) {
                Ok(_) => {
                    redeemed.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => {
                    let is_known = matches!(error, OffersError::Refused(Refusal::AlreadyRedeemed { .. }));
                    assert!(is_known, "{error}");
                }
            });
        }
    });
    assert_eq!(redeemed.into_inner(), 1);
    assert_eq!(shop.committed(NOW_MS).0, 500);
}

#[test]
fn a_user_who_asks_from_many_places_at_once_has_one_offer() {
    let shop = shop("", 100_000);
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..32).map(|_| scope.spawn(|| shop.token(NOW_MS, "ada"))).collect();
        asking.into_iter().map(|asked| asked.join().expect("an answer")).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]));
}

#[test]
fn a_budget_is_not_overspent_by_a_crowd() {
    // 60 % of 500 fit into 10,000 thirty-three times; the rest gets nothing.
    let shop = shop("", 10_000);
    let mut redeemed = 0;
    for user in 0..60 {
        let user = format!("user-{user}");
        let answer = shop.asks(NOW_MS, &user);
        if let Some(made) = answer.offer {
            shop.redeems(NOW_MS, &user, &user, &[made.token.unwrap()]).unwrap();
            redeemed += 1;
        } else {
            assert_eq!(answer.reason, Some("no-budget"));
        }
        shop.committed(NOW_MS);
    }
    assert!((30..=33).contains(&redeemed), "{redeemed} of 33 that can be paid");
}

#[test]
fn what_expires_unredeemed_is_offered_to_others() {
    let shop = shop("", 10_000);
    let all =
        |now_ms, of: &str| (0..60).filter(|user| shop.asks(now_ms, &format!("{of}-{user}")).offer.is_some()).count();
    let first = all(NOW_MS, "early");
    assert!(first >= 30, "{first}");
    assert_eq!(all(NOW_MS + 60_000, "soon"), 0);
    // Offers live a day; the lease's report and the buckets of expiry take a little longer.
    let later = all(NOW_MS + 3 * DAY_MS, "late");
    assert!(later >= 30, "{later}");
    assert_eq!(shop.committed(NOW_MS + 3 * DAY_MS).0, 0);
}

#[test]
fn an_offer_is_of_no_use_to_another_user_or_shop_or_forged_or_late() {
    let shop = shop("", 100_000);
    let token = shop.token(NOW_MS, "ada");
    let refused =
        |user: &str, token: &str, now_ms| shop.redeems(now_ms, "order", user, &[token.to_owned()]).unwrap_err();
    assert!(matches!(refused("eve", &token, NOW_MS), OffersError::OtherUser { position: 0 }));
    let late = refused("ada", &token, NOW_MS + DAY_MS);
    assert!(matches!(late, OffersError::Refused(Refusal::Expired { .. })), "{late}");
    let early = refused("ada", &token, NOW_MS - 3_600_000);
    assert!(matches!(early, OffersError::Token { refusal: TokenRefusal::NotYet, .. }), "{early}");
    // Any other letter in the claims is another message.
    let (head, rest) = token.split_once('.').unwrap();
    let letter = if rest.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{head}.{letter}{}", &rest[1..]);
    assert!(matches!(refused("ada", &tampered, NOW_MS), OffersError::Token { refusal: TokenRefusal::Signature, .. }));
    // A token of somebody who has the terms, and not the key.
    let forger = Offers::new(Arc::clone(&shop.store), options(2)).unwrap();
    forger.deploy(&shop.head).unwrap();
    let document = json!({"time": NOW_MS, "candidates": [{"id": "none"}]});
    let asked = Asked { user: "mallory", device: None, campaign: None, document, state: &[], is_preview: false };
    let forged = forger.decide(NOW_MS, &asked).unwrap().offer.unwrap().token.unwrap();
    assert!(matches!(
        refused("mallory", &forged, NOW_MS),
        OffersError::Token { refusal: TokenRefusal::UnknownKey, .. }
    ));
    for garbage in ["", "a.b.c", "....", &token[..token.len() - 1]] {
        assert!(matches!(refused("ada", garbage, NOW_MS), OffersError::Token { .. }), "{garbage}");
    }
}

#[test]
fn offers_of_the_key_before_are_good_while_it_is_named() {
    let old = shop("", 100_000);
    let token = [old.token(NOW_MS, "ada")];
    let public = *old.offers.options.key.public().as_bytes();
    let redeem = |previous: Vec<[u8; 32]>| {
        let rotated = Offers::new(Arc::clone(&old.store), OffersOptions { previous, ..options(9) }).unwrap();
        let cart = cart(3_000);
        let order = Order { order: "o", user: "ada", tokens: &token, cart: cart.as_bytes(), is_preview: false };
        rotated.redeem(NOW_MS, &order).map(|_| ())
    };
    assert!(matches!(redeem(vec![]), Err(OffersError::Token { refusal: TokenRefusal::UnknownKey, .. })));
    assert!(redeem(vec![public]).is_ok());
}

#[test]
fn an_order_is_settled_whole_or_not_at_all() {
    let shop = shop("", 100_000);
    let tokens = [shop.token(NOW_MS, "ada"), shop.token(NOW_MS + DAY_MS / 2, "ada")];
    assert_eq!(tokens[0], tokens[1], "the same epoch");
    let twice = shop.redeems(NOW_MS, "order", "ada", &tokens).unwrap_err();
    assert!(matches!(twice, OffersError::GivesNothing { position: 1, .. }), "{twice}");
    assert_eq!(shop.committed(NOW_MS).0, 0);
    let small = shop.redeems_cart(NOW_MS, "order", "ada", &tokens[..1], &cart(1_999)).unwrap_err();
    assert_eq!(small.to_string(), "offer 0 gives nothing on this cart: below-minimum");
    let dollars = cart(3_000).replace("EUR", "USD");
    assert!(matches!(shop.redeems_cart(NOW_MS, "o", "ada", &tokens[..1], &dollars), Err(OffersError::Cart(_))));
    let negative = cart(3_000).replace("3000", "-3000");
    assert!(matches!(shop.redeems_cart(NOW_MS, "o", "ada", &tokens[..1], &negative), Err(OffersError::Cart(_))));
    assert!(matches!(shop.redeems(NOW_MS, "order", "ada", &[]), Err(OffersError::TooManyTokens)));
    assert_eq!(shop.committed(NOW_MS).0, 0, "the offer is still good");
    assert!(shop.redeems(NOW_MS, "order", "ada", &tokens[..1]).is_ok());
}

#[test]
fn a_killed_channel_offers_nothing() {
    let shop = shop("", 100_000);
    shop.offers.deploy(&HeadV1 { killed: true, ..shop.head.clone() }).unwrap();
    assert_eq!(shop.asks(NOW_MS, "ada").status, "none");
}

#[test]
fn a_budget_that_nobody_opened_pays_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&directory.path().join("store.redb")).unwrap());
    let opened = shop("", 100_000);
    let bundle = opened.store.blob(&opened.head.bundle.id).unwrap().unwrap();
    store.put_blob(&opened.head.bundle.id, &bundle).unwrap();
    let offers = Offers::new(store, options(1)).unwrap();
    offers.deploy(&opened.head).unwrap();
    let document = json!({"time": NOW_MS, "candidates": [{"id": "none"}]});
    let asked = Asked { user: "ada", device: None, campaign: None, document, state: &[], is_preview: false };
    assert_eq!(offers.decide(NOW_MS, &asked).unwrap().reason, Some("no-budget"));
}

#[test]
fn leases_and_offers_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let donor = shop("", 100_000);
    let bundle = donor.store.blob(&donor.head.bundle.id).unwrap().unwrap();
    let open = || {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&path).unwrap());
        store.put_blob(&donor.head.bundle.id, &bundle).unwrap();
        let offers = Offers::new(Arc::clone(&store), options(1)).unwrap();
        offers.deploy(&donor.head).unwrap();
        offers
    };
    let document = || json!({"time": NOW_MS, "candidates": [{"id": "none"}]});
    let asked =
        || Asked { user: "ada", device: None, campaign: None, document: document(), state: &[], is_preview: false };
    let request = GrantRequest {
        id: 5,
        holder: "edge-1".into(),
        wanted: Amounts::new([("shop", Minor(700))]).unwrap(),
        least: Amounts::none(),
    };
    let (first, lease) = {
        let offers = open();
        for budget in ["shop", "brand"] {
            offers.set_budget(NOW_MS, budget, BudgetTerms { total: Minor(100_000), daily: None }).unwrap();
        }
        (offers.decide(NOW_MS, &asked()).unwrap(), offers.grant(NOW_MS, &request).unwrap())
    };
    let offers = open();
    assert_eq!(offers.decide(NOW_MS, &asked()).unwrap(), Answer { repeated: true, ..first.clone() });
    assert_eq!(offers.grant(NOW_MS + 1, &request).unwrap(), lease, "asking again is asking for the same lease");
    let tokens = [first.offer.unwrap().token.unwrap()];
    let cart = cart(3_000);
    let order = Order { order: "o", user: "ada", tokens: &tokens, cart: cart.as_bytes(), is_preview: false };
    assert_eq!(offers.redeem(NOW_MS, &order).unwrap().discount_minor, 500);
}

#[test]
fn an_offer_that_has_expired_is_not_told_again_and_no_other_is_made_in_its_epoch() {
    let shop = shop("epoch = \"30d\"\n", 100_000);
    // The whole epoch of the first question.
    let begin_ms = NOW_MS.div_euclid(30 * DAY_MS) * 30 * DAY_MS;
    let first = shop.asks(begin_ms, "ada");
    assert_eq!(shop.asks(begin_ms + DAY_MS - 1, "ada"), Answer { repeated: true, ..first.clone() });
    let spent = shop.committed(begin_ms + DAY_MS);
    for later_ms in [DAY_MS, 2 * DAY_MS, 30 * DAY_MS - 1] {
        let answer = shop.asks(begin_ms + later_ms, "ada");
        assert_eq!((answer.status, answer.reason, answer.repeated), ("none", Some("expired"), true), "{later_ms}");
        assert_eq!(answer.offer, None);
        assert!(shop.committed(begin_ms + later_ms).1 <= spent.1, "nothing more is put aside");
    }
    assert_eq!(shop.asks(begin_ms + 30 * DAY_MS, "ada").status, "offered");
}

#[test]
fn nobody_waits_for_the_disk_where_nothing_is_promised() {
    let disk = FaultyDisk::new();
    let donor = shop("", 100_000);
    let bundle = donor.store.blob(&donor.head.bundle.id).unwrap().unwrap();
    let open = |disk: &FaultyDisk| {
        let store: Arc<dyn Store> = Arc::new(RedbStore::with_backend(disk.clone()).unwrap());
        store.put_blob(&donor.head.bundle.id, &bundle).unwrap();
        let offers = Offers::new(store, options(1)).unwrap();
        offers.deploy(&donor.head).unwrap();
        offers
    };
    let asks = |offers: &Offers, user: &str, tier: &str| {
        let document = json!({"time": NOW_MS, "candidates": [{"id": "none"}], "user": {"fields": {"tier": tier}}});
        let asked = Asked { user, device: None, campaign: None, document, state: &[], is_preview: false };
        offers.decide(NOW_MS, &asked).unwrap()
    };
    let offers = open(&disk);
    for budget in ["shop", "brand"] {
        offers.set_budget(NOW_MS, budget, BudgetTerms { total: Minor(100_000), daily: None }).unwrap();
    }
    let syncs = disk.syncs();
    assert_eq!(asks(&offers, "ada", "staff").status, "none");
    assert_eq!(disk.syncs(), syncs, "nobody waited");
    let again = asks(&offers, "ada", "guest");
    assert_eq!((again.status, again.repeated), ("none", true), "it stands all the same");
    assert_eq!(disk.syncs(), syncs);
    let offered = asks(&offers, "bob", "guest");
    assert_eq!(offered.status, "offered");
    assert!(disk.syncs() > syncs, "a promise is durable");
    let restarted = open(&disk.after_power_cut());
    assert_eq!(asks(&restarted, "bob", "guest"), Answer { repeated: true, ..offered });
}

#[test]
fn what_is_long_over_is_forgotten_and_its_offers_stay_used() {
    let shop = shop("", 100_000);
    let token = [shop.token(NOW_MS, "ada")];
    shop.redeems(NOW_MS, "order-1", "ada", &token).unwrap();
    let refused = |now_ms, order: &str| shop.redeems(now_ms, order, "ada", &token).unwrap_err();
    assert!(matches!(refused(NOW_MS, "order-2"), OffersError::Refused(Refusal::AlreadyRedeemed { .. })));
    let kept_ms = NOW_MS + 90 * DAY_MS;
    shop.offers.reclaim(kept_ms).unwrap();
    assert!(shop.redeems(kept_ms, "order-1", "ada", &token).unwrap().offers[0].repeated, "the receipt is still there");
    let late_ms = kept_ms + 4 * DAY_MS;
    shop.offers.reclaim(late_ms).unwrap();
    for (now_ms, order) in [(late_ms, "order-1"), (late_ms, "order-2"), (NOW_MS, "order-2")] {
        let refusal = refused(now_ms, order);
        assert!(matches!(refusal, OffersError::Refused(Refusal::UnknownLease { .. })), "{refusal}");
    }
    assert_eq!(shop.committed(late_ms), (500, 0), "what was settled stays settled");
}

fn priced(budgets: &[&str]) -> Prices {
    let budgets = budgets.iter().map(|budget| (*budget).to_owned()).collect();
    Prices { budgets, every: Duration::from_secs(60), ahead_ms: DAY_MS, band: 0.05 }
}

impl Shop {
    /// A step, and the head with what it says, as the host publishes it.
    fn steps(&mut self, now_ms: i64) -> u64 {
        let changed = self.offers.step_prices(now_ms, &self.head, &priced(&["shop"])).expect("a step");
        if let [price] = &changed[..] {
            self.says(Some(price.price_micros));
            self.offers.published_prices(&changed).expect("noted");
        }
        self.head.prices.iter().find(|price| price.budget == "shop").map_or(0, |price| price.price_micros)
    }

    /// Somebody publishes a price of the budget "shop", or a head without one.
    fn says(&mut self, price_micros: Option<u64>) {
        self.head.prices.retain(|price| price.budget != "shop");
        self.head.prices.extend(price_micros.map(|price_micros| PriceV1 { budget: "shop".into(), price_micros }));
        self.head.sequence += 1;
    }
}

const MINUTE_MS: i64 = 60_000;

#[test]
fn a_price_rises_with_a_crowd_and_falls_when_nobody_comes() {
    let mut shop = shop("", 1_000_000);
    shop.says(None);
    shop.steps(NOW_MS);
    let idle: Vec<u64> = (1..=10).map(|minute| shop.steps(NOW_MS + minute * MINUTE_MS)).collect();
    assert!(idle.is_sorted_by(|a, b| a >= b) && idle[9] < idle[0] / 2, "from the highest price down: {idle:?}");
    let crowd: Vec<u64> = (11..=20)
        .map(|minute| {
            let now_ms = NOW_MS + minute * MINUTE_MS;
            (0..20).for_each(|user| _ = shop.asks(now_ms, &format!("user-{minute}-{user}")));
            shop.steps(now_ms)
        })
        .collect();
    assert!(crowd[9] > 2 * idle[9], "{idle:?}, {crowd:?}");
    let later: Vec<u64> = (21..=60).map(|minute| shop.steps(NOW_MS + minute * MINUTE_MS)).collect();
    assert!(later[39] < crowd[9] / 2, "{crowd:?}, {later:?}");
    let brand = shop.head.prices.iter().find(|price| price.budget == "brand").map(|price| price.price_micros);
    assert_eq!(brand, Some(100_000), "what is not priced here stays as it was published");
}

#[test]
fn a_price_that_is_set_by_hand_stands_and_is_gone_on_from() {
    let mut shop = shop("", 1_000_000);
    (0..5).for_each(|minute| _ = shop.steps(NOW_MS + minute * MINUTE_MS));
    shop.says(Some(290_000));
    assert_eq!(shop.steps(NOW_MS + 6 * MINUTE_MS), 290_000, "it is in force for a whole interval");
    assert_eq!(shop.offers.paced("shop").map(|paced| paced.price_micros), Some(290_000));
    let later: Vec<u64> = (7..200).map(|minute| shop.steps(NOW_MS + minute * MINUTE_MS)).collect();
    assert!(later.is_sorted_by(|a, b| a >= b) && later[0] > 250_000 && later[192] < 250_000, "{later:?}");
}

#[test]
fn a_controller_goes_on_after_a_restart_where_it_was() {
    let mut shop = shop("", 1_000_000);
    shop.says(None);
    let before = (0..10).map(|minute| shop.steps(NOW_MS + minute * MINUTE_MS)).last();
    let paced = shop.offers.paced("shop").map(|paced| paced.price_micros).unwrap();
    let again = Offers::new(Arc::clone(&shop.store), options(1)).unwrap();
    again.deploy(&shop.head).unwrap();
    shop.offers = again;
    assert_eq!(shop.offers.paced("shop"), None);
    let after = shop.steps(NOW_MS + 10 * MINUTE_MS);
    assert!(Some(after) <= before && after > paced / 3, "{before:?}, {paced}, {after}");
    // A head that was published and not noted is one of its own making, and changes nothing.
    let changed = shop.offers.step_prices(NOW_MS + 11 * MINUTE_MS, &shop.head, &priced(&["shop"])).unwrap();
    shop.says(changed.first().map(|price| price.price_micros));
    let unnoted = shop.steps(NOW_MS + 12 * MINUTE_MS);
    assert_eq!(Some(unnoted), changed.first().map(|price| price.price_micros));
}

#[test]
fn nothing_is_stepped_while_a_channel_is_killed_nor_for_it_afterwards() {
    let mut shop = shop("", 1_000_000);
    shop.says(None);
    (0..3).for_each(|minute| _ = shop.steps(NOW_MS + minute * MINUTE_MS));
    let paced = |shop: &Shop| shop.offers.paced("shop").unwrap().price_micros;
    let before = paced(&shop);
    shop.head.killed = true;
    for minute in 3..100 {
        let now_ms = NOW_MS + minute * MINUTE_MS;
        assert!(shop.offers.step_prices(now_ms, &shop.head, &priced(&["shop"])).unwrap().is_empty());
    }
    assert_eq!(paced(&shop), before);
    shop.head.killed = false;
    shop.steps(NOW_MS + 100 * MINUTE_MS);
    assert!(paced(&shop) > before / 2 - 1, "one minute counts, and not a hundred");
}

#[test]
fn budgets_that_are_not_open_or_unknown_are_not_priced() {
    let shop = shop("", 1_000_000);
    for minute in 0..3 {
        let now_ms = NOW_MS + minute * MINUTE_MS;
        assert!(shop.offers.step_prices(now_ms, &shop.head, &priced(&["winter"])).unwrap().is_empty());
    }
    assert_eq!(shop.offers.paced("winter"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever users do in whatever order, no budget is ever committed beyond its total.
    #[test]
    fn budgets_hold_whatever_happens(steps in prop::collection::vec((0..12_u8, 0..3_u8, 0..4 * 3_600_000_i64), 1..40)) {
        let shop = shop("epoch = \"1h\"\n", 4_000);
        let (mut now_ms, mut known) = (NOW_MS, Vec::new());
        for (user, what, wait_ms) in steps {
            now_ms += wait_ms;
            let user = format!("user-{user}");
            match what {
                0 | 1 => {
                    let answer = shop.asks(now_ms, &user);
                    known.extend(answer.offer.and_then(|made| made.token).map(|token| (user, token)));
                }
                _ => {
                    let order = format!("order-{}", known.len());
                    if let Some((user, token)) = known.pop() {
                        // Refused or not: the ledger says.
                        let _ = shop.redeems(now_ms, &order, &user, &[token]);
                    }
                }
            }
            shop.committed(now_ms);
        }
    }
}
