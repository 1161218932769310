//! API mode: decisions, events, bundles and the status, for those who call instead of being proxied.

use selvedge_format::decision::DecisionView;
use selvedge_format::program::ProgramV1;
use selvedge_wire::json;
use serde_json::json;
use worker::{Context, Env, Method, Request, Response, Result};

use crate::bundle::Failure;
use crate::config::Config;
use crate::isolate::Isolate;
use crate::offer::{Message, Question, Secrets};
use crate::rank::Ranked;
use crate::user::Events;
use crate::{Asked, budget, bundle, isolate, journal, openapi, origin, record, user};

/// Media types of requests and decisions as bytes.
pub(crate) const REQUEST_TYPE: &str = "application/vnd.selvedge.request";
pub(crate) const DECISION_TYPE: &str = "application/vnd.selvedge.decision";

/// What went wrong, for whoever called.
pub(crate) struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

#[inline(never)]
pub(crate) fn refused(status: u16, code: &'static str, message: impl Into<String>) -> Refused {
    Refused { status, code, message: message.into() }
}

type Answer = std::result::Result<Response, Refused>;

impl From<worker::Error> for Refused {
    fn from(error: worker::Error) -> Self {
        refused(503, "unavailable", error.to_string())
    }
}

/// Answers a request to `/v1/`.
pub(crate) async fn answer(request: Request, env: &Env, context: &Context, config: &Config) -> Result<Response> {
    let address = request.inner().url();
    let (path, _) = origin::path_and_query(&address);
    let answer = match (request.method(), path) {
        (Method::Post, "/v1/rank") => rank(request, env, context, config).await,
        (Method::Post, "/v1/events") => events(request, env, context, config).await,
        (Method::Post, "/v1/offer") => offer(request, env, config).await,
        (Method::Get, "/v1/status") => status(env, context, config).await,
        (Method::Get, "/v1/openapi.json") => openapi_document(),
        (Method::Get, path) if path.starts_with("/v1/bundles/") => {
            published(env, context, config, &path["/v1/bundles/".len()..]).await
        }
        (_, path) if openapi::is_known(path) => {
            Err(refused(405, "method-not-allowed", "this path takes another method; see /v1/openapi.json"))
        }
        _ => Err(refused(404, "not-found", "there is nothing here; see /v1/openapi.json")),
    };
    answer.or_else(|refused| refused.answer())
}

impl Refused {
    /// In words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// As it is told.
    pub(crate) fn answer(self) -> Result<Response> {
        let Self { status, code, message } = self;
        let response = Response::from_json(&json!({ "error": { "code": code, "message": message } }))?;
        Ok(response.with_status(status))
    }
}

/// Reads a body within the limit, of one of these media types.
async fn body(
    request: &mut Request,
    config: &Config,
    types: &[&str],
) -> std::result::Result<(usize, Vec<u8>), Refused> {
    let found = request.headers().get("content-type")?.unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(ty) = types.iter().position(|ty| *ty == essence) else {
        let message = format!("the content type must be {}, not `{found}`", types.join(" or "));
        return Err(refused(415, "unsupported-media-type", message));
    };
    let limit = config.limits.body_bytes;
    let Ok(stream) = request.stream() else { return Ok((ty, Vec::new())) };
    let mut response = Response::from_stream(stream)?;
    if let Some(length) = request.headers().get("content-length")? {
        response.headers_mut().set("content-length", &length)?;
    }
    match origin::read(&mut response, limit).await {
        Ok(body) => Ok((ty, body)),
        Err("body-too-large") => Err(refused(413, "too-large", format!("a body may have {limit} bytes"))),
        Err(_) => Err(refused(400, "truncated", "the body broke off")),
    }
}

async fn rank(mut request: Request, env: &Env, context: &Context, config: &Config) -> Answer {
    let asked = Asked::of(&request, env, config);
    let (ty, body) = body(&mut request, config, &["application/json", REQUEST_TYPE]).await?;
    // Without a bundle the decision is a fallback that says so, in the order of the request.
    let _ = crate::ready(env, context, config).await;
    if ty == 1 {
        let user = asked.user.as_deref().unwrap_or_default();
        let decision = isolate::with(|isolate| isolate.for_user(user, |isolate| isolate.decide(&body)));
        let response = Response::from_bytes(decision.clone())?;
        response.headers().set("content-type", DECISION_TYPE)?;
        log(env, context, config, &Ranked { request: body, decision, slate: Vec::new(), degraded: None });
        return Ok(response);
    }
    let state = asked.state(env, config).await;
    let user = asked.user.as_deref().unwrap_or_default();
    let decide = |isolate: &mut Isolate| {
        let program = isolate.engine.snapshot().map_or(&NO_PROGRAM, |snapshot| snapshot.program());
        let read = json::request_of_user(&body, program, state.as_deref().unwrap_or_default());
        let read = read.map_err(|error| refused(400, "invalid-request", error.to_string()))?;
        let decision = isolate.decide(&read.bytes);
        Ok::<_, Refused>((read, decision, isolate.names.clone()))
    };
    let (read, decision, names) = isolate::with(|isolate| isolate.for_user(user, decide))?;
    let view = DecisionView::parse(&decision).map_err(|error| refused(503, "engine", error.to_string()))?;
    let response = Response::from_json(&json::decision(&view, &read.ids, &names))?;
    if let Err(reason) = state {
        response.headers().set(origin::STATUS, &format!("without-state; reason=\"{reason}\""))?;
    }
    let slate = view.slots.iter().collect();
    log(env, context, config, &Ranked { request: read.bytes, decision, slate, degraded: None });
    Ok(response)
}

/// What reads no field.
static NO_PROGRAM: ProgramV1 = ProgramV1 {
    fields: Vec::new(),
    user_tables: Vec::new(),
    global_tables: Vec::new(),
    history_events: 0,
    features: Vec::new(),
};

fn log(env: &Env, context: &Context, config: &Config, ranked: &Ranked) {
    let wait_until = |write| context.wait_until(write);
    journal::append(env, wait_until, config.log, |share| record::decision(ranked, share));
}

async fn events(mut request: Request, env: &Env, context: &Context, config: &Config) -> Answer {
    let asked = Asked::of(&request, env, config);
    let (_, body) = body(&mut request, config, &["application/json"]).await?;
    let events = Events::parse(&body).map_err(|message| refused(400, "invalid-events", message))?;
    let Some(user) = asked.user else {
        return Err(refused(
            401,
            "untrusted-user",
            "events need a user id that is covered by the configured signature",
        ));
    };
    let mut applied = user::apply(env, &user, &events).await?;
    match applied.status_code() {
        200 => {
            let wait_until = |write| context.wait_until(write);
            journal::append(env, wait_until, config.log, |_| record::outcomes(&events.events, asked.time_ms));
            Ok(applied)
        }
        409 => Err(refused(409, "not-applied", applied.text().await?)),
        _ => Err(refused(400, "invalid-events", applied.text().await?)),
    }
}

async fn offer(mut request: Request, env: &Env, config: &Config) -> Answer {
    let Some(offers) = &config.offers else {
        let message =
            "this Worker makes no offers: the setting `offers` of the variable SELVEDGE says who pays for them";
        return Err(refused(404, "no-offers", message));
    };
    let asked = Asked::of(&request, env, config);
    let (_, body) = body(&mut request, config, &["application/json"]).await?;
    let question = Question::parse(&body).map_err(|message| refused(400, "invalid-offer", message))?;
    let Some(user) = &asked.user else {
        let message = "an offer needs a user id that is covered by the configured signature";
        return Err(refused(401, "untrusted-user", message));
    };
    if question.user.as_ref().is_some_and(|named| named != user) {
        return Err(refused(403, "other-user", "the question names another user than the one whose id is signed"));
    }
    let state = match asked.state(env, config).await {
        Ok(state) => state,
        // A decision stays for its epoch: none is made about a user of whom nothing is known by accident.
        Err(reason) => {
            let response = Response::from_json(&json!({ "status": "none", "reason": "fallback", "repeated": false }))?;
            response.headers().set(origin::STATUS, &format!("without-state; reason=\"{reason}\""))?;
            return Ok(response);
        }
    };
    let mut answer = budget::ask(env, &Message::new(offers, user.clone(), question, &state)).await?;
    let response = Response::from_bytes(answer.bytes().await?)?.with_status(answer.status_code());
    response.headers().set("content-type", "application/json")?;
    response.headers().set("cache-control", "private, no-store")?;
    Ok(response)
}

async fn status(env: &Env, context: &Context, config: &Config) -> Answer {
    let _ = crate::ready(env, context, config).await;
    let status = isolate::with(|isolate| {
        let (bundle, shared) = isolate.ids();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "bundle_id": bundle,
            "shared_state_id": shared,
            "channel": {
                "state": isolate.following(worker::Date::now().as_millis() as i64),
                "sequence": isolate.held.as_ref().map_or(0, |held| held.sequence),
            },
            "refusal": isolate.failure.as_ref().map(Failure::words),
            "problems": problems(env, config),
            "counters": isolate.counters,
        })
    });
    Ok(Response::from_json(&status)?)
}

/// Bindings that the configuration needs and that are not there. The shop goes on without them.
fn problems(env: &Env, config: &Config) -> Vec<String> {
    let mut problems = problems_of_offers(env, config);
    let Some(trust) = config.user.as_ref().and_then(|user| user.trust.as_ref()) else { return problems };
    let secret = trust.secret();
    let bindings = [
        (env.secret(secret).is_ok(), secret, "`wrangler secret put` sets it"),
        (env.durable_object("USERS").is_ok(), "USERS", "it is the class User in `durable_objects`"),
    ];
    let missing = bindings.iter().filter(|(is_there, ..)| !is_there);
    problems.extend(
        missing.map(|(_, name, hint)| format!("the binding {name} is missing, so every user is unknown: {hint}")),
    );
    problems
}

fn problems_of_offers(env: &Env, config: &Config) -> Vec<String> {
    let Some(offers) = &config.offers else { return Vec::new() };
    let mut problems: Vec<String> = Secrets::of(env, offers).err().into_iter().collect();
    if env.durable_object(budget::BINDING).is_err() {
        let binding = budget::BINDING;
        problems.push(format!(
            "the binding {binding} is missing, so no offer is made: it is the class Budget in `durable_objects`"
        ));
    }
    if config.user.as_ref().is_none_or(|user| user.trust.is_none()) {
        problems.push("offers are made to users whose ids are signed: the setting user.trust is missing".to_owned());
    }
    problems
}

async fn published(env: &Env, context: &Context, config: &Config, id: &str) -> Answer {
    let _ = crate::ready(env, context, config).await;
    let bytes = bundle::published(env, id).await.map_err(|error| refused(503, "unavailable", error))?;
    let bytes = bytes.ok_or_else(|| refused(404, "not-found", "no bundle or shared state in use has this id"))?;
    let response = Response::from_bytes(bytes)?;
    response.headers().set("cache-control", "public, max-age=31536000, immutable")?;
    response.headers().set("access-control-allow-origin", "*")?;
    Ok(response)
}

fn openapi_document() -> Answer {
    let response = Response::from_bytes(openapi::DOCUMENT.as_bytes().to_vec())?;
    response.headers().set("content-type", "application/json")?;
    Ok(response)
}
