//! The ledger against a plain model, and what it says no to.

use std::collections::BTreeMap;

use proptest::prelude::*;
use selvedge_budget::ledger::memory::Memory;
use selvedge_budget::ledger::{
    self, Claims, DailyV1, LedgerError, LedgerTx as _, Receipt, Refusal, Rules, TermsV1, balance,
};
use selvedge_budget::{Amounts, GrantRequest, Lease, LeaseReport, Minor, Reported};

const BUDGETS: [&str; 2] = ["one", "two"];
const RULES: Rules = Rules { lease_ms: 60_000, longest_offer_ms: 100_000, skew_ms: 1_000, largest_share: 5_000 };
const NOON: i64 = 1_767_571_200_000 + 43_200_000;

fn amounts(one: u64, two: u64) -> Amounts {
    let pairs = [("one", Minor(one)), ("two", Minor(two))];
    Amounts::new(pairs.into_iter().filter(|(_, amount)| amount.0 > 0)).unwrap()
}

fn request(id: u128, wanted: Amounts) -> GrantRequest {
    GrantRequest { id, holder: "edge".into(), wanted, least: Amounts::none() }
}

fn total(total: u64) -> TermsV1 {
    TermsV1 { total: Minor(total), daily: None }
}

fn opened(one: u64, two: u64) -> Memory {
    let mut memory = Memory::default();
    ledger::open_budget(&mut memory, NOON, "one", total(one)).unwrap();
    ledger::open_budget(&mut memory, NOON, "two", total(two)).unwrap();
    memory
}

fn claims(jti: u128, lease: u128, face: Amounts, expires_ms: i64) -> Claims {
    Claims { jti, lease, campaign: "autumn".into(), face, expires_ms }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, LedgerError<std::convert::Infallible>>) -> Refusal {
    match answer.unwrap_err() {
        LedgerError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

/// Something that happens; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Grant { id: u8, wanted: (u64, u64) },
    Mint { lease: usize, face: (u64, u64), life_ms: i64 },
    WriteReport { lease: usize, close: bool },
    DeliverReport { report: usize },
    Redeem { offer: usize, order: u8, percent: u64 },
    Refund { offer: usize, order: u8 },
    Reclaim { most: usize },
    Clock { by_ms: i64 },
    Total { budget: usize, total: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..60_u64, 0..60_u64);
    prop_oneof![
        4 => (0..20_u8, pair()).prop_map(|(id, wanted)| Step::Grant { id, wanted }),
        6 => (0..9_usize, pair(), 1..130_000_i64)
            .prop_map(|(lease, face, life_ms)| Step::Mint { lease, face, life_ms }),
        3 => (0..9_usize, prop::bool::weighted(0.4)).prop_map(|(lease, close)| Step::WriteReport { lease, close }),
        4 => (0..99_usize).prop_map(|report| Step::DeliverReport { report }),
        5 => (0..99_usize, 0..3_u8, 0..=100_u64)
            .prop_map(|(offer, order, percent)| Step::Redeem { offer, order, percent }),
        1 => (0..99_usize, 0..3_u8).prop_map(|(offer, order)| Step::Refund { offer, order }),
        3 => (0..4_usize).prop_map(|most| Step::Reclaim { most }),
        4 => (-20_000..40_000_i64).prop_map(|by_ms| Step::Clock { by_ms }),
        1 => (-300_000..300_000_i64).prop_map(|by_ms| Step::Clock { by_ms }),
        1 => (0..2_usize, 50..400_u64).prop_map(|(budget, total)| Step::Total { budget, total }),
    ]
}

/// What a holder that is honest knows of a lease.
struct Held {
    lease: Lease,
    left: Amounts,
    minted: BTreeMap<i64, Amounts>,
    sequence: u64,
    closed: bool,
}

#[derive(Clone)]
struct Offer {
    lease: u128,
    face: Amounts,
    expires_ms: i64,
    redeemed: Option<(String, Amounts)>,
    refunded: bool,
}

/// Offers and orders, without a ledger.
struct Model {
    memory: Memory,
    clock_ms: i64,
    totals: [u64; 2],
    held: Vec<Held>,
    reports: Vec<LeaseReport>,
    offers: Vec<Offer>,
}

impl Model {
    fn seen_ms(&self) -> i64 {
        self.memory.state().unwrap().map_or(i64::MIN, |row| row.seen_ms)
    }

    fn happen(&mut self, step: &Step) {
        let now_ms = self.clock_ms;
        match *step {
            Step::Clock { by_ms } => self.clock_ms += by_ms,
            Step::Grant { id, wanted } => self.grant(id, amounts(wanted.0, wanted.1)),
            Step::Mint { lease, face, life_ms } => self.mint(lease, amounts(face.0, face.1), life_ms),
            Step::WriteReport { lease, close } => self.write_report(lease, close),
            Step::DeliverReport { report } => {
                if let Some(report) = self.reports.get(report % self.reports.len().max(1)) {
                    self.memory.transaction(|tx| ledger::report(tx, now_ms, report)).unwrap();
                }
            }
            Step::Redeem { offer, order, percent } => self.redeem(offer, order, percent),
            Step::Refund { offer, order } => self.refund(offer, order),
            Step::Reclaim { most } => {
                self.memory.transaction(|tx| ledger::reclaim(tx, now_ms, most)).unwrap();
            }
            Step::Total { budget, total: new } => {
                let changed =
                    self.memory.transaction(|tx| ledger::change_budget(tx, now_ms, BUDGETS[budget], total(new)));
                if changed.is_ok() {
                    self.totals[budget] = new;
                }
            }
        }
    }

    fn grant(&mut self, id: u8, wanted: Amounts) {
        let (now_ms, request) = (self.clock_ms, request(u128::from(id), wanted));
        let Ok(lease) = self.memory.transaction(|tx| ledger::grant(tx, &RULES, now_ms, &request)) else { return };
        match self.held.iter().find(|held| held.lease.id == lease.id) {
            Some(held) => assert_eq!(held.lease, lease, "the same request has the same lease"),
            None => {
                let left = lease.amounts.clone();
                self.held.push(Held { lease, left, minted: BTreeMap::new(), sequence: 0, closed: false });
            }
        }
    }

    fn mint(&mut self, at: usize, face: Amounts, life_ms: i64) {
        let (now_ms, leases) = (self.clock_ms, self.held.len().max(1));
        let Some(held) = self.held.get_mut(at % leases) else { return };
        let is_allowed = !held.closed
            && now_ms < held.lease.mint_until_ms
            && now_ms + life_ms <= held.lease.last_expiry_ms()
            && !face.is_empty()
            && held.left.lacks(&face).is_none();
        if is_allowed {
            let expires_ms = now_ms + life_ms;
            held.left.take(&face);
            held.minted.entry(held.lease.bucket_end_ms(expires_ms)).or_default().add(&face);
            let lease = held.lease.id;
            self.offers.push(Offer { lease, face, expires_ms, redeemed: None, refunded: false });
        }
    }

    fn write_report(&mut self, at: usize, close: bool) {
        let leases = self.held.len().max(1);
        let Some(held) = self.held.get_mut(at % leases) else { return };
        held.closed |= close;
        held.sequence += 1;
        let Held { lease, sequence, closed, minted, .. } = held;
        let (lease, holder) = (lease.id, "edge".to_owned());
        self.reports.push(LeaseReport { lease, holder, sequence: *sequence, closed: *closed, minted: minted.clone() });
    }

    fn redeem(&mut self, at: usize, order: u8, percent: u64) {
        let at = at % self.offers.len().max(1);
        let Some(offer) = self.offers.get(at).cloned() else { return };
        let order = format!("order-{order}");
        let part = |name| offer.face.get(name).0 * percent / 100;
        let discount = amounts(part("one"), part("two"));
        let (now_ms, time_ms) = (self.clock_ms, self.clock_ms.max(self.seen_ms()));
        let claims = claims(at as u128, offer.lease, offer.face, offer.expires_ms);
        let answer = self.memory.transaction(|tx| ledger::redeem(tx, now_ms, &claims, &order, &discount));
        match &offer.redeemed {
            Some((first, given)) if *first == order => {
                let Receipt { discount, repeated, .. } = answer.unwrap();
                assert!(repeated && discount == *given);
            }
            Some(_) => assert_eq!(refusal(answer), Refusal::AlreadyRedeemed { jti: at as u128 }),
            None if offer.expires_ms <= time_ms => {
                assert!(matches!(refusal(answer), Refusal::Expired { .. }));
            }
            None => {
                assert!(!answer.expect("an offer that is good is honoured").repeated);
                self.offers[at].redeemed = Some((order, discount));
            }
        }
    }

    fn refund(&mut self, at: usize, order: u8) {
        let (at, now_ms) = (at % self.offers.len().max(1), self.clock_ms);
        let Some(offer) = self.offers.get_mut(at) else { return };
        let order = format!("order-{order}");
        let answer = self.memory.transaction(|tx| ledger::refund(tx, now_ms, at as u128, &order));
        let is_its = offer.redeemed.as_ref().is_some_and(|(first, _)| *first == order);
        assert_eq!(answer.is_ok(), is_its);
        offer.refunded |= is_its;
    }

    fn check(&self) {
        let seen_ms = self.seen_ms();
        for (name, total) in BUDGETS.into_iter().zip(self.totals) {
            let given = self.offers.iter().filter(|offer| !offer.refunded).filter_map(|offer| offer.redeemed.as_ref());
            let settled: u64 = given.map(|(_, discount)| discount.get(name).0).sum();
            let out = self.offers.iter().filter(|offer| offer.redeemed.is_none() && offer.expires_ms > seen_ms);
            let out: u64 = out.map(|offer| offer.face.get(name).0).sum();
            // Leases whose holder may mint offers that the ledger would still take.
            let may_mint = self.held.iter().filter(|held| !held.closed && held.lease.last_expiry_ms() > seen_ms);
            let unspent: u64 = may_mint.map(|held| held.left.get(name).0).sum();
            let balance = balance(&self.memory, name).unwrap();
            let held: u64 = self.memory.leases().map(|row| row.held.get(name).0).sum();
            assert_eq!((balance.total.0, balance.settled.0, balance.held.0), (total, settled, held));
            assert!(settled + out + unspent <= total, "{settled} + {out} + {unspent} of {name} are above {total}");
            assert!(out + unspent <= held && settled + held <= total && balance.locked <= balance.held);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn in_any_order_with_any_clock_no_budget_is_overspent_and_no_good_offer_refused(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let (memory, totals) = (opened(200, 100), [200, 100]);
        let (held, reports, offers) = (Vec::new(), Vec::new(), Vec::new());
        let mut model = Model { memory, clock_ms: NOON, totals, held, reports, offers };
        for step in &steps {
            model.happen(step);
            model.check();
        }
        // When everything is over, all that no order got is free again.
        model.clock_ms = model.clock_ms.max(model.seen_ms()) + 1_000_000;
        model.happen(&Step::Reclaim { most: usize::MAX });
        for name in BUDGETS {
            prop_assert_eq!(balance(&model.memory, name).unwrap().held, Minor(0));
        }
    }
}

#[test]
fn money_of_all_budgets_is_granted_or_of_none() {
    let mut memory = opened(100, 10);
    let all = GrantRequest { least: amounts(1, 11), ..request(1, amounts(50, 50)) };
    let (budget, free, least) = ("two".to_owned(), Minor(10), Minor(11));
    assert_eq!(refusal(ledger::grant(&mut memory, &RULES, NOON, &all)), Refusal::NotEnough { budget, free, least });
    assert_eq!(balance(&memory, "one").unwrap().held, Minor(0));
    let unknown = request(2, Amounts::new([("one", Minor(1)), ("three", Minor(1))]).unwrap());
    assert!(matches!(refusal(ledger::grant(&mut memory, &RULES, NOON, &unknown)), Refusal::UnknownBudget { .. }));
    assert!(matches!(
        refusal(ledger::grant(&mut memory, &RULES, NOON, &request(3, Amounts::none()))),
        Refusal::NothingWanted
    ));
}

#[test]
fn what_is_wrong_with_an_offer_is_named() {
    let mut memory = opened(1000, 1000);
    let wanted = GrantRequest { least: amounts(40, 0), ..request(1, amounts(40, 0)) };
    let lease = ledger::grant(&mut memory, &RULES, NOON, &wanted).unwrap();
    let good = claims(7, 1, amounts(30, 0), NOON + 50_000);
    let mut redeem = |claims: &Claims, order: &str, discount: Amounts| {
        refusal(ledger::redeem(&mut memory, NOON + 1, claims, order, &discount))
    };
    let with = |change: fn(&mut Claims)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    assert_eq!(redeem(&with(|it| it.lease = 2), "a", amounts(1, 0)), Refusal::UnknownLease { lease: 2 });
    assert_eq!(redeem(&with(|it| it.face = Amounts::none()), "a", Amounts::none()), Refusal::NoFace { jti: 7 });
    assert!(matches!(redeem(&with(|it| it.face = amounts(41, 0)), "a", amounts(1, 0)), Refusal::AboveLease { .. }));
    assert!(matches!(redeem(&with(|it| it.face = amounts(1, 1)), "a", amounts(1, 0)), Refusal::AboveLease { .. }));
    assert!(matches!(redeem(&good, "a", amounts(31, 0)), Refusal::AboveFace { .. }));
    assert!(matches!(redeem(&good, "a", amounts(30, 1)), Refusal::AboveFace { .. }));
    assert!(matches!(redeem(&with(|it| it.expires_ms = NOON + 1), "a", amounts(1, 0)), Refusal::Expired { .. }));
    assert!(matches!(
        redeem(&with(|it| it.expires_ms = NOON + 160_001), "a", amounts(1, 0)),
        Refusal::LifeTooLong { .. }
    ));
    assert_eq!(redeem(&good, "", amounts(1, 0)), Refusal::BadOrder { length: 0 });
    // The lease comes back after its time, the longest offer and the skew; then it is gone.
    let over_ms = lease.over_ms();
    assert_eq!(over_ms, NOON + 60_000 + 100_000 + 1_000);
    ledger::reclaim(&mut memory, over_ms - 1, 9).unwrap();
    let locked = balance(&memory, "one").unwrap();
    assert_eq!((locked.held, locked.locked), (Minor(40), Minor(40)), "lost, and not reclaimed before its time");
    ledger::reclaim(&mut memory, over_ms, 9).unwrap();
    assert_eq!(balance(&memory, "one").unwrap().held, Minor(0));
    // Going back in time opens nothing again.
    assert!(matches!(refusal(ledger::redeem(&mut memory, NOON, &good, "a", &amounts(1, 0))), Refusal::Expired { .. }));
    let again = refusal(ledger::grant(&mut memory, &RULES, NOON, &wanted));
    assert_eq!(again, Refusal::LeaseReclaimed { lease: 1 });
}

#[test]
fn another_holder_and_another_epoch_are_refused_by_name() {
    let mut memory = opened(1000, 1000);
    let wanted = GrantRequest { least: amounts(40, 0), ..request(1, amounts(40, 0)) };
    ledger::grant(&mut memory, &RULES, NOON, &wanted).unwrap();
    let other = GrantRequest { holder: "other".into(), ..wanted.clone() };
    assert_eq!(refusal(ledger::grant(&mut memory, &RULES, NOON, &other)), Refusal::OtherHolder { lease: 1 });
    let minted = [(NOON + 200_000, amounts(1, 0))].into();
    let report = LeaseReport { lease: 1, holder: "edge".into(), sequence: 1, closed: true, minted };
    assert!(matches!(refusal(ledger::report(&mut memory, NOON, &report)), Refusal::BadBucket { .. }));
    let end_ms = 1000 * (NOON / 1000);
    let bucket = |face| [(end_ms - end_ms % 1041 + 1041, face)].into();
    let above = LeaseReport { minted: bucket(amounts(41, 0)), ..report.clone() };
    assert!(matches!(refusal(ledger::report(&mut memory, NOON, &above)), Refusal::MintedAboveLease { .. }));
    ledger::change_epoch(&mut memory, NOON - 5_000, 3).unwrap();
    let is_old = Refusal::OtherEpoch { lease: 1, epoch: 0, current: 3 };
    let offer = claims(7, 1, amounts(30, 0), NOON + 50_000);
    assert_eq!(refusal(ledger::redeem(&mut memory, NOON, &offer, "a", &amounts(1, 0))), is_old);
    assert_eq!(refusal(ledger::report(&mut memory, NOON, &report)), is_old);
    assert_eq!(refusal(ledger::grant(&mut memory, &RULES, NOON, &wanted)), is_old);
    assert_eq!(balance(&memory, "one").unwrap().held, Minor(40), "not before its time");
    assert!(matches!(refusal(ledger::change_epoch(&mut memory, NOON, 2)), Refusal::EpochNotAbove { .. }));
    ledger::reclaim(&mut memory, NOON + 161_000, 9).unwrap();
    assert_eq!(balance(&memory, "one").unwrap().held, Minor(0));
}

#[test]
fn a_day_has_its_limit_and_no_lease_outlasts_it() {
    let mut memory = Memory::default();
    // Midnight is at 22:00 UTC, in ten hours.
    let daily = Some(DailyV1 { limit: Minor(50), utc_offset_min: 120 });
    ledger::open_budget(&mut memory, NOON, "one", TermsV1 { total: Minor(1000), daily }).unwrap();
    let ask = |id, least| GrantRequest { least: amounts(least, 0), ..request(id, amounts(least, 0)) };
    let midnight = NOON + 10 * 3_600_000;
    let lease = ledger::grant(&mut memory, &RULES, midnight - 30_000, &ask(1, 50)).unwrap();
    assert_eq!(lease.mint_until_ms, midnight);
    assert!(matches!(
        refusal(ledger::grant(&mut memory, &RULES, midnight - 20_000, &ask(2, 1))),
        Refusal::NotEnough { free: Minor(0), .. }
    ));
    // What comes back on the same day can be granted on it again.
    let closed = LeaseReport { lease: 1, holder: "edge".into(), sequence: 1, closed: true, minted: BTreeMap::new() };
    assert_eq!(ledger::report(&mut memory, midnight - 20_000, &closed), Ok(Reported::Taken));
    assert!(ledger::grant(&mut memory, &RULES, midnight - 10_000, &ask(3, 50)).is_ok());
    assert!(matches!(
        refusal(ledger::grant(&mut memory, &RULES, midnight - 2_000, &ask(4, 1))),
        Refusal::NotEnough { .. } | Refusal::DayEnds { .. }
    ));
    assert!(ledger::grant(&mut memory, &RULES, midnight, &ask(5, 50)).is_ok());
}

#[test]
fn terms_and_rules_that_make_no_sense_are_refused() {
    let mut memory = opened(100, 100);
    assert!(matches!(refusal(ledger::open_budget(&mut memory, NOON, "A", total(1))), Refusal::BadName { .. }));
    assert!(matches!(refusal(ledger::open_budget(&mut memory, NOON, "a", total(0))), Refusal::BadTerms { .. }));
    assert!(matches!(refusal(ledger::open_budget(&mut memory, NOON, "one", total(5))), Refusal::AlreadyOpen { .. }));
    ledger::open_budget(&mut memory, NOON, "one", total(100)).unwrap();
    let wanted = GrantRequest { least: amounts(40, 0), ..request(1, amounts(40, 0)) };
    ledger::grant(&mut memory, &RULES, NOON, &wanted).unwrap();
    assert_eq!(
        refusal(ledger::change_budget(&mut memory, NOON, "one", total(39))),
        Refusal::BelowCommitted { budget: "one".into(), committed: Minor(40) }
    );
    ledger::change_budget(&mut memory, NOON, "one", total(40)).unwrap();
    for rules in [
        Rules { skew_ms: 30_000, ..RULES },
        Rules { longest_offer_ms: 0, ..RULES },
        Rules { lease_ms: 400_001, ..RULES },
        Rules { largest_share: 0, ..RULES },
    ] {
        assert!(matches!(refusal(ledger::grant(&mut memory, &rules, NOON, &wanted)), Refusal::BadRules { .. }));
    }
}

#[test]
fn what_is_long_over_is_forgotten_some_at_a_time_and_is_never_redeemed_again() {
    const OFFERS: u128 = 600;
    let mut memory = opened(10_000, 1);
    let rules = Rules { largest_share: 10_000, ..RULES };
    let request = GrantRequest { least: amounts(600, 0), ..request(7, amounts(600, 0)) };
    let lease = ledger::grant(&mut memory, &rules, NOON, &request).unwrap();
    let of = |jti| claims(jti, lease.id, amounts(1, 0), NOON + 1_000);
    for jti in 0..OFFERS {
        ledger::redeem(&mut memory, NOON, &of(jti), "order", &amounts(1, 0)).unwrap();
    }
    let over_ms = lease.over_ms();
    while ledger::reclaim(&mut memory, over_ms + ledger::KEPT_MS - 1, 8).unwrap().more {}
    assert!(memory.lease(lease.id).unwrap().is_some() && memory.offer(0).unwrap().is_some());
    let late_ms = over_ms + ledger::KEPT_MS;
    let mut looks = 0;
    loop {
        let done = ledger::reclaim(&mut memory, late_ms, 1).unwrap();
        looks += done.leases;
        for jti in [0, 300, OFFERS - 1] {
            let again = ledger::redeem(&mut memory, NOON, &of(jti), "another", &amounts(1, 0));
            assert!(again.is_err(), "{jti} after {looks} looks");
        }
        if !done.more {
            break;
        }
    }
    assert_eq!(looks, 3, "256, 256 and 88 offers");
    assert!(memory.lease(lease.id).unwrap().is_none());
    assert!((0..OFFERS).all(|jti| memory.offer(jti).unwrap().is_none()));
    assert_eq!(memory.first_due().unwrap(), None);
    let balance = balance(&memory, "one").unwrap();
    assert_eq!((balance.settled, balance.held, balance.free), (Minor(600), Minor(0), Minor(9_400)));
}

#[test]
fn an_older_report_changes_nothing() {
    let mut memory = opened(1000, 1000);
    let wanted = GrantRequest { least: amounts(40, 0), ..request(1, amounts(40, 0)) };
    let lease = ledger::grant(&mut memory, &RULES, NOON, &wanted).unwrap();
    let end_ms = lease.bucket_end_ms(NOON + 50_000);
    let report = |sequence, face| LeaseReport {
        lease: 1,
        holder: "edge".into(),
        sequence,
        closed: false,
        minted: [(end_ms, amounts(face, 0))].into(),
    };
    assert_eq!(ledger::report(&mut memory, NOON, &report(2, 30)), Ok(Reported::Taken));
    let before = memory.lease(1).unwrap();
    assert_eq!(ledger::report(&mut memory, NOON, &report(1, 10)), Ok(Reported::Known));
    assert_eq!(ledger::report(&mut memory, NOON, &report(2, 30)), Ok(Reported::Known));
    assert_eq!(memory.lease(1).unwrap(), before);
}
