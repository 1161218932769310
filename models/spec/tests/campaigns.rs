//! `campaign.toml`: what valid campaigns become, and what a person sees for each mistake.

mod shown;

use proptest::prelude::*;
use selvedge_spec::{
    Benefit, Campaign, CampaignSpec, Comparison, FeatureSpec, FieldRef, FieldScope, Margin, Test, Weekday,
};

use shown::render;

const FEATURES: &str = r#"version = 1
[fields.item]
brand = "string"
[fields.user]
country = "string"
age = "number"
tier = "string"
[events]
purchase = {}
[[feature]]
name = "purchases"
kind = "lifetime_count"
scope = "user"
event = "purchase"
by = "all"
[[feature]]
name = "years"
kind = "number"
field = "user.age"
[[feature]]
name = "buys_per_year"
kind = "combine"
op = "ratio"
inputs = ["purchases", "years"]
"#;

const HEAD: &str = r#"version = 1
currency = "EUR"
[budgets.shop]
total = 1_000_000
per_day = 50_000
highest_price = 3.0
[budgets.brand]
total = 500_000
highest_price = 2
[[campaign]]
name = "spring"
response = "response.json"
from = 2026-03-01T00:00:00+01:00
until = 2026-04-01T00:00:00Z
"#;

const MONEY: &str = "margin = 1200\nfunders = { shop = 0.6, brand = 0.4 }\n";

const OFFER: &str = "[[campaign.offer]]\nname = \"five_off\"\namount = 500\nlife = \"7d\"\n";

fn parse(text: &str) -> CampaignSpec {
    CampaignSpec::parse("campaign.toml", text).unwrap_or_else(|error| panic!("{}", render(&error)))
}

fn campaign(body: &str) -> Campaign {
    parse(&format!("{HEAD}{body}{MONEY}{OFFER}")).campaigns.remove(0)
}

#[test]
fn windows_are_instants_and_what_is_left_out_takes_its_default() {
    let campaign = campaign("");
    assert_eq!(campaign.from_ms, 1_772_319_600_000, "midnight in Berlin is 23:00 of the day before in UTC");
    assert_eq!(campaign.until_ms, 1_775_001_600_000);
    assert_eq!((campaign.holdout, campaign.explore, campaign.epoch.get()), (0.0, 0.0, 86_400));
    assert!(campaign.disclosed && campaign.eligible.is_empty() && campaign.hours.is_none());
    assert_eq!(campaign.margin, Margin::Constant(1200.0));
    let offer = &campaign.offers[0];
    assert_eq!((offer.cap, offer.discount), (500, 500.0), "an amount is its own cap, and what is expected to be given");
}

#[test]
fn a_rule_becomes_postfix_with_not_before_and_before_or() {
    let rule = r#"eligible = 'purchases >= 2 or not purchases is missing and user.country in ["de", "at"]'
"#;
    let of = |scope, name: &str| FieldRef { scope, name: name.to_owned() };
    let ops: Vec<String> = campaign(rule)
        .eligible
        .iter()
        .map(|op| match op {
            Test::Compare { feature, how, than, .. } => format!("{feature}{how}{than}"),
            Test::Missing { feature, .. } => format!("{feature}?"),
            Test::Is { field, value, .. } => {
                assert_eq!(*field, of(FieldScope::User, "country"));
                value.clone()
            }
            Test::And => "and".to_owned(),
            Test::Or => "or".to_owned(),
            Test::Not => "not".to_owned(),
        })
        .collect();
    assert_eq!(ops.join(" "), "purchases>=2 purchases? not de at or and or");
}

#[test]
fn unequal_is_not_equal() {
    let ops = campaign("eligible = 'purchases != -1.5'\n").eligible;
    assert!(matches!(&ops[..], [Test::Compare { how: Comparison::Equal, than: -1.5, .. }, Test::Not]));
}

#[test]
fn hours_may_pass_midnight() {
    let hours = campaign("hours = { days = [\"fri\", \"sat\"], from = \"22:00\", until = \"02:30\" }\n").hours.unwrap();
    assert_eq!(hours.days, [Weekday::Friday, Weekday::Saturday]);
    assert_eq!((hours.from_min, hours.until_min), (1320, 150));
}

#[test]
fn every_way_of_giving_is_read() {
    let offers = r#"
[[campaign.offer]]
name = "tenth"
percent = 10
cap = 800
life = "1d"
[[campaign.offer]]
name = "steps"
tiers = [{ spend = 3000, save = 300 }, { spend = 5000, save = 700 }]
only = { department = ["fish", "dairy"] }
except = { id = ["gift-card"] }
life = "1d"
[[campaign.offer]]
name = "shipping"
free_shipping = true
cap = 495
exclusive = true
priority = -5
on = "discounted"
life = "1d"
"#;
    let campaign = parse(&format!("{HEAD}{MONEY}{offers}")).campaigns.remove(0);
    let benefits: Vec<_> = campaign.offers.iter().map(|offer| (&offer.benefit, offer.cap)).collect();
    let steps = Benefit::Tiers(vec![(3000, 300), (5000, 700)]);
    assert_eq!(benefits, [(&Benefit::Percent(10.0), 800), (&steps, 700), (&Benefit::FreeShipping, 495)]);
    assert_eq!(campaign.offers[1].only[0].values, ["dairy", "fish"], "values are kept in order");
    assert_eq!(campaign.offers[2].priority, -5);
}

#[test]
fn what_rules_read_must_be_declared_and_not_excluded() {
    let features = FeatureSpec::parse("features.toml", FEATURES).unwrap();
    let check = |body: &str| parse(&format!("{HEAD}{body}{MONEY}{OFFER}")).check(&features);
    assert!(check("eligible = 'buys_per_year > 1 and user.tier == \"gold\"'\nexcluded = [\"user.country\"]\n").is_ok());
    let body = "eligible = 'buys_per_year > 1 and purchase > 1 and user.age == \"x\" and user.land == \"de\"'\n\
                excluded = [\"user.age\", \"context.page\"]\n";
    insta::assert_snapshot!(render(&check(body).unwrap_err()));
}

fn mistake(text: &str) -> String {
    render(&CampaignSpec::parse("campaign.toml", text).expect_err("the case is a mistake"))
}

/// The message for a campaign with `body`.
fn with(body: &str) -> String {
    mistake(&format!("{HEAD}{body}{MONEY}{OFFER}"))
}

/// The message for a campaign whose offer has `body`.
fn offering(body: &str) -> String {
    mistake(&format!("{HEAD}{MONEY}[[campaign.offer]]\nname = \"it\"\nlife = \"7d\"\n{body}\n"))
}

/// The message for a rule.
fn rule(text: &str) -> String {
    with(&format!("eligible = '{text}'\n"))
}

macro_rules! messages {
    ($($name:ident: $read:ident($($text:tt)+);)+) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!($read($($text)+));
        }
    )+};
}

messages! {
    nothing: mistake("");
    no_budget: mistake("version = 1\ncurrency = \"euro\"\n[budgets]\n");
    zero_budget: mistake(&format!("{HEAD}{MONEY}{OFFER}").replace("total = 1_000_000", "total = 0"));
    a_day_above_the_total: mistake(&format!("{HEAD}{MONEY}{OFFER}").replace("50_000", "2_000_000"));
    never_running: mistake(&format!("{HEAD}{MONEY}{OFFER}").replace("2026-04-01", "2026-02-01"));
    local_time: mistake(&format!("{HEAD}{MONEY}{OFFER}").replace("2026-04-01T00:00:00Z", "2026-04-01T00:00:00"));
    funders_that_do_not_sum: mistake(&format!("{HEAD}{MONEY}{OFFER}").replace("0.4", "0.5"));
    unknown_funder: mistake(&format!("{HEAD}{MONEY}{OFFER}").replace("brand = 0.4", "brnd = 0.4"));
    floor_of_nothing: with("margin_floor = 0.1\n");
    holdout_above_all: with("holdout = 1.5\nepoch = \"30s\"\n");
    hours_of_no_day: with("hours = { days = [], from = \"8:00\", until = \"25:00\" }\n");
    campaign_twice: mistake(&format!("{HEAD}{MONEY}{OFFER}[[campaign]]\nname = \"spring\"\nresponse = \"r.json\"\nfrom = 2026-03-01T00:00:00Z\nuntil = 2026-04-01T00:00:00Z\n{MONEY}{OFFER}"));
    overlapping_exclusives: mistake(&format!("{HEAD}{MONEY}{OFFER}exclusive = true\n[[campaign]]\nname = \"other\"\nresponse = \"r.json\"\nfrom = 2026-03-31T00:00:00Z\nuntil = 2026-05-01T00:00:00Z\n{MONEY}{OFFER}exclusive = true\n"));
    nothing_given: offering("cap = 100");
    two_things_given: offering("amount = 100\npercent = 5");
    percent_without_cap: offering("percent = 10");
    negative_cost: offering("amount = 100\nsending = -1\ndiscount = 200");
    steps_that_fall: offering("tiers = [{ spend = 3000, save = 500 }, { spend = 5000, save = 400 }]");
    saving_more_than_spent: offering("tiers = [{ spend = 300, save = 500 }]");
    a_ladder_that_falls: offering("amount = 500\nladder = \"cash\"\n[[campaign.offer]]\nname = \"less\"\namount = 400\nlife = \"7d\"\nladder = \"cash\"");
    a_ladder_apart: offering("amount = 500\nladder = \"cash\"\n[[campaign.offer]]\nname = \"other\"\namount = 400\nlife = \"7d\"\n[[campaign.offer]]\nname = \"more\"\namount = 600\nlife = \"7d\"\nladder = \"cash\"");
    rule_that_ends: rule("purchases >=");
    rule_without_operator: rule("purchases 2");
    rule_of_an_item: rule("item.brand == \"x\"");
    rule_left_open: rule("(purchases > 1 and user.country == \"de\"");
    rule_with_rest: rule("purchases > 1 purchases > 2");
    rule_too_deep: rule(&format!("{}purchases > 1{}", "(".repeat(20), ")".repeat(20)));
}

proptest! {
    /// Any text either becomes campaigns or is refused with places inside it.
    #[test]
    fn any_rule_is_read_or_refused(rule in "[a-z0-9_.<>=!()\\[\\]\", -]{0,60}") {
        let text = format!("{HEAD}eligible = '{rule}'\n{MONEY}{OFFER}");
        if let Err(error) = CampaignSpec::parse("campaign.toml", &text) {
            for problem in error.problems() {
                prop_assert!(problem.span().offset() + problem.span().len() <= text.len());
            }
            prop_assert!(!render(&error).is_empty());
        }
    }
}
