//! A small shop: what is deployed, and what its users do.

use anyhow::Result;
use rand::{Rng, RngExt};
use selvedge_compile::{compile, import};
use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_format::container::{Container, Kind};
use selvedge_format::key;
use selvedge_format::program::{self, ProgramV1};
use selvedge_spec::{FeatureSpec, ModelSpec};
use selvedge_sync::users::Incoming;

const FEATURES: &str = r#"version = 1
[fields.item]
price = "number"
brand = "string"
[events]
purchase = {}
view = {}
[history]
events = 64
[shared]
refresh = "1h"

[[feature]]
name = "price"
kind = "number"
field = "item.price"
default = 1.0

[[feature]]
name = "bought"
kind = "decayed_count"
scope = "user"
event = "purchase"
by = "item"
half_life = "30d"

[[feature]]
name = "viewed"
kind = "lifetime_count"
scope = "user"
event = "view"
by = "item"

[[feature]]
name = "sold"
kind = "decayed_count"
scope = "global"
event = "purchase"
by = "item"
half_life = "30d"
"#;

const MODEL: &str = r#"version = 1
[model]
name = "shop"
kind = "linear"
objective = "lambdarank"
features = "features.toml"
[slate]
size = 4
"#;

/// A bundle; another number gives other weights.
pub(crate) fn bundle(number: u64) -> Result<Vec<u8>> {
    let trained = format!(
        r#"{{"kind": "linear", "bias": {number}, "weights": {{"price": -0.5, "bought": 2.0, "sold": 0.125}}}}"#
    );
    let features = FeatureSpec::parse("features.toml", FEATURES)?;
    let model = ModelSpec::parse("model.toml", MODEL)?;
    Ok(compile(&features, &model, &import(trained.as_bytes())?)?.bytes)
}

/// What every such bundle counts.
pub(crate) fn program() -> Result<ProgramV1> {
    let bytes = bundle(1)?;
    let container = Container::parse(&bytes, Kind::Bundle)?;
    let section = container.require(program::TAG, program::VERSION, "program")?.range.clone();
    Ok(ProgramV1::decode(&bytes[section])?)
}

/// Something that a user does.
pub(crate) fn event(rng: &mut impl Rng, id: String, users: u32, now_ms: i64) -> Incoming {
    Incoming {
        id,
        user: format!("user-{}", rng.random_range(0..users)),
        event: if rng.random_bool(0.3) { "purchase" } else { "view" }.to_owned(),
        item: format!("item-{}", rng.random_range(0..5000)),
        value: 1.0,
        // Whole seconds, as states keep them.
        time_ms: (now_ms / 1000 - rng.random_range(0..86_400)) * 1000,
        device: None,
    }
}

/// The state of a user who did these things, in this order.
pub(crate) fn state(program: &ProgramV1, events: &[Incoming]) -> Result<Vec<u8>> {
    let items = ItemKeys::new(program, None);
    let mut state = UserState::new();
    for incoming in events {
        let event = Event {
            event: key(incoming.event.as_bytes()),
            time_ms: incoming.time_ms,
            item: key(incoming.item.as_bytes()),
            value: incoming.value,
        };
        state.apply(key(incoming.user.as_bytes()), program, &items, &event)?;
    }
    Ok(state.encode())
}
