//! A ledger in memory, for simulations and tests: rows in ordered maps, and a journal that takes a failed transaction back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;

use super::{BudgetRowV1, LeaseRowV1, LedgerTx, OfferRowV1, StateRowV1};

/// Rows in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Option<StateRowV1>,
    budgets: BTreeMap<String, BudgetRowV1>,
    leases: BTreeMap<u128, LeaseRowV1>,
    offers: BTreeMap<u128, OfferRowV1>,
    /// By lease.
    offers_of: BTreeSet<(u128, u128)>,
    due: BTreeSet<(i64, u128)>,
    journal: Vec<Before>,
}

/// A row as it was before a change.
#[derive(Clone, Debug)]
enum Before {
    State(Option<StateRowV1>),
    Budget(String, Option<BudgetRowV1>),
    Lease(u128, Option<LeaseRowV1>),
    Offer(u128, Option<OfferRowV1>),
    OfferOf((u128, u128), bool),
    Due((i64, u128), bool),
}

impl Memory {
    /// Does `work` whole or not at all: on an error everything is as it was.
    ///
    /// # Errors
    /// That of `work`.
    pub fn transaction<T, E>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.journal.clear();
        let done = work(self);
        if done.is_err() {
            while let Some(before) = self.journal.pop() {
                self.restore(before);
            }
        }
        done
    }

    /// All leases that are not forgotten.
    pub fn leases(&self) -> impl Iterator<Item = &LeaseRowV1> {
        self.leases.values()
    }

    fn restore(&mut self, before: Before) {
        match before {
            Before::State(row) => self.state = row,
            Before::Budget(name, row) => put(&mut self.budgets, name, row),
            Before::Lease(id, row) => put(&mut self.leases, id, row),
            Before::Offer(jti, row) => put(&mut self.offers, jti, row),
            Before::OfferOf(of, true) => _ = self.offers_of.insert(of),
            Before::OfferOf(of, false) => _ = self.offers_of.remove(&of),
            Before::Due(due, true) => _ = self.due.insert(due),
            Before::Due(due, false) => _ = self.due.remove(&due),
        }
    }
}

fn put<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) {
    match row {
        Some(row) => _ = rows.insert(key, row),
        None => _ = rows.remove(&key),
    }
}

impl LedgerTx for Memory {
    type Error = Infallible;

    fn state(&self) -> Result<Option<StateRowV1>, Infallible> {
        Ok(self.state)
    }

    fn put_state(&mut self, row: &StateRowV1) -> Result<(), Infallible> {
        self.journal.push(Before::State(self.state.replace(*row)));
        Ok(())
    }

    fn budget(&self, name: &str) -> Result<Option<BudgetRowV1>, Infallible> {
        Ok(self.budgets.get(name).copied())
    }

    fn put_budget(&mut self, name: &str, row: &BudgetRowV1) -> Result<(), Infallible> {
        let before = self.budgets.insert(name.into(), *row);
        self.journal.push(Before::Budget(name.into(), before));
        Ok(())
    }

    fn lease(&self, id: u128) -> Result<Option<LeaseRowV1>, Infallible> {
        Ok(self.leases.get(&id).cloned())
    }

    fn put_lease(&mut self, row: &LeaseRowV1) -> Result<(), Infallible> {
        let before = self.leases.insert(row.lease.id, row.clone());
        self.journal.push(Before::Lease(row.lease.id, before));
        Ok(())
    }

    fn offer(&self, jti: u128) -> Result<Option<OfferRowV1>, Infallible> {
        Ok(self.offers.get(&jti).cloned())
    }

    fn put_offer(&mut self, jti: u128, row: &OfferRowV1) -> Result<(), Infallible> {
        let before = self.offers.insert(jti, row.clone());
        self.journal.push(Before::Offer(jti, before));
        let of = (row.lease, jti);
        let was_there = !self.offers_of.insert(of);
        self.journal.push(Before::OfferOf(of, was_there));
        Ok(())
    }

    fn offers_of(&self, lease: u128, most: usize) -> Result<Vec<u128>, Infallible> {
        Ok(self.offers_of.range((lease, 0)..=(lease, u128::MAX)).map(|(_, jti)| *jti).take(most).collect())
    }

    fn remove_offer(&mut self, lease: u128, jti: u128) -> Result<(), Infallible> {
        let before = self.offers.remove(&jti);
        self.journal.push(Before::Offer(jti, before));
        let was_there = self.offers_of.remove(&(lease, jti));
        self.journal.push(Before::OfferOf((lease, jti), was_there));
        Ok(())
    }

    fn remove_lease(&mut self, id: u128) -> Result<(), Infallible> {
        let before = self.leases.remove(&id);
        self.journal.push(Before::Lease(id, before));
        Ok(())
    }

    fn first_due(&self) -> Result<Option<(i64, u128)>, Infallible> {
        Ok(self.due.first().copied())
    }

    fn put_due(&mut self, due_ms: i64, lease: u128) -> Result<(), Infallible> {
        let was_there = !self.due.insert((due_ms, lease));
        self.journal.push(Before::Due((due_ms, lease), was_there));
        Ok(())
    }

    fn remove_due(&mut self, due_ms: i64, lease: u128) -> Result<(), Infallible> {
        let was_there = self.due.remove(&(due_ms, lease));
        self.journal.push(Before::Due((due_ms, lease), was_there));
        Ok(())
    }
}
