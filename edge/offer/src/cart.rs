//! Carts: what somebody is about to buy, read from JSON that nobody has checked.
//!
//! ```json
//! {
//!   "currency": "EUR",
//!   "lines": [
//!     {
//!       "item": "1029743",
//!       "attributes": {"category": "dairy"},
//!       "quantity": 2,
//!       "unit_minor": 199,
//!       "unit_cost_minor": 150
//!     }
//!   ],
//!   "shipping_minor": 499
//! }
//! ```
//!
//! | member | value | if absent |
//! |---|---|---|
//! | `currency` | ISO 4217 code, that of the terms | refused |
//! | `lines` | up to [`MAX_LINES`] | refused |
//! | `lines[].item` | id of the item; what a scope calls `id` | refused |
//! | `lines[].attributes` | texts by name, up to [`MAX_ATTRIBUTES`] | none |
//! | `lines[].quantity` | 1 to 2^32 - 1 | refused |
//! | `lines[].unit_minor` | price of one, in minor units | refused |
//! | `lines[].unit_cost_minor` | what one costs the shop | unknown, and so is the margin of the cart |
//! | `shipping_minor` | what shipping costs | 0 |
//!
//! Amounts are JSON integers. `1.99` is refused rather than rounded, and so is `199.0`: whoever writes it counts in
//! something else. Any other member is refused, since a misspelt price is none. An item may be on several lines. A
//! line's price and cost are at most [`MAX_MINOR`], so no sum over a cart can overflow.
//!
//! Whether these are the shop's prices is not known here: only the shop's server may say what a cart costs.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use selvedge_format::terms::{MAX_LINES, MAX_MINOR, MAX_TEXT, ScopeV1, TestV1};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Most attributes of a line.
pub const MAX_ATTRIBUTES: usize = 64;
/// The attribute that every line has: its item.
const ID: &str = "id";

/// A cart that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    currency: String,
    lines: Vec<Line>,
    shipping_minor: u64,
}

/// One line of a cart. The order of lines is the order in which they are compared: by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Id of the item.
    pub item: String,
    /// By name, ascending, each once.
    pub attributes: Vec<(String, String)>,
    /// How many; at least 1.
    pub quantity: u32,
    /// Price of one in minor units.
    pub unit_minor: u64,
    /// Cost of one to the shop in minor units, where it is known.
    pub unit_cost_minor: Option<u64>,
}

/// Why a cart was refused. [`name`](Self::name) is stable; the message says where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CartError {
    /// Not JSON, a member that carts do not have, one that is missing or occurs twice, or a value of another type.
    #[error("the cart is not a document of carts: {message}")]
    Document {
        /// What the parser says, with line and column.
        message: String,
    },
    /// No code of a currency.
    #[error("currency: three letters A to Z are expected, the code of ISO 4217")]
    Currency,
    /// Another currency than that of the terms: nothing is converted.
    #[error("currency: the cart is in {found}, the offers are in {expected}; amounts are not converted")]
    CurrencyMismatch {
        /// That of the terms.
        expected: String,
        /// That of the cart.
        found: String,
    },
    /// More lines than [`MAX_LINES`].
    #[error("lines: {found} of them, {MAX_LINES} are allowed; join lines of one item by their quantity")]
    TooManyLines {
        /// How many there are.
        found: usize,
    },
    /// A quantity of 0.
    #[error("lines[{line}].quantity: 0; leave the line out")]
    NoQuantity {
        /// Position of the line, from 0.
        line: usize,
    },
    /// An amount below 0. A discount is an offer's matter, a return is no line.
    #[error("{place}: an amount below 0")]
    Negative {
        /// Where it is.
        place: Place,
    },
    /// An amount that is not an integer, or not written as one.
    #[error("{place}: not an integer; amounts are in minor units, 199 and not 1.99 or 199.0")]
    NotWhole {
        /// Where it is.
        place: Place,
    },
    /// An amount above [`MAX_MINOR`], by itself or times the quantity.
    #[error("{place}: more than {MAX_MINOR} minor units, or times the quantity of its line")]
    TooLarge {
        /// Where it is.
        place: Place,
    },
    /// An item or an attribute that no offer could name: empty, longer than [`MAX_TEXT`] bytes, too many, or the
    /// attribute `id`, which is the item.
    #[error(
        "lines[{line}].{member}: 1 to {MAX_TEXT} bytes are expected, at most {MAX_ATTRIBUTES} attributes, and none \
         that is called `{ID}`"
    )]
    Text {
        /// Position of the line, from 0.
        line: usize,
        /// `item` or `attributes`.
        member: &'static str,
    },
}

impl CartError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Document { .. } => "document",
            Self::Currency => "currency",
            Self::CurrencyMismatch { .. } => "currency-mismatch",
            Self::TooManyLines { .. } => "too-many-lines",
            Self::NoQuantity { .. } => "no-quantity",
            Self::Negative { .. } => "negative",
            Self::NotWhole { .. } => "not-whole",
            Self::TooLarge { .. } => "too-large",
            Self::Text { .. } => "text",
        }
    }
}

/// Where an amount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position of its line, from 0; none for what belongs to the whole cart.
    pub line: Option<usize>,
    /// Name of the member.
    pub member: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "lines[{line}].{}", self.member),
            None => f.write_str(self.member),
        }
    }
}

impl Cart {
    /// Reads a cart whose amounts must be in `currency`, that of the terms.
    ///
    /// # Errors
    /// What is wrong first, in the order of the document.
    pub fn parse(json: &[u8], currency: &str) -> Result<Self, CartError> {
        let Object(document): Object<Document> =
            serde_json::from_slice(json).map_err(|error| CartError::Document { message: error.to_string() })?;
        if document.lines.found > MAX_LINES {
            return Err(CartError::TooManyLines { found: document.lines.found });
        }
        let lines = document.lines.kept.into_iter().enumerate();
        let lines = lines.map(|(at, line)| line.checked(at)).collect::<Result<_, _>>()?;
        let shipping_minor = document.shipping_minor.at(Place { line: None, member: "shipping_minor" })?;
        let cart = Self { currency: document.currency, lines, shipping_minor };
        cart.validate(currency)?;
        Ok(cart)
    }

    /// A cart of these lines, in `currency`.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn new(currency: &str, mut lines: Vec<Line>, shipping_minor: u64) -> Result<Self, CartError> {
        lines.iter_mut().for_each(|line| line.attributes.sort_unstable());
        let cart = Self { currency: currency.to_owned(), lines, shipping_minor };
        cart.validate(currency)?;
        Ok(cart)
    }

    /// ISO 4217 code of all amounts.
    #[must_use]
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// In the order of the document.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What shipping costs.
    #[must_use]
    pub const fn shipping_minor(&self) -> u64 {
        self.shipping_minor
    }

    /// What the lines cost the shop, if that is known of all of them.
    #[must_use]
    pub fn cost_minor(&self) -> Option<u64> {
        self.lines.iter().map(|line| Some(line.unit_cost_minor? * u64::from(line.quantity))).sum()
    }

    fn validate(&self, currency: &str) -> Result<(), CartError> {
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(CartError::Currency);
        }
        if self.currency != currency {
            return Err(CartError::CurrencyMismatch { expected: currency.into(), found: self.currency.clone() });
        }
        if self.lines.len() > MAX_LINES {
            return Err(CartError::TooManyLines { found: self.lines.len() });
        }
        self.lines.iter().enumerate().try_for_each(|(at, line)| line.validate(at))?;
        if self.shipping_minor > MAX_MINOR {
            return Err(CartError::TooLarge { place: Place { line: None, member: "shipping_minor" } });
        }
        Ok(())
    }
}

impl Line {
    /// What the line costs: at most [`MAX_MINOR`] in a cart.
    #[must_use]
    pub const fn price_minor(&self) -> u64 {
        self.unit_minor * self.quantity as u64
    }

    /// Whether the line passes every test of `only` and none of `except`.
    #[must_use]
    pub fn is_in(&self, scope: &ScopeV1) -> bool {
        scope.only.iter().all(|test| self.passes(test)) && !scope.except.iter().any(|test| self.passes(test))
    }

    fn passes(&self, test: &TestV1) -> bool {
        let value = self.value(&test.attribute);
        value.is_some_and(|value| test.values.binary_search_by(|known| known.as_str().cmp(value)).is_ok())
    }

    fn value(&self, attribute: &str) -> Option<&str> {
        if attribute == ID {
            return Some(&self.item);
        }
        let at = self.attributes.binary_search_by(|(name, _)| name.as_str().cmp(attribute)).ok()?;
        Some(&self.attributes[at].1)
    }

    fn validate(&self, at: usize) -> Result<(), CartError> {
        let is_text = |text: &str| (1..=MAX_TEXT).contains(&text.len());
        let text = |member| Err(CartError::Text { line: at, member });
        if !is_text(&self.item) {
            return text("item");
        }
        let ascend = self.attributes.windows(2).all(|pair| pair[0].0.cmp(&pair[1].0) == Ordering::Less);
        let are_texts = self.attributes.iter().all(|(name, value)| is_text(name) && name != ID && is_text(value));
        if !ascend || !are_texts || self.attributes.len() > MAX_ATTRIBUTES {
            return text("attributes");
        }
        if self.quantity == 0 {
            return Err(CartError::NoQuantity { line: at });
        }
        for (member, unit) in [("unit_minor", Some(self.unit_minor)), ("unit_cost_minor", self.unit_cost_minor)] {
            let sum = unit.unwrap_or(0).checked_mul(u64::from(self.quantity));
            if sum.is_none_or(|sum| sum > MAX_MINOR) {
                return Err(CartError::TooLarge { place: Place { line: Some(at), member } });
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    currency: String,
    lines: Lines,
    #[serde(default)]
    shipping_minor: Amount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineDocument {
    item: String,
    #[serde(default)]
    attributes: Attributes,
    quantity: Amount,
    unit_minor: Amount,
    #[serde(default)]
    unit_cost_minor: Option<Amount>,
}

impl LineDocument {
    fn checked(self, at: usize) -> Result<Line, CartError> {
        let place = |member| Place { line: Some(at), member };
        let quantity = self.quantity.at(place("quantity"))?;
        Ok(Line {
            item: self.item,
            attributes: self.attributes.0,
            quantity: u32::try_from(quantity).map_err(|_| CartError::TooLarge { place: place("quantity") })?,
            unit_minor: self.unit_minor.at(place("unit_minor"))?,
            unit_cost_minor: self.unit_cost_minor.map(|cost| cost.at(place("unit_cost_minor"))).transpose()?,
        })
    }
}

/// A number as it was written, so that its refusal can say where it stands.
#[derive(Clone, Copy)]
enum Amount {
    Whole(u64),
    Negative,
    Fraction,
    Huge,
}

impl Default for Amount {
    fn default() -> Self {
        Self::Whole(0)
    }
}

impl Amount {
    fn at(self, place: Place) -> Result<u64, CartError> {
        match self {
            Self::Whole(amount) => Ok(amount),
            Self::Negative => Err(CartError::Negative { place }),
            Self::Fraction => Err(CartError::NotWhole { place }),
            Self::Huge => Err(CartError::TooLarge { place }),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Amount, E> {
                Ok(Amount::Whole(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Amount, E> {
                Ok(u64::try_from(value).map_or(Amount::Negative, Amount::Whole))
            }

            // Also what is an integer above 64 bits.
            fn visit_f64<E>(self, value: f64) -> Result<Amount, E> {
                Ok(match value {
                    _ if value.is_sign_negative() => Amount::Negative,
                    _ if value > MAX_MINOR as f64 => Amount::Huge,
                    _ => Amount::Fraction,
                })
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// What must be written as an object: a derived reader would take a list of the members' values as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Lines are counted beyond the limit but not kept.
struct Lines {
    kept: Vec<LineDocument>,
    found: usize,
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Lines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of lines")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lines, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MAX_LINES {
                    match list.next_element()? {
                        Some(Object(line)) => kept.push(line),
                        None => return Ok(Lines { found: kept.len(), kept }),
                    }
                }
                let mut found = kept.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    found += 1;
                }
                Ok(Lines { kept, found })
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Ascending by name. A name that occurs twice is refused: which of its values counts would be anybody's guess.
#[derive(Default)]
struct Attributes(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Attributes, A::Error> {
                let mut attributes: Vec<(String, String)> = Vec::new();
                while let Some(attribute) = object.next_entry()? {
                    if attributes.len() == MAX_ATTRIBUTES {
                        return Err(A::Error::custom(format_args!("more than {MAX_ATTRIBUTES} attributes")));
                    }
                    attributes.push(attribute);
                }
                attributes.sort_unstable();
                if attributes.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(A::Error::custom("an attribute that occurs twice"));
                }
                Ok(Attributes(attributes))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(member: &str) -> String {
        format!(r#"{{"currency":"EUR","lines":[{{"item":"a","quantity":1,"unit_minor":5}},{{{member}}}]}}"#)
    }

    fn refusal(json: &str) -> CartError {
        Cart::parse(json.as_bytes(), "EUR").unwrap_err()
    }

    #[test]
    fn a_cart_is_read_as_it_is_written() {
        let json = r#"{"currency":"EUR","shipping_minor":499,"lines":[
            {"item":"7","attributes":{"category":"dairy","brand":"acme"},"quantity":2,"unit_minor":199,"unit_cost_minor":150},
            {"item":"7","quantity":1,"unit_minor":0}]}"#;
        let cart = Cart::parse(json.as_bytes(), "EUR").unwrap();
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let first = Line {
            item: "7".into(),
            attributes: vec![text("brand", "acme"), text("category", "dairy")],
            quantity: 2,
            unit_minor: 199,
            unit_cost_minor: Some(150),
        };
        let second = Line { attributes: vec![], quantity: 1, unit_minor: 0, unit_cost_minor: None, ..first.clone() };
        assert_eq!(Cart::new("EUR", vec![first, second], 499), Ok(cart.clone()));
        assert_eq!((cart.lines()[0].price_minor(), cart.cost_minor()), (398, None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let rest = r#""quantity":1"#;
        let deep = format!(r#""item":"{}",{rest},"unit_minor":5"#, "x".repeat(MAX_TEXT + 1));
        let cases = [
            ("document", "".to_owned(), "EOF"),
            ("document", line(r#""item":"b","quantity":1"#), "missing field `unit_minor`"),
            ("document", line(r#""item":"b","quantity":1,"unit_minor":5,"price":4"#), "unknown field `price`"),
            ("document", line(r#""item":"b","quantity":1,"quantity":2,"unit_minor":5"#), "duplicate field `quantity`"),
            ("document", line(r#""item":"b","quantity":"1","unit_minor":5"#), "expected an integer"),
            ("document", line(r#""item":"b","quantity":1,"unit_minor":null"#), "expected an integer"),
            (
                "document",
                line(r#""item":"b","attributes":{"c":"1","c":"2"},"quantity":1,"unit_minor":5"#),
                "an attribute that occurs twice",
            ),
            ("document", r#"{"currency":"EUR","lines":[],"total":0}"#.into(), "unknown field `total`"),
            ("document", r#"["EUR",[],0]"#.into(), "expected an object"),
            ("document", r#"{"currency":"EUR","lines":[["a",{},1,5,null]]}"#.into(), "expected an object"),
            ("currency", r#"{"currency":"eur","lines":[]}"#.into(), "currency"),
            ("currency-mismatch", r#"{"currency":"USD","lines":[]}"#.into(), "in USD"),
            ("no-quantity", line(r#""item":"b","quantity":0,"unit_minor":5"#), "lines[1].quantity"),
            ("negative", line(r#""item":"b","quantity":-1,"unit_minor":5"#), "lines[1].quantity"),
            ("negative", line(r#""item":"b","quantity":1,"unit_minor":-5"#), "lines[1].unit_minor"),
            ("negative", line(r#""item":"b","quantity":1,"unit_minor":-0.5"#), "lines[1].unit_minor"),
            ("negative", line(&format!(r#""item":"b",{rest},"unit_minor":5,"unit_cost_minor":-1"#)), "unit_cost_minor"),
            ("negative", r#"{"currency":"EUR","lines":[],"shipping_minor":-1}"#.into(), "shipping_minor"),
            ("not-whole", line(r#""item":"b","quantity":1.5,"unit_minor":5"#), "lines[1].quantity"),
            ("not-whole", line(r#""item":"b","quantity":1,"unit_minor":1.99"#), "lines[1].unit_minor"),
            ("not-whole", line(r#""item":"b","quantity":1,"unit_minor":199.0"#), "lines[1].unit_minor"),
            ("too-large", line(r#""item":"b","quantity":4294967296,"unit_minor":5"#), "lines[1].quantity"),
            ("too-large", line(r#""item":"b","quantity":1,"unit_minor":1099511627777"#), "lines[1].unit_minor"),
            ("too-large", line(r#""item":"b","quantity":1,"unit_minor":18446744073709551616"#), "lines[1].unit_minor"),
            ("too-large", line(r#""item":"b","quantity":1,"unit_minor":1e300"#), "lines[1].unit_minor"),
            (
                "too-large",
                line(r#""item":"b","quantity":4294967295,"unit_minor":1099511627776"#),
                "lines[1].unit_minor",
            ),
            ("text", line(r#""item":"","quantity":1,"unit_minor":5"#), "lines[1].item"),
            ("text", line(&deep), "lines[1].item"),
            ("text", line(r#""item":"b","attributes":{"id":"c"},"quantity":1,"unit_minor":5"#), "lines[1].attributes"),
        ];
        for (name, json, says) in cases {
            let refusal = refusal(&json);
            assert_eq!(refusal.name(), name, "{json}");
            assert!(refusal.to_string().contains(says), "{refusal} does not say {says:?}");
        }
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_not_kept() {
        let one = r#"{"item":"a","quantity":1,"unit_minor":5}"#;
        let of = |count: usize| format!(r#"{{"currency":"EUR","lines":[{}]}}"#, vec![one; count].join(","));
        assert_eq!(Cart::parse(of(MAX_LINES).as_bytes(), "EUR").unwrap().lines().len(), MAX_LINES);
        assert_eq!(refusal(&of(MAX_LINES + 3)), CartError::TooManyLines { found: MAX_LINES + 3 });
    }

    #[test]
    fn the_largest_cart_adds_up() {
        let most = Line {
            item: "a".into(),
            attributes: vec![],
            quantity: 1 << 20,
            unit_minor: MAX_MINOR >> 20,
            unit_cost_minor: Some(MAX_MINOR >> 20),
        };
        let cart = Cart::new("EUR", vec![most; MAX_LINES], MAX_MINOR).unwrap();
        assert_eq!(cart.cost_minor(), Some(MAX_MINOR * MAX_LINES as u64));
    }

    #[test]
    fn a_scope_wants_every_test_of_one_kind_and_none_of_the_other() {
        let test = |attribute: &str, values: &[&str]| TestV1 {
            attribute: attribute.into(),
            values: values.iter().map(|value| (*value).into()).collect(),
        };
        let line = Line {
            item: "7".into(),
            attributes: vec![("brand".into(), "acme".into()), ("category".into(), "dairy".into())],
            quantity: 1,
            unit_minor: 5,
            unit_cost_minor: None,
        };
        let is_in =
            |only: &[TestV1], except: &[TestV1]| line.is_in(&ScopeV1 { only: only.to_vec(), except: except.to_vec() });
        let (dairy, fish) = (test("category", &["dairy", "meat"]), test("category", &["fish"]));
        assert!(is_in(&[], &[]));
        assert!(is_in(&[dairy.clone(), test("brand", &["acme"])], &[fish.clone(), test("size", &["xl"])]));
        assert!(!is_in(&[dairy.clone(), test("brand", &["other"])], &[]));
        assert!(!is_in(&[test("size", &["xl"])], &[]), "a line without the attribute passes no test of it");
        assert!(!is_in(&[], &[fish, dairy]));
        assert!(is_in(&[test(ID, &["7"])], &[]) && !is_in(&[], &[test(ID, &["7"])]));
    }
}
