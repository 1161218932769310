//! Declarations become the program and the policy that they mean.

use selvedge_compile::{LinearModel, TrainedModel, compile, inspect, lower_policy, lower_program};
use selvedge_format::key;
use selvedge_format::model::Link;
use selvedge_format::policy::{AtMostV1, ExcludeV1};
use selvedge_format::program::{
    By, CombineOp, CounterRef, Decay, FieldType, Measure, OpV1, Overlap, ProgramV1, Scope, TableRef, TimePart,
    TokensOf, TransformV1, column_id, field_id, table_id,
};
use selvedge_spec::{FeatureSpec, ModelSpec};

const FIELDS: &str = r#"version = 1
[fields.item]
price = "number"
brand = "string"
name = "tokens"
listed = "time"
[fields.user]
store = "string"
[fields.context]
query = "tokens"
[events]
view = {}
purchase = { doc = "a line of a basket" }
[history]
events = 32
"#;

const MODEL: &str = r#"version = 1
[model]
name = "flyer"
kind = "trees"
objective = "lambdarank"
features = "features.toml"
[slate]
size = 12
[[slate.at_most]]
field = "brand"
max = 3
window = 8
[[slate.exclude]]
field = "brand"
value = "acme"
[slate.diversity]
lambda = 0.75
similarity = { brand = 3.0 }
[slate.explore]
temperature = 0.5
seed = 9
"#;

fn spec(features: &str) -> FeatureSpec {
    FeatureSpec::parse("features.toml", &format!("{FIELDS}{features}")).expect("a valid declaration")
}

fn feature(name: &str, rest: &str) -> String {
    format!("[[feature]]\nname = \"{name}\"\n{rest}\n")
}

fn lower(features: &str) -> ProgramV1 {
    lower_program(&spec(features)).expect("it fits a bundle")
}

/// The one feature that `rest` declares.
fn op(rest: &str) -> OpV1 {
    lower(&feature("a", rest)).features.remove(0).op
}

#[test]
fn every_declared_field_is_in_the_program_in_order() {
    let fields = lower(&feature("a", "kind = \"position\"")).fields;
    let expected = [
        (Scope::Item, "price", FieldType::Number),
        (Scope::Item, "brand", FieldType::String),
        (Scope::Item, "name", FieldType::Tokens),
        (Scope::Item, "listed", FieldType::Time),
        (Scope::User, "store", FieldType::String),
        (Scope::Context, "query", FieldType::Tokens),
    ];
    assert_eq!(fields.len(), expected.len());
    for (field, (scope, name, ty)) in fields.iter().zip(expected) {
        assert_eq!((field.id, field.scope, field.ty), (field_id(scope, name), scope, ty));
    }
}

#[test]
fn features_over_fields_and_the_request_become_their_operations() {
    let cases = [
        ("kind = \"number\"\nfield = \"item.price\"", OpV1::Number { field: 0 }),
        ("kind = \"string\"\nfield = \"user.store\"\nbuckets = 64", OpV1::Bucket { fields: vec![4], buckets: 64 }),
        (
            "kind = \"cross\"\nfields = [\"user.store\", \"item.brand\"]\nbuckets = 8",
            OpV1::Bucket { fields: vec![4, 1], buckets: 8 },
        ),
        (
            "kind = \"time_difference\"\nfield = \"item.listed\"\nunit = \"d\"",
            OpV1::TimeDifference { field: 3, unit_s: 86_400 },
        ),
        ("kind = \"local_time\"\npart = \"weekday\"", OpV1::LocalTime { part: TimePart::Weekday }),
        ("kind = \"position\"", OpV1::Position),
        ("kind = \"candidates\"", OpV1::Candidates),
        (
            "kind = \"interacted_with\"\nevent = \"view\"\nby = \"brand\"\nwithin = \"2d\"\nlast = 9",
            OpV1::InteractedWith { event: key(b"view"), by: By::Field(1), within_s: 172_800, last: 9 },
        ),
        (
            "kind = \"interacted_with\"\nevent = \"view\"\nby = \"item\"",
            OpV1::InteractedWith { event: key(b"view"), by: By::Item, within_s: u32::MAX, last: 32 },
        ),
        (
            "kind = \"token_overlap\"\nfield = \"item.name\"\nwith = \"context.query\"\nmetric = \"jaccard\"",
            OpV1::TokenOverlap { field: 2, with: TokensOf::Context { field: 5 }, metric: Overlap::Jaccard },
        ),
        (
            "kind = \"token_overlap\"\nfield = \"item.name\"\nwith = \"history\"\nevent = \"view\"\nlast = 4\n\
             metric = \"containment\"",
            OpV1::TokenOverlap {
                field: 2,
                with: TokensOf::History { event: key(b"view"), last: 4 },
                metric: Overlap::Containment,
            },
        ),
    ];
    for (declared, expected) in cases {
        assert_eq!(op(declared), expected, "{declared}");
    }
}

#[test]
fn a_sequence_becomes_an_operation_for_each_place_and_a_count_of_its_events() {
    let item = "kind = \"item_id\"\nbuckets = 500";
    let named = "kind = \"recent_items\"\nevent = \"view\"\nwithin = \"2d\"\nlast = 3\nbuckets = 500\nlength = true";
    let any = "kind = \"recent_items\"\nlast = 1\nbuckets = 9";
    let declared = [feature("product", item), feature("history", named), feature("any", any)].concat();
    let program = lower(&declared);
    let (event, within_s) = (key(b"view"), 172_800);
    let recent = |at| OpV1::RecentItem { at, event, within_s, buckets: 500 };
    let expected = [
        OpV1::ItemId { buckets: 500 },
        recent(0),
        recent(1),
        recent(2),
        OpV1::InteractedWith { event, by: By::All, within_s, last: 3 },
        OpV1::RecentItem { at: 0, event: 0, within_s: u32::MAX, buckets: 9 },
    ];
    assert!(program.features.iter().map(|feature| &feature.op).eq(&expected));
    assert!(program.features.iter().all(|feature| feature.default == 0.0), "0 is no item");
}

#[test]
fn listed_values_keep_their_index_and_are_sorted_by_key() {
    let lowered = op("kind = \"string\"\nfield = \"item.brand\"\nvalues = [\"c\", \"a\", \"b\"]");
    let mut values = vec![(key(b"c"), 0), (key(b"a"), 1), (key(b"b"), 2)];
    values.sort_unstable();
    assert_eq!(lowered, OpV1::Category { field: 1, values });
}

#[test]
fn defaults_transforms_and_combinations_are_kept() {
    let program = lower(
        &[
            feature("a", "kind = \"position\"\ndefault = 2.5\ntransform = [\"log1p\", { clip = [0, 1] }]"),
            feature("b", "kind = \"number\"\nfield = \"item.price\""),
            feature("c", "kind = \"combine\"\nop = \"ratio\"\ninputs = [\"b\", \"a\"]"),
        ]
        .concat(),
    );
    assert_eq!(program.features[0].default, 2.5);
    assert_eq!(program.features[0].transforms, [TransformV1::Log1p, TransformV1::Clip(0.0, 1.0)]);
    assert!(program.features[1].default.is_nan());
    assert_eq!(program.features[2].op, OpV1::Combine { op: CombineOp::Ratio, left: 1, right: 0 });
    assert_eq!(program.history_events, 32);
}

fn counted(kind: &str, scope: &str, by: &str, forgetting: &str) -> String {
    format!("kind = \"{kind}\"\nscope = \"{scope}\"\nevent = \"view\"\nby = \"{by}\"\n{forgetting}")
}

#[test]
fn counters_share_a_table_exactly_when_scope_event_and_key_agree() {
    let program = lower(
        &[
            feature("a", &counted("decayed_count", "user", "brand", "half_life = \"7d\"")),
            feature("b", &counted("lifetime_count", "user", "brand", "")),
            feature("c", &counted("share", "user", "brand", "half_life = \"7d\"")),
            feature("d", &counted("decayed_count", "user", "item", "half_life = \"7d\"")),
            feature("e", &counted("decayed_count", "global", "brand", "half_life = \"7d\"")),
            feature("f", "kind = \"lifetime_count\"\nscope = \"user\"\nevent = \"purchase\"\nby = \"brand\""),
        ]
        .concat(),
    );
    let tables: Vec<_> = program.user_tables.iter().map(|table| (table.id, table.event, table.by)).collect();
    let expected = [
        (table_id("user", "view", "item.brand"), key(b"view"), By::Field(1)),
        (table_id("user", "view", "item"), key(b"view"), By::Item),
        (table_id("user", "purchase", "item.brand"), key(b"purchase"), By::Field(1)),
    ];
    assert_eq!(tables, expected);
    assert_eq!(program.global_tables.len(), 1);
    assert_eq!(program.global_tables[0].id, table_id("global", "view", "item.brand"));

    let user = |table, column| CounterRef { table: TableRef::User(table), column };
    let global = CounterRef { table: TableRef::Global(0), column: 0 };
    let expected = [
        OpV1::Counter(user(0, 0)),
        OpV1::Counter(user(0, 1)),
        OpV1::Share(user(0, 0)),
        OpV1::Counter(user(1, 0)),
        OpV1::Counter(global),
        OpV1::Counter(user(2, 0)),
    ];
    assert!(program.features.iter().map(|feature| &feature.op).eq(&expected));
}

fn columns(features: &[String]) -> Vec<(Measure, Decay)> {
    let table = lower(&features.concat()).user_tables.remove(0);
    assert!(table.columns.iter().all(|column| column.id == column_id(column.measure, column.decay)));
    table.columns.iter().map(|column| (column.measure, column.decay)).collect()
}

#[test]
fn the_count_with_the_longest_half_life_decides_eviction() {
    let week = Decay::HalfLife { half_life_s: 604_800 };
    let month = Decay::HalfLife { half_life_s: 30 * 86_400 };
    let found = columns(&[
        feature("a", &counted("lifetime_count", "user", "item", "")),
        feature("b", &counted("decayed_count", "user", "item", "half_life = \"1w\"")),
        feature("c", &counted("decayed_count", "user", "item", "half_life = \"30d\"")),
        feature("d", &counted("decayed_count", "user", "item", "half_life = \"90d\"\nmeasure = \"value\"")),
    ]);
    let value = (Measure::Value, Decay::HalfLife { half_life_s: 90 * 86_400 });
    let expected = [(Measure::Count, month), (Measure::Count, Decay::Lifetime), (Measure::Count, week), value];
    assert_eq!(found, expected);
}

#[test]
fn a_lifetime_count_decides_eviction_where_nothing_decays() {
    let window = Decay::Window { bucket_s: 604_800, buckets: 4 };
    let found = columns(&[feature("a", &counted("window_count", "user", "item", "window = \"4w\"\nbuckets = 4"))]);
    assert_eq!(found, [(Measure::Count, Decay::Lifetime), (Measure::Count, window)]);
}

#[test]
fn a_recency_alone_makes_a_table() {
    let program = lower(
        &[
            feature("a", &counted("recency", "user", "item", "unit = \"h\"")),
            feature("b", &counted("recency", "global", "item", "unit = \"d\"")),
        ]
        .concat(),
    );
    assert_eq!(program.features[0].op, OpV1::Recency { table: TableRef::User(0), unit_s: 3_600 });
    assert_eq!(program.features[1].op, OpV1::Recency { table: TableRef::Global(0), unit_s: 86_400 });
    assert_eq!(program.global_tables[0].columns[0].decay, Decay::Lifetime);
}

#[test]
fn a_table_of_one_key_evicts_nothing_and_keeps_no_extra_column() {
    let program = lower(&feature("a", &counted("window_count", "user", "all", "window = \"4w\"\nbuckets = 4")));
    let table = &program.user_tables[0];
    assert_eq!((table.id, table.by, table.capacity), (table_id("user", "view", "all"), By::All, 1));
    assert_eq!(table.columns.len(), 1);
}

#[test]
fn capacities_are_as_declared_else_five_hundred_and_twelve() {
    let settings = "[[counters]]\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\ncapacity = 33\n";
    let features = [
        feature("a", &counted("lifetime_count", "user", "item", "")),
        feature("b", &counted("lifetime_count", "user", "brand", "")),
    ];
    let program = lower(&format!("{settings}{}", features.concat()));
    assert_eq!(program.user_tables.iter().map(|table| table.capacity).collect::<Vec<_>>(), [33, 512]);
}

#[test]
fn a_rate_divides_two_counters_that_forget_alike() {
    let program = lower(&feature(
        "a",
        "kind = \"rate\"\nscope = \"global\"\nby = \"item\"\nhalf_life = \"30d\"\nweight = 20\nprior = 0.05\n\
         numerator = { event = \"purchase\" }\ndenominator = { event = \"view\" }",
    ));
    let counter = |table| CounterRef { table: TableRef::Global(table), column: 0 };
    let expected = OpV1::Rate { numerator: counter(0), denominator: counter(1), weight: 20.0, prior: 0.05 };
    assert_eq!(program.features[0].op, expected);
    assert_eq!(program.global_tables[0].columns, program.global_tables[1].columns);
}

#[test]
fn slate_rules_name_fields_by_position_and_values_by_key() {
    let features = spec(&feature("a", "kind = \"position\""));
    let model = ModelSpec::parse("model.toml", MODEL).expect("a valid declaration");
    let policy = lower_policy(&model, &features).expect("it fits a bundle");
    assert_eq!(policy.slate_size, 12);
    assert_eq!(policy.at_most, [AtMostV1 { field: 1, count: 3, window: 8 }]);
    assert_eq!(policy.exclude, [ExcludeV1 { field: 1, value: key(b"acme") }]);
    let diversity = policy.diversity.expect("declared");
    assert_eq!((diversity.lambda, diversity.fields), (0.75, vec![(1, 1.0)]), "weights become shares");
}

fn flyer() -> Vec<u8> {
    let features = spec(
        &[
            feature("price", "kind = \"number\"\nfield = \"item.price\"\ndefault = 1\ntransform = [\"log1p\"]"),
            feature("bought", &counted("decayed_count", "user", "item", "half_life = \"30d\"")),
            feature("popular", &counted("window_count", "global", "brand", "window = \"28d\"\nbuckets = 4")),
            feature("place", "kind = \"position\""),
        ]
        .concat(),
    );
    let model = ModelSpec::parse("model.toml", MODEL).expect("a valid declaration");
    let trained = TrainedModel::Linear(LinearModel {
        bias: 0.5,
        link: Link::Logistic,
        weights: [("bought".to_owned(), 1.25), ("price".to_owned(), -0.25)].into(),
        centres: [("price".to_owned(), 2.0)].into(),
    });
    compile(&features, &model, &trained).expect("it compiles").bytes
}

#[test]
fn equal_inputs_give_equal_bytes() {
    assert_eq!(flyer(), flyer());
}

#[test]
fn a_bundle_is_shown_with_its_names() {
    let shown = inspect(&flyer()).expect("a bundle").to_string();
    // The id covers the version of the compiler, which is no part of this promise.
    let filters = vec![("[0-9a-f]{64}", "[id]"), (r"selvedge \d+\.\d+\.\d+", "selvedge [version]")];
    insta::with_settings!({ omit_expression => true, filters => filters }, { insta::assert_snapshot!("bundle", shown) });
}

#[test]
fn a_linear_model_survives_its_file() {
    let model = LinearModel {
        bias: 0.1,
        link: Link::Logistic,
        weights: [("a".to_owned(), f32::MIN_POSITIVE), ("b".to_owned(), -1.0e-7)].into(),
        centres: [("a".to_owned(), 16_777_217.0)].into(),
    };
    let again = selvedge_compile::import(model.to_json().as_bytes()).expect("its own file");
    assert_eq!(again, TrainedModel::Linear(model));
}
