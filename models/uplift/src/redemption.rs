//! Mailed coupon books as a table of responses: who redeems, where nobody drew who is mailed.
//!
//! A retailer's own campaigns are no trial. Households were chosen, so those who were mailed differ from the others in more
//! than the book, and what the book made them buy cannot be told. What can be told is who redeems: a book that was not mailed
//! is never redeemed, and among those that were, a policy that mails fewer is followed by looking at the rows that it keeps.
//! That is response targeting; the value is of a redemption and not of an increment, and every table made here is
//! [`Assignment::Observational`].
//!
//! Time is kept: a household is described as it was at the first instant of the book's period, books are learned from only
//! if they were over before the first that is judged began, and the rest is left out and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use selvedge_train::dataset::Dataset;
use selvedge_train::dataset::mailing::Mailings;

use crate::trial::{Assignment, Propensities, Trial, TrialData, TrialError};

/// Names of the arms.
pub const ARMS: [&str; 2] = ["not mailed", "book"];

/// What is known of a household and a book before it is mailed. Counts and dollars are `ln(1 + x)`.
pub const FEATURES: [&str; 9] = [
    "spend",
    "baskets",
    "days_since",
    "book_spend",
    "book_items_bought",
    "book_size",
    "books_before",
    "redeemed_before",
    "is_type_a",
];

const DAY_MS: i64 = 86_400_000;
/// Days that "lately" goes back.
const LATELY: i64 = 56;

/// Which books are learned from and which are judged, as indices into [`Mailings::books`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Begun after some weeks of history, and over before the cut.
    pub learned: Vec<usize>,
    /// Begun at the cut or later, and over before the data end.
    pub judged: Vec<usize>,
    /// Neither: begun too early, running at the cut, or cut off by the end of the data.
    pub left_out: usize,
}

/// Splits books at the instant `cut_ms`. `known` is where purchases are known; those of its first days are history only.
#[must_use]
pub fn split(mailings: &Mailings, known: &Range<i64>, history_ms: i64, cut_ms: i64) -> Split {
    let of = |is: &dyn Fn(i64, i64) -> bool| {
        let books = mailings.books.iter().enumerate();
        books.filter(|(_, book)| is(book.start_ms, book.end_ms)).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let learned = of(&|start, end| start >= known.start + history_ms && end <= cut_ms);
    let judged = of(&|start, end| start >= cut_ms && end <= known.end);
    let left_out = mailings.books.len() - learned.len() - judged.len();
    Split { learned, judged, left_out }
}

/// Households and books, with what came of each.
#[derive(Clone, Debug)]
pub struct Mailed {
    /// A row per book and household, mailed or not; the outcome is that a coupon was redeemed.
    pub trial: Trial,
    /// Household of each row, an index into [`Dataset::users`].
    pub users: Vec<u32>,
    /// Book of each row, an index into [`Mailings::books`]; rows of a book stand together.
    pub books: Vec<usize>,
}

impl Mailed {
    /// The table of some books.
    ///
    /// # Errors
    /// No household was mailed one, or all were.
    pub fn new(dataset: &Dataset, mailings: &Mailings, books: &[usize]) -> Result<Self, TrialError> {
        let mut data = TrialData {
            features: FEATURES.map(str::to_owned).to_vec(),
            values: vec![],
            arms: ARMS.map(str::to_owned).to_vec(),
            arm: vec![],
            assignment: Assignment::Observational(Propensities::PerArm(vec![])),
            outcome: vec![],
            value: vec![],
        };
        let (mut users, mut of_books) = (Vec::new(), Vec::new());
        for &at in books {
            let book = &mailings.books[at];
            let redeemed: BTreeSet<u32> =
                mailings.redemptions.iter().filter(|one| one.book == at).map(|one| one.user).collect();
            let known = Known::before(book.start_ms, dataset, mailings, &book.items);
            for user in 0..dataset.users.len() as u32 {
                let of_book = [(1.0 + book.items.len() as f32).ln(), f32::from(u8::from(book.kind == "Type A"))];
                data.values.extend(known.features(user, of_book));
                data.arm.push(usize::from(book.users.binary_search(&user).is_ok()));
                data.outcome.push(f32::from(u8::from(redeemed.contains(&user))));
                users.push(user);
                of_books.push(at);
            }
        }
        // How the retailer chose is not known: the share of those who were mailed stands in, and nothing is weighted by it.
        let share = data.arm.iter().sum::<usize>() as f64 / data.arm.len().max(1) as f64;
        data.assignment = Assignment::Observational(Propensities::PerArm(vec![1.0 - share, share]));
        Ok(Self { trial: Trial::new(data)?, users, books: of_books })
    }

    /// The rows that were mailed.
    #[must_use]
    pub fn mailed(&self) -> Vec<usize> {
        self.trial.rows_of(&[1])
    }
}

/// What is known of households before an instant.
#[derive(Default)]
struct Known {
    before_ms: i64,
    households: BTreeMap<u32, Household>,
}

#[derive(Default)]
struct Household {
    spend: f32,
    baskets: BTreeSet<u64>,
    last_ms: i64,
    book_spend: f32,
    book_items: BTreeSet<u32>,
    books: u32,
    redeemed: BTreeSet<usize>,
}

impl Known {
    fn before(before_ms: i64, dataset: &Dataset, mailings: &Mailings, items: &[u32]) -> Self {
        let mut households: BTreeMap<u32, Household> = BTreeMap::new();
        for purchase in dataset.purchases_between(0..before_ms) {
            let household = households.entry(purchase.user).or_default();
            if purchase.time_ms >= before_ms - LATELY * DAY_MS {
                household.spend += purchase.sales_value;
                household.baskets.insert(purchase.basket);
            }
            if items.binary_search(&purchase.item).is_ok() {
                household.book_spend += purchase.sales_value;
                household.book_items.insert(purchase.item);
            }
            household.last_ms = purchase.time_ms;
        }
        for user in mailings.books.iter().filter(|book| book.start_ms < before_ms).flat_map(|book| &book.users) {
            households.entry(*user).or_default().books += 1;
        }
        for redemption in mailings.redemptions.iter().filter(|redemption| redemption.day_ms < before_ms) {
            households.entry(redemption.user).or_default().redeemed.insert(redemption.book);
        }
        Self { before_ms, households }
    }

    fn features(&self, user: u32, [book_size, is_type_a]: [f32; 2]) -> [f32; FEATURES.len()] {
        let nobody = Household::default();
        let household = self.households.get(&user).unwrap_or(&nobody);
        let count = |count: usize| (1.0 + count as f32).ln();
        // Who has never bought has no last day.
        let days = match household.last_ms {
            0 => f32::NAN,
            last => (self.before_ms - last) as f32 / DAY_MS as f32,
        };
        [
            household.spend.max(0.0).ln_1p(),
            count(household.baskets.len()),
            days.ln_1p(),
            household.book_spend.max(0.0).ln_1p(),
            count(household.book_items.len()),
            book_size,
            count(household.books as usize),
            count(household.redeemed.len()),
            is_type_a,
        ]
    }
}

/// The share of each row that is mailed if rows of high score come first and `budget` is spent in all. Rows of equal score
/// share what is left alike: no order among them is invented.
#[must_use]
pub fn within(scores: &[f64], costs: &[f64], budget: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut shares = vec![0.0; scores.len()];
    let mut left = budget;
    for rows in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let cost: f64 = rows.iter().map(|row| costs[*row]).sum();
        let share = if cost > left { left / cost } else { 1.0 };
        for row in rows {
            shares[*row] = share;
        }
        left -= share * cost;
        if left <= 0.0 {
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use selvedge_train::dataset::SyntheticSize;
    use selvedge_train::dataset::mailing::Redemption;

    use super::*;

    fn world() -> (Dataset, Mailings) {
        let dataset = Dataset::synthetic(3, SyntheticSize::SMALL);
        let mailings = Mailings::synthetic(3, &dataset);
        (dataset, mailings)
    }

    fn known(dataset: &Dataset) -> Range<i64> {
        dataset.weeks[0].start_ms..dataset.weeks[dataset.weeks.len() - 1].end_ms
    }

    #[test]
    fn no_book_is_learned_from_that_was_not_over_when_the_first_judged_began() {
        let (dataset, mailings) = world();
        let cut = dataset.weeks[12].start_ms;
        let Split { learned, judged, left_out } = split(&mailings, &known(&dataset), 28 * DAY_MS, cut);
        assert!(!learned.is_empty() && !judged.is_empty() && left_out > 0);
        assert!(learned.iter().all(|at| mailings.books[*at].end_ms <= cut));
        assert!(judged.iter().all(|at| mailings.books[*at].start_ms >= cut));
        assert_eq!(learned.len() + judged.len() + left_out, mailings.books.len());
    }

    #[test]
    fn what_happens_from_the_first_day_of_a_book_on_changes_no_feature() {
        let (mut dataset, mut mailings) = world();
        let at = 3;
        let start = mailings.books[at].start_ms;
        let before = Mailed::new(&dataset, &mailings, &[at]).unwrap();
        dataset.purchases.retain(|purchase| purchase.time_ms < start);
        mailings.redemptions.retain(|redemption| redemption.day_ms < start);
        mailings.redemptions.push(Redemption { day_ms: start, user: 0, book: at });
        mailings.books.truncate(at + 1);
        let after = Mailed::new(&dataset, &mailings, &[at]).unwrap();
        let bits = |mailed: &Mailed| mailed.trial.values().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&before), bits(&after));
        dataset.purchases.truncate(dataset.purchases.len() / 2);
        assert_ne!(bits(&before), bits(&Mailed::new(&dataset, &mailings, &[at]).unwrap()), "or nothing was looked at");
    }

    #[test]
    fn the_table_is_observational_and_nothing_is_redeemed_that_was_not_mailed() {
        let (dataset, mailings) = world();
        let Mailed { trial, .. } = Mailed::new(&dataset, &mailings, &[0, 1, 2]).unwrap();
        assert!(trial.is_observational());
        assert_eq!((trial.rows(), trial.response(0)), (3 * dataset.users.len(), 0.0));
        assert!(trial.response(1) > 0.0);
    }

    #[test]
    fn a_budget_goes_to_the_highest_scores_and_is_shared_by_equals() {
        let shares = within(&[1.0, 3.0, 2.0, 2.0, 0.0], &[1.0, 1.0, 1.0, 2.0, 1.0], 2.5);
        assert_eq!(shares, [0.0, 1.0, 0.5, 0.5, 0.0]);
        assert_eq!(within(&[1.0, 2.0], &[1.0, 1.0], 9.0), [1.0, 1.0]);
        assert_eq!(within(&[1.0, 2.0], &[1.0, 1.0], 0.0), [0.0, 0.0]);
    }
}
