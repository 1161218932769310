//! What is under way: events in the order of their time, and messages that may not arrive.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::world::Faults;

/// Something that happens at a time. Of two at the same time the one that was planned first is first.
#[derive(Debug)]
struct Planned<E> {
    at_ms: i64,
    number: u64,
    event: E,
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap's first is the largest.
        (other.at_ms, other.number).cmp(&(self.at_ms, self.number))
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

/// All that is to come.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    events: BinaryHeap<Planned<E>>,
    planned: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { events: BinaryHeap::new(), planned: 0 }
    }

    pub(crate) fn plan(&mut self, at_ms: i64, event: E) {
        self.planned += 1;
        self.events.push(Planned { at_ms, number: self.planned, event });
    }

    pub(crate) fn next(&mut self) -> Option<(i64, E)> {
        self.events.pop().map(|planned| (planned.at_ms, planned.event))
    }
}

/// When a message that is sent now arrives: never, once or twice, and in no order.
pub(crate) fn deliveries(faults: &Faults, rng: &mut ChaCha8Rng, now_ms: i64) -> impl Iterator<Item = i64> + use<> {
    let copies = if rng.random_bool(faults.lost) { 0 } else { 1 + usize::from(rng.random_bool(faults.doubled)) };
    let mut arrival_ms = || {
        let longest_ms = if rng.random_bool(faults.late) { 60_000 } else { 500 };
        now_ms + rng.random_range(5..longest_ms)
    };
    let both = [arrival_ms(), arrival_ms()];
    both.into_iter().take(copies)
}
