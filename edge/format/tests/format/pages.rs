//! The pages in `docs/format` are normative, so what they quote is what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use selvedge_format::decision::{ControlReason, DecisionStatus, DegradedReason, FallbackReason};
use selvedge_format::{
    ErrorCode, campaign, container, decision, delta, explore, graph, head, message, meta, model, policy, program,
    record, request, shared, state, terms,
};

use crate::strategy::OFFER_STATUSES;

/// Names as the pages write them, and values in force.
macro_rules! constants {
    ($($constant:expr),* $(,)?) => { [$((stringify!($constant), $constant as u64)),*] };
}

/// Every constant that a page must quote.
fn constants() -> BTreeMap<&'static str, u64> {
    BTreeMap::from(constants![
        container::VERSION,
        container::HEADER_LEN,
        container::MAX_SECTIONS,
        container::FLAG_REQUIRED,
        container::MAX_METADATA_LEN,
        meta::TAG,
        program::TAG,
        program::MAX_FEATURES,
        program::MAX_FIELDS,
        program::MAX_TABLES,
        program::MAX_COLUMNS,
        program::MAX_CAPACITY,
        program::MAX_HISTORY,
        program::MAX_BUCKETS,
        program::MAX_TOKENS,
        model::TAG,
        model::WEIGHTS_TAG,
        model::MAX_MODELS,
        model::MAX_STAGES,
        model::MAX_TREES,
        model::MAX_NODES,
        model::MAX_LEAVES,
        model::MAX_DEPTH,
        model::LEAF,
        graph::MAX_STEPS,
        graph::MAX_DIMS,
        graph::MAX_REQUEST,
        graph::MAX_COLUMNS,
        graph::MAX_LIST_COLUMNS,
        graph::MAX_CONSTANTS,
        graph::MAX_WORK,
        graph::PANEL,
        graph::MAX_BYTE_INPUTS,
        graph::INPUT_MOST,
        model::MISSING_LEFT,
        campaign::TAG,
        campaign::MAX_BUDGETS,
        campaign::MAX_OPS,
        campaign::MAX_DEPTH,
        campaign::MAX_CAPS,
        campaign::MIN_EPOCH_S,
        campaign::DAY_MIN,
        explore::TAG,
        explore::LEN,
        policy::TAG,
        policy::MAX_SLATE,
        policy::MAX_RULES,
        terms::TAG,
        terms::MAX_CAMPAIGNS,
        terms::MAX_OFFERS,
        terms::MAX_FUNDERS,
        terms::MAX_TIERS,
        terms::MAX_TESTS,
        terms::MAX_VALUES,
        terms::MAX_NAME,
        terms::MAX_TEXT,
        terms::MAX_MINOR,
        terms::MAX_LINES,
        terms::SHARE,
        terms::MAX_LIFE_S,
        shared::META_TAG,
        shared::ITEMS_TAG,
        shared::FIELD_TAG,
        shared::TABLE_TAG,
        shared::VERSION,
        state::VERSION,
        state::PROFILE,
        state::TABLE,
        state::HISTORY,
        state::FIRST_OPAQUE,
        state::MAX_PARTS,
        state::MAX_PROFILE,
        state::MAX_CELLS,
        message::FRAME_LEN,
        message::MAX_BLOCKS,
        message::FLAG_REQUIRED,
        request::KIND.version,
        request::KIND.fixed_len,
        request::MAX_TIME_MS,
        request::IDS,
        request::HEAP,
        request::STATE,
        request::PINS,
        request::EXCLUDE,
        request::COLUMN,
        request::OFFER,
        request::OFFER_LEN,
        request::OFFER_DRAWN,
        request::NO_PRICE,
        request::MAX_BUDGETS,
        request::MAX_COUNTS,
        decision::KIND.version,
        decision::KIND.fixed_len,
        decision::NO_FEATURE,
        decision::CANONICAL_NAN,
        decision::rule::PINNED,
        decision::rule::DIVERSITY,
        decision::rule::AT_MOST,
        decision::rule::EXPLORED,
        decision::OFFER,
        decision::OFFER_LEN,
        decision::ARM_LEN,
        decision::arm::NO_BUDGET,
        decision::arm::MARGIN_FLOOR,
        delta::VERSION,
        delta::HEADER_LEN,
        delta::COPY,
        delta::INSERT,
        delta::ADD,
        head::VERSION,
        head::HEADER_LEN,
        head::SIGNED_HEADER_LEN,
        head::MAX_LEN,
        head::MAX_CHANNEL,
        head::MAX_PRICES,
        head::MAX_BUDGET,
        head::SHARE,
        record::VERSION,
        record::HEADER_LEN,
        record::FULL,
        record::DIGEST,
        record::OUTCOME,
        record::DIGEST_LEN,
        record::OUTCOME_LEN,
    ])
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format")
}

fn pages() -> BTreeMap<String, String> {
    let page = |path: PathBuf| (path.file_name().unwrap().display().to_string(), fs::read_to_string(path).unwrap());
    fs::read_dir(directory()).unwrap().map(|entry| page(entry.unwrap().path())).collect()
}

/// The cells of all rows of all tables of a page.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines().filter_map(|line| {
        let row = line.strip_prefix("| ")?.strip_suffix('|')?;
        Some(row.split('|').map(str::trim).collect())
    })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

#[test]
fn the_pages_quote_every_constant_and_the_value_in_force() {
    let constants = constants();
    let mut quoted = BTreeSet::new();
    for (name, page) in pages() {
        for row in rows(&page) {
            let Some(constant) = row.first().and_then(|cell| code(cell)).filter(|cell| cell.contains("::")) else {
                continue;
            };
            let Some(value) = constants.get(constant) else {
                panic!("{name} quotes {constant}, which is not in this test's list");
            };
            assert_eq!(row.get(1).and_then(|cell| number(cell)), Some(*value), "{name} on {constant}");
            quoted.insert(constant.to_owned());
        }
    }
    let missing: Vec<_> = constants.keys().filter(|constant| !quoted.contains(**constant)).collect();
    assert!(missing.is_empty(), "no page quotes {missing:?}");
}

#[test]
fn the_table_of_error_codes_is_complete_and_in_order() {
    let pages = pages();
    let table: Vec<_> = rows(&pages["README.md"])
        .filter_map(|row| Some((number(row.first()?)?, code(row.get(1)?)?.to_owned())))
        .collect();
    let expected = ErrorCode::ALL.map(|code| (code as u64, code.name().to_owned()));
    assert_eq!(table, expected);
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_number(code as u16), Some(code));
    }
}

#[test]
fn the_table_of_decision_statuses_is_complete_and_in_order() {
    let expected = [
        DecisionStatus::Personalized,
        DecisionStatus::Degraded(DegradedReason::CostLimit),
        DecisionStatus::Control(ControlReason::Holdout),
        DecisionStatus::Fallback(FallbackReason::InvalidRequest),
        DecisionStatus::Fallback(FallbackReason::InvalidState),
        DecisionStatus::Fallback(FallbackReason::TooManyCandidates),
        DecisionStatus::Fallback(FallbackReason::CostLimit),
        DecisionStatus::Fallback(FallbackReason::NoCandidates),
        DecisionStatus::Fallback(FallbackReason::NotLoaded),
    ]
    .map(|status| line(status.codes(), status.names()));
    let pages = pages();
    let (decisions, _) = pages["decision.md"].split_once(ANSWER).unwrap();
    assert_eq!(statuses(decisions), expected);
}

#[test]
fn the_table_of_offer_statuses_is_complete_and_in_order() {
    let expected = OFFER_STATUSES.map(|status| line(status.codes(), status.names()));
    let pages = pages();
    let (_, offers) = pages["decision.md"].split_once(ANSWER).unwrap();
    assert_eq!(statuses(offers), expected);
}

/// Heading of the page's part on offers.
const ANSWER: &str = "## The answer to a question for an offer";

/// Codes and names of one status, as a table has them.
type Line = (u64, u64, String);

fn line(codes: (u16, u16), (status, reason): (&str, Option<&str>)) -> Line {
    let names = reason.map_or(status.to_owned(), |reason| format!("{status} {reason}"));
    (codes.0.into(), codes.1.into(), names)
}

/// The rows of status, reason and names.
fn statuses(page: &str) -> Vec<Line> {
    let line = |row: Vec<&str>| {
        let names = row.get(2).filter(|names| names.starts_with('`') && row.len() >= 4)?;
        Some((number(row[0])?, number(row[1])?, names.replace('`', "")))
    };
    rows(page).filter_map(line).collect()
}

#[test]
fn the_example_of_a_key_is_right() {
    let example = format!("`key(\"a\")` is `{:#x}`", selvedge_format::key(b"a"));
    assert!(pages()["README.md"].contains(&example), "{example}");
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let pages = pages();
    for (name, page) in &pages {
        for link in page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("https://") {
                continue;
            }
            let Some(target) = pages.get(if file.is_empty() { name.as_str() } else { file }) else {
                panic!("{name} links to {file}, which is not there");
            };
            let anchors = target.lines().filter_map(|line| line.strip_prefix('#')).map(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                title.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect::<String>()
            });
            assert!(anchor.is_empty() || anchors.into_iter().any(|title| title == anchor), "{name} links to {link}");
        }
    }
}
