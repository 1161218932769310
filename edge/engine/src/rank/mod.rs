//! From scores to a slate: hard rules first, then relevance and diversity.
//!
//! Slots are filled from the top. A pinned candidate takes its slot. Every other slot takes the best candidate that the
//! rules allow there: by score, or by maximal marginal relevance where the policy asks for diversity. Equal scores keep
//! the order of the request. Rules are hard: where no candidate may stand, the slate ends.
//!
//! Where the bundle explores, the first slot without a pin is drawn among the candidates that the rules allow there, and the
//! rest is filled as ever: rules hold, and the probability of the draw is exact.
//!
//! Precedence: the request's exclusions, then its pins, then the bundle's rules. The second of two candidates with the
//! same id never enters.

mod draw;

use alloc::vec::Vec;

use selvedge_format::decision::rule;
use selvedge_format::explore::ExploreV1;
use selvedge_format::key;
use selvedge_format::policy::{AtMostV1, DiversityV1, MAX_SLATE, PolicyV1};
use selvedge_format::request::RequestView;

use crate::buffer::refill;
use crate::feature::Columns;
use crate::math::ascending_bits;

use self::draw::Draw;

/// Candidates that a slate in the order of the request is taken from: it must not cost more than a ranked one.
const MAX_CONSIDERED: usize = 2_000;

/// No candidate.
const NONE: u32 = u32::MAX;

/// A slate under construction, and the buffers that it needs.
#[derive(Debug, Default)]
pub struct Slate {
    /// Candidates, best first.
    pub slots: Vec<u32>,
    /// Bits of [`rule`] by slot.
    pub rules: Vec<u32>,
    /// The slot that was drawn, and with what probability this candidate was.
    pub(crate) drawn: Option<(usize, f32)>,
    /// Eligible candidates, best first.
    order: Vec<u32>,
    sort_keys: Vec<u64>,
    is_eligible: Vec<bool>,
    /// Pinned candidate by slot.
    pins: Vec<u32>,
    /// Open-addressed set of candidates by id.
    seen: Vec<u32>,
    /// By position in `order`: relevance in 0..1, largest similarity to the slots so far.
    relevance: Vec<f32>,
    similarity: Vec<f32>,
    /// Value and slot of what stands within reach of the slot to fill, for one cap.
    near: Vec<(u64, u32)>,
    /// Cap and value: what may not stand in the slot to fill; ascending.
    barred: Vec<(usize, u64)>,
    draw: Draw,
}

impl Slate {
    /// Number of slots that a request gets.
    #[must_use]
    pub fn size(policy: &PolicyV1, request: &RequestView<'_>) -> usize {
        let wanted = if request.slate_size == 0 { policy.slate_size } else { request.slate_size };
        (wanted.min(MAX_SLATE) as usize).min(request.candidates)
    }

    /// The first candidates in the order of the request, without those that it excludes and without repeated ids. Rules
    /// of the bundle do not count here: they read features.
    pub(crate) fn keep_order(&mut self, request: Option<&RequestView<'_>>, size: usize) {
        self.slots.clear();
        if let Some(request) = request {
            let mut ids = core::mem::take(&mut self.sort_keys);
            ids.clear();
            let considered = request.candidates.min(MAX_CONSIDERED);
            ids.extend((0..considered).map(|candidate| key(request.ids.get(candidate))));
            self.mark_excluded(request, &ids);
            self.sort_keys = ids;
            let eligible = self.is_eligible.iter().enumerate().filter(|(_, is_eligible)| **is_eligible);
            self.slots.extend(eligible.map(|(candidate, _)| candidate as u32).take(size));
        }
        refill(&mut self.rules, self.slots.len(), 0);
        self.drawn = None;
        self.draw.clear();
    }

    /// Candidates and probabilities of the last draw.
    #[cfg(feature = "host")]
    pub(crate) fn distribution(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.draw.distribution()
    }

    /// Fills the slate. `scores` has one value per candidate; NaN ranks last.
    pub(crate) fn fill(
        &mut self,
        policy: &PolicyV1,
        explore: Option<ExploreV1>,
        columns: &Columns,
        request: &RequestView<'_>,
        scores: &[f32],
    ) {
        let size = Self::size(policy, request);
        self.find_eligible(policy, columns, request);
        self.place_pins(request, size);
        self.sort(scores);
        match &policy.diversity {
            Some(diversity) => self.prepare_relevance(diversity, scores),
            None => self.relevance.clear(),
        }
        self.slots.clear();
        self.rules.clear();
        self.drawn = None;
        self.draw.clear();
        for slot in 0..size {
            let (candidate, rules) = match self.pins[slot] {
                NONE => {
                    let Some((at, rules)) = self.best(policy, columns, slot) else {
                        // A hole above a pin would shift the pin: what follows cannot be placed where it was asked for.
                        break;
                    };
                    let (at, rules) = match explore {
                        Some(explore) if self.drawn.is_none() => {
                            self.explore(explore, policy, columns, request, scores, (slot, at, rules))
                        }
                        _ => (at, rules),
                    };
                    (core::mem::replace(&mut self.order[at], NONE), rules)
                }
                pinned => (pinned, rule::PINNED),
            };
            self.slots.push(candidate);
            self.rules.push(rules);
            if let Some(diversity) = &policy.diversity {
                self.note_similarity(diversity, columns, candidate);
            }
        }
    }

    /// Marks what the request excludes and the second of two equal `items` as not eligible.
    fn mark_excluded(&mut self, request: &RequestView<'_>, items: &[u64]) {
        refill(&mut self.is_eligible, items.len(), true);
        for candidate in request.exclude.iter() {
            if let Some(is_eligible) = self.is_eligible.get_mut(candidate as usize) {
                *is_eligible = false;
            }
        }
        // A set twice the size of the request; ids are hashes already.
        let mask = (items.len() * 2).next_power_of_two() - 1;
        refill(&mut self.seen, mask + 1, NONE);
        for (candidate, item) in items.iter().enumerate() {
            let mut at = *item as usize & mask;
            while self.seen[at] != NONE && items[self.seen[at] as usize] != *item {
                at = (at + 1) & mask;
            }
            if self.seen[at] == NONE {
                self.seen[at] = candidate as u32;
            } else {
                self.is_eligible[candidate] = false;
            }
        }
    }

    fn find_eligible(&mut self, policy: &PolicyV1, columns: &Columns, request: &RequestView<'_>) {
        self.mark_excluded(request, columns.items());
        self.place_rules(policy, columns);
    }

    /// Exclusions by value. They come after the request's own, and a pin overrides them: see [`Self::place_pins`].
    fn place_rules(&mut self, policy: &PolicyV1, columns: &Columns) {
        self.order.clear();
        for candidate in 0..self.is_eligible.len() {
            let excluded = policy.exclude.iter().any(|rule| columns.keys(rule.field)[candidate] == rule.value);
            if self.is_eligible[candidate] && !excluded {
                self.order.push(candidate as u32);
            }
        }
    }

    fn place_pins(&mut self, request: &RequestView<'_>, size: usize) {
        refill(&mut self.pins, size, NONE);
        for pin in 0..request.pins.len() / 2 {
            let (candidate, slot) = (request.pins.get(2 * pin), request.pins.get(2 * pin + 1) as usize);
            let is_free = slot < size && self.pins[slot] == NONE && self.is_eligible[candidate as usize];
            if is_free {
                self.pins[slot] = candidate;
                // Not eligible for another slot, nor for another pin.
                self.is_eligible[candidate as usize] = false;
            }
        }
        let is_eligible = &self.is_eligible;
        self.order.retain(|candidate| is_eligible[*candidate as usize]);
    }

    /// Best score first, then the order of the request.
    fn sort(&mut self, scores: &[f32]) {
        self.sort_keys.clear();
        self.sort_keys.extend(self.order.iter().map(|candidate| u64::from(*candidate)));
        sort_by_score(&mut self.sort_keys, scores);
        for (candidate, key) in self.order.iter_mut().zip(&self.sort_keys) {
            *candidate = *key as u32;
        }
    }

    /// The place in the order of the candidate for `slot`, and the rules that had a say.
    fn best(&mut self, policy: &PolicyV1, columns: &Columns, slot: usize) -> Option<(usize, u32)> {
        self.bar(&policy.at_most, columns, slot);
        // Where equals compete, the earlier in the order wins.
        let mut best: Option<(usize, f32)> = None;
        let mut held_back: Option<(usize, f32)> = None;
        let mut first = None;
        for (at, candidate) in self.order.iter().enumerate().filter(|(_, candidate)| **candidate != NONE) {
            let worth = policy.diversity.as_ref().map_or(0.0, |diversity| {
                diversity.lambda * self.relevance[at] - (1.0 - diversity.lambda) * self.similarity[at]
            });
            if best.is_some_and(|(_, best)| worth <= best) {
                continue;
            }
            if self.is_barred(&policy.at_most, columns, *candidate) {
                if held_back.is_none_or(|(_, other)| worth > other) {
                    held_back = Some((at, worth));
                }
                continue;
            }
            first = first.or(Some(at));
            best = Some((at, worth));
            if policy.diversity.is_none() {
                break;
            }
        }
        let (at, worth) = best?;
        let mut rules = 0;
        if first != Some(at) {
            rules |= rule::DIVERSITY;
        }
        if held_back.is_some_and(|(other, other_worth)| other_worth > worth || other_worth == worth && other < at) {
            rules |= rule::AT_MOST;
        }
        Some((at, rules))
    }

    /// Draws what stands in a slot for which `greedy`, a place in the order with its rules, is the best. What is drawn
    /// against the policy's choice owes its slot to the draw alone.
    fn explore(
        &mut self,
        explore: ExploreV1,
        policy: &PolicyV1,
        columns: &Columns,
        request: &RequestView<'_>,
        scores: &[f32],
        (slot, greedy, rules): (usize, usize, u32),
    ) -> (usize, u32) {
        let mut draw = core::mem::take(&mut self.draw);
        let feasible = self.order.iter().copied().filter(|candidate| *candidate != NONE);
        let feasible = feasible.filter(|candidate| !self.is_barred(&policy.at_most, columns, *candidate));
        draw.prepare(explore.kind, feasible, self.order[greedy], scores);
        let drawn = draw.pick(explore.seed, &request.request_id);
        self.draw = draw;
        let at = drawn.and_then(|(drawn, _)| self.order.iter().position(|candidate| *candidate == drawn));
        self.drawn = drawn.map(|(_, probability)| (slot, probability));
        match at {
            Some(at) if at != greedy => (at, rule::EXPLORED),
            _ => (greedy, rules),
        }
    }

    /// Finds the values that may not stand in `slot`: those of which some window that contains the slot is full.
    fn bar(&mut self, at_most: &[AtMostV1], columns: &Columns, slot: usize) {
        self.barred.clear();
        let size = self.pins.len();
        for (cap, rule) in at_most.iter().enumerate() {
            let window = if rule.window == 0 { size } else { (rule.window as usize).min(size) };
            let keys = columns.keys(rule.field);
            // Above the slot stands what was chosen, below it what is pinned.
            let above = self.slots[(slot + 1).saturating_sub(window)..slot].iter();
            let below = self.pins[slot + 1..size.min(slot + window)].iter();
            let placed = ((slot + 1).saturating_sub(window)..slot).zip(above).chain((slot + 1..).zip(below));
            self.near.clear();
            for (at, candidate) in placed.filter(|(_, candidate)| **candidate != NONE) {
                let entry = (keys[*candidate as usize], at as u32);
                if entry.0 != 0 {
                    // Few enough to be kept in order by insertion.
                    self.near.insert(self.near.partition_point(|other| *other < entry), entry);
                }
            }
            for group in self.near.windows(rule.count as usize) {
                let ((key, first), (last_key, last)) = (group[0], group[group.len() - 1]);
                let span = (last as usize).max(slot) - (first as usize).min(slot);
                if key == last_key && span < window && self.barred.last() != Some(&(cap, key)) {
                    self.barred.push((cap, key));
                }
            }
        }
    }

    fn is_barred(&self, at_most: &[AtMostV1], columns: &Columns, candidate: u32) -> bool {
        !self.barred.is_empty()
            && at_most.iter().enumerate().any(|(cap, rule)| {
                self.barred.binary_search(&(cap, columns.keys(rule.field)[candidate as usize])).is_ok()
            })
    }

    fn prepare_relevance(&mut self, diversity: &DiversityV1, scores: &[f32]) {
        debug_assert!(!diversity.fields.is_empty());
        let score = |candidate: Option<&u32>| candidate.map_or(0.0, |candidate| scores[*candidate as usize]);
        let mut ranked = self.order.iter().filter(|candidate| !scores[**candidate as usize].is_nan());
        let (best, worst) = (score(self.order.first()), score(ranked.next_back()));
        let span = best - worst;
        self.relevance.clear();
        self.relevance.extend(self.order.iter().map(|candidate| {
            let relevance = (scores[*candidate as usize] - worst) / span;
            if relevance.is_nan() { 0.0 } else { relevance }
        }));
        refill(&mut self.similarity, self.order.len(), 0.0);
    }

    fn note_similarity(&mut self, diversity: &DiversityV1, columns: &Columns, placed: u32) {
        for (candidate, largest) in self.order.iter().zip(&mut self.similarity) {
            if *candidate == NONE {
                continue;
            }
            let mut similarity = 0.0;
            for (field, weight) in &diversity.fields {
                let keys = columns.keys(*field);
                let (a, b) = (keys[*candidate as usize], keys[placed as usize]);
                similarity += if a == b && a != 0 { *weight } else { 0.0 };
            }
            if similarity > *largest {
                *largest = similarity;
            }
        }
    }
}

/// Sorts keys, of which the lower half is a candidate, by score and then by the order of the request.
#[inline(never)]
pub(crate) fn sort_by_score(keys: &mut [u64], scores: &[f32]) {
    for key in &mut *keys {
        let candidate = *key as u32;
        *key = u64::from(!score_bits(scores[candidate as usize])) << 32 | u64::from(candidate);
    }
    crate::order::sort(keys);
}

/// Bits that order like the score: NaN first, then from the smallest to the largest.
fn score_bits(score: f32) -> u32 {
    // Adding 0 turns -0 into 0, so that equal scores have equal bits.
    if score.is_nan() { 0 } else { ascending_bits(score + 0.0) }
}
