//! A host in a process of its own, and calls to it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use selvedge_follow::Keys;
use selvedge_format::container::verify_id;
use selvedge_format::head::{BlobV1, HeadV1, HeadView};
use selvedge_sync::channel::hex;
use selvedge_sync::key::SigningKey;
use selvedge_sync::publish::{Change, Terms, next};
use selvedge_sync::token::Token;
use selvedge_sync::users::Incoming;
use serde_json::{Value, json};

pub(crate) const CHANNEL: &str = "shop";

/// What outlives a host: its data, its keys.
#[derive(Clone)]
pub(crate) struct Site {
    directory: PathBuf,
    pub(crate) key: Arc<SigningKey>,
    token: Arc<Token>,
    more: String,
}

/// A host that runs.
pub(crate) struct Host {
    child: Child,
    pub(crate) client: Client,
}

/// Whoever asks a host.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) url: String,
    authorization: String,
    key: Arc<SigningKey>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    pub(crate) fn ok(self) -> Result<Self> {
        ensure!((200..300).contains(&self.status), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        Ok(self)
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Site {
    /// A site in `directory`; `more` is added to the configuration.
    pub(crate) fn new(directory: &Path, more: &str) -> Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            key: Arc::new(SigningKey::generate()?),
            token: Arc::new(Token::generate()?),
            more: more.to_owned(),
        })
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new([self.key.public()])
    }

    /// Starts a host on the site's data, and waits until it is ready.
    pub(crate) fn start(&self) -> Result<Host> {
        let config = self.directory.join("selvedge.toml");
        let text = format!(
            "[serve]\nlisten = \"127.0.0.1:0\"\ndata = \"data\"\n[users]\nchannel = \"{CHANNEL}\"\n{}\n[log]\nlevel = \"error\"\n\
             [[key]]\npublic = \"{}\"\n[[token]]\nname = \"all\"\nsha256 = \"{}\"\n\
             scopes = [\"publish\", \"read\", \"ingest\", \"erase\"]\nrate = 1000000\n",
            self.more,
            self.key.public(),
            self.token.sha256(),
        );
        std::fs::write(&config, text)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("host")
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a host")?;
        let mut line = String::new();
        let read =
            child.stdout.take().map(BufReader::new).context("a host says where it listens")?.read_line(&mut line);
        if read? == 0 {
            bail!("a host does not start: {}", child.wait()?);
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        let authorization = format!("Bearer {}", self.token.reveal());
        let url = format!("http://{}", line.trim());
        Ok(Host { child, client: Client { agent, url, authorization, key: Arc::clone(&self.key) } })
    }

    /// Kilobytes that the site takes on the disk.
    pub(crate) fn disk_kb(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.directory.join("data/selvedge.redb"))?.len() / 1024)
    }
}

impl Host {
    /// Ends it as a power cut of the process would: it is not told.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Kilobytes of memory that it has resident.
    pub(crate) fn memory_kb(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is a number")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    pub(crate) fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", &self.authorization)
            .body(body)?;
        let mut response = self.agent.run(request)?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: response.body_mut().with_config().limit(1 << 30).read_to_vec()? })
    }

    pub(crate) fn head(&self) -> Result<Option<HeadV1>> {
        let answer = self.call("GET", &format!("/v1/channels/{CHANNEL}/head"), b"")?;
        Ok(if answer.status == 200 { Some(HeadView::parse(&answer.body)?.head) } else { None })
    }

    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<BlobV1> {
        let id = verify_id(bytes)?;
        self.call("PUT", &format!("/v1/blobs/{}", hex(&id)), bytes)?.ok()?;
        Ok(BlobV1 { id, size: u32::try_from(bytes.len())? })
    }

    /// Signs and publishes what follows on `previous`, as of `at_ms`; its sequence.
    pub(crate) fn publish(&self, previous: Option<&HeadV1>, change: Change<'_>, at_ms: i64) -> Result<HeadV1> {
        let terms = Terms { valid_ms: 86_400_000, ..Terms::default() };
        let head = next(CHANNEL, previous, change, &terms, at_ms)?;
        self.call("PUT", &format!("/v1/channels/{CHANNEL}/head"), &self.key.sign(&head)?)?.ok()?;
        Ok(head)
    }

    /// Deploys a bundle, and waits until the host counts by it.
    pub(crate) fn deploy(&self, bundle: &[u8]) -> Result<()> {
        let bundle = self.upload(bundle)?;
        let previous = self.head()?;
        self.publish(previous.as_ref(), Change::Deploy { bundle, shared: None }, now_ms())?;
        let started = Instant::now();
        let probe =
            json!({"events": [{"id": format!("probe-{}", now_ms()), "user": "probe", "event": "view"}]}).to_string();
        while self.call("POST", "/v1/events", probe.as_bytes())?.status != 200 {
            ensure!(started.elapsed() < Duration::from_secs(30), "the bundle is not counted by");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn send(&self, events: &[Incoming]) -> Result<Answer> {
        self.call("POST", "/v1/events", document(events).as_bytes())
    }

    /// How many of the events count that were sent before: all of them, if none was lost.
    pub(crate) fn known(&self, events: &[Incoming]) -> Result<u64> {
        let mut known = 0;
        for batch in events.chunks(500) {
            known += self.send(batch)?.ok()?.json()?["duplicates"].as_u64().context("duplicates")?;
        }
        Ok(known)
    }

    pub(crate) fn state(&self, user: &str) -> Result<Option<Vec<u8>>> {
        let answer = self.call("GET", &format!("/v1/users/{user}/state"), b"")?;
        Ok(if answer.status == 404 { None } else { Some(answer.ok()?.body) })
    }

    /// The events of a user that are kept, in the order in which they counted.
    pub(crate) fn events_of(&self, user: &str) -> Result<Vec<Incoming>> {
        let answer = self.call("GET", &format!("/v1/users/{user}/export"), b"")?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let export = answer.ok()?.json()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = |value: &Value| -> Result<Incoming> {
            Ok(Incoming {
                id: String::new(),
                user: user.to_owned(),
                event: text(&value["event"]),
                item: text(&value["item"]),
                value: value["value"].as_f64().context("value")? as f32,
                time_ms: chrono_ms(&text(&value["time"]))?,
                device: None,
            })
        };
        export["events"].as_array().context("events")?.iter().map(event).collect()
    }
}

fn chrono_ms(text: &str) -> Result<i64> {
    Ok(text.parse::<jiff::Timestamp>()?.as_millisecond())
}

pub(crate) fn document(events: &[Incoming]) -> String {
    let event = |event: &Incoming| {
        json!({"id": event.id, "user": event.user, "event": event.event, "item": event.item, "value": event.value,
            "time": event.time_ms})
    };
    json!({ "events": events.iter().map(event).collect::<Vec<_>>() }).to_string()
}
