//! What is written is read back, and written the same.

use proptest::prelude::*;

use crate::content::{Bundle, Content, Decision, Log, Request, Shared, State, text};
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
}
