//! A bundle for tests: a small shop, compiled as users compile theirs.

use selvedge_compile::{compile, import};
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
    let trained = format!(
        r#"{{"kind": "linear", "bias": 0.5, "weights": {{"price": -0.{number:03}, "bought": 2.0, "sold": 0.125}}}}"#
    );
    let features = FeatureSpec::parse("features.toml", FEATURES).expect("valid features");
    let model = ModelSpec::parse("model.toml", MODEL).expect("a valid model");
    let trained = import(trained.as_bytes()).expect("a valid trained model");
    compile(&features, &model, &trained).expect("a bundle").bytes
}
