//! The drawings: inline SVG that takes its colours from the page.
//!
//! All are of one width, near that of a telephone in CSS pixels, and are shown at most a quarter larger:
//! text stays readable on both without a second drawing. Marks are labelled directly, so there are no legends to decode;
//! every drawing carries a title and a description for those who do not see it.

use maud::{Markup, html};

use crate::bootstrap::{Interval, quantile};

use super::{Bought, Importance, Stage};

/// User units across every drawing.
const WIDTH: f64 = 440.0;
/// Room for half a tick label at both ends of an axis.
const MARGIN: f64 = 14.0;
/// Height that an axis with its label takes.
const AXIS: f64 = 42.0;

/// What a drawing is called and says; both are read aloud.
#[derive(Clone, Copy, Debug)]
pub struct Caption<'a> {
    /// Unique on the page.
    pub id: &'a str,
    /// What it is called.
    pub title: &'a str,
    /// What it says.
    pub description: &'a str,
}

/// A row of [`intervals`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its name.
    pub label: &'a str,
    /// Mean and interval.
    pub value: Interval,
    /// Drawn in the accent colour.
    pub ours: bool,
}

/// A line of [`curves`].
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// Its name.
    pub label: &'a str,
    /// From left to right.
    pub points: Vec<(f64, Interval)>,
}

/// Lines over one axis in the colours of parts, with their intervals shaded and a key above; at most five are told apart.
#[must_use]
pub fn curves(caption: &Caption<'_>, x_label: &str, y_label: &str, series: &[Series<'_>]) -> Markup {
    const KEY: f64 = 18.0;
    const HEIGHT: f64 = 190.0;
    /// Room for the numbers on the left.
    const NUMBERS: f64 = 54.0;
    let top = KEY * (series.len() as f64 + 1.0) + 6.0;
    let bottom = top + HEIGHT;
    let points = || series.iter().flat_map(|series| &series.points);
    let right = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let x = Axis::covering_within(points().map(|(x, _)| *x).fold(0.0, f64::min), right, NUMBERS);
    let low = points().map(|(_, y)| y.low.min(y.mean)).fold(0.0, f64::min);
    let y = Axis::covering(low, points().map(|(_, y)| y.high.max(y.mean)).fold(0.0, f64::max));
    let height = |value: f64| bottom - HEIGHT * ((value - y.from) / (y.to - y.from)).clamp(0.0, 1.0);
    let place = |(at, value): (f64, f64)| format!("{},{}", px(x.at(at)), px(height(value)));
    let line =
        |series: &Series<'_>| series.points.iter().map(|(at, y)| place((*at, y.mean))).collect::<Vec<_>>().join(" ");
    let band = |series: &Series<'_>| {
        let lows = series.points.iter().map(|(at, y)| place((*at, y.low)));
        let highs = series.points.iter().rev().map(|(at, y)| place((*at, y.high)));
        lows.chain(highs).collect::<Vec<_>>().join(" ")
    };
    drawing(
        caption,
        bottom + AXIS,
        html! {
            @for ((series, row), number) in series.iter().zip((0..).map(f64::from)).zip(1_u32..) {
                rect class=(part(number)) x="0" y=(px(row * KEY + 2.0)) width="10" height="10" {}
                text.name x="16" y=(px(row * KEY + 11.0)) { (series.label) }
            }
            text.tick x="0" y=(px(top - 9.0)) { (y_label) }
            @for tick in y.ticks() {
                line.grid x1=(px(NUMBERS)) x2=(px(WIDTH)) y1=(px(height(tick))) y2=(px(height(tick))) {}
                text.tick x=(px(NUMBERS - 6.0)) y=(px(height(tick) + 4.0)) text-anchor="end" { (plain(tick)) }
            }
            (x.draw(bottom, x_label, bottom))
            @for (series, number) in series.iter().zip(1_u32..) {
                polygon class=(format!("band part-{number}")) points=(band(series)) {}
                polyline class=(format!("curve part-{number}")) points=(line(series)) {}
            }
        },
    )
}

/// Means as dots on whiskers, one row each, labelled with name and numbers. `signed` draws a line at zero and signs.
#[must_use]
pub fn intervals(caption: &Caption<'_>, axis_label: &str, rows: &[Row<'_>], signed: bool) -> Markup {
    const ROW: f64 = 42.0;
    let low = rows.iter().map(|r| r.value.low).fold(0.0, f64::min);
    let high = rows.iter().map(|r| r.value.high).fold(0.0, f64::max);
    let axis = Axis::covering(low, high);
    let bottom = ROW * rows.len() as f64 + 4.0;
    let marks = html! {
        @if signed {
            line.zero x1=(px(axis.at(0.0))) x2=(px(axis.at(0.0))) y1="0" y2=(px(bottom)) {}
        }
        @for (row, top) in rows.iter().zip((0..).map(|i| f64::from(i) * ROW)) {
            g.ours[row.ours] {
                text.name x="0" y=(px(top + 15.0)) { (row.label) }
                text.value x=(px(WIDTH)) y=(px(top + 15.0)) text-anchor="end" {
                    (interval(&row.value, signed))
                }
                line.whisker x1=(px(axis.at(row.value.low))) x2=(px(axis.at(row.value.high)))
                    y1=(px(top + 29.0)) y2=(px(top + 29.0)) {}
                circle.dot cx=(px(axis.at(row.value.mean))) cy=(px(top + 29.0)) r="4.5" {}
            }
        }
    };
    drawing(
        caption,
        bottom + AXIS,
        html! {
            (axis.draw(bottom, axis_label, 0.0))
            (marks)
        },
    )
}

/// Shares as bars, largest first.
pub(super) fn bars(caption: &Caption<'_>, axis_label: &str, importances: &[Importance]) -> Markup {
    const ROW: f64 = 31.0;
    let mut sorted: Vec<&Importance> = importances.iter().collect();
    sorted.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.feature.cmp(&b.feature)));
    let largest = sorted.first().map_or(0.0, |i| i.share * 100.0);
    let axis = Axis::covering(0.0, largest);
    let bottom = ROW * sorted.len() as f64 + 4.0;
    let marks = html! {
        @for (row, top) in sorted.iter().zip((0..).map(|i| f64::from(i) * ROW)) {
            text.name x=(px(MARGIN)) y=(px(top + 13.0)) { (row.feature) }
            text.value x=(px(WIDTH)) y=(px(top + 13.0)) text-anchor="end" {
                (format!("{:.1} %", row.share * 100.0))
            }
            rect.bar x=(px(axis.at(0.0))) y=(px(top + 18.0)) height="7" rx="1.5"
                width=(px(axis.at(row.share * 100.0) - axis.at(0.0))) {}
        }
    };
    drawing(
        caption,
        bottom + AXIS,
        html! {
            (axis.draw(bottom, axis_label, 0.0))
            (marks)
        },
    )
}

/// The parts of a decision end to end, at their medians. Parts too thin for their name are told apart by colour alone; the
/// table beside the drawing carries the same colours.
pub(super) fn stages(caption: &Caption<'_>, stages: &[Stage]) -> Markup {
    const TOP: f64 = 20.0;
    const BOTTOM: f64 = 58.0;
    /// Units that a character takes, generously.
    const CHARACTER: f64 = 8.0;
    let axis = Axis::covering(0.0, stages.iter().map(|s| s.median_us).sum());
    let mut end = 0.0;
    let spans: Vec<(f64, f64)> = stages
        .iter()
        .map(|stage| {
            let start = end;
            end += stage.median_us;
            (axis.at(start), axis.at(end) - axis.at(start))
        })
        .collect();
    drawing(
        caption,
        BOTTOM + AXIS,
        html! {
            (axis.draw(BOTTOM, "microseconds", TOP))
            @for ((stage, &(x, width)), number) in stages.iter().zip(&spans).zip(1_u32..) {
                rect class=(part(number)) x=(px(x)) y=(px(TOP)) width=(px(width)) height=(px(BOTTOM - TOP - 8.0)) {}
                @if stage.name.chars().count() as f64 * CHARACTER <= width {
                    text.name x=(px(x)) y=(px(TOP - 7.0)) { (stage.name) }
                }
            }
        },
    )
}

/// The class that colours a part of a decision, counted from 1.
pub(super) fn part(number: u32) -> String {
    format!("part part-{number}")
}

/// How often decisions took how long, with the median and the 99th percentile marked. The slowest half percent lie beyond
/// the right edge, and the axis label counts them.
pub(super) fn histogram(caption: &Caption<'_>, decisions_us: &[f64]) -> Markup {
    const BINS: u32 = 36;
    const PLOT_TOP: f64 = 40.0;
    const PLOT_BOTTOM: f64 = 200.0;
    /// Room for the counts on the left.
    const COUNTS: f64 = 34.0;

    let mut sorted = decisions_us.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (median, p99) = (quantile(&sorted, 0.5), quantile(&sorted, 0.99));
    let first = quantile(&sorted, 0.0);
    let axis = Axis::covering_within(first, quantile(&sorted, 0.995), COUNTS);
    let width = (axis.to - axis.from) / f64::from(BINS);
    let edge = |bin: u32| axis.from + width * f64::from(bin);
    let below = |limit: f64| sorted.partition_point(|&us| us < limit);
    let counts: Vec<usize> = (0..BINS).map(|bin| below(edge(bin + 1)) - below(edge(bin))).collect();
    let beyond = sorted.len() - below(edge(BINS));
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let height = |count: f64| (PLOT_BOTTOM - PLOT_TOP) * count / most as f64;
    let label = match beyond {
        0 => "microseconds per decision".to_owned(),
        more => format!("microseconds per decision ({more} beyond the edge)"),
    };
    let count_ticks = Axis::covering(0.0, most as f64);
    drawing(
        caption,
        PLOT_BOTTOM + AXIS,
        html! {
            text.tick x="0" y="10" { "decisions" }
            @for count in count_ticks.ticks().filter(|&c| c > 0.0 && c <= most as f64) {
                @let y = PLOT_BOTTOM - height(count);
                line.grid x1=(px(COUNTS)) x2=(px(WIDTH)) y1=(px(y)) y2=(px(y)) {}
                text.tick x=(px(COUNTS - 6.0)) y=(px(y + 4.0)) text-anchor="end" { (plain(count)) }
            }
            (axis.draw(PLOT_BOTTOM, &label, PLOT_BOTTOM))
            @for (bin, &count) in (0..).zip(&counts).filter(|&(_, &count)| count > 0) {
                rect.bar x=(px(axis.at(edge(bin)) + 0.5)) y=(px(PLOT_BOTTOM - height(count as f64)))
                    width=(px(axis.at(edge(bin + 1)) - axis.at(edge(bin)) - 1.0)) height=(px(height(count as f64))) {}
            }
            @for (name, value, y) in [("median", median, 12.0), ("99 %", p99, 28.0)] {
                @let x = axis.at(value);
                line.mark x1=(px(x)) x2=(px(x)) y1=(px(y + 4.0)) y2=(px(PLOT_BOTTOM)) {}
                @let (anchor, at) = if x > WIDTH * 0.6 { ("end", x + 3.0) } else { ("start", x - 3.0) };
                text.value x=(px(at)) y=(px(y)) text-anchor=(anchor) { (name) " " (microseconds(value)) }
            }
        },
    )
}

/// Where the bought items stood on the flyer and stand now, on a logarithmic axis: the first places are what people see.
pub(super) fn moves(caption: &Caption<'_>, candidates: usize, bought: &[Bought]) -> Markup {
    const BEFORE: f64 = 30.0;
    const AFTER: f64 = 84.0;
    const LEFT: f64 = 44.0;
    let last = candidates.max(2) as f64;
    let x = |place: usize| {
        let share = (place.max(1) as f64).ln() / last.ln();
        LEFT + share * (WIDTH - MARGIN - LEFT)
    };
    let ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];
    let mut befores: Vec<usize> = bought.iter().map(|b| b.before).collect();
    let mut afters: Vec<usize> = bought.iter().map(|b| b.after).collect();
    befores.sort_unstable();
    afters.sort_unstable();
    drawing(
        caption,
        AFTER + 58.0,
        html! {
            @for &place in ticks.iter().filter(|&&place| place <= candidates) {
                line.grid x1=(px(x(place))) x2=(px(x(place))) y1=(px(BEFORE)) y2=(px(AFTER)) {}
                text.tick x=(px(x(place))) y=(px(AFTER + 36.0)) text-anchor="middle" { (place) }
            }
            text.tick x=(px(f64::midpoint(LEFT, WIDTH))) y=(px(AFTER + 54.0)) text-anchor="middle" {
                "place among " (candidates) " (logarithmic)"
            }
            @for item in bought {
                line.moved x1=(px(x(item.before))) y1=(px(BEFORE)) x2=(px(x(item.after))) y2=(px(AFTER)) {}
                circle.dot cx=(px(x(item.before))) cy=(px(BEFORE)) r="4" {}
                g.ours { circle.dot cx=(px(x(item.after))) cy=(px(AFTER)) r="5" {} }
            }
            text.name x="0" y=(px(BEFORE + 4.0)) { "flyer" }
            g.ours { text.name x="0" y=(px(AFTER + 4.0)) { "ours" } }
            @for (places, y) in [(&befores, BEFORE - 11.0), (&afters, AFTER + 19.0)] {
                @for &place in apart(places, &x).iter() {
                    text.value x=(px(x(place))) y=(px(y)) text-anchor="middle" { (place) }
                }
            }
        },
    )
}

/// Of ascending places, those whose labels do not run into the one before.
fn apart(places: &[usize], x: &impl Fn(usize) -> f64) -> Vec<usize> {
    const LABEL: f64 = 24.0;
    let mut kept: Vec<usize> = Vec::new();
    for &place in places {
        if kept.last().is_none_or(|&last| x(place) - x(last) >= LABEL) {
            kept.push(place);
        }
    }
    kept
}

fn drawing(caption: &Caption<'_>, height: f64, content: Markup) -> Markup {
    let (title_id, text_id) = (format!("{}-title", caption.id), format!("{}-text", caption.id));
    html! {
        svg role="img" viewBox=(format!("0 0 {WIDTH} {}", px(height)))
            aria-labelledby=(format!("{title_id} {text_id}")) {
            title id=(title_id) { (caption.title) }
            desc id=(text_id) { (caption.description) }
            (content)
        }
    }
}

/// A linear axis along the bottom.
struct Axis {
    from: f64,
    to: f64,
    step: f64,
    left: f64,
}

impl Axis {
    fn covering(low: f64, high: f64) -> Self {
        Self::covering_within(low, high, MARGIN)
    }

    /// An axis from the tick at or below `low` to the one at or above `high`, with `left` units free before it.
    fn covering_within(low: f64, high: f64, left: f64) -> Self {
        let (low, high) = match low.is_finite() && high.is_finite() && high > low {
            true => (low, high),
            false => (0.0, 1.0),
        };
        let step = round_step((high - low) / 5.0);
        Self { from: (low / step).floor() * step, to: (high / step).ceil() * step, step, left }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from);
        self.left + share.clamp(0.0, 1.0) * (WIDTH - MARGIN - self.left)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let first = (self.from / self.step).round();
        let count = ((self.to - self.from) / self.step).round();
        (0_u32..).map(f64::from).take_while(move |&index| index <= count).map(move |index| (first + index) * self.step)
    }

    /// The axis at height `y`, with grid lines up to `top`.
    fn draw(&self, y: f64, label: &str, top: f64) -> Markup {
        html! {
            @for tick in self.ticks() {
                @let x = self.at(tick);
                line.grid x1=(px(x)) x2=(px(x)) y1=(px(top)) y2=(px(y)) {}
                text.tick x=(px(x)) y=(px(y + 15.0)) text-anchor="middle" { (plain(tick)) }
            }
            text.tick x=(px(f64::midpoint(self.left, WIDTH - MARGIN))) y=(px(y + 34.0)) text-anchor="middle" {
                (label)
            }
        }
    }
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&step| step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// A coordinate: tenths of a unit are finer than any screen.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// A tick without the digits that carry nothing, and with a real minus sign.
fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text.strip_prefix('-') {
        Some("0") => "0".to_owned(),
        Some(positive) => format!("−{positive}"),
        None => text.to_owned(),
    }
}

/// `0.684 (0.661 to 0.707)`, or with signs.
pub(super) fn interval(value: &Interval, signed: bool) -> String {
    let text = |v: f64| match signed {
        true => self::signed(v),
        false => format!("{v:.3}"),
    };
    format!("{} ({} to {})", text(value.mean), text(value.low), text(value.high))
}

/// Three decimals with a sign.
pub(super) fn signed(value: f64) -> String {
    let digits = format!("{:.3}", value.abs());
    match digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        false => digits,
        true if value < 0.0 => format!("−{digits}"),
        true => format!("+{digits}"),
    }
}

/// `212 µs`, or with a decimal where that matters.
pub(super) fn microseconds(value: f64) -> String {
    match value < 10.0 {
        true => format!("{value:.1} µs"),
        false => format!("{value:.0} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values_between_round_ticks() {
        let axis = Axis::covering(-0.013, 0.058);
        let ticks: Vec<String> = axis.ticks().map(plain).collect();
        assert_eq!(ticks, ["−0.02", "0", "0.02", "0.04", "0.06"]);
        assert!(axis.at(-0.013) >= MARGIN && axis.at(0.058) <= WIDTH - MARGIN);
    }

    #[test]
    fn an_axis_over_nothing_is_still_an_axis() {
        for (low, high) in [(0.0, 0.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (2.0, 1.0)] {
            let axis = Axis::covering(low, high);
            assert!(axis.ticks().count() >= 2 && axis.at(0.5).is_finite());
        }
    }

    #[test]
    fn signs_are_shown_only_where_digits_are() {
        assert_eq!([0.0214, -0.0214, -0.0001, 0.0].map(signed), ["+0.021", "−0.021", "0.000", "0.000"]);
    }
}
