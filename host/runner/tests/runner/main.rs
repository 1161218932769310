//! The runner against the real guest, and against modules that mean harm.

mod graphs;
mod hostile;
mod kinds;
mod real;

/// A bundle, requests, and the guest module.
mod given {
    use std::path::PathBuf;

    use selvedge_format::container::{ContainerBuilder, Kind};
    use selvedge_format::model::{self, LinearWeights, Link, ModelKindV1, ModelV1, ModelsV1, StageV1};
    use selvedge_format::policy::{self, PolicyV1};
    use selvedge_format::program::{self, FeatureV1, FieldType, FieldV1, OpV1, ProgramV1, Scope};
    use selvedge_format::shared::{FieldValues, SharedParts};
    use selvedge_wire::{RequestBuilder, Values};

    /// Identity of the request.
    pub(crate) const REQUEST_ID: [u8; 16] = [0xab; 16];

    /// A bundle that ranks by one number of the item, cheapest first.
    pub(crate) fn bundle() -> Vec<u8> {
        let price = FieldV1 { id: program::field_id(Scope::Item, "price"), scope: Scope::Item, ty: FieldType::Number };
        let feature = FeatureV1 { op: OpV1::Number { field: 0 }, default: 0.0, transforms: Vec::new() };
        let program = ProgramV1 {
            fields: vec![price],
            user_tables: Vec::new(),
            global_tables: Vec::new(),
            history_events: 0,
            features: vec![feature],
        };
        let models = ModelsV1 {
            models: vec![ModelV1 { kind: ModelKindV1::Linear { bias: 0.0 }, link: Link::Identity }],
            stages: vec![StageV1 { model: 0, keep: 0 }],
        };
        let policy = PolicyV1 { slate_size: 10, ..PolicyV1::default() };
        ContainerBuilder::new(Kind::Bundle)
            .required(program::TAG, program::VERSION, program.encode())
            .required(model::TAG, model::VERSION, models.encode())
            .required(policy::TAG, policy::VERSION, policy.encode())
            .required(model::WEIGHTS_TAG, model::WEIGHTS_VERSION, LinearWeights::encode(&[-1.0], &[0.0]))
            .build()
    }

    /// A shared state with the price of one item.
    pub(crate) fn shared() -> Vec<u8> {
        let price = program::field_id(Scope::Item, "price");
        let items = vec![selvedge_format::key(b"bread")];
        SharedParts { items, fields: vec![(price, FieldValues::Number(vec![0.5]))], ..SharedParts::default() }.encode()
    }

    /// A request for two candidates.
    pub(crate) fn request() -> Vec<u8> {
        RequestBuilder::new(REQUEST_ID, 1_700_000_000_000, ["milk", "bread"])
            .column(Scope::Item, "price", Values::Numbers(&[1.25, 0.75]))
            .build()
    }

    /// Where `cargo xtask wasm` puts the guest module.
    pub(crate) fn guest_path() -> PathBuf {
        let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guest/selvedge-guest.wasm");
        std::env::var_os("SELVEDGE_GUEST").map_or_else(|| PathBuf::from(built), PathBuf::from)
    }

    /// The modules with SIMD and without.
    pub(crate) fn modules() -> [PathBuf; 2] {
        let guest = guest_path();
        let plain = guest.with_file_name("selvedge-guest-plain.wasm");
        [guest, plain]
    }

    /// The guest module that `cargo xtask wasm` builds.
    pub(crate) fn guest() -> Vec<u8> {
        let path = guest_path();
        std::fs::read(&path).unwrap_or_else(|error| {
            panic!("cannot read {}: {error}; `cargo xtask wasm` builds the guest module", path.display())
        })
    }
}
