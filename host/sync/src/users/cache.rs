//! States in memory: bounded, and never without one that is not written yet.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::entry::Record;
use crate::store::Position;

/// What a user costs besides its record: keys, pointers, the entry of the map.
const OVERHEAD: usize = 256;
/// How much an event may add to a state.
const PER_EVENT: usize = 64;

#[derive(Debug)]
pub(super) struct Cached {
    pub(super) record: Record,
    size: usize,
    used: bool,
    dirty: bool,
}

/// Whoever waits to be written: since when, and from which position on the record is behind the log.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) user: String,
    pub(super) from: Position,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Cache {
    users: HashMap<String, Cached>,
    /// In order of entry; the hand of the clock is the front.
    clock: VecDeque<String>,
    /// In order of the positions from which they wait.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    dirty_bytes: usize,
    limit: usize,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            users: HashMap::new(),
            clock: VecDeque::new(),
            waiting: VecDeque::new(),
            bytes: 0,
            dirty_bytes: 0,
            limit,
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    pub(super) fn peek(&self, user: &str) -> Option<&Record> {
        self.users.get(user).map(|cached| &cached.record)
    }

    pub(super) fn waiting(&self) -> &VecDeque<Waiting> {
        &self.waiting
    }

    pub(super) fn users(&self) -> impl Iterator<Item = &String> {
        self.users.keys()
    }

    /// Takes in a record as it is stored, of `stored` bytes.
    pub(super) fn insert(&mut self, user: &str, record: Record, stored: usize) {
        let size = size_of(user, stored);
        let cached = Cached { record, size, used: true, dirty: false };
        if let Some(old) = self.users.insert(user.to_owned(), cached) {
            self.bytes -= old.size;
            self.dirty_bytes -= if old.dirty { old.size } else { 0 };
        } else {
            self.clock.push_back(user.to_owned());
        }
        self.bytes += size;
    }

    /// Changes a record that is in memory; from `position` on it differs from what is stored.
    pub(super) fn change<T>(
        &mut self,
        user: &str,
        position: Position,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Option<T> {
        let cached = self.users.get_mut(user)?;
        let result = change(&mut cached.record);
        cached.used = true;
        cached.size += PER_EVENT;
        self.bytes += PER_EVENT;
        if cached.dirty {
            self.dirty_bytes += PER_EVENT;
        } else {
            cached.dirty = true;
            self.dirty_bytes += cached.size;
            self.waiting.push_back(Waiting { user: user.to_owned(), from: position, since: Instant::now() });
        }
        Some(result)
    }

    /// Changes a record that is written at once, as `stored` bytes.
    pub(super) fn replace(&mut self, user: &str, record: Record, stored: usize) {
        let position = self.waiting.iter().position(|waiting| waiting.user == user);
        if let Some(position) = position {
            self.waiting.remove(position);
        }
        self.insert(user, record, stored);
    }

    pub(super) fn remove(&mut self, user: &str) {
        if let Some(old) = self.users.remove(user) {
            self.bytes -= old.size;
            self.dirty_bytes -= if old.dirty { old.size } else { 0 };
        }
        self.waiting.retain(|waiting| waiting.user != user);
        self.clock.retain(|other| other != user);
    }

    /// The first `count` of those who wait were written, with so many bytes each.
    pub(super) fn written(&mut self, stored: &[usize]) {
        for stored in stored {
            let Some(waiting) = self.waiting.pop_front() else { return };
            let Some(cached) = self.users.get_mut(&waiting.user) else { continue };
            let size = size_of(&waiting.user, *stored);
            self.dirty_bytes -= cached.size;
            self.bytes = self.bytes - cached.size + size;
            (cached.size, cached.dirty) = (size, false);
        }
    }

    /// Lets go of those who were not used since the hand came by, until the limit is kept; never of one that waits.
    pub(super) fn evict(&mut self) {
        let mut steps = self.clock.len() * 2;
        while self.bytes > self.limit && steps > 0 {
            steps -= 1;
            let Some(user) = self.clock.pop_front() else { return };
            let Some(cached) = self.users.get_mut(&user) else { continue };
            if cached.dirty || std::mem::take(&mut cached.used) {
                self.clock.push_back(user);
            } else {
                self.bytes -= cached.size;
                self.users.remove(&user);
            }
        }
    }
}

/// A decoded state takes about twice its bytes.
fn size_of(user: &str, stored: usize) -> usize {
    OVERHEAD + 2 * user.len() + 2 * stored
}
