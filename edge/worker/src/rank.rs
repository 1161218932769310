//! From a feed's items to a decision.

use selvedge_format::decision::DecisionView;
use selvedge_format::program::{FieldType, Scope};
use selvedge_wire::{RequestBuilder, Values};
use serde_json::Value;

use crate::config::Feed;
use crate::isolate::{self, Isolate};

/// Why a request was not answered with a personalized order. The names stand in the header `Selvedge-Status`.
pub(crate) type Reason = &'static str;

/// What a decision depends on besides the items.
pub(crate) struct Asker<'a> {
    pub(crate) request_id: [u8; 16],
    pub(crate) time_ms: i64,
    pub(crate) state: &'a [u8],
    /// Query parameters of the request.
    pub(crate) query: &'a [(String, String)],
}

/// A request and what was decided.
pub(crate) struct Ranked {
    pub(crate) request: Vec<u8>,
    pub(crate) decision: Vec<u8>,
    /// Items in the order decided.
    pub(crate) slate: Vec<u32>,
}

/// Ranks the items of a feed.
pub(crate) fn items<'i>(
    feed: &Feed,
    items: impl Iterator<Item = &'i str>,
    asker: &Asker<'_>,
) -> Result<Ranked, Reason> {
    let items = items.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().map_err(|_| "malformed-json")?;
    let ids = items.iter().map(|item| identity(member(item, &feed.id)?)).collect::<Option<Vec<_>>>();
    let ids = ids.ok_or("item-without-id")?;
    isolate::with(|isolate| {
        let request = request(isolate, feed, &items, &ids, asker)?;
        decide(isolate, request)
    })
}

#[inline(never)]
fn decide(isolate: &mut Isolate, request: Vec<u8>) -> Result<Ranked, Reason> {
    let decision = isolate.decide(&request);
    let view = DecisionView::parse(&decision).map_err(|_| "engine")?;
    if let (_, Some(reason)) = view.status.names() {
        return Err(reason);
    }
    let slate = view.slots.iter().collect();
    Ok(Ranked { request, decision, slate })
}

/// The value of `path`, members separated by dots.
fn member<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, member| value.get(member))
}

/// Ids are texts; numbers are taken as they are written.
fn identity(value: &Value) -> Option<String> {
    match value {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

#[inline(never)]
fn request(
    isolate: &Isolate,
    feed: &Feed,
    items: &[Value],
    ids: &[String],
    asker: &Asker<'_>,
) -> Result<Vec<u8>, Reason> {
    let snapshot = isolate.engine.snapshot().ok_or("bundle-missing")?;
    let mut request =
        RequestBuilder::new(asker.request_id, asker.time_ms, ids.iter().map(String::as_str)).state(asker.state);
    for (field, name) in snapshot.program().fields.iter().zip(&isolate.names.fields) {
        let Some((_, name)) = name.split_once('.') else { continue };
        match field.scope {
            Scope::Item => {
                let path = feed.fields.get(name).map_or(name, String::as_str);
                let values: Vec<Option<&Value>> = items.iter().map(|item| member(item, path)).collect();
                // A column hides what the shared state knows: one that says nothing stays away.
                if values.iter().any(Option::is_some) {
                    request = column(request, Scope::Item, name, field.ty, &values);
                }
            }
            Scope::Context => {
                let parameter = feed.context.get(name);
                let text = parameter.and_then(|wanted| asker.query.iter().find(|(key, _)| key == wanted));
                if let Some((_, text)) = text {
                    request = column(request, Scope::Context, name, field.ty, &[Some(&from_text(text, field.ty))]);
                }
            }
            Scope::User => {}
        }
    }
    Ok(request.build())
}

/// A query parameter as a value of the field's type.
fn from_text(text: &str, ty: FieldType) -> Value {
    match ty {
        FieldType::Number | FieldType::Time => text.parse::<f64>().map_or(Value::Null, Value::from),
        FieldType::String => Value::from(text),
        FieldType::Tokens => text.to_lowercase().split_whitespace().collect(),
    }
}

/// A column; values of another type are missing, since the origin's document is nobody's declaration.
#[inline(never)]
fn column(
    request: RequestBuilder,
    scope: Scope,
    name: &str,
    ty: FieldType,
    values: &[Option<&Value>],
) -> RequestBuilder {
    let text = |value: &Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    match ty {
        FieldType::Number => {
            let number =
                |value: &Option<&Value>| value.and_then(Value::as_f64).map_or(f32::NAN, |number| number as f32);
            request.column(scope, name, Values::Numbers(&values.iter().map(number).collect::<Vec<_>>()))
        }
        FieldType::Time => {
            let time = |value: &Option<&Value>| value.and_then(Value::as_f64).map_or(i64::MIN, |time| time as i64);
            request.column(scope, name, Values::Times(&values.iter().map(time).collect::<Vec<_>>()))
        }
        FieldType::String => {
            let texts: Vec<String> = values.iter().map(text).collect();
            request.column(scope, name, Values::Strings(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
        }
        FieldType::Tokens => {
            let words = |value: &Option<&Value>| -> Vec<String> {
                let list = value.and_then(Value::as_array);
                list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let lists: Vec<Vec<String>> = values.iter().map(words).collect();
            let lists: Vec<Vec<&str>> = lists.iter().map(|list| list.iter().map(String::as_str).collect()).collect();
            let lists: Vec<&[&str]> = lists.iter().map(Vec::as_slice).collect();
            request.column(scope, name, Values::Tokens(&lists))
        }
    }
}
