//! Damaged and made-up bytes: no parser panics, and whatever is accepted nevertheless has a canonical form.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::content::{
    Bundle, Content, Decision, Delta, Head, Log, Request, Shared, State, accepted_bytes_have_a_canonical_form,
    campaigns_survive, every_parser_survives, every_section_survives,
};
use crate::{sample, strategy};

#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Replace(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Truncate(Index),
    Extend(Vec<u8>),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Flip(index, bit) => {
                let at = at(index, bytes);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Replace(index, with) => {
                let at = at(index, bytes);
                bytes.iter_mut().skip(at).zip(with).for_each(|(byte, new)| *byte = *new);
            }
            Self::Insert(index, new) => {
                let at = at(index, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index, bytes);
                bytes.drain(at..bytes.len().min(at + usize::from(*count)));
            }
            Self::Truncate(index) => bytes.truncate(at(index, bytes)),
            Self::Extend(more) => bytes.extend_from_slice(more),
        }
    }
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    // Values that overflow, wrap or sit next to a bound are worth more than others.
    let telling = prop_oneof![
        Just(vec![0; 4]),
        Just(vec![0xff; 4]),
        Just(vec![0xff; 8]),
        Just(vec![0, 0, 0, 0x80]),
        Just(vec![0xff, 0xff, 0xff, 0x7f]),
        vec(any::<u8>(), 1..9),
    ];
    let mutation = prop_oneof![
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        4 => (any::<Index>(), telling.clone()).prop_map(|(at, with)| Mutation::Replace(at, with)),
        1 => (any::<Index>(), telling.clone()).prop_map(|(at, new)| Mutation::Insert(at, new)),
        1 => (any::<Index>(), 1..9_u8).prop_map(|(at, count)| Mutation::Remove(at, count)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
        1 => telling.prop_map(Mutation::Extend),
    ];
    vec(mutation, 1..4)
}

fn survives_mutation<C: Content>(content: &C, mutations: &[Mutation]) {
    let mut bytes = content.encode();
    mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
    accepted_bytes_have_a_canonical_form::<C>(&bytes);
    C::seal(&mut bytes);
    accepted_bytes_have_a_canonical_form::<C>(&bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_mutated_bundle_is_refused_or_canonical(content in strategy::bundle(), mutations in mutations()) {
        survives_mutation::<Bundle>(&content, &mutations);
    }

    #[test]
    fn a_mutated_section_is_refused_or_canonical(content in strategy::bundle(), mutations in mutations()) {
        let weights = content.weights.iter().map(crate::content::Weights::encode);
        let sections = [content.program.encode(), content.models.encode(), content.policy.encode()];
        let names = content.meta.iter().map(|meta| meta.encode());
        let terms = content.terms.iter().map(|terms| terms.encode());
        for mut section in sections.into_iter().chain(names).chain(terms).chain(weights) {
            mutations.iter().for_each(|mutation| mutation.apply(&mut section));
            every_section_survives(&section);
        }
        if let Some(campaigns) = &content.campaigns {
            let mut section = campaigns.encode();
            mutations.iter().for_each(|mutation| mutation.apply(&mut section));
            campaigns_survive(&section, &content.program, &content.models);
        }
    }

    #[test]
    fn a_mutated_shared_state_is_refused_or_canonical(content in strategy::shared(), mutations in mutations()) {
        survives_mutation::<Shared>(&content, &mutations);
    }

    #[test]
    fn a_mutated_user_state_is_refused_or_canonical(content in strategy::state(), mutations in mutations()) {
        survives_mutation::<State>(&content, &mutations);
    }

    #[test]
    fn a_mutated_request_is_refused_or_canonical(content in strategy::request(), mutations in mutations()) {
        survives_mutation::<Request>(&content, &mutations);
    }

    #[test]
    fn a_mutated_decision_is_refused_or_canonical(content in strategy::decision(), mutations in mutations()) {
        survives_mutation::<Decision>(&content, &mutations);
    }

    #[test]
    fn a_mutated_log_is_refused_or_canonical(content in strategy::log(), mutations in mutations()) {
        survives_mutation::<Log>(&content, &mutations);
    }

    #[test]
    fn a_mutated_head_is_refused_or_canonical(content in strategy::head(), mutations in mutations()) {
        survives_mutation::<Head>(&content, &mutations);
    }

    #[test]
    fn a_mutated_delta_never_panics(mutations in mutations()) {
        survives_mutation::<Delta>(&sample::delta(), &mutations);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        every_parser_survives(&bytes);
    }
}
