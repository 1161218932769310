//! The log of decisions and outcomes: records end to end, in objects of the R2 bucket `LOG`.
//!
//! Records wait a moment for company and are written after the response, by one writer per isolate. What waits is bounded;
//! what does not fit, and what could not be written after three attempts, is counted in the status and dropped: a log
//! must not cost a shopper anything.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use worker::{Bucket, Date, Delay, Env};

use crate::config::Log;
use crate::record::Records;
use crate::{isolate, origin};

const ATTEMPTS: u32 = 3;
/// How long an attempt may take, milliseconds.
const ATTEMPT_MS: u64 = 5_000;
/// How long a writer goes on, milliseconds: the platform ends what runs for thirty seconds after its response. The next
/// record finds another one.
const SHIFT_MS: u64 = 10_000;
/// After this a writer is given up: it may have been ended without a word.
const LOST_MS: u64 = 30_000;

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Whether there is a place to write to; unknown until a writer has looked.
    is_off: bool,
    waiting: Records,
    /// When whoever writes began; none if nobody does.
    writing_since_ms: Option<u64>,
}

impl Journal {
    /// Takes records in if there is room. Returns how many were dropped, and whether the caller is the one to write.
    fn take_in(&mut self, records: Records, max_bytes: usize, now_ms: u64) -> (u64, bool) {
        let fits = self.waiting.bytes.len() + records.bytes.len() <= max_bytes;
        let dropped = if fits { 0 } else { records.count };
        if fits {
            self.waiting.bytes.extend(records.bytes);
            self.waiting.count += records.count;
        }
        let is_free = self.writing_since_ms.is_none_or(|since| now_ms.saturating_sub(since) >= LOST_MS);
        if is_free {
            self.writing_since_ms = Some(now_ms);
        }
        (dropped, is_free)
    }

    /// What is to be written next. Nothing ends the shift, and so does its time.
    fn next(&mut self, now_ms: u64) -> Option<Records> {
        let is_over = self.writing_since_ms.is_none_or(|since| now_ms.saturating_sub(since) >= SHIFT_MS);
        if self.waiting.count == 0 || is_over {
            self.writing_since_ms = None;
        }
        (self.waiting.count > 0).then(|| std::mem::take(&mut self.waiting))
    }

    const fn is_written(&self) -> bool {
        self.writing_since_ms.is_some()
    }
}

/// What goes on after a response.
type Later = LocalBoxFuture<'static, ()>;

/// Takes records in, and has them written after the response.
pub(crate) fn append(env: &Env, wait_until: impl FnOnce(Later), log: Log, records: impl FnOnce(f64) -> Records) {
    if isolate::with(|isolate| isolate.journal.is_off) {
        return;
    }
    let records = records(log.share);
    if records.count == 0 {
        return;
    }
    let is_writer = isolate::with(|isolate| {
        let count = records.count;
        let (dropped, is_writer) = isolate.journal.take_in(records, log.max_bytes, Date::now().as_millis());
        isolate.counters.records += count - dropped;
        isolate.counters.records_dropped += dropped;
        is_writer
    });
    if !is_writer {
        return;
    }
    match env.bucket("LOG") {
        Ok(bucket) => {
            wait_until(async move { write(&bucket, Duration::from_millis(log.delay_ms)).await }.boxed_local());
        }
        Err(_) => isolate::with(|isolate| {
            isolate.journal = Journal { is_off: true, ..Journal::default() };
            isolate.counters.records = 0;
        }),
    }
}

async fn write(bucket: &Bucket, delay: Duration) {
    loop {
        Delay::from(delay).await;
        let now_ms = Date::now().as_millis();
        let Some(batch) = isolate::with(|isolate| isolate.journal.next(now_ms)) else { return };
        put(bucket, batch, now_ms).await;
        if !isolate::with(|isolate| isolate.journal.is_written()) {
            return;
        }
    }
}

async fn put(bucket: &Bucket, batch: Records, now_ms: u64) {
    let mut random = [0; 8];
    crate::random(&mut random);
    let key = format!("log/{now_ms}-{}.svdr", isolate::hexadecimal(&random));
    for attempt in 0..ATTEMPTS {
        let written = origin::within(ATTEMPT_MS, bucket.put(&key, batch.bytes.clone()).execute()).await;
        if matches!(written, Some(Ok(_))) {
            return;
        }
        isolate::with(|isolate| isolate.counters.log_failures += 1);
        Delay::from(Duration::from_millis(200 << attempt)).await;
    }
    isolate::with(|isolate| isolate.counters.records_dropped += batch.count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: u64) -> Records {
        Records { bytes: vec![0; 10 * count as usize], count }
    }

    #[test]
    fn one_writes_while_the_others_only_leave_their_records() {
        let mut journal = Journal::default();
        assert_eq!(journal.take_in(records(1), 100, 0), (0, true));
        assert_eq!(journal.take_in(records(2), 100, 1), (0, false));
        assert_eq!(journal.next(1_000).map(|batch| batch.count), Some(3));
        assert_eq!(journal.take_in(records(1), 100, 1_001), (0, false), "it is still on its way");
        assert_eq!(journal.next(2_000).map(|batch| batch.count), Some(1));
        assert!(journal.next(3_000).is_none());
        assert_eq!(journal.take_in(records(1), 100, 3_001), (0, true), "nobody writes any more");
    }

    #[test]
    fn what_waits_is_bounded_and_a_lost_writer_is_replaced() {
        let mut journal = Journal::default();
        assert_eq!(journal.take_in(records(10), 100, 0), (0, true));
        assert_eq!(journal.take_in(records(3), 100, 1), (3, false), "there is no room");
        assert_eq!(journal.take_in(records(3), 100, LOST_MS), (3, true));
    }

    #[test]
    fn a_shift_ends_and_leaves_nothing_behind() {
        let mut journal = Journal::default();
        journal.take_in(records(1), 100, 0);
        assert_eq!(journal.next(SHIFT_MS).map(|batch| batch.count), Some(1));
        assert!(!journal.is_written());
        assert_eq!(journal.take_in(records(1), 100, SHIFT_MS + 1), (0, true));
    }
}
