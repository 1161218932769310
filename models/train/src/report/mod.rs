//! A run on one page: how good, how fast, how large, and why each item is where it is.
//!
//! [`Report`] is plain data that whoever ran the evaluation fills in; [`Report::to_html`] turns it into one file that opens
//! from disk, asks the network for nothing (its own content policy forbids it), runs no script, and follows the reader's
//! light or dark setting. This module computes no result: what is not in the struct is not on the page. Text is escaped by
//! construction (maud), whatever a product or a household is called.

pub mod chart;
mod page;

pub use page::{figure, shell};

use crate::bootstrap::Interval;

/// Everything on the page. Sections whose list is empty are left out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Heading of the page.
    pub title: String,
    /// One or two sentences below it: what was run on what.
    pub lede: String,
    /// The few numbers that a reader should leave with; four fit a row.
    pub headlines: Vec<Headline>,
    /// The data and the settings.
    pub run: Vec<Fact>,
    /// Ranking quality.
    pub quality: Quality,
    /// Cost of a decision.
    pub latency: Option<Latency>,
    /// What has to be shipped.
    pub sizes: Vec<Size>,
    /// A few households, with their flyer before and after.
    pub households: Vec<Household>,
    /// What the model leans on, in any order.
    pub importances: Vec<Importance>,
    /// Every figure with the command that reproduces it.
    pub figures: Vec<Figure>,
}

/// A large number with a caption.
#[derive(Clone, Debug)]
pub struct Headline {
    /// The number, formatted, with its unit: `0.684`, `+3.6 %`, `212 µs`.
    pub value: String,
    /// What it is.
    pub label: String,
    /// What to compare it with; may be empty.
    pub note: String,
}

/// One line of a list of terms.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The term.
    pub label: String,
    /// Its value, formatted.
    pub value: String,
}

/// Methods against measures, and one method against the others.
#[derive(Clone, Debug, Default)]
pub struct Quality {
    /// How queries were made and intervals computed; may be empty.
    pub note: String,
    /// Names of the measures, in column order: `NDCG@10`, `MAP`. The charts show the first.
    pub measures: Vec<String>,
    /// One row per method.
    pub methods: Vec<Method>,
    /// Our method minus another, one row per other.
    pub differences: Vec<Difference>,
    /// Results on each fold of unseen households.
    pub folds: Vec<Fold>,
}

/// A ranker and its measures.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// Whether it is the one that the page is about.
    pub ours: bool,
    /// One per [`Quality::measures`].
    pub values: Vec<Interval>,
}

/// Ours minus another method.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The other method.
    pub against: String,
    /// One per [`Quality::measures`], paired by query.
    pub values: Vec<Interval>,
}

/// One fold, its households unseen in training.
#[derive(Clone, Debug)]
pub struct Fold {
    /// Its name.
    pub name: String,
    /// Queries in it.
    pub queries: usize,
    /// The first measure, one per [`Quality::methods`].
    pub values: Vec<f64>,
    /// Ours minus [`Fold::against`], first measure, paired by query.
    pub difference: Interval,
    /// The method that the difference is against.
    pub against: String,
}

/// How long decisions take.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Where it was measured and how large the work was.
    pub note: String,
    /// Whole decisions.
    pub total: Stage,
    /// Their parts, in order of execution.
    pub stages: Vec<Stage>,
    /// Every measured decision, microseconds, in any order; drawn as a histogram.
    pub decisions_us: Vec<f64>,
}

/// A part of a decision.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Median, microseconds.
    pub median_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
}

/// A shipped artefact.
#[derive(Clone, Debug)]
pub struct Size {
    /// Its name.
    pub name: String,
    /// Bytes as they are.
    pub bytes: u64,
    /// Bytes after gzip.
    pub gzip_bytes: u64,
}

/// A household and one of its flyers.
#[derive(Clone, Debug)]
pub struct Household {
    /// Who and when: `Household 1228, week 50`.
    pub name: String,
    /// Anything worth knowing about it; may be empty.
    pub note: String,
    /// Number of candidates on the flyer.
    pub candidates: usize,
    /// The first places as the flyer had them.
    pub before: Vec<Shown>,
    /// The slate.
    pub after: Vec<Shown>,
    /// Every candidate that the household bought that week.
    pub bought: Vec<Bought>,
}

/// An item in a place.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What people call it.
    pub name: String,
    /// Brand, size and the like; may be empty.
    pub detail: String,
    /// Whether the household bought it that week.
    pub bought: bool,
    /// Its place on the flyer, from 1.
    pub flyer_place: usize,
    /// Why it is where it is, largest first; empty in flyer order.
    pub reasons: Vec<Reason>,
    /// Slate rules that moved it, as phrases; usually none.
    pub rules: Vec<String>,
}

/// Part of a score.
#[derive(Clone, Debug)]
pub struct Reason {
    /// The feature and what it says here.
    pub label: String,
    /// What it added to the score.
    pub contribution: f64,
}

/// Where a bought item stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bought {
    /// Place on the flyer, from 1.
    pub before: usize,
    /// Place in the full ranking, from 1.
    pub after: usize,
}

/// How much a model leans on a feature.
#[derive(Clone, Debug)]
pub struct Importance {
    /// The feature.
    pub feature: String,
    /// Its share of the whole, 0 to 1.
    pub share: f64,
}

/// A number that others may quote, and how to get it again.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Dotted name: `ndcg10.unseen.selvedge`.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit; empty for a pure number.
    pub unit: String,
    /// The command.
    pub command: String,
}

impl Report {
    /// The page, complete from doctype to the closing tag.
    #[must_use]
    pub fn to_html(&self) -> String {
        page::render(self).into_string()
    }
}
