//! The request that `rank` sends: a JSON document, with what arguments add to it.

use std::ops::Range;

#[cfg(feature = "demo")]
use selvedge_format::message::FRAME_LEN;
use selvedge_format::message::{BlockHeader, MessageView, MessageWriter};
use selvedge_format::request::{KIND, STATE};

/// Where `slate size` and `reasons` stand among the fixed fields of a request (docs/format/request.md).
#[cfg(feature = "demo")]
const SLATE_SIZE: Range<usize> = 32..36;
const REASONS: Range<usize> = 36..40;

/// The same request with another number of slots and of reasons.
#[cfg(feature = "demo")]
pub(crate) fn asking(request: &[u8], slots: u32, reasons: u32) -> Vec<u8> {
    let mut request = request.to_vec();
    for (place, number) in [(SLATE_SIZE, slots), (REASONS, reasons)] {
        if let Some(field) = request.get_mut(FRAME_LEN + place.start..FRAME_LEN + place.end) {
            field.copy_from_slice(&number.to_le_bytes());
        }
    }
    request
}

/// The same request with another user state and another number of reasons, where they are given.
pub(crate) fn amend(request: &[u8], state: Option<&[u8]>, reasons: Option<u32>) -> Vec<u8> {
    let Ok(message) = MessageView::parse(request, KIND, |_| true) else { return request.to_vec() };
    let mut fixed = message.fixed.to_vec();
    if let Some(reasons) = reasons {
        fixed[REASONS].copy_from_slice(&reasons.to_le_bytes());
    }
    let kept: Vec<_> = message.blocks().filter(|(header, _)| state.is_none() || header.tag != STATE).collect();
    let mut amended = Vec::new();
    let count = kept.len() + usize::from(state.is_some());
    let mut writer = MessageWriter::new(&mut amended, KIND, count, |out| out.extend_from_slice(&fixed));
    for (header, block) in kept {
        writer.block(header, |out| out.extend_from_slice(block));
    }
    if let Some(state) = state {
        writer.block(BlockHeader { tag: STATE, ..BlockHeader::default() }, |out| out.extend_from_slice(state));
    }
    amended
}

#[cfg(test)]
mod tests {
    use selvedge_format::request::RequestView;
    use selvedge_wire::RequestBuilder;

    use super::*;

    #[test]
    fn an_amended_request_is_the_one_that_would_have_been_built() {
        let built = RequestBuilder::new([7; 16], 1_000, ["a", "b"]).pin(1, 0);
        let amended = amend(&built.build(), Some(b"SVUS"), Some(3));
        let view = RequestView::parse(&amended, crate::show::limits()).unwrap();
        assert_eq!((view.reasons, view.state, view.candidates), (3, b"SVUS".as_slice(), 2));
        assert_eq!(view.pins.get(0), 1);
        assert_eq!(amend(&built.build(), None, None), built.build());
    }

    #[cfg(feature = "demo")]
    #[test]
    fn asking_for_slots_and_reasons_is_building_the_request_with_them() {
        let built = RequestBuilder::new([7; 16], 1_000, ["a", "b"]);
        assert_eq!(asking(&built.build(), 5, 3), built.slate_size(5).reasons(3).build());
    }
}
