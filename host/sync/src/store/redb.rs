//! The embedded default: one file, transactions, nothing to start.
//!
//! Commits that are acknowledged are durable and use quick repair, so that opening after a crash scans nothing.
//! Checkpoints of states ride along or wait for the next durable commit: what they hold can be replayed from the log.

use std::path::Path;

use ::redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, StorageError,
    TableDefinition,
};
use bytes::Bytes;
use selvedge_format::container::ContentId;

use selvedge_budget::ledger::LedgerError;

use super::ledger::{self, Ledger};
use super::{Batch, ChannelStore, Kept, OfferStore, OffersWork, Position, StoreError, UserStore};

const HEADS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("heads");
const NEWEST: TableDefinition<'_, &str, u64> = TableDefinition::new("newest");
const BLOBS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("blobs");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// Version of this layout of tables.
const LAYOUT: &[u8] = b"1";
const LAYOUT_NAME: &str = "layout";
/// Position of the newest entry of the log, which may have been trimmed.
const LOG_END: &str = "log-end";
/// Most memory that redb keeps pages in. The states have a cache of their own.
const PAGE_CACHE: usize = 64 << 20;

/// A store in one file.
#[derive(Debug)]
pub struct RedbStore(Database);

impl RedbStore {
    /// Opens the store in the file `path`, or makes it.
    ///
    /// # Errors
    /// The file cannot be opened, is of another layout, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let in_file = |error: StoreError| match error {
            StoreError::Io(message) => StoreError::Io(format!("{}: {message}", path.display())),
            StoreError::Corrupt(message) => StoreError::Corrupt(format!("{}: {message}", path.display())),
            other => other,
        };
        let opened = Database::builder().set_cache_size(PAGE_CACHE).create(path);
        opened.map_err(failed).and_then(Self::prepared).map_err(in_file)
    }

    /// Opens the store in something else than a file, for tests.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        let opened = Database::builder().set_cache_size(PAGE_CACHE).create_with_backend(backend);
        opened.map_err(failed).and_then(Self::prepared)
    }

    fn prepared(database: Database) -> Result<Self, StoreError> {
        let store = Self(database);
        match store.layout()? {
            Some(layout) if layout == LAYOUT => {
                // A store of before the ledger gets its tables, which changes nothing for who knows none.
                store.write(true, ledger_tables)?;
                return Ok(store);
            }
            Some(layout) => {
                let found = String::from_utf8_lossy(&layout).into_owned();
                return Err(StoreError::Corrupt(format!("layout {found:?} is not known to this version")));
            }
            None => {}
        }
        // All tables are there from the start, so that no reader meets one that is not.
        store.write(true, |transaction| {
            transaction.open_table(HEADS)?;
            transaction.open_table(NEWEST)?;
            transaction.open_table(BLOBS)?;
            transaction.open_table(LOG)?;
            transaction.open_table(RECORDS)?;
            transaction.open_table(VALUES)?.insert(LAYOUT_NAME, LAYOUT)?;
            ledger_tables(transaction)
        })?;
        Ok(store)
    }

    fn layout(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        match transaction.open_table(VALUES) {
            Ok(values) => Ok(values.get(LAYOUT_NAME).map_err(failed)?.map(|layout| layout.value().to_vec())),
            Err(::redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes everything that is still there into a new file, so that what was removed is gone from the disk.
    ///
    /// # Errors
    /// Reading or writing fails; the old file stays as it is.
    pub fn compact_into(&self, path: &Path) -> Result<(), StoreError> {
        let new = Database::builder().create(path).map_err(failed)?;
        let old = self.0.begin_read().map_err(failed)?;
        let transaction = new.begin_write().map_err(failed)?;
        macro_rules! copy {
            ($($table:expr),*) => {$({
                let from = old.open_table($table).map_err(failed)?;
                let mut to = transaction.open_table($table).map_err(failed)?;
                for entry in from.iter().map_err(failed)? {
                    let (key, value) = entry.map_err(failed)?;
                    to.insert(key.value(), value.value()).map_err(failed)?;
                }
            })*};
        }
        copy!(HEADS, NEWEST, BLOBS, LOG, RECORDS, VALUES);
        copy!(
            ledger::LEDGER,
            ledger::BUDGETS,
            ledger::LEASES,
            ledger::OFFERS,
            ledger::OFFERS_OF,
            ledger::DUE,
            ledger::NOTES
        );
        transaction.commit().map_err(failed)
    }

    fn write<T>(
        &self,
        durable: bool,
        change: impl FnOnce(&::redb::WriteTransaction) -> Result<T, ::redb::Error>,
    ) -> Result<T, StoreError> {
        let mut transaction = self.0.begin_write().map_err(failed)?;
        if durable {
            transaction.set_quick_repair(true);
        } else {
            transaction.set_durability(Durability::None).map_err(failed)?;
        }
        let changed = change(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(changed)
    }
}

impl ChannelStore for RedbStore {
    fn channels(&self) -> Result<Vec<String>, StoreError> {
        let newest = self.0.begin_read().map_err(failed)?.open_table(NEWEST).map_err(failed)?;
        let channels = newest.iter().map_err(failed)?;
        channels.map(|entry| Ok(entry.map_err(failed)?.0.value().to_owned())).collect()
    }

    fn head(&self, channel: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.history(channel, 1)?.pop())
    }

    fn put_head(&self, channel: &str, sequence: u64, head: &[u8]) -> Result<(), StoreError> {
        let taken = self.write(true, |transaction| {
            let mut newest = transaction.open_table(NEWEST)?;
            let last = newest.get(channel)?.map_or(0, |last| last.value());
            if sequence > last {
                newest.insert(channel, sequence)?;
                transaction.open_table(HEADS)?.insert((channel, sequence), head)?;
            }
            Ok(last)
        })?;
        if sequence > taken { Ok(()) } else { Err(StoreError::Conflict { newest: taken }) }
    }

    fn history(&self, channel: &str, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let heads = self.0.begin_read().map_err(failed)?.open_table(HEADS).map_err(failed)?;
        let range = heads.range((channel, 0)..=(channel, u64::MAX)).map_err(failed)?;
        range.rev().take(most).map(|entry| Ok(entry.map_err(failed)?.1.value().to_vec())).collect()
    }

    fn blob(&self, id: &ContentId) -> Result<Option<Bytes>, StoreError> {
        let blobs = self.0.begin_read().map_err(failed)?.open_table(BLOBS).map_err(failed)?;
        Ok(blobs.get(id).map_err(failed)?.map(|blob| Bytes::copy_from_slice(blob.value())))
    }

    fn blob_len(&self, id: &ContentId) -> Result<Option<u64>, StoreError> {
        let blobs = self.0.begin_read().map_err(failed)?.open_table(BLOBS).map_err(failed)?;
        Ok(blobs.get(id).map_err(failed)?.map(|blob| blob.value().len() as u64))
    }

    fn put_blob(&self, id: &ContentId, bytes: &[u8]) -> Result<(), StoreError> {
        if self.blob_len(id)?.is_some() {
            return Ok(());
        }
        self.write(true, |transaction| {
            transaction.open_table(BLOBS)?.insert(id, bytes)?;
            Ok(())
        })
    }
}

impl UserStore for RedbStore {
    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        if batch.is_empty() && !batch.durable {
            return Ok(());
        }
        self.write(batch.durable, |transaction| {
            if !batch.append.is_empty() || !batch.rewrite.is_empty() {
                let mut log = transaction.open_table(LOG)?;
                for (position, entry) in batch.append.iter().chain(&batch.rewrite) {
                    match entry.is_empty() {
                        true => drop(log.remove(position)?),
                        false => drop(log.insert(position, *entry)?),
                    }
                }
            }
            if !batch.records.is_empty() {
                let mut records = transaction.open_table(RECORDS)?;
                for (user, record) in &batch.records {
                    match record {
                        Some(record) => drop(records.insert(*user, *record)?),
                        None => drop(records.remove(*user)?),
                    }
                }
            }
            let mut values = transaction.open_table(VALUES)?;
            for (name, value) in &batch.values {
                match value {
                    Some(value) => drop(values.insert(*name, *value)?),
                    None => drop(values.remove(*name)?),
                }
            }
            if let Some((position, _)) = batch.append.last() {
                values.insert(LOG_END, position.to_le_bytes().as_slice())?;
            }
            Ok(())
        })
    }

    fn log_end(&self) -> Result<Position, StoreError> {
        let end = self.value(LOG_END)?;
        Ok(end.and_then(|end| end.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    fn log(&self, from: Position, most: usize) -> Result<Vec<(Position, Vec<u8>)>, StoreError> {
        let log = self.0.begin_read().map_err(failed)?.open_table(LOG).map_err(failed)?;
        let entries = log.range(from..).map_err(failed)?.take(most);
        let entry = |entry: Result<_, StorageError>| {
            let (position, bytes): (::redb::AccessGuard<'_, u64>, ::redb::AccessGuard<'_, &[u8]>) =
                entry.map_err(failed)?;
            Ok((position.value(), bytes.value().to_vec()))
        };
        entries.map(entry).collect()
    }

    fn record(&self, user: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let records = self.0.begin_read().map_err(failed)?.open_table(RECORDS).map_err(failed)?;
        Ok(records.get(user).map_err(failed)?.map(|record| record.value().to_vec()))
    }

    fn records(&self, after: &str, most: usize) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let records = self.0.begin_read().map_err(failed)?.open_table(RECORDS).map_err(failed)?;
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let entry = |entry: Result<_, StorageError>| {
            let (user, record): (::redb::AccessGuard<'_, &str>, ::redb::AccessGuard<'_, &[u8]>) =
                entry.map_err(failed)?;
            Ok((user.value().to_owned(), record.value().to_vec()))
        };
        records.range::<&str>(range).map_err(failed)?.take(most).map(entry).collect()
    }

    fn record_count(&self) -> Result<u64, StoreError> {
        self.0.begin_read().map_err(failed)?.open_table(RECORDS).map_err(failed)?.len().map_err(failed)
    }

    fn value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let values = self.0.begin_read().map_err(failed)?.open_table(VALUES).map_err(failed)?;
        Ok(values.get(name).map_err(failed)?.map(|value| value.value().to_vec()))
    }
}

fn ledger_tables(transaction: &::redb::WriteTransaction) -> Result<(), ::redb::Error> {
    transaction.open_table(ledger::LEDGER)?;
    transaction.open_table(ledger::BUDGETS)?;
    transaction.open_table(ledger::LEASES)?;
    transaction.open_table(ledger::OFFERS)?;
    transaction.open_table(ledger::OFFERS_OF)?;
    transaction.open_table(ledger::DUE)?;
    transaction.open_table(ledger::NOTES)?;
    Ok(())
}

impl OfferStore for RedbStore {
    fn transact(&self, work: &mut OffersWork<'_>) -> Result<(), LedgerError<StoreError>> {
        let store = |error: ::redb::Error| LedgerError::Store(failed(error));
        let mut transaction = self.0.begin_write().map_err(|error| store(error.into()))?;
        let kept = {
            let mut tables = Ledger::open(&transaction).map_err(LedgerError::Store)?;
            // Dropping the transaction takes back what was done.
            work(&mut tables)?
        };
        match kept {
            Kept::Nothing => return transaction.abort().map_err(|error| store(error.into())),
            Kept::Later => transaction.set_durability(Durability::None).map_err(|error| store(error.into()))?,
            Kept::Durably => transaction.set_quick_repair(true),
        }
        transaction.commit().map_err(|error| store(error.into()))
    }
}

pub(super) fn failed(error: impl Into<::redb::Error>) -> StoreError {
    use ::redb::Error;
    match error.into() {
        Error::Io(error) if is_full(&error) => StoreError::Full(format!("the disk is full: {error}")),
        Error::DatabaseAlreadyOpen => {
            StoreError::Io("another process has the store open; stop it, or give this one another `data`".to_owned())
        }
        error @ (Error::Corrupted(_) | Error::UpgradeRequired(_)) => StoreError::Corrupt(error.to_string()),
        error => StoreError::Io(error.to_string()),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
