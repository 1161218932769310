//! What a holder promises, asks and says, when answers are lost and when it crashes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use selvedge_budget::holder::{BadState, Habits, Holder, Reservation, Shortage};
use selvedge_budget::ledger::Refusal;
use selvedge_budget::{Amounts, GrantRequest, Lease, Minor, Reported};

const HABITS: Habits =
    Habits { cover_ms: 60_000, idle_ms: 20_000, most: Minor(1000), retry_ms: 1_000, pause_ms: 10_000 };
const LIFE: i64 = 100_000;

fn holder() -> Holder {
    Holder::new("edge", 7, HABITS).unwrap()
}

fn one(amount: u64) -> Amounts {
    Amounts::new([("one", Minor(amount))]).unwrap()
}

fn lease(request: &GrantRequest, amounts: Amounts, now_ms: i64) -> Lease {
    Lease {
        id: request.id,
        epoch: 1,
        holder: request.holder.clone(),
        amounts,
        granted_ms: now_ms,
        mint_until_ms: now_ms + 60_000,
        longest_offer_ms: LIFE,
        bucket_ms: 1_000,
        skew_ms: 500,
    }
}

/// A holder with a lease of so much of budget one, at time 0.
fn holding(amount: u64) -> Holder {
    let mut holder = holder();
    assert_eq!(holder.reserve(0, &one(10), LIFE), Err(Shortage::Money));
    let request = holder.wants(0).unwrap();
    holder.accept(0, lease(&request, one(amount), 0));
    holder
}

#[test]
fn an_offer_is_never_split_over_leases_and_face_value_never_comes_back() {
    let mut holder = holding(15);
    assert!(holder.reserve(1, &one(10), LIFE).is_ok());
    assert_eq!(holder.reserve(2, &one(10), LIFE), Err(Shortage::Money));
    let request = holder.wants(2).unwrap();
    holder.accept(2, lease(&request, one(9), 2));
    // There are 5 and 9.
    assert_eq!(holder.reserve(3, &one(10), LIFE), Err(Shortage::Money));
    assert_eq!(holder.reserve(4, &one(9), LIFE), Ok(Reservation { lease: request.id }));
    // All offers have expired, and the leases are not over: what was promised stays promised.
    assert_eq!(holder.reserve(59_000, &one(9), 59_000 + LIFE), Err(Shortage::Money));
}

#[test]
fn nothing_is_minted_when_a_slow_clock_could_be_late() {
    let mut holder = holding(100);
    assert!(holder.reserve(59_499, &one(1), 59_499 + LIFE).is_ok());
    assert_eq!(holder.reserve(59_500, &one(1), 59_500 + LIFE), Err(Shortage::Money));
    assert_eq!(holder.reserve(10, &one(1), 11 + LIFE), Err(Shortage::Life));
    assert_eq!(holder.reserve(10, &one(1), 10), Err(Shortage::Life));
    assert_eq!(holder.reserve(10, &Amounts::none(), 10), Err(Shortage::NoFace));
}

#[test]
fn a_request_is_repeated_under_its_id_until_it_is_answered_and_an_answer_counts_once() {
    let mut holder = holder();
    holder.reserve(0, &one(10), LIFE).unwrap_err();
    let first = holder.wants(0).unwrap();
    assert_eq!(holder.wants(999), None);
    let mut restarted = Holder::decode(&holder.encode(), HABITS).unwrap();
    assert_eq!(restarted.wants(1_000), Some(first.clone()));
    let lease = lease(&first, one(10), 0);
    restarted.accept(1_100, lease.clone());
    restarted.reserve(1_200, &one(10), LIFE).unwrap();
    restarted.accept(1_300, lease);
    assert_eq!(restarted.reserve(1_400, &one(1), LIFE), Err(Shortage::Money));
    let second = restarted.wants(1_400).unwrap();
    assert_ne!(second.id, first.id);
}

#[test]
fn a_refused_budget_rests_and_the_others_are_asked_for() {
    let mut holder = holder();
    let both = Amounts::new([("one", Minor(10)), ("two", Minor(5))]).unwrap();
    holder.reserve(0, &both, LIFE).unwrap_err();
    let request = holder.wants(0).unwrap();
    assert_eq!(request.wanted, both);
    let refusal = Refusal::NotEnough { budget: "two".into(), free: Minor(0), least: Minor(5) };
    holder.refused(10, request.id, &refusal);
    assert_eq!(holder.wants(10), None, "no offer is there that the first budget alone could pay");
    holder.reserve(10, &one(10), LIFE).unwrap_err();
    let alone = holder.wants(10).unwrap();
    assert_eq!(alone.wanted.get("two"), Minor(0));
    holder.refused(20, alone.id, &Refusal::LeaseReclaimed { lease: alone.id });
    holder.reserve(30, &both, LIFE).unwrap_err();
    assert_eq!(holder.wants(30), None);
    assert!(holder.wants(10_020).is_some());
}

#[test]
fn an_idle_lease_goes_back_and_is_forgotten_when_the_host_knows() {
    let mut holder = holding(15);
    holder.reserve(1_000, &one(10), LIFE).unwrap();
    assert_eq!(holder.next_ms(), Some(21_000));
    let reports = holder.report(21_000);
    let [report] = &reports[..] else { panic!("{reports:?}") };
    assert!(report.closed);
    assert_eq!(report.minted, BTreeMap::from([(LIFE, one(10))]));
    assert_eq!(holder.reserve(21_001, &one(1), LIFE), Err(Shortage::Money));
    // The answer is lost: the same again, after a while.
    assert_eq!(holder.report(21_500), []);
    assert_eq!(holder.report(22_000), reports);
    holder.reported(report.lease, report.sequence, &Ok(Reported::Known));
    assert!(holder.state().leases.is_empty());
}

#[test]
fn leases_of_an_earlier_epoch_are_dropped_with_the_first_of_a_new_one() {
    let mut holder = holding(100);
    holder.reserve(1, &one(200), LIFE).unwrap_err();
    let request = holder.wants(1).unwrap();
    holder.accept(1, Lease { epoch: 2, ..lease(&request, one(20), 1) });
    assert_eq!(holder.spendable(2), one(20));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let bytes = holding(15).encode();
    assert_eq!(Holder::decode(&bytes, HABITS).unwrap(), holding(15));
    assert_eq!(Holder::decode(&[], HABITS), Err(BadState::Damaged));
    assert_eq!(Holder::decode(&bytes[..bytes.len() - 1], HABITS), Err(BadState::Damaged));
    let later = [&[9], &bytes[1..]].concat();
    assert_eq!(Holder::decode(&later, HABITS), Err(BadState::Version(9)));
    assert!(Holder::new("Edge 1", 0, HABITS).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(u64),
    Wait(i64),
    Ask { grants: bool, times: usize },
    Report { arrives: bool },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_u64).prop_map(Step::Reserve),
        3 => (-2_000..9_000_i64).prop_map(Step::Wait),
        4 => (prop::bool::weighted(0.7), 0..3_usize).prop_map(|(grants, times)| Step::Ask { grants, times }),
        2 => any::<bool>().prop_map(|arrives| Step::Report { arrives }),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    /// Offers that left are never above what was granted, and the report that closes a lease names every one of them.
    #[test]
    fn no_lease_is_promised_twice_whatever_is_lost(steps in prop::collection::vec(step(), 1..120)) {
        let (mut holder, mut written, mut now_ms) = (holder(), holder().encode(), 0);
        let mut granted: BTreeMap<u128, Lease> = BTreeMap::new();
        let mut left: BTreeMap<u128, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Reserve(face) => {
                    if let Ok(reservation) = holder.reserve(now_ms, &one(face), now_ms + LIFE) {
                        written = holder.encode();
                        *left.entry(reservation.lease).or_default() += face;
                    }
                }
                Step::Wait(by_ms) => now_ms += by_ms,
                Step::Ask { grants, times } => {
                    let Some(request) = holder.wants(now_ms) else { continue };
                    written = holder.encode();
                    let known = granted.get(&request.id).cloned();
                    if grants || known.is_some() {
                        let lease = known.unwrap_or_else(|| lease(&request, request.wanted.clone(), now_ms));
                        granted.insert(request.id, lease.clone());
                        (0..times).for_each(|_| holder.accept(now_ms, lease.clone()));
                    } else {
                        holder.refused(now_ms, request.id, &Refusal::NothingWanted);
                    }
                }
                Step::Report { arrives } => {
                    let reports = holder.report(now_ms);
                    written = holder.encode();
                    for report in reports.iter().filter(|_| arrives) {
                        if report.closed {
                            let minted: u64 = report.minted.values().map(|face| face.get("one").0).sum();
                            prop_assert_eq!(minted, left.get(&report.lease).copied().unwrap_or(0));
                        }
                        holder.reported(report.lease, report.sequence, &Ok(Reported::Taken));
                    }
                }
                Step::Crash => holder = Holder::decode(&written, HABITS).unwrap(),
            }
            for (lease, promised) in &left {
                prop_assert!(*promised <= granted[lease].amounts.get("one").0);
            }
        }
    }
}
