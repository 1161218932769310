//! Reading tables and values of TOML, with a report for everything that does not fit.
//!
//! Every method that returns `None` has reported why (a missing key when its table is finished), so callers only pass the
//! `None` on. A reader asks for **all** of its keys before it gives up with `?`: that is how one run finds every mistake,
//! and how [`Table::finish`] knows which keys exist. For the same reason lists are gathered with [`all`].

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use miette::SourceSpan;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Problem, ProblemKind, Problems};
use crate::seconds::Seconds;
use crate::suggest;
use crate::vocabulary::Word;

/// The longest name.
pub(crate) const MAX_NAME: usize = 64;

/// Bounds of a real number.
pub(crate) type Bounds = (Bound<f64>, Bound<f64>);
/// Any finite number.
pub(crate) const FINITE: Bounds = (Bound::Unbounded, Bound::Unbounded);
/// Above zero.
pub(crate) const POSITIVE: Bounds = (Bound::Excluded(0.0), Bound::Unbounded);
/// Zero or above.
pub(crate) const NON_NEGATIVE: Bounds = (Bound::Included(0.0), Bound::Unbounded);
/// A part of a whole, not none of it.
pub(crate) const FRACTION: Bounds = (Bound::Excluded(0.0), Bound::Included(1.0));
/// From none to all.
pub(crate) const UNIT: Bounds = (Bound::Included(0.0), Bound::Included(1.0));

/// One TOML table being read.
pub(crate) struct Table<'a> {
    /// What messages call it, such as `[history]`.
    what: String,
    /// Where it is, for keys that are missing.
    span: SourceSpan,
    entries: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
    /// Keys asked for in vain. Whether each is an omission or a typing mistake is known when the table has been read.
    missing: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Table<'a> {
    pub(crate) fn new(what: String, span: SourceSpan, entries: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        Self { what, span, entries, asked: RefCell::default(), missing: RefCell::default(), problems }
    }

    /// Once the table's name is known, messages use it.
    pub(crate) fn rename(&mut self, what: String, span: SourceSpan) {
        (self.what, self.span) = (what, span);
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    pub(crate) fn span(&self) -> SourceSpan {
        self.span
    }

    pub(crate) fn problems(&self) -> &'a Problems {
        self.problems
    }

    pub(crate) fn report(&self, problem: Problem) {
        self.problems.report(problem);
    }

    /// The value of `key`, if the table has it.
    pub(crate) fn optional(&self, key: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(key);
        let value = self.entries.get(key)?;
        Some(Value { key, span: value.span().into(), node: value.get_ref(), problems: self.problems })
    }

    /// The value of `key`; [`Table::finish`] reports when there is none.
    pub(crate) fn required(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.optional(key);
        if value.is_none() {
            self.missing.borrow_mut().push(key);
        }
        value
    }

    /// What `read` makes of the value of `key`, or `default` when there is none.
    pub(crate) fn optional_or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Option<T> {
        self.optional(key).map_or(Some(default), read)
    }

    /// The table under `key`, if there is one.
    pub(crate) fn section(&self, key: &'static str) -> Option<Self> {
        self.optional(key)?.table(format!("[{key}]"))
    }

    /// The table under `key`; reports when there is none.
    pub(crate) fn required_section(&self, key: &'static str) -> Option<Self> {
        self.required(key)?.table(format!("[{key}]"))
    }

    /// The tables of the array under `key`; none when it is absent.
    pub(crate) fn sections(&self, key: &'static str, what: &str) -> Vec<Self> {
        let list = self.optional(key).and_then(Value::list).unwrap_or_default();
        list.into_iter().filter_map(|entry| entry.table(what.to_owned())).collect()
    }

    /// Every key as a name that the user chose, with its value, in the order of the text.
    pub(crate) fn named(&self) -> Vec<(Name, Value<'a>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let name = Name { text: key.get_ref().to_string(), span: key.span().into() };
                (
                    name,
                    Value {
                        key: key.get_ref(),
                        span: value.span().into(),
                        node: value.get_ref(),
                        problems: self.problems,
                    },
                )
            })
            .collect();
        entries.sort_by_key(|(name, _)| name.span.offset());
        entries
    }

    /// Reports every key that was never asked for, and every required one that is missing. A key that is nearly a missing
    /// one is reported once, as unknown.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.entries.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref())) {
            let text = key.get_ref();
            if let Some(meant) = suggest::nearest(text, asked.iter().copied()) {
                self.missing.borrow_mut().retain(|missing| *missing != meant);
            }
            let message = format!("{} has no key `{}`", self.what, printable(text));
            let problem = Problem::new(ProblemKind::UnknownKey, key.span().into(), message, "unknown key");
            self.report(problem.help(suggest::help(text, "keys here", &asked)));
        }
        drop(asked);
        self.abandon();
    }

    /// Reports the required keys that are missing, when what other keys there may be cannot be known.
    pub(crate) fn abandon(self) {
        for key in self.missing.take() {
            let message = format!("{} needs `{key}`", self.what);
            let label = format!("`{key}` is missing");
            self.report(Problem::new(ProblemKind::MissingKey, self.span, message, label));
        }
    }

    /// The keys asked for so far.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> Vec<&'static str> {
        self.asked.borrow().clone()
    }
}

/// A name in the text, not yet known to be a valid one.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: SourceSpan,
}

impl Name {
    /// Reports a name that is not `[a-z0-9_]{1,64}`.
    pub(crate) fn check(&self, problems: &Problems) {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if (1..=MAX_NAME).contains(&self.text.len()) && self.text.bytes().all(letters) {
            return;
        }
        problems.report(
            Problem::new(
                ProblemKind::BadName,
                self.span,
                format!("`{}` is not a name", printable(&self.text)),
                "bad name",
            )
            .help(format!("a name is 1 to {MAX_NAME} of the characters a-z, 0-9 and _")),
        );
    }
}

/// One TOML value being read.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    /// The key it was found under.
    key: &'a str,
    pub(crate) span: SourceSpan,
    node: &'a DeValue<'a>,
    problems: &'a Problems,
}

impl<'a> Value<'a> {
    pub(crate) fn report(&self, problem: Problem) {
        self.problems.report(problem);
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let message = format!("`{}` must be {wanted}", printable(self.key));
        self.report(Problem::new(
            ProblemKind::WrongType,
            self.span,
            message,
            format!("this is {}", describe(self.node)),
        ));
        None
    }

    /// Reports a number or a length that is not within what `allowed` describes.
    pub(crate) fn out_of_range<T>(&self, allowed: impl Display) -> Option<T> {
        let message = format!("`{}` must be {allowed}", printable(self.key));
        self.report(Problem::new(ProblemKind::OutOfRange, self.span, message, "out of range"));
        None
    }

    /// Reports a word that is none of `known`.
    pub(crate) fn unknown<T>(&self, kind: ProblemKind, what: &str, word: &str, help: String) -> Option<T> {
        let message = format!("there is no {what} `{}`", printable(word));
        self.report(Problem::new(kind, self.span, message, format!("unknown {what}")).help(help));
        None
    }

    /// The text of a string, if it is one; reports nothing.
    pub(crate) fn as_text(self) -> Option<&'a str> {
        self.node.as_str()
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        self.as_text().or_else(|| self.wrong_type("a string"))
    }

    /// A string that is not empty: at the edge an empty one counts as missing, so naming it would match nothing.
    pub(crate) fn present_text(self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            self.out_of_range("a string that is not empty: an empty one counts as missing")
        } else {
            Some(text)
        }
    }

    pub(crate) fn name(self) -> Option<Name> {
        let name = Name { text: self.text()?.to_owned(), span: self.span };
        name.check(self.problems);
        Some(name)
    }

    /// Whether it is true, if it is a boolean; reports nothing.
    pub(crate) fn as_boolean(self) -> Option<bool> {
        self.node.as_bool()
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        self.as_boolean().or_else(|| self.wrong_type("true or false"))
    }

    pub(crate) fn integer<T>(self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + Display + PartialOrd + TryFrom<u64>,
    {
        let Some(integer) = self.node.as_integer() else { return self.wrong_type("an integer") };
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|value| T::try_from(value).ok())
            .filter(|value| range.contains(value))
            .or_else(|| self.out_of_range(format_args!("from {} to {}", range.start(), range.end())))
    }

    /// The value of an integer that fits, if it is one; reports nothing.
    pub(crate) fn as_u32(self) -> Option<u32> {
        let integer = self.node.as_integer()?;
        u32::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// A finite number within `bounds`. Integers are numbers too.
    pub(crate) fn number(self, bounds: Bounds) -> Option<f64> {
        self.number_as(bounds, |value| value)
    }

    /// A finite number within `bounds` after rounding to single precision.
    pub(crate) fn single(self, bounds: Bounds) -> Option<f32> {
        #[expect(clippy::cast_possible_truncation, reason = "rounding is the point; overflow to infinity is refused")]
        let rounded = self.number_as(bounds, |value| f64::from(value as f32))? as f32;
        Some(rounded)
    }

    fn number_as(self, bounds: Bounds, round: impl FnOnce(f64) -> f64) -> Option<f64> {
        let parsed = match self.node {
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|value| value as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => return self.wrong_type("a number"),
        };
        parsed
            .map(round)
            .filter(|value: &f64| value.is_finite() && bounds.contains(value))
            .or_else(|| self.out_of_range(describe_bounds(bounds)))
    }

    /// Like [`Value::single`], or NaN, which may also be written `"nan"`.
    pub(crate) fn single_or_nan(self) -> Option<f32> {
        match self.node {
            DeValue::String(text) if text == "nan" => Some(f32::NAN),
            DeValue::String(_) => self.wrong_type("a number or \"nan\""),
            DeValue::Float(float) if float.as_str().ends_with("nan") => Some(f32::NAN),
            _ => self.single(FINITE),
        }
    }

    pub(crate) fn duration(self) -> Option<Seconds> {
        let text = self.text()?;
        Seconds::parse(text).or_else(|| {
            self.report(
                Problem::new(
                    ProblemKind::BadDuration,
                    self.span,
                    format!("`{}` is not a span of time from 1s to {}", printable(text), Seconds::MAX),
                    "not such a span",
                )
                .help("write a whole number and one of the units s, m, h, d and w: \"12h\", \"30d\""),
            );
            None
        })
    }

    /// Milliseconds since 1970-01-01 UTC of a date and time with its offset from UTC.
    pub(crate) fn instant(self) -> Option<i64> {
        let Some(written) = self.node.as_datetime() else {
            return self.wrong_type("a date and time, such as 2026-03-01T00:00:00+01:00");
        };
        let instant = written.to_string().parse::<jiff::Timestamp>().ok();
        let ms = instant.map(jiff::Timestamp::as_millisecond).filter(|ms| *ms >= 0);
        ms.or_else(|| {
            self.out_of_range("a date and time after 1970 with its offset from UTC: 2026-03-01T00:00:00+01:00, or Z")
        })
    }

    /// One of a closed set of words.
    pub(crate) fn word<W: Word>(self) -> Option<W> {
        let text = self.text()?;
        W::from_word(text).or_else(|| {
            let known: Vec<_> = W::ALL.iter().map(|word| word.as_str()).collect();
            self.unknown(ProblemKind::UnknownValue, W::NOUN, text, suggest::help(text, W::PLURAL, &known))
        })
    }

    pub(crate) fn list(self) -> Option<Vec<Self>> {
        let Some(array) = self.node.as_array() else { return self.wrong_type("a list") };
        let entry = |value: &'a Spanned<DeValue<'a>>| Self { span: value.span().into(), node: value.get_ref(), ..self };
        Some(array.iter().map(entry).collect())
    }

    /// A list of as many entries as `range` allows.
    pub(crate) fn list_of(self, range: RangeInclusive<usize>) -> Option<Vec<Self>> {
        let list = self.list()?;
        if range.contains(&list.len()) {
            return Some(list);
        }
        match (range.start(), range.end()) {
            (least, most) if least == most => self.out_of_range(format_args!("a list of {most}")),
            (least, most) => self.out_of_range(format_args!("a list of {least} to {most}, not of {}", list.len())),
        }
    }

    pub(crate) fn is_table(self) -> bool {
        self.node.is_table()
    }

    pub(crate) fn table(self, what: String) -> Option<Table<'a>> {
        let Some(entries) = self.node.as_table() else { return self.wrong_type("a table") };
        Some(Table::new(what, self.span, entries, self.problems))
    }
}

/// All the values, if each could be read. Unlike collecting an iterator of options, it reads on after the first `None`.
pub(crate) fn all<T>(read: impl IntoIterator<Item = Option<T>>) -> Option<Vec<T>> {
    let values: Vec<_> = read.into_iter().collect();
    values.into_iter().collect()
}

/// Reports each name that an earlier one repeats.
pub(crate) fn refuse_duplicates<'n>(
    what: &str,
    names: impl IntoIterator<Item = (&'n str, SourceSpan)>,
    problems: &Problems,
) {
    let mut first = std::collections::HashMap::new();
    for (name, span) in names {
        match first.entry(name) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(span);
            }
            std::collections::hash_map::Entry::Occupied(earlier) => problems.report(
                Problem::new(
                    ProblemKind::Duplicate,
                    span,
                    format!("{what} `{}` appears twice", printable(name)),
                    "second time",
                )
                .beside(*earlier.get(), "first time"),
            ),
        }
    }
}

/// `text` without control characters and not too long, for messages.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn describe_bounds(bounds: Bounds) -> String {
    let lower = match bounds.0 {
        Bound::Included(least) => Some(format!("at least {least}")),
        Bound::Excluded(below) => Some(format!("above {below}")),
        Bound::Unbounded => None,
    };
    let upper = match bounds.1 {
        Bound::Included(most) => Some(format!("at most {most}")),
        Bound::Excluded(above) => Some(format!("below {above}")),
        Bound::Unbounded => None,
    };
    match (lower, upper) {
        (Some(lower), Some(upper)) => format!("{lower} and {upper}"),
        (Some(one), None) | (None, Some(one)) => format!("{one} and finite"),
        (None, None) => "a finite number".to_owned(),
    }
}
