//! Money: whole minor units, and amounts by budget.
//!
//! There is no fraction and no negative amount here, and no currency: a budget is of one currency, which its campaign
//! names.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// Longest name of a budget, a holder or an order in bytes.
pub const MAX_NAME: usize = 64;

/// Whether `name` is 1 to [`MAX_NAME`] of `a-z`, `0-9`, `.`, `_`, `-`: safe in a path, an address and a log.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// An amount in minor units of its budget's currency: cents, pence, yen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Minor(pub u64);

impl Minor {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that is accepted: JavaScript holds it exactly, and sums of a thousand of them fit.
    pub const MOST: Self = Self((1 << 53) - 1);

    /// The sum, or the largest number there is: comparisons with it still refuse.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left when `other` is taken away, and never below nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Amounts that nobody can have meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAmounts {
    /// The name of a budget.
    #[error("{0:?} is not the name of a budget: 1 to {MAX_NAME} of a-z, 0-9, `.`, `_`, `-`")]
    Name(String),
    /// An amount of nothing, or of more than there can be.
    #[error("the amount of budget {0} must be 1 to {most} minor units", most = Minor::MOST)]
    Amount(String),
}

/// How much of which budgets. A budget that is not named has nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Minor>")]
pub struct Amounts(BTreeMap<String, Minor>);

impl TryFrom<BTreeMap<String, Minor>> for Amounts {
    type Error = BadAmounts;

    fn try_from(amounts: BTreeMap<String, Minor>) -> Result<Self, BadAmounts> {
        for (budget, amount) in &amounts {
            if !is_name(budget) {
                return Err(BadAmounts::Name(budget.clone()));
            }
            if !(Minor(1)..=Minor::MOST).contains(amount) {
                return Err(BadAmounts::Amount(budget.clone()));
            }
        }
        Ok(Self(amounts))
    }
}

impl Amounts {
    /// Nothing of any budget.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Amounts from pairs of budget and amount.
    ///
    /// # Errors
    /// A name that is none, an amount of nothing or above [`Minor::MOST`].
    pub fn new<N: Into<String>>(pairs: impl IntoIterator<Item = (N, Minor)>) -> Result<Self, BadAmounts> {
        let mut amounts = BTreeMap::new();
        // One by one: a map that is collected is sorted first, and that sort is 2 KB of a Worker.
        amounts.extend(pairs.into_iter().map(|(budget, amount)| (budget.into(), amount)));
        amounts.try_into()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The amount of a budget.
    #[must_use]
    pub fn get(&self, budget: &str) -> Minor {
        self.0.get(budget).copied().unwrap_or_default()
    }

    /// Budgets and amounts, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Minor)> {
        self.0.iter().map(|(budget, amount)| (budget.as_str(), *amount))
    }

    /// Adds the amounts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (budget, amount) in other.iter() {
            self.set(budget, self.get(budget).plus(amount));
        }
    }

    /// Takes the amounts of `other` away, never below nothing.
    pub fn take(&mut self, other: &Self) {
        for (budget, amount) in other.iter() {
            self.set(budget, self.get(budget).minus(amount));
        }
    }

    /// What is left of these when `other` is taken away.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = self.clone();
        left.take(other);
        left
    }

    /// The smaller of both, budget by budget.
    #[must_use]
    pub fn at_most(&self, other: &Self) -> Self {
        let mut least = Self::none();
        for (budget, amount) in self.iter() {
            least.set(budget, amount.min(other.get(budget)));
        }
        least
    }

    /// The first budget of which `other` has more than these.
    #[must_use]
    pub fn lacks<'a>(&self, other: &'a Self) -> Option<&'a str> {
        other.iter().find(|(budget, amount)| *amount > self.get(budget)).map(|(budget, _)| budget)
    }

    pub(crate) fn set(&mut self, budget: &str, amount: Minor) {
        if amount == Minor::ZERO {
            self.0.remove(budget);
        } else if let Some(known) = self.0.get_mut(budget) {
            *known = amount;
        } else {
            self.0.insert(budget.into(), amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_that_nobody_can_have_meant_are_not_read() {
        let bytes = |budget: &str, amount| {
            let raw: BTreeMap<String, Minor> = [(budget.into(), Minor(amount))].into();
            postcard::to_allocvec(&raw).unwrap()
        };
        assert!(postcard::from_bytes::<Amounts>(&bytes("autumn", 1)).is_ok());
        for (budget, amount) in [("", 1), ("Autumn", 1), ("../a", 1), ("autumn", 0), ("autumn", 1 << 53)] {
            assert!(postcard::from_bytes::<Amounts>(&bytes(budget, amount)).is_err(), "{amount} of {budget:?}");
        }
    }

    #[test]
    fn nothing_is_never_written_down_and_never_below() {
        let one = Amounts::new([("a", Minor(5)), ("b", Minor(1))]).unwrap();
        let two = Amounts::new([("a", Minor(5)), ("c", Minor(2))]).unwrap();
        assert_eq!(one.without(&two), Amounts::new([("b", Minor(1))]).unwrap());
        assert_eq!(one.at_most(&two), Amounts::new([("a", Minor(5))]).unwrap());
        assert_eq!(one.lacks(&two), Some("c"));
    }
}
