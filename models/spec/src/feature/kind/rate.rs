//! `rate`: one thing per another, honest about thin evidence.

use super::{BUCKETS, BY, HALF_LIFE, Kind, LIFETIME, Parameter, SCOPE, WINDOW};
use crate::feature::FeatureKind;
use crate::feature::counter::{self, Subject, counted};
use crate::feature::declared::Parameters;
use crate::reader::{FINITE, NON_NEGATIVE};

pub(super) const KIND: Kind = Kind {
    name: "rate",
    doc: "`(a + weight * prior) / (n + weight)`, where a and n are the numerator and the denominator under the candidate's \
          key: their ratio, drawn towards the prior while n is small. Give exactly one of `half_life`, `window` with \
          `buckets`, and `lifetime`; both counters forget alike.",
    missing: Some("the candidate has no key, or n + weight is 0"),
    default: f32::NAN,
    parameters: &[
        Parameter::required(
            "numerator",
            "`{ event = \"...\", measure = \"...\" }`: what a counts; `measure` as elsewhere",
        ),
        Parameter::required("denominator", "`{ event = \"...\", measure = \"...\" }`: what n counts"),
        SCOPE,
        BY,
        HALF_LIFE,
        WINDOW,
        BUCKETS,
        LIFETIME,
        Parameter::required("weight", "at least 0: how many denominators the prior is worth"),
        Parameter::required("prior", "a number: the ratio assumed before any evidence"),
    ],
    example: "kind = \"rate\"\nscope = \"global\"\nby = \"item\"\nnumerator = { event = \"purchase\" }\n\
              denominator = { event = \"view\" }\nhalf_life = \"30d\"\nweight = 20\nprior = 0.05",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let subject = Subject::read(parameters);
    let forgetting = counter::any(parameters);
    let side = |key| {
        let inner = parameters.inner(key)?;
        let counter = counted(&inner, subject.as_ref(), forgetting);
        inner.finish();
        counter
    };
    let numerator = side("numerator");
    let denominator = side("denominator");
    let weight = parameters.required("weight").and_then(|value| value.single(NON_NEGATIVE));
    let prior = parameters.required("prior").and_then(|value| value.single(FINITE));
    Some(FeatureKind::Rate { numerator: numerator?, denominator: denominator?, weight: weight?, prior: prior? })
}
