//! Carts: whatever is sent is refused by name, or priced so that nothing falls below zero.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_fuzz::offer;
use selvedge_offer::{Cart, Presented, price};

fuzz_target!(|data: &[u8]| {
    let Ok(cart) = Cart::parse(data, offer::CURRENCY) else { return };
    let again = Cart::new(offer::CURRENCY, cart.lines().to_vec(), cart.shipping_minor());
    assert_eq!(again.as_ref(), Ok(&cart));
    let offers = offer::offers();
    let presented: Vec<_> =
        offers.iter().map(|offer| Presented { campaign: "spring", offer, margin_floor: 100 }).collect();
    let priced = price(&cart, &presented);
    for (line, discount) in cart.lines().iter().zip(&priced.line_discounts) {
        assert!(*discount <= line.price_minor());
    }
    for (outcome, offer) in priced.offers.iter().zip(&offers) {
        assert_eq!(outcome.offer, offer.offer, "as they are listed");
        assert!(outcome.result.as_ref().map_or(0, |given| given.minor) <= offer.face());
    }
    assert_eq!(priced.total_after_minor() + priced.discount_minor(), priced.total_before_minor());
});
