//! What an edge does with a price that is old.

/// The price that a head carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Value in millionths that one unit of cost must bring.
    pub price_micros: u64,
    /// When it was set, in milliseconds since 1970-01-01 UTC.
    pub issued_ms: i64,
}

/// How long an edge believes in prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A price is good until it is so old.
    pub fresh_ms: i64,
    /// Then the highest price is used, until it is so old.
    pub stop_ms: i64,
    /// The highest price of the budget, in millionths.
    pub highest_micros: u64,
}

/// What to decide with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectivePrice {
    /// Decide at this price, in millionths.
    Price(u64),
    /// Offer nothing from this budget.
    NoOffer,
}

/// The price to decide with at `now_ms`. Old prices fall back to the highest one: the few offers that are worth it are still
/// made. Very old ones, and none, fall back to no offer. A price from the future is as good as new: validity is the
/// head's to judge.
#[must_use]
pub fn effective_price(published: Option<Published>, now_ms: i64, patience: &Patience) -> EffectivePrice {
    let Some(published) = published else { return EffectivePrice::NoOffer };
    match now_ms.saturating_sub(published.issued_ms) {
        age_ms if age_ms < patience.fresh_ms => EffectivePrice::Price(published.price_micros),
        age_ms if age_ms < patience.stop_ms => {
            EffectivePrice::Price(published.price_micros.max(patience.highest_micros))
        }
        _ => EffectivePrice::NoOffer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_price_becomes_the_highest_and_then_no_offer() {
        let patience = Patience { fresh_ms: 10, stop_ms: 100, highest_micros: 9 };
        let at = |price_micros, now_ms| {
            effective_price(Some(Published { price_micros, issued_ms: 1000 }), now_ms, &patience)
        };
        assert_eq!(at(5, 900), EffectivePrice::Price(5));
        assert_eq!(at(5, 1009), EffectivePrice::Price(5));
        assert_eq!(at(5, 1010), EffectivePrice::Price(9));
        assert_eq!(at(11, 1099), EffectivePrice::Price(11));
        assert_eq!(at(5, 1100), EffectivePrice::NoOffer);
        assert_eq!(at(5, i64::MAX), EffectivePrice::NoOffer);
        assert_eq!(effective_price(None, 0, &patience), EffectivePrice::NoOffer);
    }
}
