//! What is written is read back, and written the same.

use proptest::prelude::*;
use selvedge_format::AlignedBytes;
use selvedge_format::shared::SharedState;

use crate::content::{Bundle, Content, Decision, Head, Log, Request, Shared, State, text};
use crate::golden::current;
use crate::strategy;

fn round_trips<C: Content>(content: &C) -> Result<(), TestCaseError> {
    let bytes = content.encode();
    let read = match C::decode(&bytes) {
        Ok(read) => read,
        Err(error) => return Err(TestCaseError::fail(format!("{}: {error}", C::NAME))),
    };
    prop_assert_eq!(text(&read), text(content));
    prop_assert_eq!(read.encode(), bytes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_bundle_is_read_as_it_was_written(content in strategy::bundle()) {
        round_trips::<Bundle>(&content)?;
    }

    #[test]
    fn a_shared_state_is_read_as_it_was_written(content in strategy::shared()) {
        round_trips::<Shared>(&content)?;
    }

    #[test]
    fn a_user_state_is_read_as_it_was_written(content in strategy::state()) {
        round_trips::<State>(&content)?;
    }

    #[test]
    fn a_request_is_read_as_it_was_written(content in strategy::request()) {
        round_trips::<Request>(&content)?;
    }

    #[test]
    fn a_decision_is_read_as_it_was_written(content in strategy::decision()) {
        round_trips::<Decision>(&content)?;
    }

    #[test]
    fn a_log_is_read_as_it_was_written(content in strategy::log()) {
        round_trips::<Log>(&content)?;
    }

    #[test]
    fn a_head_is_read_as_it_was_written(content in strategy::head()) {
        round_trips::<Head>(&content)?;
    }
}

#[test]
fn a_shared_state_of_fewer_items_knows_those_as_before() {
    let golden = current::<Shared>();
    let whole = SharedState::load(AlignedBytes::copy_of(&golden)).unwrap();
    assert_eq!(whole.of_items(|_| true).encode(), golden, "nothing is left out");
    let kept = whole.item_keys()[0];
    let part = SharedState::load(AlignedBytes::copy_of(&whole.of_items(|key| key == kept).encode())).unwrap();
    assert_eq!(part.item_keys(), [kept]);
    assert!(whole.item_keys().len() > 1, "there is something to leave out");
    for position in 0.. {
        let Some((before, after)) = whole.field(position).zip(part.field(position)) else { break };
        assert_eq!((before.key(0), before.tokens(0)), (after.key(0), after.tokens(0)));
    }
    for position in 0.. {
        let Some((before, after)) = whole.table(position).zip(part.table(position)) else { break };
        let stays = |key: &u64| *key == kept || whole.item_row(*key).is_none();
        assert_eq!(after.keys(), before.keys().iter().copied().filter(stays).collect::<Vec<_>>());
        for (row, key) in after.keys().iter().enumerate() {
            let was = before.row(*key).unwrap() as usize;
            assert_eq!(after.column(0)[row].to_bits(), before.column(0)[was].to_bits());
        }
        assert_eq!(after.total(0).to_bits(), before.total(0).to_bits());
    }
}
