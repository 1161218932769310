//! From a feed's items to a decision.

use std::borrow::Cow;

use selvedge_format::decision::DecisionView;
use selvedge_format::program::{FieldType, Scope};
use selvedge_wire::{RequestBuilder, Values};

use crate::config::Feed;
use crate::isolate::{self, Isolate};
use crate::member::{self, Path};

/// Why a request was not answered with a personalized order. The names stand in the header `Selvedge-Status`.
pub(crate) type Reason = &'static str;

/// What a decision depends on besides the items.
pub(crate) struct Asker<'a> {
    /// The user's id, empty if nobody is known.
    pub(crate) user: &'a str,
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
    /// Why the last stages of a cascade did not run, if they did not.
    pub(crate) degraded: Option<Reason>,
}

/// Ranks the items of a feed.
pub(crate) fn items<'i>(
    feed: &Feed,
    items: impl ExactSizeIterator<Item = &'i str>,
    asker: &Asker<'_>,
) -> Result<Ranked, Reason> {
    isolate::with(|isolate| {
        isolate.for_user(asker.user, |isolate| {
            let request = request(isolate, feed, items, asker)?;
            decide(isolate, request)
        })
    })
}

#[inline(never)]
fn decide(isolate: &mut Isolate, request: Vec<u8>) -> Result<Ranked, Reason> {
    let decision = isolate.decide(&request);
    let view = DecisionView::parse(&decision).map_err(|_| "engine")?;
    let degraded = match view.status.names() {
        (_, reason) if view.status.is_personalized() => reason,
        (_, reason) => return Err(reason.unwrap_or("engine")),
    };
    let slate = view.slots.iter().collect();
    Ok(Ranked { request, decision, slate, degraded })
}

fn request<'i>(
    isolate: &Isolate,
    feed: &Feed,
    items: impl ExactSizeIterator<Item = &'i str>,
    asker: &Asker<'_>,
) -> Result<Vec<u8>, Reason> {
    let snapshot = isolate.engine.snapshot().ok_or("bundle-missing")?;
    let names = isolate.names.fields.iter().map(|name| name.split_once('.').map_or("", |(_, name)| name));
    let fields: Vec<_> = snapshot.program().fields.iter().zip(names).filter(|(_, name)| !name.is_empty()).collect();
    let of_items: Vec<_> = fields.iter().filter(|(field, _)| field.scope == Scope::Item).collect();

    // The id, and a column for each field.
    let width = 1 + of_items.len();
    let members = of_items.iter().map(|(_, name)| feed.fields.get(*name).map_or(*name, String::as_str));
    let paths: Vec<Path<'_>> = std::iter::once(feed.id.as_str()).chain(members).map(Path::new).collect();
    let mut table = Vec::with_capacity(width * items.len());
    for item in items {
        member::find(item, &paths, &mut table).map_err(|_| "malformed-json")?;
    }
    let column_of = |at: usize| table.iter().skip(at).step_by(width).copied();
    let ids = column_of(0).map(|value| member::id(value?)).collect::<Option<Vec<_>>>().ok_or("item-without-id")?;

    let mut request =
        RequestBuilder::new(asker.request_id, asker.time_ms, ids.iter().map(AsRef::as_ref)).state(asker.state);
    for (at, (field, name)) in of_items.into_iter().enumerate() {
        let values: Vec<Option<&str>> = column_of(1 + at).collect();
        // A column hides what the shared state knows: one that says nothing stays away.
        if values.iter().any(Option::is_some) {
            request = column(request, Scope::Item, name, field.ty, &values);
        }
    }
    for (field, name) in fields.iter().filter(|(field, _)| field.scope == Scope::Context) {
        let parameter = feed.context.get(*name);
        let text = parameter.and_then(|wanted| asker.query.iter().find(|(key, _)| key == wanted));
        if let Some((_, text)) = text {
            request = column(request, Scope::Context, name, field.ty, &[Some(&from_text(text, field.ty))]);
        }
    }
    Ok(request.build())
}

/// A query parameter as JSON of the field's type.
fn from_text(text: &str, ty: FieldType) -> String {
    match ty {
        FieldType::Number | FieldType::Time => text.to_owned(),
        FieldType::String => serde_json::Value::from(text).to_string(),
        FieldType::Tokens => text.to_lowercase().split_whitespace().collect::<serde_json::Value>().to_string(),
    }
}

/// A column; values of another type are missing, since the origin's document is nobody's declaration.
#[inline(never)]
fn column(request: RequestBuilder, scope: Scope, name: &str, ty: FieldType, values: &[Option<&str>]) -> RequestBuilder {
    match ty {
        FieldType::Number => {
            let number = |value: &Option<&str>| {
                let number = value.and_then(member::number).map_or(f32::NAN, |number| number as f32);
                if number.is_finite() { number } else { f32::NAN }
            };
            request.column(scope, name, Values::Numbers(&values.iter().map(number).collect::<Vec<_>>()))
        }
        FieldType::Time => {
            let time = |value: &Option<&str>| value.and_then(member::number).map_or(i64::MIN, |time| time as i64);
            request.column(scope, name, Values::Times(&values.iter().map(time).collect::<Vec<_>>()))
        }
        FieldType::String => {
            let texts: Vec<Cow<'_, str>> =
                values.iter().map(|value| value.and_then(member::text).unwrap_or_default()).collect();
            request.column(scope, name, Values::Strings(&texts.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
        }
        FieldType::Tokens => {
            let lists: Vec<Vec<Cow<'_, str>>> =
                values.iter().map(|value| value.map(member::texts).unwrap_or_default()).collect();
            let lists: Vec<Vec<&str>> = lists.iter().map(|list| list.iter().map(AsRef::as_ref).collect()).collect();
            let lists: Vec<&[&str]> = lists.iter().map(Vec::as_slice).collect();
            request.column(scope, name, Values::Tokens(&lists))
        }
    }
}
