//! The engine: what is loaded, the buffers that decisions reuse, and the decision itself.

use alloc::vec::Vec;

use selvedge_format::container::{ContentId, Kind};
use selvedge_format::decision::{DecisionParts, DecisionStatus, DegradedReason, FallbackReason, floats, integers};
use selvedge_format::policy::MAX_SLATE;
use selvedge_format::request::RequestView;
use selvedge_format::shared::SharedState;
use selvedge_format::state::StateView;
use selvedge_format::{AlignedBytes, DecodeError};

use crate::Limits;
use crate::buffer::refill;
use crate::cascade::Cascade;
use crate::explain::Reasons;
use crate::feature::{self, Columns};
use crate::model::ModelScratch;
use crate::offer::{self, About, OfferScratch};
use crate::rank::Slate;
use crate::snapshot::{Binding, Snapshot};

/// Most contributions per slot that a request may ask for.
const MAX_REASONS: u32 = 16;

/// A bundle, a shared state, and the buffers to decide with them.
///
/// One engine serves one decision at a time; it is cheap to have one per thread.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    snapshot: Option<Snapshot>,
    shared: Option<SharedState>,
    binding: Binding,
    scratch: Scratch,
    last_error: Option<DecodeError>,
}

/// Reused from decision to decision: after the largest request there is no more allocation.
#[derive(Debug, Default)]
struct Scratch {
    columns: Columns,
    matrix: Vec<f32>,
    model: ModelScratch,
    scores: Vec<f32>,
    cascade: Cascade,
    slate: Slate,
    slate_scores: Vec<f32>,
    propensities: Vec<f32>,
    reasons: Reasons,
    offer: OfferScratch,
    out: Vec<u8>,
}

/// What was spent, or why not more, and what was spent by then.
type Ran = Result<u64, (FallbackReason, u64)>;

/// A part of a decision.
type Run = fn(&mut Engine, &RequestView<'_>) -> Ran;

/// What a load put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A bundle with this id.
    Bundle(ContentId),
    /// A shared state with this id.
    SharedState(ContentId),
}

/// Feature values, one column per feature.
#[derive(Clone, Copy, Debug)]
pub struct FeatureMatrix<'a> {
    /// Columns, each of [`feature::stride`] rows.
    pub values: &'a [f32],
    /// Number of candidates: rows of a column that count.
    pub candidates: usize,
}

impl<'a> FeatureMatrix<'a> {
    /// Number of features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.values.len().checked_div(feature::stride(self.candidates)).unwrap_or(0)
    }

    /// Values of one feature, by candidate.
    #[must_use]
    pub fn column(&self, feature: usize) -> &'a [f32] {
        let start = feature * feature::stride(self.candidates);
        &self.values[start..start + self.candidates]
    }

    /// Appends `candidates u32, features u32`, then `f32[features][candidates]`, every NaN alike: how modules answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        integers(out, &[self.candidates as u32, self.features() as u32]);
        for feature in 0..self.features() {
            floats(out, self.column(feature));
        }
    }
}

impl Engine {
    /// An engine with nothing loaded: every decision keeps the input order.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            snapshot: None,
            shared: None,
            binding: Binding::default(),
            scratch: Scratch::default(),
            last_error: None,
        }
    }

    /// Loads a bundle or a shared state, whichever the bytes are.
    ///
    /// # Errors
    /// The bytes are refused; what was loaded before stays.
    pub fn load(&mut self, bytes: AlignedBytes) -> Result<Loaded, DecodeError> {
        let loaded = self.try_load(bytes);
        self.last_error = loaded.err();
        loaded
    }

    // Once per bundle: the compiler shall not grow it for speed.
    #[cold]
    fn try_load(&mut self, bytes: AlignedBytes) -> Result<Loaded, DecodeError> {
        // The kind decides only which reader is asked; each checks it again.
        let is_shared = bytes.get(10..12) == Some((Kind::SharedState as u16).to_le_bytes().as_slice());
        let loaded = if is_shared {
            if bytes.len() > self.limits.bundle_bytes {
                return Err(DecodeError::too_large(
                    "shared state bytes",
                    self.limits.bundle_bytes as u64,
                    bytes.len() as u64,
                ));
            }
            let shared = SharedState::load(bytes)?;
            Loaded::SharedState(*self.shared.insert(shared).id())
        } else {
            let snapshot = Snapshot::load(&bytes, &self.limits)?;
            Loaded::Bundle(*self.snapshot.insert(snapshot).id())
        };
        if let Some(snapshot) = &self.snapshot {
            self.binding = Binding::new(&snapshot.program, self.shared.as_ref());
        }
        Ok(loaded)
    }

    /// The bundle in place.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// The shared state in place.
    #[must_use]
    pub const fn shared(&self) -> Option<&SharedState> {
        self.shared.as_ref()
    }

    /// Why the last load, request or state was refused, if it was.
    #[must_use]
    pub const fn last_error(&self) -> Option<&DecodeError> {
        self.last_error.as_ref()
    }

    /// Decides a request; returns the decision's bytes. Total: what cannot be ranked keeps its order.
    pub fn decide(&mut self, request: &[u8]) -> &[u8] {
        self.last_error = None;
        match &RequestView::parse(request, self.limits.request()) {
            Ok(view) => match self.rank(view) {
                Ok((status, cost)) => self.write(Some(view), status, cost),
                Err((reason, cost)) => self.fall_back(Some(view), reason, cost),
            },
            Err(error) => {
                let reason =
                    if self.snapshot.is_some() { FallbackReason::InvalidRequest } else { FallbackReason::NotLoaded };
                self.last_error = Some(*error);
                self.fall_back(None, reason, 0)
            }
        }
    }

    /// The candidates among which the last decision drew, with their probabilities; none if it drew nothing. For
    /// off-policy evaluation: what another policy would have shown, and how probably.
    #[cfg(feature = "host")]
    pub fn last_draw(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.scratch.slate.distribution()
    }

    /// Computes the features of a request without deciding: for training, parity tests and diagnosis.
    ///
    /// # Errors
    /// The request or its state is refused, or nothing is loaded.
    pub fn features(&mut self, request: &[u8]) -> Result<FeatureMatrix<'_>, DecodeError> {
        let candidates = self.diagnose(request, Self::run_features)?;
        Ok(FeatureMatrix { values: &self.scratch.matrix, candidates })
    }

    /// Computes the scores of a request without making a slate: for diagnosis.
    ///
    /// # Errors
    /// The request or its state is refused, or nothing is loaded.
    pub fn score(&mut self, request: &[u8]) -> Result<&[f32], DecodeError> {
        let candidates = self.diagnose(request, Self::run_model)?;
        Ok(&self.scratch.scores[..candidates])
    }

    /// Scores `rows` candidates whose features the caller has: `values` are `[row][feature]`, in the order of the bundle's
    /// features, after defaults and transforms, NaN where one is missing. The scores are those that
    /// [`score`](Self::score) gives a request with these features.
    ///
    /// What a network computes once per request it reads from the first row: features of the user and of the context are
    /// the same in all rows.
    ///
    /// # Errors
    /// Nothing is loaded, there is no row, there are more rows than [`Limits`] allow or they cost more (as much as a request's
    /// without a slate), or `features` and the number of values are not those of so many rows of this bundle.
    pub fn predict(&mut self, rows: usize, features: usize, values: &[f32]) -> Result<&[f32], DecodeError> {
        self.last_error = None;
        let ran = self.run_rows(rows, features, values);
        self.explained(rows, ran)?;
        Ok(&self.scratch.scores[..rows])
    }

    // One function, not a copy for each question.
    #[inline(never)]
    fn diagnose(&mut self, request: &[u8], run: Run) -> Result<usize, DecodeError> {
        self.last_error = None;
        // Looked at where it is: a view is large, and moving it takes more instructions than reading it.
        let (candidates, ran) = match &RequestView::parse(request, self.limits.request()) {
            Ok(view) => (view.candidates, run(self, view)),
            Err(error) => {
                self.last_error = Some(*error);
                (0, Err((FallbackReason::InvalidRequest, 0)))
            }
        };
        self.explained(candidates, ran)?;
        Ok(candidates)
    }

    /// Why there are no scores or features, if there are none.
    fn explained(&mut self, candidates: usize, ran: Ran) -> Result<(), DecodeError> {
        let Err((reason, cost)) = ran else { return Ok(()) };
        let refused = match reason {
            FallbackReason::NotLoaded => DecodeError::not_loaded(),
            FallbackReason::TooManyCandidates => {
                DecodeError::too_large("request candidates", self.limits.candidates as u64, candidates as u64)
            }
            FallbackReason::CostLimit => DecodeError::too_large("decision cost", self.limits.cost, cost),
            _ => DecodeError::invalid("request without candidates", 0),
        };
        Err(*self.last_error.get_or_insert(refused))
    }

    /// Features, scores and slate; how they came about and the cost, or why not.
    fn rank(&mut self, request: &RequestView<'_>) -> Result<(DecisionStatus, u64), (FallbackReason, u64)> {
        let cost = self.run_model(request)?;
        let Some(snapshot) = &self.snapshot else { return Err((FallbackReason::NotLoaded, cost)) };
        let scratch = &mut self.scratch;
        scratch.slate.fill(&snapshot.policy, snapshot.explore, &scratch.columns, request, &scratch.scores);
        scratch.slate_scores.clear();
        scratch.slate_scores.extend(scratch.slate.slots.iter().map(|slot| scratch.scores[*slot as usize]));
        let reasons = request.reasons.min(MAX_REASONS) as usize;
        let Cascade { last, floor, .. } = scratch.cascade;
        scratch.reasons.clear();
        if let (1.., Some(model)) = (reasons, snapshot.stage(last)) {
            let stride = feature::stride(request.candidates);
            let slots = (scratch.slate.slots.as_slice(), scratch.slate_scores.as_slice(), floor);
            scratch.reasons.explain(model, &scratch.matrix, stride, slots, reasons);
        }
        refill(&mut scratch.propensities, scratch.slate.slots.len(), 1.0);
        if let Some((slot, propensity)) = scratch.slate.drawn {
            scratch.propensities[slot] = propensity;
        }
        let status = if last + 1 < snapshot.stages.len() {
            DecisionStatus::Degraded(DegradedReason::CostLimit)
        } else {
            DecisionStatus::Personalized
        };
        Ok((status, cost))
    }

    fn run_model(&mut self, request: &RequestView<'_>) -> Ran {
        let cost = self.run_features(request)?;
        self.run_stages(request.candidates, cost)
    }

    /// Scores rows of the caller's as if they were a request's features.
    #[inline(never)]
    fn run_rows(&mut self, rows: usize, features: usize, values: &[f32]) -> Ran {
        let cost = self.afford(rows, 0, 0)?;
        let wanted = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.program.features.len());
        let found = if features == wanted { values.len() as u64 } else { rows as u64 * features as u64 };
        let needed = rows as u64 * wanted as u64;
        if let Err(error) = DecodeError::expect_bytes("rows of features", 4 * needed, 4 * found) {
            self.last_error = Some(error);
            return Err((FallbackReason::InvalidRequest, cost));
        }
        feature::transpose(values, features, feature::stride(rows), &mut self.scratch.matrix);
        self.run_stages(rows, cost)
    }

    fn run_stages(&mut self, rows: usize, mut cost: u64) -> Ran {
        let Some(snapshot) = &self.snapshot else { return Err((FallbackReason::NotLoaded, cost)) };
        let scratch = &mut self.scratch;
        refill(&mut scratch.scores, feature::stride(rows), 0.0);
        let (of, spent) = ((scratch.matrix.as_slice(), rows), (&mut cost, self.limits.cost));
        scratch.cascade.run(&snapshot.stages, of, &mut scratch.model, &mut scratch.scores, spent);
        Ok(cost)
    }

    fn run_features(&mut self, request: &RequestView<'_>) -> Ran {
        let Some(snapshot) = &self.snapshot else { return Err((FallbackReason::NotLoaded, 0)) };
        let slots = Slate::size(&snapshot.policy, request) as u64;
        let offer_cost = match (&request.offer, &snapshot.campaigns) {
            (Some(_), Some(campaigns)) => campaigns.cost,
            _ => 0,
        };
        let cost = self.afford(request.candidates, slots, offer_cost)?;
        let shared = self.shared.as_ref();
        let state = StateView::parse(request.state);
        let resolved = state.map_err(|error| (FallbackReason::InvalidState, error)).and_then(|state| {
            let resolved = self.scratch.columns.resolve(snapshot, shared, &self.binding, request, &state);
            resolved.map_err(|error| (FallbackReason::InvalidRequest, error))
        });
        if let Err((reason, error)) = resolved {
            self.last_error = Some(error);
            return Err((reason, cost));
        }
        feature::run(&snapshot.program, shared, &mut self.scratch.columns, &mut self.scratch.matrix);
        Ok(cost)
    }

    /// Cost of the first stage and of what comes before and after; further stages are paid for when they run.
    // One function, not a copy for requests and one for rows.
    #[inline(never)]
    fn afford(&self, candidates: usize, slots: u64, offer_cost: u64) -> Ran {
        let Some(snapshot) = &self.snapshot else { return Err((FallbackReason::NotLoaded, 0)) };
        let of_each = snapshot.cost + (slots * snapshot.slot_cost).div_ceil(8);
        let ranking_cost = (candidates as u64).saturating_mul(of_each);
        let request_cost = snapshot.model().request_cost(candidates as u64);
        let cost = ranking_cost.saturating_add(request_cost).saturating_add(offer_cost);
        if candidates == 0 {
            return Err((FallbackReason::NoCandidates, cost));
        }
        if candidates > self.limits.candidates {
            return Err((FallbackReason::TooManyCandidates, cost));
        }
        if cost > self.limits.cost {
            return Err((FallbackReason::CostLimit, cost));
        }
        Ok(cost)
    }

    #[cold]
    fn fall_back(&mut self, request: Option<&RequestView<'_>>, reason: FallbackReason, cost: u64) -> &[u8] {
        let size = match (request, &self.snapshot) {
            (Some(request), Some(snapshot)) => Slate::size(&snapshot.policy, request),
            // Nobody says how many slots there are: as many as there may be.
            (Some(request), None) if request.slate_size == 0 => MAX_SLATE as usize,
            (Some(request), None) => request.slate_size.min(MAX_SLATE) as usize,
            (None, _) => 0,
        };
        self.scratch.slate.keep_order(request, size);
        let size = self.scratch.slate.slots.len();
        self.scratch.reasons.clear();
        for (buffer, value) in [(&mut self.scratch.slate_scores, f32::NAN), (&mut self.scratch.propensities, 1.0)] {
            refill(buffer, size, value);
        }
        self.write(request, DecisionStatus::Fallback(reason), cost)
    }

    fn write(&mut self, request: Option<&RequestView<'_>>, status: DecisionStatus, cost: u64) -> &[u8] {
        let scratch = &mut self.scratch;
        let slots = scratch.slate.slots.len();
        let campaigns = self.snapshot.as_ref().and_then(|snapshot| snapshot.campaigns.as_ref());
        let offer = request.and_then(|request| {
            let asked = request.offer.as_ref()?;
            Some(match (status, campaigns) {
                (DecisionStatus::Control(_) | DecisionStatus::Fallback(_), _) => offer::fallback(asked),
                (_, Some(campaigns)) => {
                    let stride = feature::stride(request.candidates);
                    let about = About { columns: &scratch.columns, matrix: &scratch.matrix, stride };
                    scratch.offer.decide(campaigns, request, asked, about, &mut scratch.model)
                }
                (_, None) => offer::no_campaign(asked),
            })
        });
        let parts = DecisionParts {
            request_id: request.map_or([0; 16], |request| request.request_id),
            bundle_id: self.snapshot.as_ref().map_or([0; 32], |snapshot| snapshot.id),
            shared_id: self.shared.as_ref().map_or([0; 32], |shared| *shared.id()),
            status,
            candidates: request.map_or(0, |request| request.candidates as u32),
            contributions: scratch.reasons.features.len().checked_div(slots).unwrap_or(0) as u32,
            cost,
            error: self.last_error.map_or(0, |error| error.code() as u16),
            base: scratch.reasons.base,
            slots: &scratch.slate.slots,
            scores: &scratch.slate_scores,
            propensities: &scratch.propensities,
            rules: &scratch.slate.rules,
            reason_features: &scratch.reasons.features,
            reason_effects: &scratch.reasons.effects,
            offer,
        };
        parts.write(&mut scratch.out);
        &scratch.out
    }
}
