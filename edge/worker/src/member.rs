//! Members of a feed's items, found without reading the rest.
//!
//! An item may carry a page of text of which a bundle reads one number. So nothing is built of what nobody asked for, and
//! what was asked for stays as it is written until its type is known. Of members of the same name the last counts, as in
//! a browser.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A path of members, outermost first.
pub(crate) struct Path<'p> {
    first: &'p str,
    rest: Option<&'p str>,
}

impl<'p> Path<'p> {
    /// Members separated by dots.
    pub(crate) fn new(path: &'p str) -> Self {
        path.split_once('.').map_or(Self { first: path, rest: None }, |(first, rest)| Self { first, rest: Some(rest) })
    }
}

/// Appends the values at `paths` to `values`, as they are written; none where `item` has none.
///
/// # Errors
/// The item is no JSON.
pub(crate) fn find<'i>(item: &'i str, paths: &[Path<'_>], values: &mut Vec<Option<&'i str>>) -> serde_json::Result<()> {
    let from = values.len();
    values.resize(from + paths.len(), None);
    let found = &mut values[from..];
    if item.starts_with('{') {
        serde_json::Deserializer::from_str(item).deserialize_map(Wanted { paths, found })?;
    }
    for (path, value) in paths.iter().zip(found) {
        if let (Some(rest), Some(outer)) = (path.rest, *value) {
            let mut inner = Vec::with_capacity(1);
            find(outer, &[Path::new(rest)], &mut inner)?;
            *value = inner[0];
        }
    }
    Ok(())
}

struct Wanted<'w, 'p, 'i> {
    paths: &'w [Path<'p>],
    found: &'w mut [Option<&'i str>],
}

impl<'i> Visitor<'i> for Wanted<'_, '_, 'i> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'i>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            if !self.paths.iter().any(|path| path.first == name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<&RawValue>()?.get();
            let places = self.paths.iter().zip(self.found.iter_mut()).filter(|(path, _)| path.first == name);
            places.for_each(|(_, found)| *found = Some(value));
        }
        Ok(())
    }
}

/// A member's name: a copy only where it is written with escapes.
struct Name<'i>(Cow<'i, str>);

impl<'i> Deserialize<'i> for Name<'i> {
    fn deserialize<D: Deserializer<'i>>(deserializer: D) -> Result<Self, D::Error> {
        Text.deserialize(deserializer).map(Name)
    }
}

struct Text;

impl<'i> DeserializeSeed<'i> for Text {
    type Value = Cow<'i, str>;

    fn deserialize<D: Deserializer<'i>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'i> Visitor<'i> for Text {
    type Value = Cow<'i, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'i str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A value that is written as a text.
pub(crate) fn text(value: &str) -> Option<Cow<'_, str>> {
    Text.deserialize(&mut serde_json::Deserializer::from_str(value)).ok()
}

/// A value that is written as a finite number.
pub(crate) fn number(value: &str) -> Option<f64> {
    serde_json::from_str(value).ok().filter(|number: &f64| number.is_finite())
}

/// The texts of a value that is written as a list; what else is in it is passed over.
pub(crate) fn texts(value: &str) -> Vec<Cow<'_, str>> {
    let list: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
    list.into_iter().filter_map(|value| text(value.get())).collect()
}

/// An id: a text, or a number as it is written.
pub(crate) fn id(value: &str) -> Option<Cow<'_, str>> {
    let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number { Some(Cow::Borrowed(value)) } else { text(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_all<'i>(item: &'i str, paths: &[&str]) -> Vec<Option<&'i str>> {
        let paths: Vec<Path<'_>> = paths.iter().map(|path| Path::new(path)).collect();
        let mut values = Vec::new();
        find(item, &paths, &mut values).unwrap();
        values
    }

    #[test]
    fn members_are_found_where_they_are_and_as_they_are_written() {
        let item = r#"{"a": 1.50, "skip": [[{"a": 2}]], "b": {"c": {"d": "x"}, "e": null}, "\u0066": [ 1 ]}"#;
        assert_eq!(
            find_all(item, &["a", "b.c.d", "b.e", "f", "b", "b.x.y", "g", "a.b"]),
            [
                Some("1.50"),
                Some("\"x\""),
                Some("null"),
                Some("[ 1 ]"),
                Some(r#"{"c": {"d": "x"}, "e": null}"#),
                None,
                None,
                None
            ]
        );
        for item in ["[1]", "null", "\"a\"", "7"] {
            assert_eq!(find_all(item, &["a"]), [None], "{item}");
        }
    }

    #[test]
    fn the_last_of_the_same_name_counts() {
        assert_eq!(find_all(r#"{"a": 1, "a": 2}"#, &["a"]), [Some("2")]);
        assert_eq!(find_all(r#"{"a": {"b": 1}, "a": {}}"#, &["a.b"]), [None]);
    }

    #[test]
    fn a_value_has_the_type_that_it_is_written_in() {
        assert_eq!(text(r#""d\u00e9j\u00e0""#).as_deref(), Some("déjà"));
        assert_eq!((text("7"), text("null"), text("\"\\ud800\"")), (None, None, None));
        assert_eq!(
            (number("1e2"), number("-0.5"), number("\"1\""), number("null")),
            (Some(100.0), Some(-0.5), None, None)
        );
        assert_eq!(number("1e400"), None);
        assert_eq!(texts(r#"["a", 1, "b", null]"#), ["a", "b"]);
        assert!(texts("\"a\"").is_empty());
        assert_eq!(id("12345678901234567890123").as_deref(), Some("12345678901234567890123"));
        assert_eq!(
            (id("-1.0").as_deref(), id("\"x\"").as_deref(), id("true"), id("{}")),
            (Some("-1.0"), Some("x"), None, None)
        );
    }
}
