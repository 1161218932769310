//! `demo --storefront`: the files of the page, on made-up households.

use std::path::Path;

use selvedge_format::AlignedBytes;
use selvedge_format::shared::SharedState;
use serde_json::Value;

use crate::shop::Shop;

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("shop.json has no list {name}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("shop.json has no text {name}"))
}

/// Every file below, with its content.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_storefront_has_all_that_its_page_asks_for() {
    let shop = Shop::new();
    let ran = shop.run("demo --quick --storefront page");
    assert_eq!(ran.code, Some(0), "{ran}");
    let page: Value = serde_json::from_slice(&shop.read("page/shop.json")).unwrap();
    assert_eq!(page["made_up"], true);

    let bundles = &page["bundles"];
    for diversity in list(bundles, "diversity") {
        for cap in list(bundles, "cap") {
            for explore in list(bundles, "explore") {
                let parts = [("{diversity}", diversity), ("{cap}", cap), ("{explore}", explore)];
                let address = parts.iter().fold(text(bundles, "address").to_owned(), |address, (brace, part)| {
                    address.replace(brace, part.as_str().unwrap())
                });
                let shown = shop.run(&format!("inspect --json page/{address}"));
                assert_eq!(shown.code, Some(0), "{address}: {shown}");
            }
        }
    }

    let products = list(&page, "products");
    let households = list(&page, "households");
    assert!(households.len() > 1, "there is somebody to switch to");
    for household in households {
        let shown = shop.run(&format!("inspect --json page/{}", text(household, "state")));
        assert_eq!(shown.code, Some(0), "{shown}");
        let feed = list(household, "feed");
        assert!(feed.iter().all(|place| place.as_u64().unwrap() < products.len() as u64), "every place is a product");
        let bought = list(household, "bought");
        assert!(!bought.is_empty() && bought.iter().all(|place| feed.contains(place)), "it bought from the flyer");
    }

    let shared = shop.read(&format!("page/{}", text(&page, "shared")));
    let shared = SharedState::load(AlignedBytes::copy_of(&shared)).unwrap();
    assert!(shared.item_keys().len() <= products.len(), "what everybody does is told of the shown products only");

    let offers = &page["offers"];
    let shown = shop.run(&format!("inspect page/{}", text(offers, "bundle")));
    assert!(shown.stdout.contains(&format!("campaign {}\n", text(offers, "campaign"))), "{shown}");
    for offer in list(offers, "offers") {
        assert!(shown.stdout.contains(&format!("\n  {}  ", offer.as_str().unwrap())), "{offer}: {shown}");
    }
    assert!(list(offers, "budgets").iter().all(|budget| budget["total"].as_u64() > Some(0)), "there is money to open");

    let declared: Vec<&str> =
        list(&page, "terms").iter().filter(|term| term["declared"] == true).map(|term| text(term, "feature")).collect();
    assert!(declared.contains(&"viewed_type") && !declared.contains(&"item_purchases"), "{declared:?}");
}

#[test]
fn the_same_build_writes_the_same_storefront() {
    let shop = Shop::new();
    for directory in ["one", "two"] {
        let ran = shop.run(&format!("demo --quick --storefront {directory}"));
        assert_eq!(ran.code, Some(0), "{ran}");
    }
    let [one, two] = ["one", "two"].map(|directory| files(&shop.path().join(directory)));
    assert!(one.len() > 12, "bundles, states, and what names them");
    assert_eq!(one, two);
}

#[test]
fn a_storefront_is_no_report() {
    let ran = Shop::new().run("demo --quick --storefront page --json figures.json");
    assert_eq!(ran.code, Some(2), "{ran}");
}
