//! Charts of the figures: one per workload, 100 rows, a bar per engine on a logarithmic scale.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;

use crate::contest::{Figure, Outcome};
use crate::engines::{ENGINES, Part};
use crate::workload;

/// What charts show: the size of a page of results.
pub(crate) const ROWS: usize = 100;

const WIDTH: u32 = 720;
const BAR: u32 = 26;
const AROUND: u32 = 90;

const OURS: RGBColor = RGBColor(0x1b, 0x6e, 0x53);
const PEER: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const INK: RGBColor = RGBColor(0x22, 0x2b, 0x35);

/// File name of a workload's chart.
pub(crate) fn name(workload: &str) -> String {
    format!("compare-{workload}.svg")
}

/// Writes the charts of all workloads that have figures.
pub(crate) fn write(folder: &Path, outcome: &Outcome) -> Result<()> {
    for workload in workload::NAMES {
        let figures = shown(outcome, workload);
        if !figures.is_empty() {
            let file = folder.join(name(workload));
            draw(&file, workload, &figures).map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))?;
        }
    }
    Ok(())
}

/// Slowest first, so that the fastest is on top.
fn shown<'o>(outcome: &'o Outcome, workload: &str) -> Vec<&'o Figure> {
    let is_aside = |name| ENGINES.iter().any(|engine| engine.name == name && engine.part == Part::Aside);
    let mut figures: Vec<&Figure> = outcome.figures.iter().collect();
    figures.retain(|figure| figure.workload == workload && figure.rows == ROWS && !is_aside(figure.engine));
    figures.sort_by(|a, b| b.median_us.total_cmp(&a.median_us));
    figures
}

fn draw(file: &Path, workload: &str, figures: &[&Figure]) -> Result<(), Box<dyn std::error::Error>> {
    let height = AROUND + BAR * figures.len() as u32;
    let root = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let least = figures.iter().map(|figure| figure.p10_us).fold(f64::INFINITY, f64::min) / 1.5;
    let most = figures.iter().map(|figure| figure.p90_us).fold(0.0, f64::max) * 2.5;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{workload}, {ROWS} rows: microseconds of a call"), ("sans-serif", 16, &INK))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(150)
        .build_cartesian_2d((least..most).log_scale(), (0..figures.len() - 1).into_segmented())?;
    let engine_at = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(at) => figures.get(*at).map_or(String::new(), |figure| figure.engine.to_owned()),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(figures.len() + 1)
        .y_label_formatter(&engine_at)
        .x_label_formatter(&|us| number(*us))
        .label_style(("sans-serif", 12, &INK))
        .light_line_style(WHITE)
        .draw()?;
    chart.draw_series(figures.iter().enumerate().map(|(at, figure)| {
        let colour = if figure.engine.starts_with("selvedge") { OURS } else { PEER };
        let (low, high) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
        let mut bar = Rectangle::new([(least, low), (figure.median_us, high)], colour.filled());
        bar.set_margin(3, 3, 0, 0);
        bar
    }))?;
    // From the tenth to the ninetieth percentile of the rounds.
    chart.draw_series(figures.iter().enumerate().map(|(at, figure)| {
        let centre = SegmentValue::CenterOf(at);
        PathElement::new([(figure.p10_us, centre.clone()), (figure.p90_us, centre)], INK.stroke_width(2))
    }))?;
    chart.draw_series(figures.iter().enumerate().map(|(at, figure)| {
        let place = (figure.p90_us.max(figure.median_us), SegmentValue::CenterOf(at));
        EmptyElement::at(place)
            + Text::new(number(figure.median_us), (5, -6), ("sans-serif", 12).into_font().color(&INK))
    }))?;
    root.present()?;
    Ok(())
}

/// Three digits.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => {
            let whole = format!("{value:.0}");
            let (head, tail) = whole.split_at(whole.len() - 3);
            format!("{head},{tail}")
        }
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_has_the_digits_that_repeat() {
        assert_eq!([0.5, 1.234, 12.34, 123.4, 8159.2].map(number), ["0.50", "1.23", "12.3", "123", "8,159"]);
    }
}
