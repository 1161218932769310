//! What is answered when something is refused: `{"error": {"code", "message", "hint"}}`.

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use selvedge_budget::ledger::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::channel::ChannelError;
use crate::offers::OffersError;
use crate::store::StoreError;
use crate::users::UsersError;

/// A refusal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

/// What was wrong, and what to do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// Stable name.
    code: &'static str,
    /// What was wrong.
    message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    detail: ErrorDetail,
    retry_after_s: Option<u32>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        let detail = ErrorDetail { code, message: message.to_string(), hint: None };
        Self { status, detail, retry_after_s: None }
    }

    pub(crate) const fn hint(mut self, hint: &'static str) -> Self {
        self.detail.hint = Some(hint);
        self
    }

    pub(crate) const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("the body is above the limit of {limit} bytes"))
            .hint("send less at a time")
    }

    pub(crate) fn no_channel(channel: &str) -> Self {
        let channel: String = channel.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "no-channel", format!("there is no channel {channel:?}"))
            .hint("`selvedge publish` makes one")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.detail })).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<ChannelError> for ApiError {
    fn from(error: ChannelError) -> Self {
        let status = match &error {
            ChannelError::Refused { .. } | ChannelError::MissingBlob(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ChannelError::Conflict { .. } => StatusCode::CONFLICT,
            ChannelError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ChannelError::Store(error) => return error.clone().into(),
        };
        Self::new(status, error.code(), error)
    }
}

impl From<UsersError> for ApiError {
    fn from(error: UsersError) -> Self {
        let message = error.to_string();
        match error {
            UsersError::Busy { retry_after_s } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message).retry_after(retry_after_s)
            }
            UsersError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message).hint("send less at a time")
            }
            UsersError::Invalid { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message),
            UsersError::NoProgram => Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-bundle", message).retry_after(30),
            UsersError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", message).retry_after(1),
            UsersError::Store(error) => error.into(),
        }
    }
}

impl From<OffersError> for ApiError {
    fn from(error: OffersError) -> Self {
        let message = error.to_string();
        let unprocessable = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, &message);
        match error {
            OffersError::NoCampaigns => Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-campaigns", message)
                .hint("publish a bundle that was compiled with campaigns")
                .retry_after(30),
            OffersError::Document(_) => unprocessable("invalid"),
            OffersError::Token { refusal, .. } => unprocessable(refusal.name()),
            OffersError::OtherUser { .. } => Self::new(StatusCode::FORBIDDEN, "other-user", message),
            OffersError::UnknownTerms { .. } => unprocessable("unknown-terms"),
            OffersError::Cart(_) => unprocessable("bad-cart"),
            OffersError::GivesNothing { why, .. } => {
                unprocessable(why.name()).hint("leave the offer out of the order; it stays good")
            }
            OffersError::TooManyTokens => unprocessable("too-many-offers"),
            OffersError::Refused(refusal) => {
                let status = match refusal {
                    Refusal::UnknownBudget { .. } | Refusal::UnknownLease { .. } => StatusCode::NOT_FOUND,
                    Refusal::BadName { .. }
                    | Refusal::BadOrder { .. }
                    | Refusal::BadTerms { .. }
                    | Refusal::NothingWanted
                    | Refusal::BadBucket { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                    _ => StatusCode::CONFLICT,
                };
                Self::new(status, refusal.name(), message)
            }
            OffersError::Store(error) => error.into(),
            OffersError::Damaged(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        match error {
            StoreError::Full(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "there is no room to store it")
                    .hint("the operator must free some space")
                    .retry_after(60)
            }
            // What is wrong with the disk is the operator's matter, and is in the log.
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store-failed", "the store failed")
                .hint("nothing was stored; the host's log says why"),
        }
    }
}

pub(crate) async fn not_found(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(80).collect();
    ApiError::new(StatusCode::NOT_FOUND, "no-route", format!("there is nothing at {path}"))
        .hint("GET /openapi.json describes what is there")
}

pub(crate) async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(80).collect();
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no-method", format!("{path} does not take {method}"))
        .hint("GET /openapi.json describes what is there")
}

pub(crate) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response<axum::body::Body> {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", "this is a bug; the request was given up").into_response()
}

/// The body of a request, if it has at most `limit` bytes.
pub(crate) async fn body(body: axum::body::Body, limit: usize) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(cause) = source {
            if cause.is::<http_body_util::LengthLimitError>() {
                return ApiError::too_large(limit);
            }
            source = cause.source();
        }
        ApiError::new(StatusCode::BAD_REQUEST, "cut", "the body did not come whole, or not in time")
            .hint("send the request again")
    })
}

/// Runs what blocks where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", "this is a bug")))
}
