//! The page around the drawings.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{self, Caption, Row};
use super::{Fact, Figure, Headline, Household, Importance, Latency, Quality, Report, Shown, Size};

const STYLE: &str = include_str!("style.css");

/// Nothing may be fetched and nothing may run: the page is its own proof that it is self-contained.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

pub(super) fn render(report: &Report) -> Markup {
    let header = html! {
        p.lede { (report.lede) }
        (headlines(&report.headlines))
    };
    let sections = html! {
        (quality(&report.quality))
        @if !report.households.is_empty() {
            section {
                h2 { "Before and after" }
                p.note {
                    "The same flyer for households that the model never saw. "
                    span.tick-mark { "✓" } " marks what the household bought that week; the model did not know. "
                    "Open an item to see what moved it."
                }
                @for (household, number) in report.households.iter().zip(1_u32..) {
                    (self::household(household, number))
                }
            }
        }
        @if let Some(latency) = &report.latency { (self::latency(latency)) }
        (sizes(&report.sizes))
        (importances(&report.importances))
        (run(&report.run))
        (figures(&report.figures))
    };
    shell(&report.title, &header, &sections)
}

/// A page in this style that opens from disk, fetches nothing and runs nothing: what stands below its title, and its
/// sections.
#[must_use]
pub fn shell(title: &str, header: &Markup, sections: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    (header)
                }
                main { (sections) }
            }
        }
    }
}

fn headlines(headlines: &[Headline]) -> Markup {
    html! {
        @if !headlines.is_empty() {
            dl.headlines {
                @for headline in headlines {
                    div {
                        dt { (headline.label) }
                        dd {
                            span.number { (headline.value) }
                            @if !headline.note.is_empty() { span.note { (headline.note) } }
                        }
                    }
                }
            }
        }
    }
}

fn quality(quality: &Quality) -> Markup {
    let Some(measure) = quality.measures.first() else {
        return html! {};
    };
    let methods: Vec<Row<'_>> = quality
        .methods
        .iter()
        .filter_map(|method| {
            let value = *method.values.first()?;
            Some(Row { label: &method.name, value, ours: method.ours })
        })
        .collect();
    let differences: Vec<Row<'_>> = quality
        .differences
        .iter()
        .filter_map(|difference| {
            let value = *difference.values.first()?;
            Some(Row { label: &difference.against, value, ours: true })
        })
        .collect();
    html! {
        section {
            h2 { "Ranking quality" }
            @if !quality.note.is_empty() { p.note { (quality.note) } }
            div.charts {
                @if !methods.is_empty() {
                    (figure(
                        &format!("{measure} by method"),
                        "Means with their intervals; further right is better.",
                        "quality-methods",
                        |caption| chart::intervals(caption, measure, &methods, false),
                    ))
                }
                @if !differences.is_empty() {
                    (figure(
                        &format!("Gain in {measure} over each baseline"),
                        "Paired by query; an interval to the right of zero is a gain beyond chance.",
                        "quality-gains",
                        |caption| chart::intervals(caption, &format!("difference in {measure}"), &differences, true),
                    ))
                }
            }
            (measure_table(quality))
            (folds(quality, measure))
        }
    }
}

fn measure_table(quality: &Quality) -> Markup {
    html! {
        div.scroll {
            table {
                caption { "Means over queries, with their intervals" }
                thead {
                    tr { th scope="col" { "Method" } @for measure in &quality.measures { th.num scope="col" { (measure) } } }
                }
                tbody {
                    @for method in &quality.methods {
                        tr.ours[method.ours] {
                            th scope="row" { (method.name) }
                            @for value in &method.values {
                                td.num { (format!("{:.3}", value.mean)) small { (format!("{:.3} to {:.3}", value.low, value.high)) } }
                            }
                        }
                    }
                    @for difference in &quality.differences {
                        tr.difference {
                            th scope="row" { "gain over " (difference.against) }
                            @for value in &difference.values {
                                td.num { (chart::signed(value.mean)) small { (chart::signed(value.low)) " to " (chart::signed(value.high)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn folds(quality: &Quality, measure: &str) -> Markup {
    let rows: Vec<Row<'_>> =
        quality.folds.iter().map(|fold| Row { label: &fold.name, value: fold.difference, ours: true }).collect();
    let Some(first) = quality.folds.first() else {
        return html! {};
    };
    html! {
        h3 { "Fold by fold" }
        div.charts {
            (figure(
                &format!("Gain in {measure} over {}, by fold", first.against),
                "Each fold's households were unseen by the model that ranks for them.",
                "quality-folds",
                |caption| chart::intervals(caption, &format!("difference in {measure}"), &rows, true),
            ))
        }
        div.scroll {
            table.folds {
                caption { (measure) " by fold" }
                thead {
                    tr {
                        th scope="col" { "Fold" }
                        th.num scope="col" { "Queries" }
                        @for method in &quality.methods { th.num scope="col" { (method.name) } }
                    }
                }
                tbody {
                    @for fold in &quality.folds {
                        tr {
                            th scope="row" { (fold.name) }
                            td.num { (grouped(fold.queries as u64)) }
                            @for value in &fold.values { td.num { (format!("{value:.3}")) } }
                        }
                    }
                }
            }
        }
    }
}

fn household(household: &Household, number: u32) -> Markup {
    let places = |of: fn(&super::Bought) -> usize| {
        let mut places: Vec<usize> = household.bought.iter().map(of).collect();
        places.sort_unstable();
        let texts: Vec<String> = places.iter().map(usize::to_string).collect();
        texts.join(", ")
    };
    let (before, after) = (places(|b| b.before), places(|b| b.after));
    let description = format!("Bought items stood at {before} on the flyer, and stand at {after} now.");
    // One scale for all bars of a household, so that lengths compare.
    let largest = household
        .after
        .iter()
        .flat_map(|item| &item.reasons)
        .map(|reason| reason.contribution.abs())
        .fold(0.0, f64::max);
    html! {
        article {
            h3 { (household.name) }
            @if !household.note.is_empty() { p.note { (household.note) } }
            @if !household.bought.is_empty() {
                (figure(
                    "Where the bought items stood",
                    &description,
                    &format!("household-{number}"),
                    |caption| chart::moves(caption, household.candidates, &household.bought),
                ))
            }
            div.slates {
                div {
                    h4 { "Flyer order" }
                    ol.slate { @for item in &household.before { li { div.item { (item_name(item)) } } } }
                }
                div {
                    h4 { "Personalized" }
                    ol.slate {
                        @for (item, place) in household.after.iter().zip(1_usize..) {
                            li { (explained(item, place, largest)) }
                        }
                    }
                }
            }
        }
    }
}

fn item_name(item: &Shown) -> Markup {
    html! {
        span.item-name {
            (item.name)
            @if item.bought { " " span.tick-mark title="bought that week" { "✓" span.sr { " bought that week" } } }
        }
        @if !item.detail.is_empty() { span.detail { (item.detail) } }
    }
}

/// An item of the slate; its reasons unfold. The first place is open, to show that they do.
fn explained(item: &Shown, place: usize, largest: f64) -> Markup {
    let summary = html! {
        (item_name(item))
        span.was { "was " (item.flyer_place) }
    };
    html! {
        @if item.reasons.is_empty() && item.rules.is_empty() {
            div.item { (summary) }
        } @else {
            details open[place == 1] {
                summary.item { (summary) }
                ul.reasons {
                    @for reason in &item.reasons {
                        @let width = 50.0 * reason.contribution.abs() / largest.max(f64::MIN_POSITIVE);
                        @let left = if reason.contribution < 0.0 { 50.0 - width } else { 50.0 };
                        li.minus[reason.contribution < 0.0] {
                            span.reason { (reason.label) }
                            span.amount { (chart::signed(reason.contribution)) }
                            span.track aria-hidden="true" {
                                span.fill style=(format!("left:{left:.1}%;width:{width:.1}%")) {}
                            }
                        }
                    }
                    @for rule in &item.rules { li.rule { (rule) } }
                }
            }
        }
    }
}

fn latency(latency: &Latency) -> Markup {
    html! {
        section {
            h2 { "Cost of a decision" }
            @if !latency.note.is_empty() { p.note { (latency.note) } }
            div.charts {
                @if !latency.decisions_us.is_empty() {
                    (figure(
                        "How long decisions take",
                        &format!(
                            "Half of {} decisions took at most {}, 99 % at most {}.",
                            grouped(latency.decisions_us.len() as u64),
                            chart::microseconds(latency.total.median_us),
                            chart::microseconds(latency.total.p99_us),
                        ),
                        "latency-histogram",
                        |caption| chart::histogram(caption, &latency.decisions_us),
                    ))
                }
                div {
                    @if !latency.stages.is_empty() {
                        (figure(
                            "Where the time goes",
                            "Median of each part, in the order in which they run.",
                            "latency-parts",
                            |caption| chart::stages(caption, &latency.stages),
                        ))
                    }
                    div.scroll {
                        table {
                            thead { tr { th scope="col" { "Part" } th.num scope="col" { "Median" } th.num scope="col" { "99 %" } } }
                            tbody {
                                @for (stage, number) in latency.stages.iter().zip(1_u32..) {
                                    tr {
                                        th scope="row" {
                                            span class=(format!("swatch {}", chart::part(number))) {}
                                            (stage.name)
                                        }
                                        td.num { (chart::microseconds(stage.median_us)) }
                                        td.num { (chart::microseconds(stage.p99_us)) }
                                    }
                                }
                                tr.ours {
                                    th scope="row" { (latency.total.name) }
                                    td.num { (chart::microseconds(latency.total.median_us)) }
                                    td.num { (chart::microseconds(latency.total.p99_us)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sizes(sizes: &[Size]) -> Markup {
    html! {
        @if !sizes.is_empty() {
            section {
                h2 { "What is shipped" }
                div.scroll {
                    table {
                        thead { tr { th scope="col" { "Artefact" } th.num scope="col" { "Bytes" } th.num scope="col" { "Bytes, gzip" } } }
                        tbody {
                            @for size in sizes {
                                tr {
                                    th scope="row" { (size.name) }
                                    td.num { (grouped(size.bytes)) }
                                    td.num { (grouped(size.gzip_bytes)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn importances(importances: &[Importance]) -> Markup {
    html! {
        @if !importances.is_empty() {
            section {
                h2 { "What the model leans on" }
                (figure(
                    "Share of each feature in the model's total gain",
                    "How much the splits on a feature reduced the training loss.",
                    "importances",
                    |caption| chart::bars(caption, "percent of total gain", importances),
                ))
            }
        }
    }
}

fn run(facts: &[Fact]) -> Markup {
    html! {
        @if !facts.is_empty() {
            section {
                h2 { "The run" }
                dl.facts { @for fact in facts { dt { (fact.label) } dd { (fact.value) } } }
            }
        }
    }
}

fn figures(figures: &[Figure]) -> Markup {
    html! {
        @if !figures.is_empty() {
            section {
                h2 { "Every figure, and how to get it again" }
                div.scroll {
                    table.figures {
                        thead {
                            tr {
                                th scope="col" { "Name" }
                                th.num scope="col" { "Value" }
                                th scope="col" { "Unit" }
                                th scope="col" { "Command" }
                            }
                        }
                        tbody {
                            @for figure in figures {
                                tr {
                                    th scope="row" { code { (figure.name) } }
                                    td.num { (significant(figure.value)) }
                                    td { (figure.unit) }
                                    td { code { (figure.command) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A drawing under its title, with the description in print as well.
pub fn figure(title: &str, description: &str, id: &str, draw: impl FnOnce(&Caption<'_>) -> Markup) -> Markup {
    html! {
        figure {
            figcaption { strong { (title) } span { (description) } }
            (draw(&Caption { id, title, description }))
        }
    }
}

/// Digits in groups of three, split by a narrow no-break space as ISO 80000-1 has it.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Whole numbers in full, others with four decimals, or one from a hundred on.
fn significant(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the guard admits only whole numbers that u64 holds"
    )]
    match value >= 0.0 && value.fract() == 0.0 && value < 1e15 {
        true => grouped(value as u64),
        false if value.abs() >= 100.0 => format!("{value:.1}"),
        false => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_group_from_the_right() {
        let plain = |v| grouped(v).replace('\u{202f}', " ");
        assert_eq!([0, 999, 1_000, 1_234_567].map(plain), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(significant(0.684_21), "0.6842");
        assert_eq!(significant(-3.0), "-3.0000");
        assert_eq!(significant(212.44), "212.4");
    }
}
