//! The cases: a grid over what a bundle can be, then what goes wrong, then many requests at random.

use selvedge_format::container::{self, ContainerBuilder, Kind};
use selvedge_format::explore::{ExploreKindV1, ExploreV1};
use selvedge_format::model::{Link, WEIGHTS_TAG, WEIGHTS_VERSION};
use selvedge_format::policy::{self, AtMostV1, DiversityV1, ExcludeV1, PolicyV1};
use selvedge_format::program::{self, ProgramV1, Scope};
use selvedge_format::{key, model};
use selvedge_wire::{RequestBuilder, Values};

use crate::world::{
    BRAND, BRANDS, ITEMS, Kinds, NOW_MS, Random, WORDS, cascade, dear, id, operation, parts, price_alone, program,
    shared, user,
};

/// One case before it is decided.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// What is loaded as bundle, if anything.
    pub bundle: Option<Vec<u8>>,
    /// What is loaded as shared state after it, if anything.
    pub shared: Option<Vec<u8>>,
    /// The request; empty if the case ends with the load.
    pub request: Vec<u8>,
    /// What each feature of the bundle is, for people.
    pub operations: Vec<String>,
}

/// Every case, always the same.
#[must_use]
pub fn cases() -> Vec<Case> {
    let shop = Shop::new();
    let mut cases = Vec::new();
    shop.models(&mut cases);
    shop.policies(&mut cases);
    shop.sizes(&mut cases);
    shop.fallbacks(&mut cases);
    shop.refusals(&mut cases);
    shop.random(&mut cases);
    shop.offers(&mut cases);
    shop.cascades(&mut cases);
    cases
}

pub(crate) struct Shop {
    pub(crate) program: ProgramV1,
    shared: Vec<u8>,
    /// A stranger, an occasional customer, a regular on three devices.
    pub(crate) users: [Vec<u8>; 3],
}

pub(crate) fn plain() -> PolicyV1 {
    PolicyV1 { slate_size: 12, ..PolicyV1::default() }
}

fn full() -> PolicyV1 {
    let brand = |name: &str| key(name.as_bytes());
    PolicyV1 {
        slate_size: 20,
        exclude: vec![ExcludeV1 { field: BRAND, value: brand("zeta") }],
        at_most: vec![AtMostV1 { field: BRAND, count: 2, window: 5 }, AtMostV1 { field: BRAND, count: 6, window: 0 }],
        diversity: Some(DiversityV1 { lambda: 0.75, fields: vec![(BRAND, 1.0)] }),
    }
}

const EPSILON: ExploreV1 =
    ExploreV1 { kind: ExploreKindV1::EpsilonGreedy { epsilon: 0.4 }, seed: 0x0123_4567_89AB_CDEF };
const SOFTMAX: ExploreV1 = ExploreV1 { kind: ExploreKindV1::Softmax { temperature: 0.3 }, seed: 42 };

impl Shop {
    fn new() -> Self {
        let program = program();
        let users = [Vec::new(), user(&program, 11, 5), user(&program, 12, 90)];
        Self { shared: shared(&program), program, users }
    }

    fn bundle(&self, kind: Kinds, link: Link, policy: &PolicyV1, explore: Option<ExploreV1>) -> Vec<u8> {
        parts(&self.program, kind, link, policy, explore).build()
    }

    pub(crate) fn case(&self, name: impl Into<String>, bundle: &[u8], request: Vec<u8>) -> Case {
        Case {
            name: name.into(),
            bundle: Some(bundle.to_vec()),
            shared: Some(self.shared.clone()),
            request,
            operations: self.program.features.iter().map(operation).collect(),
        }
    }

    /// A request for the first items of the shop.
    fn request(&self, seed: u8, candidates: usize) -> RequestBuilder {
        let ids: Vec<String> = (0..candidates).map(id).collect();
        RequestBuilder::new([seed; 16], NOW_MS, ids.iter().map(String::as_str))
            .utc_offset_min(-210)
            .column(Scope::Context, "query", Values::Tokens(&[&["dark", "rye", "bread"]]))
            .column(Scope::Context, "page", Values::Strings(&["search"]))
    }

    fn models(&self, cases: &mut Vec<Case>) {
        for kind in [Kinds::Linear, Kinds::Trees, Kinds::DoubleTrees, Kinds::Network, Kinds::List] {
            for link in [Link::Identity, Link::Logistic] {
                let bundle = self.bundle(kind, link, &plain(), None);
                for (at, user) in self.users.iter().enumerate() {
                    let request = self.request(at as u8, 37).reasons(4).state(user).build();
                    cases.push(self.case(format!("model {kind:?} {link:?}, user {at}"), &bundle, request));
                }
            }
        }
        let bundle = self.bundle(Kinds::Trees, Link::Identity, &plain(), None);
        let mut alone = self.case("model without a shared state", &bundle, self.request(9, 20).build());
        alone.shared = None;
        cases.push(alone);
    }

    fn policies(&self, cases: &mut Vec<Case>) {
        let only = |change: fn(&mut PolicyV1)| {
            let mut policy = plain();
            change(&mut policy);
            policy
        };
        let policies = [
            ("plain", plain()),
            ("exclude", only(|policy| policy.exclude = full().exclude)),
            ("at most", only(|policy| policy.at_most = full().at_most)),
            ("diversity", only(|policy| policy.diversity = full().diversity)),
            ("everything", full()),
        ];
        for (name, policy) in &policies {
            for (how, explore) in [("greedy", None), ("epsilon", Some(EPSILON)), ("softmax", Some(SOFTMAX))] {
                let bundle = self.bundle(Kinds::Trees, Link::Identity, policy, explore);
                for seed in 0..3 {
                    let mut request = self.request(seed, 48).reasons(2).state(&self.users[2]);
                    if seed == 2 {
                        request = request.pin(7, 0).pin(7, 1).pin(9, 2).pin(3, 300).exclude(5).exclude(9);
                    }
                    cases.push(self.case(format!("policy {name}, {how}, {seed}"), &bundle, request.build()));
                }
            }
        }
        // The score is the price: numbers that sort and divide badly.
        let bundle = |explore| parts(&price_alone(), Kinds::Linear, Link::Identity, &full(), explore).build();
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1.0e-45, f32::MAX, f32::MIN, 1.0, 1.0];
        for (name, prices) in [
            ("odd", odd.to_vec()),
            ("equal", vec![2.5; 10]),
            ("NaN", vec![f32::NAN; 10]),
            ("infinite", vec![f32::INFINITY; 10]),
            ("denormal", (0..10).map(|at| f32::from_bits(at + 1)).collect()),
        ] {
            for (how, explore) in [("greedy", None), ("epsilon", Some(EPSILON)), ("softmax", Some(SOFTMAX))] {
                let request =
                    self.request(1, prices.len()).column(Scope::Item, "price", Values::Numbers(&prices)).reasons(1);
                let mut case = self.case(format!("scores {name}, {how}"), &bundle(explore), request.build());
                case.operations = price_alone().features.iter().map(operation).collect();
                cases.push(case);
            }
        }
    }

    /// Around the width of a vector, and up to the limits.
    fn sizes(&self, cases: &mut Vec<Case>) {
        let bundle = self.bundle(Kinds::Trees, Link::Logistic, &plain(), None);
        for candidates in [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 64, 65, 2_000] {
            let request = self.request(3, candidates).state(&self.users[1]).slate_size(600);
            cases.push(self.case(format!("{candidates} candidates"), &bundle, request.build()));
        }
    }

    fn fallbacks(&self, cases: &mut Vec<Case>) {
        let bundle = self.bundle(Kinds::Trees, Link::Identity, &full(), Some(EPSILON));
        let valid = self.request(4, 10).state(&self.users[1]);
        let mut push =
            |name: &str, request: Vec<u8>| cases.push(self.case(format!("fallback: {name}"), &bundle, request));
        push("no candidates", self.request(4, 0).build());
        push("too many candidates", self.request(4, 2_001).exclude(0).build());
        push("a state that is none", self.request(4, 10).state(b"not a state").build());
        push("a state cut short", self.request(4, 10).state(&self.users[2][..self.users[2].len() / 2]).build());
        push(
            "a column of another type",
            valid.clone().column(Scope::Item, "price", Values::Strings(&["1"; 10])).build(),
        );
        push(
            "a column of another length",
            valid.clone().column(Scope::Item, "price", Values::Numbers(&[1.0; 9])).build(),
        );
        push("a column twice", {
            let once = valid.clone().column(Scope::User, "age", Values::Numbers(&[30.0]));
            once.column(Scope::User, "age", Values::Numbers(&[31.0])).build()
        });
        push("a pin of no candidate", valid.clone().pin(10, 0).build());
        let bytes = valid.build();
        for length in [1, 4, 15, 16, 63, 64, 100, bytes.len() - 1] {
            push(&format!("cut to {length} bytes"), bytes[..length].to_vec());
        }
        for (name, at) in [("magic", 0), ("version", 4), ("block count", 6), ("length", 8), ("zero", 12), ("time", 39)]
        {
            let mut spoilt = bytes.clone();
            spoilt[at] ^= 0x80;
            push(&format!("another {name}"), spoilt);
        }
        let mut nothing = self.case("fallback: nothing is loaded", &[], bytes);
        (nothing.bundle, nothing.shared, nothing.operations) = (None, None, Vec::new());
        cases.push(nothing.clone());
        nothing.request = b"no request".to_vec();
        nothing.name = "fallback: nothing is loaded and no request".to_owned();
        cases.push(nothing);
        let dear = parts(&dear(), Kinds::Linear, Link::Identity, &plain(), None).build();
        let mut costs = self.case("fallback: the cost limit", &dear, self.request(5, 2_000).build());
        costs.operations = Vec::new();
        cases.push(costs);
    }

    /// Several stages: of every kind, with more and fewer candidates than they keep, and too dear for the last.
    fn cascades(&self, cases: &mut Vec<Case>) {
        let stages: [(&str, &[(Kinds, u32)]); 5] = [
            ("linear, then trees", &[(Kinds::Linear, 20), (Kinds::Trees, 0)]),
            ("trees, then a network", &[(Kinds::Trees, 17), (Kinds::Network, 0)]),
            ("linear, then a list", &[(Kinds::Linear, 19), (Kinds::List, 0)]),
            ("a network, then trees", &[(Kinds::Network, 1), (Kinds::DoubleTrees, 0)]),
            ("four stages", &[(Kinds::Linear, 33), (Kinds::Trees, 16), (Kinds::Network, 40), (Kinds::DoubleTrees, 0)]),
        ];
        for (name, stages) in stages {
            for (how, policy, explore) in
                [("greedy", plain(), None), ("epsilon", full(), Some(EPSILON)), ("softmax", full(), Some(SOFTMAX))]
            {
                let bundle = cascade(&self.program, stages, &policy, explore);
                for candidates in [1, 16, 48] {
                    let request = self.request(11, candidates).reasons(2).state(&self.users[2]).slate_size(48);
                    let request = if candidates > 9 { request.pin(7, 0).exclude(5) } else { request };
                    let name = format!("cascade of {name}, {how}, {candidates} candidates");
                    cases.push(self.case(name, &bundle, request.build()));
                }
            }
        }
        // The last stage takes 15,000 units for each candidate.
        let bundle = cascade(&self.program, &[(Kinds::Trees, 1_000), (Kinds::Labour, 0)], &plain(), None);
        for candidates in [20, 700] {
            let request = self.request(12, candidates).reasons(2).state(&self.users[1]);
            let name = format!("cascade with a dear stage, {candidates} candidates");
            cases.push(self.case(name, &bundle, request.build()));
        }
    }

    /// Bundles that must not load. After one, the engine decides as if nothing had been there.
    fn refusals(&self, cases: &mut Vec<Case>) {
        let whole = || parts(&self.program, Kinds::Linear, Link::Identity, &plain(), None);
        let good = whole().build();
        let spoilt = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        let without = |tag: u32| {
            let sections = [program::TAG, model::TAG, policy::TAG, WEIGHTS_TAG];
            let parsed = container::Container::parse(&good, Kind::Bundle).expect("it is good");
            sections.iter().filter(|other| **other != tag).fold(ContainerBuilder::new(Kind::Bundle), |builder, tag| {
                let section = parsed.find(*tag).expect("it is there");
                builder.required(*tag, section.version, good[section.range.clone()].to_vec())
            })
        };
        let newer = |tag: u32| whole().required(tag, 2, vec![0; 8]).build();
        let sealed = |at: usize, value: u8| {
            let mut bytes = spoilt(at, value);
            let checksum = key(&bytes[32..]);
            bytes[24..32].copy_from_slice(&checksum.to_le_bytes());
            bytes
        };
        let refused = [
            ("nothing", Vec::new()),
            ("a header cut short", good[..40].to_vec()),
            ("a section cut short", good[..good.len() - 1].to_vec()),
            ("another magic", spoilt(0, b's')),
            ("a newer container", sealed(8, 2)),
            ("another kind", sealed(10, 7)),
            ("a flipped bit", spoilt(good.len() - 3, good[good.len() - 3] ^ 4)),
            ("a newer program", newer(program::TAG)),
            ("a newer policy", newer(policy::TAG)),
            ("newer weights", newer(WEIGHTS_TAG)),
            ("no program", without(program::TAG).build()),
            ("no policy", without(policy::TAG).build()),
            ("no weights", without(WEIGHTS_TAG).build()),
            ("a section of the future", whole().required(0x77, 1, vec![1, 2, 3]).build()),
            ("a program of noise", whole().required(program::TAG, program::VERSION, vec![0xFF; 40]).build()),
            ("weights of noise", whole().required(WEIGHTS_TAG, WEIGHTS_VERSION, vec![0xFF; 40]).build()),
            ("an exploration of noise", whole().required(0x06, 1, vec![0xFF; 16]).build()),
            ("a large section", whole().required(program::TAG, program::VERSION, vec![0; (4 << 20) + 1]).build()),
        ];
        for (name, bytes) in refused {
            // A section of four million zeros says the same in four million bytes less.
            if bytes.len() > 1 << 20 {
                continue;
            }
            let mut case = self.case(format!("refusal: {name}"), &bytes, self.request(6, 4).build());
            (case.shared, case.operations) = (None, Vec::new());
            cases.push(case);
        }
    }

    /// Requests with a bit of everything.
    fn random(&self, cases: &mut Vec<Case>) {
        let mut random = Random(2026);
        let bundles = [
            self.bundle(Kinds::Trees, Link::Identity, &full(), Some(SOFTMAX)),
            self.bundle(Kinds::Linear, Link::Logistic, &full(), Some(EPSILON)),
        ];
        for at in 0..60 {
            let request = self.at_random(&mut random, at as u8);
            cases.push(self.case(format!("random {at}"), &bundles[random.below(2)], request));
        }
    }

    fn at_random(&self, random: &mut Random, seed: u8) -> Vec<u8> {
        let candidates = 1 + random.below(70);
        // A few more items than there are, and some of them twice.
        let ids: Vec<String> = (0..candidates).map(|_| id(random.below(ITEMS * 3))).collect();
        let texts = |random: &mut Random, from: &[&'static str]| -> Vec<&'static str> {
            (0..candidates).map(|_| from[random.below(from.len())]).collect()
        };
        let time = [NOW_MS, 0, 951_782_400_000, 253_402_300_799_999, NOW_MS + 86_400_000 * 40][random.below(5)];
        let mut request = RequestBuilder::new([seed ^ 0xA5; 16], time, ids.iter().map(String::as_str))
            .utc_offset_min([0, 60, -1440, 1440, 345][random.below(5)])
            .slate_size([0, 1, 7, 500, u32::MAX][random.below(5)])
            .reasons([0, 1, 3, 16, 99][random.below(5)])
            .state(&self.users[random.below(3)]);
        if random.below(2) == 0 {
            let prices: Vec<f32> = (0..candidates).map(|_| random.number()).collect();
            request = request.column(Scope::Item, "price", Values::Numbers(&prices));
        }
        if random.below(2) == 0 {
            request = request.column(Scope::Item, "brand", Values::Strings(&texts(random, &BRANDS)));
        }
        if random.below(2) == 0 {
            let names: Vec<Vec<&str>> = (0..candidates)
                .map(|_| (0..random.below(6)).map(|_| WORDS[random.below(WORDS.len())]).collect())
                .collect();
            let names: Vec<&[&str]> = names.iter().map(Vec::as_slice).collect();
            request = request.column(Scope::Item, "name", Values::Tokens(&names));
        }
        if random.below(2) == 0 {
            let listed: Vec<i64> =
                (0..candidates).map(|_| [i64::MIN, i64::MAX, 0, NOW_MS, NOW_MS - 1_234_567][random.below(5)]).collect();
            request = request.column(Scope::Item, "listed_at", Values::Times(&listed));
        }
        if random.below(2) == 0 {
            request = request.column(Scope::User, "age", Values::Numbers(&[random.number()]));
        }
        if random.below(3) == 0 {
            request = request.column(Scope::Context, "query", Values::Tokens(&[&WORDS[..random.below(6)]]));
        }
        // A field that no bundle reads.
        request = request.column(Scope::Context, "weather", Values::Strings(&["rain"]));
        for _ in 0..random.below(4) {
            request = request.pin(random.below(candidates) as u32, random.below(12) as u32);
        }
        for _ in 0..random.below(4) {
            request = request.exclude(random.below(candidates) as u32);
        }
        request.build()
    }
}
