//! The edge's side: an offer leaves only against money of a lease.
//!
//! A [`Holder`] takes *face* value from one of its leases when an offer is minted, whatever the order will really get, and
//! never puts any back: an offer that expired, or an order that got less, is the ledger's to release. So the holder needs
//! to know nothing about what became of its offers, and forgets a lease as soon as the host has its last report.
//!
//! **Write ahead.** Whoever runs a holder stores [`Holder::encode`] after every call that takes `&mut self` and before
//! anything that came of it leaves: an offer, a request, a report. (The output gate of a Durable Object does just that.) A
//! crash then strands what was written and not sent, which expires, and never promises anything twice. A holder that lost
//! its state starts anew under another nonce, and its old leases come back by time.
//!
//! **Asking.** The holder asks for what was wanted of it in the last [`Habits::cover_ms`], and at least for the largest
//! offer of that time: always after a shortage, and ahead of it where offers come often. A request is repeated under the
//! same id until it is answered, so an answer that was lost grants nothing twice.
//!
//! **Not hoarding.** Money that lies in a lease serves nobody else. A lease that was not used for [`Habits::idle_ms`] is
//! closed and goes back. An edge with few users therefore holds nothing most of the time; a user who comes to it finds a
//! shortage, and whoever runs the holder may wait for the answer to [`Holder::wants`] and reserve again.
//!
//! It knows no clock: times come in, and an error of up to the lease's `skew_ms` is allowed for. It knows nothing of
//! what an offer is, nor how it is signed.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ledger::Refusal;
use crate::{Amounts, GrantRequest, Lease, LeaseReport, MAX_BUCKETS, MAX_NAME, Minor, Reported, is_name};

/// First byte of a stored holder.
pub const VERSION: u8 = 1;
/// Leases that are open at once: the one in use, and what is left of those before.
const MOST_OPEN: usize = 4;
/// A new lease is asked for when less than this part of what one should hold is left.
const LOW_WATER: u64 = 4;

/// How a holder asks. Not stored: a change is good from the next start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// A lease should last this long at the present use.
    pub cover_ms: i64,
    /// A lease that was not used for so long goes back.
    pub idle_ms: i64,
    /// Most that is asked for of one budget at once.
    pub most: Minor,
    /// How long to wait for an answer before asking or telling again.
    pub retry_ms: i64,
    /// How long not to ask for a budget that was refused.
    pub pause_ms: i64,
}

/// What a Durable Object keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderV1 {
    /// Who it is.
    pub name: String,
    /// The high half of the ids of its requests: drawn at random when it began.
    pub nonce: u64,
    /// The low half of the last of them.
    pub counter: u64,
    /// What was asked and is not answered.
    pub pending: Option<PendingV1>,
    /// Oldest first.
    pub leases: Vec<HeldV1>,
    /// Budgets that were asked of it.
    pub uses: BTreeMap<String, UseV1>,
    /// When an offer was last wanted.
    pub wanted_ms: i64,
    /// The last offer that found no money since the last request; nothing if there was none.
    pub short: Amounts,
}

/// A request without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingV1 {
    /// The request.
    pub request: GrantRequest,
    /// When it was last handed out.
    pub asked_ms: i64,
}

/// A lease with what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldV1 {
    /// As granted.
    pub lease: Lease,
    /// Not promised yet.
    pub left: Amounts,
    /// Face value by end of the bucket of expiry.
    pub minted: BTreeMap<i64, Amounts>,
    /// Nothing is minted from it any more.
    pub closed: bool,
    /// Of the newest report.
    pub sequence: u64,
    /// Whether the newest report says all.
    pub reported: bool,
    /// Sequence of the newest report that the host has.
    pub acknowledged: u64,
    /// When the newest report was last handed out.
    pub reported_ms: i64,
    /// When it was accepted or last used.
    pub used_ms: i64,
}

/// How much of a budget was wanted lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseV1 {
    /// When the present window began.
    pub since_ms: i64,
    /// Wanted in the present window, whether it was there or not.
    pub now: Minor,
    /// Wanted in the window before.
    pub before: Minor,
    /// The largest single amount of both.
    pub largest: Minor,
    /// Not asked for before.
    pub retry_ms: i64,
}

impl UseV1 {
    /// Begins a new window when the present one is over.
    fn roll(&mut self, now_ms: i64, window_ms: i64) {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        // A clock that went back begins a window as well: it must not wait for the old time to come again.
        if (0..window_ms).contains(&passed_ms) {
            return;
        }
        let follows = (0..window_ms.saturating_mul(2)).contains(&passed_ms);
        self.before = if follows { self.now } else { Minor::ZERO };
        if self.before == Minor::ZERO {
            self.largest = Minor::ZERO;
        }
        self.now = Minor::ZERO;
        self.since_ms = now_ms;
    }

    /// Wanted in the last `window_ms`, as if the window before had been even.
    fn recent(&self, now_ms: i64, window_ms: i64) -> Minor {
        let passed_ms = now_ms.saturating_sub(self.since_ms).clamp(0, window_ms);
        let part = u128::from(self.before.0) * (window_ms - passed_ms) as u128 / window_ms.max(1) as u128;
        self.now.plus(Minor(u64::try_from(part).unwrap_or(u64::MAX)))
    }
}

/// Money for an offer was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The lease that the offer must name.
    pub lease: u128,
}

/// No lease has what an offer needs. The decision is logged as censored, not as a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Shortage {
    /// No open lease has all of the face value.
    #[error("no lease has this face value left; a new one is asked for")]
    Money,
    /// The offer would expire later than any open lease allows, or has expired.
    #[error("no lease allows an offer that expires at this time")]
    Life,
    /// An offer of nothing.
    #[error("an offer must promise something")]
    NoFace,
}

/// A stored holder that cannot be read. Begin a new one under another nonce: what this one held comes back by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadState {
    /// Of a later version.
    #[error("the stored holder is of version {0}, the newest known here is {VERSION}")]
    Version(u8),
    /// Damaged.
    #[error("the stored holder cannot be read")]
    Damaged,
}

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a holder: 1 to {MAX_NAME} of a-z, 0-9, `.`, `_`, `-`")]
pub struct BadName(pub String);

/// Holds leases and promises their money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    state: HolderV1,
    habits: Habits,
}

impl Holder {
    /// A holder without leases. `nonce` is random: no two beginnings of any holder share it.
    ///
    /// # Errors
    /// A name that the host would refuse.
    pub fn new(name: &str, nonce: u64, habits: Habits) -> Result<Self, BadName> {
        if !is_name(name) {
            return Err(BadName(name.into()));
        }
        let (leases, uses) = (Vec::new(), BTreeMap::new());
        let state = HolderV1 {
            name: name.into(),
            nonce,
            counter: 0,
            pending: None,
            leases,
            uses,
            wanted_ms: i64::MIN,
            short: Amounts::none(),
        };
        Ok(Self { state, habits })
    }

    /// A holder as it was stored.
    ///
    /// # Errors
    /// Bytes of a later version, or damaged ones.
    pub fn decode(bytes: &[u8], habits: Habits) -> Result<Self, BadState> {
        match bytes.split_first() {
            Some((&VERSION, state)) => {
                let state = postcard::from_bytes(state).map_err(|_| BadState::Damaged)?;
                Ok(Self { state, habits })
            }
            Some((&version, _)) => Err(BadState::Version(version)),
            None => Err(BadState::Damaged),
        }
    }

    /// What to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing into memory does not fail, and no type of the state is one that postcard cannot write.
        postcard::to_extend(&self.state, Vec::from([VERSION])).unwrap_or_default()
    }

    /// What it holds, for whoever wants to look.
    #[must_use]
    pub fn state(&self) -> &HolderV1 {
        &self.state
    }

    /// Puts the face value of an offer aside, from the oldest lease that has all of it. Store the holder before the offer
    /// leaves.
    ///
    /// # Errors
    /// No lease has the money, or allows the expiry; the use is noted all the same, so store the holder then as well.
    pub fn reserve(&mut self, now_ms: i64, face: &Amounts, expires_ms: i64) -> Result<Reservation, Shortage> {
        if face.is_empty() {
            return Err(Shortage::NoFace);
        }
        self.note_use(now_ms, face);
        let has_money = |held: &&mut HeldV1| held.may_mint(now_ms) && held.left.lacks(face).is_none();
        let mut shortage = Shortage::Money;
        for held in self.state.leases.iter_mut().filter(has_money) {
            let latest_ms = now_ms.saturating_add(held.lease.longest_offer_ms).min(held.lease.last_expiry_ms());
            if !(now_ms + 1..=latest_ms).contains(&expires_ms) {
                shortage = Shortage::Life;
                continue;
            }
            held.left.take(face);
            held.minted.entry(held.lease.bucket_end_ms(expires_ms)).or_default().add(face);
            held.reported = false;
            held.used_ms = now_ms;
            return Ok(Reservation { lease: held.lease.id });
        }
        if shortage == Shortage::Money {
            self.state.short = face.clone();
        }
        Err(shortage)
    }

    /// What to ask the host for, if it is time to ask. Store the holder before the request leaves.
    pub fn wants(&mut self, now_ms: i64) -> Option<GrantRequest> {
        let habits = self.habits;
        if let Some(pending) = &mut self.state.pending {
            let waited_ms = now_ms.saturating_sub(pending.asked_ms);
            if (0..habits.retry_ms).contains(&waited_ms) {
                return None;
            }
            pending.asked_ms = now_ms;
            return Some(pending.request.clone());
        }
        let (wanted, least, is_busy) = self.needs(now_ms);
        // An offer that needs a budget which was just refused gains nothing by money of the others.
        let is_short = !self.state.short.is_empty() && wanted.lacks(&self.state.short).is_none();
        if wanted.is_empty() || !(is_short || is_busy && self.is_low(now_ms, &wanted, &least)) {
            return None;
        }
        self.state.short = Amounts::none();
        self.state.counter += 1;
        let id = u128::from(self.state.nonce) << 64 | u128::from(self.state.counter);
        let request = GrantRequest { id, holder: self.state.name.clone(), wanted, least };
        self.state.pending = Some(PendingV1 { request: request.clone(), asked_ms: now_ms });
        Some(request)
    }

    /// What a lease should have now, what it must have to be of use, and whether offers come so often that one of them
    /// would use it before it went back.
    fn needs(&mut self, now_ms: i64) -> (Amounts, Amounts, bool) {
        let Habits { cover_ms, idle_ms, most, pause_ms, .. } = self.habits;
        let (mut wanted, mut least) = (Amounts::none(), Amounts::none());
        let (mut is_busy, mut is_refused) = (false, false);
        for (budget, usage) in &mut self.state.uses {
            usage.roll(now_ms, cover_ms);
            let recent = usage.recent(now_ms, cover_ms);
            let waits = (1..=pause_ms).contains(&usage.retry_ms.saturating_sub(now_ms));
            if usage.largest == Minor::ZERO || waits {
                is_refused |= waits;
                continue;
            }
            wanted.set(budget, recent.min(most).max(usage.largest).min(Minor::MOST));
            least.set(budget, usage.largest.min(Minor::MOST));
            let while_idle = i128::from(recent.0) * i128::from(idle_ms) / i128::from(cover_ms.max(1));
            is_busy |= while_idle >= i128::from(usage.largest.0);
        }
        // Where money is short it is taken for offers that are there, not for those that may come; and where offers have
        // stopped coming none is.
        let is_awake = now_ms.saturating_sub(self.state.wanted_ms) < idle_ms;
        (wanted, least, is_busy && is_awake && !is_refused)
    }

    /// Whether no lease could serve the largest offer, or all together only few.
    fn is_low(&self, now_ms: i64, wanted: &Amounts, least: &Amounts) -> bool {
        // A lease whose time is nearly over is renewed before it is.
        let soon_ms = now_ms.saturating_add(self.habits.retry_ms);
        let mut usable = self.state.leases.iter().filter(|held| held.may_mint(soon_ms));
        let spendable = self.spendable(soon_ms);
        let few = wanted.iter().any(|(budget, wanted)| spendable.get(budget) < Minor(wanted.0 / LOW_WATER));
        few || !usable.any(|held| held.left.lacks(least).is_none())
    }

    /// Takes the lease that was asked for. One that is not waited for changes nothing: it is an answer that came twice.
    pub fn accept(&mut self, now_ms: i64, lease: Lease) {
        if self.state.pending.as_ref().is_none_or(|pending| pending.request.id != lease.id) {
            return;
        }
        self.state.pending = None;
        self.state.leases.retain(|held| held.lease.epoch >= lease.epoch);
        let spent = self.state.leases.iter_mut().filter(|held| !held.closed);
        for held in spent {
            // What is left would serve none but the smallest offers, and only until the lease ends: others need it more.
            held.closed = self.state.uses.iter().all(|(budget, usage)| held.left.get(budget) < usage.largest);
            held.reported &= !held.closed;
        }
        self.close_oldest();
        self.state.leases.push(HeldV1 {
            left: lease.amounts.clone(),
            lease,
            minted: BTreeMap::new(),
            closed: false,
            sequence: 0,
            reported: true,
            acknowledged: 0,
            reported_ms: now_ms,
            used_ms: now_ms,
        });
    }

    /// The host refused a request. The budget that it names is not asked for again for a while; another request can follow
    /// at once for the others.
    pub fn refused(&mut self, now_ms: i64, request: u128, refusal: &Refusal) {
        if self.state.pending.as_ref().is_none_or(|pending| pending.request.id != request) {
            return;
        }
        let retry_ms = now_ms.saturating_add(self.habits.pause_ms);
        let named = match refusal {
            Refusal::NotEnough { budget, .. } | Refusal::DayEnds { budget, .. } | Refusal::UnknownBudget { budget } => {
                Some(budget)
            }
            _ => None,
        };
        for (budget, usage) in &mut self.state.uses {
            if named.is_none_or(|named| named == budget) {
                usage.retry_ms = retry_ms;
            }
        }
        self.state.pending = None;
    }

    /// What the host should know: a report for each lease that changed, and again for those that it has not confirmed.
    /// Leases whose time is over and those that lie idle are closed here. Store the holder before a report leaves.
    pub fn report(&mut self, now_ms: i64) -> Vec<LeaseReport> {
        let (name, habits) = (&self.state.name, self.habits);
        let mut reports = Vec::new();
        for held in &mut self.state.leases {
            if !held.closed && (held.is_over(now_ms) || now_ms >= held.idle_from_ms(&habits)) {
                held.closed = true;
                held.reported = false;
            }
            let waited_ms = now_ms.saturating_sub(held.reported_ms);
            let again = held.acknowledged < held.sequence && !(0..habits.retry_ms).contains(&waited_ms);
            if again || !held.reported {
                held.sequence += u64::from(!held.reported);
                held.reported = true;
                held.reported_ms = now_ms;
                reports.push(LeaseReport {
                    lease: held.lease.id,
                    holder: name.clone(),
                    sequence: held.sequence,
                    closed: held.closed,
                    minted: held.minted.clone(),
                });
            }
        }
        reports
    }

    /// The host answered a report. A closed lease is forgotten when the host has its last report, and so is one that the
    /// host does not know any more.
    pub fn reported(&mut self, lease: u128, sequence: u64, answer: &Result<Reported, Refusal>) {
        self.state.leases.retain_mut(|held| {
            if held.lease.id != lease {
                return true;
            }
            match answer {
                Ok(Reported::Taken | Reported::Known) => {
                    held.acknowledged = held.acknowledged.max(sequence.min(held.sequence));
                    !(held.closed && held.reported && held.acknowledged == held.sequence)
                }
                Ok(Reported::Over) | Err(_) => false,
            }
        });
    }

    /// Closes all leases, for a holder that goes out of service: the next reports give back what is left.
    pub fn close(&mut self) {
        for held in self.state.leases.iter_mut().filter(|held| !held.closed) {
            held.closed = true;
            held.reported = false;
        }
    }

    /// What can be promised at a time, over all leases.
    #[must_use]
    pub fn spendable(&self, now_ms: i64) -> Amounts {
        let mut sum = Amounts::none();
        for held in self.state.leases.iter().filter(|held| held.may_mint(now_ms)) {
            sum.add(&held.left);
        }
        sum
    }

    /// When [`wants`](Self::wants) and [`report`](Self::report) should be called again though no offer is made: to repeat
    /// what was not answered, and to give back what is not used. For an alarm.
    #[must_use]
    pub fn next_ms(&self) -> Option<i64> {
        let retry_ms = self.habits.retry_ms;
        let asked = self.state.pending.iter().map(|pending| pending.asked_ms.saturating_add(retry_ms));
        let leases = self.state.leases.iter().map(|held| {
            if !held.closed {
                held.idle_from_ms(&self.habits).min(held.ends_ms())
            } else if held.reported {
                held.reported_ms.saturating_add(retry_ms)
            } else {
                i64::MIN
            }
        });
        asked.chain(leases).min()
    }

    fn note_use(&mut self, now_ms: i64, face: &Amounts) {
        self.state.wanted_ms = now_ms;
        for (budget, amount) in face.iter() {
            let usage = self.state.uses.entry(budget.into()).or_insert(UseV1 { since_ms: now_ms, ..UseV1::default() });
            usage.roll(now_ms, self.habits.cover_ms);
            usage.now = usage.now.plus(amount);
            usage.largest = usage.largest.max(amount);
        }
    }

    /// Makes room for one more lease.
    fn close_oldest(&mut self) {
        let open = self.state.leases.iter().filter(|held| !held.closed).count();
        let surplus = (open + 1).saturating_sub(MOST_OPEN);
        for held in self.state.leases.iter_mut().filter(|held| !held.closed).take(surplus) {
            held.closed = true;
            held.reported = false;
        }
    }
}

impl HeldV1 {
    /// By a clock that may be slow.
    fn ends_ms(&self) -> i64 {
        self.lease.mint_until_ms.saturating_sub(self.lease.skew_ms)
    }

    fn is_over(&self, now_ms: i64) -> bool {
        now_ms >= self.ends_ms()
    }

    fn idle_from_ms(&self, habits: &Habits) -> i64 {
        self.used_ms.saturating_add(habits.idle_ms)
    }

    fn may_mint(&self, now_ms: i64) -> bool {
        !self.closed && !self.is_over(now_ms) && self.minted.len() < MAX_BUCKETS
    }
}
