//! The corpus is the committed one, covers what it promises, and is decided here as it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use selvedge_conformance::{Corpus, NONE, cases, outcome};
use selvedge_format::ErrorCode;
use selvedge_format::campaign::{self, CampaignsV1, TestOpV1};
use selvedge_format::container::{Container, Kind};
use selvedge_format::decision::{DecisionView, OfferView, arm, rule};
use selvedge_format::explore::{self, ExploreKindV1, ExploreV1};
use selvedge_format::model::{self, ModelKindV1, ModelsV1};
use selvedge_format::policy::{self, PolicyV1};
use selvedge_format::program::{self, OpV1, ProgramV1};

fn committed() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/v1.bin");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_committed_corpus_is_what_is_generated_and_what_this_engine_decides() {
    let (committed, generated) = (committed(), Corpus::of_this_engine().encode());
    let differs = committed.iter().zip(&generated).position(|(a, b)| a != b);
    assert!(
        committed == generated,
        "the first difference is at {differs:?}; a released corpus never changes: before a release, write it anew with \
         `cargo run -p selvedge-conformance -- corpus edge/conformance/corpus/v1.bin`"
    );
}

#[test]
fn a_corpus_survives_its_file() {
    let corpus = Corpus::of_this_engine();
    assert_eq!(Corpus::decode(&corpus.encode()).unwrap(), corpus);
    for cut in [0, 7, 12, 30, corpus.encode().len() - 1] {
        assert!(Corpus::decode(&corpus.encode()[..cut]).is_err(), "cut to {cut}");
    }
}

#[test]
fn the_page_names_the_hash_of_the_corpus() {
    use sha2::{Digest as _, Sha256};
    let hash: String = Sha256::digest(committed()).iter().map(|byte| format!("{byte:02x}")).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    assert!(fs::read_to_string(&page).unwrap().contains(&hash), "{} lacks {hash}", page.display());
}

/// Names of the variants of an enum, from their debug text.
fn variant(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take_while(|character| character.is_alphanumeric()).collect()
}

/// What must occur at least once. A match without a wildcard stands beside each list, so that a new variant does not
/// compile until it is listed, and does not pass until a case has it.
#[test]
fn every_operation_model_policy_status_rule_and_error_occurs() {
    let corpus = Corpus::of_this_engine();
    let mut found = BTreeSet::new();
    for case in &corpus.cases {
        if case.refusal != 0 {
            let code = ErrorCode::from_number(case.refusal as u16).expect("a known code");
            found.insert(format!("refusal {}", code.name()));
        } else if let Some(bundle) = corpus.get(case.bundle) {
            describe(bundle, &mut found);
        }
        let decision = DecisionView::parse(&case.decision).expect("decisions are valid");
        let (status, reason) = decision.status.names();
        found.insert(format!("status {status} {}", reason.unwrap_or_default()));
        for (bit, name) in [
            (rule::PINNED, "pinned"),
            (rule::DIVERSITY, "diversity"),
            (rule::AT_MOST, "at most"),
            (rule::EXPLORED, "explored"),
        ] {
            if decision.rules.iter().any(|rules| rules & bit != 0) {
                found.insert(format!("rule {name}"));
            }
        }
        if let Some(offer) = &decision.offer {
            describe_offer(offer, &mut found);
        }
        if decision.error != 0 {
            found.insert("error of a request".to_owned());
        }
        if case.bundle == NONE {
            found.insert("no bundle".to_owned());
        }
    }
    let _ = |op: OpV1| match op {
        OpV1::Number { .. }
        | OpV1::Category { .. }
        | OpV1::Bucket { .. }
        | OpV1::TimeDifference { .. }
        | OpV1::Recency { .. }
        | OpV1::LocalTime { .. }
        | OpV1::Position
        | OpV1::Candidates
        | OpV1::InteractedWith { .. }
        | OpV1::Counter(_)
        | OpV1::Share(_)
        | OpV1::Rate { .. }
        | OpV1::TokenOverlap { .. }
        | OpV1::Combine { .. }
        | OpV1::ItemId { .. }
        | OpV1::RecentItem { .. } => (),
    };
    let _ = |kind: ModelKindV1, explore: ExploreKindV1| match (kind, explore) {
        (
            ModelKindV1::Linear { .. } | ModelKindV1::Trees { .. } | ModelKindV1::DoubleTrees(_) | ModelKindV1::Graph,
            ExploreKindV1::EpsilonGreedy { .. } | ExploreKindV1::Softmax { .. },
        ) => (),
    };
    let wanted = [
        "op Number",
        "op Category",
        "op Bucket",
        "op TimeDifference",
        "op Recency",
        "op LocalTime",
        "op Position",
        "op Candidates",
        "op InteractedWith",
        "op Counter",
        "op Share",
        "op Rate",
        "op TokenOverlap",
        "op Combine",
        "op ItemId",
        "op RecentItem",
        "transform Log1p",
        "transform Sqrt",
        "transform Abs",
        "transform Neg",
        "transform Square",
        "transform Clip",
        "transform Scale",
        "transform Shift",
        "model Linear Identity",
        "model Linear Logistic",
        "model Trees Identity",
        "model Trees Logistic",
        "model DoubleTrees Identity",
        "model DoubleTrees Logistic",
        "model Graph Identity",
        "model Graph Logistic",
        "stages 2",
        "stages 4",
        "policy exclude",
        "policy at most",
        "policy diversity",
        "explore EpsilonGreedy",
        "explore Softmax",
        "status personalized ",
        "status personalized cost-limit",
        "status fallback invalid-request",
        "status fallback invalid-state",
        "status fallback too-many-candidates",
        "status fallback cost-limit",
        "status fallback no-candidates",
        "status fallback not-loaded",
        "rule pinned",
        "rule diversity",
        "rule at most",
        "rule explored",
        "refusal truncated",
        "refusal bad-magic",
        "refusal unsupported-version",
        "refusal wrong-kind",
        "refusal checksum-mismatch",
        "refusal invalid",
        "refusal missing-section",
        "refusal unknown-section",
        "refusal bad-metadata",
        "error of a request",
        "no bundle",
        "offer offered ",
        "offer held-out ",
        "offer none no-campaign",
        "offer none outside-window",
        "offer none not-eligible",
        "offer none capped",
        "offer none no-budget",
        "offer none margin-floor",
        "offer none not-worth-it",
        "offer none fallback",
        "offer none drawn",
        "offer preview",
        "offer explored",
        "arm no-budget",
        "arm margin-floor",
        "arms 9",
        "response Linear",
        "response Trees",
        "goal Revenue",
        "goal Profit",
        "margin Constant",
        "margin Feature",
        "cap User",
        "cap Device",
        "hours",
        "test Compare Less",
        "test Compare AtMost",
        "test Compare More",
        "test Compare AtLeast",
        "test Compare Equal",
        "test Missing",
        "test Is",
        "test And",
        "test Or",
        "test Not",
    ];
    let missing: Vec<&str> = wanted.into_iter().filter(|wanted| !found.contains(*wanted)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}; there are {found:?}");
}

fn describe(bundle: &[u8], found: &mut BTreeSet<String>) {
    let container = Container::parse(bundle, Kind::Bundle).expect("it loaded");
    let section = |tag| container.find(tag).map(|section| &bundle[section.range.clone()]);
    let program = ProgramV1::decode(section(program::TAG).unwrap()).unwrap();
    for feature in &program.features {
        found.insert(format!("op {}", variant(&feature.op)));
        found.extend(feature.transforms.iter().map(|transform| format!("transform {}", variant(transform))));
    }
    let models = ModelsV1::decode(section(model::TAG).unwrap()).unwrap();
    found.extend(models.models.iter().map(|model| format!("model {} {:?}", variant(&model.kind), model.link)));
    found.insert(format!("stages {}", models.stages.len()));
    let policy = PolicyV1::decode(section(policy::TAG).unwrap(), &program).unwrap();
    for (is_there, name) in [
        (!policy.exclude.is_empty(), "exclude"),
        (!policy.at_most.is_empty(), "at most"),
        (policy.diversity.is_some(), "diversity"),
    ] {
        if is_there {
            found.insert(format!("policy {name}"));
        }
    }
    if let Some(bytes) = section(campaign::TAG) {
        describe_campaigns(&CampaignsV1::decode(bytes, &program, &models).unwrap(), &models, found);
    }
    if let Some(bytes) = section(explore::TAG) {
        found.insert(format!("explore {}", variant(&ExploreV1::decode(bytes).unwrap().kind)));
    }
}

fn describe_campaigns(campaigns: &CampaignsV1, models: &ModelsV1, found: &mut BTreeSet<String>) {
    for arm in campaigns.responses.iter().flat_map(|response| &response.arms) {
        found.insert(format!("response {}", variant(&models.models[usize::from(arm.model)].kind)));
    }
    for campaign in &campaigns.campaigns {
        found.insert(format!("goal {:?}", campaign.goal));
        found.insert(format!("margin {}", variant(&campaign.margin)));
        found.extend(campaign.caps.iter().map(|cap| format!("cap {:?}", cap.by)));
        found.extend(campaign.hours.map(|_| "hours".to_owned()));
        found.extend(campaign.eligible.iter().map(|op| match op {
            TestOpV1::Compare { how, .. } => format!("test Compare {how:?}"),
            TestOpV1::Missing { .. } | TestOpV1::Is { .. } | TestOpV1::And | TestOpV1::Or | TestOpV1::Not => {
                format!("test {}", variant(op))
            }
        }));
    }
}

fn describe_offer(offer: &OfferView<'_>, found: &mut BTreeSet<String>) {
    let (status, reason) = offer.status.names();
    found.insert(format!("offer {status} {}", reason.unwrap_or_default()));
    found.insert(format!("arms {}", offer.arms().len()));
    for (bit, name) in [(arm::NO_BUDGET, "no-budget"), (arm::MARGIN_FLOOR, "margin-floor")] {
        if offer.arms().any(|arm| arm.masked & bit != 0) {
            found.insert(format!("arm {name}"));
        }
    }
    if !offer.drawn {
        assert!(offer.propensity.is_nan(), "a preview says nothing of the draw");
        found.insert("offer preview".to_owned());
    }
    if offer.arm != 0 && offer.arm != offer.best {
        found.insert("offer explored".to_owned());
    }
}

/// A value that is missing everywhere compares nothing.
#[test]
fn no_feature_is_missing_in_every_case() {
    let mut is_there = BTreeSet::new();
    let whole = cases().iter().map(|case| case.operations.len()).max().unwrap_or(0);
    for case in cases().iter().filter(|case| case.operations.len() == whole) {
        let matrix = outcome(case).features;
        let Some((candidates, values)) = matrix.split_first_chunk() else { continue };
        let candidates = u32::from_le_bytes(*candidates) as usize;
        for (at, value) in values[4..].chunks_exact(4).enumerate() {
            if !f32::from_le_bytes(value.try_into().unwrap()).is_nan() {
                is_there.insert(at / candidates);
            }
        }
    }
    let missing: Vec<usize> = (0..whole).filter(|at| !is_there.contains(at)).collect();
    assert!(whole > 40 && missing.is_empty(), "of {whole} features, missing everywhere: {missing:?}");
}
