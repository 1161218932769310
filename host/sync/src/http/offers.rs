//! Budgets, leases, offers and their redemption.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use selvedge_budget::ledger::{Balance, DailyV1, Refusal, TermsV1};
use selvedge_budget::{GrantRequest, LeaseReport, Minor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::App;
use super::error::{ApiError, ErrorBody, blocking, body};
use crate::config::Scope;
use crate::offers::{Answer, Asked, Offers, OffersError, Order, Paced, Redeemed};

/// Stands for the item of a request that is about none.
const NO_ITEM: &str = "none";
/// A cart of 100,000 lines may be so much larger than other bodies.
const CART_FACTOR: usize = 32;

fn offers(app: &App) -> Result<Arc<Offers>, ApiError> {
    app.offers.clone().ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no-offers", "this host makes no offers")
            .hint("the operator must set [offers] in selvedge.toml")
    })
}

async fn read<T: DeserializeOwned>(sent: Body, limit: usize, hint: &'static str) -> Result<T, ApiError> {
    let bytes = body(sent, limit).await?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let read: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
    read.map_err(|error| {
        let message = format!("{}: {}", error.path(), error.inner());
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", message).hint(hint)
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetTerms {
    /// What may be spent in all, in minor units.
    total: u64,
    /// What may be spent in a day, if that is limited.
    per_day: Option<u64>,
    /// When a day begins: midnight so many minutes ahead of UTC.
    #[serde(default)]
    utc_offset_min: i16,
}

/// A budget at one time: `total = settled + held + free`. In minor units.
#[derive(Serialize, ToSchema)]
pub(super) struct BudgetState {
    /// Its name.
    budget: String,
    /// What may be spent.
    total: u64,
    /// Discounts of orders.
    settled: u64,
    /// Held by leases, promised to users or not.
    held: u64,
    /// The part of `held` whose holders are lost: it comes back by time.
    locked: u64,
    /// May be promised.
    free: u64,
    /// What a unit of cost must bring at present, in millionths, as the channel's head says.
    price_micros: Option<u64>,
    /// How the host sets that price by itself, if it does.
    paced: Option<PacedState>,
}

/// A price that the host sets.
#[derive(Serialize, ToSchema)]
struct PacedState {
    /// The controller's own price, which is published when it has moved far enough.
    price_micros: u64,
    /// When it last looked at what was spent, in milliseconds since 1970-01-01 UTC.
    stepped_ms: i64,
    /// Until when the budget is to last.
    until_ms: i64,
}

fn budget_state(app: &App, budget: String, balance: Balance) -> BudgetState {
    let head = app.channels.head(&app.config.users.channel);
    let prices = head.as_ref().map(|published| published.head.prices.as_slice()).unwrap_or_default();
    let price_micros = prices.iter().find(|price| price.budget == budget).map(|price| price.price_micros);
    let paced = app.offers.as_ref().and_then(|offers| offers.paced(&budget));
    let paced =
        paced.map(|Paced { price_micros, stepped_ms, until_ms }| PacedState { price_micros, stepped_ms, until_ms });
    BudgetState {
        budget,
        total: balance.total.0,
        settled: balance.settled.0,
        held: balance.held.0,
        locked: balance.locked.0,
        free: balance.free.0,
        price_micros,
        paced,
    }
}

/// Open a budget, or change its total. A total is never lowered below what is settled and held.
#[utoipa::path(
    put,
    path = "/v1/budgets/{budget}",
    tag = "offers",
    params(("budget" = String, Path, description = "Name of the budget")),
    request_body = BudgetTerms,
    security(("token" = ["publish"])),
    responses(
        (status = 200, description = "As it is now", body = BudgetState),
        (status = 400, description = "Not such a document", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "This host makes no offers", body = ErrorBody),
        (status = 409, description = "More is committed than the new total", body = ErrorBody),
        (status = 422, description = "A name or a total that is none", body = ErrorBody),
        (status = 429, description = "Over the token's rate: see Retry-After", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn put_budget(
    State(app): State<Arc<App>>,
    Path(budget): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<BudgetState>, ApiError> {
    app.access.check(&headers, Scope::Publish)?;
    let offers = offers(&app)?;
    let terms: BudgetTerms =
        read(sent, app.config.limits.body, "{\"total\", \"per_day\"?, \"utc_offset_min\"?}, in minor units").await?;
    let utc_offset_min = terms.utc_offset_min;
    let daily = terms.per_day.map(|limit| DailyV1 { limit: Minor(limit), utc_offset_min });
    let row = TermsV1 { total: Minor(terms.total), daily };
    let name = budget.clone();
    let balance = blocking(move || Ok(offers.set_budget(App::now_ms(), &name, row)?)).await?;
    Ok(Json(budget_state(&app, budget, balance)))
}

/// All budgets, as they are now.
#[utoipa::path(
    get,
    path = "/v1/budgets",
    tag = "offers",
    security(("token" = ["read"])),
    responses(
        (status = 200, description = "By name", body = Vec<BudgetState>),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "This host makes no offers", body = ErrorBody),
        (status = 429, description = "Over the token's rate: see Retry-After", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody)
    )
)]
pub(super) async fn get_budgets(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Vec<BudgetState>>, ApiError> {
    app.access.check(&headers, Scope::Read)?;
    let offers = offers(&app)?;
    let balances = blocking(move || Ok(offers.balances(App::now_ms())?)).await?;
    Ok(Json(balances.into_iter().map(|(name, balance)| budget_state(&app, name, balance)).collect()))
}

/// What an edge is told when the ledger says no.
#[derive(Serialize)]
struct Refused {
    error: Value,
    refusal: Refusal,
}

/// A refusal as a document for edges, which act by its kind.
fn answer<T: Serialize>(done: Result<T, OffersError>) -> Result<Response, ApiError> {
    match done {
        Ok(done) => Ok(Json(done).into_response()),
        Err(OffersError::Refused(refusal)) => {
            let error = json!({"code": refusal.name(), "message": refusal.to_string()});
            Ok((StatusCode::CONFLICT, Json(Refused { error, refusal })).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// What an edge says to the ledger, and what the ledger says to it.
async fn ledger<D, T>(
    app: &App,
    headers: &HeaderMap,
    sent: Body,
    hint: &'static str,
    ask: impl FnOnce(&Offers, D) -> Result<T, OffersError> + Send + 'static,
) -> Result<Response, ApiError>
where
    D: DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
{
    app.access.check(headers, Scope::Lease)?;
    let offers = offers(app)?;
    let document: D = read(sent, app.config.limits.body, hint).await?;
    answer(blocking(move || Ok(ask(&offers, document))).await?)
}

/// Ask for a lease: money of one or several budgets that an edge may promise to users. The same request again gets the
/// same lease. The documents are those of the crate `selvedge-budget`.
#[utoipa::path(
    post,
    path = "/v1/leases",
    tag = "offers",
    request_body(content_type = "application/json", description = "{id, holder, wanted, least}: an id of 32 hexadecimal digits, the holder's name, amounts by budget"),
    security(("token" = ["lease"])),
    responses(
        (status = 200, description = "The lease: {id, epoch, holder, amounts, granted_ms, mint_until_ms, longest_offer_ms, bucket_ms, skew_ms}"),
        (status = 400, description = "Not such a document", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "This host makes no offers", body = ErrorBody),
        (status = 409, description = "The ledger says no: {error, refusal}"),
        (status = 429, description = "Over the token's rate: see Retry-After", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn post_lease(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, ApiError> {
    let hint = "{\"id\", \"holder\", \"wanted\", \"least\"}";
    ledger(&app, &headers, sent, hint, |offers, request: GrantRequest| offers.grant(App::now_ms(), &request)).await
}

/// Report what was minted from a lease. Older reports and the same again change nothing.
#[utoipa::path(
    post,
    path = "/v1/leases/reports",
    tag = "offers",
    request_body(content_type = "application/json", description = "{lease, holder, sequence, closed, minted}: face values by the end of their bucket of expiry"),
    security(("token" = ["lease"])),
    responses(
        (status = 200, description = "\"Taken\", \"Known\" or \"Over\""),
        (status = 400, description = "Not such a document", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "This host makes no offers", body = ErrorBody),
        (status = 409, description = "The ledger says no: {error, refusal}"),
        (status = 429, description = "Over the token's rate: see Retry-After", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn post_report(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, ApiError> {
    let hint = "{\"lease\", \"holder\", \"sequence\", \"closed\", \"minted\"}";
    ledger(&app, &headers, sent, hint, |offers, report: LeaseReport| offers.report(App::now_ms(), &report)).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfferQuestion {
    /// Who asks.
    user: String,
    /// On which device, if devices are told apart.
    device: Option<String>,
    /// Name of the campaign; the first that the user is eligible for, unless given.
    campaign: Option<String>,
    /// Minutes that the user's clock is ahead of UTC.
    #[serde(default)]
    utc_offset_min: i32,
    /// Fields of the user, by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
    /// Fields of the context, by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    context: Map<String, Value>,
    /// Only look: nothing is drawn, noted or put aside.
    #[serde(default)]
    preview: bool,
}

/// Whether there is an offer, and which.
#[derive(Serialize, ToSchema)]
pub(super) struct OfferAnswer {
    /// Name of the campaign; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<String>,
    /// `offered`, `held-out` or `none`.
    status: &'static str,
    /// Why nothing is offered; `expired` or `withdrawn` where the offer of this epoch has expired, or is none of the campaign's any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The offer: {offer, terms, currency, disclosed, token, expires_ms}.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    offer: Option<crate::offers::Made>,
    /// Whether it was decided before, in the same epoch.
    repeated: bool,
}

impl From<Answer> for OfferAnswer {
    fn from(answer: Answer) -> Self {
        Self {
            campaign: Some(answer.campaign).filter(|campaign| !campaign.is_empty()),
            status: answer.status,
            reason: answer.reason,
            offer: answer.offer,
            repeated: answer.repeated,
        }
    }
}

/// Ask whether a user is made an offer. Decided once per user, campaign and epoch; asked again, the answer is the same.
#[utoipa::path(
    post,
    path = "/v1/offers",
    tag = "offers",
    request_body = OfferQuestion,
    security(("token" = ["offer"])),
    responses(
        (status = 200, description = "The answer; no score is in it", body = OfferAnswer),
        (status = 400, description = "Not such a document", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope", body = ErrorBody),
        (status = 404, description = "This host makes no offers", body = ErrorBody),
        (status = 422, description = "A value that does not fit its field", body = ErrorBody),
        (status = 429, description = "Over the token's rate: see Retry-After", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 503, description = "No bundle with campaigns is deployed", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn post_offer(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<OfferAnswer>, ApiError> {
    app.access.check(&headers, Scope::Offer)?;
    let offers = offers(&app)?;
    let hint = "{\"user\", \"device\"?, \"campaign\"?, \"utc_offset_min\"?, \"fields\"?, \"context\"?, \"preview\"?}";
    let question: OfferQuestion = read(sent, app.config.limits.body, hint).await?;
    let users = Arc::clone(&app.users);
    let answer = blocking(move || {
        let state = users.state(&question.user)?;
        let now_ms = App::now_ms();
        let document = json!({
            "time": now_ms,
            "utc_offset_min": question.utc_offset_min,
            "user": {"fields": question.fields},
            "context": question.context,
            "candidates": [{"id": NO_ITEM}],
        });
        let asked = Asked {
            user: &question.user,
            device: question.device.as_deref(),
            campaign: question.campaign.as_deref(),
            document,
            state: state.as_ref().map_or(&[][..], |state| &state.bytes),
            is_preview: question.preview,
        };
        Ok(offers.decide(now_ms, &asked)?)
    });
    Ok(Json(answer.await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeemOrder {
    /// The shop's own id of the order: asking again with it changes nothing.
    order: String,
    /// Whose order it is.
    user: String,
    /// 1 to 16 tokens.
    offers: Vec<String>,
    /// The cart as the shop has it: {currency, lines, shipping_minor?}.
    #[schema(value_type = Object)]
    cart: Box<RawValue>,
    /// Only say what it would cost.
    #[serde(default)]
    preview: bool,
}

/// Redeem the offers of an order, all or none: verified, priced again from this cart, settled once.
#[utoipa::path(
    post,
    path = "/v1/redeem",
    tag = "offers",
    request_body = RedeemOrder,
    security(("token" = ["redeem"])),
    responses(
        (status = 200, description = "What the order costs: {currency, before_minor, discount_minor, after_minor, line_discounts_minor, shipping_discount_minor, offers}"),
        (status = 400, description = "Not such a document", body = ErrorBody),
        (status = 401, description = "No token, or an unknown one", body = ErrorBody),
        (status = 403, description = "The token has not the scope, or an offer is another user's", body = ErrorBody),
        (status = 404, description = "This host makes no offers, or does not know the lease", body = ErrorBody),
        (status = 409, description = "Redeemed by another order, expired, or its money went back", body = ErrorBody),
        (status = 413, description = "Too much at a time", body = ErrorBody),
        (status = 422, description = "An offer that is not believed, or gives nothing on this cart; a cart that cannot be used", body = ErrorBody),
        (status = 429, description = "Over the token's rate: see Retry-After", body = ErrorBody),
        (status = 500, description = "The store failed", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)
    )
)]
pub(super) async fn post_redeem(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Redeemed>, ApiError> {
    app.access.check(&headers, Scope::Redeem)?;
    let offers = offers(&app)?;
    let limit = app.config.limits.body.saturating_mul(CART_FACTOR);
    let sent: RedeemOrder =
        read(sent, limit, "{\"order\", \"user\", \"offers\": [token], \"cart\", \"preview\"?}").await?;
    let redeemed = blocking(move || {
        let order = Order {
            order: &sent.order,
            user: &sent.user,
            tokens: &sent.offers,
            cart: sent.cart.get().as_bytes(),
            is_preview: sent.preview,
        };
        Ok(offers.redeem(App::now_ms(), &order)?)
    });
    Ok(Json(redeemed.await?))
}
