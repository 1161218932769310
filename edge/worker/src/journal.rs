//! The log of decisions and outcomes: records end to end, in objects of the R2 bucket `LOG`.
//!
//! Records wait a moment for company and are written after the response, by one writer per isolate. What waits is bounded;
//! what does not fit, and what could not be written after three attempts, is counted in the status and dropped: a log
//! must not cost a shopper anything.

use std::time::Duration;

use worker::{Date, Delay, Env};

use crate::config::Log;
use crate::isolate;

const ATTEMPTS: u32 = 3;

/// Takes records in; to be awaited after the response.
pub(crate) async fn append(env: Env, log: Log, records: Vec<u8>) {
    if records.is_empty() {
        return;
    }
    let is_writer = isolate::with(|isolate| {
        if isolate.journal.len() + records.len() > log.max_bytes {
            isolate.counters.records_dropped += 1;
        } else {
            isolate.counters.records += 1;
            isolate.journal.extend_from_slice(&records);
        }
        !std::mem::replace(&mut isolate.is_writing, true)
    });
    if is_writer {
        Delay::from(Duration::from_millis(log.delay_ms)).await;
        write(&env).await;
    }
}

async fn write(env: &Env) {
    let batch = isolate::with(|isolate| {
        isolate.is_writing = false;
        std::mem::take(&mut isolate.journal)
    });
    let Ok(bucket) = env.bucket("LOG") else { return };
    let mut random = [0; 8];
    crate::random(&mut random);
    let key = format!("log/{}-{}.svdr", Date::now().as_millis(), isolate::hexadecimal(&random));
    for attempt in 0..ATTEMPTS {
        if bucket.put(&key, batch.clone()).execute().await.is_ok() {
            return;
        }
        isolate::with(|isolate| isolate.counters.log_failures += 1);
        Delay::from(Duration::from_millis(200 << attempt)).await;
    }
    isolate::with(|isolate| isolate.counters.records_dropped += 1);
}
