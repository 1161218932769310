//! The array of a JSON document in another order, every other byte as it was.
//!
//! Nothing is written anew: `serde_json` says where the items are, and the document is put together from its own pieces.

use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Items of a document and where they are.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    document: &'a str,
    items: Vec<Range<usize>>,
}

impl<'a> Items<'a> {
    /// Finds the array at `path` in a document of at most `limit` items. None if the document is not JSON, names a member
    /// of the path twice or not at all, or has no array there.
    pub(crate) fn find(document: &'a str, path: &[String], limit: usize) -> Result<Self, Unfit> {
        let mut deserializer = serde_json::Deserializer::from_str(document);
        let items = Walk { path, limit }.deserialize(&mut deserializer).map_err(|error| {
            if error.to_string().starts_with(TOO_MANY) { Unfit::TooManyItems } else { Unfit::Malformed }
        })?;
        deserializer.end().map_err(|_| Unfit::Malformed)?;
        let start = document.as_ptr().addr();
        let range = |item: &&RawValue| {
            let from = item.get().as_ptr().addr() - start;
            from..from + item.get().len()
        };
        Ok(Self { document, items: items.iter().map(range).collect() })
    }

    /// The items as text.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> + '_ {
        self.items.iter().map(|range| &self.document[range.clone()])
    }

    /// The document with the items of `first` in front; those that it does not name follow in their order. What stands
    /// between items stays between places.
    pub(crate) fn reordered(&self, first: &[u32]) -> String {
        let mut is_placed = vec![false; self.items.len()];
        let mut order = Vec::with_capacity(self.items.len());
        let all = 0..self.items.len();
        for item in first.iter().map(|item| *item as usize).chain(all) {
            if let Some(is_placed) = is_placed.get_mut(item).filter(|is_placed| !**is_placed) {
                *is_placed = true;
                order.push(item);
            }
        }
        let mut out = String::with_capacity(self.document.len());
        let mut end = 0;
        for (place, item) in self.items.iter().zip(order) {
            out.push_str(&self.document[end..place.start]);
            out.push_str(&self.document[self.items[item].clone()]);
            end = place.end;
        }
        out.push_str(&self.document[end..]);
        out
    }
}

/// Why a document cannot be reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Malformed,
    TooManyItems,
}

const TOO_MANY: &str = "too many items";

/// Follows a path and collects the items of the array at its end.
struct Walk<'p> {
    path: &'p [String],
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.path.is_empty() { deserializer.deserialize_seq(self) } else { deserializer.deserialize_map(self) }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.first() {
            Some(member) => write!(f, "an object with the member `{member}`"),
            None => f.write_str("an array of items"),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((member, path)) = self.path.split_first() else { return Err(A::Error::custom("an object")) };
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != *member {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                // Which of the two a browser takes is its own business.
                return Err(A::Error::custom("a member of the path occurs twice"));
            } else {
                found = Some(map.next_value_seed(Walk { path, limit: self.limit })?);
            }
        }
        found.ok_or_else(|| A::Error::missing_field("a member of the path"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == self.limit {
                return Err(A::Error::custom(TOO_MANY));
            }
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &[&str]) -> Vec<String> {
        path.iter().map(|member| (*member).to_owned()).collect()
    }

    #[test]
    fn only_the_array_changes_order() {
        let document = "\u{feff} {\"a\" : 1e400, \"data\": {\"x\":\"\\u00e9é\",\n \"items\": [ {\"id\":1} ,\t{\"id\":\"]\"},[3]\n,null ], \"z\":{}} }\n";
        let document = document.trim_start_matches('\u{feff}');
        let items = Items::find(document, &path(&["data", "items"]), 10).unwrap();
        assert_eq!(items.iter().collect::<Vec<_>>(), ["{\"id\":1}", "{\"id\":\"]\"}", "[3]", "null"]);
        assert_eq!(items.reordered(&[]), document);
        assert_eq!(
            items.reordered(&[2, 0]),
            " {\"a\" : 1e400, \"data\": {\"x\":\"\\u00e9é\",\n \"items\": [ [3] ,\t{\"id\":1},{\"id\":\"]\"}\n,null ], \"z\":{}} }\n"
        );
        assert_eq!(
            items.reordered(&[9, 3, 3]),
            items.reordered(&[3]),
            "what is no item, or was placed, is passed over"
        );
    }

    #[test]
    fn what_cannot_be_reordered_is_said_to_be_so() {
        let find = |document: &str, members: &[&str]| Items::find(document, &path(members), 3).err();
        assert_eq!(find("[1,2,3]", &[]), None);
        assert_eq!(find("[1,2,3,4]", &[]), Some(Unfit::TooManyItems));
        for document in ["", "{", "[1,2", "[1]]", "{\"a\":[1],\"a\":[2]}", "{\"b\":[1]}", "{\"a\":1}", "null", "[1] x"]
        {
            assert_eq!(find(document, &["a"]), Some(Unfit::Malformed), "{document}");
        }
        let deep = format!("{{\"a\":[{}1{}]}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = find(&deep, &["a"]);
    }
}
