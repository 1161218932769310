//! The host's HTTP interface, as calls.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selvedge_format::container::ContentId;
use selvedge_format::head::{HeadV1, HeadView, MAX_LEN};
use serde::Deserialize;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

/// Longest wait for a call: uploads of large bundles over slow lines included.
const CALL: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for a head: it is small, and somebody who follows asks again.
const HEAD: Duration = Duration::from_secs(30);
/// Longest life of a stream. A connection that died without a word goes with it; whoever listens asks, and listens again.
const STREAM: Duration = Duration::from_secs(3600);
/// Largest answer that is not a blob.
const MAX_ANSWER: u64 = 64 << 20;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The address is none.
    #[error("{0:?} is not an address such as https://host.example")]
    Address(String),
    /// The host could not be asked.
    #[error("{0}")]
    Transport(String),
    /// The host refused.
    #[error("{message} [{code}, {status}]")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// Stable name of the reason.
        code: String,
        /// What was wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// Seconds to wait before asking again.
        retry_after_s: Option<u64>,
    },
    /// The answer is not what a host answers.
    #[error("the answer is not that of a Selvedge host: {0}")]
    Answer(String),
}

impl ApiError {
    /// Whether the host understood and said no, as opposed to not being reached.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status: 400..=499, .. } | Self::Address(_))
    }

    /// What to do, if it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } => hint.as_deref(),
            Self::Address(_) => None,
            Self::Transport(_) => Some("`selvedge serve` starts a host"),
            Self::Answer(_) => Some("is it the address of the host itself?"),
        }
    }
}

/// What was answered to somebody who follows.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) kind: String,
    pub(super) body: Vec<u8>,
}

/// A host.
#[derive(Clone, Debug)]
pub struct Api {
    agent: Agent,
    base: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Heads {
    heads: Vec<HeadItem>,
}

#[derive(Deserialize)]
struct HeadItem {
    head: String,
}

#[derive(Deserialize)]
struct Failure {
    error: Detail,
}

#[derive(Deserialize)]
struct Detail {
    code: String,
    message: String,
    hint: Option<String>,
}

impl Api {
    /// The host at `url`, with a token for what wants one.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, ApiError> {
        let is_address =
            (url.starts_with("http://") || url.starts_with("https://")) && url.parse::<ureq::http::Uri>().is_ok();
        if !is_address {
            return Err(ApiError::Address(url.to_owned()));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL))
            .timeout_connect(Some(CONNECT))
            .max_redirects(3)
            .user_agent(concat!("selvedge/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, base: url.trim_end_matches('/').to_owned(), token })
    }

    /// The newest head of a channel; `None` if there is no such channel.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn head(&self, channel: &str) -> Result<Option<Vec<u8>>, ApiError> {
        let answer = self.get(&format!("/v1/channels/{channel}/head"), &[], MAX_LEN as u64);
        match answer {
            Ok(answer) => Ok(Some(answer.body)),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Publishes a head.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn put_head(&self, channel: &str, head: &[u8]) -> Result<(), ApiError> {
        self.put(&format!("/v1/channels/{channel}/head"), head)
    }

    /// The newest heads of all channels.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn channels(&self) -> Result<Vec<HeadV1>, ApiError> {
        self.heads("/v1/channels")
    }

    /// The heads that a channel had, newest first; none if there is no such channel.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn history(&self, channel: &str) -> Result<Vec<HeadV1>, ApiError> {
        match self.heads(&format!("/v1/channels/{channel}/history")) {
            Err(ApiError::Refused { status: 404, .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Whether a blob is stored.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn has_blob(&self, id: &ContentId) -> Result<bool, ApiError> {
        let request = self.agent.head(self.blob_url(id));
        let mut response = request.call().map_err(|error| ApiError::Transport(error.to_string()))?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(&mut response)),
        }
    }

    /// A blob; `None` if it is not stored.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn blob(&self, id: &ContentId) -> Result<Option<Vec<u8>>, ApiError> {
        match self.get(&format!("/v1/blobs/{}", hex(id)), &[], MAX_ANSWER) {
            Ok(answer) => Ok(Some(answer.body)),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a blob.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn put_blob(&self, id: &ContentId, bytes: &[u8]) -> Result<(), ApiError> {
        self.put(&format!("/v1/blobs/{}", hex(id)), bytes)
    }

    /// A document of the host.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn document(&self, path: &str) -> Result<serde_json::Value, ApiError> {
        let answer = self.get(path, &[], MAX_ANSWER)?;
        serde_json::from_slice(&answer.body).map_err(|error| ApiError::Answer(error.to_string()))
    }

    /// Puts a document.
    ///
    /// # Errors
    /// The host cannot be asked, or refuses.
    pub fn put_document(&self, path: &str, document: &serde_json::Value) -> Result<(), ApiError> {
        self.put(path, document.to_string().as_bytes())
    }

    fn blob_url(&self, id: &ContentId) -> String {
        format!("{}/v1/blobs/{}", self.base, hex(id))
    }

    fn heads(&self, path: &str) -> Result<Vec<HeadV1>, ApiError> {
        let answer = self.get(path, &[], MAX_ANSWER)?;
        let no_host = |error: String| ApiError::Answer(error);
        let heads: Heads = serde_json::from_slice(&answer.body).map_err(|error| no_host(error.to_string()))?;
        let read = |item: &HeadItem| {
            let bytes = STANDARD.decode(&item.head).map_err(|error| no_host(error.to_string()))?;
            Ok(HeadView::parse(&bytes).map_err(|error| no_host(error.to_string()))?.head)
        };
        heads.heads.iter().map(read).collect()
    }

    /// Asks; 200 and 304 are answers, everything else is a refusal. At most `limit` bytes are taken.
    pub(super) fn get(&self, path: &str, headers: &[(&str, &str)], limit: u64) -> Result<Answer, ApiError> {
        let longest = if limit <= MAX_LEN as u64 { HEAD } else { CALL };
        let request = self.agent.get(format!("{}{path}", self.base));
        let mut request = request.config().timeout_global(Some(longest)).build();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| ApiError::Transport(error.to_string()))?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED) {
            return Err(refusal(&mut response));
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (etag, kind) = (header("etag"), header("content-type").unwrap_or_default());
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(limit).read_to_vec();
        let body = body.map_err(|error| ApiError::Transport(error.to_string()))?;
        Ok(Answer { status, etag, kind, body })
    }

    /// Opens a stream of events; it is read until it ends.
    pub(super) fn stream(&self, path: &str, silence: Duration) -> Result<Response<Body>, ApiError> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("accept", "text/event-stream");
        // Meant to last; the reader bounds the silence.
        let request = request.config().timeout_global(None).timeout_recv_response(Some(silence));
        let request = request.timeout_recv_body(Some(STREAM)).build();
        let mut response = request.call().map_err(|error| ApiError::Transport(error.to_string()))?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if response.status() == StatusCode::OK && kind.starts_with("text/event-stream") {
            return Ok(response);
        }
        Err(refusal(&mut response))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), ApiError> {
        let mut request = self.agent.put(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(bytes).map_err(|error| ApiError::Transport(error.to_string()))?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(&mut response)) }
    }
}

fn refusal(response: &mut Response<Body>) -> ApiError {
    const MOST: u64 = 1 << 16;
    let status = response.status().as_u16();
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after_s = header.and_then(|seconds| seconds.parse().ok());
    let body = response.body_mut().with_config().limit(MOST).read_to_vec().unwrap_or_default();
    match serde_json::from_slice::<Failure>(&body) {
        Ok(Failure { error: Detail { code, message, hint } }) => {
            ApiError::Refused { status, code, message, hint, retry_after_s }
        }
        Err(_) => {
            let message = format!("the answer has status {status}");
            ApiError::Refused { status, code: "unknown".to_owned(), message, hint: None, retry_after_s }
        }
    }
}

pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
