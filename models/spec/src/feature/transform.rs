//! Transforms: one line of [`TRANSFORMS`] each.

use super::Transform;
use crate::error::{Problem, ProblemKind};
use crate::reader::{FINITE, Table, Value, all};
use crate::suggest;

/// A transform as the text knows it.
pub(crate) struct Form {
    name: &'static str,
    arguments: Arguments,
    /// How it is written, for the reference.
    pub(crate) usage: &'static str,
    /// What becomes of x, for the reference.
    pub(crate) doc: &'static str,
}

enum Arguments {
    None(Transform),
    One(fn(f32) -> Transform),
    Range(fn(f32, f32) -> Transform),
}

/// Every transform.
pub(crate) static TRANSFORMS: &[Form] = &[
    Form {
        name: "log1p",
        arguments: Arguments::None(Transform::Log1p),
        usage: "\"log1p\"",
        doc: "ln(1 + x); NaN below -1",
    },
    Form {
        name: "sqrt",
        arguments: Arguments::None(Transform::Sqrt),
        usage: "\"sqrt\"",
        doc: "the square root; NaN below 0",
    },
    Form { name: "abs", arguments: Arguments::None(Transform::Abs), usage: "\"abs\"", doc: "x without its sign" },
    Form { name: "neg", arguments: Arguments::None(Transform::Neg), usage: "\"neg\"", doc: "-x" },
    Form { name: "square", arguments: Arguments::None(Transform::Square), usage: "\"square\"", doc: "x times x" },
    Form {
        name: "clip",
        arguments: Arguments::Range(|lo, hi| Transform::Clip { lo, hi }),
        usage: "{ clip = [lo, hi] }",
        doc: "the nearest number in lo..=hi; NaN stays NaN",
    },
    Form { name: "scale", arguments: Arguments::One(Transform::Scale), usage: "{ scale = f }", doc: "x times f" },
    Form { name: "shift", arguments: Arguments::One(Transform::Shift), usage: "{ shift = c }", doc: "x plus c" },
];

impl Transform {
    /// One entry of a feature's `transform`.
    pub(crate) fn read(entry: Value<'_>) -> Option<Self> {
        if !entry.is_table() {
            let name = entry.text()?;
            let form = form(entry, name)?;
            return match form.arguments {
                Arguments::None(transform) => Some(transform),
                Arguments::One(_) | Arguments::Range(_) => misuse(entry, form),
            };
        }
        let table = entry.table("a transform".to_owned())?;
        let (form, argument) = only_entry(&table, entry)?;
        match form.arguments {
            Arguments::None(_) => misuse(entry, form),
            Arguments::One(make) => Some(make(argument.single(FINITE)?)),
            Arguments::Range(make) => {
                let bounds = all(argument.list_of(2..=2)?.into_iter().map(|bound| bound.single(FINITE)))?;
                let (lo, hi) = (bounds[0], bounds[1]);
                if lo <= hi { Some(make(lo, hi)) } else { argument.out_of_range("[lo, hi] with lo no larger than hi") }
            }
        }
    }
}

fn form(value: Value<'_>, name: &str) -> Option<&'static Form> {
    TRANSFORMS.iter().find(|form| form.name == name).or_else(|| {
        let known: Vec<_> = TRANSFORMS.iter().map(|form| form.name).collect();
        value.unknown(ProblemKind::UnknownValue, "transform", name, suggest::help(name, "transforms", &known))
    })
}

/// The one transform that an inline table names, with its argument.
fn only_entry<'a>(table: &Table<'a>, entry: Value<'a>) -> Option<(&'static Form, Value<'a>)> {
    match table.named().as_slice() {
        [(name, argument)] => Some((form(entry, &name.text)?, *argument)),
        _ => entry.out_of_range("a list with one transform in each entry"),
    }
}

fn misuse<T>(entry: Value<'_>, form: &Form) -> Option<T> {
    let message = format!("`{}` is not written like this", form.name);
    let problem = Problem::new(ProblemKind::WrongType, entry.span, message, "other arguments");
    entry.report(problem.help(format!("write {}", form.usage)));
    None
}
