//! A slate keeps its rules, and is the one that a plain reading of the policy makes.

use proptest::prelude::*;
use selvedge_format::decision::{DecisionView, rule};
use selvedge_format::explore::{ExploreKindV1, ExploreV1};
use selvedge_format::key;
use selvedge_format::policy::{AtMostV1, DiversityV1, ExcludeV1, MAX_SLATE, PolicyV1};
use selvedge_format::program::{OpV1, Scope};
use selvedge_wire::{RequestBuilder, Values};

use crate::support::*;

/// A request and the policy that it meets.
#[derive(Clone, Debug)]
struct Case {
    /// Position in [`ITEMS`] and beyond: few ids make duplicates likely.
    ids: Vec<usize>,
    scores: Vec<f32>,
    brands: Vec<usize>,
    pins: Vec<(u32, u32)>,
    exclude: Vec<u32>,
    slate_size: u32,
    policy: PolicyV1,
}

fn case() -> impl Strategy<Value = Case> {
    let at_most = (1_u32..4, 0_u32..6).prop_map(|(count, window)| AtMostV1 { field: BRAND, count, window });
    let diversity = prop::sample::select(vec![0.0, 0.3, 0.7, 1.0])
        .prop_map(|lambda| DiversityV1 { lambda, fields: vec![(BRAND, 0.75), (BRAND, 0.25)] });
    let policy = (1_u32..12, prop::option::of(1..BRANDS.len()), prop::option::of(at_most), prop::option::of(diversity));
    let policy = policy.prop_map(|(slate_size, exclude, at_most, diversity)| PolicyV1 {
        slate_size,
        exclude: exclude
            .map(|brand| ExcludeV1 { field: BRAND, value: key(BRANDS[brand].as_bytes()) })
            .into_iter()
            .collect(),
        at_most: at_most.into_iter().collect(),
        diversity,
    });
    (1_usize..25, policy, prop_oneof![Just(0_u32), 1_u32..30]).prop_flat_map(|(n, policy, slate_size)| {
        let m = n as u32;
        let score = prop_oneof![4 => (0..6_i32).prop_map(|score| score as f32), 1 => Just(-0.0), 2 => -9.0_f32..9.0];
        (
            prop::collection::vec(0..40_usize, n),
            prop::collection::vec(score, n),
            prop::collection::vec(0..BRANDS.len(), n),
            prop::collection::vec((0..m, 0..14_u32), 0..4),
            prop::collection::vec(0..m, 0..4),
        )
            .prop_map(move |(ids, scores, brands, pins, exclude)| Case {
                ids,
                scores,
                brands,
                pins,
                exclude,
                slate_size,
                policy: policy.clone(),
            })
    })
}

/// Slots and rules that the engine chooses.
fn decide(case: &Case) -> (Vec<u32>, Vec<u32>) {
    let (slots, rules, _) = explore(case, None, [0; 16]);
    (slots, rules)
}

/// Slots, rules and propensities.
fn explore(case: &Case, explore: Option<ExploreV1>, request_id: [u8; 16]) -> (Vec<u32>, Vec<u32>, Vec<f32>) {
    let mut engine = exploring_engine(&program([OpV1::Number { field: PRICE }]), &case.policy, explore);
    let ids: Vec<String> = case.ids.iter().map(|id| format!("id{id}")).collect();
    let brands: Vec<&str> = case.brands.iter().map(|brand| BRANDS[*brand]).collect();
    let mut request = RequestBuilder::new(request_id, 0, ids.iter().map(String::as_str))
        .slate_size(case.slate_size)
        .column(Scope::Item, "price", Values::Numbers(&case.scores))
        .column(Scope::Item, "brand", Values::Strings(&brands));
    for (candidate, slot) in &case.pins {
        request = request.pin(*candidate, *slot);
    }
    for candidate in &case.exclude {
        request = request.exclude(*candidate);
    }
    let decision = DecisionView::parse(engine.decide(&request.build())).expect("a valid decision");
    assert_eq!(decision.status.names().0, "personalized");
    (decision.slots.iter().collect(), decision.rules.iter().collect(), decision.propensities.iter().collect())
}

impl Case {
    fn size(&self) -> usize {
        let wanted = if self.slate_size == 0 { self.policy.slate_size } else { self.slate_size };
        (wanted.min(MAX_SLATE) as usize).min(self.ids.len())
    }

    fn is_alike(&self, a: u32, b: u32) -> bool {
        self.brands[a as usize] == self.brands[b as usize] && self.brands[a as usize] != 0
    }

    /// Candidates that the request lets in.
    fn admitted(&self) -> Vec<u32> {
        let first = |candidate: u32| self.ids.iter().position(|id| *id == self.ids[candidate as usize]);
        (0..self.ids.len() as u32)
            .filter(|candidate| !self.exclude.contains(candidate) && first(*candidate) == Some(*candidate as usize))
            .collect()
    }

    /// Pins by slot.
    fn pinned(&self) -> Vec<Option<u32>> {
        let admitted = self.admitted();
        let mut pinned = vec![None; self.size()];
        for (candidate, slot) in &self.pins {
            let slot = *slot as usize;
            if slot < pinned.len()
                && pinned[slot].is_none()
                && admitted.contains(candidate)
                && !pinned.contains(&Some(*candidate))
            {
                pinned[slot] = Some(*candidate);
            }
        }
        pinned
    }

    /// Whether some window holds more alike than its cap.
    fn is_broken(&self, slots: &[Option<u32>]) -> bool {
        self.policy.at_most.iter().any(|rule| {
            let window = if rule.window == 0 { slots.len() } else { (rule.window as usize).min(slots.len()) };
            slots.windows(window.max(1)).any(|window| {
                window.iter().flatten().any(|one| {
                    let alike = window.iter().flatten().filter(|other| self.is_alike(*one, **other)).count();
                    alike > rule.count as usize
                })
            })
        })
    }

    /// A plain reading of the policy. In the first slot without a pin stands `drawn`, if it may stand in the slate at all.
    fn expected(&self, drawn: Option<u32>) -> Vec<u32> {
        let pinned = self.pinned();
        let is_excluded = |candidate: u32| {
            let brand = key(BRANDS[self.brands[candidate as usize]].as_bytes());
            self.policy.exclude.iter().any(|rule| rule.value == brand)
        };
        let mut open: Vec<u32> = self.admitted();
        open.retain(|candidate| !pinned.contains(&Some(*candidate)) && !is_excluded(*candidate));
        // A stable sort: equal scores stay in the order of the request.
        let score = |candidate: u32| self.scores[candidate as usize] + 0.0;
        open.sort_by(|a, b| score(*b).partial_cmp(&score(*a)).expect("scores are numbers"));
        let (best, worst) = (open.first().map_or(0.0, |c| score(*c)), open.last().map_or(0.0, |c| score(*c)));
        let relevance = |candidate: u32| {
            let relevance = (score(candidate) - worst) / (best - worst);
            if relevance.is_nan() { 0.0 } else { relevance }
        };
        let mut slots: Vec<Option<u32>> = pinned.clone();
        for slot in 0..slots.len() {
            if pinned[slot].is_some() {
                continue;
            }
            let worth = |candidate: u32| match &self.policy.diversity {
                None => 0.0,
                Some(diversity) => {
                    let above = slots[..slot].iter().flatten();
                    let similar = above.map(|other| if self.is_alike(candidate, *other) { 1.0 } else { 0.0 });
                    diversity.lambda * relevance(candidate) - (1.0 - diversity.lambda) * similar.fold(0.0, f32::max)
                }
            };
            let is_first = pinned[..slot].iter().all(Option::is_some);
            let mut chosen = drawn.filter(|drawn| is_first && open.contains(drawn));
            let rivals: &[u32] = if chosen.is_some() { &[] } else { &open };
            for candidate in rivals {
                let mut with = slots.clone();
                with[slot] = Some(*candidate);
                // A window that its pins have broken already cannot be broken by one that is like none of them.
                let is_allowed = self.policy.at_most.iter().all(|rule| {
                    let window = if rule.window == 0 { with.len() } else { (rule.window as usize).min(with.len()) };
                    (0..=with.len() - window).filter(|start| (*start..start + window).contains(&slot)).all(|start| {
                        let alike = with[start..start + window].iter().flatten();
                        let alike = alike.filter(|other| **other != *candidate && self.is_alike(*candidate, **other));
                        alike.count() < rule.count as usize
                    })
                });
                if is_allowed && chosen.is_none_or(|chosen| worth(*candidate) > worth(chosen)) {
                    chosen = Some(*candidate);
                }
            }
            let Some(chosen) = chosen else { return slots[..slot].iter().flatten().copied().collect() };
            open.retain(|candidate| *candidate != chosen);
            slots[slot] = Some(chosen);
        }
        slots.into_iter().flatten().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_slate_is_the_one_that_a_plain_reading_makes(case in case()) {
        prop_assert_eq!(decide(&case).0, case.expected(None));
    }

    #[test]
    fn a_slate_keeps_its_rules(case in case()) {
        let (slots, rules) = decide(&case);
        prop_assert!(slots.len() <= case.size());
        for (at, candidate) in slots.iter().enumerate() {
            let id = case.ids[*candidate as usize];
            prop_assert!(slots[..at].iter().all(|other| case.ids[*other as usize] != id), "an id stands twice");
            prop_assert!(!case.exclude.contains(candidate), "an excluded candidate stands");
        }
        let pinned = case.pinned();
        for (at, candidate) in slots.iter().enumerate() {
            prop_assert_eq!(rules[at] & rule::PINNED != 0, pinned[at].is_some());
            if let Some(pin) = pinned[at] {
                prop_assert_eq!(*candidate, pin, "a pin stands in its slot");
            }
        }
        let by_hand = case.is_broken(&pinned);
        let slots: Vec<Option<u32>> = (0..case.size()).map(|slot| slots.get(slot).copied()).collect();
        prop_assert!(by_hand || !case.is_broken(&slots), "a cap is broken that the pins did not break");
    }

    #[test]
    fn relevance_alone_is_no_diversity(case in case()) {
        let mut alone = case.clone();
        alone.policy.diversity = None;
        let mut relevant = case;
        relevant.policy.diversity = Some(DiversityV1 { lambda: 1.0, fields: vec![(BRAND, 1.0)] });
        prop_assert_eq!(decide(&relevant), decide(&alone));
    }
}

#[test]
fn rules_that_had_a_say_are_named() {
    let mut case = Case {
        ids: vec![0, 1, 2, 3],
        scores: vec![4.0, 3.0, 2.0, 1.0],
        brands: vec![1, 1, 2, 3],
        pins: vec![(3, 0)],
        exclude: vec![],
        slate_size: 0,
        policy: PolicyV1 { at_most: vec![AtMostV1 { field: BRAND, count: 1, window: 0 }], ..policy(3) },
    };
    assert_eq!(decide(&case), (vec![3, 0, 2], vec![rule::PINNED, 0, rule::AT_MOST]));
    case.pins.clear();
    case.policy = PolicyV1 { diversity: Some(DiversityV1 { lambda: 0.2, fields: vec![(BRAND, 1.0)] }), ..policy(3) };
    assert_eq!(decide(&case), (vec![0, 2, 3], vec![0, rule::DIVERSITY, rule::DIVERSITY]));
}

proptest! {
    /// A draw changes one slot, and the others are filled as ever: rules and similarity see what stands there. It is not
    /// as if the request had pinned it: what competes for the slate, and so the scale of relevance, stays as it was.
    #[test]
    fn a_draw_fills_the_first_free_slot_and_the_rest_follows(
        case in case(),
        kind in prop_oneof![
            (0.01_f32..=1.0).prop_map(|epsilon| ExploreKindV1::EpsilonGreedy { epsilon }),
            (0.01_f32..20.0).prop_map(|temperature| ExploreKindV1::Softmax { temperature }),
        ],
        seed in any::<u64>(),
        request_id in any::<[u8; 16]>(),
    ) {
        let explored = ExploreV1 { kind, seed };
        let (slots, rules, propensities) = explore(&case, Some(explored), request_id);
        prop_assert_eq!((&slots, &rules, &propensities), (&slots, &rules, &explore(&case, Some(explored), request_id).2));
        let (greedy, greedy_rules) = decide(&case);
        let placed: Vec<Option<u32>> = slots.iter().copied().map(Some).collect();
        prop_assert!(!case.is_broken(&placed) || case.is_broken(&case.pinned()), "a rule is broken: {slots:?}");
        let free = (0..slots.len()).find(|slot| case.pinned()[*slot].is_none());
        for (slot, propensity) in propensities.iter().enumerate() {
            prop_assert!(*propensity > 0.0 && *propensity <= 1.0);
            prop_assert!(*propensity == 1.0 || Some(slot) == free, "slot {} is not drawn", slot);
            prop_assert!(rules[slot] & rule::EXPLORED == 0 || Some(slot) == free);
        }
        match free {
            Some(free) if slots[free] != greedy[free] => {
                prop_assert_eq!(rules[free], rule::EXPLORED);
                prop_assert_eq!(&slots, &case.expected(Some(slots[free])));
            }
            _ => prop_assert_eq!((slots, rules), (greedy, greedy_rules)),
        }
    }

    #[test]
    fn epsilon_of_one_draws_all_alike(case in case(), request_id in any::<[u8; 16]>()) {
        let all = ExploreV1 { kind: ExploreKindV1::EpsilonGreedy { epsilon: 1.0 }, seed: 1 };
        let (slots, _, propensities) = explore(&case, Some(all), request_id);
        if let Some(free) = (0..slots.len()).find(|slot| case.pinned()[*slot].is_none()) {
            let drawn = (1.0 / propensities[free]).round();
            prop_assert!((propensities[free] * drawn - 1.0).abs() < 1e-6);
            prop_assert!(drawn as usize <= case.ids.len());
        }
    }
}

#[test]
fn a_draw_leaves_the_scale_of_relevance_as_it_was() {
    let mut case = Case {
        ids: vec![0, 1, 2],
        scores: vec![0.0, 3.0, 4.0],
        brands: vec![2, 3, 2],
        pins: vec![],
        exclude: vec![],
        slate_size: 0,
        policy: PolicyV1 { diversity: Some(DiversityV1 { lambda: 0.7, fields: vec![(BRAND, 1.0)] }), ..policy(3) },
    };
    let all = ExploreV1 { kind: ExploreKindV1::EpsilonGreedy { epsilon: 1.0 }, seed: 1 };
    let slates = (0..64).map(|request_id| explore(&case, Some(all), [request_id; 16]).0);
    let drawn = slates.filter(|slots| slots[0] == 0).collect::<Vec<_>>();
    // 0 competes, so that 3 and 4 are 0.75 and 1 of the way from the worst to the best, and the other brand comes next.
    assert!(!drawn.is_empty() && drawn.iter().all(|slots| *slots == [0, 1, 2]), "{drawn:?}");
    // A pin does not compete: 3 and 4 are the worst and the best.
    case.pins.push((0, 0));
    assert_eq!(decide(&case).0, [0, 2, 1]);
}

#[test]
fn a_decision_that_is_not_personalized_does_not_explore() {
    let all = ExploreV1 { kind: ExploreKindV1::EpsilonGreedy { epsilon: 1.0 }, seed: 1 };
    let mut engine = exploring_engine(&program([OpV1::Number { field: PRICE }]), &policy(5), Some(all));
    for request_id in 0..32 {
        let request = RequestBuilder::new([request_id; 16], 0, ["a", "b", "c"]).state(&[1, 2, 3]).build();
        let decision = DecisionView::parse(engine.decide(&request)).expect("a valid decision");
        assert_eq!(decision.status.names().0, "fallback");
        assert_eq!(decision.slots.iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(decision.propensities.iter().collect::<Vec<_>>(), [1.0; 3]);
    }
}

#[test]
fn an_empty_slate_is_a_decision_too() {
    let all = Case {
        ids: vec![0, 1],
        scores: vec![1.0, 2.0],
        brands: vec![1, 1],
        pins: vec![],
        exclude: vec![0, 1],
        slate_size: 2,
        policy: policy(2),
    };
    assert_eq!(decide(&all), (vec![], vec![]));
}
