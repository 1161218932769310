//! Point-in-time replay: the year again, in order, with the engine's own state and features.
//!
//! A feature that sees the future wins every off-line comparison and loses on-line. Here no code path could show it
//! one: events reach user states through [`UserState::apply`] in time order, a decision is made when all events
//! *before* its time have been applied and none at or after it, and the global counters are those of the last refresh
//! of the shared state before it. Features come from [`Engine::features`], so a training row is what the edge computes.

use selvedge_engine::state::{Event, GlobalCounters, ItemKeys, UserState};
use selvedge_engine::{Engine, Limits};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::model::{self, LinearWeights, Link, ModelKindV1, ModelV1, ModelsV1, StageV1};
use selvedge_format::policy::{self, PolicyV1};
use selvedge_format::program::{self, FieldType, ProgramV1, Scope, field_id};
use selvedge_format::shared::{FieldValues, SharedParts, SharedState};
use selvedge_format::{AlignedBytes, DecodeError, key};
use selvedge_wire::RequestBuilder;
use thiserror::Error;

use crate::dataset::{Dataset, FlyerEvents, Item, Progress, Purchase, Query};

/// Name of the event that a line of a basket is.
pub const PURCHASE: &str = "purchase";
/// Name of the event that an item on a flyer's front page is; its value is the number of households.
pub const IMPRESSION: &str = "impression";
/// Name of the event that a purchase from a flyer's front page is, besides being a purchase.
pub const FLYER_PURCHASE: &str = "flyer_purchase";
/// All events of a household come from the shop's tills: one device.
pub const DEVICE: u64 = 1;

/// What a decision is made from.
#[derive(Clone, Debug)]
pub struct Case {
    /// Position of the query in the list that was replayed.
    pub query: usize,
    /// The request's bytes, user state included.
    pub request: Vec<u8>,
    /// Position of the shared state in [`Replayed::shared_states`].
    pub shared: usize,
}

/// Training rows of one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Position of the query in the list that was replayed.
    pub query: usize,
    /// `[candidate][feature]`.
    pub values: Vec<f32>,
}

/// What a replay yields.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Rows of the queries that were asked for, in their order.
    pub rows: Vec<Rows>,
    /// Requests of the queries that were asked for, in their order.
    pub cases: Vec<Case>,
    /// Shared states that the requests were decided with, oldest first.
    pub shared_states: Vec<Vec<u8>>,
    /// Largest user state in bytes.
    pub largest_state: usize,
}

/// What a replay keeps of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Feature rows, to train on.
    Rows,
    /// Request and shared state, to decide again.
    Request,
    /// Both.
    Both,
}

impl Keep {
    const fn rows(self) -> bool {
        matches!(self, Self::Rows | Self::Both)
    }

    const fn request(self) -> bool {
        matches!(self, Self::Request | Self::Both)
    }
}

/// Why a replay stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The engine refused what the replay made of the data: the feature program does not fit it.
    #[error("replay at week {week}: the engine refused the {what}: {source}")]
    Refused {
        /// Week of the query.
        week: u32,
        /// What was refused.
        what: &'static str,
        /// Why.
        source: DecodeError,
    },
    /// The queries are not in the order of their times.
    #[error("replay: query {position} is earlier than the one before it; sort queries by time first")]
    Unsorted {
        /// Position of the query.
        position: usize,
    },
}

/// Replays a data set through one feature program.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// What happened.
    pub dataset: &'a Dataset,
    /// What is computed of it.
    pub program: &'a ProgramV1,
    /// Time between refreshes of the shared state, above 0.
    pub refresh_ms: i64,
}

impl Replay<'_> {
    /// Replays all events up to the last query. `queries` must ascend by time; `keep` says what is wanted of each.
    ///
    /// # Errors
    /// The queries are not sorted, or the engine refuses what the program makes of the data.
    pub fn run(
        &self,
        queries: &[Query],
        keep: impl Fn(usize, &Query) -> Keep,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Replayed, ReplayError> {
        let item_keys: Vec<u64> = self.dataset.items.iter().map(|item| key(item.id.as_bytes())).collect();
        let catalogue = Catalogue::new(self.dataset, self.program, &item_keys);
        let refused = |week, what| move |source| ReplayError::Refused { week, what, source };
        let fields = load_shared(&catalogue.shared_state(i64::MIN, Vec::new())).map_err(refused(0, "item fields"))?;
        let items = ItemKeys::new(self.program, Some(&fields));
        let mut engine = Engine::new(Limits::default());
        engine.load(AlignedBytes::copy_of(&features_only(self.program))).map_err(refused(0, "feature program"))?;

        let mut global = GlobalCounters::new(self.program);
        let mut users = vec![UserState::new(); self.dataset.users.len()];
        let everybody = shop_events(self.dataset, &item_keys);
        let (mut counted, mut applied) = (0, 0);
        let mut refreshed = i64::MIN;
        let mut replayed = Replayed::default();
        let purchases = &self.dataset.purchases;
        for (position, query) in queries.iter().enumerate() {
            if position > 0 && queries[position - 1].time_ms > query.time_ms {
                return Err(ReplayError::Unsorted { position });
            }
            if position % 64 == 0 {
                progress(Progress { stage: "replaying", done: position as u64, total: queries.len() as u64 });
            }
            let keep = keep(position, query);
            if keep == Keep::Nothing {
                continue;
            }
            let refresh = query.time_ms.div_euclid(self.refresh_ms) * self.refresh_ms;
            if refresh != refreshed {
                while let Some(event) = everybody.get(counted).filter(|event| event.time_ms < refresh) {
                    global.apply(self.program, &items, event);
                    counted += 1;
                }
                let bytes = catalogue.shared_state(refresh, global.tables(self.program, refresh));
                engine.load(AlignedBytes::copy_of(&bytes)).map_err(refused(query.week, "shared state"))?;
                replayed.shared_states.push(bytes);
                refreshed = refresh;
            }
            let mut outcome = Ok(());
            while let Some(purchase) = purchases.get(applied).filter(|purchase| purchase.time_ms < query.time_ms) {
                let event = purchase_event(PURCHASE, purchase, &item_keys);
                outcome = outcome.and(users[purchase.user as usize].apply(DEVICE, self.program, &items, &event));
                applied += 1;
            }
            outcome.map_err(refused(query.week, "purchase"))?;

            let state = users[query.user as usize].encode();
            replayed.largest_state = replayed.largest_state.max(state.len());
            let request = request(self.dataset, query, &state);
            if keep.rows() {
                let matrix = engine.features(&request).map_err(refused(query.week, "request"))?;
                let columns: Vec<&[f32]> = (0..matrix.features()).map(|feature| matrix.column(feature)).collect();
                let values = (0..matrix.candidates).flat_map(|row| columns.iter().map(move |column| column[row]));
                replayed.rows.push(Rows { query: position, values: values.collect() });
            }
            if keep.request() {
                replayed.cases.push(Case { query: position, request, shared: replayed.shared_states.len() - 1 });
            }
        }
        progress(Progress { stage: "replaying", done: queries.len() as u64, total: queries.len() as u64 });
        Ok(replayed)
    }
}

/// A line of a basket as an event. The value is the money that the shop received.
fn purchase_event(name: &str, purchase: &Purchase, item_keys: &[u64]) -> Event {
    Event {
        event: key(name.as_bytes()),
        time_ms: purchase.time_ms,
        item: item_keys[purchase.item as usize],
        value: purchase.sales_value,
    }
}

/// Everything that counters over all users count, by time.
fn shop_events(dataset: &Dataset, item_keys: &[u64]) -> Vec<Event> {
    let flyer = FlyerEvents::build(dataset);
    let mut events: Vec<Event> =
        dataset.purchases.iter().map(|purchase| purchase_event(PURCHASE, purchase, item_keys)).collect();
    events.extend(flyer.purchases.iter().map(|at| purchase_event(FLYER_PURCHASE, &dataset.purchases[*at], item_keys)));
    events.extend(flyer.impressions.iter().map(|(time_ms, item, households)| Event {
        event: key(IMPRESSION.as_bytes()),
        time_ms: *time_ms,
        item: item_keys[*item as usize],
        value: *households as f32,
    }));
    // Stable: events of one time stay in the order of the data.
    events.sort_by_key(|event| event.time_ms);
    events
}

/// The request of a query: candidates by id, the user's state, the time. Everything else about the items is in the
/// shared state.
#[must_use]
pub fn request(dataset: &Dataset, query: &Query, state: &[u8]) -> Vec<u8> {
    let candidates = query.candidates.iter().map(|item| dataset.items[*item as usize].id.as_str());
    let mut request_id = [0; 16];
    request_id[..8].copy_from_slice(&key(dataset.users[query.user as usize].as_bytes()).to_le_bytes());
    request_id[8..12].copy_from_slice(&query.week.to_le_bytes());
    RequestBuilder::new(request_id, query.time_ms, candidates).state(state).build()
}

fn load_shared(bytes: &[u8]) -> Result<SharedState, DecodeError> {
    SharedState::load(AlignedBytes::copy_of(bytes))
}

/// A bundle that computes features and scores everything 0.
fn features_only(program: &ProgramV1) -> Vec<u8> {
    let models = ModelsV1 {
        models: vec![ModelV1 { kind: ModelKindV1::Linear { bias: 0.0 }, link: Link::Identity }],
        stages: vec![StageV1 { model: 0, keep: 0 }],
    };
    let zeros = vec![0.0; program.features.len()];
    let policy = PolicyV1 { slate_size: 1, ..PolicyV1::default() };
    ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(model::TAG, model::VERSION, models.encode())
        .required(model::WEIGHTS_TAG, model::WEIGHTS_VERSION, LinearWeights::encode(&zeros, &zeros))
        .required(policy::TAG, policy::VERSION, policy.encode())
        .build()
}

/// Item fields of a data set, in the order of a shared state.
struct Catalogue {
    keys: Vec<u64>,
    fields: Vec<(u64, FieldValues)>,
}

impl Catalogue {
    fn new(dataset: &Dataset, program: &ProgramV1, item_keys: &[u64]) -> Self {
        let mut order: Vec<usize> = (0..dataset.items.len()).collect();
        order.sort_unstable_by_key(|item| item_keys[*item]);
        let items = || order.iter().map(|item| &dataset.items[*item]);
        let mut fields = Vec::new();
        for (name, text) in ITEM_FIELDS {
            let wanted = |ty| {
                let id = field_id(Scope::Item, name);
                program.fields.iter().any(|field| field.id == id && field.ty == ty).then_some(id)
            };
            if let Some(id) = wanted(FieldType::String) {
                fields.push((id, FieldValues::String(items().map(|item| key(text(item).as_bytes())).collect())));
            } else if let Some(id) = wanted(FieldType::Tokens) {
                let words = |item| words(&text(item)).map(|word| key(word.as_bytes())).collect();
                fields.push((id, FieldValues::Tokens(items().map(words).collect())));
            }
        }
        Self { keys: order.iter().map(|item| item_keys[*item]).collect(), fields }
    }

    fn shared_state(&self, as_of_ms: i64, tables: Vec<selvedge_format::shared::TableParts>) -> Vec<u8> {
        SharedParts { as_of_ms, items: self.keys.clone(), fields: self.fields.clone(), tables }.encode()
    }
}

type ItemText = fn(&Item) -> String;

/// Item fields that the data set can fill, by their names in `features.toml`.
pub const ITEM_FIELDS: [(&str, ItemText); 7] = [
    ("department", |item| item.department.clone()),
    ("brand", |item| item.brand.clone()),
    ("product_category", |item| item.product_category.clone()),
    ("product_type", |item| item.product_type.clone()),
    ("manufacturer", |item| item.manufacturer.clone()),
    ("type_size", |item| {
        if item.product_type.is_empty() {
            String::new()
        } else {
            format!("{}|{}", item.product_type, item.package_size)
        }
    }),
    ("words", |item| format!("{} {}", item.product_category, item.product_type)),
];

/// Words of a text: runs of letters and digits, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase)
}
