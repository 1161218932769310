//! The host's side: who may promise how much, and what became of it.
//!
//! **What holds.** For every budget and after every transaction `settled + held <= total`, where `held` is the sum of what
//! its leases hold. And for every lease
//!
//! ```text
//! held = granted - face redeemed - face released  >=  what its holder may still mint + offers that can still be redeemed
//! ```
//!
//! so no order of events makes the orders' discounts exceed the total: an offer is only redeemed out of `held`.
//!
//! **Why it holds, whatever the reports say.** An honest holder mints at most what was granted, in buckets by expiry.
//! Money is released in three cases:
//!
//! 1. *A bucket has expired* (its end and the allowed skew are behind the ledger's time, which never goes back): what was
//!    reported as minted in it and was not redeemed. Nothing of that bucket can be redeemed any more. A stale report
//!    names less than was minted, so less is released than could be. That the holder may mint on from an open lease changes
//!    nothing: what it mints later was never part of that bucket's sum, and comes out of the rest of the grant.
//! 2. *The holder closed the lease*: what was granted and not minted. The report that closes it is the last and is
//!    complete, because a holder writes down that it closed before it says so, and mints nothing after. A report from
//!    before, which comes late, has a lower sequence and changes nothing.
//! 3. *The lease's time and the longest life of an offer are over*: all of it. Every offer that the holder can have minted
//!    has expired, heard of or not.
//!
//! In each of them the right side of the inequality fell by at least as much as the left. A holder that is not honest
//! can promise more than it was granted, but not make the ledger pay for it: a lease is never redeemed below zero.
//!
//! **Time.** The ledger's time is the latest that any transaction was given. A clock that goes back re-opens nothing. A
//! clock that ran ahead lets offers and leases end early, and they are refused from then on; start a new epoch to go on
//! with the right time.
//!
//! Every operation is a function over an open transaction. On an error the transaction is to be dropped; a [`Refusal`]
//! has written nothing. All may be repeated: grants by the request's id, reports by their sequence, redemptions by order
//! and offer.

mod error;
pub mod memory;
mod rows;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

pub use error::{LedgerError, Refusal};
pub use rows::{BucketRowV1, BudgetRowV1, DailyV1, LeaseRowV1, OfferRowV1, StageV1, StateRowV1, TermsV1};

use crate::{Amounts, GrantRequest, Lease, LeaseReport, MAX_BUCKETS, Minor, Reported, is_name};

/// An open transaction of the store that keeps the ledger. Reads see what was put before in the same transaction.
pub trait LedgerTx {
    /// How the store fails.
    type Error;

    /// The row of the ledger itself.
    ///
    /// # Errors
    /// The store fails; so with every method here.
    fn state(&self) -> Result<Option<StateRowV1>, Self::Error>;

    /// Stores the row of the ledger itself.
    ///
    /// # Errors
    /// The store fails.
    fn put_state(&mut self, row: &StateRowV1) -> Result<(), Self::Error>;

    /// A budget.
    ///
    /// # Errors
    /// The store fails.
    fn budget(&self, name: &str) -> Result<Option<BudgetRowV1>, Self::Error>;

    /// Stores a budget.
    ///
    /// # Errors
    /// The store fails.
    fn put_budget(&mut self, name: &str, row: &BudgetRowV1) -> Result<(), Self::Error>;

    /// A lease.
    ///
    /// # Errors
    /// The store fails.
    fn lease(&self, id: u128) -> Result<Option<LeaseRowV1>, Self::Error>;

    /// Stores a lease under its id.
    ///
    /// # Errors
    /// The store fails.
    fn put_lease(&mut self, row: &LeaseRowV1) -> Result<(), Self::Error>;

    /// A redeemed offer.
    ///
    /// # Errors
    /// The store fails.
    fn offer(&self, jti: u128) -> Result<Option<OfferRowV1>, Self::Error>;

    /// Stores a redeemed offer, to be found under the lease that it names as well.
    ///
    /// # Errors
    /// The store fails.
    fn put_offer(&mut self, jti: u128, row: &OfferRowV1) -> Result<(), Self::Error>;

    /// At most `most` ids of redeemed offers of a lease.
    ///
    /// # Errors
    /// The store fails.
    fn offers_of(&self, lease: u128, most: usize) -> Result<Vec<u128>, Self::Error>;

    /// Forgets a redeemed offer of this lease.
    ///
    /// # Errors
    /// The store fails.
    fn remove_offer(&mut self, lease: u128, jti: u128) -> Result<(), Self::Error>;

    /// Forgets a lease.
    ///
    /// # Errors
    /// The store fails.
    fn remove_lease(&mut self, id: u128) -> Result<(), Self::Error>;

    /// The first entry of the list of what is due: by time, then by lease.
    ///
    /// # Errors
    /// The store fails.
    fn first_due(&self) -> Result<Option<(i64, u128)>, Self::Error>;

    /// Adds an entry to the list of what is due.
    ///
    /// # Errors
    /// The store fails.
    fn put_due(&mut self, due_ms: i64, lease: u128) -> Result<(), Self::Error>;

    /// Removes an entry from the list of what is due.
    ///
    /// # Errors
    /// The store fails.
    fn remove_due(&mut self, due_ms: i64, lease: u128) -> Result<(), Self::Error>;
}

/// How leases are granted. A change is good for new leases: each carries the rules that it was granted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For how long a holder may mint.
    pub lease_ms: i64,
    /// Longest life of an offer.
    pub longest_offer_ms: i64,
    /// How far a holder's clock may be from the host's.
    pub skew_ms: i64,
    /// Largest part of a total that one lease gets, in ten thousandths.
    pub largest_share: u16,
}

/// Longest time in the rules: ten years.
const LONGEST_MS: i64 = 10 * 366 * 86_400_000;
/// Buckets that the longest life of an offer is divided into: expired money waits for at most a 96th of it. With 32 a
/// budget whose offers mostly expire would lie idle by a hundredth and more.
const BUCKETS: i64 = 96;
/// How many times the longest life of an offer a lease may last: with what lives on after it, a report then has about 480
/// buckets, below [`MAX_BUCKETS`].
const LIVES_PER_LEASE: i64 = 4;
/// Shortest bucket.
const SHORTEST_BUCKET_MS: i64 = 1000;
/// For so long after the last of its offers has expired a lease is kept, with what was redeemed of it: an order that asks again
/// gets its receipt, and can be refunded.
pub const KEPT_MS: i64 = 90 * 86_400_000;
/// Redeemed offers that are forgotten at one look at a lease.
const FORGOTTEN_AT_ONCE: usize = 256;
/// A lease gets at most this part of what is free, so that the last of a budget goes to many.
const TAPER: u64 = 16;
/// Longest id of an order in bytes: it is the shop's.
pub const MAX_ORDER: usize = 128;

impl Rules {
    /// Checks that leases under these rules are of use.
    ///
    /// # Errors
    /// [`Refusal::BadRules`] with what must be.
    pub fn check(&self) -> Result<(), Refusal> {
        let must = |what: &str| Err(Refusal::BadRules { what: what.into() });
        if self.skew_ms < 0 || self.lease_ms > LONGEST_MS || !(1..=LONGEST_MS).contains(&self.longest_offer_ms) {
            return must("times must be positive and below ten years");
        }
        if self.lease_ms <= 2 * self.skew_ms.min(LONGEST_MS) {
            return must("a lease must last longer than twice the allowed clock skew");
        }
        if self.lease_ms > self.longest_offer_ms.saturating_mul(LIVES_PER_LEASE) {
            return must("a lease must last at most four times as long as the longest offer, or its reports grow");
        }
        if !(1..=10_000).contains(&self.largest_share) {
            return must("the largest share must be 1 to 10000 ten thousandths");
        }
        Ok(())
    }

    fn bucket_ms(&self) -> i64 {
        (self.longest_offer_ms / BUCKETS).max(SHORTEST_BUCKET_MS)
    }
}

/// What a verified offer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Its id: an offer is good once.
    pub jti: u128,
    /// The lease that it was minted against.
    pub lease: u128,
    /// Its campaign.
    pub campaign: String,
    /// What it promises at most.
    pub face: Amounts,
    /// It is not redeemed at or after.
    pub expires_ms: i64,
}

/// A redemption, once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What was given.
    pub discount: Amounts,
    /// When.
    pub redeemed_ms: i64,
    /// Whether the order had redeemed the offer before; nothing has changed then.
    pub repeated: bool,
}

/// A budget at one time. `total = settled + held + free`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What may be spent.
    pub total: Minor,
    /// Discounts of orders.
    pub settled: Minor,
    /// Held by leases, promised to users or not.
    pub held: Minor,
    /// The part of `held` whose holders are lost: it comes back by time.
    pub locked: Minor,
    /// May be granted, as far as the day's limit allows.
    pub free: Minor,
}

/// What [`reclaim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Leases that were looked at.
    pub leases: usize,
    /// Whether more are due: call again in a new transaction.
    pub more: bool,
}

/// Opens a budget. Again on the same terms changes nothing.
///
/// # Errors
/// A name or terms that are none, a budget that is open on other terms; or the store fails.
pub fn open_budget<T: LedgerTx + ?Sized>(
    tx: &mut T,
    now_ms: i64,
    name: &str,
    terms: TermsV1,
) -> Result<(), LedgerError<T::Error>> {
    check_terms(name, &terms)?;
    let mut desk = Desk::open(tx, now_ms)?;
    match desk.tx.budget(name).map_err(LedgerError::Store)? {
        Some(row) if row.terms == terms => Ok(()),
        Some(_) => Err(Refusal::AlreadyOpen { budget: name.into() }.into()),
        None => {
            let day = terms.daily.map_or(0, |daily| daily.day(desk.now_ms()));
            let (none, day_granted) = (Minor::ZERO, Minor::ZERO);
            let row = BudgetRowV1 { terms, settled: none, held: none, locked: none, day, day_granted };
            desk.budgets.insert(name.into(), row);
            desk.close()
        }
    }
}

/// Changes a budget's terms. A total may be lowered to what is settled and held.
///
/// # Errors
/// Terms that are none, an unknown budget, a total below what is committed; or the store fails.
pub fn change_budget<T: LedgerTx + ?Sized>(
    tx: &mut T,
    now_ms: i64,
    name: &str,
    terms: TermsV1,
) -> Result<(), LedgerError<T::Error>> {
    check_terms(name, &terms)?;
    let mut desk = Desk::open(tx, now_ms)?;
    let row = desk.budget(name)?;
    let committed = row.settled.plus(row.held);
    if terms.total < committed {
        return Err(Refusal::BelowCommitted { budget: name.into(), committed }.into());
    }
    row.terms = terms;
    desk.close()
}

/// Starts a new epoch at the time `now_ms`, be it before the ledger's: for a restored copy, and after a clock that ran
/// ahead. Leases of earlier epochs mint and redeem nothing any more; what they hold comes back after their time. Again with
/// the same epoch changes nothing.
///
/// # Errors
/// An epoch below the ledger's; or the store fails.
pub fn change_epoch<T: LedgerTx + ?Sized>(tx: &mut T, now_ms: i64, epoch: u64) -> Result<(), LedgerError<T::Error>> {
    let current = tx.state().map_err(LedgerError::Store)?.map_or(0, |row| row.epoch);
    if epoch < current {
        return Err(Refusal::EpochNotAbove { current, given: epoch }.into());
    }
    if epoch == current {
        return Ok(());
    }
    tx.put_state(&StateRowV1 { epoch, seen_ms: now_ms }).map_err(LedgerError::Store)
}

/// Grants money of all wanted budgets, or of none. The same request again gets the same lease.
///
/// # Errors
/// The budget that has too little, and how much it has; a day that ends; a request of nothing, of an unknown budget or
/// under the id of another holder; or the store fails.
pub fn grant<T: LedgerTx + ?Sized>(
    tx: &mut T,
    rules: &Rules,
    now_ms: i64,
    request: &GrantRequest,
) -> Result<Lease, LedgerError<T::Error>> {
    rules.check()?;
    check_name(&request.holder)?;
    if request.wanted.is_empty() {
        return Err(Refusal::NothingWanted.into());
    }
    let mut desk = Desk::open(tx, now_ms)?;
    if let Some(row) = desk.tx.lease(request.id).map_err(LedgerError::Store)? {
        return again(&row, &request.holder, desk.state.epoch);
    }
    let now_ms = desk.now_ms();
    let mut mint_until_ms = now_ms.saturating_add(rules.lease_ms);
    let mut amounts = Amounts::none();
    for (name, wanted) in request.wanted.iter() {
        let row = desk.budget(name)?;
        let least = request.least.get(name).max(Minor(1));
        let free = free(row);
        let given = portion(rules, row.terms.total, free, wanted, least);
        if given > free {
            return Err(Refusal::NotEnough { budget: name.into(), free, least }.into());
        }
        if let Some(daily) = row.terms.daily {
            // All that a lease mints is of the day that it was granted on.
            let end_ms = daily.end_ms(now_ms);
            mint_until_ms = mint_until_ms.min(end_ms);
            if mint_until_ms.saturating_sub(2 * rules.skew_ms) <= now_ms {
                return Err(Refusal::DayEnds { budget: name.into(), next_ms: end_ms }.into());
            }
        }
        row.held = row.held.plus(given);
        row.day_granted = row.day_granted.plus(given);
        amounts.set(name, given);
    }
    let lease = Lease {
        id: request.id,
        epoch: desk.state.epoch,
        holder: request.holder.clone(),
        amounts: amounts.clone(),
        granted_ms: now_ms,
        mint_until_ms,
        longest_offer_ms: rules.longest_offer_ms,
        bucket_ms: rules.bucket_ms(),
        skew_ms: rules.skew_ms,
    };
    let row = LeaseRowV1 {
        lease: lease.clone(),
        stage: StageV1::Open,
        held: amounts,
        sequence: 0,
        buckets: BTreeMap::new(),
        due_ms: None,
    };
    desk.file(row)?;
    desk.close()?;
    Ok(lease)
}

/// Takes a holder's report. Older ones and the same again change nothing.
///
/// # Errors
/// A lease that is unknown, of another epoch or another holder; a report of more than was granted, or of offers that the
/// lease does not allow; or the store fails.
pub fn report<T: LedgerTx + ?Sized>(
    tx: &mut T,
    now_ms: i64,
    report: &LeaseReport,
) -> Result<Reported, LedgerError<T::Error>> {
    let mut desk = Desk::open(tx, now_ms)?;
    let mut row = desk.lease(report.lease)?;
    let lease = &row.lease;
    if lease.holder != report.holder {
        return Err(Refusal::OtherHolder { lease: lease.id }.into());
    }
    match row.stage {
        StageV1::Over => return Ok(Reported::Over),
        StageV1::Closed => return Ok(Reported::Known),
        StageV1::Open | StageV1::Lost if report.sequence <= row.sequence => return Ok(Reported::Known),
        StageV1::Open | StageV1::Lost => {}
    }
    let minted = check_minted(lease, report)?;
    row.sequence = report.sequence;
    for bucket in row.buckets.values_mut() {
        bucket.minted = Amounts::none();
    }
    for (end_ms, face) in &report.minted {
        row.buckets.entry(*end_ms).or_default().minted = face.clone();
    }
    if report.closed {
        desk.enter(&mut row, StageV1::Closed)?;
        let unminted = row.lease.amounts.without(&minted);
        desk.release(&mut row, &unminted)?;
    }
    desk.look_at(&mut row)?;
    desk.file(row)?;
    desk.close()?;
    Ok(Reported::Taken)
}

/// Looks at the leases that are due, at most `most` of them: expired offers are released, lost holders are noted, what is over
/// gives back the rest, and what has been over for [`KEPT_MS`] is forgotten with its redeemed offers. An offer of a lease that
/// is not known is not redeemed, so what was redeemed once is not again.
///
/// # Errors
/// The store fails.
pub fn reclaim<T: LedgerTx + ?Sized>(tx: &mut T, now_ms: i64, most: usize) -> Result<Reclaimed, LedgerError<T::Error>> {
    let mut desk = Desk::open(tx, now_ms)?;
    let mut done = Reclaimed::default();
    while let Some((due_ms, id)) = desk.tx.first_due().map_err(LedgerError::Store)? {
        if due_ms > desk.now_ms() {
            break;
        }
        if done.leases == most {
            done.more = true;
            break;
        }
        match desk.tx.lease(id).map_err(LedgerError::Store)? {
            Some(row) if row.stage == StageV1::Over => desk.forget(&row)?,
            Some(mut row) => {
                desk.look_at(&mut row)?;
                desk.file(row)?;
            }
            None => desk.tx.remove_due(due_ms, id).map_err(LedgerError::Store)?,
        }
        done.leases += 1;
    }
    if done.leases > 0 {
        desk.close()?;
    }
    Ok(done)
}

/// Settles an offer by an order, exactly once. `discount` is what the order really got; the rest of the face value is free
/// again. The same order and offer again get the same receipt, whatever discount is named then.
///
/// # Errors
/// An offer that another order redeemed, that has expired or lives too long; whose lease is unknown, of another epoch, over,
/// or holds too little; a discount above the face value; or the store fails.
pub fn redeem<T: LedgerTx + ?Sized>(
    tx: &mut T,
    now_ms: i64,
    claims: &Claims,
    order: &str,
    discount: &Amounts,
) -> Result<Receipt, LedgerError<T::Error>> {
    if order.is_empty() || order.len() > MAX_ORDER {
        return Err(Refusal::BadOrder { length: order.len() }.into());
    }
    let jti = claims.jti;
    let mut desk = Desk::open(tx, now_ms)?;
    if let Some(row) = desk.tx.offer(jti).map_err(LedgerError::Store)? {
        if row.order != order {
            return Err(Refusal::AlreadyRedeemed { jti }.into());
        }
        return Ok(Receipt { discount: row.discount, redeemed_ms: row.redeemed_ms, repeated: true });
    }
    let mut row = desk.lease(claims.lease)?;
    check_claims(&row, claims, discount, desk.now_ms())?;
    let end_ms = row.lease.bucket_end_ms(claims.expires_ms);
    row.buckets.entry(end_ms).or_default().redeemed.add(&claims.face);
    desk.leave(&mut row, &claims.face, discount)?;
    desk.look_at(&mut row)?;
    desk.file(row)?;
    let redeemed_ms = desk.now_ms();
    let offer = OfferRowV1 {
        order: order.into(),
        campaign: claims.campaign.clone(),
        lease: claims.lease,
        face: claims.face.clone(),
        discount: discount.clone(),
        redeemed_ms,
        refunded_ms: None,
    };
    desk.tx.put_offer(jti, &offer).map_err(LedgerError::Store)?;
    desk.close()?;
    Ok(Receipt { discount: discount.clone(), redeemed_ms, repeated: false })
}

/// Takes the discount of a cancelled order back into the budget. The offer stays used. Again changes nothing.
///
/// # Errors
/// An offer that this order has not redeemed; or the store fails.
pub fn refund<T: LedgerTx + ?Sized>(
    tx: &mut T,
    now_ms: i64,
    jti: u128,
    order: &str,
) -> Result<(), LedgerError<T::Error>> {
    let mut desk = Desk::open(tx, now_ms)?;
    let offer = desk.tx.offer(jti).map_err(LedgerError::Store)?;
    let Some(mut offer) = offer.filter(|offer| offer.order == order) else {
        return Err(Refusal::NotRedeemed { jti }.into());
    };
    if offer.refunded_ms.is_some() {
        return Ok(());
    }
    for (name, discount) in offer.discount.iter() {
        let row = desk.budget(name)?;
        row.settled = row.settled.minus(discount);
    }
    offer.refunded_ms = Some(desk.now_ms());
    desk.tx.put_offer(jti, &offer).map_err(LedgerError::Store)?;
    desk.close()
}

/// Where a budget stands.
///
/// # Errors
/// An unknown budget; or the store fails.
pub fn balance<T: LedgerTx + ?Sized>(tx: &T, name: &str) -> Result<Balance, LedgerError<T::Error>> {
    let row = tx.budget(name).map_err(LedgerError::Store)?;
    let row = row.ok_or_else(|| Refusal::UnknownBudget { budget: name.into() })?;
    let free = row.terms.total.minus(row.settled).minus(row.held);
    Ok(Balance { total: row.terms.total, settled: row.settled, held: row.held, locked: row.locked, free })
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if is_name(name) { Ok(()) } else { Err(Refusal::BadName { name: name.into() }) }
}

fn check_terms(name: &str, terms: &TermsV1) -> Result<(), Refusal> {
    check_name(name)?;
    let limits = [Some(terms.total), terms.daily.map(|daily| daily.limit)];
    let good = limits.into_iter().flatten().all(|limit| (Minor(1)..=Minor::MOST).contains(&limit));
    if good { Ok(()) } else { Err(Refusal::BadTerms { budget: name.into() }) }
}

/// The answer to a request that was granted before.
fn again<E>(row: &LeaseRowV1, holder: &str, current: u64) -> Result<Lease, LedgerError<E>> {
    let Lease { id, epoch, .. } = row.lease;
    if row.lease.holder != holder {
        return Err(Refusal::OtherHolder { lease: id }.into());
    }
    if epoch != current {
        return Err(Refusal::OtherEpoch { lease: id, epoch, current }.into());
    }
    if row.stage == StageV1::Over {
        return Err(Refusal::LeaseReclaimed { lease: id }.into());
    }
    Ok(row.lease.clone())
}

/// What can be granted of a budget now.
fn free(row: &BudgetRowV1) -> Minor {
    let free = row.terms.total.minus(row.settled).minus(row.held);
    row.terms.daily.map_or(free, |daily| free.min(daily.limit.minus(row.day_granted)))
}

/// How much of a budget a request gets: what it wants, within a share of the total and of what is free, but what it needs
/// at least. Above `free` if that is not there.
fn portion(rules: &Rules, total: Minor, free: Minor, wanted: Minor, least: Minor) -> Minor {
    let share = Minor(total.0.saturating_mul(u64::from(rules.largest_share)) / 10_000);
    let taper = Minor(free.0 / TAPER);
    wanted.min(share).min(taper).max(least)
}

/// The sum of what is reported as minted.
fn check_minted(lease: &Lease, report: &LeaseReport) -> Result<Amounts, Refusal> {
    let mut minted = Amounts::none();
    let width = lease.bucket_ms.max(1);
    let last_ms = lease.bucket_end_ms(lease.last_expiry_ms());
    for (at, (end_ms, face)) in report.minted.iter().enumerate() {
        if at == MAX_BUCKETS || *end_ms > last_ms || end_ms.rem_euclid(width) != 0 {
            return Err(Refusal::BadBucket { lease: lease.id, end_ms: *end_ms });
        }
        minted.add(face);
    }
    match lease.amounts.lacks(&minted) {
        Some(budget) => Err(Refusal::MintedAboveLease { lease: lease.id, budget: budget.into() }),
        None => Ok(minted),
    }
}

fn check_claims(row: &LeaseRowV1, claims: &Claims, discount: &Amounts, now_ms: i64) -> Result<(), Refusal> {
    let Claims { jti, expires_ms, .. } = *claims;
    if claims.face.is_empty() {
        return Err(Refusal::NoFace { jti });
    }
    if let Some(budget) = claims.face.lacks(discount) {
        return Err(Refusal::AboveFace { jti, budget: budget.into() });
    }
    if now_ms >= expires_ms {
        return Err(Refusal::Expired { jti, expires_ms, now_ms });
    }
    let latest_ms = row.lease.last_expiry_ms();
    if expires_ms > latest_ms {
        return Err(Refusal::LifeTooLong { jti, expires_ms, latest_ms });
    }
    if row.stage == StageV1::Over {
        return Err(Refusal::LeaseReclaimed { lease: row.lease.id });
    }
    if let Some(budget) = row.held.lacks(&claims.face) {
        let (face, left) = (claims.face.get(budget), row.held.get(budget));
        return Err(Refusal::AboveLease { jti, budget: budget.into(), face, left });
    }
    Ok(())
}

/// A transaction at work: the rows of budgets that it changes, written when it closes.
struct Desk<'a, T: ?Sized> {
    tx: &'a mut T,
    state: StateRowV1,
    budgets: BTreeMap<String, BudgetRowV1>,
}

impl<'a, T: LedgerTx + ?Sized> Desk<'a, T> {
    fn open(tx: &'a mut T, now_ms: i64) -> Result<Self, LedgerError<T::Error>> {
        let known = tx.state().map_err(LedgerError::Store)?;
        let mut state = known.unwrap_or(StateRowV1 { epoch: 0, seen_ms: now_ms });
        state.seen_ms = state.seen_ms.max(now_ms);
        Ok(Self { tx, state, budgets: BTreeMap::new() })
    }

    /// The ledger's time.
    fn now_ms(&self) -> i64 {
        self.state.seen_ms
    }

    /// A budget, on the day that it is.
    fn budget(&mut self, name: &str) -> Result<&mut BudgetRowV1, LedgerError<T::Error>> {
        if !self.budgets.contains_key(name) {
            let row = self.tx.budget(name).map_err(LedgerError::Store)?;
            let mut row = row.ok_or_else(|| Refusal::UnknownBudget { budget: name.into() })?;
            let day = row.terms.daily.map_or(row.day, |daily| daily.day(self.now_ms()));
            // A new epoch may begin on an earlier day; within one, days only go forward.
            if day != row.day {
                (row.day, row.day_granted) = (day, Minor::ZERO);
            }
            self.budgets.insert(name.into(), row);
        }
        self.budgets.get_mut(name).ok_or_else(|| Refusal::UnknownBudget { budget: name.into() }.into())
    }

    /// A lease of this epoch.
    fn lease(&self, id: u128) -> Result<LeaseRowV1, LedgerError<T::Error>> {
        let row = self.tx.lease(id).map_err(LedgerError::Store)?;
        let row = row.ok_or(Refusal::UnknownLease { lease: id })?;
        let (epoch, current) = (row.lease.epoch, self.state.epoch);
        if epoch != current {
            return Err(Refusal::OtherEpoch { lease: id, epoch, current }.into());
        }
        Ok(row)
    }

    /// Moves a lease to another stage. What the lost ones hold is counted apart.
    fn enter(&mut self, row: &mut LeaseRowV1, stage: StageV1) -> Result<(), LedgerError<T::Error>> {
        let (was_lost, is_lost) = (row.stage == StageV1::Lost, stage == StageV1::Lost);
        row.stage = stage;
        if was_lost != is_lost {
            for (name, held) in row.held.iter() {
                let budget = self.budget(name)?;
                budget.locked = if is_lost { budget.locked.plus(held) } else { budget.locked.minus(held) };
            }
        }
        Ok(())
    }

    /// Money leaves a lease: `settled` of it to an order, the rest back to the budget.
    fn leave(
        &mut self,
        row: &mut LeaseRowV1,
        amounts: &Amounts,
        settled: &Amounts,
    ) -> Result<(), LedgerError<T::Error>> {
        row.held.take(amounts);
        for (name, amount) in amounts.iter() {
            let settled = settled.get(name);
            let budget = self.budget(name)?;
            budget.held = budget.held.minus(amount);
            budget.settled = budget.settled.plus(settled);
            if row.stage == StageV1::Lost {
                budget.locked = budget.locked.minus(amount);
            }
            let of_today = budget.terms.daily.is_none_or(|daily| daily.day(row.lease.granted_ms) == budget.day);
            if of_today {
                budget.day_granted = budget.day_granted.minus(amount.minus(settled));
            }
        }
        Ok(())
    }

    /// Gives money of a lease back, as far as it is there: a holder that lies cannot release what it does not hold.
    fn release(&mut self, row: &mut LeaseRowV1, amounts: &Amounts) -> Result<(), LedgerError<T::Error>> {
        let there = amounts.at_most(&row.held);
        self.leave(row, &there, &Amounts::none())
    }

    /// What time alone does to a lease.
    fn look_at(&mut self, row: &mut LeaseRowV1) -> Result<(), LedgerError<T::Error>> {
        let now_ms = self.now_ms();
        let dead_ms = now_ms.saturating_sub(row.lease.skew_ms);
        let mut expired = Amounts::none();
        for (_, bucket) in row.buckets.range_mut(..=dead_ms) {
            let open = bucket.open();
            bucket.released.add(&open);
            expired.add(&open);
        }
        self.release(row, &expired)?;
        if row.stage == StageV1::Open && now_ms >= missed_ms(&row.lease) {
            self.enter(row, StageV1::Lost)?;
        }
        if now_ms >= row.lease.over_ms() {
            let rest = row.held.clone();
            self.release(row, &rest)?;
            self.enter(row, StageV1::Over)?;
        }
        if row.stage == StageV1::Closed && row.held.is_empty() {
            self.enter(row, StageV1::Over)?;
        }
        Ok(())
    }

    /// Stores a lease, under the time when it is due again.
    fn file(&mut self, mut row: LeaseRowV1) -> Result<(), LedgerError<T::Error>> {
        let due_ms = next_due_ms(&row);
        if due_ms != row.due_ms {
            if let Some(before_ms) = row.due_ms {
                self.tx.remove_due(before_ms, row.lease.id).map_err(LedgerError::Store)?;
            }
            if let Some(due_ms) = due_ms {
                self.tx.put_due(due_ms, row.lease.id).map_err(LedgerError::Store)?;
            }
            row.due_ms = due_ms;
        }
        self.tx.put_lease(&row).map_err(LedgerError::Store)
    }

    /// Forgets a lease that has been over for long: its offers first, some at each look, so that none is ever without it.
    fn forget(&mut self, row: &LeaseRowV1) -> Result<(), LedgerError<T::Error>> {
        let id = row.lease.id;
        let offers = self.tx.offers_of(id, FORGOTTEN_AT_ONCE).map_err(LedgerError::Store)?;
        for jti in &offers {
            self.tx.remove_offer(id, *jti).map_err(LedgerError::Store)?;
        }
        if offers.len() < FORGOTTEN_AT_ONCE {
            if let Some(due_ms) = row.due_ms {
                self.tx.remove_due(due_ms, id).map_err(LedgerError::Store)?;
            }
            self.tx.remove_lease(id).map_err(LedgerError::Store)?;
        }
        Ok(())
    }

    fn close(self) -> Result<(), LedgerError<T::Error>> {
        for (name, row) in &self.budgets {
            self.tx.put_budget(name, row).map_err(LedgerError::Store)?;
        }
        self.tx.put_state(&self.state).map_err(LedgerError::Store)
    }
}

/// When a holder that is well has reported that it closed: its clock may be slow, and the report needs time.
const fn missed_ms(lease: &Lease) -> i64 {
    lease.mint_until_ms.saturating_add(lease.skew_ms.saturating_mul(2))
}

fn next_due_ms(row: &LeaseRowV1) -> Option<i64> {
    if row.stage == StageV1::Over {
        return Some(row.lease.over_ms().saturating_add(KEPT_MS));
    }
    let buckets = row.buckets.iter().filter(|(_, bucket)| !bucket.open().is_empty());
    let expiry = buckets.map(|(end_ms, _)| end_ms.saturating_add(row.lease.skew_ms)).next();
    let missed = (row.stage == StageV1::Open).then(|| missed_ms(&row.lease));
    [expiry, missed, Some(row.lease.over_ms())].into_iter().flatten().min()
}
