//! `selvedge demo --storefront`: what the page of `www/demo` shows, as files for any static server.
//!
//! A linear ranker learns as in the demo, from households of the other folds; the weights of what a session does are
//! declared. Rules, diversity and exploration are the bundle's, so each combination that the page offers is one. One more
//! has the recipe's campaign: a host deploys it, and the page previews with it. The ranking bundles stay as small as they
//! are, since a page that asks for no coupon need not load what decides one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use selvedge_compile::{TrainedModel, TrainedResponse, compile, compile_with_campaigns, import};
use selvedge_format::request::RequestView;
use selvedge_format::shared::SharedState;
use selvedge_format::{AlignedBytes, key};
use selvedge_spec::{CampaignSpec, FeatureSpec, ModelSpec};
use selvedge_train::dataset::{Dataset, Query, Source};
use selvedge_train::replay::Case;
use serde::Serialize;

use super::experiment::{Experiment, Ranker, Size, title};
use super::{recipe, write};
use crate::error::{CliError, Exit};
use crate::printer::Printer;
use crate::show;

const FEATURES: (&str, &str) =
    recipe("features.toml", include_str!("../../../../models/recipes/storefront/features.toml"));
const MODEL: (&str, &str) = recipe("model.toml", include_str!("../../../../models/recipes/storefront/model.toml"));
/// Weights of what a session does.
const SESSION: &str = include_str!("../../../../models/recipes/storefront/session.json");

/// Features that decisions about coupons read, as what follows the ranker's; their campaign, and the response model that it
/// names.
const OFFER_FEATURES: &str = include_str!("../../../../models/recipes/storefront/offers.toml");
const CAMPAIGN: (&str, &str) =
    recipe("campaign.toml", include_str!("../../../../models/recipes/storefront/campaign.toml"));
const RESPONSE: (&str, &str) =
    recipe("response.json", include_str!("../../../../models/recipes/storefront/response.json"));

/// Where the bundle with the campaign goes.
const OFFERS: &str = "offers.svb";
/// Where the shared state goes.
const SHARED: &str = "shared.bin";
/// Households that one can be.
const HOUSEHOLDS: usize = 6;
/// The fold that the ranker does not learn from: they are of it.
const UNSEEN: u8 = 0;

/// What the page may turn on: name, and what it adds to the model file.
const DIVERSITY: [(&str, &str); 2] = [
    ("off", ""),
    ("on", "[slate.diversity]\nlambda = 0.6\nsimilarity = { product_type = 1.0, product_category = 0.5 }\n"),
];
const CAP: [(&str, &str); 2] =
    [("off", ""), ("on", "[[slate.at_most]]\nfield = \"product_category\"\nmax = 1\nwindow = 4\n")];
const EXPLORE: [(&str, &str); 3] = [
    ("off", ""),
    ("epsilon", "[slate.explore]\nepsilon = 0.2\nseed = 7\n"),
    ("softmax", "[slate.explore]\ntemperature = 1.0\nseed = 7\n"),
];

/// What `shop.json` holds.
#[derive(Serialize)]
struct Shop<'a> {
    source: String,
    made_up: bool,
    /// When it is in the shop: the first instant of the week, milliseconds since 1970-01-01 UTC.
    time: i64,
    week: u32,
    bundles: Bundles,
    shared: &'static str,
    offers: Coupons,
    sizes: BTreeMap<&'static str, Size>,
    terms: Vec<Term>,
    products: Vec<Product<'a>>,
    households: Vec<Household>,
}

/// Which bundles there are: `address` with one of each list in its braces.
#[derive(Serialize)]
struct Bundles {
    address: &'static str,
    diversity: [&'static str; 2],
    cap: [&'static str; 2],
    explore: [&'static str; 3],
}

/// What a host and the page need to know of the campaign.
#[derive(Serialize)]
struct Coupons {
    /// The bundle that has it.
    bundle: &'static str,
    campaign: String,
    /// Of all amounts.
    currency: String,
    /// The names of its offers; arm 1 is the first.
    offers: Vec<String>,
    budgets: Vec<Budget>,
}

/// A budget as the host is to open it.
#[derive(Serialize)]
struct Budget {
    budget: String,
    /// In minor units.
    total: u64,
}

/// A term of the weighted sum: with its sign, a page can say whether much or little of something raised an item.
#[derive(Serialize)]
struct Term {
    feature: String,
    doc: String,
    weight: f64,
    /// By the recipe; otherwise learned.
    declared: bool,
}

#[derive(Serialize)]
struct Product<'a> {
    id: &'a str,
    product_type: String,
    category: String,
    department: String,
    /// Whether it is the shop's own brand.
    own_brand: bool,
    size: &'a str,
    /// US dollars a unit, where it was last sold.
    price: Option<f64>,
}

#[derive(Serialize)]
struct Household {
    id: String,
    /// Lines of baskets before the week.
    purchases: usize,
    /// The categories of the flyer that it bought most from.
    favourites: Vec<String>,
    state: String,
    /// Positions among the products, in the order of the flyer.
    feed: Vec<usize>,
    /// Those of them that it bought that week.
    bought: Vec<usize>,
}

/// Writes the files into `directory`.
pub(super) fn export(directory: &Path, experiment: &Experiment, printer: &Printer) -> Result<(), CliError> {
    let ranker = experiment.ranker(FEATURES, MODEL, printer)?;
    let Weights { model, terms } = weights(experiment, &ranker, printer)?;
    let cases = chosen(experiment, &ranker.replayed.cases);
    let Some((first, query)) = cases.first() else {
        return Err(CliError::new(Exit::Usage, "there is no household that the ranker did not see"));
    };
    let dataset = experiment.dataset();
    let mut sizes = BTreeMap::from([("bundle", bundles(directory, &ranker.features, &model)?)]);
    let mut products = Products::new(dataset, query.time_ms);
    let mut households = Vec::new();
    for (case, query) in &cases {
        let household = household(dataset, query, &mut products);
        let request = RequestView::parse(&case.request, show::limits());
        let state = request.map_err(|error| CliError::new(Exit::Refused, error))?.state;
        write(&directory.join(&household.state), state)?;
        sizes.entry("state").or_insert_with(|| Size::of(state));
        households.push(household);
    }
    let shared = shared(&ranker.replayed.shared_states[first.shared], &products)?;
    sizes.insert("shared", Size::of(&shared));
    write(&directory.join(SHARED), &shared)?;
    let offers = coupons(directory, &model)?;
    sizes.insert("offers", offers.size);
    let shop = Shop {
        source: dataset.source.to_string(),
        made_up: dataset.source != Source::CompleteJourney,
        time: query.time_ms,
        week: query.week,
        bundles: Bundles {
            address: "bundles/{diversity}-{cap}-{explore}.svb",
            diversity: DIVERSITY.map(|(name, _)| name),
            cap: CAP.map(|(name, _)| name),
            explore: EXPLORE.map(|(name, _)| name),
        },
        shared: SHARED,
        offers: offers.coupons,
        sizes,
        terms,
        products: products.list,
        households,
    };
    let json = serde_json::to_vec(&shop).map_err(|error| CliError::new(Exit::Io, error))?;
    write(&directory.join("shop.json"), &json)?;
    printer.end_progress();
    printer.say(format_args!("storefront: {}", directory.display()));
    Ok(())
}

/// Writes a bundle for each combination; the size of the one with nothing turned on.
fn bundles(directory: &Path, features: &FeatureSpec, weights: &[u8]) -> Result<Size, CliError> {
    let mut plain = None;
    for (diversity, diversity_text) in DIVERSITY {
        for (cap, cap_text) in CAP {
            for (explore, explore_text) in EXPLORE {
                let text = format!("{}\n{diversity_text}{cap_text}{explore_text}", MODEL.1);
                let bytes = bundle(features, &text, weights)?;
                write(&directory.join(format!("bundles/{diversity}-{cap}-{explore}.svb")), &bytes)?;
                plain.get_or_insert_with(|| Size::of(&bytes));
            }
        }
    }
    Ok(plain.unwrap_or_default())
}

/// What was written of the campaign.
struct Written {
    coupons: Coupons,
    size: Size,
}

/// Writes the ranker with the campaign.
fn coupons(directory: &Path, weights: &[u8]) -> Result<Written, CliError> {
    let campaigns = CampaignSpec::parse(CAMPAIGN.0, CAMPAIGN.1)?;
    let bundle = bundle_with_campaign(&campaigns, &import(weights)?)?;
    write(&directory.join(OFFERS), &bundle)?;
    let campaign = &campaigns.campaigns[0];
    let budgets = campaigns.budgets.iter().map(|budget| Budget { budget: budget.name.clone(), total: budget.total });
    let coupons = Coupons {
        bundle: OFFERS,
        campaign: campaign.name.clone(),
        currency: campaigns.currency.clone(),
        offers: campaign.offers.iter().map(|offer| offer.name.clone()).collect(),
        budgets: budgets.collect(),
    };
    Ok(Written { coupons, size: Size::of(&bundle) })
}

fn bundle_with_campaign(campaigns: &CampaignSpec, ranker: &TrainedModel) -> Result<Vec<u8>, CliError> {
    let features = FeatureSpec::parse(FEATURES.0, &format!("{}\n{OFFER_FEATURES}", FEATURES.1))?;
    let model = ModelSpec::parse(MODEL.0, MODEL.1)?;
    campaigns.check(&features)?;
    let response = TrainedResponse::import(RESPONSE.1.as_bytes())?;
    let responses = BTreeMap::from([(RESPONSE.0.to_owned(), response)]);
    Ok(compile_with_campaigns(&features, &model, ranker, campaigns, &responses)?.bytes)
}

/// What everybody did with the products of the page; those that it does not show are left out.
fn shared(whole: &[u8], products: &Products<'_>) -> Result<Vec<u8>, CliError> {
    let whole = SharedState::load(AlignedBytes::copy_of(whole)).map_err(|error| CliError::new(Exit::Refused, error))?;
    let shown: BTreeSet<u64> = products.list.iter().map(|product| key(product.id.as_bytes())).collect();
    Ok(whole.of_items(|key| shown.contains(&key)).encode())
}

/// The weighted sum, as the file that the compiler reads and term by term.
struct Weights {
    model: Vec<u8>,
    terms: Vec<Term>,
}

/// The learned weights, with those of the session in place of what nothing was learned about.
fn weights(experiment: &Experiment, ranker: &Ranker, printer: &Printer) -> Result<Weights, CliError> {
    let invalid = |error| CliError::new(Exit::Usage, format_args!("models/recipes/storefront: {error}"));
    let learned = experiment.train(ranker, UNSEEN, printer)?;
    let mut model: serde_json::Value = serde_json::from_slice(&learned).map_err(invalid)?;
    let session: BTreeMap<String, f64> = serde_json::from_str(SESSION).map_err(invalid)?;
    for (feature, weight) in &session {
        model["weights"][feature] = (*weight).into();
        // A household that has done nothing yet is at 0, not at a mean.
        model["centres"][feature] = 0.0.into();
    }
    let terms = ranker.features.features.iter().map(|feature| Term {
        feature: feature.name.clone(),
        doc: feature.doc.clone(),
        weight: model["weights"][&feature.name].as_f64().unwrap_or(0.0),
        declared: session.contains_key(&feature.name),
    });
    Ok(Weights { terms: terms.collect(), model: serde_json::to_vec(&model).map_err(invalid)? })
}

fn bundle(features: &FeatureSpec, model: &str, weights: &[u8]) -> Result<Vec<u8>, CliError> {
    let refused = |error| CliError::diagnostic(Exit::Usage, error);
    let model = ModelSpec::parse(MODEL.0, model).map_err(refused)?;
    model.check(features).map_err(refused)?;
    Ok(compile(features, &model, &import(weights)?)?.bytes)
}

/// Households that the ranker did not see, in a week that it did not see: the week whose flyers show the most categories,
/// and those with the longest lists of what they bought, so that there is something to see; how well they are ranked is
/// not asked.
fn chosen<'a>(experiment: &'a Experiment, cases: &'a [Case]) -> Vec<(&'a Case, &'a Query)> {
    let mut weeks: BTreeMap<u32, Vec<(&Case, &Query)>> = BTreeMap::new();
    for case in cases {
        let query = experiment.query(case);
        if experiment.is_test(query) && experiment.fold_of(query) == UNSEEN {
            weeks.entry(query.week).or_default().push((case, query));
        }
    }
    for households in weeks.values_mut() {
        households.sort_by_key(|(_, query)| Reverse(query.relevant.iter().filter(|bought| **bought).count()));
        households.truncate(HOUSEHOLDS);
    }
    let items = &experiment.dataset().items;
    let categories = |households: &Vec<(&Case, &Query)>| {
        let shown = households.iter().flat_map(|(_, query)| &query.candidates);
        shown.map(|item| items[*item as usize].product_category.as_str()).collect::<BTreeSet<_>>().len()
    };
    weeks.into_values().max_by_key(categories).unwrap_or_default()
}

/// The products of all feeds, each once.
struct Products<'a> {
    dataset: &'a Dataset,
    /// By item: US dollars a unit, where it was last sold before the week.
    prices: BTreeMap<u32, f64>,
    places: BTreeMap<u32, usize>,
    list: Vec<Product<'a>>,
}

impl<'a> Products<'a> {
    fn new(dataset: &'a Dataset, time_ms: i64) -> Self {
        let sold = dataset.purchases_between(i64::MIN..time_ms).iter();
        let sold = sold.filter(|line| line.quantity >= 1.0 && line.sales_value > 0.0);
        let prices = sold.map(|line| (line.item, f64::from(line.sales_value) / f64::from(line.quantity))).collect();
        Self { dataset, prices, places: BTreeMap::new(), list: Vec::new() }
    }

    fn place(&mut self, item: u32) -> usize {
        let Self { dataset, prices, places, list } = self;
        *places.entry(item).or_insert_with(|| {
            let known = &dataset.items[item as usize];
            list.push(Product {
                id: &known.id,
                product_type: title(&known.product_type),
                category: title(&known.product_category),
                department: title(&known.department),
                own_brand: known.brand == "Private",
                size: known.package_size.trim(),
                price: prices.get(&item).map(|price| (price * 100.0).round() / 100.0),
            });
            list.len() - 1
        })
    }
}

fn household(dataset: &Dataset, query: &Query, products: &mut Products<'_>) -> Household {
    let id = dataset.users[query.user as usize].clone();
    let feed: Vec<usize> = query.candidates.iter().map(|item| products.place(*item)).collect();
    let bought = feed.iter().zip(&query.relevant).filter(|(_, bought)| **bought).map(|(place, _)| *place).collect();
    let category = |item: u32| dataset.items[item as usize].product_category.as_str();
    let mut shown: BTreeMap<&str, usize> = query.candidates.iter().map(|item| (category(*item), 0)).collect();
    let mut purchases = 0;
    for line in dataset.purchases_between(i64::MIN..query.time_ms).iter().filter(|line| line.user == query.user) {
        purchases += 1;
        if let Some(lines) = shown.get_mut(category(line.item)) {
            *lines += 1;
        }
    }
    let mut favourites: Vec<(&str, usize)> =
        shown.into_iter().filter(|(name, lines)| !name.is_empty() && *lines > 0).collect();
    favourites.sort_by_key(|(_, lines)| Reverse(*lines));
    let favourites = favourites.iter().take(3).map(|(name, _)| title(name)).collect();
    Household { state: format!("states/{id}.bin"), id, purchases, favourites, feed, bought }
}

#[cfg(test)]
mod tests {
    use selvedge_format::container::{Container, Kind};
    use selvedge_format::program::{self, ProgramV1};

    use super::*;

    const RANKER: &[u8] = br#"{"kind": "linear", "bias": 0, "weights": {"sales_28d": 1}}"#;

    #[test]
    fn features_campaign_and_response_model_of_the_recipe_fit_together() {
        let directory = tempfile::tempdir().unwrap();
        let written = coupons(directory.path(), RANKER).unwrap();
        let bytes = std::fs::read(directory.path().join(OFFERS)).unwrap();
        assert_eq!(bytes.len(), written.size.bytes);
        let named: Vec<&str> = written.coupons.offers.iter().map(String::as_str).collect();
        assert_eq!(named, ["own_brand_20", "three_off", "five_off", "free_delivery"]);
        let budgets: Vec<(&str, u64)> =
            written.coupons.budgets.iter().map(|budget| (budget.budget.as_str(), budget.total)).collect();
        assert_eq!(budgets, [("coupons", 12_000)]);
    }

    #[test]
    fn a_state_of_the_ranking_bundles_is_one_of_the_bundle_with_the_campaign() {
        let campaigns = CampaignSpec::parse(CAMPAIGN.0, CAMPAIGN.1).unwrap();
        let ranker = import(RANKER).unwrap();
        let features = FeatureSpec::parse(FEATURES.0, FEATURES.1).unwrap();
        let tables = |bytes: &[u8]| {
            let container = Container::parse(bytes, Kind::Bundle).unwrap();
            let section = container.find(program::TAG).unwrap().range.clone();
            let program = ProgramV1::decode(&bytes[section]).unwrap();
            (program.user_tables, program.global_tables)
        };
        let plain = tables(&bundle(&features, MODEL.1, RANKER).unwrap());
        assert_eq!(tables(&bundle_with_campaign(&campaigns, &ranker).unwrap()), plain);
    }
}
