//! ONNX models of the kinds that rank compile, and score as onnxruntime does. `onnx/export.py` made them.
#![cfg(feature = "onnx")]

mod exported;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use selvedge_compile::inspect::{GraphInspection, Inspection, ModelInspection};
use selvedge_compile::{CompileErrorKind, Siblings, TrainedModel, compile, import, import_beside, inspect};
use selvedge_engine::feature::stride;
use selvedge_engine::model::ModelScratch;
use selvedge_engine::{Limits, Snapshot};
use selvedge_format::AlignedBytes;
use selvedge_spec::{FeatureSpec, ModelSpec};
use serde::Deserialize;

use exported::{Feature, declared};

/// What onnxruntime said.
#[derive(Deserialize)]
struct Expected {
    features: Vec<Feature>,
    rows: Vec<Vec<f32>>,
    scores: Vec<f32>,
    /// More requests of a reranker, whose scores are those of a list.
    #[serde(default)]
    lists: Vec<List>,
}

#[derive(Deserialize)]
struct List {
    rows: Vec<Vec<f32>>,
    scores: Vec<f32>,
}

fn fixture(name: &str) -> (Vec<u8>, Expected) {
    exported::fixture(name)
}

fn model() -> ModelSpec {
    let text = "version = 1\n[model]\nname = \"demo\"\nkind = \"graph\"\nobjective = \"logistic\"\n\
        features = \"features.toml\"\n";
    ModelSpec::parse("model.toml", text).expect("a valid declaration")
}

fn scores(bundle: &[u8], rows: &[Vec<f32>]) -> Vec<f32> {
    let snapshot = Snapshot::load(&AlignedBytes::copy_of(bundle), &Limits::default()).expect("a valid bundle");
    let stride = stride(rows.len());
    let mut matrix = vec![0.0; rows[0].len() * stride];
    for (row, values) in rows.iter().enumerate() {
        for (feature, value) in values.iter().enumerate() {
            matrix[feature * stride + row] = *value;
        }
    }
    let mut scores = vec![0.0; stride];
    snapshot.model().scores(&matrix, rows.len(), &mut ModelScratch::default(), &mut scores);
    scores.truncate(rows.len());
    scores
}

/// Files beside the fixtures.
struct Committed;

impl Siblings for Committed {
    fn read(&self, location: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let all = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx").join(location))?;
        Ok(all[offset as usize..][..length].to_vec())
    }
}

/// Compiles a fixture and compares its scores; the text of `inspect` is returned.
fn agrees(name: &str) -> String {
    let (bytes, expected) = fixture(name);
    let trained = import_beside(&bytes, None, &Committed).expect("an ONNX model");
    let bundle =
        compile(&declared(&expected.features), &model(), &trained).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(bundle.report.parity.difference.is_some_and(|difference| difference <= 1e-5));
    let lists = expected.lists.iter().map(|list| (&list.rows, &list.scores));
    for (rows, expected) in lists.chain([(&expected.rows, &expected.scores)]) {
        for (row, (score, expected)) in scores(&bundle.bytes, rows).iter().zip(expected).enumerate() {
            let difference = (score - expected).abs() / expected.abs().max(1.0);
            let of = rows.len();
            assert!(difference <= 1e-5, "{name}, row {row} of {of}: {score} where onnxruntime scores {expected}");
        }
    }
    inspect(&bundle.bytes).expect("a valid bundle").to_string()
}

macro_rules! scores_as_onnxruntime {
    ($($name:ident,)+) => {
        $(#[test]
        fn $name() {
            let filters = vec![(r"(?s).*(graph model: )", "$1"), (r"(?s)predicted cost.*(slate of)", "$1")];
            insta::with_settings!({ filters => filters }, {
                insta::assert_snapshot!(agrees(stringify!($name)));
            });
        })+
    };
}

scores_as_onnxruntime!(
    mlp,
    normalised,
    dlrm,
    deepfm,
    dcn,
    two_tower,
    mmoe,
    din,
    encoder,
    caser,
    cnn,
    dien,
    loops,
    padded,
    upsampled,
    looped,
    multi_query,
    beside,
    reranker,
    setrank,
    listwise,
);

#[test]
fn where_candidates_do_not_meet_a_score_does_not_depend_on_who_else_is_ranked() {
    for name in ["mlp", "dlrm", "din", "cnn", "dien", "loops", "upsampled", "looped"] {
        let (bytes, expected) = fixture(name);
        let trained = import(&bytes).expect("an ONNX model");
        let bundle = compile(&declared(&expected.features), &model(), &trained).expect("compiles").bytes;
        let together = scores(&bundle, &expected.rows);
        let many: Vec<Vec<f32>> = (0..5).flat_map(|_| expected.rows.clone()).collect();
        assert_eq!(scores(&bundle, &many)[80..], together[..]);
        for (row, score) in expected.rows.iter().zip(&together) {
            assert_eq!(scores(&bundle, std::slice::from_ref(row))[0].to_bits(), score.to_bits(), "{name}");
        }
    }
}

#[test]
fn the_order_of_a_list_changes_the_scores_of_a_reranker_by_rounding_alone() {
    for name in ["reranker", "setrank", "listwise"] {
        let (bytes, mut expected) = fixture(name);
        let trained = import(&bytes).expect("an ONNX model");
        let bundle = compile(&declared(&expected.features), &model(), &trained).expect("compiles").bytes;
        let together = scores(&bundle, &expected.rows);
        expected.rows.reverse();
        let turned = scores(&bundle, &expected.rows);
        for (score, turned) in together.iter().zip(turned.iter().rev()) {
            assert!((score - turned).abs() <= 1e-5 * score.abs().max(1.0), "{name}: {score} and {turned}");
        }
        // Nothing is left over from before, and without its last candidate the list is another.
        expected.rows.reverse();
        assert_eq!(scores(&bundle, &expected.rows), together, "{name}");
        expected.rows.pop();
        let others = scores(&bundle, &expected.rows);
        assert!(others.iter().zip(&together).all(|(score, before)| score != before), "{name} ranks each alone");
    }
}

#[test]
fn attention_among_candidates_is_a_step_of_its_pairs() {
    let graph = program("reranker");
    assert!(graph.is_of_list && !program("mlp").is_of_list);
    assert_eq!(number(&graph, "pair", "attend 2 heads of 8, values of 12"), 1);
    assert_eq!(number(&graph, "pair", "attend 4 heads of 4, values of 8"), 1);
    assert_eq!(graph.pair_multiply_adds, 2 * (8 + 12) + 4 * (4 + 8));
    let graph = program("listwise");
    assert_eq!((graph.pair_multiply_adds, number(&graph, "candidate", "list max [8]")), (0, 1));
}

/// The program of a fixture as `inspect` shows it.
fn program(name: &str) -> GraphInspection {
    let (bytes, expected) = fixture(name);
    let trained = import(&bytes).expect("an ONNX model");
    let bundle = compile(&declared(&expected.features), &model(), &trained).expect("compiles");
    let Inspection::Bundle(bundle) = inspect(&bundle.bytes).expect("a valid bundle") else {
        panic!("{name} is no bundle")
    };
    let Some(ModelInspection::Graph(graph)) = bundle.models.into_iter().next() else { panic!("{name} is no graph") };
    graph
}

fn number(graph: &GraphInspection, per: &str, what: &str) -> usize {
    graph.steps.iter().filter(|step| step.per == per && step.what.contains(what)).count()
}

#[test]
fn of_the_first_layer_of_target_attention_only_the_products_of_both_are_computed_per_candidate_and_place() {
    let graph = program("din");
    // Six places of eight numbers to twelve: what the history contributes, once; and the product with the item.
    assert_eq!(number(&graph, "request", "dense 6 times 8 -> 12"), 1);
    assert_eq!(number(&graph, "candidate", "dense 6 times 8 -> 12"), 1);
    assert_eq!(number(&graph, "candidate", "dense 8 -> 12"), 1, "what the item contributes, once for all places");
    let whole = 6 * 4 * 8 * 12;
    let first_layer: u64 = graph
        .steps
        .iter()
        .filter(|step| step.per == "candidate")
        .map_while(|step| (!step.what.contains("-> 1")).then_some(step.work))
        .sum();
    assert!(first_layer < whole / 2, "{first_layer} of {whole}");
}

#[test]
fn the_interests_of_a_user_are_extracted_once_for_all_candidates() {
    let graph = program("dien");
    let (interests, evolution) = (number(&graph, "request", "dense 8 -> 16, sigmoid"), 6);
    assert_eq!(interests, 6, "turns of the first GRU");
    assert_eq!(number(&graph, "candidate", "dense 8 -> 16, sigmoid"), 0);
    // The first turn of the second starts from zeros, and so is the same for all but for its attention.
    assert_eq!(number(&graph, "candidate", "dense 8 -> 8, tanh"), evolution - 1);
    assert!(graph.request_multiply_adds > graph.candidate_multiply_adds);
}

#[test]
fn values_that_are_never_needed_together_share_their_columns() {
    for name in ["dien", "encoder", "loops"] {
        let graph = program(name);
        let computed: u64 = graph
            .steps
            .iter()
            .filter(|step| step.per == "candidate" && step.what.contains("store"))
            .map(|step| step.work)
            .sum();
        let columns = graph.candidate_bytes / size_of::<f32>();
        assert!(
            columns as u64 * 2 < computed,
            "{name}: {columns} columns for {computed} values and the layers' outputs"
        );
    }
}

#[test]
fn the_documented_declaration_of_a_sequence_compiles() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/onnx.md");
    let page = fs::read_to_string(page).expect("the page");
    let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let features = FeatureSpec::parse("features.toml", example).expect("a valid declaration");
    let (bytes, expected) = fixture("recent");
    let names = features.features.iter().map(|feature| &feature.name);
    assert!(names.eq(expected.features.iter().map(|feature| &feature.name)), "the columns of its rows");
    let trained = import(&bytes).expect("an ONNX model");
    let bundle = compile(&features, &model(), &trained).expect("the declaration fits the model");
    for (score, expected) in scores(&bundle.bytes, &expected.rows).iter().zip(&expected.scores) {
        assert!((score - expected).abs() <= 1e-5, "{score} where onnxruntime scores {expected}");
    }
    // Six places of eight numbers to twelve: what the user contributes to the first layer, once.
    let Inspection::Bundle(inspected) = inspect(&bundle.bytes).expect("a valid bundle") else { panic!("no bundle") };
    let Some(ModelInspection::Graph(graph)) = inspected.models.into_iter().next() else { panic!("no graph") };
    assert_eq!(number(&graph, "request", "dense 6 times 8 -> 12"), 1);
}

#[test]
fn padding_has_no_weight() {
    let (bytes, expected) = fixture("padded");
    let trained = import(&bytes).expect("an ONNX model");
    let bundle = compile(&declared(&expected.features), &model(), &trained).expect("it compiles");
    // Whatever is declared for no item, four of it score as one.
    let row = |ids: [f32; 5]| scores(&bundle.bytes, &[ids.to_vec()])[0];
    assert_eq!(row([3.0, 0.0, 0.0, 0.0, 7.0]), row([0.0, 0.0, 3.0, 0.0, 7.0]));
    assert_ne!(row([3.0, 0.0, 0.0, 0.0, 7.0]), row([4.0, 0.0, 0.0, 0.0, 7.0]));
    assert!(row([0.0; 5]).is_finite(), "a user without a history");
}

#[test]
fn what_cannot_be_bound_is_named() {
    let (bytes, expected) = fixture("dlrm");
    let trained = import(&bytes).expect("an ONNX model");
    let error = compile(&declared(&expected.features[1..]), &model(), &trained).expect_err("a feature is missing");
    assert_eq!(error.kind(), CompileErrorKind::UnknownFeature);
    assert_eq!(error.place(), "graph.input.dense");
    let (bytes, expected) = fixture("mlp");
    let trained = import(&bytes).expect("an ONNX model");
    let error = compile(&declared(&expected.features[1..]), &model(), &trained).expect_err("a feature is missing");
    assert_eq!(error.kind(), CompileErrorKind::FeatureCount);
}

#[test]
fn what_cannot_be_compiled_is_refused_by_name() {
    let feature = |at: usize| Feature { name: format!("f{at}"), shared: false };
    let (features, model) = (declared(&[feature(0), feature(1), feature(2)]), model());
    let mut text = String::new();
    for name in [
        "cyclic",
        "external",
        "overflowing",
        "not_a_number",
        "shapes",
        "unknown_operator",
        "unsupported_operator",
        "across_candidates",
        "pairs_of_candidates",
        "two_numbers",
        "long_loop",
        "open_loop",
        "ending_loop",
        "endless_loop",
        "grouped_heads",
        "cut_away",
        "wide_window",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/onnx/refused_{name}.onnx"));
        let bytes = fs::read(path).expect("a committed model");
        let error = import(&bytes).and_then(|trained| compile(&features, &model, &trained)).expect_err(name);
        writeln!(text, "{name}: {}\n  {error}\n  help: {}\n", error.kind().code(), error.hint()).expect("a string");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_damaged_file_is_refused_and_never_panics() {
    let (bytes, expected) = fixture("mlp");
    let (features, model) = (declared(&expected.features), model());
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(61) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x11;
        damaged.truncate(if at % 2 == 0 { bytes.len() } else { at });
        let compiled = import(&damaged).and_then(|trained: TrainedModel| compile(&features, &model, &trained));
        refused += usize::from(compiled.is_err());
    }
    assert!(refused > 0, "at least the files cut short");
}
