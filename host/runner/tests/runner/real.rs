//! The guest that ships, under the limits that it ships with.

use selvedge_format::ErrorCode;
use selvedge_format::container::verify_id;
use selvedge_format::decision::DecisionView;
use selvedge_runner::{GuestModule, Input, Instance, RunError, RunnerLimits, TrapCause};

use crate::given;

fn module() -> GuestModule {
    GuestModule::compile(&given::guest()).expect("the guest keeps to the ABI")
}

fn loaded() -> Instance {
    let mut instance = Instance::new(&module(), RunnerLimits::default());
    instance.load(given::bundle()).expect("the bundle loads");
    instance
}

fn slots(instance: &mut Instance, request: &[u8]) -> Vec<u32> {
    let decided = instance.decide(request).expect("a decision");
    let view = DecisionView::parse(decided.decision).expect("valid bytes");
    assert_eq!(view.status.names().0, "personalized");
    view.slots.iter().collect()
}

#[test]
fn a_decision_names_its_request_and_bundle_and_costs_fuel() {
    let mut instance = loaded();
    let bundle_id = verify_id(&given::bundle()).expect("a sound bundle");
    let request = given::request();
    let decided = instance.decide(&request).expect("a decision");
    assert!(decided.fuel > 0);
    let view = DecisionView::parse(decided.decision).expect("valid bytes");
    assert_eq!((view.request_id, view.bundle_id), (given::REQUEST_ID, bundle_id));
    assert_eq!(view.slots.iter().collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn the_same_request_gives_the_same_bytes_and_the_same_fuel_on_every_instance() {
    let mut first = loaded();
    let mut second = first.fork();
    let request = given::request();
    // The first decision warms the buffers up, so only later ones cost the same.
    let run = |instance: &mut Instance| {
        instance.decide(&request).expect("a decision");
        let decided = instance.decide(&request).expect("a decision");
        (decided.decision.to_vec(), decided.fuel)
    };
    assert_eq!(run(&mut first), run(&mut second));
}

#[test]
fn features_and_scores_come_out_by_candidate() {
    let mut instance = loaded();
    let features = instance.features(&given::request()).expect("features");
    assert_eq!((features.candidates, features.features), (2, 1));
    assert_eq!(features.column(0), [1.25, 0.75]);
    assert!(features.column(1).is_empty());
    assert_eq!(instance.score(&given::request()).expect("scores"), [-1.25, -0.75]);
}

#[test]
fn rows_of_features_are_scored_and_anything_else_is_refused_with_both_numbers() {
    let mut instance = loaded();
    assert_eq!(
        instance.predict(2, 1, &[1.25, 0.75]).expect("scores"),
        instance.score(&given::request()).expect("scores")
    );
    // A missing value is the model's centre, whatever its bits.
    for bits in [0x7fc0_0000, 0xffc0_1234, 0x7f80_0001] {
        assert_eq!(instance.predict(1, 1, &[f32::from_bits(bits)]).expect("a score"), [0.0]);
    }
    for (rows, features, values, said) in [
        (2, 1, &[1.0][..], "rows of features: truncated, 8 bytes are needed and 4 are there"),
        (2, 1, &[1.0; 3], "rows of features: 12 is above the limit of 8"),
        (1, 2, &[1.0; 2], "rows of features: 8 is above the limit of 4"),
        (1, usize::MAX, &[1.0], "rows of features: 17179869180 is above the limit of 4"),
        (0, 1, &[], "request without candidates: not a valid value"),
        (usize::MAX, 1, &[1.0], "request candidates: 4294967295 is above the limit of 2000"),
    ] {
        let error = instance.predict(rows, features, values).expect_err("no matrix of this bundle");
        assert!(matches!(&error, RunError::Refused(refusal) if refusal.input() == Input::Matrix), "{error}");
        assert_eq!(error.to_string(), format!("the matrix is refused: {said}"));
    }
    assert_eq!(slots(&mut instance, &given::request()), [1, 0], "a refusal leaves nothing behind");
    let error = Instance::new(&module(), RunnerLimits::default()).predict(1, 1, &[1.0]).expect_err("no bundle");
    assert_eq!(error.to_string(), "the matrix is refused: engine: no bundle is loaded");
}

#[test]
fn a_shared_state_is_seen_whether_it_comes_before_or_after_the_bundle() {
    use selvedge_wire::RequestBuilder;
    let request = RequestBuilder::new(given::REQUEST_ID, 1_700_000_000_000, ["bread"]).build();
    let mut after = loaded();
    after.load_shared(given::shared()).expect("the shared state loads");
    let mut before = Instance::new(&module(), RunnerLimits::default());
    before.load_shared(given::shared()).expect("the shared state loads");
    before.load(given::bundle()).expect("the bundle loads");
    for mut instance in [after, before] {
        assert_eq!(instance.features(&request).expect("features").values, [0.5]);
    }
}

#[test]
fn a_damaged_bundle_is_refused_at_every_byte_and_the_old_one_stays() {
    let mut instance = loaded();
    let bundle = given::bundle();
    for at in 0..bundle.len() {
        let mut damaged = bundle.clone();
        damaged[at] ^= 1;
        let error = instance.load(damaged).expect_err("damaged");
        assert!(matches!(&error, RunError::Refused(refusal) if refusal.input() == Input::Bundle), "byte {at}: {error}");
    }
    let error = instance.load(&bundle[..40]).expect_err("cut off");
    assert!(matches!(&error, RunError::Refused(refusal) if refusal.code() == Some(ErrorCode::Truncated)), "{error}");
    assert_eq!(slots(&mut instance, &given::request()), [1, 0]);
}

#[test]
fn a_container_of_the_other_kind_is_refused() {
    let mut instance = Instance::new(&module(), RunnerLimits::default());
    let error = instance.load(given::shared()).expect_err("no bundle");
    assert_eq!(
        error.to_string(),
        "the bundle is refused: container: a container of kind 2, where kind 1 is needed (at 10)"
    );
    let error = instance.load_shared(given::bundle()).expect_err("no shared state");
    assert!(matches!(&error, RunError::Refused(refusal) if refusal.code() == Some(ErrorCode::WrongKind)), "{error}");
}

#[test]
fn what_only_the_guest_can_see_is_refused_in_the_guest_s_words() {
    use selvedge_format::container::{ContainerBuilder, Kind};
    let mut instance = loaded();
    let error = instance.load(ContainerBuilder::new(Kind::Bundle).build()).expect_err("an empty bundle");
    assert_eq!(error.to_string(), "the bundle is refused: feature program: section 0x2 is missing");
    let error = instance.features(b"not a request at all").expect_err("no request");
    assert_eq!(error.to_string(), "the request is refused: request: these bytes are of another format");
    assert_eq!(slots(&mut instance, &given::request()), [1, 0]);
}

#[test]
fn any_bytes_are_decided() {
    let mut instance = loaded();
    let request = given::request();
    for len in 0..request.len() {
        let decided = instance.decide(&request[..len]).expect("a decision");
        let view = DecisionView::parse(decided.decision).expect("valid bytes");
        assert_eq!(view.status.names(), ("fallback", Some("invalid-request")));
    }
    let huge = vec![0; 5 << 20];
    let decided = instance.decide(&huge).expect("a decision");
    let view = DecisionView::parse(decided.decision).expect("valid bytes");
    assert_eq!(ErrorCode::from_number(view.error), Some(ErrorCode::TooLarge));
    assert_eq!(slots(&mut instance, &request), [1, 0]);
}

#[test]
fn a_guest_short_of_memory_or_fuel_is_told_apart_from_a_bad_bundle() {
    let module = module();
    let tight = RunnerLimits { memory_bytes: 4 << 20, ..RunnerLimits::default() };
    let mut instance = Instance::new(&module, tight);
    instance.load(given::bundle()).expect("a small bundle fits");
    let error = instance.decide(&vec![0; 8 << 20]).expect_err("no room");
    assert!(matches!(&error, RunError::Refused(refusal) if refusal.place() == "guest memory"), "{error}");
    assert_eq!(slots(&mut instance, &given::request()), [1, 0]);

    let slow = RunnerLimits { fuel_per_load: 1_000, ..RunnerLimits::default() };
    let error = Instance::new(&module, slow).load(given::bundle()).expect_err("no fuel");
    assert!(
        matches!(&error, RunError::Trapped(trap) if trap.cause == TrapCause::OutOfFuel { limit: 1_000 }),
        "{error}"
    );
}
