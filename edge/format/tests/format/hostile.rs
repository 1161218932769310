//! Attacks by name. Each builds bytes whose lengths and checksums are true, and breaks one rule.

use selvedge_format::campaign::{
    self, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapV1, Comparison, DAY_MIN, HoursV1, MIN_EPOCH_S, MarginV1,
    TestOpV1,
};
use selvedge_format::container::{self, Container, ContainerBuilder, Kind};
use selvedge_format::graph::{Function, Gather, Graph, MAX_LIST_COLUMNS, Meet, Memory, Numbers, Product, Step, View};
use selvedge_format::message::{BlockHeader, FLAG_REQUIRED, MAX_BLOCKS, MessageKind, MessageView, MessageWriter};
use selvedge_format::meta::MetaV1;
use selvedge_format::model::{
    Finish, LEAF, MAX_DEPTH, MAX_LEAVES, MAX_STAGES, ModelKindV1, ModelsV1, StageV1, TreeNode, TreeNodes,
};
use selvedge_format::program::{
    ColumnV1, CounterRef, Decay, MAX_BUCKETS, MAX_COLUMNS, MAX_FEATURES, MAX_FIELDS, Measure, OpV1, ProgramV1, TableRef,
};
use selvedge_format::record::{self, RecordView};
use selvedge_format::shared::{FieldValues, SharedParts, TableParts};
use selvedge_format::state::{HistoryEntry, MAX_PARTS, ProfileEntry, ProfileValue};
use selvedge_format::terms::{self, MAX_CAMPAIGNS, MAX_FUNDERS, MAX_LIFE_S, MAX_MINOR, SHARE};
use selvedge_format::{DecodeError, DecodeErrorKind, ErrorCode, decision, key, request};

use crate::content::{
    Bundle, Content, Decision, Log, Part, Request, RequestColumn, Section, Shared, State, Values, Weights,
};
use crate::golden::{added, current};
use crate::sample;

fn code<T>(result: Result<T, DecodeError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code())
}

fn every_bit_flip(bytes: &[u8], mut see: impl FnMut(&[u8], usize)) {
    let mut bytes = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        see(&bytes, bit);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_container_refuses_every_single_bit_flip() {
    for (golden, kind) in [(current::<Bundle>(), Kind::Bundle), (current::<Shared>(), Kind::SharedState)] {
        Container::parse(&golden, kind).unwrap();
        every_bit_flip(&golden, |bytes, bit| assert!(Container::parse(bytes, kind).is_err(), "bit {bit}"));
    }
}

#[test]
fn a_record_refuses_every_single_bit_flip() {
    every_bit_flip(&current::<Log>(), |bytes, bit| assert!(Log::decode(bytes).is_err(), "bit {bit}"));
}

#[test]
fn the_content_address_covers_every_byte_after_the_header() {
    let golden = current::<Bundle>();
    every_bit_flip(&golden, |bytes, bit| {
        assert_eq!(container::verify_id(bytes).is_ok(), bit / 8 < 32, "bit {bit}");
    });
}

#[test]
fn every_truncation_is_refused() {
    fn refused<C: Content>(golden: &[u8]) {
        for len in 1..golden.len() {
            let mut cut = golden[..len].to_vec();
            assert!(C::decode(&cut).is_err(), "{} cut to {len}", C::NAME);
            C::seal(&mut cut);
            assert!(C::decode(&cut).is_err(), "{} cut to {len}, sealed", C::NAME);
        }
    }
    refused::<Bundle>(&current::<Bundle>());
    refused::<Shared>(&current::<Shared>());
    refused::<State>(&current::<State>());
    refused::<Request>(&current::<Request>());
    refused::<Decision>(&current::<Decision>());
    refused::<Bundle>(&added::<Bundle>());
    refused::<Request>(&added::<Request>());
    refused::<Decision>(&added::<Decision>());
}

#[test]
fn a_log_is_cut_only_between_records() {
    let golden = current::<Log>();
    let mut rest = golden.as_slice();
    let mut between = Vec::new();
    while !rest.is_empty() {
        between.push(golden.len() - rest.len());
        rest = RecordView::read(rest).unwrap().1;
    }
    assert!(between.len() > 2, "the golden log has a record of each kind");
    for len in 1..golden.len() {
        let mut cut = golden[..len].to_vec();
        assert_eq!(Log::decode(&cut).is_err(), !between.contains(&len), "cut to {len}");
        Log::seal(&mut cut);
        assert_eq!(Log::decode(&cut).is_err(), !between.contains(&len), "cut to {len}, sealed");
    }
}

#[test]
fn a_version_from_the_future_is_named() {
    fn refused<C: Content>(at: usize) {
        let mut golden = current::<C>();
        golden[at] = 2;
        let expected = DecodeErrorKind::UnsupportedVersion { newest: 1, found: 2 };
        assert_eq!(C::decode(&golden).err().map(|error| error.kind()), Some(expected), "{}", C::NAME);
    }
    refused::<Bundle>(8);
    refused::<Shared>(8);
    refused::<State>(4);
    refused::<Request>(4);
    refused::<Decision>(4);
    refused::<Log>(4);
}

#[test]
fn a_container_of_another_kind_is_named() {
    let expected = DecodeErrorKind::WrongKind { expected: 1, found: 2 };
    assert_eq!(Bundle::decode(&current::<Shared>()).err().map(|error| error.kind()), Some(expected));
}

#[test]
fn an_unknown_section_is_refused_only_if_it_is_required() {
    let golden = sample::shared().encode();
    let container = Container::parse(&golden, Kind::SharedState).unwrap();
    let copy = || {
        container.sections().iter().fold(ContainerBuilder::new(Kind::SharedState), |builder, section| {
            builder.required(section.tag, section.version, golden[section.range.clone()].to_vec())
        })
    };
    Shared::decode(&copy().optional(0x7000_0000, 1, b"later".to_vec()).build()).unwrap();
    let required = copy().required(0x7000_0000, 1, b"later".to_vec()).build();
    assert_eq!(code(Shared::decode(&required)), Some(ErrorCode::UnknownSection));
}

#[test]
fn an_unknown_block_is_refused_only_if_it_is_required() {
    for (flags, expected) in [(0, None), (FLAG_REQUIRED, Some(ErrorCode::UnknownSection))] {
        let golden = current::<Decision>();
        let view = MessageView::parse(&golden, decision::KIND, |_| true).unwrap();
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, decision::KIND, 7, |out| out.extend_from_slice(view.fixed));
        view.blocks().for_each(|(header, block)| writer.block(header, |out| out.extend_from_slice(block)));
        writer.block(BlockHeader { tag: 99, flags, ..BlockHeader::default() }, |out| out.push(1));
        assert_eq!(code(Decision::decode(&out)), expected);
    }
}

#[test]
fn more_blocks_than_the_limit_are_refused() {
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, decision::KIND, MAX_BLOCKS + 1, |out| out.resize(out.len() + 112, 0));
    (0..=MAX_BLOCKS).for_each(|_| writer.block(BlockHeader { tag: 99, ..BlockHeader::default() }, |_| ()));
    assert_eq!(code(MessageView::parse(&out, decision::KIND, |_| true)), Some(ErrorCode::TooLarge));
}

#[test]
fn metadata_above_the_limit_is_refused_before_it_is_decoded() {
    let meta = MetaV1 { name: "x".repeat(container::MAX_METADATA_LEN), ..MetaV1::default() };
    assert_eq!(code(MetaV1::decode(&meta.encode())), Some(ErrorCode::TooLarge));
}

#[test]
fn metadata_has_one_encoding() {
    let golden = sample::program().encode();
    let fields = golden[0];
    assert!(fields < 0x80, "the first number is one byte long");
    let mut padded = vec![fields | 0x80, 0];
    padded.extend_from_slice(&golden[1..]);
    assert_eq!(code(ProgramV1::decode(&padded)), Some(ErrorCode::BadMetadata));
    let mut longer = golden;
    longer.push(0);
    assert_eq!(code(ProgramV1::decode(&longer)), Some(ErrorCode::BadMetadata));
}

/// Fails by never ending: comparing half a million columns with each other takes minutes.
#[test]
fn half_a_million_columns_are_refused_at_once() {
    let mut program = sample::program();
    let column = |id| ColumnV1 { id, measure: Measure::Count, decay: Decay::Lifetime };
    program.user_tables[0].columns = (0..500_000).map(column).collect();
    assert_eq!(code(program.validate()), Some(ErrorCode::Invalid));

    let table = Section::Table {
        id: 1,
        columns: (0..u64::from(u16::MAX)).map(|id| (id, 1)).collect(),
        total: (0, vec![0.0; usize::from(u16::MAX)]),
        rows: vec![],
    };
    let part = Part { device: 1, sequence: 1, sections: vec![table] };
    assert_eq!(code(State::decode(&State(vec![part]).encode())), Some(ErrorCode::Invalid));
}

#[test]
fn every_operand_of_a_program_is_checked() {
    let far = CounterRef { table: TableRef::User(0), column: 3 };
    let nowhere = CounterRef { table: TableRef::Global(9), column: 0 };
    let near = CounterRef { table: TableRef::User(0), column: 0 };
    let bad = [
        OpV1::Number { field: 1 },
        OpV1::Number { field: u16::MAX },
        OpV1::Category { field: 0, values: vec![] },
        OpV1::Category { field: 1, values: vec![(2, 0), (1, 1)] },
        OpV1::Category { field: 1, values: vec![(1, 0), (1, 1)] },
        OpV1::Bucket { fields: vec![], buckets: 1 },
        OpV1::Bucket { fields: vec![1; 9], buckets: 1 },
        OpV1::Bucket { fields: vec![1], buckets: 0 },
        OpV1::Bucket { fields: vec![1], buckets: (1 << 24) + 1 },
        OpV1::TimeDifference { field: 3, unit_s: 0 },
        OpV1::Recency { table: TableRef::User(1), unit_s: 1 },
        OpV1::Counter(far),
        OpV1::Share(nowhere),
        OpV1::Rate { numerator: near, denominator: far, weight: 1.0, prior: 0.0 },
        OpV1::Rate { numerator: near, denominator: near, weight: -1.0, prior: 0.0 },
        OpV1::Rate { numerator: near, denominator: near, weight: 1.0, prior: f32::NAN },
        OpV1::Combine { op: selvedge_format::program::CombineOp::Min, left: 0, right: 0 },
        OpV1::ItemId { buckets: 0 },
        OpV1::ItemId { buckets: (1 << 24) + 1 },
        OpV1::RecentItem { at: 0, event: 0, within_s: 1, buckets: 0 },
        OpV1::RecentItem { at: 0, event: 0, within_s: 1, buckets: (1 << 24) + 1 },
        OpV1::RecentItem { at: 256, event: 0, within_s: 1, buckets: 1 },
    ];
    for op in bad {
        let mut program = sample::program();
        program.features[0].op = op.clone();
        assert_eq!(code(ProgramV1::decode(&program.encode())), Some(ErrorCode::Invalid), "{op:?}");
    }
}

#[test]
fn counts_above_the_limits_of_a_program_are_refused() {
    let refused = |change: fn(&mut ProgramV1)| {
        let mut program = sample::program();
        change(&mut program);
        assert!(ProgramV1::decode(&program.encode()).is_err());
    };
    refused(|program| program.features = vec![program.features[5].clone(); MAX_FEATURES + 1]);
    refused(|program| program.fields = vec![program.fields[0]; MAX_FIELDS + 1]);
    refused(|program| program.history_events = 257);
    refused(|program| program.user_tables[0].capacity = 0);
    refused(|program| program.user_tables[0].columns.clear());
    refused(|program| program.user_tables[0].columns = vec![program.user_tables[0].columns[0]; MAX_COLUMNS + 1]);
    refused(|program| program.user_tables[0].columns[0].decay = Decay::HalfLife { half_life_s: 0 });
    refused(|program| program.user_tables[0].columns[0].decay = Decay::Window { bucket_s: 0, buckets: 1 });
    refused(|program| {
        program.user_tables[0].columns[0].decay = Decay::Window { bucket_s: 1, buckets: MAX_BUCKETS + 1 };
    });
    refused(|program| program.fields[1].id = program.fields[0].id);
    refused(|program| program.global_tables[1].id = program.global_tables[0].id);
    refused(|program| program.features[1].default = f32::INFINITY);
}

#[test]
fn stages_are_one_to_four_and_all_but_the_last_keep_some() {
    let models = sample::bundle().models;
    let refused = |stages| code(ModelsV1::decode(&ModelsV1 { stages, ..models.clone() }.encode()));
    let stage = StageV1 { model: 0, keep: 0 };
    assert_eq!(refused(vec![]), Some(ErrorCode::Invalid));
    let some = StageV1 { model: 1, keep: 5 };
    assert_eq!(refused(vec![stage, stage]), Some(ErrorCode::Invalid));
    assert_eq!(refused(vec![some, some]), Some(ErrorCode::Invalid));
    assert_eq!(refused(vec![stage, some]), Some(ErrorCode::Invalid));
    assert_eq!(refused(vec![StageV1 { model: 2, keep: 5 }, stage]), Some(ErrorCode::Invalid));
    assert_eq!(refused(vec![some; MAX_STAGES].into_iter().chain([stage]).collect()), Some(ErrorCode::Invalid));
    assert_eq!(refused(vec![some; MAX_STAGES - 1].into_iter().chain([stage]).collect()), None);
    assert_eq!(refused(vec![StageV1 { model: 2, keep: 0 }]), Some(ErrorCode::Invalid));
    assert_eq!(refused(vec![StageV1 { model: 0, keep: 5 }]), Some(ErrorCode::Invalid));
    assert_eq!(refused(vec![stage]), None);
}

#[test]
fn a_node_list_that_is_not_a_tree_is_refused() {
    let inner = TreeNode { value: 0.5, mean: 0.0, feature: 0, flags: 0 };
    let leaf = TreeNode { feature: LEAF, ..inner };
    let parse = |tree: Vec<TreeNode>| code(TreeNodes::parse(&TreeNodes::encode(&[tree]), 1));
    let invalid = Some(ErrorCode::Invalid);
    assert_eq!(parse(vec![leaf]), None);
    assert_eq!(parse(vec![inner, leaf, leaf]), None);
    assert_eq!(parse(vec![]), invalid);
    assert_eq!(parse(vec![inner]), invalid);
    assert_eq!(parse(vec![leaf, inner, leaf]), invalid);
    assert_eq!(parse(vec![inner, leaf, leaf, inner, leaf]), invalid);
    assert_eq!(parse(vec![TreeNode { feature: 1, ..inner }, leaf, leaf]), invalid);
    assert_eq!(parse(vec![TreeNode { value: f32::NAN, ..leaf }]), invalid);
    assert_eq!(parse(vec![TreeNode { value: f32::INFINITY, ..leaf }]), invalid);
    assert_eq!(parse(vec![TreeNode { value: f32::NAN, ..inner }, leaf, leaf]), invalid);
    assert_eq!(parse(vec![TreeNode { value: f32::INFINITY, ..inner }, leaf, leaf]), None);
    assert_eq!(parse(vec![TreeNode { mean: f32::INFINITY, ..inner }, leaf, leaf]), invalid);
    assert_eq!(parse(vec![TreeNode { flags: 2, ..leaf }]), invalid);
    // A chain to the right: one inner node and one leaf a level.
    let chain = |depth: usize| {
        let levels = (1..depth).flat_map(|_| [leaf, inner]);
        [inner].into_iter().chain(levels).chain([leaf, leaf]).collect::<Vec<_>>()
    };
    assert_eq!(parse(chain(MAX_DEPTH)), None);
    assert_eq!(parse(chain(MAX_DEPTH + 1)), Some(ErrorCode::TooLarge));
    let full = |inner_nodes: usize| [vec![inner; inner_nodes], vec![leaf; inner_nodes + 1]].concat();
    assert_eq!(parse(full(MAX_LEAVES - 1)), None);
    assert_eq!(parse(full(2 * MAX_LEAVES - 1)), Some(ErrorCode::TooLarge));
}

#[test]
fn leaves_in_f64_are_as_many_as_the_leaves_and_finite() {
    let inner = TreeNode { value: 0.5, mean: 0.0, feature: 0, flags: 0 };
    let leaf = TreeNode { feature: LEAF, ..inner };
    let parse = |leaves: &[f64]| {
        code(TreeNodes::parse_double(&TreeNodes::encode_double(&[vec![inner, leaf, leaf], vec![leaf]], leaves), 1))
    };
    assert_eq!(parse(&[1e300, -0.0, 1e-310]), None);
    assert_eq!(parse(&[1.0, 2.0]), Some(ErrorCode::Truncated));
    assert_eq!(parse(&[1.0, 2.0, 3.0, 4.0]), Some(ErrorCode::Invalid));
    assert_eq!(parse(&[1.0, f64::NAN, 3.0]), Some(ErrorCode::Invalid));
    assert_eq!(parse(&[1.0, 2.0, f64::INFINITY]), Some(ErrorCode::Invalid));
}

#[test]
fn a_sum_is_finished_by_finite_numbers_and_a_divisor_above_0() {
    let sound = Finish { divisor: 2.0, scale: -1.0, bias: 0.5 };
    let decode = |finish| {
        let mut models = sample::bundle().models;
        models.models[0].kind = ModelKindV1::DoubleTrees(finish);
        code(ModelsV1::decode(&models.encode()))
    };
    assert_eq!(decode(sound), None);
    for divisor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(decode(Finish { divisor, ..sound }), Some(ErrorCode::Invalid));
    }
    assert_eq!(decode(Finish { scale: f64::NAN, ..sound }), Some(ErrorCode::Invalid));
    assert_eq!(decode(Finish { bias: f64::NEG_INFINITY, ..sound }), Some(ErrorCode::Invalid));
}

/// A shared state of one item and one field.
fn one_field(values: FieldValues) -> SharedParts {
    SharedParts { as_of_ms: 0, items: vec![5], fields: vec![(1, values)], tables: vec![] }
}

/// Replaces the only field section of a shared state.
fn with_field_bytes(parts: &SharedParts, bytes: Vec<u8>) -> Vec<u8> {
    let encoded = parts.encode();
    let container = Container::parse(&encoded, Kind::SharedState).unwrap();
    let copy = container.sections().iter().fold(ContainerBuilder::new(Kind::SharedState), |builder, section| {
        builder.required(section.tag, section.version, encoded[section.range.clone()].to_vec())
    });
    copy.required(selvedge_format::shared::FIELD_TAG, selvedge_format::shared::VERSION, bytes).build()
}

#[test]
fn padding_and_dictionaries_of_a_shared_state_hide_nothing() {
    let strings = one_field(FieldValues::String(vec![7]));
    let section = |words: &[u32], keys: &[u64]| {
        let words = words.iter().flat_map(|word| word.to_le_bytes());
        words.chain(keys.iter().flat_map(|key| key.to_le_bytes())).collect::<Vec<u8>>()
    };
    let load = |parts, words: &[u32], keys: &[u64]| Shared::decode(&with_field_bytes(parts, section(words, keys)));
    let invalid = Some(ErrorCode::Invalid);
    assert_eq!(code(load(&strings, &[0, 0], &[7])), None);
    assert_eq!(code(load(&strings, &[0, 1], &[7])), invalid, "padding");
    assert_eq!(code(load(&strings, &[2, 0], &[7])), invalid, "code past the dictionary");
    assert_eq!(code(load(&strings, &[0, 0], &[0, 7])), invalid, "a key that means missing");
    assert_eq!(code(load(&strings, &[0, 0], &[7, 7])), invalid, "one key twice");
    let mut tokens = one_field(FieldValues::Tokens(vec![vec![7], vec![8]]));
    tokens.items = vec![5, 6];
    assert_eq!(code(load(&tokens, &[0, 1, 2, 0], &[7, 8])), None);
    assert_eq!(code(load(&tokens, &[0, 1, 2, 1], &[7, 8])), invalid, "padding");
    assert_eq!(code(load(&tokens, &[0, 2, 1, 0], &[7, 8])), invalid, "starts that descend");
    assert_eq!(code(load(&tokens, &[0, 2, 2, 0], &[8, 7])), invalid, "keys that descend within an item");
}

#[test]
fn counters_of_a_shared_state_decay_in_finite_time_and_by_finite_amounts() {
    let parts = |columns, value: f32| SharedParts {
        tables: vec![TableParts {
            id: 1,
            columns,
            keys: vec![9],
            last: vec![0],
            values: vec![vec![value]],
            total_last: 0,
            totals: vec![value],
        }],
        ..SharedParts::default()
    };
    let load = |parts: SharedParts| code(Shared::decode(&parts.encode()));
    assert_eq!(load(parts(vec![(1, Decay::HalfLife { half_life_s: 1 })], 1.0)), None);
    assert_eq!(load(parts(vec![(1, Decay::HalfLife { half_life_s: 0 })], 1.0)), Some(ErrorCode::Invalid));
    assert_eq!(load(parts(vec![(1, Decay::Lifetime)], f32::NAN)), Some(ErrorCode::Invalid));
    let mut twice = parts(vec![(1, Decay::Lifetime), (1, Decay::Lifetime)], 1.0);
    twice.tables[0].values.push(vec![1.0]);
    twice.tables[0].totals.push(1.0);
    assert_eq!(load(twice), Some(ErrorCode::Invalid));
}

#[test]
fn a_user_state_refuses_what_is_out_of_order_or_hidden() {
    let state = |sections: Vec<Section>| State(vec![Part { device: 1, sequence: 1, sections }]);
    let refused = |sections| code(State::decode(&state(sections).encode())) == Some(ErrorCode::Invalid);
    let entry = |field| ProfileEntry { field, last: 0, value: ProfileValue::Number(1.0) };
    let event = |last| HistoryEntry { last, event: 1, item: 1 };
    let table = |keys: [u32; 2], cell| Section::Table {
        id: 1,
        columns: vec![(1, 1)],
        total: (0, vec![0.0]),
        rows: keys.map(|key| (key, 0, vec![cell])).to_vec(),
    };
    assert!(!refused(vec![Section::Profile(vec![entry(1), entry(2)]), table([1, 2], 0.0)]));
    assert!(refused(vec![Section::Profile(vec![entry(2), entry(1)])]));
    assert!(refused(vec![Section::Profile((0..257).map(entry).collect())]));
    assert!(refused(vec![Section::History(vec![event(1), event(2)])]));
    assert!(refused(vec![Section::History(vec![event(1); 257])]));
    assert!(refused(vec![table([2, 2], 0.0)]));
    assert!(refused(vec![table([1, 2], f32::NAN)]));
    assert!(refused(vec![table([1, 2], 0.0), table([1, 2], 0.0)]));
    assert!(refused(vec![Section::History(vec![]), Section::Profile(vec![])]));
    assert!(refused(vec![Section::Opaque(15, vec![])]));

    let part = |device| Part { device, sequence: 1, sections: vec![] };
    assert!(State::decode(&State(vec![part(1), part(1)]).encode()).is_err());
    let crowd = State((0..=MAX_PARTS as u64).map(part).collect());
    assert_eq!(code(State::decode(&crowd.encode())), Some(ErrorCode::TooLarge));

    let mut hidden = state(vec![Section::Profile(vec![entry(1)])]).encode();
    *hidden.last_mut().unwrap() = 1;
    assert_eq!(code(State::decode(&hidden)), Some(ErrorCode::Invalid), "bytes behind a number");
}

#[test]
fn a_request_refuses_fields_out_of_range() {
    let refused = |change: fn(&mut Request)| {
        let mut request = sample::request();
        change(&mut request);
        assert_eq!(code(Request::decode(&request.encode())), Some(ErrorCode::Invalid));
    };
    refused(|request| request.time_ms = -1);
    refused(|request| request.time_ms = request::MAX_TIME_MS + 1);
    refused(|request| request.utc_offset_min = 1441);
    refused(|request| request.pins = vec![3, 0]);
    refused(|request| request.pins = vec![0]);
    refused(|request| request.exclude = vec![3]);
    refused(|request| request.columns.push(request.columns[0].clone()));
}

#[test]
fn a_number_of_candidates_that_overflows_is_refused() {
    let mut bytes = current::<Request>();
    for count in [u32::MAX, u32::MAX - 1, u32::MAX / 4, 1 << 30] {
        bytes[44..48].copy_from_slice(&count.to_le_bytes());
        assert_eq!(code(Request::decode(&bytes)), Some(ErrorCode::Truncated));
    }
}

#[test]
fn columns_that_share_strings_are_refused() {
    let mut request = sample::request();
    let strings = |field| RequestColumn {
        field,
        scope: selvedge_format::program::Scope::Context,
        values: Values::String(vec![vec![b'x'; 1000]]),
    };
    request.columns = (0..2).map(strings).collect();
    let bytes = request.encode();
    Request::decode(&bytes).unwrap();
    // The second column is the last block: point it at the first one's strings.
    let view = MessageView::parse(&bytes, request::KIND, |_| true).unwrap();
    let (_, first) = view.blocks().nth(5).unwrap();
    let mut shared = bytes.clone();
    let at = shared.len() - first.len();
    shared[at..].copy_from_slice(first);
    // Without the second copy on the heap there is less than both columns name.
    let mut short = Vec::new();
    let shared = MessageView::parse(&shared, request::KIND, |_| true).unwrap();
    let mut writer = MessageWriter::new(&mut short, request::KIND, 7, |out| out.extend_from_slice(shared.fixed));
    for (header, block) in shared.blocks() {
        let len = if header.tag == request::HEAP { block.len() - 1000 } else { block.len() };
        writer.block(header, |out| out.extend_from_slice(&block[..len]));
    }
    assert_eq!(code(Request::decode(&short)), Some(ErrorCode::Invalid));
}

#[test]
fn a_field_has_one_column_whatever_else_has_its_number() {
    let context = selvedge_format::program::Scope::Context;
    let mut request = sample::request();
    let number = |field, value| RequestColumn { field, scope: context, values: Values::Number(vec![value]) };
    request.columns = vec![number(7, 1.0), number(8, 2.0)];
    let bytes = request.encode();
    let view = MessageView::parse(&bytes, request::KIND, |_| true).unwrap();
    // A block of a tag that nobody knows yet, before the columns, with the field of one of them.
    let mut longer = Vec::new();
    let blocks = view.blocks().count() + 1;
    let mut writer = MessageWriter::new(&mut longer, request::KIND, blocks, |out| out.extend_from_slice(view.fixed));
    writer.block(BlockHeader { tag: 900, field: 8, ..BlockHeader::default() }, |out| out.extend_from_slice(&[1; 4]));
    for (header, block) in view.blocks() {
        writer.block(header, |out| out.extend_from_slice(block));
    }
    let limits = request::RequestLimits { bytes: usize::MAX, state_bytes: usize::MAX };
    let view = request::RequestView::parse(&longer, limits).unwrap();
    for (field, expected) in [(7, Some(1.0)), (8, Some(2.0)), (9, None)] {
        let column = view.column(field, context, selvedge_format::program::FieldType::Number).unwrap();
        let found = column.map(|column| match column {
            request::Column::Number(values) => values.get(0),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected, "field {field}");
    }
    request.columns = vec![number(7, 1.0), number(8, 2.0), number(7, 1.0)];
    assert_eq!(code(Request::decode(&request.encode())), Some(ErrorCode::Invalid), "sent twice");
}

#[test]
fn a_block_header_hides_nothing() {
    for (golden, kind) in [(current::<Request>(), request::KIND), (current::<Decision>(), decision::KIND)] {
        let view = MessageView::parse(&golden, kind, |_| true).unwrap();
        let blocks = view.blocks().count();
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, kind, blocks, |out| out.extend_from_slice(view.fixed));
        for (index, (mut header, block)) in view.blocks().enumerate() {
            header.field ^= u64::from(index == 0);
            writer.block(header, |out| out.extend_from_slice(block));
        }
        let result =
            if kind.magic == request::KIND.magic { code(Request::decode(&out)) } else { code(Decision::decode(&out)) };
        assert_eq!(result, Some(ErrorCode::Invalid));
    }
}

#[test]
fn a_decision_refuses_slots_that_are_not_candidates() {
    let mut decision = sample::decision();
    decision.slots[0].candidate = decision.candidates;
    assert_eq!(code(Decision::decode(&decision.encode())), Some(ErrorCode::Invalid));
}

#[test]
fn a_log_cut_in_the_middle_of_a_record_is_truncated() {
    let mut log = current::<Log>();
    log.extend_from_slice(&log.clone()[..100]);
    assert_eq!(code(Log::decode(&log)), Some(ErrorCode::Truncated));
}

#[test]
fn the_parts_of_a_record_have_the_length_of_their_kind() {
    fn refused(kind: u16, first: &[u8], second: &[u8]) {
        let mut record = Vec::from(record::MAGIC);
        record.extend_from_slice(&record::VERSION.to_le_bytes());
        record.extend_from_slice(&kind.to_le_bytes());
        record.extend_from_slice(&(first.len() as u32).to_le_bytes());
        record.extend_from_slice(&(second.len() as u32).to_le_bytes());
        record.extend_from_slice(&key(&[first, second].concat()).to_le_bytes());
        record.extend_from_slice(&[first, second].concat());
        assert!(RecordView::read(&record).is_err(), "kind {kind}, {} and {} bytes", first.len(), second.len());
    }
    refused(record::FULL, &[1; 40], &[]);
    refused(record::DIGEST, &[1; 15], &[1; 40]);
    refused(record::DIGEST, &[1; 23], &[1; 40]);
    refused(record::DIGEST, &[1; 24], &[]);
    refused(record::OUTCOME, &[0; 55], &[]);
    refused(record::OUTCOME, &[0; 64], &[]);
    refused(record::OUTCOME, &[0; 56], &[0]);
    // A value of NaN, and something where nothing may be.
    refused(record::OUTCOME, &[&[0; 48][..], &f32::NAN.to_le_bytes(), &[0; 4]].concat(), &[]);
    refused(record::OUTCOME, &[&[0; 55][..], &[1]].concat(), &[]);
}

#[test]
fn text_is_keyed_by_xxh64_with_seed_zero() {
    // Vectors of the specification's reference implementation.
    assert_eq!(key(b"a"), 0xd24e_c4f1_a98c_6e5b);
    assert_eq!(key(b"abc"), 0x44bc_2cf5_ad77_0999);
    assert_eq!(key(b""), 0, "empty text is missing");
}

/// What the section says to the sample campaigns after a change.
fn campaigns_refusal(change: impl FnOnce(&mut CampaignsV1)) -> Option<DecodeError> {
    let mut campaigns = sample::campaigns();
    change(&mut campaigns);
    CampaignsV1::decode(&campaigns.encode(), &sample::program(), &sample::models()).err()
}

/// Where the section is refused after a change of its first campaign.
fn campaign_refusal(change: impl FnOnce(&mut CampaignV1)) -> Option<&'static str> {
    campaigns_refusal(|campaigns| change(&mut campaigns.campaigns[0])).map(|error| error.place())
}

#[test]
fn more_campaigns_than_the_limit_are_refused() {
    let too_large = |change: fn(&mut CampaignsV1)| {
        assert_eq!(campaigns_refusal(change).map(|error| error.code()), Some(ErrorCode::TooLarge));
    };
    too_large(|campaigns| campaigns.campaigns = vec![campaigns.campaigns[0].clone(); MAX_CAMPAIGNS + 1]);
    too_large(|campaigns| campaigns.responses = vec![campaigns.responses[0].clone(); MAX_CAMPAIGNS + 1]);
    let most = |key: u64| CampaignV1 { key, ..sample::campaigns().campaigns[0].clone() };
    let full = (1..=MAX_CAMPAIGNS as u64).map(most).collect();
    assert_eq!(campaigns_refusal(|campaigns| campaigns.campaigns = full), None);
}

#[test]
fn budgets_of_campaigns_ascend_and_have_a_key() {
    let refused = |change: fn(&mut Vec<BudgetV1>)| {
        let place = campaigns_refusal(|campaigns| change(&mut campaigns.budgets)).map(|error| error.place());
        assert_eq!(place, Some("campaign budgets"));
    };
    refused(|budgets| budgets.reverse());
    refused(|budgets| budgets[1].key = budgets[0].key);
    refused(|budgets| budgets[0].key = 0);
    refused(|budgets| {
        let many = 1..=campaign::MAX_BUDGETS as u64 + 1;
        *budgets = many.map(|key| BudgetV1 { key, highest_price_micros: 1 }).collect();
    });
}

#[test]
fn a_response_is_finite_and_of_models_that_are_there() {
    let refused = |change: fn(&mut CampaignsV1)| {
        assert_eq!(campaigns_refusal(change).map(|error| error.place()), Some("campaign response"));
    };
    refused(|campaigns| campaigns.responses[0].arms[1].model = 2);
    refused(|campaigns| campaigns.responses[0].arms[1].scale = f32::NAN);
    refused(|campaigns| campaigns.responses[0].arms[1].shift = f32::INFINITY);
    refused(|campaigns| campaigns.responses[0].arms[1].error = f32::INFINITY);
    refused(|campaigns| campaigns.responses[0].arms[1].error = -0.5);
    refused(|campaigns| campaigns.responses[1].arms.truncate(1));
    refused(|campaigns| campaigns.responses[0].arms = vec![campaigns.responses[0].arms[0]; terms::MAX_OFFERS + 2]);
    // A response that is there, but of another number of arms.
    refused(|campaigns| campaigns.campaigns[0].response = 1);
    refused(|campaigns| campaigns.campaigns[0].response = 2);
    refused(|campaigns| campaigns.campaigns[0].arms.truncate(2));
}

#[test]
fn a_campaign_is_declared_once() {
    let place = campaigns_refusal(|campaigns| campaigns.campaigns[1].key = campaigns.campaigns[0].key);
    assert_eq!(place.map(|error| error.place()), Some("campaign declared twice"));
}

#[test]
fn every_number_of_a_campaign_is_checked() {
    type Change = fn(&mut CampaignV1);
    let changes: [(&str, Change); 38] = [
        ("campaign window", |campaign| campaign.key = 0),
        ("campaign window", |campaign| campaign.from_ms = -1),
        ("campaign window", |campaign| campaign.until_ms = campaign.from_ms),
        ("campaign hours", |campaign| campaign.hours = hours(|hours| hours.weekdays = 0)),
        ("campaign hours", |campaign| campaign.hours = hours(|hours| hours.weekdays = 1 << 7)),
        ("campaign hours", |campaign| campaign.hours = hours(|hours| hours.from_min = DAY_MIN)),
        ("campaign hours", |campaign| campaign.hours = hours(|hours| hours.until_min = DAY_MIN + 1)),
        ("campaign caps", |campaign| campaign.caps[0].count = 0),
        ("campaign caps", |campaign| campaign.caps = vec![campaign.caps[0]; campaign::MAX_CAPS + 1]),
        ("campaign control", |campaign| campaign.holdout = SHARE + 1),
        ("campaign control", |campaign| campaign.explore = SHARE + 1),
        ("campaign control", |campaign| campaign.epoch_s = MIN_EPOCH_S - 1),
        ("campaign value", |campaign| campaign.margin = MarginV1::Constant(f32::INFINITY)),
        ("campaign value", |campaign| campaign.margin = MarginV1::Feature(0)),
        ("campaign value", |campaign| campaign.margin = MarginV1::Feature(u16::MAX)),
        ("campaign value", |campaign| campaign.margin_floor = f32::NAN),
        ("campaign value", |campaign| campaign.caution = f32::NAN),
        ("campaign value", |campaign| campaign.caution = -0.5),
        ("campaign funders", |campaign| campaign.funders.clear()),
        ("campaign funders", |campaign| campaign.funders.reverse()),
        ("campaign funders", |campaign| campaign.funders[1].0 = 0),
        ("campaign funders", |campaign| campaign.funders[1].0 = 2),
        ("campaign funders", |campaign| campaign.funders = vec![(0, SHARE), (1, 0)]),
        ("campaign funders", |campaign| campaign.funders[0].1 -= 1),
        // Shares that sum to the whole only in 16 bits.
        ("campaign funders", |campaign| campaign.funders = vec![(0, u16::MAX), (1, SHARE + 1)]),
        ("campaign arms", |campaign| campaign.arms[0].discount = -0.5),
        ("campaign arms", |campaign| campaign.arms[0].discount = f32::NAN),
        ("campaign arms", |campaign| campaign.arms[0].discount = f32::INFINITY),
        ("campaign arms", |campaign| campaign.arms[0].sending = -0.5),
        ("campaign arms", |campaign| campaign.arms[0].sending = f32::NAN),
        ("campaign arms", |campaign| campaign.arms[0].face = 0),
        ("campaign arms", |campaign| campaign.arms[2].face = MAX_MINOR + 1),
        ("campaign arms", |campaign| campaign.arms[0].life_s = 0),
        ("campaign arms", |campaign| campaign.arms[0].life_s = MAX_LIFE_S + 1),
        // Along a ladder faces rise, and the arms of a ladder stand together.
        ("campaign arms", |campaign| campaign.arms[1].face = campaign.arms[0].face),
        ("campaign arms", |campaign| campaign.arms[2].ladder = 2),
        ("campaign arms", |campaign| campaign.arms[0].ladder = 1),
        ("campaign eligibility", |campaign| campaign.eligible.truncate(2)),
    ];
    assert_eq!(campaign_refusal(|_| ()), None);
    for (at, (place, change)) in changes.into_iter().enumerate() {
        assert_eq!(campaign_refusal(change), Some(place), "change {at}");
    }
    assert_eq!(campaign_refusal(|campaign| campaign.arms[0] = ArmV1 { face: 1, ..campaign.arms[0] }), None);
    let weekly = |count| CapV1 { count, ..sample::campaigns().campaigns[0].caps[0] };
    assert_eq!(campaign_refusal(|campaign| campaign.caps = vec![weekly(u32::MAX); campaign::MAX_CAPS]), None);
    let many = (0..=MAX_FUNDERS as u16).map(|budget| (budget, 1)).collect();
    assert_eq!(campaign_refusal(|campaign| campaign.funders = many), Some("campaign funders"));
}

fn hours(change: fn(&mut HoursV1)) -> Option<HoursV1> {
    let mut hours = HoursV1 { weekdays: 1, from_min: 0, until_min: DAY_MIN };
    change(&mut hours);
    Some(hours)
}

#[test]
fn a_rule_reads_only_what_is_the_same_for_all_candidates() {
    let compare = |feature, than| TestOpV1::Compare { feature, how: Comparison::Less, than };
    let is = |field| TestOpV1::Is { field, value: 7 };
    let refusal = |rule: &[TestOpV1]| campaign_refusal(|campaign| campaign.eligible = rule.to_vec());
    let refused = Some("campaign eligibility");
    assert_eq!(refusal(&[compare(sample::HOUR, 1.0)]), None);
    assert_eq!(refusal(&[compare(sample::HOUR, f32::NAN)]), refused);
    for (feature, feature_of) in sample::program().features.iter().enumerate() {
        let same = matches!(feature_of.op, OpV1::LocalTime { .. });
        for op in [compare(feature as u16, 1.0), TestOpV1::Missing { feature: feature as u16 }] {
            assert_eq!(refusal(&[op]), if same { None } else { refused }, "{op:?} of {:?}", feature_of.op);
        }
    }
    assert_eq!(refusal(&[TestOpV1::Missing { feature: u16::MAX }]), refused);
    // The fields are, in order, four of items, the user's store, and the words of the query.
    for (field, expected) in [(1, refused), (3, refused), (4, None), (5, refused), (6, refused)] {
        assert_eq!(refusal(&[is(field)]), expected, "field {field}");
    }
}

#[test]
fn a_rule_leaves_one_value_and_never_takes_one_that_is_not_there() {
    let is = TestOpV1::Is { field: 4, value: 7 };
    let refusal = |rule: &[TestOpV1]| campaign_refusal(|campaign| campaign.eligible = rule.to_vec());
    let refused = Some("campaign eligibility");
    assert_eq!(refusal(&[]), None);
    assert_eq!(refusal(&[is, is]), refused);
    for op in [TestOpV1::Not, TestOpV1::And, TestOpV1::Or] {
        assert_eq!(refusal(&[op]), refused, "{op:?}");
    }
    assert_eq!(refusal(&[is, TestOpV1::And]), refused);
    let deep = |depth: usize| [vec![is; depth], vec![TestOpV1::And; depth - 1]].concat();
    assert_eq!(refusal(&deep(campaign::MAX_DEPTH)), None);
    assert_eq!(refusal(&deep(campaign::MAX_DEPTH + 1)), refused);
    let long = |ops: usize| [vec![is], vec![TestOpV1::Not; ops - 1]].concat();
    assert_eq!(refusal(&long(campaign::MAX_OPS)), None);
    assert_eq!(refusal(&long(campaign::MAX_OPS + 1)), refused);
}

#[test]
fn campaigns_over_another_program_are_refused() {
    let mut bundle = sample::bundle_with_offers();
    bundle.program.features.truncate(usize::from(sample::HOUR));
    for weights in &mut bundle.weights {
        *weights = Weights::Trees(vec![]);
    }
    for model in &mut bundle.models.models {
        model.kind = ModelKindV1::Trees { base: 0.0 };
    }
    assert_eq!(Bundle::decode(&bundle.encode()).err().map(|error| error.place()), Some("campaign eligibility"));
}

/// A message with the bytes of its last block, the offer's, changed.
fn with_offer(golden: &[u8], kind: MessageKind, block: &[u8]) -> Vec<u8> {
    let view = MessageView::parse(golden, kind, |_| true).unwrap();
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, kind, view.blocks().count(), |out| out.extend_from_slice(view.fixed));
    for (header, bytes) in view.blocks() {
        let bytes = if header.tag == request::OFFER { block } else { bytes };
        writer.block(header, |out| out.extend_from_slice(bytes));
    }
    out
}

fn offer_block(golden: &[u8], kind: MessageKind) -> Vec<u8> {
    let view = MessageView::parse(golden, kind, |_| true).unwrap();
    view.blocks().find(|(header, _)| header.tag == request::OFFER).unwrap().1.to_vec()
}

#[test]
fn a_question_for_an_offer_has_no_second_form() {
    let golden = added::<Request>();
    let block = offer_block(&golden, request::KIND);
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut block = block.clone();
        change(&mut block);
        code(Request::decode(&with_offer(&golden, request::KIND, &block)))
    };
    let (invalid, truncated) = (Some(ErrorCode::Invalid), Some(ErrorCode::Truncated));
    let word =
        |at: usize, value: u32| move |block: &mut Vec<u8>| block[at..at + 4].copy_from_slice(&value.to_le_bytes());
    assert_eq!(refusal(&|_| ()), None);
    assert_eq!(refusal(&|block| block.truncate(request::OFFER_LEN - 1)), truncated);
    assert_eq!(refusal(&|block| block.push(0)), invalid, "bytes behind the counts");
    assert_eq!(refusal(&word(24, 2)), invalid, "an unknown flag");
    assert_eq!(refusal(&word(24, 3)), invalid, "an unknown flag beside the known one");
    assert_eq!(refusal(&word(24, 0)), invalid, "a draw that is said not to be given");
    assert_eq!(refusal(&word(36, 1)), invalid, "the reserved field");
    assert_eq!(refusal(&word(28, 1)), invalid, "fewer budgets than are sent");
    assert_eq!(refusal(&word(28, 5)), truncated, "more budgets than are sent");
    assert_eq!(refusal(&word(32, u32::MAX)), Some(ErrorCode::TooLarge), "more counts than there can be");
    assert_eq!(refusal(&word(28, u32::MAX)), Some(ErrorCode::TooLarge), "more budgets than there can be");
    let at = request::OFFER_LEN;
    assert_eq!(refusal(&|block| block.copy_within(at + 24..at + 32, at)), invalid, "one budget twice");
    assert_eq!(refusal(&|block| block[at..at + 8].fill(0xff)), invalid, "budgets that descend");
}

#[test]
fn a_question_for_an_offer_names_no_more_than_there_can_be() {
    let mut request = sample::request_for_an_offer();
    let refusal = |request: &Request| code(Request::decode(&request.encode()));
    let asked = request.offer.as_mut().unwrap();
    let budget = asked.budgets[0];
    asked.budgets = (0..request::MAX_BUDGETS as u64).map(|key| request::BudgetNow { key, ..budget }).collect();
    asked.counts = vec![asked.counts[0]; request::MAX_COUNTS];
    assert_eq!(refusal(&request), None);
    let mut counts = request.clone();
    let asked = counts.offer.as_mut().unwrap();
    asked.counts.push(asked.counts[0]);
    assert_eq!(refusal(&counts), Some(ErrorCode::TooLarge));
    let asked = request.offer.as_mut().unwrap();
    asked.budgets.push(request::BudgetNow { key: u64::MAX, ..budget });
    assert_eq!(refusal(&request), Some(ErrorCode::TooLarge));
}

#[test]
fn an_answer_to_a_question_for_an_offer_does_not_contradict_itself() {
    let golden = added::<Decision>();
    let block = offer_block(&golden, decision::KIND);
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut block = block.clone();
        change(&mut block);
        code(Decision::decode(&with_offer(&golden, decision::KIND, &block)))
    };
    let (invalid, truncated) = (Some(ErrorCode::Invalid), Some(ErrorCode::Truncated));
    let status = |status: u16, reason: u16, arm: u8| {
        move |block: &mut Vec<u8>| {
            block[16..18].copy_from_slice(&status.to_le_bytes());
            block[18..20].copy_from_slice(&reason.to_le_bytes());
            block[20] = arm;
        }
    };
    let byte = |at: usize, value: u8| move |block: &mut Vec<u8>| block[at] = value;
    assert_eq!(refusal(&|_| ()), None);
    assert_eq!(refusal(&|block| block.truncate(decision::OFFER_LEN - 1)), truncated);
    assert_eq!(refusal(&|block| block.push(0)), invalid, "bytes behind the arms");
    assert_eq!(refusal(&byte(36, 3)), invalid, "fewer arms than are there");
    assert_eq!(refusal(&byte(36, 5)), truncated, "more arms than are there");
    assert_eq!(refusal(&|block| block[36..40].fill(0xff)), truncated, "arms without end");
    assert_eq!(refusal(&byte(20, 4)), invalid, "an arm that is not there");
    assert_eq!(refusal(&byte(24, 4)), invalid, "a best arm that is not there");
    assert_eq!(refusal(&byte(28, 2)), invalid, "an unknown flag");
    assert_eq!(refusal(&status(0, 0, 0)), invalid, "no offer is offered");
    assert_eq!(refusal(&status(1, 0, 1)), invalid, "who is held out is offered an arm");
    assert_eq!(refusal(&status(2, 7, 1)), invalid, "an arm that is not worth it is offered");
    for (one, other) in [(0, 1), (1, 1), (2, 0), (2, 10), (3, 0)] {
        assert_eq!(refusal(&status(one, other, 0)), invalid, "status {one}, reason {other}");
    }
    assert_eq!(refusal(&status(2, 9, 0)), None);
}

#[test]
fn an_offer_is_asked_for_and_answered_once_in_a_plain_block() {
    for (golden, kind) in [(added::<Request>(), request::KIND), (added::<Decision>(), decision::KIND)] {
        let view = MessageView::parse(&golden, kind, |_| true).unwrap();
        let block = offer_block(&golden, kind);
        let with = |headers: &[BlockHeader]| {
            let others: Vec<_> = view.blocks().filter(|(header, _)| header.tag != request::OFFER).collect();
            let mut out = Vec::new();
            let blocks = others.len() + headers.len();
            let mut writer = MessageWriter::new(&mut out, kind, blocks, |out| out.extend_from_slice(view.fixed));
            for (header, bytes) in others.into_iter().chain(headers.iter().map(|header| (*header, block.as_slice()))) {
                writer.block(header, |out| out.extend_from_slice(bytes));
            }
            if kind.magic == request::KIND.magic { code(Request::decode(&out)) } else { code(Decision::decode(&out)) }
        };
        let plain = BlockHeader { tag: request::OFFER, ..BlockHeader::default() };
        assert_eq!(with(&[plain]), None);
        assert_eq!(with(&[]), None, "no offer was asked for");
        assert_eq!(with(&[plain, plain]), Some(ErrorCode::Invalid), "sent twice");
        for header in
            [BlockHeader { scope: 1, ..plain }, BlockHeader { ty: 1, ..plain }, BlockHeader { field: 1, ..plain }]
        {
            assert_eq!(with(&[header]), Some(ErrorCode::Invalid), "{header:?}");
        }
    }
}

/// A layer of two inputs and one output, and what it is made of.
struct Layer {
    product: Product,
    constants: Vec<f32>,
    bytes: Vec<u8>,
    times: usize,
}

impl Layer {
    fn new(numbers: Numbers) -> Self {
        let row = |memory, offset| View { memory, offset, strides: [0] };
        let product = Product {
            function: Function::Left,
            positions: 1,
            inputs: 2,
            outputs: 1,
            out: row(Memory::Candidates, 2),
            input: row(Memory::Candidates, 0),
            start: row(Memory::Constants, 0),
            addend: View::NONE,
            weights: 0,
            numbers,
        };
        Self { product, constants: vec![0.5, 8.0, 0.25], bytes: vec![0; 16], times: 1 }
    }

    fn is_refused(&self) -> bool {
        let steps = vec![Step::Product(self.product); self.times];
        Graph::parse(&Graph::encode(0, 1 << 14, 2, &steps, &self.constants, &self.bytes), 1).is_err()
    }
}

#[test]
fn narrow_weights_are_there_and_numbers() {
    let (half, byte) = (|| Layer::new(Numbers::Half), || Layer::new(Numbers::Byte { scales: 1 }));
    assert!(!half().is_refused() && !byte().is_refused());
    let changed = |mut layer: Layer, change: fn(&mut Layer)| {
        change(&mut layer);
        layer.is_refused()
    };
    assert!(changed(half(), |layer| layer.product.weights = 1), "beyond the bytes");
    assert!(changed(byte(), |layer| layer.product.weights = 9), "beyond the bytes");
    assert!(changed(byte(), |layer| layer.product.weights = u32::MAX), "far beyond the bytes");
    assert!(changed(half(), |layer| layer.bytes[1] = 0x7c), "infinite");
    assert!(changed(half(), |layer| layer.bytes[5] = 0xfe), "not a number");
    for scale in [0.0, -1.0, f32::INFINITY, -0.0] {
        for at in [1, 2] {
            let mut layer = byte();
            layer.constants[at] = scale;
            assert!(layer.is_refused(), "the scale {scale} at {at}");
        }
    }
    assert!(changed(byte(), |layer| layer.product.numbers = Numbers::Byte { scales: 2 }), "no scale of the output");
    assert!(changed(byte(), |layer| layer.product.numbers = Numbers::Byte { scales: u32::MAX }), "no scales at all");
}

#[test]
fn a_layer_starts_from_what_it_has_not_written() {
    let starts_at = |offset, strides| {
        let mut layer = Layer::new(Numbers::Single);
        layer.constants = vec![0.5; 8];
        (layer.product.positions, layer.product.out.strides) = (2, [1]);
        layer.product.start = View { memory: Memory::Candidates, offset, strides };
        !layer.is_refused()
    };
    assert!(starts_at(2, [1]), "from the result's own place");
    assert!(starts_at(0, [1]) && starts_at(4, [1]), "from beside it");
    assert!(!starts_at(1, [1]) && !starts_at(3, [1]) && !starts_at(2, [0]), "from what was a result before");
    let adds = |memory, offset| {
        let mut layer = Layer::new(Numbers::Single);
        layer.constants = vec![0.5; 8];
        layer.product.addend = View { memory, offset, strides: [0] };
        !layer.is_refused()
    };
    let last = (1 << 14) - 1;
    assert!(adds(Memory::Candidates, 1) && adds(Memory::Candidates, 2) && adds(Memory::Candidates, last), "columns");
    assert!(!adds(Memory::Candidates, last + 1), "no column");
    assert!(!adds(Memory::Request, 0) && !adds(Memory::Features, 0), "no columns");
    assert!(adds(Memory::Constants, u32::MAX >> 2), "none");
}

#[test]
fn weights_of_a_request_are_there_and_for_candidates() {
    let row = |memory, offset| View { memory, offset, strides: [0] };
    let is_valid = |request, weights, memory| {
        let mut product = Layer::new(Numbers::Request).product;
        (product.weights, product.out.memory, product.input.memory) = (weights, memory, memory);
        Graph::parse(&Graph::encode(request, 3, 2, &[Step::Product(product)], &[0.5], &[]), 1).is_ok()
    };
    assert!(is_valid(8, 0, Memory::Candidates) && is_valid(10, 2, Memory::Candidates));
    assert!(!is_valid(7, 0, Memory::Candidates) && !is_valid(8, 1, Memory::Candidates), "not all are there");
    assert!(!is_valid(8, u32::MAX, Memory::Candidates), "far from all");
    assert!(!is_valid(20, 8, Memory::Request), "a request's own layer");
    let (numbers, out, from) = (Numbers::Request, row(Memory::Candidates, 0), row(Memory::Features, 0));
    let lookup = Step::Gather(Gather { ids: 1, table: 0, numbers, rows: 1, width: 1, out, from });
    assert!(Graph::parse(&Graph::encode(8, 1, 0, &[lookup], &[0.5; 8], &[]), 1).is_err(), "a table of the request");
}

#[test]
fn sums_of_bytes_cannot_overflow() {
    let layer = |inputs: u32| {
        let mut layer = Layer::new(Numbers::Byte { scales: 1 });
        layer.product.inputs = inputs;
        layer.product.out.offset = 1 << 13;
        layer.bytes = vec![0x80; 4 * inputs.next_multiple_of(2) as usize];
        layer.is_refused()
    };
    assert!(!layer(1 << 13));
    assert!(layer((1 << 13) + 1));
    assert!(128 * 2047 * (1_i64 << 13) < i64::from(i32::MAX));
}

#[test]
fn narrow_weights_are_not_widened_again_and_again() {
    let mut layer = Layer::new(Numbers::Half);
    layer.times = 2;
    assert!(!layer.is_refused(), "as many weights as there are bytes");
    layer.times = 3;
    assert!(layer.is_refused(), "a few bytes must not become any amount of memory");
}

#[test]
fn narrow_tables_are_there_and_have_scales() {
    let row = |memory, offset| View { memory, offset, strides: [1] };
    let refused = |table, numbers, constants: &[f32]| {
        let (out, from) = (row(Memory::Candidates, 0), row(Memory::Features, 0));
        let step = Step::Gather(Gather { ids: 1, table, rows: 3, width: 2, out, from, numbers });
        Graph::parse(&Graph::encode(0, 2, 0, &[step], constants, &[0; 12]), 1).is_err()
    };
    let byte = Numbers::Byte { scales: 0 };
    assert!(!refused(6, byte, &[1.0; 3]) && !refused(0, Numbers::Half, &[]));
    assert!(refused(7, byte, &[1.0; 3]), "beyond the bytes");
    assert!(refused(1, Numbers::Half, &[]), "beyond the bytes");
    assert!(refused(0, byte, &[1.0; 2]), "a row without a scale");
    assert!(refused(0, byte, &[1.0, 0.0, 1.0]), "a scale of 0");
}

#[test]
fn a_kind_of_numbers_that_nobody_knows_is_refused() {
    let layer = Layer::new(Numbers::Single);
    let bytes = Graph::encode(0, 8, 2, &[Step::Product(layer.product)], &[0.0; 16], &[]);
    assert!(Graph::parse(&bytes, 1).is_ok());
    // The third byte of the first step.
    for numbers in [3, 5, 6, 255] {
        let mut unknown = bytes.clone();
        unknown[24 + 2] = numbers;
        assert!(Graph::parse(&unknown, 1).is_err(), "{numbers}");
    }
}

#[test]
fn what_a_list_reads_and_writes_is_there_and_apart() {
    fn refused(change: impl FnOnce(&mut Meet)) -> bool {
        let (function, heads, width, value_width) = (Function::Left, 2, 1, 4);
        let mut meet = Meet { function, heads, width, value_width, out: 12, query: 0, key: 2, value: 4 };
        change(&mut meet);
        Graph::parse(&Graph::encode(0, 20, 0, &[Step::Meet(meet)], &[], &[]), 1).is_err()
    }
    assert!(!refused(|_| {}) && !refused(|meet| meet.key = 0), "queries may be keys");
    assert!(!refused(|meet| (meet.out, meet.query, meet.key, meet.value) = (0, 8, 10, 12)), "before what it reads");
    assert!(refused(|meet| meet.heads = 0) && refused(|meet| meet.value_width = 0));
    assert!((1..4).all(|width| refused(|meet| meet.value_width = width)), "a panel that is not whole");
    assert!(refused(|meet| meet.out = 13) && refused(|meet| meet.out = u32::MAX), "beyond the columns");
    assert!(refused(|meet| meet.query = 19) && refused(|meet| meet.key = 19) && refused(|meet| meet.value = 13));
    assert!(refused(|meet| meet.out = 11), "over its values");
    assert!(refused(|meet| meet.query = 11) && refused(|meet| meet.key = 18), "over its queries or keys");
    assert!(refused(|meet| meet.heads = u32::MAX) && refused(|meet| meet.width = u32::MAX));
    assert!(refused(|meet| (meet.heads, meet.width, meet.value_width) = (u32::MAX, u32::MAX, u32::MAX)));
    for function in [Function::Add, Function::Multiply, Function::Max, Function::Min] {
        assert!(!refused(|meet| (meet.function, meet.width) = (function, 0)));
        assert!(refused(|meet| meet.function = function), "a reduction of queries");
        assert!(refused(|meet| (meet.function, meet.width, meet.out) = (function, 0, 11)), "over its values");
    }
    assert!(refused(|meet| (meet.function, meet.width) = (Function::Exp, 0)), "a function of one value");
}

#[test]
fn the_columns_of_a_list_are_few_because_all_are_kept() {
    let (function, heads, width, value_width) = (Function::Add, 1, 0, 4);
    let meet = Step::Meet(Meet { function, heads, width, value_width, out: 4, query: 0, key: 0, value: 0 });
    let refused = |columns: usize, steps: &[Step]| {
        Graph::parse(&Graph::encode(0, columns as u32, 0, steps, &[], &[]), 1).is_err()
    };
    assert!(!refused(MAX_LIST_COLUMNS, &[meet]) && refused(MAX_LIST_COLUMNS + 1, &[meet]));
    assert!(!refused(MAX_LIST_COLUMNS + 1, &[]), "no list");
}
