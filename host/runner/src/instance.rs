//! A guest with a bundle: decisions, and what survives when one of them breaks off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use selvedge_format::container::{Container, ContentId, Kind, verify_id};
use selvedge_format::{DecodeError, request};

use crate::error::{Input, Refusal, RunError, SavedRequest, Trap, TrapCause};
use crate::guest::{Guest, Question, Stop};
use crate::{GuestModule, RunnerLimits};

/// One sandbox with a bundle and a shared state in it.
pub struct Instance {
    module: GuestModule,
    limits: RunnerLimits,
    trap_directory: Option<PathBuf>,
    contents: Contents,
    /// Absent before the first call, and after a trap.
    guest: Option<Guest>,
    /// Kept from matrix to matrix.
    matrix: Vec<u8>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What a new guest is filled with.
#[derive(Clone, Default)]
struct Contents {
    bundle: Option<Arc<[u8]>>,
    shared: Option<Arc<[u8]>>,
}

/// A decision, in the guest's memory until the next call.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// The decision's bytes ([`selvedge_format::decision::DecisionView`] reads them).
    pub decision: &'a [u8],
    /// Fuel that it took.
    pub fuel: u64,
}

/// Feature values of a request.
#[derive(Clone, Debug)]
pub struct Features {
    /// Rows: candidates of the request.
    pub candidates: usize,
    /// Columns: features of the bundle.
    pub features: usize,
    /// Values, `[feature][candidate]`.
    pub values: Vec<f32>,
    /// Fuel that they took.
    pub fuel: u64,
}

impl Features {
    /// Values of one feature, by candidate. Empty if there is no such feature.
    #[must_use]
    pub fn column(&self, feature: usize) -> &[f32] {
        let start = feature.saturating_mul(self.candidates);
        self.values.get(start..start.saturating_add(self.candidates)).unwrap_or(&[])
    }
}

impl Instance {
    /// An instance with nothing loaded.
    #[must_use]
    pub fn new(module: &GuestModule, limits: RunnerLimits) -> Self {
        Self {
            module: module.clone(),
            limits,
            trap_directory: None,
            contents: Contents::default(),
            guest: None,
            matrix: Vec::new(),
        }
    }

    /// Saves the request of a call that breaks off as `trap-<request id>.svrq` in this directory, which is made when it is
    /// needed.
    #[must_use]
    pub fn save_trapped_requests_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.trap_directory = Some(directory.into());
        self
    }

    /// An instance for another thread, with the same code, limits, bundle and shared state.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            module: self.module.clone(),
            limits: self.limits,
            trap_directory: self.trap_directory.clone(),
            contents: self.contents.clone(),
            guest: None,
            matrix: Vec::new(),
        }
    }

    /// Puts a bundle in place and returns its id. A new guest is filled before the old one goes: memory that a larger
    /// bundle took is given back, and on an error the old bundle stays.
    ///
    /// # Errors
    /// The bytes are no bundle, do not hash to their id, or are refused by the guest; or the guest traps on them.
    pub fn load(&mut self, bundle: impl Into<Arc<[u8]>>) -> Result<ContentId, RunError> {
        let bundle = bundle.into();
        let id = verified(&bundle, Kind::Bundle).map_err(|error| Refusal::by_host(Input::Bundle, &error))?;
        self.swap(Contents { bundle: Some(bundle), shared: self.contents.shared.clone() })?;
        Ok(id)
    }

    /// Puts a shared state in place and returns its id; otherwise as [`load`](Self::load).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_shared(&mut self, shared: impl Into<Arc<[u8]>>) -> Result<ContentId, RunError> {
        let shared = shared.into();
        let id = verified(&shared, Kind::SharedState).map_err(|error| Refusal::by_host(Input::SharedState, &error))?;
        self.swap(Contents { bundle: self.contents.bundle.clone(), shared: Some(shared) })?;
        Ok(id)
    }

    /// Decides a request. Bytes that are not a valid request get a decision as well, one that says so.
    ///
    /// # Errors
    /// The guest traps; or it trapped before, and cannot be started again.
    pub fn decide(&mut self, request: &[u8]) -> Result<Decided<'_>, RunError> {
        let (guest, answer, fuel) = self.ask(Question::Decide, request)?;
        Ok(Decided { decision: guest.bytes(answer), fuel })
    }

    /// Computes the features of a request without deciding.
    ///
    /// # Errors
    /// The request is refused; otherwise as [`decide`](Self::decide).
    pub fn features(&mut self, request: &[u8]) -> Result<Features, RunError> {
        let (guest, answer, fuel) = self.ask(Question::Features, request)?;
        let parsed = parse_features(guest.bytes(answer), fuel);
        parsed
            .ok_or_else(|| self.broken_off(Input::Request, TrapCause::Abi("a feature matrix of another size"), request))
    }

    /// Computes the score of each candidate of a request without making a slate.
    ///
    /// # Errors
    /// The request is refused; otherwise as [`decide`](Self::decide).
    pub fn score(&mut self, request: &[u8]) -> Result<Vec<f32>, RunError> {
        let (guest, answer, _) = self.ask(Question::Score, request)?;
        Ok(floats(guest.bytes(answer)))
    }

    /// Scores `rows` candidates whose features the caller has: `values` are `[row][feature]`, in the order of the bundle's
    /// features, NaN where one is missing. What a network computes once per request it reads from the first row.
    ///
    /// # Errors
    /// The matrix is none of this bundle; otherwise as [`decide`](Self::decide). A matrix that the guest traps on is not saved.
    pub fn predict(&mut self, rows: usize, features: usize, values: &[f32]) -> Result<Vec<f32>, RunError> {
        let mut matrix = std::mem::take(&mut self.matrix);
        matrix.clear();
        // A count that does not fit is above every limit, as the largest is.
        let counts = [rows, features].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        matrix.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        matrix.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let scores = self.ask(Question::Predict, &matrix).map(|(guest, answer, _)| floats(guest.bytes(answer)));
        self.matrix = matrix;
        scores
    }

    /// Asks a guest that is there or made now. An empty answer is a refusal.
    fn ask(&mut self, question: Question, request: &[u8]) -> Result<(&Guest, std::ops::Range<usize>, u64), RunError> {
        let (input, fuel) = (question.input(), self.limits.fuel_per_decision);
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.filled(&self.contents)?,
        };
        // The guest goes back only if the call came to its end.
        match guest.ask(question, request, fuel) {
            Ok((answer, _)) if answer.is_empty() => {
                let refusal = last_refusal(&mut guest, input, fuel);
                let refusal = refusal.map_err(|cause| self.broken_off(input, cause, request))?;
                self.guest = Some(guest);
                Err(refusal.into())
            }
            Ok((answer, used)) => Ok((self.guest.insert(guest), answer, used)),
            Err(Stop::NoRoom) => {
                self.guest = Some(guest);
                Err(self.no_room(input, request.len()).into())
            }
            Err(Stop::Trap(cause)) => Err(self.broken_off(input, cause, request)),
        }
    }

    fn swap(&mut self, contents: Contents) -> Result<(), RunError> {
        self.guest = Some(self.filled(&contents)?);
        self.contents = contents;
        Ok(())
    }

    /// A new guest with these contents.
    fn filled(&self, contents: &Contents) -> Result<Guest, RunError> {
        let mut guest = Guest::start(&self.module, self.limits)?;
        for (input, bytes) in [(Input::Bundle, &contents.bundle), (Input::SharedState, &contents.shared)] {
            if let Some(bytes) = bytes {
                self.fill(&mut guest, input, bytes)?;
            }
        }
        Ok(guest)
    }

    fn fill(&self, guest: &mut Guest, input: Input, bytes: &[u8]) -> Result<(), RunError> {
        let fuel = self.limits.fuel_per_load;
        let trapped = |cause| RunError::from(Trap { input, cause, saved: None });
        match guest.load(bytes, fuel) {
            Ok(0) => Ok(()),
            Ok(_) => Err(last_refusal(guest, input, fuel).map_err(trapped)?.into()),
            Err(Stop::NoRoom) => Err(self.no_room(input, bytes.len()).into()),
            Err(Stop::Trap(cause)) => Err(trapped(cause)),
        }
    }

    fn no_room(&self, input: Input, len: usize) -> Refusal {
        Refusal::no_room(input, self.limits.memory_bytes as u64, len as u64)
    }

    /// Drops the guest, whose state is not known any more, and saves what it broke off on.
    fn broken_off(&mut self, input: Input, cause: TrapCause, request: &[u8]) -> RunError {
        self.guest = None;
        let directory = self.trap_directory.as_deref().filter(|_| input == Input::Request);
        let saved = directory.map(|directory| save(directory, request));
        Trap { input, cause, saved }.into()
    }
}

/// The id of a container of this kind, which its bytes hash to.
fn verified(bytes: &[u8], kind: Kind) -> Result<ContentId, DecodeError> {
    Container::parse(bytes, kind)?;
    verify_id(bytes)
}

/// Why the guest refused the last call.
fn last_refusal(guest: &mut Guest, input: Input, fuel: u64) -> Result<Refusal, TrapCause> {
    let unexplained = TrapCause::Abi("a refusal without a reason");
    let answer = guest.last_error(fuel).map_err(|stop| match stop {
        Stop::Trap(cause) => cause,
        Stop::NoRoom => unexplained.clone(),
    })?;
    Refusal::by_guest(input, guest.bytes(answer)).ok_or(unexplained)
}

/// `candidates u32, features u32`, then as many `f32`.
fn parse_features(bytes: &[u8], fuel: u64) -> Option<Features> {
    let (candidates, rest) = bytes.split_first_chunk()?;
    let (features, rest) = rest.split_first_chunk()?;
    let (candidates, features) = (u32::from_le_bytes(*candidates) as usize, u32::from_le_bytes(*features) as usize);
    let values = floats(rest);
    (Some(values.len()) == candidates.checked_mul(features)).then_some(Features { candidates, features, values, fuel })
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks();
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn save(directory: &Path, request: &[u8]) -> SavedRequest {
    let path = directory.join(format!("trap-{}.svrq", name(request)));
    match std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, request)) {
        Ok(()) => SavedRequest::At(path),
        Err(error) => SavedRequest::Failed(path, error),
    }
}

/// The request's id, which follows its frame; bytes too short to have one are named by their hash.
fn name(request: &[u8]) -> String {
    use selvedge_format::message::FRAME_LEN;
    match request.get(FRAME_LEN..FRAME_LEN + 16) {
        Some(id) if request.starts_with(&request::KIND.magic) => id.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => format!("{:016x}", selvedge_format::key(request)),
    }
}
