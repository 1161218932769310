//! The ledger of budgets in redb: its rows in postcard, one write transaction per operation.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use selvedge_budget::ledger::{BudgetRowV1, LeaseRowV1, LedgerTx, OfferRowV1, StateRowV1};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::redb::failed;
use super::{OffersTx, StoreError};

pub(super) const LEDGER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledger");
pub(super) const BUDGETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("budgets");
pub(super) const LEASES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("leases");
pub(super) const OFFERS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("offers");
pub(super) const OFFERS_OF: TableDefinition<'_, (u128, u128), ()> = TableDefinition::new("offers-of-leases");
pub(super) const DUE: TableDefinition<'_, (i64, u128), ()> = TableDefinition::new("due");
pub(super) const NOTES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("offer-notes");

/// The one row of the ledger itself.
const STATE: &str = "state";

/// The tables of an open transaction.
pub(super) struct Ledger<'t> {
    ledger: Table<'t, &'static str, &'static [u8]>,
    budgets: Table<'t, &'static str, &'static [u8]>,
    leases: Table<'t, u128, &'static [u8]>,
    offers: Table<'t, u128, &'static [u8]>,
    offers_of: Table<'t, (u128, u128), ()>,
    due: Table<'t, (i64, u128), ()>,
    notes: Table<'t, &'static [u8], &'static [u8]>,
}

impl<'t> Ledger<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            ledger: transaction.open_table(LEDGER).map_err(failed)?,
            budgets: transaction.open_table(BUDGETS).map_err(failed)?,
            leases: transaction.open_table(LEASES).map_err(failed)?,
            offers: transaction.open_table(OFFERS).map_err(failed)?,
            offers_of: transaction.open_table(OFFERS_OF).map_err(failed)?,
            due: transaction.open_table(DUE).map_err(failed)?,
            notes: transaction.open_table(NOTES).map_err(failed)?,
        })
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    let damaged = |error: postcard::Error| StoreError::Corrupt(format!("{what} in the ledger cannot be read: {error}"));
    match postcard::take_from_bytes(bytes).map_err(damaged)? {
        (row, []) => Ok(row),
        _ => Err(StoreError::Corrupt(format!("{what} in the ledger is longer than it may be"))),
    }
}

fn written<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_allocvec(row).map_err(|error| StoreError::Io(error.to_string()))
}

impl LedgerTx for Ledger<'_> {
    type Error = StoreError;

    fn state(&self) -> Result<Option<StateRowV1>, StoreError> {
        self.ledger.get(STATE).map_err(failed)?.map(|row| read(row.value(), "its own row")).transpose()
    }

    fn put_state(&mut self, row: &StateRowV1) -> Result<(), StoreError> {
        self.ledger.insert(STATE, written(row)?.as_slice()).map_err(failed)?;
        Ok(())
    }

    fn budget(&self, name: &str) -> Result<Option<BudgetRowV1>, StoreError> {
        self.budgets.get(name).map_err(failed)?.map(|row| read(row.value(), "a budget")).transpose()
    }

    fn put_budget(&mut self, name: &str, row: &BudgetRowV1) -> Result<(), StoreError> {
        self.budgets.insert(name, written(row)?.as_slice()).map_err(failed)?;
        Ok(())
    }

    fn lease(&self, id: u128) -> Result<Option<LeaseRowV1>, StoreError> {
        self.leases.get(id).map_err(failed)?.map(|row| read(row.value(), "a lease")).transpose()
    }

    fn put_lease(&mut self, row: &LeaseRowV1) -> Result<(), StoreError> {
        self.leases.insert(row.lease.id, written(row)?.as_slice()).map_err(failed)?;
        Ok(())
    }

    fn offer(&self, jti: u128) -> Result<Option<OfferRowV1>, StoreError> {
        self.offers.get(jti).map_err(failed)?.map(|row| read(row.value(), "an offer")).transpose()
    }

    fn put_offer(&mut self, jti: u128, row: &OfferRowV1) -> Result<(), StoreError> {
        self.offers.insert(jti, written(row)?.as_slice()).map_err(failed)?;
        self.offers_of.insert((row.lease, jti), ()).map_err(failed)?;
        Ok(())
    }

    fn offers_of(&self, lease: u128, most: usize) -> Result<Vec<u128>, StoreError> {
        let offers = self.offers_of.range((lease, 0)..=(lease, u128::MAX)).map_err(failed)?.take(most);
        offers.map(|entry| Ok(entry.map_err(failed)?.0.value().1)).collect()
    }

    fn remove_offer(&mut self, lease: u128, jti: u128) -> Result<(), StoreError> {
        self.offers.remove(jti).map_err(failed)?;
        self.offers_of.remove((lease, jti)).map_err(failed)?;
        Ok(())
    }

    fn remove_lease(&mut self, id: u128) -> Result<(), StoreError> {
        self.leases.remove(id).map_err(failed)?;
        Ok(())
    }

    fn first_due(&self) -> Result<Option<(i64, u128)>, StoreError> {
        Ok(self.due.first().map_err(failed)?.map(|(due, _)| due.value()))
    }

    fn put_due(&mut self, due_ms: i64, lease: u128) -> Result<(), StoreError> {
        self.due.insert((due_ms, lease), ()).map_err(failed)?;
        Ok(())
    }

    fn remove_due(&mut self, due_ms: i64, lease: u128) -> Result<(), StoreError> {
        self.due.remove((due_ms, lease)).map_err(failed)?;
        Ok(())
    }
}

impl OffersTx for Ledger<'_> {
    fn budgets(&self) -> Result<Vec<String>, StoreError> {
        let names = self.budgets.iter().map_err(failed)?;
        names.map(|entry| Ok(entry.map_err(failed)?.0.value().to_owned())).collect()
    }

    fn note(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.notes.get(key).map_err(failed)?.map(|note| note.value().to_vec()))
    }

    fn put_note(&mut self, key: &[u8], note: &[u8]) -> Result<(), StoreError> {
        self.notes.insert(key, note).map_err(failed)?;
        Ok(())
    }
}
