//! A real host on this machine, asked over HTTP. Every answer must be one that the OpenAPI document declares.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selvedge_follow::Keys;
use selvedge_follow::client::{FollowOptions, Follower};
use selvedge_format::container::verify_id;
use selvedge_format::delta;
use selvedge_format::head::{BlobV1, HeadV1, HeadView};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::channel::hex;
use crate::config::Config;
use crate::http::openapi;
use crate::key::SigningKey;
use crate::publish::{Change, Terms, next};
use crate::sample;
use crate::serve::{Running, start_with};
use crate::store::RedbStore;
use crate::store::fault::FaultyDisk;
use crate::token::Token;

const ALL: &str = r#"["publish", "read", "ingest", "erase"]"#;

struct Host {
    runtime: Runtime,
    running: Option<Running>,
    address: SocketAddr,
    token: Token,
    key: SigningKey,
    disk: FaultyDisk,
    agent: ureq::Agent,
    document: Value,
    scheme: &'static str,
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Host {
    fn new() -> Self {
        Self::with(ALL, "")
    }

    fn with(scopes: &str, more: &str) -> Self {
        let token = Token::generate().unwrap();
        let key = SigningKey::generate().unwrap();
        let text = format!(
            "[serve]\nlisten = \"127.0.0.1:0\"\ndrain_s = 5\n[[key]]\npublic = \"{}\"\n[[token]]\nname = \"test\"\n\
             sha256 = \"{}\"\nscopes = {scopes}\nrate = 100000\n{more}",
            key.public(),
            token.sha256()
        );
        Self::start(&text, token, key, FaultyDisk::new())
    }

    fn start(text: &str, token: Token, key: SigningKey, disk: FaultyDisk) -> Self {
        let config = Config::parse(text, Path::new("selvedge.toml")).unwrap();
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = Arc::new(RedbStore::with_backend(disk.clone()).unwrap());
        let running = runtime.block_on(start_with(config, store)).unwrap();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        let document = serde_json::to_value(openapi()).unwrap();
        Self { address: running.address, running: Some(running), runtime, token, key, disk, agent, document, scheme }
    }

    fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!(
            "{}://localhost:{}{path}",
            self.scheme,
            self.address.port()
        ));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(body.to_vec()).unwrap()).unwrap();
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap(),
        };
        self.check_documented(method, path, answer.status);
        answer
    }

    fn check_documented(&self, method: &str, path: &str, status: u16) {
        let path = path.split('?').next().unwrap_or(path);
        let is = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template.iter().zip(path).all(|(template, part)| template.starts_with('{') || *template == part)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let Some((_, item)) = paths.iter().find(|(template, _)| is(template)) else { return };
        let Some(operation) = item.get(method.to_lowercase()) else { return };
        assert!(
            operation["responses"].get(status.to_string()).is_some(),
            "{method} {path} answers {status}: not declared"
        );
    }

    /// With the token.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let authorization = format!("Bearer {}", self.token.reveal());
        self.call(method, path, &[("authorization", &authorization)], body)
    }

    fn upload(&self, bytes: &[u8]) -> BlobV1 {
        let id = verify_id(bytes).unwrap();
        let answer = self.ask("PUT", &format!("/v1/blobs/{}", hex(&id)), bytes);
        assert_eq!(answer.status, 204, "{:?}", String::from_utf8_lossy(&answer.body));
        BlobV1 { id, size: bytes.len() as u32 }
    }

    fn previous(&self) -> Option<HeadV1> {
        let answer = self.call("GET", "/v1/channels/main/head", &[], b"");
        (answer.status == 200).then(|| HeadView::parse(&answer.body).unwrap().head)
    }

    fn publish(&self, change: Change<'_>) -> Answer {
        let terms = Terms { valid_ms: 3_600_000, ..Terms::default() };
        let head = next("main", self.previous().as_ref(), change, &terms, now_ms()).unwrap();
        self.ask("PUT", "/v1/channels/main/head", &self.key.sign(&head).unwrap())
    }

    fn deploy(&self, number: u32) -> BlobV1 {
        let bundle = self.upload(&sample::bundle(number));
        let answer = self.publish(Change::Deploy { bundle, shared: None });
        assert_eq!(answer.status, 204, "{:?}", String::from_utf8_lossy(&answer.body));
        bundle
    }

    /// Until the host counts by what was deployed, which it does a moment later.
    fn counts(&self) {
        wait_until("the bundle is counted by", || {
            self.send(json!([])).status == 200
                && self
                    .send(json!([{
                        "id": "warm", "user": "nobody", "event": "view"
                    }]))
                    .status
                    == 200
        });
    }

    fn send(&self, events: Value) -> Answer {
        self.ask("POST", "/v1/events", json!({ "events": events }).to_string().as_bytes())
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown()).unwrap();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_committed_document_is_the_one_that_is_made() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");
    let text = format!("{}\n", openapi().to_pretty_json().unwrap());
    if std::env::var_os("SELVEDGE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == text, "bless it with SELVEDGE_BLESS=1");
}

#[test]
fn a_head_is_published_served_and_followed() {
    let host = Host::new();
    assert_eq!(host.call("GET", "/v1/channels/main/head", &[], b"").code(), "no-channel");
    let bundle = host.deploy(1);
    let first = host.call("GET", "/v1/channels/main/head", &[], b"");
    assert_eq!((first.status, first.header("content-type")), (200, super::HEAD_TYPE));
    assert_eq!(HeadView::parse(&first.body).unwrap().head.bundle, bundle);
    let etag = first.header("etag");
    let again = host.call("GET", "/v1/channels/main/head", &[("if-none-match", etag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let waited = host.call("GET", "/v1/channels/main/head?wait=1", &[("if-none-match", etag)], b"");
    assert_eq!(waited.status, 304);
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| host.call("GET", "/v1/channels/main/head?wait=60", &[("if-none-match", etag)], b""));
        let mut stream = events(&host);
        assert_eq!(next_event(&mut stream), (1, first.body.clone()));
        assert_eq!(host.publish(Change::Kill).status, 204);
        let (sequence, bytes) = next_event(&mut stream);
        assert_eq!(sequence, 2);
        assert!(HeadView::parse(&bytes).unwrap().head.killed);
        assert_eq!(poll.join().unwrap().body, bytes);
    });
    let list = host.ask("GET", "/v1/channels", b"").json();
    assert_eq!((&list["heads"][0]["sequence"], &list["heads"][0]["killed"]), (&json!(2), &json!(true)));
    let history = host.ask("GET", "/v1/channels/main/history", b"").json();
    assert_eq!(history["heads"].as_array().unwrap().len(), 2);
    assert_eq!(history["heads"][1]["head"], json!(STANDARD.encode(&first.body)));
    assert_eq!(host.ask("GET", "/v1/channels/other/history", b"").code(), "no-channel");
    assert_eq!(host.call("GET", "/v1/channels/main/head?weight=1", &[], b"").status, 400);
}

/// An event stream of the host's channel.
fn events(host: &Host) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(host.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = "GET /v1/channels/main/head HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

fn next_event(stream: &mut BufReader<TcpStream>) -> (u64, Vec<u8>) {
    let mut sequence = None;
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream has ended");
        if let Some(id) = line.strip_prefix("id: ") {
            sequence = Some(id.trim().parse().unwrap());
        }
        if let Some(data) = line.strip_prefix("data: ") {
            sequence = sequence.or(Some(0));
            let data = STANDARD.decode(data.trim()).unwrap();
            // The id may come after the data.
            while sequence == Some(0) {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                sequence = line.strip_prefix("id: ").map(|id| id.trim().parse().unwrap()).or(sequence);
            }
            return (sequence.unwrap(), data);
        }
    }
}

#[test]
fn heads_that_followers_would_refuse_are_refused() {
    let host = Host::new();
    host.deploy(1);
    let head = host.previous().unwrap();
    let put = |head: &HeadV1, key: &SigningKey| host.ask("PUT", "/v1/channels/main/head", &key.sign(head).unwrap());
    let lower = HeadV1 { killed: true, ..head.clone() };
    let answer = put(&lower, &host.key);
    assert_eq!((answer.status, answer.code().as_str()), (409, "sequence-conflict"));
    let up = HeadV1 { sequence: 9, ..head.clone() };
    let foreign = put(&up, &SigningKey::generate().unwrap());
    assert_eq!((foreign.status, foreign.code().as_str()), (422, "unknown-key"));
    let missing = HeadV1 { bundle: BlobV1 { id: [3; 32], size: 99 }, ..up };
    assert_eq!(put(&missing, &host.key).code(), "blob-missing");
    assert_eq!(host.ask("PUT", "/v1/channels/main/head", b"hello").code(), "malformed");
    assert_eq!(host.ask("PUT", "/v1/channels/main/head", &vec![0; 10_000]).status, 413);
    assert_eq!(host.previous().unwrap(), head, "nothing has changed");
}

#[test]
fn blobs_are_immutable_compressed_and_come_as_deltas() {
    let host = Host::new();
    let (old, new) = (sample::bundle(1), sample::bundle(2));
    let (base, target) = (host.upload(&old), host.upload(&new));
    let path = format!("/v1/blobs/{}", hex(&target.id));
    let plain = host.call("GET", &path, &[("accept-encoding", "identity")], b"");
    assert_eq!((plain.header("cache-control"), &plain.body), ("public, max-age=31536000, immutable", &new));
    assert_eq!(plain.header("content-encoding"), "");
    let gzip = host.call("GET", &path, &[("accept-encoding", "gzip")], b"");
    // The client unpacks what it asked for, and takes the header away.
    assert_eq!(gzip.body, new);
    let delta = host.call("GET", &format!("{path}?base={}", hex(&base.id)), &[("accept-encoding", "gzip")], b"");
    assert_eq!(delta.header("content-type"), super::DELTA_TYPE);
    assert_eq!(delta::apply(&delta.body, &old, new.len()).unwrap(), new);
    let foreign = host.call("GET", &format!("{path}?base={}", hex(&[9; 32])), &[("accept-encoding", "gzip")], b"");
    assert_eq!((foreign.header("content-type"), &foreign.body), (super::CONTAINER_TYPE, &new));
    assert_eq!(host.call("GET", &path, &[("if-none-match", plain.header("etag"))], b"").status, 304);
    assert_eq!(host.call("HEAD", &path, &[], b"").status, 200);
    let unknown = format!("/v1/blobs/{}", hex(&[9; 32]));
    assert_eq!(host.call("HEAD", &unknown, &[], b"").status, 404);
    assert_eq!(host.call("GET", &unknown, &[], b"").code(), "no-blob");
    assert_eq!(host.call("GET", "/v1/blobs/xyz", &[], b"").code(), "bad-id");
    assert_eq!(host.ask("PUT", &unknown, &new).code(), "blob-mismatch");
    assert_eq!(host.ask("PUT", &unknown, b"hello").code(), "malformed");
}

#[test]
fn events_make_states_which_are_exported_merged_and_erased() {
    let host = Host::new();
    let early = host.send(json!([{"id": "1", "user": "ann", "event": "view"}]));
    assert_eq!((early.status, early.code().as_str()), (503, "no-bundle"));
    host.deploy(1);
    host.counts();
    let events = json!([
        {"id": "1", "user": "ann", "event": "purchase", "item": "tea", "value": 2.5, "time": "2026-11-23T18:30:00Z"},
        {"id": "2", "user": "ann", "event": "view", "item": "mug", "time": 1_790_000_000_000_i64, "device": "phone"},
        {"id": "3", "user": "anon/7", "event": "purchase", "item": "mug"},
    ]);
    assert_eq!(host.send(events.clone()).json(), json!({"accepted": 3, "duplicates": 0}));
    assert_eq!(host.send(events).json(), json!({"accepted": 0, "duplicates": 3}));
    let state = host.ask("GET", "/v1/users/ann/state", b"");
    assert_eq!((state.status, state.header("cache-control")), (200, "private, no-store"));
    let authorization = format!("Bearer {}", host.token.reveal());
    let known = [("authorization", authorization.as_str()), ("if-none-match", state.header("etag"))];
    assert_eq!(host.call("GET", "/v1/users/ann/state", &known, b"").status, 304);
    assert_eq!(host.ask("POST", "/v1/users/ann/merge", br#"{"from": "anon/7"}"#).status, 204);
    assert_eq!(host.ask("GET", "/v1/users/anon%2F7/state", b"").status, 404);
    let merged = host.ask("GET", "/v1/users/ann/state", b"");
    assert_ne!(merged.header("etag"), state.header("etag"));
    let export = host.ask("GET", "/v1/users/ann/export", b"").json();
    assert_eq!(export["events"].as_array().unwrap().len(), 2);
    assert_eq!(export["events"][0]["time"], "2026-11-23T18:30:00Z");
    assert_eq!(export["state"], json!(STANDARD.encode(&merged.body)));
    assert_eq!(host.ask("PUT", "/v1/users/ben/state", &state.body).status, 204);
    assert_eq!(host.ask("GET", "/v1/users/ben/state", b"").body, state.body);
    assert_eq!(host.ask("DELETE", "/v1/users/ann", b"").status, 204);
    for path in ["/v1/users/ann/state", "/v1/users/ann/export"] {
        assert_eq!(host.ask("GET", path, b"").code(), "unknown-user");
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let host = Host::with(ALL, "[limits]\nbody = 2000\nbatch_events = 3\n");
    host.deploy(1);
    host.counts();
    let refused = |events: Value| {
        let answer = host.send(events);
        (answer.status, answer.code(), answer.json()["error"]["message"].as_str().unwrap().to_owned())
    };
    let (status, code, message) = refused(json!([{"id": "1", "user": "ann", "event": 5}]));
    assert_eq!((status, code.as_str()), (400, "malformed"));
    assert!(message.starts_with("events[0].event: invalid type"), "{message}");
    let (status, code, message) = refused(json!([{"id": "1", "user": "ann", "event": "view", "time": "soon"}]));
    assert_eq!((status, code.as_str()), (422, "invalid"));
    assert!(message.starts_with("events[0].time"), "{message}");
    let event = json!({"id": "1", "user": "ann", "event": "view"});
    assert_eq!(refused(json!([event, event, event, event])).0, 413);
    let long = json!([{"id": "x".repeat(3000), "user": "ann", "event": "view"}]);
    assert_eq!(host.send(long).status, 413);
    assert_eq!(host.ask("PUT", "/v1/users/ann/state", b"hello").code(), "invalid");
    assert_eq!(host.ask("POST", "/v1/users/ann/merge", b"{}").code(), "malformed");
    assert_eq!(host.ask("DELETE", &format!("/v1/users/{}", "x".repeat(300)), b"").code(), "invalid");
    assert_eq!(host.ask("GET", "/v2", b"").code(), "no-route");
    assert_eq!(host.ask("POST", "/healthz", b"").code(), "no-method");
}

#[test]
fn nothing_that_writes_or_tells_of_users_is_open() {
    let host = Host::with(r#"["redeem"]"#, "");
    let document = serde_json::to_value(openapi()).unwrap();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("security").is_none() {
                let open = ["/healthz", "/readyz", "/metrics", "/v1/channels/{channel}/head", "/v1/blobs/{id}"];
                assert!(open.contains(&path.as_str()) && ["get", "head"].contains(&method.as_str()), "{method} {path}");
                continue;
            }
            // The scope that the token has, at a host that makes no offers.
            let is_redeem = path == "/v1/redeem";
            let path = path.replace("{channel}", "main").replace("{user}", "ann").replace("{id}", &hex(&[1; 32]));
            let path = path.replace("{budget}", "shop");
            let method = method.to_uppercase();
            let answer = host.call(&method, &path, &[], b"{}");
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{method} {path}");
            let wrong = host.call(&method, &path, &[("authorization", "Bearer svt_wrong")], b"{}");
            assert_eq!((wrong.status, wrong.code().as_str()), (401, "bad-token"), "{method} {path}");
            let answer = host.ask(&method, &path, b"{}");
            let refused = if is_redeem { (404, "no-offers") } else { (403, "no-scope") };
            assert_eq!((answer.status, answer.code().as_str()), refused, "{method} {path}");
            asked += 1;
        }
    }
    assert_eq!(asked, 17);
}

#[test]
fn a_token_is_held_to_its_rate() {
    let host = Host::with(
        ALL,
        "[[token]]\nname = \"slow\"\nsha256 = \"00\"\nscopes = []\n"
            .replace("\"00\"", &format!("{:?}", "00".repeat(32)))
            .as_str(),
    );
    drop(host);
    let (token, key) = (Token::generate().unwrap(), SigningKey::generate().unwrap());
    let text = format!(
        "[serve]\nlisten = \"127.0.0.1:0\"\n[[token]]\nname = \"slow\"\nsha256 = \"{}\"\nscopes = [\"publish\"]\nrate = 1\nburst = 2\n",
        token.sha256()
    );
    let host = Host::start(&text, token, key, FaultyDisk::new());
    let answers: Vec<Answer> = (0..4).map(|_| host.ask("GET", "/v1/channels", b"")).collect();
    let last = answers.last().unwrap();
    assert_eq!(answers[0].status, 200);
    assert_eq!((last.status, last.code().as_str()), (429, "rate"));
    assert!(last.header("retry-after").parse::<u32>().unwrap() >= 1);
}

#[test]
fn pages_of_configured_origins_may_write_and_all_may_follow() {
    let host = Host::with(ALL, "[cors]\norigins = [\"https://shop.example\"]\n");
    let preflight = |path: &str, method: &str, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        host.call("OPTIONS", path, &headers, b"").header("access-control-allow-origin").to_owned()
    };
    assert_eq!(preflight("/v1/events", "POST", "https://shop.example"), "https://shop.example");
    assert_eq!(preflight("/v1/events", "POST", "https://evil.example"), "");
    assert_eq!(preflight("/v1/channels/main/head", "GET", "https://evil.example"), "*");
}

#[test]
fn it_is_told_how_the_host_does() {
    let host = Host::new();
    host.deploy(1);
    host.counts();
    assert_eq!(host.call("GET", "/healthz", &[], b"").status, 200);
    let ready = host.call("GET", "/readyz", &[], b"");
    assert_eq!(ready.status, 200);
    assert!(!ready.header("x-request-id").is_empty());
    let named = host.call("GET", "/healthz", &[("x-request-id", "from-outside")], b"");
    assert_eq!(named.header("x-request-id"), "from-outside");
    let metrics = String::from_utf8(host.call("GET", "/metrics", &[], b"").body).unwrap();
    for line in [
        "selvedge_heads_published 1",
        "selvedge_http_requests_total{route=\"/v1/blobs/{id}\",method=\"PUT\",status=\"204\"} 1",
        "selvedge_events_accepted 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let document = host.call("GET", "/openapi.json", &[], b"").json();
    assert_eq!(document, host.document);
}

#[test]
fn ending_lets_followers_go_and_keeps_everything() {
    let mut host = Host::new();
    host.deploy(1);
    host.counts();
    let event = json!([{"id": "1", "user": "ann", "event": "purchase", "item": "tea"}]);
    assert_eq!(host.send(event.clone()).status, 200);
    let state = host.ask("GET", "/v1/users/ann/state", b"").body;
    let mut stream = events(&host);
    next_event(&mut stream);
    host.stop();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(TcpStream::connect(host.address).is_err(), "nobody listens any more");
    let text = format!(
        "[serve]\nlisten = \"127.0.0.1:0\"\n[[token]]\nname = \"test\"\nsha256 = \"{}\"\nscopes = {ALL}\n",
        host.token.sha256()
    );
    let token = std::mem::replace(&mut host.token, Token::generate().unwrap());
    let again = Host::start(&text, token, SigningKey::generate().unwrap(), host.disk.after_power_cut());
    assert_eq!(again.previous().unwrap().sequence, 1);
    assert_eq!(again.ask("GET", "/v1/users/ann/state", b"").body, state);
    assert_eq!(again.send(event).json(), json!({"accepted": 0, "duplicates": 1}));
}

#[test]
fn whoever_sends_a_header_too_slowly_is_let_go() {
    let host = Host::with(ALL, "[limits]\nheader_timeout_s = 1\n");
    let mut stream = TcpStream::connect(host.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /healthz HT").unwrap();
    let mut rest = Vec::new();
    // Closed, by an end or by a reset.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(host.call("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn it_speaks_tls() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, private) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&private, certified.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "[serve]\nlisten = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n",
        cert.display().to_string(),
        private.display().to_string()
    );
    let token = Token::generate().unwrap();
    let mut host = Host::start(&text, token, SigningKey::generate().unwrap(), FaultyDisk::new());
    let root = ureq::tls::Certificate::from_der(certified.cert.der()).to_owned();
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::Specific(Arc::new(vec![root]))).build();
    host.agent = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into();
    assert_eq!(host.call("GET", "/healthz", &[], b"").status, 200);
}

/// A section with a key of the host's own, which nobody else can read.
fn signing(directory: &Path) -> String {
    let path = directory.join("signing.pem");
    std::fs::write(&path, SigningKey::generate().unwrap().to_pem().unwrap().as_bytes()).unwrap();
    set_mode(&path, 0o600);
    format!("[signing]\nkey = {:?}\n", path.display().to_string())
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_signing_key_that_others_can_read_or_change_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::parse(&signing(directory.path()), Path::new("selvedge.toml")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for mode in [0o644, 0o604, 0o620, 0o601] {
        set_mode(&directory.path().join("signing.pem"), mode);
        let store = Arc::new(RedbStore::with_backend(FaultyDisk::new()).unwrap());
        let refused = runtime.block_on(start_with(config.clone(), store)).unwrap_err().to_string();
        assert!(refused.contains("signing.pem") && refused.contains("chmod 600"), "{mode:o}: {refused}");
    }
}

#[test]
fn a_host_with_a_key_refreshes_the_shared_state_from_what_it_counts() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::with(ALL, &signing(directory.path()));
    host.deploy(1);
    host.counts();
    let items = json!({"items": [{"id": "tea", "brand": "leaf", "price": 2}]}).to_string();
    assert_eq!(host.ask("PUT", "/v1/items", items.as_bytes()).status, 204);
    wait_until("a shared state is published", || host.previous().unwrap().shared.is_some());
    let first = host.previous().unwrap().shared.unwrap();
    // Counted by the brand, which the host knows from the items.
    wait_until("events are counted by brand", || {
        let event = json!([{"id": format!("{}", now_ms()), "user": "ann", "event": "purchase", "item": "tea"}]);
        assert_eq!(host.send(event).status, 200);
        assert_eq!(host.ask("PUT", "/v1/items", items.as_bytes()).status, 204);
        let shared = host.previous().unwrap().shared.unwrap();
        let bytes = host.call("GET", &format!("/v1/blobs/{}", hex(&shared.id)), &[], b"").body;
        let state = selvedge_format::shared::SharedState::load(selvedge_format::AlignedBytes::copy_of(&bytes)).unwrap();
        shared != first && state.table(0).unwrap().row(selvedge_format::key(b"leaf")).is_some()
    });
    assert_eq!(host.ask("PUT", "/v1/items", br#"{"items": [{"id": 1}]}"#).code(), "invalid");
}

#[test]
fn too_many_followers_are_refused() {
    let host = Host::with(ALL, "[limits]\nfollowers = 1\n");
    host.deploy(1);
    let mut stream = events(&host);
    next_event(&mut stream);
    let answer = host.call("GET", "/v1/channels/main/head", &[("accept", "text/event-stream")], b"");
    assert_eq!((answer.status, answer.code().as_str()), (503, "too-many-followers"));
    assert_eq!(host.call("GET", "/v1/channels/main/head", &[], b"").status, 200, "who does not wait is served");
}

/// A host with offers: their key and secret in files of their own.
fn host_with_offers(directory: &Path) -> Host {
    host_with_offers_and(directory, "")
}

fn host_with_offers_and(directory: &Path, more: &str) -> Host {
    let key = SigningKey::generate().unwrap();
    std::fs::write(directory.join("offers.pem"), &**key.to_pem().unwrap()).unwrap();
    std::fs::write(directory.join("offers.secret"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let offers = format!(
        "[offers]\nkey = {:?}\nsecret = {:?}\nissuer = \"https://shop.example\"\naudience = \"shop\"\nlargest_share = 1.0\n{more}",
        directory.join("offers.pem"),
        directory.join("offers.secret")
    );
    let host = Host::with(r#"["publish", "read", "ingest", "offer", "redeem", "lease"]"#, &offers);
    let bundle = host.upload(&sample::bundle_with_campaigns(""));
    assert_eq!(host.publish(Change::Deploy { bundle, shared: None }).status, 204);
    for budget in ["shop", "brand"] {
        let answer = host.ask("PUT", &format!("/v1/budgets/{budget}"), br#"{"total": 100000}"#);
        assert_eq!((answer.status, answer.json()["free"].as_u64()), (200, Some(100_000)));
    }
    host
}

/// A follower as edges are: it tells of the prices of every head that it believes.
fn follower_of(host: &Host, directory: &Path) -> Follower<()> {
    let text = std::fs::read_to_string(directory.join("signing.pem")).unwrap();
    let keys = Keys::new([host.key.public(), SigningKey::from_pem(&text).unwrap().public()]);
    let url = format!("http://127.0.0.1:{}", host.address.port());
    let options = FollowOptions::new(url, "main", keys);
    Follower::start(options, Box::new(|_, _| Ok(())), |_| {}).unwrap()
}

#[test]
fn a_host_that_sets_prices_raises_them_with_a_crowd_and_its_followers_hear_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let pacing = "[prices]\nbudgets = [\"shop\"]\nevery_s = 1\ndays = 1\n";
    let host = host_with_offers_and(directory.path(), &format!("{}{pacing}", signing(directory.path())));
    wait_until("the bundle decides", || host.ask("POST", "/v1/offers", br#"{"user": "eve"}"#).status == 200);
    let follower = follower_of(&host, directory.path());
    let heard = || {
        let prices = follower.current().and_then(|current| Some(current.head.as_ref()?.prices.clone()));
        prices.and_then(|prices| prices.first().map(|price| price.price_micros))
    };
    wait_until("the price comes down from the highest", || heard().is_some_and(|price| price < 1_000_000));
    let idle = heard();
    // A few at a time: of a budget that is all spent, no price is too low.
    let mut users = 0..;
    wait_until("it rises with a crowd", || {
        for user in users.by_ref().take(2) {
            let question = json!({"user": format!("user-{user}")}).to_string();
            assert_eq!(host.ask("POST", "/v1/offers", question.as_bytes()).status, 200);
        }
        std::thread::sleep(Duration::from_millis(100));
        heard() > idle
    });
    let crowd = heard();
    let budgets = host.ask("GET", "/v1/budgets", b"").json();
    assert!(budgets[1]["paced"]["price_micros"].as_u64() > Some(0), "{budgets}");
    assert!(budgets[0]["paced"].is_null(), "{budgets}");
    let metrics = String::from_utf8(host.call("GET", "/metrics", &[], b"").body).unwrap();
    assert!(metrics.contains("selvedge_budget_price_micros{budget=\"shop\"}"), "{metrics}");
    assert!(metrics.contains("selvedge_prices_published_total"), "{metrics}");

    // A kill stays a kill, and what was deployed stays deployed.
    let bundle = host.previous().unwrap().bundle;
    wait_until("the switch is off", || host.publish(Change::Kill).status == 204);
    let killed = host.previous().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(host.previous().unwrap(), killed, "nothing is published meanwhile");
    wait_until("the switch is on", || host.publish(Change::Revive).status == 204);
    wait_until("the price falls when nobody comes", || heard() < crowd);
    drop(follower);
    assert_eq!(host.previous().unwrap().bundle, bundle);
    assert!(!host.previous().unwrap().killed);
}

fn cart() -> Value {
    json!({"currency": "EUR", "lines": [{"item": "tea", "quantity": 2, "unit_minor": 2500}], "shipping_minor": 490})
}

#[test]
fn an_offer_goes_from_the_question_to_the_order() {
    let directory = tempfile::tempdir().unwrap();
    let host = host_with_offers(directory.path());
    let asked = || host.ask("POST", "/v1/offers", br#"{"user": "ada", "fields": {"visits": 3}}"#);
    wait_until("the bundle decides", || asked().status == 200);
    let answer = asked().json();
    assert_eq!(
        (&answer["status"], &answer["campaign"], &answer["offer"]["offer"]),
        (&json!("offered"), &json!("spring"), &json!("five_off"))
    );
    assert_eq!(answer["offer"]["terms"]["cap"], json!(500));
    let text = answer.to_string();
    for score in ["score", "propensity", "response", "value"] {
        assert!(!text.contains(score), "no score leaves: {text}");
    }
    assert_eq!(asked().json()["repeated"], json!(true));

    let token = answer["offer"]["token"].as_str().unwrap();
    let order = |order: &str, preview: bool| {
        let body = json!({"order": order, "user": "ada", "offers": [token], "cart": cart(), "preview": preview});
        host.ask("POST", "/v1/redeem", body.to_string().as_bytes())
    };
    let look = order("order-1", true).json();
    assert_eq!((&look["before_minor"], &look["after_minor"]), (&json!(5490), &json!(4990)));
    let settled = order("order-1", false).json();
    assert_eq!((&settled["discount_minor"], &settled["offers"][0]["repeated"]), (&json!(500), &json!(false)));
    assert_eq!(order("order-1", false).json()["offers"][0]["repeated"], json!(true));
    let again = order("order-2", false);
    assert_eq!((again.status, again.code().as_str()), (409, "already-redeemed"));

    let budgets = host.ask("GET", "/v1/budgets", b"").json();
    let settled: Vec<_> = budgets.as_array().unwrap().iter().map(|budget| budget["settled"].as_u64()).collect();
    assert_eq!(settled, [Some(200), Some(300)]);
}

#[test]
fn an_edge_leases_and_reports_and_is_told_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let host = host_with_offers(directory.path());
    let id = "0123456789abcdef0123456789abcdef";
    let lease = |id: &str, wanted: Value| {
        let body = json!({"id": id, "holder": "edge-1", "wanted": wanted, "least": {}});
        host.ask("POST", "/v1/leases", body.to_string().as_bytes())
    };
    let granted = lease(id, json!({"shop": 5000}));
    assert_eq!(granted.status, 200, "{:?}", granted.json());
    assert_eq!(granted.json()["amounts"], json!({"shop": 5000}));
    assert_eq!(lease(id, json!({"shop": 5000})).json(), granted.json(), "asking again is asking for the same");
    let refused = lease("0123456789abcdef0123456789abcde0", json!({"winter": 1}));
    assert_eq!((refused.status, refused.code().as_str()), (409, "unknown-budget"));
    assert!(refused.json()["refusal"].is_object());
    let report = |sequence: u64, minted: Value| {
        let body = json!({"lease": id, "holder": "edge-1", "sequence": sequence, "closed": true, "minted": minted});
        host.ask("POST", "/v1/leases/reports", body.to_string().as_bytes())
    };
    assert_eq!(report(1, json!({})).json(), json!("Taken"));
    assert_eq!(report(1, json!({})).json(), json!("Over"), "nothing was minted, all came back");
    let budgets = host.ask("GET", "/v1/budgets", b"").json();
    assert_eq!(budgets[1]["free"], json!(100_000));
}

#[test]
fn what_cannot_be_offered_or_redeemed_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let host = host_with_offers(directory.path());
    wait_until("the bundle decides", || host.ask("POST", "/v1/offers", br#"{"user": "eve"}"#).status == 200);
    let code = |method: &str, path: &str, body: Value| {
        let answer = host.ask(method, path, body.to_string().as_bytes());
        (answer.status, answer.code())
    };
    let order = |token: &str, cart: Value| json!({"order": "o", "user": "ada", "offers": [token], "cart": cart});
    for (status, name, method, path, body) in [
        (400, "malformed", "POST", "/v1/offers", json!({"usr": "ada"})),
        (422, "invalid", "POST", "/v1/offers", json!({"user": "ada", "fields": {"visits": "many"}})),
        (400, "malformed", "POST", "/v1/redeem", json!({"order": "o"})),
        (422, "malformed", "POST", "/v1/redeem", order("no.token.at-all", cart())),
        (
            422,
            "too-many-offers",
            "POST",
            "/v1/redeem",
            json!({"order": "o", "user": "ada", "offers": [], "cart": cart()}),
        ),
        (422, "bad-terms", "PUT", "/v1/budgets/shop", json!({"total": 0})),
        (422, "bad-name", "PUT", "/v1/budgets/Shop", json!({"total": 5})),
        (400, "malformed", "POST", "/v1/leases", json!({"id": 5, "holder": "e", "wanted": {}, "least": {}})),
        (
            400,
            "malformed",
            "POST",
            "/v1/leases",
            json!({"id": "00000000000000000000000000000001", "holder": "e", "wanted": {"shop": -1}, "least": {}}),
        ),
    ] {
        assert_eq!(code(method, path, body), (status, name.to_owned()), "{method} {path}");
    }
    // Without the scope, and at a host that makes no offers.
    let reader = Host::with(r#"["read"]"#, "");
    for (path, body) in
        [("/v1/offers", json!({"user": "a"})), ("/v1/redeem", order("t", cart())), ("/v1/leases", json!({}))]
    {
        assert_eq!(reader.ask("POST", path, body.to_string().as_bytes()).status, 403, "{path}");
    }
    let answer = reader.ask("GET", "/v1/budgets", b"");
    assert_eq!((answer.status, answer.code().as_str()), (404, "no-offers"));
}
