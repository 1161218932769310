//! A made-up retailer, for tests and for machines without a network.
//!
//! Households are drawn with habits that a ranker can learn and that popularity cannot: each has staples that it buys again
//! after a period of its own, categories that it prefers, a leaning to the retailer's own label, and a weakness for what the
//! flyer shows in those categories. Products differ in popularity, so popularity is worth something as well. The same seed
//! and size give the same dataset on every platform: only integer draws, division and multiplication are used.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Dataset, Item, Purchase, Source, calendar, sort_purchases};

/// How much to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticSize {
    /// Number of households.
    pub households: u32,
    /// Number of weeks; the first is a single day, as in the real data.
    pub weeks: u32,
    /// Number of products.
    pub products: u32,
    /// Number of stores.
    pub stores: u32,
}

impl SyntheticSize {
    /// For tests: generated in milliseconds.
    pub const SMALL: Self = Self { households: 60, weeks: 20, products: 300, stores: 3 };
    /// For the demo without a network: a year, with flyers as long as the real ones.
    pub const DEMO: Self = Self { households: 800, weeks: 52, products: 1_200, stores: 10 };
}

/// Department, and what is sold there.
const CATEGORIES: [(&str, &str); 24] = [
    ("DRUG GM", "CANDY"),
    ("DRUG GM", "PAPER TOWELS"),
    ("DRUG GM", "SHAMPOO"),
    ("GROCERY", "BAKED BREAD"),
    ("GROCERY", "CANNED SOUP"),
    ("GROCERY", "CEREAL"),
    ("GROCERY", "CHEESE"),
    ("GROCERY", "COFFEE"),
    ("GROCERY", "COOKIES"),
    ("GROCERY", "CRACKERS"),
    ("GROCERY", "EGGS"),
    ("GROCERY", "FROZEN PIZZA"),
    ("GROCERY", "ICE CREAM"),
    ("GROCERY", "JUICE"),
    ("GROCERY", "MILK"),
    ("GROCERY", "PASTA"),
    ("GROCERY", "SOFT DRINKS"),
    ("GROCERY", "YOGURT"),
    ("MEAT", "BEEF"),
    ("MEAT", "CHICKEN"),
    ("PRODUCE", "APPLES"),
    ("PRODUCE", "BANANAS"),
    ("PRODUCE", "SALAD"),
    ("PRODUCE", "TOMATOES"),
];
/// A category's products come in this many kinds and sizes.
const TYPES: [&str; 4] = ["REGULAR", "LIGHT", "ORGANIC", "FAMILY"];
const SIZES: [&str; 4] = ["6 OZ", "12 OZ", "32 OZ", "64 OZ"];
/// Every fourth product is the retailer's own.
const PRIVATE_EVERY: u32 = 4;
/// Share of a store's assortment on its front page: three tenths chain-wide, some more of its own.
const ON_EVERY_FLYER: f64 = 0.30;
const ON_THIS_FLYER: f64 = 0.05;

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

impl Dataset {
    /// Generates a dataset. Every size works; weeks, stores and products below 1 are taken for 1.
    ///
    /// ```
    /// use selvedge_train::dataset::{Dataset, SyntheticSize};
    /// let data = Dataset::synthetic(7, SyntheticSize::SMALL);
    /// assert_eq!(data.users.len(), 60);
    /// assert!(!data.purchases.is_empty());
    /// ```
    #[must_use]
    pub fn synthetic(seed: u64, size: SyntheticSize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let weeks = calendar::weeks_through(size.weeks.max(1));
        let stores = size.stores.max(1);
        let products: Vec<Product> = (0..size.products.max(1)).map(|index| Product::draw(index, &mut rng)).collect();
        let mut flyers = BTreeMap::new();
        for week in &weeks {
            let everywhere = front_page(&products, ON_EVERY_FLYER, &mut rng);
            for store in 0..stores {
                let here = front_page(&products, ON_THIS_FLYER, &mut rng);
                let page: BTreeSet<u32> = everywhere.union(&here).copied().collect();
                flyers.insert((week.number, store), page.into_iter().collect::<Vec<u32>>());
            }
        }
        let mut purchases = Vec::new();
        for user in 0..size.households {
            let mut household = Household::draw(user, stores, &products, &mut rng);
            for week in &weeks {
                let page = &flyers[&(week.number, household.store)];
                // The first week is a single day.
                let days = (week.end_ms - week.start_ms) / DAY_MS;
                if days < 7 && rng.random_bool(0.8) {
                    continue;
                }
                let trip = week.start_ms
                    + rng.random_range(0..days.max(1)) * DAY_MS
                    + rng.random_range(8 * 60..21 * 60) * MINUTE_MS;
                household.shop(week.number, trip, page, &products, &mut rng, &mut purchases);
            }
        }
        sort_purchases(&mut purchases);
        Self {
            source: Source::Synthetic { seed },
            items: products.into_iter().map(|p| p.item).collect(),
            users: (1..=size.households).map(|id| id.to_string()).collect(),
            stores: (1..=stores).map(|id| id.to_string()).collect(),
            purchases,
            weeks,
            flyers,
        }
    }
}

struct Product {
    item: Item,
    category: usize,
    private: bool,
    price: f32,
    /// Relative rate at which anybody buys it.
    popularity: f64,
}

impl Product {
    fn draw(index: u32, rng: &mut impl Rng) -> Self {
        let category = rng.random_range(0..CATEGORIES.len());
        let (department, name) = CATEGORIES[category];
        let private = index.is_multiple_of(PRIVATE_EVERY);
        let kind = TYPES[rng.random_range(0..TYPES.len())];
        let manufacturer = match private {
            true => 1,
            false => 2 + category * 3 + rng.random_range(0..3),
        };
        let brand = if private { "Private" } else { "National" };
        let item = Item {
            id: (1_000 + index).to_string(),
            department: department.to_owned(),
            brand: brand.to_owned(),
            product_category: name.to_owned(),
            product_type: format!("{name} {kind}"),
            manufacturer: manufacturer.to_string(),
            package_size: SIZES[rng.random_range(0..SIZES.len())].to_owned(),
        };
        Self {
            item,
            category,
            private,
            price: rng.random_range(80..900_u16).into(),
            // Between 1/20 and 1, most of it low: the long tail of an assortment.
            popularity: 1.0 / f64::from(rng.random_range(1..=20_u8)),
        }
    }
}

/// Each product independently, the popular ones up to twice as often as the rest.
fn front_page(products: &[Product], share: f64, rng: &mut impl Rng) -> BTreeSet<u32> {
    (0..)
        .zip(products)
        .filter(|(_, p)| rng.random_bool((share * (0.85 + p.popularity)).min(1.0)))
        .map(|(index, _)| index)
        .collect()
}

/// Something that a household buys again and again.
struct Staple {
    item: u32,
    period: u32,
    last_week: u32,
}

struct Household {
    user: u32,
    store: u32,
    staples: Vec<Staple>,
    /// Weight of each category, most of them 0.
    taste: [f64; CATEGORIES.len()],
    /// How much more it likes the retailer's own label than the makers' (below 1: less).
    private_taste: f64,
    /// Baskets so far.
    baskets: u64,
}

impl Household {
    fn draw(user: u32, stores: u32, products: &[Product], rng: &mut impl Rng) -> Self {
        let mut taste = [0.0; CATEGORIES.len()];
        for _ in 0..6 {
            taste[rng.random_range(0..CATEGORIES.len())] += rng.random_range(0.5..1.5);
        }
        let mut household = Self {
            user,
            store: rng.random_range(0..stores),
            staples: Vec::new(),
            taste,
            private_taste: [0.3, 1.0, 3.0][rng.random_range(0..3)],
            baskets: 0,
        };
        let wanted = rng.random_range(6..14);
        household.staples = household
            .pick(wanted, (0..).zip(products), rng)
            .into_iter()
            .map(|item| {
                let period = rng.random_range(1..=6);
                Staple { item, period, last_week: rng.random_range(0..period) }
            })
            .collect();
        household
    }

    /// What the household thinks of a product it has no habit of.
    fn liking(&self, product: &Product) -> f64 {
        let label = if product.private { self.private_taste } else { 1.0 };
        self.taste[product.category] * label * product.popularity
    }

    /// Up to `count` distinct products in proportion to liking.
    fn pick<'p>(
        &self,
        count: usize,
        products: impl Iterator<Item = (u32, &'p Product)>,
        rng: &mut impl Rng,
    ) -> BTreeSet<u32> {
        let mut total = 0.0;
        let cumulative: Vec<(f64, u32)> = products
            .map(|(index, product)| {
                total += self.liking(product);
                (total, index)
            })
            .collect();
        if total <= 0.0 {
            return BTreeSet::new();
        }
        (0..count)
            .filter_map(|_| {
                let at = rng.random_range(0.0..total);
                let place = cumulative.partition_point(|&(sum, _)| sum <= at);
                cumulative.get(place).map(|&(_, index)| index)
            })
            .collect()
    }

    /// One week's trip: staples that are due, a few things off the flyer, a few others.
    fn shop(
        &mut self,
        week: u32,
        trip_ms: i64,
        page: &[u32],
        products: &[Product],
        rng: &mut impl Rng,
        purchases: &mut Vec<Purchase>,
    ) {
        let mut basket = BTreeSet::new();
        for staple in &mut self.staples {
            let weeks_since = week.saturating_sub(staple.last_week);
            let shown = page.binary_search(&staple.item).is_ok();
            let chance = match (weeks_since >= staple.period, shown) {
                (true, true) => 0.8,
                (true, false) => 0.5,
                (false, true) => 0.15,
                (false, false) => 0.03,
            };
            if rng.random_bool(chance) {
                staple.last_week = week;
                basket.insert(staple.item);
            }
        }
        let of_page = page.iter().map(|&index| (index, &products[index as usize]));
        let impulses = rng.random_range(0..3);
        basket.append(&mut self.pick(impulses, of_page, rng));
        let others = rng.random_range(0..4);
        basket.append(&mut self.pick(others, (0..).zip(products), rng));

        self.baskets += 1;
        for item in basket {
            let product = &products[item as usize];
            let quantity = rng.random_range(1..=3_u8);
            let discount = match page.binary_search(&item) {
                Ok(_) => 0.2,
                Err(_) => 0.0,
            };
            let cents = product.price * f32::from(quantity);
            purchases.push(Purchase {
                time_ms: trip_ms,
                user: self.user,
                item,
                store: self.store,
                quantity: f32::from(quantity),
                sales_value: (cents * (1.0 - discount)).round() / 100.0,
                retail_disc: (cents * discount).round() / 100.0,
                basket: u64::from(self.user) << 32 | self.baskets,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::FlyerQueries;
    use super::*;
    use crate::metric::{ndcg, rank};

    #[test]
    fn the_seed_is_the_only_source_of_chance() {
        let once = Dataset::synthetic(11, SyntheticSize::SMALL);
        let again = Dataset::synthetic(11, SyntheticSize::SMALL);
        let other = Dataset::synthetic(12, SyntheticSize::SMALL);
        assert_eq!(once.purchases, again.purchases);
        assert_eq!(once.flyers, again.flyers);
        assert_eq!(once.items, again.items);
        assert_ne!(once.purchases, other.purchases);
    }

    #[test]
    fn the_smallest_size_works() {
        let one = SyntheticSize { households: 1, weeks: 0, products: 0, stores: 0 };
        let data = Dataset::synthetic(1, one);
        assert_eq!((data.items.len(), data.stores.len(), data.weeks.len()), (1, 1, 1));
    }

    #[test]
    fn purchases_lie_within_the_weeks_and_are_sorted() {
        let data = Dataset::synthetic(5, SyntheticSize::SMALL);
        let (first, last) = (data.weeks[0], data.weeks[data.weeks.len() - 1]);
        let span = first.start_ms..last.end_ms;
        assert!(data.purchases.iter().all(|p| span.contains(&p.time_ms)));
        assert!(data.purchases.is_sorted_by_key(|p| (p.time_ms, p.basket, p.item)));
    }

    #[test]
    fn habits_beat_popularity_which_beats_flyer_order() {
        let data = Dataset::synthetic(1, SyntheticSize::SMALL);
        let queries = FlyerQueries::build(&data, 10..=20).queries;
        let mut sums = [0.0; 3];
        for query in &queries {
            let before = data.purchases_between(i64::MIN..query.time_ms);
            let mut popular: HashMap<u32, f32> = HashMap::new();
            let mut own: HashMap<u32, f32> = HashMap::new();
            for p in before {
                *popular.entry(p.item).or_default() += 1.0;
                if p.user == query.user {
                    *own.entry(p.item).or_default() += 1.0;
                }
            }
            let gains: Vec<f64> = query.relevant.iter().map(|&r| f64::from(u8::from(r))).collect();
            let by = |counts: &HashMap<u32, f32>| -> Vec<f32> {
                let count = |c| counts.get(c).copied().unwrap_or(0.0);
                query.candidates.iter().map(count).collect()
            };
            let orders = [HashMap::new(), popular, own];
            for (sum, counts) in sums.iter_mut().zip(&orders) {
                *sum += ndcg(&gains, &rank(&by(counts)), 10);
            }
        }
        let [flyer, popular, own] = sums.map(|s| s / queries.len() as f64);
        assert!(flyer + 0.05 < popular, "{flyer} {popular}");
        assert!(popular + 0.05 < own, "{popular} {own}");
        assert!(own < 0.95, "{own}: something must be left to learn");
    }
}
