//! The networks that `onnx/export.py` made, and declarations for them.

use std::fs;
use std::path::Path;

use selvedge_spec::FeatureSpec;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An input of a network.
#[derive(Deserialize)]
pub(crate) struct Feature {
    /// Name of the feature.
    pub(crate) name: String,
    /// The same for all candidates.
    pub(crate) shared: bool,
}

/// A network, and what `T` reads of what came with it.
pub(crate) fn fixture<T: DeserializeOwned>(name: &str) -> (Vec<u8>, T) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx");
    let bytes = fs::read(path.join(format!("{name}.onnx"))).expect("a committed model");
    let text = fs::read(path.join(format!("{name}.json"))).expect("its rows");
    (bytes, serde_json::from_slice(&text).expect("valid JSON"))
}

/// Numbers of the context where they are shared, of items otherwise, in order.
pub(crate) fn declared(features: &[Feature]) -> FeatureSpec {
    let scope = |feature: &Feature| if feature.shared { "context" } else { "item" };
    let fields = |of: &str| -> String {
        let of_scope = features.iter().filter(|feature| scope(feature) == of);
        let lines: String = of_scope.map(|feature| format!("{} = \"number\"\n", feature.name)).collect();
        format!("[fields.{of}]\n{lines}")
    };
    let each = features.iter().map(|feature| {
        let (name, scope) = (&feature.name, scope(feature));
        format!("[[feature]]\nname = \"{name}\"\nkind = \"number\"\nfield = \"{scope}.{name}\"\n")
    });
    let text = format!("version = 1\n{}{}{}", fields("item"), fields("context"), each.collect::<String>());
    FeatureSpec::parse("features.toml", &text).expect("a valid declaration")
}
