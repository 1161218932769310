//! A shop small enough to read: five products, two customers' worth of events, a linear model, and the files that the
//! commands take, in a directory that goes with the test.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use selvedge_compile::{compile, import};
use selvedge_engine::state::{Event, GlobalCounters, ItemKeys, UserState};
use selvedge_format::program::{FieldType, ProgramV1, Scope, field_id};
use selvedge_format::shared::{FieldValues, SharedParts, SharedState};
use selvedge_format::{AlignedBytes, key};
use selvedge_spec::{FeatureSpec, ModelSpec};
use tempfile::TempDir;

pub(crate) const FEATURES: &str = r#"version = 1
[fields.item]
price = "number"
brand = "string"
[fields.context]
query = "tokens"
[events]
purchase = { doc = "a line of a basket" }
[history]
events = 8

[[feature]]
name = "price"
kind = "number"
field = "item.price"
default = 1.0
doc = "what it costs"

[[feature]]
name = "bought"
kind = "lifetime_count"
scope = "user"
event = "purchase"
by = "item"
doc = "how often the user bought it"

[[feature]]
name = "sold"
kind = "decayed_count"
scope = "global"
event = "purchase"
by = "brand"
half_life = "30d"
transform = ["log1p"]

[[feature]]
name = "position"
kind = "position"
"#;

pub(crate) const MODEL: &str = r#"version = 1
[model]
name = "shop"
kind = "linear"
objective = "lambdarank"
features = "features.toml"
[slate]
size = 4
[[slate.at_most]]
field = "brand"
max = 2
"#;

pub(crate) const TRAINED: &str =
    r#"{"kind": "linear", "bias": 0.5, "weights": {"price": -0.25, "bought": 2.0, "sold": 0.125}}"#;

/// 2026-11-23, the time of every request.
const NOW_MS: i64 = 1_795_392_000_000;
const DAY_MS: i64 = 86_400_000;

/// Product, brand, days ago that it was bought by our user, times that others bought it yesterday.
const PRODUCTS: [(&str, &str, &[i64], usize); 5] = [
    ("apple", "orchard", &[3, 10], 4),
    ("bread", "mill", &[], 9),
    ("cider", "orchard", &[20], 1),
    ("dates", "palm", &[], 0),
    ("eggs", "farm", &[1], 2),
];

pub(crate) const REQUEST: &str = r#"{
  "request_id": "00112233445566778899aabbccddeeff",
  "time": "2026-11-23T00:00:00Z",
  "candidates": [
    {"id": "bread", "price": 3.5},
    {"id": "apple", "price": 0.5},
    {"id": "cider", "price": 4},
    {"id": "dates"},
    {"id": "eggs", "price": 2.25, "brand": "farm"}
  ]
}"#;

/// A directory with `features.toml`, `model.toml`, `trained.json`, `bundle.svb`, `shared-state.bin`, `user-state.bin`
/// and `request.json`.
pub(crate) struct Shop(TempDir);

impl Shop {
    pub(crate) fn new() -> Self {
        let shop = Self(tempfile::tempdir().expect("a directory for a test"));
        let features = FeatureSpec::parse("features.toml", FEATURES).expect("valid features");
        let model = ModelSpec::parse("model.toml", MODEL).expect("a valid model");
        let trained = import(TRAINED.as_bytes()).expect("a valid trained model");
        let program = selvedge_compile::lower_program(&features).expect("a program");
        let (shared, user) = history(&program);
        shop.write("features.toml", FEATURES);
        shop.write("model.toml", MODEL);
        shop.write("trained.json", TRAINED);
        shop.write("bundle.svb", compile(&features, &model, &trained).expect("a bundle").bytes);
        shop.write("shared-state.bin", shared);
        shop.write("user-state.bin", user);
        shop.write("request.json", REQUEST);
        shop
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), bytes).expect("writing into a test's directory");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).expect("a file of the test")
    }

    /// Runs a command line, split at spaces, in the directory.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.feed(line, b"")
    }

    /// Runs a command line with something on its standard input.
    pub(crate) fn feed(&self, line: &str, input: &[u8]) -> Ran {
        self.spawn(line, input, &[])
    }

    /// Runs a command line with variables in its environment.
    pub(crate) fn run_with(&self, line: &str, variables: &[(&str, &str)]) -> Ran {
        self.spawn(line, b"", variables)
    }

    fn spawn(&self, line: &str, input: &[u8], variables: &[(&str, &str)]) -> Ran {
        let mut child = Command::new(env!("CARGO_BIN_EXE_selvedge"))
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env("SELVEDGE_GUEST", concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guest/selvedge-guest.wasm"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env_remove("COLUMNS")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("SELVEDGE_HOST")
            .env_remove("SELVEDGE_TOKEN")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // A command that does not read its input closes it: that is its right.
        let _ = child.stdin.take().expect("a piped input").write_all(input);
        let output = child.wait_with_output().expect("the binary ends");
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Ran {
            line: line.to_owned(),
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// How a command went.
pub(crate) struct Ran {
    line: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The JSON that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {self}"),
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        writeln!(f, "$ selvedge {}\n[exit code {code}]", self.line)?;
        for (name, text) in [("output", &self.stdout), ("talk", &self.stderr)] {
            if !text.is_empty() {
                writeln!(f, "[{name}]\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Several command lines and what came of each.
pub(crate) fn transcript(shop: &Shop, lines: &[&str]) -> String {
    lines.iter().map(|line| shop.run(line).to_string()).collect::<Vec<_>>().join("\n")
}

/// Compares with the stored snapshot. Hashes and sizes that change with every version of a format are left out.
macro_rules! assert_shown {
    ($shown:expr $(, $filter:expr)*) => {
        insta::with_settings!({filters => [
            (r"\b[0-9a-f]{64}\b", "[id]"),
            (r"\b[0-9a-f]{12}\b", "[short id]"),
            (r#"("?fuel"?:?) \d+"#, "$1 [fuel]"),
            (r"selvedge \d+\.\d+\.\d+", "selvedge [version]"),
            $($filter,)*
        ], omit_expression => true}, {
            insta::assert_snapshot!($shown.to_string());
        })
    };
}
pub(crate) use assert_shown;

/// The shared state and our user's state after the events of [`PRODUCTS`].
fn history(program: &ProgramV1) -> (Vec<u8>, Vec<u8>) {
    let mut items: Vec<(u64, u64)> =
        PRODUCTS.iter().map(|(id, brand, ..)| (key(id.as_bytes()), key(brand.as_bytes()))).collect();
    items.sort_unstable();
    let parts = |tables| SharedParts {
        as_of_ms: NOW_MS,
        items: items.iter().map(|(item, _)| *item).collect(),
        fields: vec![(
            field_id(Scope::Item, "brand"),
            FieldValues::String(items.iter().map(|(_, brand)| *brand).collect()),
        )],
        tables,
    };
    assert!(program.fields.iter().any(|field| field.ty == FieldType::String), "brand is a field of the program");
    let fields = SharedState::load(AlignedBytes::copy_of(&parts(Vec::new()).encode())).expect("item fields");
    let keys = ItemKeys::new(program, Some(&fields));
    let event = |id: &str, days: i64| Event {
        event: key(b"purchase"),
        time_ms: NOW_MS - days * DAY_MS,
        item: key(id.as_bytes()),
        value: 1.0,
    };
    let (mut global, mut user) = (GlobalCounters::new(program), UserState::new());
    for (id, _, days, others) in PRODUCTS {
        days.iter().for_each(|days| user.apply(1, program, &keys, &event(id, *days)).expect("an event"));
        (0..others).for_each(|_| global.apply(program, &keys, &event(id, 1)));
    }
    (parts(global.tables(program, NOW_MS)).encode(), user.encode())
}
