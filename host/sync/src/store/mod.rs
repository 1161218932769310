//! What a host keeps, behind traits that an embedded database, Redis or an object store can implement.
//!
//! Calls block: whoever is asynchronous makes them on a thread that may wait. "Durable" means that the data are there
//! after a power cut that follows the return.

#[cfg(any(test, feature = "fault"))]
pub mod fault;
mod ledger;
mod redb;

use bytes::Bytes;
use selvedge_budget::ledger::{LedgerError, LedgerTx};
use selvedge_format::container::ContentId;

pub use redb::RedbStore;

/// Why a store did not do what it was asked. Nothing of the call has happened then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A head's sequence is not above the newest.
    #[error("sequence {newest} or above is stored already")]
    Conflict {
        /// Sequence of the newest head.
        newest: u64,
    },
    /// No room is left.
    #[error("{0}; free some space, or lower `users.retention_days`")]
    Full(String),
    /// What is stored cannot be read.
    #[error("{0}; restore the data directory from a copy")]
    Corrupt(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
}

/// Heads by channel, and blobs by content id.
pub trait ChannelStore: Send + Sync {
    /// Names of all channels, ascending.
    ///
    /// # Errors
    /// The store fails; so with every method here.
    fn channels(&self) -> Result<Vec<String>, StoreError>;

    /// The newest head of a channel.
    ///
    /// # Errors
    /// The store fails.
    fn head(&self, channel: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Stores a head durably, beside those before it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless `sequence` is above the newest; or the store fails.
    fn put_head(&self, channel: &str, sequence: u64, head: &[u8]) -> Result<(), StoreError>;

    /// At most `most` heads of a channel, newest first.
    ///
    /// # Errors
    /// The store fails.
    fn history(&self, channel: &str, most: usize) -> Result<Vec<Vec<u8>>, StoreError>;

    /// A blob.
    ///
    /// # Errors
    /// The store fails.
    fn blob(&self, id: &ContentId) -> Result<Option<Bytes>, StoreError>;

    /// Length of a blob in bytes.
    ///
    /// # Errors
    /// The store fails.
    fn blob_len(&self, id: &ContentId) -> Result<Option<u64>, StoreError>;

    /// Stores a blob durably. Again changes nothing.
    ///
    /// # Errors
    /// The store fails.
    fn put_blob(&self, id: &ContentId, bytes: &[u8]) -> Result<(), StoreError>;
}

/// Place of an entry in the log, from 1 on.
pub type Position = u64;

/// One atomic change of what is known of users.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// New entries at the end of the log: ascending positions above all others.
    pub append: Vec<(Position, &'a [u8])>,
    /// Entries that are there already, with other bytes; empty bytes remove an entry.
    pub rewrite: Vec<(Position, &'a [u8])>,
    /// Records of users; `None` removes one.
    pub records: Vec<(&'a str, Option<&'a [u8]>)>,
    /// Values by name; `None` removes one.
    pub values: Vec<(&'a str, Option<&'a [u8]>)>,
    /// Whether it must be durable; otherwise it becomes so with the next one that is.
    pub durable: bool,
}

impl Batch<'_> {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.append.is_empty() && self.rewrite.is_empty() && self.records.is_empty() && self.values.is_empty()
    }
}

/// The event log, and a record per user.
pub trait UserStore: Send + Sync {
    /// Makes a change, whole or not at all.
    ///
    /// # Errors
    /// The store fails; so with every method here.
    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Position of the newest entry of the log that ever was; 0 if there was none.
    ///
    /// # Errors
    /// The store fails.
    fn log_end(&self) -> Result<Position, StoreError>;

    /// At most `most` entries from `from` on, in order.
    ///
    /// # Errors
    /// The store fails.
    fn log(&self, from: Position, most: usize) -> Result<Vec<(Position, Vec<u8>)>, StoreError>;

    /// A user's record.
    ///
    /// # Errors
    /// The store fails.
    fn record(&self, user: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `most` records of users after `after`, in order of their ids.
    ///
    /// # Errors
    /// The store fails.
    fn records(&self, after: &str, most: usize) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Number of records.
    ///
    /// # Errors
    /// The store fails.
    fn record_count(&self) -> Result<u64, StoreError>;

    /// A value by name.
    ///
    /// # Errors
    /// The store fails.
    fn value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
}

/// An open transaction of the ledger, and of what is noted about offers beside it.
pub trait OffersTx: LedgerTx<Error = StoreError> {
    /// Names of all budgets, ascending.
    ///
    /// # Errors
    /// The store fails; so with every method here.
    fn budgets(&self) -> Result<Vec<String>, StoreError>;

    /// A note.
    ///
    /// # Errors
    /// The store fails.
    fn note(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Stores a note.
    ///
    /// # Errors
    /// The store fails.
    fn put_note(&mut self, key: &[u8], note: &[u8]) -> Result<(), StoreError>;
}

/// What becomes of a transaction that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was to look, and has changed nothing that matters.
    Nothing,
    /// Everybody sees it from now on; it is durable with the next one that is.
    Later,
    /// It is durable at once: money is in it.
    Durably,
}

/// What is done in a transaction of the ledger.
pub type OffersWork<'w> = dyn FnMut(&mut dyn OffersTx) -> Result<Kept, LedgerError<StoreError>> + 'w;

/// Budgets, leases, and what became of offers.
pub trait OfferStore: Send + Sync {
    /// Does `work` in one transaction, which alone writes meanwhile: whole, or not at all where it fails. `work` says whether it
    /// must be durable.
    ///
    /// # Errors
    /// That of `work`; or the store fails.
    fn transact(&self, work: &mut OffersWork<'_>) -> Result<(), LedgerError<StoreError>>;
}

/// Everything that a host keeps.
pub trait Store: ChannelStore + UserStore + OfferStore {}

impl<S: ChannelStore + UserStore + OfferStore> Store for S {}
