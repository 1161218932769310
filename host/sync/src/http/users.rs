//! Events, states, and what users may ask for.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, ErrorBody, blocking, body};
use super::{App, STATE_TYPE};
use crate::config::Scope;
use crate::users::{Incoming, Ingested, MAX_ID, StateCopy};

/// Name of the catalogue among the values of the store.
pub(crate) const ITEMS: &str = "items";
/// A catalogue may be so much larger than other bodies.
const ITEMS_FACTOR: usize = 64;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    /// At most `limits.batch_events` of them.
    events: Vec<EventItem>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventItem {
    /// The event's own id: sending it again changes nothing.
    id: String,
    /// Who did it.
    user: String,
    /// Name of the event, as the bundle declares it.
    event: String,
    /// Id of the item.
    #[serde(default)]
    item: String,
    /// What counters of values add; 0 by default.
    #[serde(default)]
    value: f32,
    /// When: RFC 3339, or milliseconds since 1970-01-01 UTC; now by default.
    time: Option<Time>,
    /// On which device, if devices are told apart.
    device: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Time {
    Text(String),
    Ms(i64),
}

#[derive(Serialize, ToSchema)]
pub(super) struct Taken {
    /// Events that count from now on.
    accepted: u64,
    /// Events that counted before.
    duplicates: u64,
}

impl From<Ingested> for Taken {
    fn from(ingested: Ingested) -> Self {
        Self { accepted: ingested.accepted, duplicates: ingested.duplicates }
    }
}

/// Take a batch of events: all or none. When it is answered they are durable, and states have them.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "users",
    request_body = Events,
    security(("token" = ["ingest"])),
    responses(
        (status = 200, description = "They are taken", body = Taken),
        (status = 400, description = "Not such a document", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 413, description = "Too much at a time", body = ErrorBody),
        (status = 422, description = "One of them cannot be used", body = ErrorBody),
        (status = 429, description = "Too much is waiting, or over the token's rate: see Retry-After", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "No bundle is deployed, or too much at once", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn post_events(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Taken>, ApiError> {
    app.access.check(&headers, Scope::Ingest)?;
    let bytes = body(sent, app.config.limits.body).await?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let read: Result<Events, _> = serde_path_to_error::deserialize(&mut reader);
    let document = read.map_err(|error| {
        let message = format!("{}: {}", error.path(), error.inner());
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
            .hint("{\"events\": [{\"id\", \"user\", \"event\", \"item\", \"value\"?, \"time\"?, \"device\"?}]}")
    })?;
    let now_ms = App::now_ms();
    let mut events = Vec::with_capacity(document.events.len());
    for (position, event) in document.events.into_iter().enumerate() {
        let time_ms = match event.time {
            None => now_ms,
            Some(Time::Ms(ms)) => ms,
            Some(Time::Text(text)) => {
                text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|_| {
                    let message = format!("events[{position}].time: a time such as 2026-11-23T18:30:00Z is expected");
                    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
                })?
            }
        };
        events.push(Incoming {
            id: event.id,
            user: event.user,
            event: event.event,
            item: event.item,
            value: event.value,
            time_ms,
            device: event.device,
        });
    }
    Ok(Json(app.users.ingest(events).await?.into()))
}

/// A user's state, as requests carry it.
#[utoipa::path(
    get,
    path = "/v1/users/{user}/state",
    tag = "users",
    params(("user" = String, Path, description = "Id of the user")),
    security(("token" = ["read"])),
    responses(
        (status = 200, description = "The encoded state", content_type = STATE_TYPE, body = Vec<u8>),
        (status = 304, description = "It is that of If-None-Match"),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "Nothing is known of the user", body = ErrorBody),
        (status = 422, description = "Not an id", body = ErrorBody),
        (status = 429, description = "Over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody)
    )
)]
pub(super) async fn get_state(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.access.check(&headers, Scope::Read)?;
    check_id(&user)?;
    let users = Arc::clone(&app.users);
    let state = blocking(move || Ok(users.state(&user)?)).await?;
    let StateCopy { bytes, tag } = state.ok_or_else(unknown_user)?;
    let etag = format!("\"{tag:016x}\"");
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, STATE_TYPE)], bytes).into_response(),
    };
    private(&mut response);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Take over a state that was kept elsewhere, on the user's device say: of each device, whichever is further.
#[utoipa::path(
    put,
    path = "/v1/users/{user}/state",
    tag = "users",
    params(("user" = String, Path, description = "Id of the user")),
    request_body(content = Vec<u8>, content_type = STATE_TYPE, description = "The encoded state"),
    security(("token" = ["ingest"])),
    responses(
        (status = 204, description = "It is taken over"),
        (status = 400, description = "The body did not come whole", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 413, description = "Too large, or too many devices", body = ErrorBody),
        (status = 422, description = "Not a state, or not an id", body = ErrorBody),
        (status = 429, description = "Too much is waiting, or over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn put_state(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<StatusCode, ApiError> {
    app.access.check(&headers, Scope::Ingest)?;
    let bytes = body(sent, app.config.limits.body).await?;
    app.users.put_state(&user, &bytes).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Merge {
    /// Whose events become the user's: the id that an anonymous device had.
    from: String,
}

/// Make what an anonymous device did part of what a user did, when it signs in.
#[utoipa::path(
    post,
    path = "/v1/users/{user}/merge",
    tag = "users",
    params(("user" = String, Path, description = "Id of the user")),
    request_body = Merge,
    security(("token" = ["ingest"])),
    responses(
        (status = 204, description = "It is; the other id is forgotten"),
        (status = 400, description = "Not such a document", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 413, description = "Together they have too many devices", body = ErrorBody),
        (status = 422, description = "Not an id", body = ErrorBody),
        (status = 429, description = "Too much is waiting, or over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn merge(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<StatusCode, ApiError> {
    app.access.check(&headers, Scope::Ingest)?;
    let bytes = body(sent, app.config.limits.body).await?;
    let merge: Merge = serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", error).hint("{\"from\": \"the id that the device had\"}")
    })?;
    app.users.merge(&user, &merge.from).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub(super) struct ExportBody {
    /// Id of the user.
    user: String,
    /// When the user was last heard of.
    seen: String,
    /// The encoded state, base64: `selvedge inspect` shows what it holds.
    state: String,
    /// The events that are still kept, oldest first.
    events: Vec<ExportedEvent>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ExportedEvent {
    event: String,
    item: String,
    value: f32,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
}

/// Everything that is known of a user.
#[utoipa::path(
    get,
    path = "/v1/users/{user}/export",
    tag = "users",
    params(("user" = String, Path, description = "Id of the user")),
    security(("token" = ["read"])),
    responses(
        (status = 200, description = "What is known", body = ExportBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "Nothing is known of the user", body = ErrorBody),
        (status = 422, description = "Not an id", body = ErrorBody),
        (status = 429, description = "Over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody)
    )
)]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.access.check(&headers, Scope::Read)?;
    check_id(&user)?;
    let (users, name) = (Arc::clone(&app.users), user.clone());
    let export = blocking(move || Ok(users.export(&name)?)).await?.ok_or_else(unknown_user)?;
    let time = |ms| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string());
    let event = |event: Incoming| ExportedEvent {
        event: event.event,
        item: event.item,
        value: event.value,
        time: time(event.time_ms),
        device: event.device,
    };
    let mut response = Json(ExportBody {
        user,
        seen: time(export.seen_ms),
        state: STANDARD.encode(&export.state),
        events: export.events.into_iter().map(event).collect(),
    })
    .into_response();
    private(&mut response);
    Ok(response)
}

/// Forget a user: the state at once, the events in the log soon after.
#[utoipa::path(
    delete,
    path = "/v1/users/{user}",
    tag = "users",
    params(("user" = String, Path, description = "Id of the user")),
    security(("token" = ["erase"])),
    responses(
        (status = 204, description = "Forgotten, or never known"),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 422, description = "Not an id", body = ErrorBody),
        (status = 429, description = "Too much is waiting, or over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "Too much at once", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn erase(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    app.access.check(&headers, Scope::Erase)?;
    app.users.erase(&user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace the catalogue: items and their fields, which the next shared state has.
#[utoipa::path(
    put,
    path = "/v1/items",
    tag = "users",
    request_body(content = String, content_type = "application/json",
        description = "{\"items\": [{\"id\": \"tea\", \"price\": 1.2}]}: all items, with the fields that bundles read"),
    security(("token" = ["publish"])),
    responses(
        (status = 204, description = "It is stored"),
        (status = 400, description = "The body did not come whole", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 413, description = "Too large", body = ErrorBody),
        (status = 422, description = "Not such a document, or a field of another type", body = ErrorBody),
        (status = 429, description = "Over the token's rate", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "No bundle is deployed, or too much at once", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn put_items(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<StatusCode, ApiError> {
    app.access.check(&headers, Scope::Publish)?;
    let bytes = body(sent, app.config.limits.body.saturating_mul(ITEMS_FACTOR)).await?;
    let program = app.users.deployed().ok_or(crate::users::UsersError::NoProgram)?.program.clone();
    let store = Arc::clone(&app.store);
    blocking(move || {
        crate::refresh::Catalogue::read(&program, &bytes)
            .map_err(|error| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error))?;
        let values = vec![(ITEMS, Some(bytes.as_ref()))];
        let batch = crate::store::Batch { values, durable: true, ..crate::store::Batch::default() };
        Ok(store.commit(&batch)?)
    })
    .await?;
    app.refresh.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

fn check_id(user: &str) -> Result<(), ApiError> {
    if (1..=MAX_ID).contains(&user.len()) {
        return Ok(());
    }
    let message = format!("user: an id of 1 to {MAX_ID} bytes is expected");
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message))
}

fn unknown_user() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown-user", "nothing is known of this user")
}

/// What is somebody's is kept by nobody on the way.
fn private(response: &mut Response) {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
}
