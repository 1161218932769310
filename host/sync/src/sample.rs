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

const OFFERING: &str = r#"
[fields.user]
tier = "string"
visits = "number"

[[feature]]
name = "visits"
kind = "number"
field = "user.visits"
"#;

/// Offers of five and ten euros, paid by two budgets; who is held out or explored is up to `control`.
pub(crate) fn campaigns(control: &str) -> String {
    format!(
        r#"version = 1
currency = "EUR"
[budgets.shop]
total = 100_000
highest_price = 3.0
[budgets.brand]
total = 100_000
highest_price = 3.0
[[campaign]]
name = "spring"
response = "response.json"
from = 2020-01-01T00:00:00Z
until = 2100-01-01T00:00:00Z
eligible = 'not user.tier == "staff"'
margin = 4000
funders = {{ shop = 0.6, brand = 0.4 }}
{control}
[[campaign.offer]]
name = "five_off"
amount = 500
min_spend = 2000
life = "1d"
ladder = "cash"
[[campaign.offer]]
name = "ten_off"
amount = 1000
min_spend = 2000
life = "1d"
ladder = "cash"
"#
    )
}

/// A bundle whose users hardly buy without an offer, buy with five euros off, and hardly more with ten.
pub(crate) fn bundle_with_campaigns(control: &str) -> Vec<u8> {
    use selvedge_compile::{TrainedResponse, compile_with_campaigns};
    use selvedge_spec::CampaignSpec;

    let features =
        FEATURES.replace("[[feature]]\nname = \"price\"", &format!("{OFFERING}[[feature]]\nname = \"price\""));
    let features = FeatureSpec::parse("features.toml", &features).expect("valid features");
    let model = ModelSpec::parse("model.toml", MODEL).expect("a valid model");
    let trained = import(br#"{"kind": "linear", "bias": 0, "weights": {"price": -1}}"#).expect("a valid trained model");
    let arm = |offer: &str, bias: f32| {
        format!(
            r#"{{"offer": "{offer}", "scale": 1, "shift": 0, "error": 0.01,
                "model": {{"kind": "linear", "bias": {bias}, "weights": {{"visits": 0.1}}}}}}"#
        )
    };
    let arms = [arm("none", -4.0), arm("five_off", 0.0), arm("ten_off", 0.1)].join(",");
    let response = format!(r#"{{"kind": "response", "arms": [{arms}]}}"#);
    let response = TrainedResponse::import(response.as_bytes()).expect("a valid response model");
    let campaigns = CampaignSpec::parse("campaign.toml", &campaigns(control)).expect("valid campaigns");
    campaigns.check(&features).expect("what campaigns read is declared");
    let responses = [("response.json".to_owned(), response)].into();
    compile_with_campaigns(&features, &model, &trained, &campaigns, &responses).expect("a bundle").bytes
}
