//! `item_id`: which item it is, for networks that look up what they have learned of each.

use super::{Kind, Parameter};
use crate::feature::FeatureKind;
use crate::feature::declared::Parameters;

pub(super) const KIND: Kind = Kind {
    name: "item_id",
    doc: "The candidate's id as a number from 1: its hash (XXH64 of the UTF-8 bytes, seed 0) modulo `buckets`, plus 1. A \
          `recent_items` with as many buckets has the same number for the same item, and 0 for none.",
    missing: Some("the id is empty"),
    default: 0.0,
    parameters: &[Parameter::required("buckets", "1..=16,777,216: the largest number")],
    example: "kind = \"item_id\"\nbuckets = 100000",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let buckets = parameters.buckets("buckets");
    Some(FeatureKind::ItemId { buckets: buckets? })
}
