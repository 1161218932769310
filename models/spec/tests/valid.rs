//! What valid declarations become.

use selvedge_spec::{
    By, CombineOp, Counter, CounterKind, CounterScope, Explore, ExploreKind, FeatureKind, FeatureSpec, Learner,
    Measure, ModelOutput, ModelSpec, OverlapWith, ProblemKind, Recent, Transform,
};

fn parse(body: &str) -> FeatureSpec {
    let declared = "version = 1\n[fields.item]\nprice = \"number\"\nbrand = \"string\"\nname = \"tokens\"\n\
                    [events]\nview = {}\npurchase = { doc = \"a line of a basket\" }\n";
    FeatureSpec::parse("features.toml", &format!("{declared}{body}")).expect("the declaration is valid")
}

#[test]
fn what_is_left_out_takes_the_documented_defaults() {
    let spec = parse("[[feature]]\nname = \"a\"\nkind = \"interacted_with\"\nevent = \"view\"\nby = \"brand\"\n");
    assert_eq!(spec.shared_refresh.get(), 86_400);
    assert_eq!(spec.history_events, 64);
    assert!(spec.tables.is_empty());
    let feature = &spec.features[0];
    assert_eq!((feature.default, feature.doc.as_str()), (0.0, ""));
    assert!(feature.transforms.is_empty());
    let by = By::Field("brand".to_owned());
    assert_eq!(feature.kind, FeatureKind::InteractedWith { event: "view".to_owned(), by, within: None, last: 64 });
}

#[test]
fn a_declared_default_and_transforms_are_kept_in_order() {
    let spec = parse(
        "[[feature]]\nname = \"a\"\nkind = \"position\"\ndefault = \"nan\"\n\
         transform = [{ shift = 1 }, \"log1p\", { clip = [0, 2.5] }, { scale = -0.5 }]\n",
    );
    assert!(spec.features[0].default.is_nan());
    let expected =
        [Transform::Shift(1.0), Transform::Log1p, Transform::Clip { lo: 0.0, hi: 2.5 }, Transform::Scale(-0.5)];
    assert_eq!(spec.features[0].transforms, expected);
}

#[test]
fn a_sequence_declares_a_feature_for_each_place_and_one_for_its_length() {
    let spec = parse(
        "[[feature]]\nname = \"it\"\nkind = \"item_id\"\nbuckets = 7\n\
         [[feature]]\nname = \"seen\"\nkind = \"recent_items\"\nevent = \"view\"\nlast = 2\nbuckets = 7\nlength = true\n\
         default = -1\ntransform = [\"sqrt\"]\n\
         [[feature]]\nname = \"newer\"\nkind = \"combine\"\nop = \"difference\"\ninputs = [\"seen_0\", \"seen_1\"]\n",
    );
    let names: Vec<_> = spec.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["it", "seen_0", "seen_1", "seen_length", "newer"]);
    let recent = Recent { event: Some("view".to_owned()), within: None };
    for at in [0, 1] {
        let place = &spec.features[1 + usize::from(at)];
        assert_eq!(place.kind, FeatureKind::RecentItem { recent: recent.clone(), at, buckets: 7 });
        assert_eq!((place.default, place.transforms.as_slice()), (-1.0, [Transform::Sqrt].as_slice()));
    }
    assert_eq!(spec.features[3].kind, FeatureKind::RecentCount { recent, last: 2 });
    assert!(spec.features[3].transforms.is_empty(), "a length is not one of the numbers");
    assert_eq!(spec.features[4].kind, FeatureKind::Combine { op: CombineOp::Difference, inputs: [1, 2] });
}

#[test]
fn a_sequence_is_as_long_as_the_history_unless_it_says_less() {
    let spec = parse("[history]\nevents = 5\n[[feature]]\nname = \"a\"\nkind = \"recent_items\"\nbuckets = 7\n");
    let last = spec.features.last().expect("five places");
    let recent = Recent { event: None, within: None };
    assert_eq!((spec.features.len(), last.default), (5, 0.0));
    assert_eq!((last.name.as_str(), &last.kind), ("a_4", &FeatureKind::RecentItem { recent, at: 4, buckets: 7 }));
}

#[test]
fn order_is_the_order_of_the_text_and_spans_point_at_names() {
    let body = "[[feature]]\nname = \"z\"\nkind = \"position\"\n[[feature]]\nname = \"a\"\nkind = \"candidates\"\n";
    let text = format!("version = 1\n[events]\nz = {{}}\na = {{}}\n{body}");
    let spec = FeatureSpec::parse("features.toml", &text).expect("valid");
    let at = |span: miette::SourceSpan| &text[span.offset()..span.offset() + span.len()];
    let events: Vec<_> = spec.events.iter().map(|event| (event.name.as_str(), at(event.span))).collect();
    assert_eq!(events, [("z", "z"), ("a", "a")]);
    let features: Vec<_> = spec.features.iter().map(|feature| (feature.name.as_str(), at(feature.span))).collect();
    assert_eq!(features, [("z", "\"z\""), ("a", "\"a\"")]);
}

#[test]
fn both_counters_of_a_rate_share_scope_key_and_forgetting() {
    let spec = parse(
        "[[feature]]\nname = \"a\"\nkind = \"rate\"\nscope = \"global\"\nby = \"item\"\nwindow = \"28d\"\nbuckets = 4\n\
         numerator = { event = \"purchase\", measure = \"value\" }\ndenominator = { event = \"view\" }\nweight = 20\nprior = 0.05\n",
    );
    let FeatureKind::Rate { numerator, denominator, weight, prior } = &spec.features[0].kind else {
        panic!("not a rate")
    };
    let CounterKind::Window { window, buckets } = numerator.kind else { panic!("not a window") };
    assert_eq!((window.millis(), buckets), (28 * 86_400_000, 4));
    let expected = Counter { event: "view".to_owned(), measure: Measure::Count, ..numerator.clone() };
    assert_eq!(*denominator, expected);
    assert_eq!((numerator.scope, numerator.measure), (CounterScope::Global, Measure::Value));
    assert_eq!((*weight, *prior), (20.0, 0.05));
}

#[test]
fn overlap_with_the_history_takes_the_whole_ring_unless_told() {
    let spec = parse(
        "[history]\nevents = 16\n[[feature]]\nname = \"a\"\nkind = \"token_overlap\"\nfield = \"item.name\"\n\
         with = \"history\"\nevent = \"view\"\n",
    );
    let FeatureKind::TokenOverlap { with, .. } = &spec.features[0].kind else { panic!("not an overlap") };
    assert_eq!(*with, OverlapWith::History { event: "view".to_owned(), last: 16 });
}

#[test]
fn a_model_says_what_is_trained_and_what_the_slate_obeys() {
    let text = r#"version = 1
[model]
name = "flyer"
kind = "linear"
objective = "logistic"
features = "features.toml"
output = "class:2"
[train]
lambda = 0.01
[slate]
size = 10
[[slate.at_most]]
field = "brand"
max = 3
window = 5
[slate.diversity]
lambda = 0.9
similarity = { brand = 1.0 }
[slate.explore]
epsilon = 0.05
seed = 7
"#;
    let model = ModelSpec::parse("model.toml", text).expect("valid");
    let Learner::Linear(training) = &model.learner else { panic!("not linear") };
    assert_eq!((training.lambda, training.seed), (0.01, 0));
    assert_eq!(model.output, Some(ModelOutput::Class(2)));
    assert_eq!((model.slate.size, model.slate.at_most[0].window, model.slate.exclude.len()), (10, 5, 0));
    assert_eq!(model.slate.explore, Some(Explore { kind: ExploreKind::Epsilon(0.05), seed: 7 }));
    let features = parse("[[feature]]\nname = \"a\"\nkind = \"position\"\n");
    model.check(&features).expect("brand is a string field of the item");
}

#[test]
fn a_network_may_follow_cheaper_stages() {
    let text = "version = 1\n[model]\nname = \"m\"\nkind = \"graph\"\nobjective = \"logistic\"\n\
        features = \"features.toml\"\n[[stage]]\ntrained = \"trees.json\"\nkeep = 2000\n\
        [[stage]]\ntrained = \"more/trees.json\"\noutput = \"class:2\"\nkeep = 50\n";
    let model = ModelSpec::parse("model.toml", text).expect("valid");
    assert_eq!(model.learner, Learner::Graph);
    let stages: Vec<_> = model.stages.iter().map(|stage| (stage.trained.as_str(), stage.keep)).collect();
    assert_eq!(stages, [("trees.json", 2_000), ("more/trees.json", 50)]);
    // Each model has outputs of its own.
    let outputs: Vec<_> = model.stages.iter().map(|stage| stage.output).chain([model.output]).collect();
    assert_eq!(outputs, [None, Some(ModelOutput::Class(2)), None]);
}

/// The kinds of problem found in `text`.
fn problems(text: &str) -> Vec<ProblemKind> {
    let error = FeatureSpec::parse("features.toml", text).expect_err("beyond a limit");
    error.problems().iter().map(|problem| problem.kind()).collect()
}

/// `count` lines made from the numbers 0.. .
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

#[test]
fn limits_hold_on_both_sides() {
    let one = "[[feature]]\nname = \"a\"\nkind = \"position\"\n";
    let fields =
        |count| format!("version = 1\n{one}[fields.user]\n{}", lines(count, |n| format!("f{n} = \"number\"\n")));
    let events = |count| format!("version = 1\n{one}[events]\n{}", lines(count, |n| format!("e{n} = {{}}\n")));
    let features = |count| {
        format!("version = 1\n{}", lines(count, |n| format!("[[feature]]\nname = \"f{n}\"\nkind = \"position\"\n")))
    };
    FeatureSpec::parse("features.toml", &fields(FeatureSpec::MAX_FIELDS)).expect("as many fields as may be");
    FeatureSpec::parse("features.toml", &events(FeatureSpec::MAX_EVENTS)).expect("as many events as may be");
    FeatureSpec::parse("features.toml", &features(FeatureSpec::MAX_FEATURES)).expect("as many features as may be");
    assert_eq!(problems(&fields(FeatureSpec::MAX_FIELDS + 1)), [ProblemKind::OutOfRange]);
    assert_eq!(problems(&events(FeatureSpec::MAX_EVENTS + 1)), [ProblemKind::OutOfRange]);
    assert_eq!(problems(&features(FeatureSpec::MAX_FEATURES + 1)), [ProblemKind::OutOfRange]);
}
