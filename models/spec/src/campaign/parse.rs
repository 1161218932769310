//! From the text of `campaign.toml` to a [`CampaignSpec`].

use std::ops::RangeInclusive;

use miette::SourceSpan;

use super::{Benefit, Budget, Campaign, CampaignSpec, Cap, Hours, LineTest, Margin, Offer, Test, rule};
use crate::document;
use crate::error::{Problem, ProblemKind, Problems, Source, SpecError};
use crate::feature::FieldRef;
use crate::reader::{Bounds, NON_NEGATIVE, POSITIVE, Table, UNIT, Value, all, refuse_duplicates};
use crate::seconds::Seconds;
use crate::suggest;
use crate::vocabulary::{FieldScope, PriceOf, Weekday, Word};

/// Amounts in minor units; sums over a cart of 100,000 lines stay in 64 bits.
const MINOR: RangeInclusive<u64> = 1..=1 << 40;
const MINOR_OR_NONE: RangeInclusive<u64> = 0..=1 << 40;
/// Per cent of a price.
const PERCENT: Bounds = (std::ops::Bound::Excluded(0.0), std::ops::Bound::Included(100.0));
/// A price may be high; a price in millionths must fit 63 bits.
const PRICE: Bounds = (std::ops::Bound::Included(0.0), std::ops::Bound::Included(1e9));
/// Longest life of an offer: what a lost edge reserved comes back only after it.
const MAX_LIFE: Seconds = Seconds(400 * 86_400);
const MAX_OFFERS: usize = 16;
const MAX_CAMPAIGNS: usize = 64;
const MAX_CAPS: usize = 8;
const MAX_TIERS: usize = 16;
const MAX_VALUES: usize = 1024;
const MAX_TESTS: usize = 16;
/// Longest attribute of a line, and longest value of one, in bytes.
const MAX_TEXT: usize = 256;
const MIN_EPOCH: Seconds = Seconds(60);
const DAY: Seconds = Seconds(86_400);

impl CampaignSpec {
    /// Reads the text of a `campaign.toml`; `name` is what messages call it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    ///
    /// ```
    /// use selvedge_spec::CampaignSpec;
    /// let campaigns = CampaignSpec::parse("campaign.toml", r#"
    ///     version = 1
    ///     currency = "EUR"
    ///     [budgets.spring]
    ///     total = 1_000_000
    ///     highest_price = 3.0
    ///     [[campaign]]
    ///     name = "spring"
    ///     response = "response.json"
    ///     from = 2026-03-01T00:00:00+01:00
    ///     until = 2026-04-01T00:00:00+02:00
    ///     margin = 1200
    ///     funders = { spring = 1.0 }
    ///     [[campaign.offer]]
    ///     name = "five_off"
    ///     amount = 500
    ///     life = "7d"
    /// "#)?;
    /// assert_eq!(campaigns.campaigns[0].offers[0].cap, 500);
    /// # Ok::<(), selvedge_spec::SpecError>(())
    /// ```
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        let source = Source::new(name, text);
        document::parse(source.clone(), |root, problems| read(root, problems, source))
    }
}

fn read(root: Table<'_>, problems: &Problems, source: Source) -> Option<CampaignSpec> {
    document::version(&root);
    let currency = root.required("currency").and_then(currency);
    let budgets = root.required_section("budgets");
    // A budget with a mistake is still one that a campaign may name.
    let named = budgets.as_ref().map(Table::named).unwrap_or_default();
    let known: Vec<String> = named.into_iter().map(|(name, _)| name.text).collect();
    let budgets = budgets.and_then(|table| self::budgets(&table, problems));
    let campaigns = root.required("campaign").and_then(|value| value.list_of(1..=MAX_CAMPAIGNS));
    let campaigns = campaigns.map(|list| {
        let tables = list.into_iter().filter_map(|value| value.table("[[campaign]]".to_owned()));
        all(tables.map(|table| campaign(table, &known, problems)))
    });
    root.finish();
    let campaigns = campaigns??;
    refuse_duplicates("the campaign", campaigns.iter().map(|one| (one.name.as_str(), one.span)), problems);
    refuse_equal_exclusives(&campaigns, problems);
    Some(CampaignSpec { currency: currency?, budgets: budgets?, campaigns, source })
}

fn currency(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Some(text.to_owned())
    } else {
        value.out_of_range("a currency's code of three capital letters (ISO 4217), such as \"EUR\"")
    }
}

fn budgets(table: &Table<'_>, problems: &Problems) -> Option<Vec<Budget>> {
    let named = table.named();
    if named.is_empty() {
        let message = "[budgets] declares no budget: nothing could be spent";
        let problem = Problem::new(ProblemKind::MissingKey, table.span(), message, "no budget");
        table.report(problem.help("declare one as `[budgets.spring]` with its `total` in minor units"));
        return None;
    }
    all(named.into_iter().map(|(name, value)| {
        name.check(problems);
        let table = value.table(format!("[budgets.{}]", name.text))?;
        let total = table.required("total").and_then(|value| value.integer(MINOR));
        let per_day = table.optional("per_day");
        let limit = per_day.map(|value| value.integer(MINOR));
        let highest_price = table.required("highest_price").and_then(|value| value.number(PRICE));
        table.finish();
        if let (Some(value), Some(Some(limit)), Some(total)) = (per_day, limit, total)
            && limit > total
        {
            return value.out_of_range(format_args!("at most the total, {total}"));
        }
        let per_day = limit.map_or(Some(None), |limit| limit.map(Some));
        Some(Budget { name: name.text, total: total?, per_day: per_day?, highest_price: highest_price? })
    }))
}

fn campaign(mut table: Table<'_>, budgets: &[String], problems: &Problems) -> Option<Campaign> {
    let name = table.required("name").and_then(Value::name);
    if let Some(name) = &name {
        table.rename(format!("campaign `{}`", name.text), name.span);
    }
    let response = table.required("response").and_then(Value::present_text);
    let from = table.required("from").and_then(Value::instant);
    let until = table.required("until");
    let until_ms = until.and_then(Value::instant);
    let hours = table.section("hours").map(hours);
    let eligible = table.optional_or("eligible", Vec::new(), |value| eligible(value, problems));
    let caps = table.sections("caps", "[[campaign.caps]]");
    let too_many = caps.len() > MAX_CAPS;
    let caps = all(caps.into_iter().map(cap));
    let holdout = table.optional_or("holdout", 0.0, |value| value.number(UNIT));
    let explore = table.optional_or("explore", 0.0, |value| value.number(UNIT));
    let epoch = table.optional_or("epoch", DAY, |value| at_least(value, MIN_EPOCH));
    let goal = table.optional_or("goal", crate::vocabulary::Goal::Profit, Value::word);
    let caution = table.optional_or("caution", 0.0, |value| value.single(NON_NEGATIVE));
    let margin = table.required("margin").and_then(margin);
    let order = table.optional("order").map(|value| value.integer(MINOR));
    let margin_floor = table.optional("margin_floor");
    let floor = margin_floor.map_or(Some(0.0), |value| value.number(UNIT));
    let disclosed = table.optional_or("disclosed", true, Value::boolean);
    let excluded = table.optional_or("excluded", Vec::new(), |value| excluded(value, problems));
    let funders = table.required("funders").and_then(|value| funders(value, budgets));
    let offers = table.required("offer").and_then(|value| value.list_of(1..=MAX_OFFERS));
    let offers = offers.map(|list| {
        let tables = list.into_iter().filter_map(|value| value.table("[[campaign.offer]]".to_owned()));
        all(tables.map(|table| offer(table, problems)))
    });
    let span = table.span();
    table.finish();
    if let (Some(from), Some(until_ms), Some(value)) = (from, until_ms, until)
        && until_ms <= from
    {
        value.out_of_range::<()>("after `from`: the campaign would never run");
    }
    if too_many {
        let message = format!("more than {MAX_CAPS} caps, of which a bundle holds {MAX_CAPS}");
        problems.report(Problem::new(ProblemKind::OutOfRange, span, message, "too many caps"));
    }
    if let (Some(value), None) = (margin_floor, order) {
        let message = "a margin floor is a share of the expected order, which the campaign does not say";
        let problem = Problem::new(ProblemKind::MissingKey, value.span, message, "a share of what?");
        problems.report(problem.help("say `order = ...`, the price of a usual order in minor units"));
    }
    let offers = offers??;
    refuse_duplicates("the offer", offers.iter().map(|offer| (offer.name.as_str(), offer.span)), problems);
    refuse_broken_ladders(&offers, problems);
    let name = name?;
    Some(Campaign {
        name: name.text,
        response: response?.to_owned(),
        from_ms: from?,
        until_ms: until_ms?,
        hours: hours.map_or(Some(None), |hours| hours.map(Some))?,
        eligible: eligible?,
        caps: caps?,
        holdout: holdout?,
        explore: explore?,
        epoch: epoch?,
        goal: goal?,
        caution: caution?,
        margin: margin?,
        margin_floor: floor?,
        order: order.unwrap_or(Some(0))?,
        disclosed: disclosed?,
        excluded: excluded?,
        funders: funders?,
        offers,
        span: name.span,
    })
}

fn at_least(value: Value<'_>, least: Seconds) -> Option<Seconds> {
    value
        .duration()
        .and_then(|span| if span < least { value.out_of_range(format_args!("at least {least}")) } else { Some(span) })
}

fn hours(table: Table<'_>) -> Option<Hours> {
    let days = table.optional("days").map_or(Some(Weekday::ALL.to_vec()), |value| {
        value.list_of(1..=7).and_then(|days| all(days.into_iter().map(Value::word)))
    });
    let from = table.required("from").and_then(time_of_day);
    let until = table.required("until").and_then(time_of_day);
    table.finish();
    Some(Hours { days: days?, from_min: from?.min(1439), until_min: until? })
}

/// Minutes of the day: `"08:30"`; `"24:00"` ends a day.
fn time_of_day(value: Value<'_>) -> Option<u16> {
    let text = value.text()?;
    let minutes = text.split_once(':').and_then(|(hours, minutes)| {
        let part = |text: &str, most: u16| {
            (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten().filter(|part| *part <= most)
        };
        Some(part(hours, 24)? * 60 + part(minutes, 59)?)
    });
    minutes
        .filter(|minutes| *minutes <= 1440)
        .or_else(|| value.out_of_range("a time of the day, from \"00:00\" to \"24:00\""))
}

fn eligible(value: Value<'_>, problems: &Problems) -> Option<Vec<Test>> {
    let text = value.text()?;
    // Behind the opening quote; a text with escapes is longer in the file than here, so places in it are near, not exact.
    rule::parse(text, value.span.offset() + 1, problems)
}

fn cap(table: Table<'_>) -> Option<Cap> {
    let by = table.optional_or("by", crate::vocabulary::CapBy::User, Value::word);
    let count = table.required("count").and_then(|value| value.integer(1..=1_000_000));
    let period = table.optional("period").map(Value::duration);
    table.finish();
    Some(Cap { by: by?, count: count?, period: period.map_or(Some(None), |period| period.map(Some))? })
}

fn margin(value: Value<'_>) -> Option<Margin> {
    if value.as_text().is_some() {
        let name = value.name()?;
        return Some(Margin::Feature { name: name.text, span: name.span });
    }
    value.single(POSITIVE).map(Margin::Constant)
}

fn excluded(value: Value<'_>, problems: &Problems) -> Option<Vec<(FieldRef, SourceSpan)>> {
    all(value.list_of(0..=MAX_TESTS)?.into_iter().map(|entry| {
        let text = entry.text()?;
        let field = text.split_once('.').and_then(|(scope, name)| {
            let scope = FieldScope::from_word(scope).filter(|scope| *scope != FieldScope::Item)?;
            Some(FieldRef { scope, name: name.to_owned() })
        });
        if field.is_none() {
            let message = format!("`{text}` is not a field of the user or the context");
            let problem = Problem::new(ProblemKind::UnknownField, entry.span, message, "not such a field");
            problems.report(problem.help("write `user.` or `context.` and the name of a declared field"));
        }
        Some((field?, entry.span))
    }))
}

fn funders(value: Value<'_>, budgets: &[String]) -> Option<Vec<(String, f64)>> {
    let funders = all(value.table("`funders`".to_owned())?.named().into_iter().map(|(name, share)| {
        if !budgets.contains(&name.text) {
            let known: Vec<_> = budgets.iter().map(String::as_str).collect();
            let help = suggest::help(&name.text, "budgets", &known);
            return share.unknown(ProblemKind::UnknownValue, "budget", &name.text, help);
        }
        Some((name.text, share.number(crate::reader::FRACTION)?))
    }))?;
    let sum: f64 = funders.iter().map(|(_, share)| share).sum();
    // Shares are kept in ten-thousandths.
    if (sum - 1.0).abs() > 1e-9 || funders.len() > 8 {
        return value.out_of_range(format_args!("a table of 1 to 8 budgets whose shares sum to 1, not to {sum}"));
    }
    Some(funders)
}

fn offer(mut table: Table<'_>, problems: &Problems) -> Option<Offer> {
    let name = table.required("name").and_then(Value::name);
    if let Some(name) = &name {
        table.rename(format!("offer `{}`", name.text), name.span);
    }
    let benefit = benefit(&table);
    let cap = table.optional("cap").map(|value| value.integer(MINOR));
    let min_spend = table.optional_or("min_spend", 0, |value| value.integer(MINOR_OR_NONE));
    let only = table.section("only").map_or(Some(Vec::new()), |table| line_tests(&table));
    let except = table.section("except").map_or(Some(Vec::new()), |table| line_tests(&table));
    let group = table.optional("group").map(Value::name);
    let exclusive = table.optional_or("exclusive", false, Value::boolean);
    let priority = table.optional_or("priority", 0, priority);
    let on = table.optional_or("on", PriceOf::List, Value::word);
    let life = table.required("life").and_then(|value| {
        value.duration().and_then(|life| {
            if life > MAX_LIFE { value.out_of_range(format_args!("at most {MAX_LIFE}")) } else { Some(life) }
        })
    });
    let ladder = table.optional("ladder").map(Value::name);
    let discount = table.optional("discount");
    let expected = discount.map(|value| value.single(NON_NEGATIVE));
    let sending = table.optional_or("sending", 0.0, |value| value.single(NON_NEGATIVE));
    let span = table.span();
    table.finish();
    let benefit = benefit?;
    // Where the benefit itself says what it can cost, that is its cap.
    let cap = match (cap, &benefit) {
        (Some(cap), _) => cap?,
        (None, Benefit::Amount(minor)) => *minor,
        (None, Benefit::Tiers(steps)) => steps.last()?.1,
        (None, Benefit::Percent(_) | Benefit::FreeShipping) => {
            let message = "the offer could cost any amount: a budget reserves the most that it can cost";
            let problem = Problem::new(ProblemKind::MissingKey, span, message, "needs a `cap`");
            problems.report(problem.help("say `cap = ...`, the most that is given, in minor units"));
            return None;
        }
    };
    let expected = expected.map_or(Some(cap as f32), |expected| expected)?;
    if let Some(value) = discount
        && f64::from(expected) > cap as f64
    {
        return value.out_of_range(format_args!("at most the cap, {cap}"));
    }
    let name = name?;
    Some(Offer {
        name: name.text,
        benefit,
        cap,
        min_spend: min_spend?,
        only: only?,
        except: except?,
        group: group.map_or(Some(None), |group| group.map(|name| Some(name.text)))?,
        exclusive: exclusive?,
        priority: priority?,
        on: on?,
        life: life?,
        ladder: ladder.map_or(Some(None), |ladder| ladder.map(|name| Some(name.text)))?,
        discount: expected,
        sending: sending?,
        span: name.span,
    })
}

/// Exactly one of the ways of giving.
fn benefit(table: &Table<'_>) -> Option<Benefit> {
    const WAYS: &str = "`percent`, `amount`, `tiers` or `free_shipping`";
    let percent = table.optional("percent");
    let amount = table.optional("amount");
    let tiers_given = table.optional("tiers");
    let shipping = table.optional("free_shipping");
    let mut given = [percent, amount, tiers_given, shipping].into_iter().flatten();
    let Some(first) = given.next() else {
        let message = format!("{} gives nothing", table.what());
        let problem = Problem::new(ProblemKind::MissingKey, table.span(), message, "no benefit");
        table.report(problem.help(format!("say one of {WAYS}")));
        return None;
    };
    if let Some(second) = given.next() {
        let message = format!("{} gives two things", table.what());
        let problem = Problem::new(ProblemKind::Conflict, second.span, message, "second benefit");
        table.report(problem.beside(first.span, "first benefit").help(format!("keep one of {WAYS}")));
        return None;
    }
    if let Some(value) = percent {
        value.number(PERCENT).map(Benefit::Percent)
    } else if let Some(value) = amount {
        value.integer(MINOR).map(Benefit::Amount)
    } else if let Some(value) = tiers_given {
        tiers(value).map(Benefit::Tiers)
    } else {
        match first.boolean()? {
            true => Some(Benefit::FreeShipping),
            false => first.out_of_range("true, or left out: an offer that gives nothing is none"),
        }
    }
}

fn tiers(value: Value<'_>) -> Option<Vec<(u64, u64)>> {
    let steps = all(value.list_of(1..=MAX_TIERS)?.into_iter().map(|step| {
        let table = step.table("a step of `tiers`".to_owned())?;
        let spend = table.required("spend").and_then(|value| value.integer(MINOR));
        let save = table.required("save").and_then(|value| value.integer(MINOR));
        table.finish();
        let (spend, save) = (spend?, save?);
        if save > spend { step.out_of_range("a step that saves no more than is spent") } else { Some((spend, save)) }
    }))?;
    if steps.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1) {
        Some(steps)
    } else {
        value.out_of_range("steps that rise in `spend` and in `save`")
    }
}

fn line_tests(table: &Table<'_>) -> Option<Vec<LineTest>> {
    let named = table.named();
    if named.len() > MAX_TESTS / 2 {
        let message = format!("{} tests {} attributes, at most {}", table.what(), named.len(), MAX_TESTS / 2);
        table.report(Problem::new(ProblemKind::OutOfRange, table.span(), message, "too many"));
        return None;
    }
    all(named.into_iter().map(|(name, value)| {
        let mut values = all(value.list_of(1..=MAX_VALUES)?.into_iter().map(|value| {
            let text = value.present_text()?;
            if text.len() > MAX_TEXT {
                value.out_of_range(format_args!("at most {MAX_TEXT} bytes long"))
            } else {
                Some(text.to_owned())
            }
        }))?;
        values.sort_unstable();
        values.dedup();
        if name.text.is_empty() || name.text.len() > MAX_TEXT {
            return value.out_of_range(format_args!("under an attribute of 1 to {MAX_TEXT} bytes"));
        }
        Some(LineTest { attribute: name.text, values })
    }))
}

fn priority(value: Value<'_>) -> Option<i16> {
    const RANGE: RangeInclusive<f64> = -1_000.0..=1_000.0;
    let number = value.number((std::ops::Bound::Included(*RANGE.start()), std::ops::Bound::Included(*RANGE.end())))?;
    if number.fract() == 0.0 { Some(number as i16) } else { value.out_of_range("a whole number") }
}

/// The offers of a ladder stand together, and their caps rise: what is ordered at the edge is their order here.
fn refuse_broken_ladders(offers: &[Offer], problems: &Problems) {
    for (at, offer) in offers.iter().enumerate().filter(|(_, offer)| offer.ladder.is_some()) {
        let same = |other: &&Offer| other.ladder == offer.ladder;
        let Some(last) = offers[..at].iter().rposition(|other| same(&other)) else { continue };
        let before = &offers[last];
        if last + 1 != at {
            let message = format!("offer `{}` is not beside the others of its ladder", offer.name);
            let problem = Problem::new(ProblemKind::Conflict, offer.span, message, "apart from its ladder");
            problems.report(problem.beside(before.span, "the ladder's last offer"));
        } else if offer.cap <= before.cap {
            let message = format!("offer `{}` can give {}, no more than the one below it", offer.name, offer.cap);
            let problem = Problem::new(ProblemKind::Conflict, offer.span, message, "does not rise");
            problems.report(problem.beside(before.span, format!("can give {}", before.cap)));
        }
    }
}

/// Of two exclusive offers that one cart may hold, one must come first. Offers of one campaign never meet: a user has one.
fn refuse_equal_exclusives(campaigns: &[Campaign], problems: &Problems) {
    for (at, later) in campaigns.iter().enumerate() {
        let overlaps = |one: &&Campaign| one.from_ms < later.until_ms && later.from_ms < one.until_ms;
        let earlier = campaigns[..at].iter().filter(overlaps).flat_map(|one| &one.offers);
        let exclusive: Vec<&Offer> = earlier.filter(|offer| offer.exclusive).collect();
        for offer in later.offers.iter().filter(|offer| offer.exclusive) {
            let Some(other) = exclusive.iter().find(|other| other.priority == offer.priority) else { continue };
            let message = format!("offers `{}` and `{}` each exclude the other", other.name, offer.name);
            let problem = Problem::new(ProblemKind::Conflict, offer.span, message, "exclusive, of the same priority");
            problems.report(
                problem.beside(other.span, "exclusive at the same time").help("give one of them a higher `priority`"),
            );
        }
    }
}
