//! UBJSON, the binary form of JSON that XGBoost writes by default since 2.1, as a source of values for serde.
//!
//! Numbers are big-endian; an array may say the type and the number of its elements before them. The specification is
//! <https://ubjson.org>, draft 12. It knows nothing of models. A container's length is never believed: values are read
//! one by one until the bytes end, so memory is proportional to the file.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor, value};
use serde::{Deserializer, forward_to_deserialize_any};

use crate::error::{CompileError, CompileErrorKind};

/// Deepest nesting that is read; XGBoost's models have seven levels.
const MAX_NESTING: usize = 64;

/// Whether the bytes begin like an object whose first key has its length as an integer.
pub(super) fn is_object(bytes: &[u8]) -> bool {
    matches!(bytes, [b'{', b'L' | b'l' | b'I' | b'i' | b'U' | b'#' | b'$', ..])
}

/// Parses one document; an error carries the path of the value at fault, and `help`.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], help: &str) -> Result<T, CompileError> {
    let mut reader = Reader { bytes, at: 0, nesting: 0 };
    let marker = reader.byte();
    let malformed = |place: &str, error: &Error, at: usize, help: &str| {
        let message = format!("{error} at byte {at}");
        CompileError::new(CompileErrorKind::Malformed, place, message, help)
    };
    let read = marker.and_then(|marker| {
        serde_path_to_error::deserialize(Value { reader: &mut reader, marker }).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.into_inner();
            Error { place: path.trim_matches(['.', '?']).to_owned(), ..inner }
        })
    });
    match read {
        Ok(value) if reader.at == bytes.len() => Ok(value),
        Ok(_) => Err(malformed("", &Error::custom("more after the end of the document"), reader.at, help)),
        Err(error) => {
            let help = if error.is_cut { "the file was cut short: save or copy the model again" } else { help };
            Err(malformed(&error.place.clone(), &error, reader.at, help))
        }
    }
}

/// What is wrong; where is what the reader knows.
#[derive(Debug)]
struct Error {
    message: String,
    place: String,
    is_cut: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), place: String::new(), is_cut: false }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nesting: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let cut = || Error { is_cut: true, ..Error::custom("the document ends early") };
        self.at += taken.map_or(0, <[u8]>::len);
        taken.ok_or_else(cut)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N).map(|bytes| std::array::from_fn(|at| bytes[at]))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes `byte` if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn integer(&mut self, marker: u8) -> Result<i64, Error> {
        match marker {
            b'i' => self.fixed().map(|bytes| i8::from_be_bytes(bytes).into()),
            b'U' => self.fixed().map(|bytes| u8::from_be_bytes(bytes).into()),
            b'I' => self.fixed().map(|bytes| i16::from_be_bytes(bytes).into()),
            b'l' => self.fixed().map(|bytes| i32::from_be_bytes(bytes).into()),
            b'L' => self.fixed().map(i64::from_be_bytes),
            _ => Err(Error::custom(format!("an integer is expected, not the marker 0x{marker:02x}"))),
        }
    }

    fn length(&mut self) -> Result<usize, Error> {
        let marker = self.byte()?;
        let length = self.integer(marker)?;
        usize::try_from(length).map_err(|_| Error::custom(format!("{length} is no length")))
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Error::custom("a text is not in UTF-8"))
    }

    /// Opens a container: the type of its elements and how many there are, where it says so.
    fn open(&mut self) -> Result<(Option<u8>, Option<usize>), Error> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(Error::custom(format!("more than {MAX_NESTING} levels of nesting")));
        }
        let element = if self.takes(b'$') { Some(self.byte()?) } else { None };
        let count = if self.takes(b'#') { Some(self.length()?) } else { None };
        if element.is_some() && count.is_none() {
            return Err(Error::custom("a type of elements without their number"));
        }
        // Elements without bytes of their own would let a few bytes claim any number of them.
        if element.is_some_and(|marker| matches!(marker, b'Z' | b'N' | b'T' | b'F')) {
            return Err(Error::custom("elements without content"));
        }
        Ok((element, count))
    }
}

/// The value that follows a marker.
struct Value<'r, 'a> {
    reader: &'r mut Reader<'a>,
    marker: u8,
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { reader, marker } = self;
        match marker {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(reader.fixed()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(reader.fixed()?)),
            b'S' => visitor.visit_borrowed_str(reader.text()?),
            b'C' => visitor.visit_char(reader.byte()?.into()),
            b'[' | b'{' => {
                let (element, left) = reader.open()?;
                let items = Items { reader, element, left, end: if marker == b'[' { b']' } else { b'}' } };
                if marker == b'[' { visitor.visit_seq(items) } else { visitor.visit_map(items) }
            }
            _ => match reader.integer(marker)? {
                value @ 0.. => visitor.visit_u64(value as u64),
                value => visitor.visit_i64(value),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.marker == b'Z' { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// What is left of a container.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    element: Option<u8>,
    left: Option<usize>,
    end: u8,
}

impl Items<'_, '_> {
    /// Whether another item follows; else the container is closed.
    fn has_next(&mut self) -> bool {
        let has_next = match &mut self.left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => !self.reader.takes(self.end),
        };
        self.reader.nesting -= usize::from(!has_next);
        has_next
    }

    fn marker(&mut self) -> Result<u8, Error> {
        self.element.map_or_else(|| self.reader.byte(), Ok)
    }
}

impl<'a> SeqAccess<'a> for Items<'_, 'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if !self.has_next() {
            return Ok(None);
        }
        let marker = self.marker()?;
        seed.deserialize(Value { reader: self.reader, marker }).map(Some)
    }
}

impl<'a> MapAccess<'a> for Items<'_, 'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if !self.has_next() {
            return Ok(None);
        }
        let key: value::BorrowedStrDeserializer<'_, Error> = value::BorrowedStrDeserializer::new(self.reader.text()?);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let marker = self.marker()?;
        seed.deserialize(Value { reader: self.reader, marker })
    }
}
