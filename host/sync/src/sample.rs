//! A bundle for tests: a small shop, compiled as users compile theirs.

use selvedge_compile::{compile, import};
use selvedge_format::container::{Container, Kind};
use selvedge_format::program::{self, ProgramV1};
use selvedge_spec::{FeatureSpec, ModelSpec};

const FEATURES: &str = r#"version = 1
[fields.item]
price = "number"
brand = "string"
[events]
purchase = {}
view = {}
[history]
events = 8
[shared]
refresh = "1h"

[[feature]]
name = "price"
kind = "number"
field = "item.price"
default = 1.0

[[feature]]
name = "bought"
kind = "lifetime_count"
scope = "user"
event = "purchase"
by = "item"

[[feature]]
name = "sold"
kind = "decayed_count"
scope = "global"
event = "purchase"
by = "brand"
half_life = "30d"

[[feature]]
name = "position"
kind = "position"
"#;

const MODEL: &str = r#"version = 1
[model]
name = "shop"
kind = "linear"
objective = "lambdarank"
features = "features.toml"
[slate]
size = 4
"#;

/// A bundle; another number gives other weights.
pub(crate) fn bundle(number: u32) -> Vec<u8> {
    compiled(FEATURES, number)
}

fn compiled(features: &str, number: u32) -> Vec<u8> {
    let trained = format!(
        r#"{{"kind": "linear", "bias": 0.5, "weights": {{"price": -0.{number:03}, "bought": 2.0, "sold": 0.125}}}}"#
    );
    let features = FeatureSpec::parse("features.toml", features).expect("valid features");
    let model = ModelSpec::parse("model.toml", MODEL).expect("a valid model");
    let trained = import(trained.as_bytes()).expect("a valid trained model");
    compile(&features, &model, &trained).expect("a bundle").bytes
}

/// The feature program of every such bundle.
pub(crate) fn program() -> ProgramV1 {
    program_of(&bundle(1))
}

/// The same with one more counter in a table, and one more table.
pub(crate) fn wider_program() -> ProgramV1 {
    const MORE: &str = r#"
[[feature]]
name = "bought_lately"
kind = "decayed_count"
scope = "user"
event = "purchase"
by = "item"
half_life = "7d"

[[feature]]
name = "viewed"
kind = "lifetime_count"
scope = "user"
event = "view"
by = "item"
"#;
    program_of(&compiled(&format!("{FEATURES}{MORE}"), 1))
}

fn program_of(bytes: &[u8]) -> ProgramV1 {
    let container = Container::parse(bytes, Kind::Bundle).expect("a bundle");
    let section = container.find(program::TAG).expect("a program").range.clone();
    ProgramV1::decode(&bytes[section]).expect("a program")
}
