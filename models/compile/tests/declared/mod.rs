//! Small declarations to compile with.

use selvedge_spec::{FeatureSpec, ModelSpec};

/// One number feature per name, in order.
pub(crate) fn features(names: &[String]) -> FeatureSpec {
    let fields: String = names.iter().map(|name| format!("{name} = \"number\"\n")).collect();
    let features: String = names
        .iter()
        .map(|name| format!("[[feature]]\nname = \"{name}\"\nkind = \"number\"\nfield = \"item.{name}\"\n"))
        .collect();
    let text = format!("version = 1\n[fields.item]\nbrand = \"string\"\n{fields}{features}");
    FeatureSpec::parse("features.toml", &text).expect("a valid declaration")
}

/// A model with these slate rules.
pub(crate) fn model(slate: &str) -> ModelSpec {
    let text = format!(
        "version = 1\n[model]\nname = \"demo\"\nkind = \"trees\"\nobjective = \"lambdarank\"\n\
         features = \"features.toml\"\n{slate}"
    );
    ModelSpec::parse("model.toml", &text).expect("a valid declaration")
}
