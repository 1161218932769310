//! A proxy between edge and host that does what networks do, and what an attacker on the way would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_engine::{Engine, Limits};
use selvedge_follow::client::{FollowOptions, Follower, Prepare};
use selvedge_format::AlignedBytes;
use selvedge_sync::publish::Change;

use crate::host::{CHANNEL, Site, now_ms};
use crate::report::Outcome;
use crate::shop;

/// What is done to answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Delay,
    Cut,
    Truncate,
    Corrupt,
    Reorder,
    Replay,
}

const FAULTS: [(Fault, &str); 6] = [
    (Fault::Delay, "answers are delayed by up to 300 ms"),
    (Fault::Cut, "connections are cut at a random byte"),
    (Fault::Truncate, "answers end early, with a length that fits"),
    (Fault::Corrupt, "a random byte of every answer is changed"),
    (Fault::Reorder, "parts of answers are exchanged"),
    (Fault::Replay, "an old head is replayed for every head"),
];

/// How long a fault lasts in a round.
const LASTS: Duration = Duration::from_millis(250);
const CATCH_UP: Duration = Duration::from_secs(30);

pub(crate) fn run(rounds: u32, seed: u64) -> Result<Vec<Outcome>> {
    FAULTS.iter().enumerate().map(|(at, (fault, name))| one(*fault, name, rounds, seed + at as u64)).collect()
}

fn one(fault: Fault, name: &'static str, rounds: u32, seed: u64) -> Result<Outcome> {
    let promise = "the last good bundle decides, sequences only grow, the newest is in force when the fault is over";
    let mut outcome = Outcome::new(name, promise);
    let directory = tempfile::tempdir()?;
    let site = Site::new(directory.path(), "")?;
    let host = site.start()?;
    host.client.deploy(&shop::bundle(0)?)?;
    let proxy = Proxy::start(host.client.url.trim_start_matches("http://").parse()?, seed)?;
    let mut options = FollowOptions::new(&proxy.url, CHANNEL, site.keys());
    options.poll_ms = 100;
    options.stream = false;
    let prepare: Prepare<()> = Box::new(|bundle, _| {
        let mut engine = Engine::new(Limits::default());
        engine.load(AlignedBytes::copy_of(bundle)).map(|_| ()).map_err(|error| error.to_string())
    });
    let follower = Follower::start(options, prepare, |_| {}).map_err(anyhow::Error::msg)?;
    ensure!(follower.wait_for(1, CATCH_UP), "the first head is not followed");
    for round in 0..rounds {
        let before = follower.status().sequence;
        proxy.set(fault);
        let bundle = host.client.upload(&shop::bundle(u64::from(round) + 1)?)?;
        let previous = host.client.head()?;
        let head = host.client.publish(previous.as_ref(), Change::Deploy { bundle, shared: None }, now_ms())?;
        let started = Instant::now();
        let mut seen = before;
        while started.elapsed() < LASTS {
            let now = follower.status().sequence;
            outcome.held &= now >= seen && now <= head.sequence && follower.current().is_some();
            seen = now;
            std::thread::sleep(Duration::from_millis(5));
        }
        // While old heads are replayed nothing new can be in force.
        outcome.held &= fault != Fault::Replay || seen == before;
        proxy.set(Fault::None);
        outcome.checked += 1;
        outcome.lost += u64::from(!follower.wait_for(head.sequence, CATCH_UP));
        outcome.held &= follower.status().bundle == Some(bundle.id);
        outcome.rounds += 1;
    }
    Ok(outcome)
}

struct Proxy {
    url: String,
    fault: Arc<Mutex<Fault>>,
    ending: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Proxy {
    fn start(to: SocketAddr, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (fault, ending) = (Arc::new(Mutex::new(Fault::None)), Arc::new(AtomicBool::new(false)));
        let old: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
        let (faults, ended) = (Arc::clone(&fault), Arc::clone(&ending));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (faults, old) = (Arc::clone(&faults), Arc::clone(&old));
                let rng = ChaCha8Rng::seed_from_u64(seed ^ (number as u64) << 16);
                // What goes wrong here is one more fault.
                std::thread::spawn(move || drop(pass(stream, to, &faults, &old, rng)));
            }
        });
        Ok(Self { url: format!("http://{address}"), fault, ending, address })
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Passes one request on, and its answer back as the fault leaves it. Connections are not reused, so that an answer ends
/// where the host closes.
fn pass(
    mut from: TcpStream,
    to: SocketAddr,
    fault: &Mutex<Fault>,
    old: &Mutex<Option<Vec<u8>>>,
    mut rng: ChaCha8Rng,
) -> Result<()> {
    from.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        let read = from.read(&mut chunk)?;
        ensure!(read > 0, "no request");
        request.extend_from_slice(&chunk[..read]);
    }
    let asks_head = request.windows(5).any(|window| window == b"/head");
    request.truncate(request.len() - 2);
    request.extend_from_slice(b"connection: close\r\n\r\n");
    let mut upstream = TcpStream::connect(to)?;
    upstream.write_all(&request)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    let fault = *fault.lock().unwrap_or_else(PoisonError::into_inner);
    let is_whole = answer.starts_with(b"HTTP/1.1 200");
    if asks_head && is_whole {
        let mut old = old.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*old, fault) {
            (Some(old), Fault::Replay) => answer.clone_from(old),
            (None, _) => *old = Some(answer.clone()),
            _ => {}
        }
    }
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let length = answer.len() - body;
    match fault {
        Fault::None | Fault::Replay => {}
        Fault::Delay => std::thread::sleep(Duration::from_millis(rng.random_range(0..300))),
        Fault::Cut => answer.truncate(rng.random_range(0..answer.len().max(1))),
        Fault::Truncate if length > 1 => {
            let kept = rng.random_range(0..length);
            let head = String::from_utf8_lossy(&answer[..body]).to_lowercase();
            let old = format!("content-length: {length}\r\n");
            let head = head.replace(&old, &format!("content-length: {kept}\r\n"));
            answer = [head.as_bytes(), &answer[body..body + kept]].concat();
        }
        Fault::Corrupt if length > 0 => {
            let at = rng.random_range(body..answer.len());
            answer[at] ^= 1 << rng.random_range(0..8);
        }
        Fault::Reorder if length > 16 => {
            let middle = body + length / 2;
            let size = rng.random_range(1..=length / 4);
            let (first, second) = answer.split_at_mut(middle);
            first[body..body + size].swap_with_slice(&mut second[..size]);
        }
        Fault::Truncate | Fault::Corrupt | Fault::Reorder => {}
    }
    from.write_all(&answer)?;
    Ok(())
}
