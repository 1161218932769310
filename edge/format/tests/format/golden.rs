//! Golden files: the bytes of every released version stay readable, and the writer of today writes them to the byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use selvedge_format::container::{self, verify_id};
use selvedge_format::graph::Graph;
use selvedge_format::{decision, delta, head, model, record, request, state};

use crate::content::{Bundle, Content, Decision, Delta, Head, Log, Request, Shared, State, text};
use crate::sample;

/// Versions that were released, oldest first. A version is added when its golden file is, and never removed.
const RELEASED: [(&str, &[u16]); 8] = [
    (Bundle::NAME, &[1]),
    (Shared::NAME, &[1]),
    (State::NAME, &[1]),
    (Request::NAME, &[1]),
    (Decision::NAME, &[1]),
    (Log::NAME, &[1]),
    (Head::NAME, &[1]),
    (Delta::NAME, &[1]),
];

/// Versions that are written today.
const CURRENT: [(&str, u16); 8] = [
    (Bundle::NAME, container::VERSION),
    (Shared::NAME, container::VERSION),
    (State::NAME, state::VERSION),
    (Request::NAME, request::KIND.version),
    (Decision::NAME, decision::KIND.version),
    (Log::NAME, record::VERSION),
    (Head::NAME, head::VERSION),
    (Delta::NAME, delta::VERSION),
];

/// Contents with what came to a version after its first release, in sections and blocks of their own. The golden file of
/// the first release stays as it is; these lie beside it.
const ADDED: [(&str, u16, &str); 7] = [
    (Bundle::NAME, 1, "offers"),
    (Request::NAME, 1, "offer"),
    (Decision::NAME, 1, "offer"),
    (Bundle::NAME, 1, DOUBLES),
    (Bundle::NAME, 1, CASCADE),
    (Decision::NAME, 1, CASCADE),
    (Bundle::NAME, 1, SEQUENCE),
];

/// What came to bundles after offers: models whose leaves are `f64`.
const DOUBLES: &str = "doubles";

/// What came after that: several stages, and decisions without the last of them.
const CASCADE: &str = "cascade";

/// What came after that: items as numbers, the candidate's and those of recent events.
const SEQUENCE: &str = "sequence";

/// A section that a bundle may have and the golden bundle has not, in a file of its own.
const GRAPH: &str = "graph";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn path(name: &str, version: u16) -> PathBuf {
    directory().join(format!("v{version}/{name}.bin"))
}

fn path_of_added(name: &str, version: u16, what: &str) -> PathBuf {
    path(&format!("{name}-{what}"), version)
}

fn path_of_current<C: Content>() -> PathBuf {
    let (_, version) = CURRENT.into_iter().find(|(name, _)| *name == C::NAME).unwrap();
    path(C::NAME, version)
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The golden bytes of the current version of a format.
pub(crate) fn current<C: Content>() -> Vec<u8> {
    bytes(&path_of_current::<C>())
}

/// The golden bytes of a format with what came to it later.
pub(crate) fn added<C: Content>() -> Vec<u8> {
    let (name, version, what) = ADDED.into_iter().find(|(name, ..)| *name == C::NAME).unwrap();
    bytes(&path_of_added(name, version, what))
}

fn is_written_to_the_byte<C: Content>(content: &C) {
    is_written_to(&path_of_current::<C>(), content);
}

fn is_written_to<C: Content>(path: &Path, content: &C) {
    let written = content.encode();
    if std::env::var_os("SELVEDGE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &written).unwrap();
    }
    let golden = bytes(path);
    let differs = golden.iter().zip(&written).position(|(golden, written)| golden != written);
    assert!(
        golden == written,
        "{}: {} golden bytes, {} written, the first difference is at {differs:?}. A released layout never changes: \
         add a version. Before a release, bless with SELVEDGE_BLESS=1",
        C::NAME,
        golden.len(),
        written.len(),
    );
    let read = C::decode(&golden).unwrap_or_else(|error| panic!("{}: {error}", C::NAME));
    assert_eq!(text(&read), text(content), "{}: the golden file is read as something else", C::NAME);
}

#[test]
fn the_golden_bundle_is_what_is_written_and_read() {
    is_written_to_the_byte::<Bundle>(&sample::bundle());
    verify_id(&current::<Bundle>()).unwrap();
}

#[test]
fn the_golden_shared_state_is_what_is_written_and_read() {
    is_written_to_the_byte::<Shared>(&sample::shared());
    verify_id(&current::<Shared>()).unwrap();
}

#[test]
fn the_golden_user_state_is_what_is_written_and_read() {
    is_written_to_the_byte::<State>(&sample::state());
}

#[test]
fn the_golden_request_is_what_is_written_and_read() {
    is_written_to_the_byte::<Request>(&sample::request());
}

#[test]
fn the_golden_decision_is_what_is_written_and_read() {
    is_written_to_the_byte::<Decision>(&sample::decision());
}

#[test]
fn the_golden_record_is_what_is_written_and_read() {
    is_written_to_the_byte::<Log>(&sample::log());
}

#[test]
fn the_golden_head_is_what_is_written_and_read() {
    is_written_to_the_byte::<Head>(&sample::head());
}

#[test]
fn the_golden_delta_makes_its_target() {
    is_written_to_the_byte::<Delta>(&sample::delta());
    let delta = current::<Delta>();
    let target = delta::apply(&delta, &sample::bundle().encode(), 1 << 20).unwrap();
    assert_eq!(verify_id(&target).unwrap(), delta::header(&delta).unwrap().target);
}

#[test]
fn what_was_added_to_a_version_is_written_and_read() {
    fn is_written<C: Content>(content: &C) {
        let (name, version, what) = ADDED.into_iter().find(|(name, ..)| *name == C::NAME).unwrap();
        is_written_to(&path_of_added(name, version, what), content);
    }
    is_written::<Bundle>(&sample::bundle_with_offers());
    is_written_to(&path_of_added(Bundle::NAME, 1, DOUBLES), &sample::bundle_with_doubles());
    is_written_to(&path_of_added(Bundle::NAME, 1, CASCADE), &sample::bundle_with_a_cascade());
    is_written_to(&path_of_added(Decision::NAME, 1, CASCADE), &sample::degraded_decision());
    is_written_to(&path_of_added(Bundle::NAME, 1, SEQUENCE), &sample::bundle_with_a_sequence());
    is_written::<Request>(&sample::request_for_an_offer());
    is_written::<Decision>(&sample::decision_with_an_offer());
}

#[test]
fn the_golden_graph_is_what_is_written_and_read() {
    let path = path(GRAPH, model::WEIGHTS_VERSION);
    let written = sample::graph();
    if std::env::var_os("SELVEDGE_BLESS").is_some() {
        fs::write(&path, &written).unwrap();
    }
    assert_eq!(bytes(&path), written, "a released layout never changes: add a kind of model");
    let read = Graph::parse(&written, sample::GRAPH_FEATURES).unwrap();
    let constants: Vec<f32> = read.constants.iter().collect();
    let (request, columns, score) = (read.request as u32, read.columns as u32, read.score as u32);
    let again = Graph::encode(request, columns, score, &read.steps, &constants, read.bytes);
    assert_eq!(again, written);
}

#[test]
fn every_released_version_has_a_golden_file_that_is_read() {
    fn is_read<C: Content>(version: u16) {
        let path = path(C::NAME, version);
        if let Err(error) = C::decode(&bytes(&path)) {
            panic!("{}: {error}", path.display());
        }
    }
    for (name, versions) in RELEASED {
        for version in versions {
            match name {
                Bundle::NAME => is_read::<Bundle>(*version),
                Shared::NAME => is_read::<Shared>(*version),
                State::NAME => is_read::<State>(*version),
                Request::NAME => is_read::<Request>(*version),
                Decision::NAME => is_read::<Decision>(*version),
                Log::NAME => is_read::<Log>(*version),
                Head::NAME => is_read::<Head>(*version),
                Delta::NAME => is_read::<Delta>(*version),
                _ => panic!("{name}: no reader in this test"),
            }
        }
    }
}

#[test]
fn the_version_that_is_written_is_the_newest_released() {
    let newest = RELEASED.map(|(name, versions)| (name, *versions.last().unwrap()));
    assert_eq!(newest, CURRENT);
}

#[test]
fn no_golden_file_is_out_of_use() {
    let released = RELEASED.iter().flat_map(|(name, versions)| versions.iter().map(|version| path(name, *version)));
    let added = ADDED.iter().map(|(name, version, what)| path_of_added(name, *version, what));
    let graph = path(GRAPH, model::WEIGHTS_VERSION);
    let used: BTreeSet<_> = released.chain(added).chain([graph]).collect();
    let there: BTreeSet<_> = fs::read_dir(directory())
        .unwrap()
        .flat_map(|version| fs::read_dir(version.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(there, used);
}
