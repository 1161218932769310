//! The outcome as a page.

use selvedge_train::report::{
    Bought, Difference, Fact, Figure as ReportFigure, Fold, Headline, Household, Importance, Latency, Method, Quality,
    Reason, Report, Shown, Size, Stage,
};

use super::Figure;
use super::experiment::{self, MEASURES, Outcome};
use super::latency;

/// What the gain is charted against: bars of other lengths would hide the ones that matter.
const CHARTED: [&str; 2] = ["repeat count", "popularity, 4 weeks"];

/// Builds the page.
pub(super) fn report(outcome: &Outcome, figures: &[Figure]) -> Report {
    let [trees, _, repeat, ..] = outcome.methods.as_slice() else { return Report::default() };
    let gain = (trees.mean.ndcg / repeat.mean.ndcg - 1.0) * 100.0;
    Report {
        title: "Selvedge: the weekly flyer, household by household".to_owned(),
        lede: format!(
            "Each of {} flyers was put in a new order by a module that runs at the edge, for households that its model \
             had never seen. Data: {}.",
            outcome.queries, outcome.source
        ),
        headlines: vec![
            headline(
                format!("{:.4}", trees.mean.ndcg),
                "NDCG@10 of unseen households",
                format!("{gain:+.1} % over their own repeat purchases"),
            ),
            headline(
                format!("{:.0} µs", outcome.latency.decision.median_us),
                "median decision",
                format!("p99 {:.0} µs, under wasmtime with fuel on", outcome.latency.decision.p99_us),
            ),
            headline(
                format!("{:.1} KiB", outcome.guest.gzip_bytes as f64 / 1024.0),
                "guest module, gzip",
                "the whole engine, no imports".to_owned(),
            ),
            headline(
                format!("{:.1} KiB", outcome.bundle.gzip_bytes as f64 / 1024.0),
                "bundle, gzip",
                "features, trees and policy".to_owned(),
            ),
        ],
        run: outcome
            .facts
            .iter()
            .map(|(label, value)| Fact { label: (*label).to_owned(), value: value.clone() })
            .collect(),
        quality: quality(outcome),
        latency: Some(latency(&outcome.latency)),
        sizes: sizes(outcome),
        households: outcome.households.iter().map(household).collect(),
        importances: outcome
            .importances
            .iter()
            .filter(|(_, share)| *share > 0.0)
            .map(|(feature, share)| Importance { feature: feature.clone(), share: *share })
            .collect(),
        figures: figures
            .iter()
            .map(|figure| ReportFigure {
                name: figure.name.clone(),
                value: figure.value,
                unit: figure.unit.to_owned(),
                command: figure.command.clone(),
            })
            .collect(),
    }
}

fn headline(value: String, label: &str, note: String) -> Headline {
    Headline { value, label: label.to_owned(), note }
}

fn quality(outcome: &Outcome) -> Quality {
    Quality {
        note: "Means over flyers with 95 % intervals from a bootstrap over households; differences are paired by flyer. Each \
               fold's households were left out of training, and all test weeks come after the training weeks. Flyer \
               order is ascending product id, since the data know no other: it says where an order that knows nothing \
               ends up. The repeat count is what has to be beaten."
            .to_owned(),
        measures: MEASURES.map(str::to_owned).to_vec(),
        methods: outcome
            .methods
            .iter()
            .map(|method| Method {
                name: method.name.to_owned(),
                ours: method.name.starts_with("selvedge"),
                values: method.intervals.to_vec(),
            })
            .collect(),
        differences: outcome
            .differences
            .iter()
            .filter(|(against, _)| CHARTED.contains(against))
            .map(|(against, values)| Difference { against: (*against).to_owned(), values: values.to_vec() })
            .collect(),
        folds: outcome
            .folds
            .iter()
            .map(|fold| Fold {
                name: format!("fold {}", fold.fold),
                queries: fold.queries,
                values: fold.ndcg.clone(),
                difference: fold.difference,
                against: "repeat count".to_owned(),
            })
            .collect(),
    }
}

fn latency(measured: &latency::Latency) -> Latency {
    let stage = |name: &str, stage: latency::Stage| Stage {
        name: name.to_owned(),
        median_us: stage.median_us,
        p99_us: stage.p99_us,
    };
    Latency {
        note: format!(
            "{} requests of up to 200 candidates under wasmtime on one core, fuel on, copies and calls included. The \
             parts are differences of calls that stop earlier, so their medians need not add up.",
            measured.requests
        ),
        total: stage("decision", measured.decision),
        stages: vec![
            stage("features", measured.features),
            stage("model", measured.model),
            stage("slate", measured.slate),
        ],
        decisions_us: measured.decisions_us.clone(),
    }
}

fn sizes(outcome: &Outcome) -> Vec<Size> {
    let size = |name: &str, size: experiment::Size| Size {
        name: name.to_owned(),
        bytes: size.bytes as u64,
        gzip_bytes: size.gzip_bytes as u64,
    };
    vec![
        size("guest module", outcome.guest),
        size("bundle, trees", outcome.bundle),
        size("bundle, linear", outcome.linear_bundle),
        size("shared state", outcome.shared),
    ]
}

fn household(household: &experiment::Household) -> Household {
    let shown = |shown: &experiment::Shown| Shown {
        name: shown.name.clone(),
        detail: shown.detail.clone(),
        bought: shown.bought,
        flyer_place: shown.flyer_place,
        reasons: shown
            .reasons
            .iter()
            .map(|(label, effect)| Reason { label: label.clone(), contribution: f64::from(*effect) })
            .collect(),
        rules: Vec::new(),
    };
    Household {
        name: format!("Household {}", household.id),
        note: format!("week {}", household.week),
        candidates: household.candidates,
        before: household.before.iter().map(shown).collect(),
        after: household.after.iter().map(shown).collect(),
        bought: household.bought.iter().map(|(before, after)| Bought { before: *before, after: *after }).collect(),
    }
}
