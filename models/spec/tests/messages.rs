//! What a person sees for each mistake, exactly. The snapshots are the specification of the messages.

mod shown;

use selvedge_spec::{FeatureSpec, ModelSpec};

use shown::render;

/// Declarations that the cases below build on.
const DECLARED: &str = r#"version = 1
[fields.item]
price = "number"
department = "string"
name = "tokens"
listed_at = "time"
[fields.context]
query = "tokens"
[events]
view = {}
purchase = {}
"#;

/// The message for a whole `features.toml`.
fn file(text: &str) -> String {
    render(&FeatureSpec::parse("features.toml", text).expect_err("the case is a mistake"))
}

/// The message for `body` after [`DECLARED`].
fn after_declarations(body: &str) -> String {
    file(&format!("{DECLARED}{body}"))
}

/// The message for one feature called `it`.
fn feature(parameters: &str) -> String {
    after_declarations(&format!("[[feature]]\nname = \"it\"\n{parameters}\n"))
}

/// The message for a whole `model.toml`.
fn model(text: &str) -> String {
    render(&ModelSpec::parse("model.toml", text).expect_err("the case is a mistake"))
}

macro_rules! messages {
    ($($name:ident: $read:ident($text:expr);)+) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!($read($text));
        }
    )+};
}

messages! {
    empty_file: file("");
    no_features: file("version = 1\nfeature = []\n");
    bad_syntax: file("version = 1\n[fields.item\nprice = \"number\"\n");
    duplicate_key: file("version = 1\nversion = 1\n");
    other_version: file("version = 2\n[[feature]]\nname = \"a\"\nkind = \"position\"\n");
    unknown_top_level_key: file("version = 1\n[[features]]\nname = \"a\"\nkind = \"position\"\n[[feature]]\nname = \"b\"\nkind = \"position\"\n");
    unknown_field_type: file("version = 1\n[fields.item]\nprice = \"numbr\"\n[[feature]]\nname = \"a\"\nkind = \"number\"\nfield = \"item.price\"\n");
    unknown_field_scope: file("version = 1\n[fields.items]\nprice = \"number\"\n[[feature]]\nname = \"a\"\nkind = \"position\"\n");
    reserved_field_name: file("version = 1\n[fields.item]\nall = \"string\"\n[[feature]]\nname = \"a\"\nkind = \"position\"\n");
    bad_names: file("version = 1\n[events]\n\"Add to basket\" = {}\n[[feature]]\nname = \"Größe\"\nkind = \"position\"\n");
    history_too_long: file("version = 1\n[history]\nevents = 1000\n[[feature]]\nname = \"a\"\nkind = \"position\"\n");

    duplicate_feature: after_declarations("[[feature]]\nname = \"a\"\nkind = \"position\"\n[[feature]]\nname = \"a\"\nkind = \"candidates\"\n");
    nameless_feature: after_declarations("[[feature]]\nkind = \"position\"\n");
    typo_in_kind: feature("kind = \"decayed_cout\"");
    unrecognisable_kind: feature("kind = \"embedding\"");
    missing_kind: feature("doc = \"what?\"");
    unknown_key: feature("kind = \"number\"\nfeild = \"item.price\"");
    missing_parameter: feature("kind = \"time_difference\"\nfield = \"item.listed_at\"");
    wrong_toml_type: feature("kind = \"cross\"\nfields = \"item.department\"\nbuckets = \"many\"");
    unknown_field: feature("kind = \"number\"\nfield = \"item.prise\"");
    field_without_scope: feature("kind = \"number\"\nfield = \"price\"");
    field_of_another_type: feature("kind = \"number\"\nfield = \"item.department\"");
    unknown_event: feature("kind = \"recency\"\nscope = \"user\"\nevent = \"purchse\"\nby = \"item\"\nunit = \"d\"");
    unknown_unit: feature("kind = \"time_difference\"\nfield = \"item.listed_at\"\nunit = \"days\"");
    unknown_counter_key: feature("kind = \"lifetime_count\"\nscope = \"user\"\nevent = \"view\"\nby = \"departmnt\"");
    counter_key_with_scope: feature("kind = \"lifetime_count\"\nscope = \"user\"\nevent = \"view\"\nby = \"item.department\"");
    counter_key_of_another_type: feature("kind = \"lifetime_count\"\nscope = \"user\"\nevent = \"view\"\nby = \"price\"");
    bad_duration: feature("kind = \"decayed_count\"\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\nhalf_life = \"30 days\"");
    half_life_beyond_ten_years: feature("kind = \"decayed_count\"\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\nhalf_life = \"600w\"");
    window_not_divisible: feature("kind = \"window_count\"\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\nwindow = \"1d\"\nbuckets = 7");
    window_with_too_many_buckets: feature("kind = \"window_count\"\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\nwindow = \"1d\"\nbuckets = 65");
    no_way_of_forgetting: feature("kind = \"share\"\nscope = \"user\"\nevent = \"view\"\nby = \"item\"");
    two_ways_of_forgetting: feature("kind = \"share\"\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\nlifetime = true\nhalf_life = \"1d\"");
    share_of_everything: feature("kind = \"share\"\nscope = \"user\"\nevent = \"view\"\nby = \"all\"\nlifetime = true");
    rate_with_mistakes_inside: feature("kind = \"rate\"\nscope = \"user\"\nby = \"item\"\nnumerator = { evnt = \"view\" }\ndenominator = { event = \"view\", measure = \"sum\" }\nlifetime = true\nweight = -1\nprior = 0.1");
    string_both_ways: feature("kind = \"string\"\nfield = \"item.department\"\nvalues = [\"a\"]\nbuckets = 8");
    string_neither_way: feature("kind = \"string\"\nfield = \"item.department\"");
    string_value_empty: feature("kind = \"string\"\nfield = \"item.department\"\nvalues = [\"\"]");
    string_value_twice: feature("kind = \"string\"\nfield = \"item.department\"\nvalues = [\"a\", \"b\", \"a\"]");
    too_many_hash_buckets: feature("kind = \"string\"\nfield = \"item.department\"\nbuckets = 16777217");
    last_beyond_history: feature("kind = \"interacted_with\"\nevent = \"view\"\nby = \"item\"\nlast = 65");
    history_needed_but_off: after_declarations("[history]\nevents = 0\n[[feature]]\nname = \"it\"\nkind = \"interacted_with\"\nevent = \"view\"\nby = \"item\"\n");
    sequence_of_none_and_without_buckets: feature("kind = \"recent_items\"\nlast = 0\nlength = 3\nevent = \"vew\"");
    sequence_with_places_declared_twice: after_declarations("[[feature]]\nname = \"it_2\"\nkind = \"position\"\n[[feature]]\nname = \"it\"\nkind = \"recent_items\"\nlast = 4\nbuckets = 9\n");
    sequences_with_too_many_places: after_declarations(&format!("[history]\nevents = 256\n{}", ["a", "b", "c"].map(|name| format!("[[feature]]\nname = \"{name}\"\nkind = \"recent_items\"\nbuckets = 9\n")).concat()));
    sequence_with_too_long_a_name: after_declarations(&format!("[[feature]]\nname = \"{}\"\nkind = \"recent_items\"\nbuckets = 9\n", "n".repeat(62)));
    overlap_with_a_field_of_the_item: feature("kind = \"token_overlap\"\nfield = \"item.name\"\nwith = \"item.name\"");
    overlap_with_a_stray_event: feature("kind = \"token_overlap\"\nfield = \"item.name\"\nwith = \"context.query\"\nevent = \"view\"");
    combine_of_a_later_feature: after_declarations("[[feature]]\nname = \"both\"\nkind = \"combine\"\nop = \"ratio\"\ninputs = [\"place\", \"nothing\"]\n[[feature]]\nname = \"place\"\nkind = \"position\"\n");
    combine_of_three: after_declarations("[[feature]]\nname = \"place\"\nkind = \"position\"\n[[feature]]\nname = \"it\"\nkind = \"combine\"\nop = \"max\"\ninputs = [\"place\", \"place\", \"place\"]\n");
    unknown_transform: feature("kind = \"position\"\ntransform = [\"log\", { clp = [0, 1] }]");
    transform_without_its_argument: feature("kind = \"position\"\ntransform = [\"clip\", { sqrt = 2 }, { clip = [2, 1] }]");
    bad_default: feature("kind = \"position\"\ndefault = inf");
    counters_of_everybody: after_declarations("[[counters]]\nscope = \"global\"\nevent = \"view\"\nby = \"item\"\ncapacity = 10\n[[feature]]\nname = \"a\"\nkind = \"position\"\n");
    counters_set_twice: after_declarations("[[counters]]\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\ncapacity = 10\n[[counters]]\nscope = \"user\"\nevent = \"view\"\nby = \"item\"\ncapacity = 20\n[[feature]]\nname = \"a\"\nkind = \"position\"\n");
    several_mistakes_at_once: after_declarations("[[feature]]\nname = \"a\"\nkind = \"numbr\"\n[[feature]]\nname = \"b\"\nkind = \"number\"\nfield = \"item.name\"\n[[feature]]\nname = \"c\"\nkind = \"recency\"\nevent = \"vew\"\n");

    model_empty: model("");
    model_of_unknown_kind: model("version = 1\n[model]\nname = \"m\"\nkind = \"tree\"\nobjective = \"ndcg\"\nfeatures = \"features.toml\"\n");
    model_with_keys_of_another_kind: model("version = 1\n[model]\nname = \"m\"\nkind = \"linear\"\nobjective = \"logistic\"\nfeatures = \"features.toml\"\n[train]\nmax_depth = 4\nlamda = 1.0\n");
    model_out_of_range: model("version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\nfeatures = \"features.toml\"\n[train]\neta = 0\nrounds = -1\nsubsample = \"half\"\n[slate]\nsize = 0\n");
    model_with_a_limit_that_limits_nothing: model("version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\nfeatures = \"features.toml\"\n[[slate.at_most]]\nfield = \"brand\"\nmax = 3\nwindow = 3\n");
    model_with_diversity_of_nothing: model("version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\nfeatures = \"features.toml\"\n[slate.diversity]\nlambda = 1.5\nsimilarity = {}\n");
    model_drawing_in_two_ways: model("version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\nfeatures = \"features.toml\"\n[slate.explore]\nepsilon = 0.1\ntemperature = 1.0\n");
    model_with_stages_that_keep_nothing_or_more: model("version = 1\n[model]\nname = \"m\"\nkind = \"graph\"\nobjective = \"logistic\"\nfeatures = \"features.toml\"\n[train]\nrounds = 3\n[[stage]]\ntrained = \"a.json\"\nkeep = 50\n[[stage]]\ntrained = \"b.json\"\nkeep = 51\n[[stage]]\ntrained = 7\nkep = 0\n");
    model_with_too_many_stages: model("version = 1\n[model]\nname = \"m\"\nkind = \"graph\"\nobjective = \"logistic\"\nfeatures = \"features.toml\"\n[[stage]]\n[[stage]]\n[[stage]]\n[[stage]]\n");
    model_ranking_by_a_probability: model("version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\nfeatures = \"features.toml\"\noutput = \"probability:2\"\n");
    model_ranking_by_a_class_beyond_all: model("version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\nfeatures = \"features.toml\"\noutput = \"class:1024\"\n");
    model_drawing_in_no_way: model("version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\nfeatures = \"features.toml\"\n[slate.explore]\nseed = -1\n");
}

#[test]
fn model_naming_fields_the_features_lack() {
    let features = format!("{DECLARED}[[feature]]\nname = \"a\"\nkind = \"position\"\n");
    let features = FeatureSpec::parse("features.toml", &features).expect("valid");
    let text = r#"version = 1
[model]
name = "m"
kind = "trees"
objective = "lambdarank"
features = "features.toml"
[[slate.at_most]]
field = "departmant"
max = 3
[[slate.exclude]]
field = "price"
value = "0"
[slate.diversity]
lambda = 0.9
similarity = { department = 1.0, brand = 0.5 }
"#;
    let model = ModelSpec::parse("model.toml", text).expect("valid by itself");
    insta::assert_snapshot!(render(&model.check(&features).expect_err("three names are wrong")));
}
