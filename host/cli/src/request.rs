//! The request that `rank` sends: a JSON document, with what arguments add to it.

use selvedge_format::message::{BlockHeader, MessageView, MessageWriter};
use selvedge_format::request::{KIND, STATE};

/// Where `reasons` stands among the fixed fields of a request (docs/format/request.md).
const REASONS: std::ops::Range<usize> = 36..40;

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
}
