//! Prices against a slow oracle that follows the page word by word, and the properties that must hold whatever it says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Reverse;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use selvedge_format::terms::{
    BenefitV1, CampaignTermsV1, FunderV1, MAX_LINES, MAX_MINOR, OfferV1, PriceOf, ScopeV1, StackingV1, TermsV1, TestV1,
    TierV1,
};
use selvedge_offer::price::{TakenFrom, leaves_margin};
use selvedge_offer::{Cart, Line, Nothing, Presented, Priced, price};

const CAMPAIGNS: [&str; 3] = ["autumn", "spring", "winter"];

fn line(item: &str, category: &str, quantity: u32, unit_minor: u64) -> Line {
    Line {
        item: item.into(),
        attributes: vec![("category".into(), category.into())],
        quantity,
        unit_minor,
        unit_cost_minor: None,
    }
}

fn in_category(values: &[&str]) -> ScopeV1 {
    let values = values.iter().map(|value| (*value).into()).collect();
    ScopeV1 { only: vec![TestV1 { attribute: "category".into(), values }], except: vec![] }
}

fn offer(name: &str, benefit: BenefitV1) -> OfferV1 {
    OfferV1 {
        offer: name.into(),
        benefit,
        cap: MAX_MINOR,
        min_spend: 0,
        scope: ScopeV1::default(),
        stacking: StackingV1::default(),
        life_s: 1,
    }
}

fn percent(name: &str, share: u16) -> OfferV1 {
    offer(name, BenefitV1::Percent { share })
}

fn amount(name: &str, minor: u64) -> OfferV1 {
    offer(name, BenefitV1::Amount { minor })
}

fn presented(offers: &[OfferV1]) -> Vec<Presented<'_>> {
    offers.iter().map(|offer| Presented { campaign: "spring", offer, margin_floor: 0 }).collect()
}

/// What each offer gives, by name.
fn results<'a>(priced: &Priced<'a>) -> Vec<(&'a str, Result<u64, Nothing>)> {
    priced.offers.iter().map(|it| (it.offer, it.result.as_ref().map(|given| given.minor).map_err(|why| *why))).collect()
}

fn cart(lines: Vec<Line>, shipping_minor: u64) -> Cart {
    Cart::new("EUR", lines, shipping_minor).unwrap()
}

#[test]
fn a_share_is_rounded_down_once_on_the_sum() {
    let cart = cart(vec![line("a", "dairy", 1, 19), line("b", "dairy", 1, 19), line("c", "fish", 1, 999)], 0);
    let offers = [OfferV1 { scope: in_category(&["dairy"]), ..percent("tenth", 1000) }];
    let priced = price(&cart, &presented(&offers));
    // 3.8 of 38; line by line it would have been 1 and 1.
    assert_eq!(results(&priced), [("tenth", Ok(3))]);
    assert_eq!(priced.line_discounts, [2, 1, 0]);
    assert_eq!((priced.total_before_minor(), priced.total_after_minor()), (1037, 1034));
}

#[test]
fn a_share_of_the_list_price_does_not_depend_on_the_others_and_one_of_the_discounted_price_does() {
    let cart = cart(vec![line("a", "dairy", 1, 1000)], 0);
    let of = |on| {
        let first = OfferV1 { stacking: StackingV1 { priority: 1, ..StackingV1::default() }, ..amount("first", 500) };
        let second = OfferV1 { stacking: StackingV1 { on, ..StackingV1::default() }, ..percent("second", 1000) };
        let offers = [second, first];
        let priced = price(&cart, &presented(&offers));
        results(&priced)[1].1
    };
    assert_eq!((of(PriceOf::List), of(PriceOf::Discounted)), (Ok(100), Ok(50)));
}

#[test]
fn thresholds_are_taken_of_the_same_price_as_shares() {
    let cart = cart(vec![line("a", "dairy", 1, 1000)], 0);
    let of = |on| {
        let first = OfferV1 { stacking: StackingV1 { priority: 1, ..StackingV1::default() }, ..amount("first", 500) };
        let stacking = StackingV1 { on, ..StackingV1::default() };
        let second = OfferV1 { min_spend: 501, stacking, ..amount("second", 10) };
        let offers = [first, second];
        let priced = price(&cart, &presented(&offers));
        results(&priced)[1].1
    };
    assert_eq!((of(PriceOf::List), of(PriceOf::Discounted)), (Ok(10), Err(Nothing::BelowMinimum)));
}

#[test]
fn a_tiered_offer_gives_what_the_highest_step_gives_that_is_reached() {
    let steps = vec![TierV1 { spend: 3000, save: 300 }, TierV1 { spend: 5000, save: 700 }];
    let offers = [offer("steps", BenefitV1::Tiers { steps })];
    let of = |price_minor| {
        let cart = cart(vec![line("a", "dairy", 1, price_minor)], 0);
        results(&price(&cart, &presented(&offers)))[0].1
    };
    let below = Err(Nothing::BelowMinimum);
    assert_eq!([2999, 3000, 4999, 5000, 90_000].map(of), [below, Ok(300), Ok(300), Ok(700), Ok(700)]);
}

#[test]
fn free_shipping_gives_the_shipping_up_to_its_cap_and_wants_a_line_in_scope() {
    let free = OfferV1 { scope: in_category(&["dairy"]), cap: 400, ..offer("free", BenefitV1::FreeShipping) };
    let offers = [free];
    let of = |category, shipping_minor| {
        let cart = cart(vec![line("a", category, 1, 100)], shipping_minor);
        let priced = price(&cart, &presented(&offers));
        (results(&priced)[0].1, priced.shipping_discount, priced.total_after_minor())
    };
    assert_eq!(of("dairy", 300), (Ok(300), 300, 100));
    assert_eq!(of("dairy", 499), (Ok(400), 400, 199));
    assert_eq!(of("dairy", 0), (Err(Nothing::NothingLeft), 0, 100));
    assert_eq!(of("fish", 300), (Err(Nothing::NoLineInScope), 0, 400));
}

#[test]
fn an_exclusive_offer_is_applied_alone_or_not_at_all() {
    let cart = cart(vec![line("a", "dairy", 1, 1000)], 0);
    let of = |exclusive_priority: i16, minimum: u64| {
        let stacking = StackingV1 { exclusive: true, priority: exclusive_priority, ..StackingV1::default() };
        let alone = OfferV1 { stacking, min_spend: minimum, ..amount("alone", 50) };
        let offers = [amount("one", 10), amount("two", 10), alone];
        results(&price(&cart, &presented(&offers)))
            .iter()
            .map(|(name, result)| format!("{name} {result:?}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(1, 0), ["alone Ok(50)", "one Err(Exclusive)", "two Err(Exclusive)"]);
    assert_eq!(of(-1, 0), ["one Ok(10)", "two Ok(10)", "alone Err(Exclusive)"]);
    assert_eq!(
        of(1, 1001),
        ["alone Err(BelowMinimum)", "one Ok(10)", "two Ok(10)"],
        "what gives nothing shuts nobody out"
    );
}

#[test]
fn of_a_group_the_first_that_gives_something_is_applied() {
    let cart = cart(vec![line("a", "dairy", 1, 1000)], 0);
    let grouped = |offer: OfferV1, priority, min_spend| OfferV1 {
        min_spend,
        stacking: StackingV1 { group: "week".into(), priority, ..StackingV1::default() },
        ..offer
    };
    let offers = [
        grouped(amount("third", 30), 1, 0),
        grouped(amount("second", 20), 2, 0),
        grouped(amount("first", 10), 3, 5000),
        amount("other", 5),
    ];
    let priced = price(&cart, &presented(&offers));
    let expected = [
        ("first", Err(Nothing::BelowMinimum)),
        ("second", Ok(20)),
        ("third", Err(Nothing::ExcludedByGroup)),
        ("other", Ok(5)),
    ];
    assert_eq!(results(&priced), expected);
}

#[test]
fn one_offer_is_applied_once_however_often_it_is_presented() {
    let cart = cart(vec![line("a", "dairy", 1, 1000)], 0);
    let (old, new) = (amount("five", 500), OfferV1 { cap: 400, ..amount("five", 500) });
    let twice = [old.clone(), old.clone()];
    assert_eq!(results(&price(&cart, &presented(&twice))), [("five", Ok(500)), ("five", Err(Nothing::Repeated))]);
    let (one, other) = ([old.clone(), new.clone()], [new, old]);
    assert_eq!(
        price(&cart, &presented(&one)).total_after_minor(),
        price(&cart, &presented(&other)).total_after_minor()
    );
}

#[test]
fn nothing_is_left_to_give_when_everything_is_given() {
    let cart = cart(vec![line("a", "dairy", 1, 1000), line("b", "dairy", 1, 0)], 0);
    let offers = [percent("all", 10_000), amount("more", 1)];
    let priced = price(&cart, &presented(&offers));
    assert_eq!(results(&priced), [("all", Ok(1000)), ("more", Err(Nothing::NothingLeft))]);
    assert_eq!(priced.total_after_minor(), 0);
    let rounds = [percent("tiny", 9)];
    assert_eq!(results(&price(&cart, &presented(&rounds))), [("tiny", Err(Nothing::RoundsToNothing))]);
}

#[test]
fn an_offer_that_would_leave_too_little_margin_is_passed_over() {
    let with_cost = |cost| Line { unit_cost_minor: cost, ..line("a", "dairy", 1, 1000) };
    let offers = [amount("one", 100), amount("two", 100)];
    let of = |cost, margin_floor| {
        let cart = cart(vec![with_cost(cost)], 0);
        let presented: Vec<_> = presented(&offers).iter().map(|it| Presented { margin_floor, ..*it }).collect();
        let priced = price(&cart, &presented);
        (results(&priced).iter().map(|(_, result)| *result).collect::<Vec<_>>(), priced.margin_minor())
    };
    let (given, refused) = (Ok(100), Err(Nothing::MarginFloor));
    assert_eq!(of(Some(700), 2000), (vec![given, refused], Some(200)));
    assert_eq!(of(Some(700), 2001), (vec![refused, refused], Some(300)));
    assert_eq!(of(Some(900), 0), (vec![given, given], Some(-100)), "without a floor");
    assert_eq!(of(None, 2001), (vec![given, given], None), "where the cost is not known");
}

#[test]
fn the_floor_is_of_the_price_before_offers() {
    assert!(leaves_margin(1000, 700, 200, 1000) && !leaves_margin(1000, 700, 201, 1000));
    assert!(!leaves_margin(1000, 1001, 0, 1), "a cart below cost leaves no margin");
    assert!(leaves_margin(1 << 57, 0, 0, 10_000), "at the limits of a cart");
}

#[test]
fn an_offer_of_a_campaign_is_found_by_name() {
    let campaign = CampaignTermsV1 {
        campaign: "spring".into(),
        funders: vec![FunderV1 { budget: "shop".into(), share: 10_000 }],
        margin_floor: 500,
        disclosed: true,
        excluded: vec![],
        offers: vec![amount("five", 500)],
    };
    let found = Presented::of(&campaign, "five").unwrap();
    assert_eq!((found.campaign, found.offer, found.margin_floor), ("spring", &campaign.offers[0], 500));
    assert!(Presented::of(&campaign, "six").is_none());
}

#[test]
fn a_cart_of_100_000_lines_that_all_tie_is_priced() {
    let lines = (0..MAX_LINES).map(|at| line(["a", "b"][at % 2], "dairy", 1, 101)).collect();
    let cart = cart(lines, 499);
    let stacking = StackingV1 { on: PriceOf::Discounted, ..StackingV1::default() };
    let offers: Vec<_> =
        (0..16).map(|at| OfferV1 { stacking: stacking.clone(), ..percent(&format!("offer-{at}"), 333) }).collect();
    let priced = price(&cart, &presented(&offers));
    assert_eq!(priced.line_discounts.iter().sum::<u64>(), priced.discount_minor());
    assert!(priced.offers.iter().all(|outcome| outcome.result.is_ok()));
    let spread = (priced.line_discounts.iter().min().unwrap(), priced.line_discounts.iter().max().unwrap());
    assert!(spread.1 - spread.0 <= 1, "equal lines get equal parts, to the unit: {spread:?}");
}

/// The oracle: the rules of the module, one after the other, with no care for time. Gives what each offer gives, and
/// what is left of every line and of the shipping.
fn oracle(cart: &Cart, presented: &[Presented<'_>]) -> (Vec<Result<u64, Nothing>>, Vec<i128>, i128) {
    let passes = |line: &Line, test: &TestV1| {
        let mut all = line.attributes.clone();
        all.push(("id".into(), line.item.clone()));
        all.iter().any(|(name, value)| *name == test.attribute && test.values.contains(value))
    };
    let list: Vec<i128> =
        cart.lines().iter().map(|line| i128::from(line.unit_minor) * i128::from(line.quantity)).collect();
    let total: i128 = list.iter().sum();
    let cost: Option<i128> =
        cart.lines().iter().map(|line| Some(i128::from(line.unit_cost_minor?) * i128::from(line.quantity))).sum();
    let (mut left, mut shipping) = (list.clone(), i128::from(cart.shipping_minor()));
    let mut tried = presented.to_vec();
    tried.sort_by_key(|it| {
        (Reverse(it.offer.stacking.priority), it.campaign, &it.offer.offer, it.offer.hash(), it.margin_floor)
    });
    let mut applied: Vec<Presented<'_>> = Vec::new();
    let mut results = Vec::new();
    for it in tried {
        let offer = it.offer;
        let in_scope: Vec<usize> = (0..list.len())
            .filter(|at| offer.scope.only.iter().all(|test| passes(&cart.lines()[*at], test)))
            .filter(|at| offer.scope.except.iter().all(|test| !passes(&cart.lines()[*at], test)))
            .collect();
        let of = |prices: &[i128]| in_scope.iter().map(|at| prices[*at]).sum::<i128>();
        let spend = if offer.stacking.on == PriceOf::List { of(&list) } else { of(&left) };
        let is_shipping = matches!(offer.benefit, BenefitV1::FreeShipping);
        let room = if is_shipping { shipping } else { of(&left) };
        let wanted = match &offer.benefit {
            BenefitV1::Percent { share } => Some(spend * i128::from(*share) / 10_000),
            BenefitV1::Amount { minor } => Some(i128::from(*minor)),
            BenefitV1::Tiers { steps } => {
                steps.iter().filter(|step| i128::from(step.spend) <= spend).map(|step| i128::from(step.save)).max()
            }
            BenefitV1::FreeShipping => Some(room),
        };
        let gives = wanted.unwrap_or(0).min(i128::from(offer.cap)).min(room);
        let given: i128 = total - left.iter().sum::<i128>() + i128::from(cart.shipping_minor()) - shipping;
        let leaves_too_little = cost.is_some_and(|cost| {
            it.margin_floor > 0 && (total - cost - given - gives) * 10_000 < total * i128::from(it.margin_floor)
        });
        let group = &offer.stacking.group;
        let any = |holds: &dyn Fn(&Presented<'_>) -> bool| applied.iter().any(holds);
        let nothing = [
            (any(&|was| was.campaign == it.campaign && was.offer.offer == offer.offer), Nothing::Repeated),
            (any(&|was| was.offer.stacking.exclusive || offer.stacking.exclusive), Nothing::Exclusive),
            (any(&|was| !group.is_empty() && was.offer.stacking.group == *group), Nothing::ExcludedByGroup),
            (in_scope.is_empty(), Nothing::NoLineInScope),
            (spend < i128::from(offer.min_spend) || wanted.is_none(), Nothing::BelowMinimum),
            (room == 0, Nothing::NothingLeft),
            (gives == 0, Nothing::RoundsToNothing),
            (leaves_too_little, Nothing::MarginFloor),
        ];
        if let Some((_, why)) = nothing.iter().find(|(holds, _)| *holds) {
            results.push(Err(*why));
            continue;
        }
        if is_shipping {
            shipping -= gives;
        } else {
            let before = left.clone();
            in_scope.iter().for_each(|at| left[*at] -= gives * before[*at] / room);
            let mut missing = gives - in_scope.iter().map(|at| before[*at] - left[*at]).sum::<i128>();
            let mut by_remainder = in_scope.clone();
            by_remainder.sort_by_key(|at| {
                (Reverse(gives * before[*at] % room), Reverse(before[*at]), cart.lines()[*at].clone(), *at)
            });
            for at in by_remainder {
                let part = missing.min(1);
                left[at] -= part;
                missing -= part;
            }
        }
        applied.push(it);
        results.push(Ok(gives as u64));
    }
    (results, left, shipping)
}

/// Few values, so that lines tie, groups clash and scopes overlap.
fn lines() -> impl Strategy<Value = Vec<Line>> {
    let text = || select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    let attributes = btree_map(select(vec!["brand", "category"]).prop_map(str::to_owned), text(), 0..=2);
    let unit = || prop_oneof![8 => 0..40_u64, 2 => 0..5000_u64, 1 => Just(MAX_MINOR / 4)];
    let line = (text(), attributes, 1..=3_u32, unit(), option::weighted(0.9, unit()));
    let line = line.prop_map(|(item, attributes, quantity, unit_minor, unit_cost_minor)| Line {
        item,
        attributes: attributes.into_iter().collect(),
        quantity,
        unit_minor,
        unit_cost_minor,
    });
    vec(line, 0..12)
}

fn offers() -> impl Strategy<Value = Vec<(usize, OfferV1, u16)>> {
    let benefit = prop_oneof![
        (1..=10_000_u16).prop_map(|share| BenefitV1::Percent { share }),
        (1..300_u64).prop_map(|minor| BenefitV1::Amount { minor }),
        (1..60_u64, 1..60_u64, 1..60_u64, 1..60_u64).prop_map(|(save, more, spend, apart)| {
            let first = TierV1 { spend: save + spend, save };
            let second = TierV1 { spend: first.spend + more + apart, save: save + more };
            BenefitV1::Tiers { steps: vec![first, second] }
        }),
        Just(BenefitV1::FreeShipping),
    ];
    let values = vec![vec!["a"], vec!["b"], vec!["a", "c"], vec!["a", "b", "c"]];
    let test = (select(vec!["id", "brand", "category"]), select(values)).prop_map(|(attribute, values)| TestV1 {
        attribute: attribute.into(),
        values: values.into_iter().map(str::to_owned).collect(),
    });
    let scope = (vec(test.clone(), 0..2), vec(test, 0..2)).prop_map(|(only, except)| ScopeV1 { only, except });
    let on = select(vec![PriceOf::List, PriceOf::Discounted]);
    let stacking = (select(vec!["", "", "x", "y"]), prop::bool::weighted(0.15), -2..=2_i16, on)
        .prop_map(|(group, exclusive, priority, on)| StackingV1 { group: group.into(), exclusive, priority, on });
    let cap = prop_oneof![1..200_u64, Just(MAX_MINOR)];
    let minimum = prop_oneof![3 => Just(0_u64), 1 => 0..200_u64];
    let offer = (select(vec!["one", "two", "three"]), benefit, cap, minimum, scope, stacking).prop_map(
        |(name, benefit, cap, min_spend, scope, stacking)| OfferV1 {
            offer: name.into(),
            benefit,
            cap,
            min_spend,
            scope,
            stacking,
            life_s: 60,
        },
    );
    let floor = prop_oneof![3 => Just(0_u16), 1 => 0..=10_000_u16];
    vec((0..CAMPAIGNS.len(), offer, floor), 0..7)
}

fn claimed(offers: &[(usize, OfferV1, u16)]) -> Vec<Presented<'_>> {
    let claimed = offers.iter();
    claimed.map(|(at, offer, floor)| Presented { campaign: CAMPAIGNS[*at], offer, margin_floor: *floor }).collect()
}

/// Lines with what they are discounted by, in an order that does not depend on the cart's.
fn discounted_lines(cart: &Cart, priced: &Priced<'_>) -> Vec<(Line, u64)> {
    let mut lines: Vec<_> = cart.lines().iter().cloned().zip(priced.line_discounts.iter().copied()).collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn offers_give_what_the_oracle_says(lines in lines(), offers in offers(), shipping in 0..600_u64) {
        let cart = cart(lines, shipping);
        let presented = claimed(&offers);
        let priced = price(&cart, &presented);
        let (expected, left, shipping_left) = oracle(&cart, &presented);
        prop_assert_eq!(results(&priced).into_iter().map(|(_, result)| result).collect::<Vec<_>>(), expected);
        let is_left = cart.lines().iter().zip(&priced.line_discounts);
        let is_left: Vec<_> = is_left.map(|(line, discount)| i128::from(line.price_minor()) - i128::from(*discount)).collect();
        prop_assert_eq!(is_left, left);
        prop_assert_eq!(i128::from(cart.shipping_minor() - priced.shipping_discount), shipping_left);
    }

    #[test]
    fn nothing_goes_below_zero_or_past_a_cap_and_parts_add_up(
        lines in lines(), offers in offers(), shipping in 0..600_u64,
    ) {
        let cart = cart(lines, shipping);
        let presented = claimed(&offers);
        let priced = price(&cart, &presented);
        let mut by_line = vec![0; cart.lines().len()];
        let mut from_shipping = 0;
        for outcome in &priced.offers {
            let Ok(given) = &outcome.result else { continue };
            let named = |it: &&Presented<'_>| it.campaign == outcome.campaign && it.offer.offer == outcome.offer;
            let cap = presented.iter().filter(named).map(|it| it.offer.face()).max().unwrap();
            prop_assert!((1..=cap).contains(&given.minor));
            match &given.from {
                TakenFrom::Lines(parts) => {
                    prop_assert_eq!(parts.iter().map(|(_, part)| part).sum::<u64>(), given.minor);
                    prop_assert!(parts.windows(2).all(|pair| pair[0].0 < pair[1].0));
                    parts.iter().for_each(|(at, part)| by_line[*at] += part);
                }
                TakenFrom::Shipping => from_shipping += given.minor,
            }
        }
        prop_assert_eq!(&by_line, &priced.line_discounts);
        prop_assert_eq!(from_shipping, priced.shipping_discount);
        prop_assert!(cart.lines().iter().zip(&by_line).all(|(line, discount)| *discount <= line.price_minor()));
        prop_assert!(from_shipping <= cart.shipping_minor());
        prop_assert_eq!(priced.total_after_minor() + priced.discount_minor(), priced.total_before_minor());
    }

    #[test]
    fn neither_the_order_of_lines_nor_that_of_offers_matters(
        (lines, shuffled_lines) in lines().prop_flat_map(|lines| (Just(lines.clone()), Just(lines).prop_shuffle())),
        (offers, shuffled_offers) in offers().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        shipping in 0..600_u64,
    ) {
        let (one, other) = (cart(lines, shipping), cart(shuffled_lines, shipping));
        let (first, second) = (price(&one, &claimed(&offers)), price(&other, &claimed(&shuffled_offers)));
        prop_assert_eq!(results(&first), results(&second));
        prop_assert_eq!(discounted_lines(&one, &first), discounted_lines(&other, &second));
        prop_assert_eq!(first.total_after_minor(), second.total_after_minor());
    }

    #[test]
    fn an_offer_alone_never_gives_less_for_a_larger_cart_or_cap(
        lines in lines(), further in lines(), offers in offers(), shipping in 0..600_u64, more in 1..50_u64,
    ) {
        for (_, offer, _) in &offers {
            let gives = |lines: Vec<Line>, offer: &OfferV1| {
                price(&cart(lines, shipping), &presented(std::slice::from_ref(offer))).discount_minor()
            };
            let alone = gives(lines.clone(), offer);
            prop_assert!(gives([lines.clone(), further.clone()].concat(), offer) >= alone);
            let dearer = lines.iter().map(|line| Line { unit_minor: line.unit_minor + more, ..line.clone() });
            prop_assert!(gives(dearer.collect(), offer) >= alone);
            let higher_cap = OfferV1 { cap: (offer.cap + more).min(MAX_MINOR), ..offer.clone() };
            prop_assert!(gives(lines.clone(), &higher_cap) >= alone);
        }
    }

    #[test]
    fn every_offer_of_these_tests_is_one_that_a_bundle_can_hold(offers in offers()) {
        for (at, offer, margin_floor) in offers {
            let campaign = CampaignTermsV1 {
                campaign: CAMPAIGNS[at].into(),
                funders: vec![FunderV1 { budget: "shop".into(), share: 10_000 }],
                margin_floor,
                disclosed: false,
                excluded: vec![],
                offers: vec![offer],
            };
            prop_assert_eq!(TermsV1 { currency: "EUR".into(), campaigns: vec![campaign] }.validate(), Ok(()));
        }
    }
}
