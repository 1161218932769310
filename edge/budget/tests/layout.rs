//! Stored layouts stay as they are: what an older version wrote is read by every later one.

use selvedge_budget::holder::{Habits, Holder};
use selvedge_budget::ledger::memory::Memory;
use selvedge_budget::ledger::{self, Claims, DailyV1, LedgerTx as _, Rules, TermsV1};
use selvedge_budget::{Amounts, GrantRequest, Lease, Minor};

const RULES: Rules = Rules { lease_ms: 60_000, longest_offer_ms: 192_000, skew_ms: 500, largest_share: 10_000 };
const HABITS: Habits =
    Habits { cover_ms: 60_000, idle_ms: 20_000, most: Minor(1000), retry_ms: 1_000, pause_ms: 10_000 };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A ledger with one row of each kind, and the holder of its lease.
fn sample() -> (Memory, Holder, Lease) {
    let (mut memory, face) = (Memory::default(), Amounts::new([("autumn", Minor(300))]).unwrap());
    let daily = Some(DailyV1 { limit: Minor(5_000), utc_offset_min: -60 });
    ledger::open_budget(&mut memory, 1_000, "autumn", TermsV1 { total: Minor(100_000), daily }).unwrap();
    let mut holder = Holder::new("edge-1", 3, HABITS).unwrap();
    holder.reserve(1_000, &face, 9_000).unwrap_err();
    let request: GrantRequest = holder.wants(1_000).unwrap();
    let lease = ledger::grant(&mut memory, &RULES, 1_000, &request).unwrap();
    holder.accept(1_000, lease.clone());
    holder.reserve(1_001, &face, 9_000).unwrap();
    for report in holder.report(1_002) {
        ledger::report(&mut memory, 1_002, &report).unwrap();
    }
    let claims = Claims { jti: 5, lease: lease.id, campaign: "c".into(), face: face.clone(), expires_ms: 9_000 };
    ledger::redeem(&mut memory, 1_003, &claims, "order", &Amounts::new([("autumn", Minor(299))]).unwrap()).unwrap();
    (memory, holder, lease)
}

#[test]
fn rows_of_a_ledger_are_written_as_ever() {
    let (memory, _, lease) = sample();
    let bytes = [
        postcard::to_allocvec(&memory.state().unwrap().unwrap()).unwrap(),
        postcard::to_allocvec(&memory.budget("autumn").unwrap().unwrap()).unwrap(),
        postcard::to_allocvec(&memory.lease(lease.id).unwrap().unwrap()).unwrap(),
        postcard::to_allocvec(&memory.offer(5).unwrap().unwrap()).unwrap(),
    ];
    let known = [
        "00d60f",
        "a08d0601882777ab02000001ab02",
        concat!(
            "818080808080808080060006656467652d310106617574756d6eac02d00f90b90780b817a01fe807",
            "00000101a09c010106617574756d6eac020106617574756d6eac020001e0c807"
        ),
        "056f726465720163818080808080808080060106617574756d6eac020106617574756d6eab02d60f00",
    ];
    assert_eq!(bytes.map(|bytes| hex(&bytes)), known);
}

#[test]
fn a_holder_is_written_as_ever() {
    let known = concat!(
        "0106656467652d3103010001818080808080808080060006656467652d310106617574756d6eac02d00f90b90780b817",
        "a01fe8070001a09c010106617574756d6eac0200010100d40fd20f0106617574756d6ed00fd80400ac0200d20f00",
    );
    assert_eq!(hex(&sample().1.encode()), known);
}
