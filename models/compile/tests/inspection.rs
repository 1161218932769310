//! What `inspect` shows of ensembles and shared states.

mod declared;

use selvedge_compile::inspect::ModelInspection;
use selvedge_compile::{Inspection, compile, import, inspect};
use selvedge_format::program::{Decay, Measure, Scope, column_id, field_id, table_id};
use selvedge_format::shared::{FieldValues, SharedParts, TableParts};

#[test]
fn an_ensemble_is_counted() {
    let trained = import(include_bytes!("../fixtures/binary.json")).expect("a fixture");
    let names = ["price", "rank", "spend", "recency", "share"].map(str::to_owned);
    let bundle = compile(&declared::features(&names), &declared::model(""), &trained).expect("it compiles");
    let Inspection::Bundle(shown) = inspect(&bundle.bytes).expect("a bundle") else { panic!("not a bundle") };
    let ModelInspection::Trees { trees, leaves, most_leaves, depth, splits, link, .. } = &shown.models[0] else {
        panic!("not trees")
    };
    assert_eq!((*trees, *depth, *link), (24, 4, "logistic"));
    assert!(*most_leaves <= 16);
    assert_eq!(splits.iter().map(|entry| entry.splits).sum::<usize>(), leaves - trees);
    assert!(splits.windows(2).all(|pair| pair[0].splits >= pair[1].splits));
    let report = &bundle.report;
    for entry in splits {
        let used = report.features.iter().find(|feature| feature.name == entry.feature).expect("declared");
        assert_eq!(used.splits, entry.splits);
        assert!(used.gain > 0.0);
    }
    assert_eq!(shown.sections, report.sections);
    assert_eq!(shown.id.len(), 64);
}

#[test]
fn a_shared_state_is_shown() {
    let decay = Decay::HalfLife { half_life_s: 2_592_000 };
    let bytes = SharedParts {
        as_of_ms: 1_700_000_000_000,
        items: vec![1, 2, 3],
        fields: vec![(field_id(Scope::Item, "price"), FieldValues::Number(vec![1.0, f32::NAN, 3.0]))],
        tables: vec![TableParts {
            id: table_id("global", "view", "item"),
            columns: vec![(column_id(Measure::Count, decay), decay)],
            keys: vec![2],
            last: vec![1_600_000_000],
            values: vec![vec![1.5]],
            total_last: 1_600_000_000,
            totals: vec![1.5],
        }],
    }
    .encode();
    let shown = inspect(&bytes).expect("a shared state");
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!("shared", shown.to_string()) });
    let json = serde_json::to_value(&shown).expect("plain values");
    assert_eq!((&json["kind"], &json["items"]), (&"shared_state".into(), &3.into()));
}
