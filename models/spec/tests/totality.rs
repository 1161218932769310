//! Whatever the text, parsing answers and its answer can be shown.

mod shown;

use proptest::prelude::*;
use selvedge_spec::{FeatureSpec, ModelSpec, SpecError};

const MODEL: &str = r#"version = 1
[model]
name = "flyer"
kind = "trees"
objective = "lambdarank"
features = "features.toml"
[train]
rounds = 120
eta = 0.05
[slate]
size = 20
[[slate.at_most]]
field = "brand"
max = 3
[[slate.exclude]]
field = "brand"
value = "acme"
[slate.diversity]
lambda = 0.9
similarity = { department = 1.0 }
"#;

/// The committed reference holds an example of every kind: its code blocks make one valid declaration.
fn every_kind() -> String {
    let reference = selvedge_spec::reference_markdown();
    let examples = reference.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    examples.map(|(example, _)| example).collect()
}

fn show(error: &SpecError) {
    assert!(!error.problems().is_empty(), "refused without a reason");
    // Every span lies within the text, or it panics.
    let _ = shown::render(error);
}

fn parse_both(text: &str) {
    FeatureSpec::parse("features.toml", text).as_ref().map_or_else(show, |_| ());
    ModelSpec::parse("model.toml", text).as_ref().map_or_else(show, |_| ());
}

/// Cuts `text` at a boundary of characters near `at`.
fn boundary(text: &str, at: prop::sample::Index) -> usize {
    text.floor_char_boundary(at.index(text.len() + 1))
}

#[test]
fn the_examples_of_the_reference_are_one_valid_declaration() {
    FeatureSpec::parse("features.md", &every_kind()).expect("valid together");
    ModelSpec::parse("model.toml", MODEL).expect("valid");
}

proptest! {
    #[test]
    fn arbitrary_text_is_answered(text in any::<String>()) {
        parse_both(&text);
    }

    #[test]
    fn arbitrary_toml_like_text_is_answered(text in "([a-z]{1,8}(\\.[a-z]{1,4})? = [\\[\\]{}\"0-9a-z=,. -]{0,12}\n|\\[{1,2}[a-z.]{1,12}\\]{1,2}\n){0,20}") {
        parse_both(&text);
    }

    #[test]
    fn a_valid_declaration_with_a_piece_replaced_is_answered(
        from: prop::sample::Index,
        to: prop::sample::Index,
        piece in prop_oneof![any::<String>(), "[a-z0-9_=\"\\[\\]{}.,\n -]{0,12}"],
    ) {
        for valid in [every_kind(), MODEL.to_owned()] {
            let (from, to) = (boundary(&valid, from), boundary(&valid, to));
            let (from, to) = (from.min(to), from.max(to));
            // A short cut keeps most of the declaration, a long one reaches the ends.
            let end = valid.floor_char_boundary(to.min(from + 24));
            parse_both(&format!("{}{piece}{}", &valid[..from], &valid[end..]));
        }
    }

    #[test]
    fn a_valid_declaration_without_one_line_is_answered(line: prop::sample::Index) {
        for valid in [every_kind(), MODEL.to_owned()] {
            let lines: Vec<_> = valid.lines().collect();
            let dropped = line.index(lines.len());
            let rest: Vec<_> = lines.iter().enumerate().filter(|(index, _)| *index != dropped).map(|(_, line)| *line).collect();
            parse_both(&rest.join("\n"));
        }
    }

    #[test]
    fn a_valid_declaration_with_one_value_exchanged_is_answered(
        line: prop::sample::Index,
        value in prop_oneof![Just("true"), Just("-1"), Just("1e300"), Just("nan"), Just("[]"), Just("{}"), Just("\"\""), Just("[[1], \"a\"]"), Just("1979-05-27")],
    ) {
        for valid in [every_kind(), MODEL.to_owned()] {
            let settings: Vec<_> = valid.lines().enumerate().filter(|(_, line)| line.contains(" = ")).collect();
            let (chosen, _) = settings[line.index(settings.len())];
            let exchanged: Vec<_> = valid.lines().enumerate().map(|(index, line)| match line.split_once(" = ") {
                Some((key, _)) if index == chosen => format!("{key} = {value}"),
                _ => line.to_owned(),
            }).collect();
            parse_both(&exchanged.join("\n"));
        }
    }
}
