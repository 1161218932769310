//! Owned content of every format, so that tests can write it, read it back and compare.

use std::fmt::Debug;
use std::ops::Range;

use selvedge_format::campaign::{self, CampaignsV1};
use selvedge_format::container::{Container, ContainerBuilder, Kind};
use selvedge_format::decision::{self, ArmParts, DecisionParts, DecisionStatus, DecisionView, OfferParts, OfferStatus};
use selvedge_format::delta;
use selvedge_format::explore::{self, ExploreV1};
use selvedge_format::graph::Graph;
use selvedge_format::head::{self, HeadV1, HeadView};
use selvedge_format::message::{BlockHeader, MessageView, MessageWriter};
use selvedge_format::meta::{self, MetaV1};
use selvedge_format::model::{self, Finish, LinearWeights, ModelKindV1, ModelsV1, TreeNode, TreeNodes};
use selvedge_format::policy::{self, PolicyV1};
use selvedge_format::program::{self, FieldType, ProgramV1, Scope};
use selvedge_format::record::{DigestView, Outcome, RecordView};
use selvedge_format::request::{self, BudgetNow, CapCount, Column, OfferAsked, RequestLimits, RequestView};
use selvedge_format::shared::{FieldValues, SharedField, SharedParts, SharedState, TableParts};
use selvedge_format::state::{HistoryEntry, ProfileEntry, SectionView, StateView, StateWriter};
use selvedge_format::terms::{self, TermsV1};
use selvedge_format::{AlignedBytes, DecodeError, ErrorCode, U64s, key};

/// What one format holds.
pub(crate) trait Content: Debug + Sized {
    /// Name of the format, of its golden files and of its fuzz target.
    const NAME: &'static str;

    /// Whether the canonical bytes are the only ones that the reader accepts. Elsewhere it passes over unknown sections
    /// and blocks, and does not ask in which order known ones come.
    const ONE_FORM: bool = false;

    /// Reads everything that there is to read.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// The canonical bytes.
    fn encode(&self) -> Vec<u8>;

    /// Makes lengths and checksums true again, so that a mutation is seen by the checks behind them.
    fn seal(bytes: &mut [u8]);
}

/// Content as text. NaN is not equal to itself, but it prints the same.
pub(crate) fn text(content: &impl Debug) -> String {
    format!("{content:?}")
}

/// Whatever a reader accepts has a canonical form, with the same content, which is read and written unchanged.
pub(crate) fn accepted_bytes_have_a_canonical_form<C: Content>(bytes: &[u8]) {
    let Ok(content) = C::decode(bytes) else { return };
    let canonical = content.encode();
    assert!(!C::ONE_FORM || bytes.is_empty() || canonical == bytes, "{}: two forms of one content", C::NAME);
    let again = C::decode(&canonical).expect("what was written can be read");
    assert_eq!(text(&again), text(&content), "{}: the content changed", C::NAME);
    assert_eq!(again.encode(), canonical, "{}: the canonical form is not stable", C::NAME);
}

/// Feeds `bytes` to every parser, as they are and with true lengths and checksums.
pub(crate) fn every_parser_survives(bytes: &[u8]) {
    fn one<C: Content>(bytes: &[u8]) {
        accepted_bytes_have_a_canonical_form::<C>(bytes);
        let mut sealed = bytes.to_vec();
        C::seal(&mut sealed);
        accepted_bytes_have_a_canonical_form::<C>(&sealed);
    }
    one::<Bundle>(bytes);
    one::<Shared>(bytes);
    one::<State>(bytes);
    one::<Request>(bytes);
    one::<Decision>(bytes);
    one::<Log>(bytes);
    one::<Head>(bytes);
    one::<Delta>(bytes);
    every_section_survives(bytes);
}

/// Feeds `bytes` to the parsers of the bundle's sections; whatever is accepted is written the same.
pub(crate) fn every_section_survives(bytes: &[u8]) {
    if let Ok(meta) = MetaV1::decode(bytes) {
        assert_eq!(meta.encode(), bytes);
    }
    // Read by hand, to the same end as by postcard's own reader.
    let derived = postcard::from_bytes::<ProgramV1>(bytes).ok();
    let derived = derived.filter(|program| program.encode() == bytes && program.validate().is_ok());
    assert_eq!(text(&ProgramV1::decode(bytes).ok()), text(&derived));
    let derived = postcard::from_bytes::<ModelsV1>(bytes).ok().filter(|models| models.encode() == bytes);
    let by_hand = ModelsV1::decode(bytes);
    assert!(!is_damaged(&by_hand) || derived.is_none(), "{by_hand:?}, not {derived:?}");
    assert!(by_hand.is_err() || text(&by_hand.ok()) == text(&derived));
    let policy = PolicyV1::decode(bytes, &crate::sample::program());
    let derived = postcard::from_bytes::<PolicyV1>(bytes).ok().filter(|policy| policy.encode() == bytes);
    assert!(!is_damaged(&policy) || derived.is_none(), "{policy:?}, not {derived:?}");
    assert!(policy.is_err() || text(&policy.ok()) == text(&derived));
    campaigns_survive(bytes, &crate::sample::program(), &crate::sample::models());
    if let Ok(terms) = TermsV1::decode(bytes) {
        assert_eq!(terms.encode(), bytes);
    }
    let doubles = ModelKindV1::DoubleTrees(Finish { divisor: 1.0, scale: 1.0, bias: 0.0 });
    for kind in [ModelKindV1::Linear { bias: 0.0 }, ModelKindV1::Trees { base: 0.0 }, doubles, ModelKindV1::Graph] {
        for features in [0, 1, 3] {
            if let Ok(weights) = Weights::decode(kind, bytes, features) {
                assert_eq!(weights.encode(), bytes);
            }
        }
    }
}

/// Feeds `bytes` to the parser of campaigns over this program and these models. It is written by hand, and accepts what
/// postcard's own reader accepts in its one form.
pub(crate) fn campaigns_survive(bytes: &[u8], program: &ProgramV1, models: &ModelsV1) {
    let derived = postcard::from_bytes::<CampaignsV1>(bytes).ok();
    let derived = derived.filter(|campaigns| campaigns.encode() == bytes);
    let derived = derived.filter(|campaigns| campaigns.validate(program, models).is_ok());
    assert_eq!(text(&CampaignsV1::decode(bytes, program, models).ok()), text(&derived));
}

/// Whether the encoding was refused, not what it says.
fn is_damaged<T>(read: &Result<T, DecodeError>) -> bool {
    read.as_ref().is_err_and(|error| error.code() == ErrorCode::BadMetadata)
}

fn put<const N: usize>(bytes: &mut [u8], range: Range<usize>, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(range) {
        place.copy_from_slice(&value);
    }
}

fn seal_container(bytes: &mut [u8]) {
    put(bytes, 16..24, (bytes.len() as u64).to_le_bytes());
    let checksum = bytes.get(32..).map_or(0, key);
    put(bytes, 24..32, checksum.to_le_bytes());
}

fn seal_length(bytes: &mut [u8]) {
    put(bytes, 8..12, (bytes.len() as u32).to_le_bytes());
}

#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) meta: Option<MetaV1>,
    pub(crate) program: ProgramV1,
    pub(crate) models: ModelsV1,
    pub(crate) weights: Vec<Weights>,
    pub(crate) policy: PolicyV1,
    pub(crate) campaigns: Option<CampaignsV1>,
    pub(crate) explore: Option<ExploreV1>,
    pub(crate) terms: Option<TermsV1>,
}

#[derive(Clone, Debug)]
pub(crate) enum Weights {
    Linear {
        weight: Vec<f32>,
        centre: Vec<f32>,
    },
    Trees(Vec<Vec<TreeNode>>),
    DoubleTrees(Vec<Vec<TreeNode>>, Vec<f64>),
    /// Written again from what was read.
    Graph(Vec<u8>),
}

impl Weights {
    fn decode(kind: ModelKindV1, bytes: &[u8], features: usize) -> Result<Self, DecodeError> {
        Ok(match kind {
            ModelKindV1::Linear { .. } => {
                let weights = LinearWeights::parse(bytes, features)?;
                Self::Linear { weight: weights.weight.iter().collect(), centre: weights.centre.iter().collect() }
            }
            ModelKindV1::Trees { .. } => Self::Trees(trees(&TreeNodes::parse(bytes, features)?)),
            ModelKindV1::DoubleTrees(_) => {
                let nodes = TreeNodes::parse_double(bytes, features)?;
                Self::DoubleTrees(trees(&nodes), nodes.leaf.iter().collect())
            }
            ModelKindV1::Graph => {
                let graph = Graph::parse(bytes, features)?;
                let constants: Vec<f32> = graph.constants.iter().collect();
                let (request, columns, score) = (graph.request as u32, graph.columns as u32, graph.score as u32);
                Self::Graph(Graph::encode(request, columns, score, &graph.steps, &constants, graph.bytes))
            }
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Linear { weight, centre } => LinearWeights::encode(weight, centre),
            Self::Trees(trees) => TreeNodes::encode(trees),
            Self::DoubleTrees(trees, leaves) => TreeNodes::encode_double(trees, leaves),
            Self::Graph(bytes) => bytes.clone(),
        }
    }
}

fn trees(nodes: &TreeNodes<'_>) -> Vec<Vec<TreeNode>> {
    let node = |at| TreeNode {
        value: nodes.value.get(at),
        mean: nodes.mean.get(at),
        feature: nodes.feature.get(at),
        flags: nodes.flags[at],
    };
    let mut start = 0;
    let mut tree = |len: u32| {
        let first = start;
        start += len as usize;
        (first..start).map(node).collect()
    };
    nodes.tree_nodes.iter().map(&mut tree).collect()
}

impl Content for Bundle {
    const NAME: &'static str = "bundle";

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let container = Container::parse(bytes, Kind::Bundle)?;
        let section = |tag, version| container.require(tag, version, "bundle").map(|found| &bytes[found.range.clone()]);
        let program = ProgramV1::decode(section(program::TAG, program::VERSION)?)?;
        let models = ModelsV1::decode(section(model::TAG, model::VERSION)?)?;
        let known = [meta::TAG, program::TAG, model::TAG, policy::TAG, campaign::TAG, explore::TAG, terms::TAG];
        let weight_tags = model::WEIGHTS_TAG..model::WEIGHTS_TAG + models.models.len() as u32;
        container.refuse_unknown(|tag| known.contains(&tag) || weight_tags.contains(&tag))?;
        let weights = weight_tags
            .zip(&models.models)
            .map(|(tag, model)| {
                Weights::decode(model.kind, section(tag, model::WEIGHTS_VERSION)?, program.features.len())
            })
            .collect::<Result<_, _>>()?;
        let policy = PolicyV1::decode(section(policy::TAG, policy::VERSION)?, &program)?;
        let campaigns = match container.find(campaign::TAG) {
            Some(_) => Some(CampaignsV1::decode(section(campaign::TAG, campaign::VERSION)?, &program, &models)?),
            None => None,
        };
        let meta = match container.find(meta::TAG) {
            Some(_) => Some(MetaV1::decode(section(meta::TAG, meta::VERSION)?)?),
            None => None,
        };
        let explore = match container.find(explore::TAG) {
            Some(_) => Some(ExploreV1::decode(section(explore::TAG, explore::VERSION)?)?),
            None => None,
        };
        let terms = match container.find(terms::TAG) {
            Some(_) => Some(TermsV1::decode(section(terms::TAG, terms::VERSION)?)?),
            None => None,
        };
        Ok(Self { meta, program, models, weights, policy, campaigns, explore, terms })
    }

    fn encode(&self) -> Vec<u8> {
        let mut builder = ContainerBuilder::new(Kind::Bundle)
            .required(program::TAG, program::VERSION, self.program.encode())
            .required(model::TAG, model::VERSION, self.models.encode())
            .required(policy::TAG, policy::VERSION, self.policy.encode());
        if let Some(meta) = &self.meta {
            builder = builder.optional(meta::TAG, meta::VERSION, meta.encode());
        }
        if let Some(campaigns) = &self.campaigns {
            builder = builder.required(campaign::TAG, campaign::VERSION, campaigns.encode());
        }
        if let Some(explore) = &self.explore {
            builder = builder.required(explore::TAG, explore::VERSION, explore.encode());
        }
        if let Some(terms) = &self.terms {
            builder = builder.optional(terms::TAG, terms::VERSION, terms.encode());
        }
        for (tag, weights) in (model::WEIGHTS_TAG..).zip(&self.weights) {
            builder = builder.required(tag, model::WEIGHTS_VERSION, weights.encode());
        }
        builder.build()
    }

    fn seal(bytes: &mut [u8]) {
        seal_container(bytes);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Shared(pub(crate) SharedParts);

impl Content for Shared {
    const NAME: &'static str = "shared_state";

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let state = SharedState::load(AlignedBytes::copy_of(bytes))?;
        let meta = state.meta();
        let rows = 0..meta.items;
        for (row, key) in rows.clone().zip(state.item_keys()) {
            assert_eq!(state.item_row(*key), Some(row), "an item is found where it is");
        }
        let fields = meta.fields.iter().enumerate().map(|(position, (id, _))| {
            let field = state.field(position).expect("a declared field is there");
            let values = match field {
                SharedField::Number(values) => FieldValues::Number(values.to_vec()),
                SharedField::Time(values) => FieldValues::Time(values.to_vec()),
                SharedField::String { .. } => FieldValues::String(rows.clone().map(|row| field.key(row)).collect()),
                SharedField::Tokens { .. } => {
                    FieldValues::Tokens(rows.clone().map(|row| field.tokens(row).to_vec()).collect())
                }
            };
            (*id, values)
        });
        let tables = meta.tables.iter().enumerate().map(|(position, declared)| {
            let table = state.table(position).expect("a declared table is there");
            for (row, key) in table.keys().iter().enumerate() {
                assert_eq!(table.row(*key), Some(row as u32), "a key is found where it is");
            }
            TableParts {
                id: declared.id,
                columns: declared.columns.clone(),
                keys: table.keys().to_vec(),
                last: table.last().to_vec(),
                values: (0..declared.columns.len()).map(|column| table.column(column).to_vec()).collect(),
                total_last: table.total_last,
                totals: (0..declared.columns.len()).map(|column| table.total(column)).collect(),
            }
        });
        Ok(Self(SharedParts {
            as_of_ms: meta.as_of_ms,
            items: state.item_keys().to_vec(),
            fields: fields.collect(),
            tables: tables.collect(),
        }))
    }

    fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    fn seal(bytes: &mut [u8]) {
        seal_container(bytes);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct State(pub(crate) Vec<Part>);

#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) device: u64,
    pub(crate) sequence: u64,
    pub(crate) sections: Vec<Section>,
}

#[derive(Clone, Debug)]
pub(crate) enum Section {
    Profile(Vec<ProfileEntry>),
    Table { id: u64, columns: Vec<(u64, usize)>, total: (u32, Vec<f32>), rows: Vec<(u32, u32, Vec<f32>)> },
    History(Vec<HistoryEntry>),
    Opaque(u16, Vec<u8>),
}

impl Section {
    fn read(section: &SectionView<'_>) -> Self {
        match section {
            SectionView::Profile(profile) => {
                let entries: Vec<_> = (0..profile.len()).map(|index| profile.get(index)).collect();
                assert!(entries.iter().all(|entry| profile.find(entry.field).is_some()));
                Self::Profile(entries)
            }
            SectionView::Table(table) => {
                let (rows, cells) = (table.keys.len(), table.total.len());
                let row = |row| {
                    let values = (0..cells).map(|cell| table.cells.get(cell * rows + row)).collect();
                    (table.keys.get(row), table.last.get(row), values)
                };
                Self::Table {
                    id: table.id,
                    columns: table.columns().collect(),
                    total: (table.total_last, table.total.iter().collect()),
                    rows: (0..rows).map(row).collect(),
                }
            }
            SectionView::History(history) => Self::History(history.iter().collect()),
            SectionView::Opaque { tag, payload } => Self::Opaque(*tag, payload.to_vec()),
        }
    }

    fn write(&self, writer: &mut StateWriter) {
        match self {
            Self::Profile(entries) => writer.profile(entries),
            Self::Table { id, columns, total, rows } => {
                let rows = rows.iter().map(|(key, last, cells)| (*key, *last, cells.as_slice()));
                writer.table(*id, columns, (total.0, &total.1), rows);
            }
            Self::History(events) => writer.history(events),
            Self::Opaque(tag, payload) => writer.opaque(*tag, payload),
        }
    }
}

impl Content for State {
    const NAME: &'static str = "user_state";
    const ONE_FORM: bool = true;

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let parts = StateView::parse(bytes)?.parts().map(|part| Part {
            device: part.device,
            sequence: part.sequence,
            sections: part.sections().map(|section| Section::read(&section)).collect(),
        });
        Ok(Self(parts.collect()))
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = StateWriter::default();
        for part in &self.0 {
            writer.part(part.device, part.sequence);
            part.sections.iter().for_each(|section| section.write(&mut writer));
        }
        writer.finish()
    }

    fn seal(bytes: &mut [u8]) {
        seal_length(bytes);
    }
}

/// Far above what the tests build.
const LIMITS: RequestLimits = RequestLimits { bytes: 1 << 20, state_bytes: 1 << 18 };

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) request_id: [u8; 16],
    pub(crate) time_ms: i64,
    pub(crate) utc_offset_min: i32,
    pub(crate) slate_size: u32,
    pub(crate) reasons: u32,
    pub(crate) ids: Vec<Vec<u8>>,
    pub(crate) state: Vec<u8>,
    pub(crate) pins: Vec<u32>,
    pub(crate) exclude: Vec<u32>,
    pub(crate) columns: Vec<RequestColumn>,
    pub(crate) offer: Option<Asked>,
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) campaign: u64,
    pub(crate) draw: Option<[u8; 16]>,
    pub(crate) budgets: Vec<BudgetNow>,
    pub(crate) counts: Vec<CapCount>,
}

impl Asked {
    fn read(asked: &OfferAsked<'_>) -> Self {
        Self {
            campaign: asked.campaign,
            draw: asked.draw,
            budgets: asked.budgets().collect(),
            counts: asked.counts().collect(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        OfferAsked::encode(self.campaign, self.draw, &self.budgets, &self.counts)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct RequestColumn {
    pub(crate) field: u64,
    pub(crate) scope: Scope,
    pub(crate) values: Values,
}

#[derive(Clone, Debug)]
pub(crate) enum Values {
    Number(Vec<f32>),
    String(Vec<Vec<u8>>),
    Tokens(Vec<Vec<Vec<u8>>>),
    Time(Vec<i64>),
}

impl Values {
    fn ty(&self) -> FieldType {
        match self {
            Self::Number(_) => FieldType::Number,
            Self::String(_) => FieldType::String,
            Self::Tokens(_) => FieldType::Tokens,
            Self::Time(_) => FieldType::Time,
        }
    }

    fn read(column: Column<'_>, rows: usize) -> Self {
        match column {
            Column::Number(values) => Self::Number(values.iter().collect()),
            Column::String(strings) => Self::String((0..rows).map(|row| strings.get(row).to_vec()).collect()),
            Column::Tokens(lists) => {
                Self::Tokens((0..rows).map(|row| lists.get(row).map(<[u8]>::to_vec).collect()).collect())
            }
            Column::Time(values) => Self::Time(values.iter().collect()),
        }
    }

    /// The block's bytes; strings go to the heap.
    fn write(&self, heap: &mut Vec<u8>) -> Vec<u8> {
        match self {
            Self::Number(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Time(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::String(values) => offsets(values, heap),
            Self::Tokens(rows) => {
                let mut count = 0;
                let mut bytes = 0_u32.to_le_bytes().to_vec();
                for row in rows {
                    count += row.len() as u32;
                    bytes.extend(count.to_le_bytes());
                }
                bytes.extend(offsets(rows.iter().flatten(), heap));
                bytes
            }
        }
    }
}

/// Puts the strings on the heap and returns where they start, and where the last ends.
fn offsets<'s>(strings: impl IntoIterator<Item = &'s Vec<u8>>, heap: &mut Vec<u8>) -> Vec<u8> {
    let mut bytes = (heap.len() as u32).to_le_bytes().to_vec();
    for string in strings {
        heap.extend_from_slice(string);
        bytes.extend((heap.len() as u32).to_le_bytes());
    }
    bytes
}

fn integers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl Content for Request {
    const NAME: &'static str = "request";

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let view = RequestView::parse(bytes, LIMITS)?;
        let message = MessageView::parse(bytes, request::KIND, |_| true)?;
        let scopes = [Scope::Item, Scope::User, Scope::Context];
        let types = [FieldType::Number, FieldType::String, FieldType::Tokens, FieldType::Time];
        let columns = message.blocks().filter(|(header, _)| header.tag == request::COLUMN).map(|(header, _)| {
            let scope = scopes[usize::from(header.scope)];
            let ty = types[usize::from(header.ty)];
            let column = view.column(header.field, scope, ty)?.expect("a column that was sent is there");
            let rows = if scope == Scope::Item { view.candidates } else { 1 };
            Ok(RequestColumn { field: header.field, scope, values: Values::read(column, rows) })
        });
        Ok(Self {
            request_id: view.request_id,
            time_ms: view.time_ms,
            utc_offset_min: view.utc_offset_min,
            slate_size: view.slate_size,
            reasons: view.reasons,
            ids: (0..view.candidates).map(|candidate| view.ids.get(candidate).to_vec()).collect(),
            state: view.state.to_vec(),
            pins: view.pins.iter().collect(),
            exclude: view.exclude.iter().collect(),
            columns: columns.collect::<Result<_, _>>()?,
            offer: view.offer.as_ref().map(Asked::read),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut heap = Vec::new();
        let ids = offsets(&self.ids, &mut heap);
        let columns: Vec<_> = self.columns.iter().map(|column| column.values.write(&mut heap)).collect();
        let plain = [
            (request::IDS, ids),
            (request::HEAP, heap),
            (request::STATE, self.state.clone()),
            (request::PINS, integers(&self.pins)),
            (request::EXCLUDE, integers(&self.exclude)),
        ];
        let blocks = plain.len() + columns.len() + usize::from(self.offer.is_some());
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, request::KIND, blocks, |out| {
            out.extend(self.request_id);
            out.extend(self.time_ms.to_le_bytes());
            out.extend(self.utc_offset_min.to_le_bytes());
            out.extend((self.ids.len() as u32).to_le_bytes());
            out.extend(self.slate_size.to_le_bytes());
            out.extend(self.reasons.to_le_bytes());
            out.extend(0_u64.to_le_bytes());
        });
        for (tag, bytes) in plain {
            writer.block(BlockHeader { tag, ..BlockHeader::default() }, |out| out.extend(bytes));
        }
        for (column, bytes) in self.columns.iter().zip(columns) {
            let header = BlockHeader {
                tag: request::COLUMN,
                scope: request::scope_code(column.scope),
                ty: request::type_code(column.values.ty()),
                flags: 0,
                field: column.field,
            };
            writer.block(header, |out| out.extend(bytes));
        }
        if let Some(offer) = &self.offer {
            let header = BlockHeader { tag: request::OFFER, ..BlockHeader::default() };
            writer.block(header, |out| out.extend(offer.encode()));
        }
        out
    }

    fn seal(bytes: &mut [u8]) {
        seal_length(bytes);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) request_id: [u8; 16],
    pub(crate) bundle_id: [u8; 32],
    pub(crate) shared_id: [u8; 32],
    pub(crate) status: DecisionStatus,
    pub(crate) candidates: u32,
    pub(crate) contributions: u32,
    pub(crate) cost: u64,
    pub(crate) error: u16,
    pub(crate) base: f32,
    pub(crate) slots: Vec<Slot>,
    pub(crate) offer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) campaign: u64,
    pub(crate) epoch: i64,
    pub(crate) status: OfferStatus,
    pub(crate) arm: u32,
    pub(crate) best: u32,
    pub(crate) drawn: bool,
    pub(crate) propensity: f32,
    pub(crate) arms: Vec<ArmParts>,
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) candidate: u32,
    pub(crate) score: f32,
    pub(crate) propensity: f32,
    pub(crate) rules: u32,
    /// Feature and effect; padded to the decision's number of contributions.
    pub(crate) reasons: Vec<(u32, f32)>,
}

impl Content for Decision {
    const NAME: &'static str = "decision";

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let view = DecisionView::parse(bytes)?;
        let slot = |slot| Slot {
            candidate: view.slots.get(slot),
            score: view.scores.get(slot),
            propensity: view.propensities.get(slot),
            rules: view.rules.get(slot),
            reasons: view.reasons(slot).collect(),
        };
        Ok(Self {
            request_id: view.request_id,
            bundle_id: view.bundle_id,
            shared_id: view.shared_id,
            status: view.status,
            candidates: view.candidates,
            contributions: view.contributions,
            cost: view.cost,
            error: view.error,
            base: view.base,
            slots: (0..view.slots.len()).map(slot).collect(),
            offer: view.offer.map(|offer| Answer {
                campaign: offer.campaign,
                epoch: offer.epoch,
                status: offer.status,
                arm: offer.arm,
                best: offer.best,
                drawn: offer.drawn,
                propensity: offer.propensity,
                arms: offer.arms().collect(),
            }),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let column = |value: fn(&Slot) -> u32| self.slots.iter().map(value).collect::<Vec<_>>();
        let floats = |value: fn(&Slot) -> f32| self.slots.iter().map(value).collect::<Vec<_>>();
        let padding = std::iter::repeat((decision::NO_FEATURE, 0.0));
        let (reason_features, reason_effects): (Vec<_>, Vec<_>) = self
            .slots
            .iter()
            .flat_map(|slot| slot.reasons.iter().copied().chain(padding.clone()).take(self.contributions as usize))
            .unzip();
        let mut out = Vec::new();
        DecisionParts {
            request_id: self.request_id,
            bundle_id: self.bundle_id,
            shared_id: self.shared_id,
            status: self.status,
            candidates: self.candidates,
            contributions: self.contributions,
            cost: self.cost,
            error: self.error,
            base: self.base,
            slots: &column(|slot| slot.candidate),
            scores: &floats(|slot| slot.score),
            propensities: &floats(|slot| slot.propensity),
            rules: &column(|slot| slot.rules),
            reason_features: &reason_features,
            reason_effects: &reason_effects,
            offer: self.offer.as_ref().map(|offer| OfferParts {
                campaign: offer.campaign,
                epoch: offer.epoch,
                status: offer.status,
                arm: offer.arm,
                best: offer.best,
                drawn: offer.drawn,
                propensity: offer.propensity,
                arms: &offer.arms,
            }),
        }
        .write(&mut out);
        out
    }

    fn seal(bytes: &mut [u8]) {
        seal_length(bytes);
    }
}

/// Records end to end.
#[derive(Clone, Debug)]
pub(crate) struct Log(pub(crate) Vec<Record>);

/// A record that owns its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Full { request: Vec<u8>, decision: Vec<u8> },
    Digest { time_ms: i64, request_hash: u64, items: Vec<u64>, decision: Vec<u8> },
    Outcome(Outcome),
}

impl Content for Log {
    const NAME: &'static str = "record";
    const ONE_FORM: bool = true;

    fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let (record, rest) = RecordView::read(bytes)?;
            assert_eq!(record.encoded_len(), bytes.len() - rest.len(), "a record knows its length");
            records.push(match record {
                RecordView::Full { request, decision } => {
                    Record::Full { request: request.to_vec(), decision: decision.to_vec() }
                }
                RecordView::Digest(DigestView { time_ms, request_hash, items, decision }) => {
                    Record::Digest { time_ms, request_hash, items: items.iter().collect(), decision: decision.to_vec() }
                }
                RecordView::Outcome(outcome) => Record::Outcome(outcome),
            });
            bytes = rest;
        }
        Ok(Self(records))
    }

    fn encode(&self) -> Vec<u8> {
        let mut log = Vec::new();
        for record in &self.0 {
            match record {
                Record::Full { request, decision } => RecordView::Full { request, decision }.write(&mut log),
                Record::Digest { time_ms, request_hash, items, decision } => {
                    let items: Vec<u8> = items.iter().flat_map(|item| item.to_le_bytes()).collect();
                    let digest = DigestView {
                        time_ms: *time_ms,
                        request_hash: *request_hash,
                        items: U64s::new(&items),
                        decision,
                    };
                    RecordView::Digest(digest).write(&mut log);
                }
                Record::Outcome(outcome) => RecordView::Outcome(*outcome).write(&mut log),
            }
        }
        log
    }

    /// True for the first record, which is where a single mutation of a short log mostly falls.
    fn seal(bytes: &mut [u8]) {
        let length = |at| bytes.get(at..at + 4).map_or(0, |len: &[u8]| u32::from_le_bytes(len.try_into().unwrap()));
        let end = 24_usize.saturating_add(length(8) as usize).saturating_add(length(12) as usize);
        let checksum = bytes.get(24..end).map_or(0, key);
        put(bytes, 16..24, checksum.to_le_bytes());
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) key: head::KeyId,
    pub(crate) signature: head::Signature,
    pub(crate) head: HeadV1,
}

impl Content for Head {
    const NAME: &'static str = "head";
    const ONE_FORM: bool = true;

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let HeadView { key, signature, head, .. } = HeadView::parse(bytes)?;
        Ok(Self { key, signature, head })
    }

    fn encode(&self) -> Vec<u8> {
        self.head.unsigned(self.key).expect("a valid head").sign(&self.signature)
    }

    fn seal(bytes: &mut [u8]) {
        if let Some(length) = bytes.len().checked_sub(head::HEADER_LEN) {
            put(bytes, 10..12, (length as u16).to_le_bytes());
        }
    }
}

/// A delta on top of the sample bundle. What it holds shows only when it is applied, so its bytes are its content.
#[derive(Clone, Debug)]
pub(crate) struct Delta(pub(crate) Vec<u8>);

impl Content for Delta {
    const NAME: &'static str = "delta";
    const ONE_FORM: bool = true;

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const LIMIT: usize = 1 << 20;
        let base = crate::sample::bundle().encode();
        let target = delta::apply_unchecked(bytes, &base, LIMIT)?;
        assert_eq!(target.len() as u64, delta::header(bytes)?.target_len);
        Ok(Self(bytes.to_vec()))
    }

    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn seal(bytes: &mut [u8]) {
        let base = crate::sample::bundle().encode();
        put(bytes, 16..24, (base.len() as u64).to_le_bytes());
    }
}
