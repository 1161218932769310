//! What a mistyped word was probably meant to be.

use std::fmt::Write as _;

use crate::reader::MAX_NAME;

/// Longer lists help nobody.
const LISTED: usize = 16;

/// The known word nearest to `word`, if it is near: at most a third of its letters differ, swaps counting once.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // No name is this long, and the distance takes memory in proportion to both lengths.
    if word.len() > 2 * MAX_NAME {
        return None;
    }
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A line of help for an unknown `word`: the nearest known one, else all of them. `plural` names what they are.
pub(crate) fn help(word: &str, plural: &str, known: &[&str]) -> String {
    if let Some(nearest) = nearest(word, known.iter().copied()) {
        return format!("did you mean `{nearest}`?");
    }
    match known {
        [] => format!("there are no {plural}"),
        _ => format!("the {plural} are {}", list(known)),
    }
}

/// `a`, `b` and 3 more.
fn list(words: &[&str]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().take(LISTED).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}`{word}`");
    }
    if words.len() > LISTED {
        let _ = write!(text, " and {} more", words.len() - LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("purchsae", ["view", "purchase"]), Some("purchase"));
        assert_eq!(nearest("d", ["s", "m"]), Some("s"));
        assert_eq!(nearest("click", ["view", "purchase"]), None);
    }
}
