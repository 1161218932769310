//! The follower against a source that fails in every way.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use selvedge_format::container::{ContainerBuilder, Kind, verify_id};
use selvedge_format::delta;
use selvedge_format::head::{BlobV1, GuardV1, HeadV1, RolloutV1};

use super::api::hex;
use super::*;
use crate::{Keys, PublicKey, Refusal, State, in_rollout};

type Script = Box<dyn Fn(&str) -> Reply + Send + Sync>;

enum Reply {
    Answer(u16, &'static str, Vec<u8>),
    /// Announces so many bytes and sends fewer.
    Cut(Vec<u8>),
    /// A stream that says these heads, and then nothing.
    Stream(Vec<Vec<u8>>),
    /// Closes without a word.
    Nothing,
    /// Keeps the connection for twenty seconds, which is less than a follower's patience, without a word.
    Hang,
}

/// A source that says what its script says.
struct Source {
    url: String,
    script: Arc<Mutex<Script>>,
    ending: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Source {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|_| Reply::Nothing)));
        let (ending, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let source = Self { url, script: Arc::clone(&script), ending: Arc::clone(&ending), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::SeqCst) {
                    return;
                }
                let (script, asked, ending) = (Arc::clone(&script), Arc::clone(&asked), Arc::clone(&ending));
                std::thread::spawn(move || answer(stream.unwrap(), &script, &asked, &ending));
            }
        });
        source
    }

    fn says(&self, script: impl Fn(&str) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    fn asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.contains(what)).count()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn answer(mut stream: TcpStream, script: &Mutex<Script>, asked: &Mutex<Vec<String>>, ending: &AtomicBool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let wants_stream = lines.iter().any(|line| line.contains("text/event-stream"));
    let path = if wants_stream { format!("{path}#stream") } else { path };
    asked.lock().unwrap().push(path.clone());
    let reply = script.lock().unwrap()(&path);
    let _ = match reply {
        Reply::Nothing => Ok(()),
        Reply::Hang => {
            for _ in 0..400 {
                if ending.load(Ordering::SeqCst) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            asked.lock().unwrap().push("#let go".to_owned());
            Ok(())
        }
        Reply::Answer(status, kind, body) => write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .and_then(|()| stream.write_all(&body)),
        Reply::Cut(body) => {
            write!(stream, "HTTP/1.1 200 X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len() + 10)
                .and_then(|()| stream.write_all(&body))
        }
        Reply::Stream(heads) => {
            let _ = write!(stream, "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
            for head in heads {
                let _ = write!(stream, "event: head\ndata: {}\n\n", STANDARD.encode(head));
            }
            for _ in 0..1200 {
                if ending.load(Ordering::SeqCst) || write!(stream, ":\n\n").is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
    };
}

fn bundle(number: u8) -> Vec<u8> {
    let content: Vec<u8> = (0..2000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    ContainerBuilder::new(Kind::Bundle).optional(9, 1, content).optional(10, 1, vec![number]).build()
}

fn blob(bytes: &[u8]) -> BlobV1 {
    BlobV1 { id: verify_id(bytes).unwrap(), size: bytes.len() as u32 }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn keys() -> Keys {
    Keys::new([PublicKey::from_bytes(key().verifying_key().as_bytes()).unwrap()])
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn head(sequence: u64, number: u8) -> HeadV1 {
    HeadV1 {
        channel: "shop".into(),
        sequence,
        issued_ms: now_ms(),
        not_before_ms: now_ms() - 3_600_000,
        not_after_ms: now_ms() + 3_600_000,
        bundle: blob(&bundle(number)),
        shared: None,
        rollout: None,
        prices: Vec::new(),
        guard: Some(GuardV1 { max_fallback_share: 1000, min_decisions: 10 }),
        killed: false,
    }
}

fn signed(head: &HeadV1) -> Vec<u8> {
    let public = PublicKey::from_bytes(key().verifying_key().as_bytes()).unwrap();
    let unsigned = head.unsigned(public.id()).unwrap();
    let signature = key().sign(&unsigned.message());
    unsigned.sign(&signature.to_bytes())
}

fn whole(path: &str, head: &[u8]) -> Reply {
    if path.contains("#stream") {
        return Reply::Answer(503, "text/plain", Vec::new());
    }
    if path.contains("/head") {
        return Reply::Answer(200, "application/vnd.selvedge.head", head.to_vec());
    }
    for number in 0..10 {
        let bytes = bundle(number);
        if path.contains(&format!("/v1/blobs/{}", hex(&blob(&bytes).id))) {
            return Reply::Answer(200, "application/vnd.selvedge.container", bytes);
        }
    }
    Reply::Answer(404, "application/json", br#"{"error": {"code": "no-blob", "message": "no"}}"#.to_vec())
}

type Events = Arc<Mutex<Vec<Event>>>;

fn follow(source: &Source, change: impl FnOnce(&mut FollowOptions)) -> (Follower<u8>, Events) {
    let mut options = FollowOptions::new(&source.url, "shop", keys());
    options.bootstrap = Some((bundle(0), None));
    options.poll_ms = 100;
    change(&mut options);
    let events: Events = Arc::default();
    let told = Arc::clone(&events);
    // The number is the last byte that is not padding.
    let prepare = |bundle: &[u8], _: Option<&[u8]>| match bundle.last() {
        Some(9) | None => Err("number 9 never loads".to_owned()),
        Some(number) => Ok(*number),
    };
    let follower = Follower::start(options, Box::new(prepare), move |event| told.lock().unwrap().push(event)).unwrap();
    (follower, events)
}

fn decides(follower: &Follower<u8>) -> u8 {
    *follower.current().unwrap().for_user("ann")
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_new_head_is_in_force_and_decisions_in_flight_keep_the_old_one() {
    let source = Source::new();
    let first = signed(&head(1, 1));
    source.says(move |path| whole(path, &first));
    let (follower, _) = follow(&source, |_| {});
    assert!(follower.wait_for(1, SOON));
    let in_flight = follower.current().unwrap();
    let second = signed(&head(2, 2));
    source.says(move |path| whole(path, &second));
    assert!(follower.wait_for(2, SOON));
    assert_eq!((*in_flight.for_user("ann"), decides(&follower)), (1, 2));
    let status = follower.status();
    assert_eq!((status.state, status.sequence, status.prices_valid), (State::Following, 2, true));
}

#[test]
fn a_stream_brings_heads_without_asking() {
    let source = Source::new();
    let (first, second) = (signed(&head(1, 1)), signed(&head(2, 2)));
    source.says(move |path| match path.contains("#stream") {
        true => Reply::Stream(vec![first.clone(), second.clone()]),
        false => whole(path, &first),
    });
    let (follower, _) = follow(&source, |options| options.poll_ms = 3_600_000);
    assert!(follower.wait_for(2, SOON));
    assert_eq!(source.asked("/head"), 2, "one question and one stream");
}

/// A source that is well, then says what the script says until `is_told`, then is well again.
fn survives(what: &str, script: impl Fn(&str) -> Reply + Send + Sync + 'static, is_told: impl Fn(&Event) -> bool) {
    let source = Source::new();
    let good = signed(&head(2, 1));
    source.says(move |path| whole(path, &good));
    let (follower, events) = follow(&source, |_| {});
    assert!(follower.wait_for(2, SOON));
    source.says(script);
    wait_until(what, || events.lock().unwrap().iter().any(&is_told));
    assert_eq!(decides(&follower), 1, "{what}");
    let next = signed(&head(4, 2));
    source.says(move |path| whole(path, &next));
    assert!(follower.wait_for(4, SOON), "{what}: it goes on when the source is well");
    assert_eq!((decides(&follower), follower.status().refusal), (2, None), "{what}");
}

#[test]
fn whatever_the_source_says_the_last_good_bundle_decides() {
    let missing = HeadV1 { bundle: BlobV1 { id: [7; 32], size: 100 }, ..head(3, 2) };
    let large = HeadV1 { bundle: BlobV1 { size: u32::MAX, ..blob(&bundle(2)) }, ..head(3, 2) };
    let mut corrupt = signed(&head(3, 2));
    // The switch: its last byte.
    *corrupt.last_mut().unwrap() ^= 1;
    let heads = [
        (Refusal::SequenceLower, signed(&head(1, 2))),
        (Refusal::SequenceReused, signed(&head(2, 2))),
        (Refusal::Malformed, corrupt[..corrupt.len() - 1].to_vec()),
        (Refusal::BadSignature, corrupt),
        (Refusal::Expired, signed(&HeadV1 { not_after_ms: now_ms(), ..head(3, 2) })),
        (Refusal::LoadFailed, signed(&head(3, 9))),
        (Refusal::BlobMissing, signed(&missing)),
        (Refusal::BlobTooLarge, signed(&large)),
    ];
    // Side by side: each waits for its own pauses.
    std::thread::scope(|scope| {
        for (refusal, bytes) in heads {
            let is_told = move |event: &Event| *event == Event::Refused(refusal);
            scope.spawn(move || survives(refusal.code(), move |path| whole(path, &bytes), is_told));
        }
    });
}

#[test]
fn whatever_the_source_does_the_last_good_bundle_decides() {
    type Is = fn(&Event) -> bool;
    let next = || signed(&head(3, 2));
    let of_blobs = |reply: fn() -> Reply| -> Script {
        let next = next();
        Box::new(move |path| if path.contains("/blobs/") { reply() } else { whole(path, &next) })
    };
    let unreachable: Is = |event| matches!(event, Event::Unreachable(_));
    let mismatch: Is = |event| *event == Event::Refused(Refusal::BlobMismatch);
    let cases: [(&str, Script, Is); 6] = [
        ("nothing", Box::new(|_| Reply::Nothing), unreachable),
        ("an error page", Box::new(|_| Reply::Answer(500, "text/html", b"<h1>oops</h1>".to_vec())), unreachable),
        ("nothing for a blob", of_blobs(|| Reply::Nothing), unreachable),
        ("a cut blob", of_blobs(|| Reply::Cut(bundle(2)[..500].to_vec())), unreachable),
        ("another blob", of_blobs(|| Reply::Answer(200, "application/octet-stream", bundle(3))), mismatch),
        ("a page for a blob", of_blobs(|| Reply::Answer(200, "text/html", b"<h1>hello</h1>".to_vec())), mismatch),
    ];
    std::thread::scope(|scope| {
        for (what, script, is_told) in cases {
            scope.spawn(move || survives(what, script, is_told));
        }
    });
}

#[test]
fn a_delta_is_used_and_a_bad_one_is_not() {
    let source = Source::new();
    let make = |bad: bool| {
        let mut delta = delta::encode(&bundle(1), &bundle(2)).unwrap();
        if bad {
            let last = delta.len() - 1;
            delta[last] ^= 1;
        }
        delta
    };
    for (bad, asked) in [(false, 0), (true, 1)] {
        let first = signed(&head(1, 1));
        source.says(move |path| whole(path, &first));
        let (follower, _) = follow(&source, |options| options.bootstrap = None);
        assert!(follower.wait_for(1, SOON));
        source.asked.lock().unwrap().clear();
        let second = signed(&head(2, 2));
        source.says(move |path| match path.contains("?base=") {
            true => Reply::Answer(200, "application/vnd.selvedge.delta", make(bad)),
            false => whole(path, &second),
        });
        assert!(follower.wait_for(2, SOON));
        assert_eq!(decides(&follower), 2);
        assert_eq!(source.asked("/blobs/") - source.asked("?base="), asked, "the whole is fetched after a bad delta");
    }
}

#[test]
fn too_many_fallbacks_bring_the_bundle_before_back_until_a_higher_sequence() {
    let source = Source::new();
    let first = signed(&head(1, 1));
    source.says(move |path| whole(path, &first));
    let (follower, events) = follow(&source, |_| {});
    assert!(follower.wait_for(1, SOON));
    let second = signed(&head(2, 2));
    source.says(move |path| whole(path, &second));
    assert!(follower.wait_for(2, SOON));
    (0..9).for_each(|_| follower.decided(true));
    assert_eq!(decides(&follower), 2, "too few to tell");
    follower.decided(true);
    assert_eq!((decides(&follower), follower.status().state), (1, State::RolledBack));
    assert!(events.lock().unwrap().contains(&Event::RolledBack { sequence: 2 }));
    let asked = source.asked("/head");
    wait_until("it asks on", || source.asked("/head") > asked + 2);
    assert_eq!(decides(&follower), 1, "the same head is not tried again");
    let third = signed(&head(3, 3));
    source.says(move |path| whole(path, &third));
    assert!(follower.wait_for(3, SOON));
    assert_eq!((decides(&follower), follower.status().state), (3, State::Following));
}

#[test]
fn a_kill_is_obeyed_even_when_its_bundle_cannot_be_had() {
    let source = Source::new();
    let killed = HeadV1 { killed: true, bundle: BlobV1 { id: [7; 32], size: 100 }, ..head(1, 1) };
    let killed = signed(&killed);
    source.says(move |path| whole(path, &killed));
    let (follower, _) = follow(&source, |_| {});
    assert!(follower.wait_for(1, SOON));
    assert!(follower.current().unwrap().is_killed());
    assert_eq!((follower.status().state, follower.status().prices_valid), (State::Killed, false));
}

fn sends(source: &Source, follower: &Follower<u8>, head: &HeadV1) {
    let bytes = signed(head);
    source.says(move |path| whole(path, &bytes));
    assert!(follower.wait_for(head.sequence, SOON), "sequence {}", head.sequence);
}

#[test]
fn whatever_a_higher_sequence_names_after_a_rollback_it_is_followed_and_guarded() {
    let source = Source::new();
    let (follower, _) = follow(&source, |_| {});
    sends(&source, &follower, &head(1, 1));
    sends(&source, &follower, &head(2, 2));
    (0..10).for_each(|_| follower.decided(true));
    assert_eq!((decides(&follower), follower.status().state), (1, State::RolledBack));
    // The publisher goes back too: the bundle that decides already.
    sends(&source, &follower, &head(3, 1));
    assert_eq!((decides(&follower), follower.status().state), (1, State::Following));
    sends(&source, &follower, &head(4, 2));
    (0..10).for_each(|_| follower.decided(true));
    assert_eq!((decides(&follower), follower.status().state), (1, State::RolledBack));
}

#[test]
fn no_guard_undoes_a_kill_and_none_brings_one_back() {
    let source = Source::new();
    let (follower, _) = follow(&source, |_| {});
    sends(&source, &follower, &head(1, 1));
    sends(&source, &follower, &head(2, 2));
    sends(&source, &follower, &HeadV1 { killed: true, ..head(3, 2) });
    (0..20).for_each(|_| follower.decided(true));
    assert!(follower.current().unwrap().is_killed());
    sends(&source, &follower, &head(4, 3));
    (0..10).for_each(|_| follower.decided(true));
    assert_eq!((decides(&follower), follower.status().state), (2, State::RolledBack));
    assert!(!follower.current().unwrap().is_killed());
}

#[test]
fn a_bundle_that_could_not_be_had_under_a_kill_is_loaded_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new();
    let with = |options: &mut FollowOptions| options.directory = Some(directory.path().to_owned());
    let (follower, _) = follow(&source, with);
    sends(&source, &follower, &head(1, 1));
    let killed = signed(&HeadV1 { killed: true, ..head(2, 2) });
    source.says(move |path| if path.contains("/blobs/") { Reply::Nothing } else { whole(path, &killed) });
    assert!(follower.wait_for(2, SOON));
    assert_eq!((decides(&follower), follower.status().bundle), (1, Some(blob(&bundle(1)).id)));
    drop(follower);
    source.says(|_| Reply::Nothing);
    let (follower, _) = follow(&source, with);
    assert!(follower.current().unwrap().is_killed(), "a kill outlives a restart");
    sends(&source, &follower, &head(3, 2));
    assert_eq!((decides(&follower), follower.status().state), (2, State::Following));
}

#[test]
fn a_rollout_decides_for_its_users_and_is_not_loaded_again_for_all() {
    let source = Source::new();
    let (follower, _) = follow(&source, |_| {});
    let rollout = RolloutV1 { bundle: blob(&bundle(2)), shared: None, share: 5000, salt: 7 };
    sends(&source, &follower, &HeadV1 { rollout: Some(rollout), ..head(1, 1) });
    let current = follower.current().unwrap();
    let users: Vec<String> = (0..50).map(|user| format!("user-{user}")).collect();
    for user in &users {
        let theirs = if in_rollout(7, user, 5000) { 2 } else { 1 };
        assert_eq!(*current.for_user(user), theirs, "{user}");
    }
    let of_rollout = users.iter().find(|user| in_rollout(7, user, 5000)).unwrap();
    source.asked.lock().unwrap().clear();
    sends(&source, &follower, &head(2, 2));
    assert!(std::ptr::eq(follower.current().unwrap().for_user("ann"), current.for_user(of_rollout)));
    assert_eq!(source.asked("/blobs/"), 0, "it is held");
}

#[test]
fn the_last_good_bundle_outlives_a_restart_and_a_damaged_file_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new();
    let first = signed(&head(5, 1));
    source.says(move |path| whole(path, &first));
    let with = |options: &mut FollowOptions| options.directory = Some(directory.path().to_owned());
    let (follower, _) = follow(&source, with);
    assert!(follower.wait_for(5, SOON));
    drop(follower);
    source.says(|_| Reply::Nothing);
    let (follower, _) = follow(&source, with);
    assert_eq!((decides(&follower), follower.status().sequence), (1, 5));
    drop(follower);
    let file = directory.path().join("shop.last-good");
    let bytes = std::fs::read(&file).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        let (follower, events) = follow(&source, with);
        if follower.status().sequence == 0 {
            assert_eq!(decides(&follower), 0, "byte {at}: the bundle that it came with");
            assert!(matches!(events.lock().unwrap()[0], Event::NotSaved(_)));
        } else {
            assert_eq!(decides(&follower), 1, "byte {at} does not matter");
        }
    }
}

#[test]
fn it_ends_soon_whatever_it_waits_for() {
    let source = Source::new();
    let first = signed(&head(1, 1));
    source.says(move |path| match path.contains("#stream") {
        true => Reply::Stream(Vec::new()),
        false => whole(path, &first),
    });
    let (follower, _) = follow(&source, |_| {});
    wait_until("it listens", || source.asked("#stream") > 0);
    drop(follower);
}

#[test]
fn a_source_that_hangs_is_not_waited_for() {
    let source = Source::new();
    source.says(|_| Reply::Hang);
    let (follower, _) = follow(&source, |_| {});
    wait_until("it asks", || source.asked("/head") > 0);
    drop(follower);
    assert_eq!(source.asked("#let go"), 0, "the question is still open");
}
