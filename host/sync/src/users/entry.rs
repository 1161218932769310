//! What is written: entries of the log, and records of users. Layouts of this host alone; nobody else reads them.

use std::collections::VecDeque;

use selvedge_engine::state::UserState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::{Position, StoreError};

/// First byte of entries and records.
const VERSION: u8 = 1;
/// Event ids that a record remembers: a repeat is recognised if it comes before so many more events of its user.
pub(super) const REMEMBERED: usize = 512;

/// An event as the log keeps it: with its names, because an export shows them and a new bundle may count by others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Logged {
    pub(super) id: u64,
    pub(super) user: String,
    pub(super) event: String,
    pub(super) item: String,
    pub(super) value: f32,
    pub(super) time_ms: i64,
    pub(super) device: Option<String>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Happened {
    Event(Logged),
    /// What `from` did is part of what `user` did.
    Merge {
        user: String,
        from: String,
    },
    /// Everything of a user before is forgotten. Holds no id: it would be what is left of the user.
    Erase {
        user: [u8; 16],
    },
}

impl Happened {
    /// Whether it says something of the user.
    pub(super) fn is_of(&self, erased: &[u8; 16]) -> bool {
        match self {
            Self::Event(event) => pseudonym(&event.user) == *erased,
            Self::Merge { user, from } => pseudonym(user) == *erased || pseudonym(from) == *erased,
            Self::Erase { .. } => false,
        }
    }
}

/// Names an erased user without its id.
pub(super) fn pseudonym(user: &str) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(user.as_bytes()).into();
    std::array::from_fn(|byte| digest[byte])
}

/// A log entry: what was committed together, and when.
pub(super) fn write_entry(at_ms: i64, happened: &[Happened]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&at_ms.to_le_bytes());
    // Of these types only an allocation can fail, and that ends the process.
    bytes.extend(postcard::to_allocvec(happened).unwrap_or_default());
    bytes
}

/// When an entry was written, and what it says.
pub(super) fn read_entry(position: Position, bytes: &[u8]) -> Result<(i64, Vec<Happened>), StoreError> {
    let damaged = || StoreError::Corrupt(format!("entry {position} of the event log is damaged"));
    let (at, rest) = bytes.strip_prefix(&[VERSION]).and_then(|rest| rest.split_first_chunk()).ok_or_else(damaged)?;
    Ok((i64::from_le_bytes(*at), postcard::from_bytes(rest).map_err(|_| damaged())?))
}

/// What is known of a user.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// The last position of the log that is part of it.
    pub(super) applied: Position,
    /// When the user was last heard of.
    pub(super) seen_ms: i64,
    /// Hashes of recent event ids, oldest first.
    pub(super) ids: VecDeque<u64>,
    pub(super) state: UserState,
}

impl Record {
    pub(super) fn remember(&mut self, id: u64) {
        if self.ids.len() >= REMEMBERED {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let state = self.state.encode();
        let mut bytes = Vec::with_capacity(32 + self.ids.len() * 8 + state.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.applied.to_le_bytes());
        bytes.extend_from_slice(&self.seen_ms.to_le_bytes());
        bytes.extend_from_slice(&(self.ids.len() as u16).to_le_bytes());
        self.ids.iter().for_each(|id| bytes.extend_from_slice(&id.to_le_bytes()));
        bytes.extend_from_slice(&state);
        bytes
    }

    pub(super) fn read(user: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        Self::parse(bytes).ok_or_else(|| {
            let name: String = pseudonym(user)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            StoreError::Corrupt(format!("the record of user #{name} is damaged"))
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (applied, rest) = rest.split_first_chunk()?;
        let (seen, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (ids, state) = rest.split_at_checked(usize::from(u16::from_le_bytes(*count)) * 8)?;
        let ids = ids.as_chunks().0.iter().map(|id| u64::from_le_bytes(*id)).collect();
        let state = UserState::decode(state).ok()?;
        Some(Self { applied: u64::from_le_bytes(*applied), seen_ms: i64::from_le_bytes(*seen), ids, state })
    }

    /// When a stored record was last heard of, without reading the rest.
    pub(super) fn seen_ms_of(bytes: &[u8]) -> Option<i64> {
        bytes.get(9..17).and_then(|seen| seen.try_into().ok()).map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_remembers_so_much() {
        let mut record = Record { applied: 7, seen_ms: 9, ..Record::default() };
        (0..REMEMBERED as u64 + 3).for_each(|id| record.remember(id));
        assert_eq!((record.ids.len(), record.ids[0]), (REMEMBERED, 3));
        let bytes = record.write();
        assert_eq!(Record::read("u", &bytes).unwrap(), record);
        assert_eq!(Record::seen_ms_of(&bytes), Some(9));
        for length in 0..bytes.len() - record.state.encode().len() {
            assert!(Record::read("u", &bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let event = Logged {
            id: 1,
            user: "ann".into(),
            event: "view".into(),
            item: "tea".into(),
            value: 1.5,
            time_ms: 12,
            device: None,
        };
        let happened = [
            Happened::Event(event),
            Happened::Merge { user: "ann".into(), from: "x".into() },
            Happened::Erase { user: pseudonym("ann") },
        ];
        let bytes = write_entry(5, &happened);
        assert_eq!(read_entry(1, &bytes).unwrap(), (5, happened.to_vec()));
        assert!(read_entry(1, &bytes[..bytes.len() - 1]).is_err());
        assert!(happened[..2].iter().all(|happened| happened.is_of(&pseudonym("ann"))));
        assert!(happened[1].is_of(&pseudonym("x")) && !happened[0].is_of(&pseudonym("x")));
    }
}
