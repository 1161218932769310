//! Heads and blobs.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use selvedge_format::container::ContentId;
use selvedge_format::head::{BlobV1, HeadV1, MAX_LEN, SHARE};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, ErrorBody, blocking, body};
use super::{App, CONTAINER_TYPE, DELTA_TYPE, HEAD_TYPE};
use crate::channel::{Answer, Blob, Published, hex};
use crate::config::Scope;

/// Longest wait for news.
const MAX_WAIT_S: u64 = 60;
/// An event stream says at least so often that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Heads in an answer.
const MAX_HISTORY: usize = 1000;
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// Seconds to wait for another head than that of `If-None-Match`, at most 60.
    wait: Option<u64>,
}

/// Counts a follower that stays connected.
struct Following(Arc<App>);

impl Following {
    fn new(app: &Arc<App>) -> Result<Self, ApiError> {
        let most = app.config.limits.followers;
        let taken =
            app.followers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| (now < most).then_some(now + 1));
        taken.map(|_| Self(Arc::clone(app))).map_err(|_| {
            let message = "too many followers are connected; ask without waiting";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-followers", message).retry_after(30)
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The newest head of a channel: at once, when it changes (`wait`), or as a stream of events (`Accept:
/// text/event-stream`: event `head`, the sequence as its id, the bytes in base64 as its data).
#[utoipa::path(
    get,
    path = "/v1/channels/{channel}/head",
    tag = "channels",
    params(("channel" = String, Path, description = "Name of the channel"), Wait),
    responses(
        (status = 200, description = "The signed head, or a stream of them", content_type = HEAD_TYPE, body = Vec<u8>),
        (status = 304, description = "It is that of If-None-Match"),
        (status = 400, description = "The query is not known", body = ErrorBody),
        (status = 404, description = "No such channel", body = ErrorBody),
        (status = 503, description = "Too many followers", body = ErrorBody)
    )
)]
pub(super) async fn get_head(
    State(app): State<Arc<App>>,
    Path(channel): Path<String>,
    Query(query): Query<Wait>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let head = app.channels.head(&channel).ok_or_else(|| ApiError::no_channel(&channel))?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        let following = Following::new(&app)?;
        return Ok(events(&app, &channel, following));
    }
    let known = |head: &Published| is_known(&headers, &head.etag);
    let wait = query.wait.unwrap_or(0).min(MAX_WAIT_S);
    if wait == 0 || !known(&head) {
        return Ok(answer(&head, known(&head)));
    }
    let _following = Following::new(&app)?;
    let mut heads = app.channels.watch(&channel);
    let mut ending = app.ending.clone();
    let changed = heads.wait_for(|newest| newest.as_ref().is_some_and(|newest| !known(newest)));
    let head = tokio::select! {
        newest = changed => newest.ok().and_then(|newest| newest.clone()).unwrap_or(head),
        _ = ending.wait_for(|ending| *ending) => head,
        () = tokio::time::sleep(Duration::from_secs(wait)) => head,
    };
    Ok(answer(&head, known(&head)))
}

fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn answer(head: &Published, known: bool) -> Response {
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, HEAD_TYPE)], head.bytes.clone()).into_response(),
    };
    if let Ok(etag) = HeaderValue::from_str(&head.etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    // A cache in front may answer for a moment, and must ask again then.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=1, must-revalidate"));
    response
}

fn events(app: &Arc<App>, channel: &str, following: Following) -> Response {
    let heads = app.channels.watch(channel);
    let ending = app.ending.clone();
    let start = (heads, ending, following, true);
    let stream = stream::unfold(start, |(mut heads, mut ending, following, first)| async move {
        if !first {
            tokio::select! {
                changed = heads.changed() => changed.ok()?,
                _ = ending.wait_for(|ending| *ending) => return None,
            }
        }
        let head = heads.borrow_and_update().clone()?;
        let event =
            Event::default().event("head").id(head.head.sequence.to_string()).data(STANDARD.encode(&head.bytes));
        Some((Ok::<_, Infallible>(event), (heads, ending, following, false)))
    });
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather an answer before they pass it on would never pass this one on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Publish a head.
#[utoipa::path(
    put,
    path = "/v1/channels/{channel}/head",
    tag = "channels",
    params(("channel" = String, Path, description = "Name of the channel")),
    request_body(content = Vec<u8>, content_type = HEAD_TYPE, description = "The signed head"),
    security(("token" = ["publish"])),
    responses(
        (status = 204, description = "It is the newest head"),
        (status = 400, description = "The body did not come whole", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 409, description = "The sequence is not above the newest", body = ErrorBody),
        (status = 413, description = "Too large", body = ErrorBody),
        (status = 422, description = "The head is not believed, or cannot be deployed", body = ErrorBody),
        (status = 429, description = "Over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn put_head(
    State(app): State<Arc<App>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<StatusCode, ApiError> {
    app.access.check(&headers, Scope::Publish)?;
    let bytes = body(sent, MAX_LEN).await?;
    let published = {
        let (channels, channel) = (app.channels.clone(), channel.clone());
        blocking(move || Ok(channels.put(&channel, &bytes, App::now_ms())?)).await?
    };
    tracing::info!(channel, sequence = published.head.sequence, bundle = hex(&published.head.bundle.id), "published");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub(super) struct HeadList {
    /// Newest heads, in base64.
    heads: Vec<HeadItem>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct HeadItem {
    /// Name of the channel.
    channel: String,
    /// Sequence of the head.
    sequence: u64,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    issued_ms: i64,
    /// Until when it is believed.
    not_after_ms: i64,
    /// What decides.
    bundle: BlobItem,
    /// The shared state that goes with it.
    shared: Option<BlobItem>,
    /// The share of the users for whom another bundle decides.
    rollout_share: Option<f64>,
    /// Nothing is personalised.
    killed: bool,
    /// The signed head, base64.
    head: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BlobItem {
    /// Content id, hexadecimal.
    id: String,
    /// Length in bytes.
    bytes: u32,
}

impl From<&BlobV1> for BlobItem {
    fn from(blob: &BlobV1) -> Self {
        Self { id: hex(&blob.id), bytes: blob.size }
    }
}

impl HeadItem {
    fn new(published: &Published) -> Self {
        let head: &HeadV1 = &published.head;
        Self {
            channel: head.channel.clone(),
            sequence: head.sequence,
            issued_ms: head.issued_ms,
            not_after_ms: head.not_after_ms,
            bundle: (&head.bundle).into(),
            shared: head.shared.as_ref().map(Into::into),
            rollout_share: head.rollout.map(|rollout| f64::from(rollout.share) / f64::from(SHARE)),
            killed: head.killed,
            head: STANDARD.encode(&published.bytes),
        }
    }
}

/// The newest head of every channel.
#[utoipa::path(
    get,
    path = "/v1/channels",
    tag = "channels",
    security(("token" = ["publish"])),
    responses(
        (status = 200, description = "The channels", body = HeadList),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 429, description = "Over the token's rate", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody)
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<HeadList>, ApiError> {
    app.access.check(&headers, Scope::Publish)?;
    Ok(Json(HeadList { heads: app.channels.list().iter().map(|published| HeadItem::new(published)).collect() }))
}

/// The heads that a channel had, newest first, at most 1,000.
#[utoipa::path(
    get,
    path = "/v1/channels/{channel}/history",
    tag = "channels",
    params(("channel" = String, Path, description = "Name of the channel")),
    security(("token" = ["publish"])),
    responses(
        (status = 200, description = "The heads", body = HeadList),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "No such channel", body = ErrorBody),
        (status = 429, description = "Over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody)
    )
)]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
) -> Result<Json<HeadList>, ApiError> {
    app.access.check(&headers, Scope::Publish)?;
    app.channels.head(&channel).ok_or_else(|| ApiError::no_channel(&channel))?;
    let channels = app.channels.clone();
    let heads = blocking(move || Ok(channels.history(&channel, MAX_HISTORY)?)).await?;
    Ok(Json(HeadList { heads: heads.iter().map(HeadItem::new).collect() }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Base {
    /// Content id of what is held already, hexadecimal: the answer may be a delta from it.
    base: Option<String>,
}

/// A bundle or shared state by its content id; a delta to it, if `base` names what is held and a delta pays.
#[utoipa::path(
    get,
    path = "/v1/blobs/{id}",
    tag = "channels",
    params(("id" = String, Path, description = "Content id, hexadecimal"), Base),
    responses(
        (status = 200, description = "The bytes, immutable; the content type tells a delta from the whole",
            content_type = CONTAINER_TYPE, body = Vec<u8>),
        (status = 304, description = "It is that of If-None-Match"),
        (status = 400, description = "Not an id", body = ErrorBody),
        (status = 404, description = "No such blob", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody)
    )
)]
pub(super) async fn get_blob(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<Base>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = content_id(&id)?;
    let base = query.base.as_deref().map(content_id).transpose()?;
    let etag = format!("\"{}\"", hex(&id));
    if is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let gzip = accepts.split(',').any(|coding| {
        let (coding, weight) = coding.split_once(';').unwrap_or((coding, ""));
        matches!(coding.trim(), "gzip" | "*") && weight.trim() != "q=0"
    });
    let channels = app.channels.clone();
    // Deltas are stored compressed only; who cannot read that gets the whole.
    let base = base.filter(|_| gzip);
    let found = blocking(move || Ok(channels.answer(&id, base.as_ref())?)).await?;
    let mut response = match found {
        None => {
            let message = format!("there is no blob {}", hex(&id));
            return Err(ApiError::new(StatusCode::NOT_FOUND, "no-blob", message));
        }
        Some(Answer::Delta(bytes)) => {
            ([(header::CONTENT_TYPE, DELTA_TYPE), (header::CONTENT_ENCODING, "gzip")], bytes).into_response()
        }
        Some(Answer::Full(Blob { gzip: Some(bytes), .. })) if gzip => {
            let kind = [(header::CONTENT_TYPE, CONTAINER_TYPE), (header::CONTENT_ENCODING, "gzip")];
            (kind, bytes).into_response()
        }
        Some(Answer::Full(blob)) => ([(header::CONTENT_TYPE, CONTAINER_TYPE)], blob.plain).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Whether a blob is stored.
#[utoipa::path(
    head,
    path = "/v1/blobs/{id}",
    tag = "channels",
    params(("id" = String, Path, description = "Content id, hexadecimal")),
    responses(
        (status = 200, description = "It is"),
        (status = 400, description = "Not an id"),
        (status = 404, description = "It is not"),
        (status = 500, description = "The store failed"),
        (status = 503, description = "Too much at once")
    )
)]
pub(super) async fn head_blob(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id = content_id(&id)?;
    let store = Arc::clone(&app.store);
    let length = blocking(move || Ok(store.blob_len(&id)?)).await?;
    length
        .map(|_| StatusCode::OK)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "no-blob", "there is no such blob"))
}

/// Store a bundle or a shared state.
#[utoipa::path(
    put,
    path = "/v1/blobs/{id}",
    tag = "channels",
    params(("id" = String, Path, description = "Content id, hexadecimal")),
    request_body(content = Vec<u8>, content_type = CONTAINER_TYPE, description = "The container"),
    security(("token" = ["publish"])),
    responses(
        (status = 204, description = "It is stored"),
        (status = 400, description = "Not an id, or the body did not come whole", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 413, description = "Too large", body = ErrorBody),
        (status = 422, description = "Not the container of that id", body = ErrorBody),
        (status = 429, description = "Over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn put_blob(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<StatusCode, ApiError> {
    app.access.check(&headers, Scope::Publish)?;
    let id = content_id(&id)?;
    let bytes = body(sent, app.config.limits.blob).await?;
    let channels = app.channels.clone();
    blocking(move || Ok(channels.put_blob(&id, &bytes)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn content_id(text: &str) -> Result<ContentId, ApiError> {
    crate::config::unhex(text).ok_or_else(|| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad-id", "a content id is 64 hexadecimal digits")
            .hint("`selvedge inspect` shows the id of a file")
    })
}
