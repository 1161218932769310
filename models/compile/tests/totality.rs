//! No model file, however wrong, makes the importer panic; what it accepts can be compiled.

mod declared;

use proptest::collection::vec;
use proptest::prelude::*;
use selvedge_compile::{TrainedModel, compile, import, inspect};
use serde_json::{Value, json};

const STUMPS: &[u8] = include_bytes!("../fixtures/stumps.json");

/// Models of every other importer, the texts first.
const OTHERS: [&[u8]; 8] = [
    include_bytes!("../fixtures/lgb_sets.txt"),
    include_bytes!("../fixtures/cat_leafwise.json"),
    include_bytes!("../fixtures/cat_max.json"),
    include_bytes!("../fixtures/xgb_sets.ubj"),
    include_bytes!("../fixtures/onnx_scaled.onnx"),
    include_bytes!("../fixtures/onnx_v5.onnx"),
    include_bytes!("../fixtures/onnx_doubles.onnx"),
    include_bytes!("../fixtures/pipe_columns.onnx"),
];

/// Imports, and where that succeeds compiles, which compares every score with the engine's.
fn import_and_compile(bytes: &[u8]) {
    let Ok(trained) = import(bytes) else { return };
    let TrainedModel::Trees(ensemble) = &trained else { return };
    let names: Vec<_> = match ensemble.names() {
        Some(names) if names.iter().any(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase())) => {
            return;
        }
        Some(names) => names.to_vec(),
        None => (0..ensemble.features()).map(|index| format!("f{index}")).collect(),
    };
    if names.len() > 40 {
        return;
    }
    if let Err(error) = compile(&declared::features(&names), &declared::model(""), &trained) {
        panic!("an imported model does not compile: {error}");
    }
}

/// Left and right child, feature, threshold, way of missing values, sum of second derivatives.
type Node = (i64, i64, u64, f32, u8, f32);

/// A tree as a list of nodes with arbitrary, mostly plausible links.
fn tree() -> impl Strategy<Value = Value> {
    let node =
        (-1..8_i64, -1..8_i64, 0..4_u64, any::<f32>().prop_filter("finite", |x| x.is_finite()), 0..2_u8, 0.0..9.0_f32);
    vec(node, 1..8).prop_map(|nodes| {
        let column = |get: &dyn Fn(&Node) -> Value| nodes.iter().map(get).collect::<Vec<_>>();
        json!({
            "left_children": column(&|node| json!(node.0)),
            "right_children": column(&|node| json!(node.1)),
            "split_indices": column(&|node| json!(node.2)),
            "split_conditions": column(&|node| json!(node.3)),
            "default_left": column(&|node| json!(node.4)),
            "sum_hessian": column(&|node| json!(node.5)),
        })
    })
}

/// A tree that is one: node k of a complete binary tree of `depth` levels, with arbitrary contents.
fn complete_tree() -> impl Strategy<Value = Value> {
    let contents = (0..4_u64, -2.0..2.0_f32, any::<bool>());
    (0..6_u32).prop_flat_map(move |depth| vec(contents.clone(), (1 << (depth + 1)) - 1)).prop_map(|nodes| {
        let inner = nodes.len() / 2;
        let child = |side: usize| (0..nodes.len()).map(move |at| if at < inner { (2 * at + side) as i64 } else { -1 });
        json!({
            "left_children": child(1).collect::<Vec<_>>(),
            "right_children": child(2).collect::<Vec<_>>(),
            "split_indices": nodes.iter().map(|node| node.0).collect::<Vec<_>>(),
            // Few distinct thresholds, so that trees share them.
            "split_conditions": nodes.iter().map(|node| (node.1 * 8.0).round() / 8.0).collect::<Vec<_>>(),
            "default_left": nodes.iter().map(|node| node.2).collect::<Vec<_>>(),
        })
    })
}

fn model(trees: &[Value]) -> Vec<u8> {
    let learner = json!({
        "gradient_booster": {"name": "gbtree", "model": {"trees": trees}},
        "learner_model_param": {"base_score": "5E-1", "num_feature": "4"},
        "objective": {"name": "rank:ndcg"},
    });
    json!({ "learner": learner }).to_string().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        import_and_compile(&bytes);
        prop_assert!(inspect(&bytes).is_err());
    }

    #[test]
    fn a_model_with_changed_bytes_is_answered(changes in vec((0..STUMPS.len(), any::<u8>()), 1..4)) {
        let mut bytes = STUMPS.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        import_and_compile(&bytes);
    }

    #[test]
    fn a_model_with_changed_digits_is_answered(changes in vec((0..STUMPS.len(), b'0'..=b'9'), 1..40)) {
        let mut bytes = STUMPS.to_vec();
        for (at, digit) in changes {
            if bytes[at].is_ascii_digit() {
                bytes[at] = digit;
            }
        }
        import_and_compile(&bytes);
    }

    #[test]
    fn a_model_cut_and_joined_is_answered(from in 0..STUMPS.len(), to in 0..STUMPS.len()) {
        import_and_compile(&[&STUMPS[..from], &STUMPS[to..]].concat());
    }

    #[test]
    fn a_model_of_any_library_with_changed_bytes_is_answered(
        which in 0..OTHERS.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in prop_oneof![4 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
    ) {
        let mut bytes = OTHERS[which].to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        import_and_compile(&bytes);
    }

    #[test]
    fn a_text_with_changed_digits_is_answered(
        which in 0..2_usize,
        changes in vec((any::<prop::sample::Index>(), b'0'..=b'9'), 1..40),
    ) {
        let mut bytes = OTHERS[which].to_vec();
        for (at, digit) in changes {
            let at = at.index(bytes.len());
            if bytes[at].is_ascii_digit() {
                bytes[at] = digit;
            }
        }
        import_and_compile(&bytes);
    }

    #[test]
    fn nodes_linked_at_random_are_answered(trees in vec(tree(), 0..4)) {
        import_and_compile(&model(&trees));
    }

    #[test]
    fn random_trees_score_alike_in_reference_and_engine(trees in vec(complete_tree(), 1..12)) {
        let bytes = model(&trees);
        prop_assert!(import(&bytes).is_ok());
        import_and_compile(&bytes);
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion_to_the_bottom() {
    let deep = format!("{{\"learner\": {}", "[".repeat(1 << 20));
    assert!(import(deep.as_bytes()).is_err());
}

#[test]
fn a_chain_deeper_than_the_engine_follows_is_refused() {
    let inner = 100;
    let left: Vec<i64> = (0..=2 * inner).map(|at| if at % 2 == 0 && at < 2 * inner { at + 1 } else { -1 }).collect();
    let right: Vec<i64> = left.iter().map(|child| if *child < 0 { -1 } else { child + 1 }).collect();
    let zeros = vec![0; left.len()];
    let tree = json!({"left_children": left, "right_children": right, "split_indices": zeros,
        "split_conditions": zeros, "default_left": zeros});
    let error = import(&model(&[tree])).expect_err("too deep");
    assert_eq!(error.to_string(), "learner.gradient_booster.model.trees[0]: a bundle holds at most 64 levels");
}
