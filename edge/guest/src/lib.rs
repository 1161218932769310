//! The guest: the decision engine as a WebAssembly module that imports nothing.
//!
//! Any host that can run core WebAssembly can run it: there is no WASI, no JavaScript and no clock to provide. This
//! file holds what the module does, in safe Rust that tests natively; [`abi`] gives it its exported names. Neither knows
//! what a decision is: they move bytes between the host and [`Engine`].
//!
//! The host owns the conversation. It asks for a [buffer](buffers::Buffers), writes into it, and names it in a call; the
//! guest never follows an address that it did not hand out itself, so a confused host gets an error and not a memory
//! fault. Answers stay where they are, in the guest, and are read before the next call.
//!
//! `docs/format/abi.md` is the normative page.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
mod abi;
pub mod buffers;

use alloc::vec::Vec;

use selvedge_engine::{Engine, Limits};
use selvedge_format::DecodeError;
use selvedge_format::decision::{floats, integers};

use crate::buffers::{Address, Buffers};

/// Version of the calls and of what they carry.
pub const ABI_VERSION: u32 = 1;

/// Place named by errors about an address and length that are no buffer of this guest.
const FOREIGN_BUFFER: DecodeError = DecodeError::invalid("guest buffer", 0);

/// An engine, and the buffers that its host and it pass to each other.
pub struct Guest {
    engine: Engine,
    buffers: Buffers,
    answer: Vec<u8>,
    /// The last call named a buffer that is none.
    foreign_buffer: bool,
}

impl Default for Guest {
    // Every exported name makes one if there is none yet: one function, not a copy in each.
    #[inline(never)]
    fn default() -> Self {
        Self {
            engine: Engine::new(Limits::default()),
            buffers: Buffers::default(),
            answer: Vec::new(),
            foreign_buffer: false,
        }
    }
}

impl Guest {
    /// A zeroed buffer of `len` bytes for the host to write into. `None` if `len` is above [`buffers::MAX_LEN`] or
    /// memory is short.
    pub fn alloc(&mut self, len: usize) -> Option<Address> {
        self.buffers.alloc(len)
    }

    /// Gives a buffer back. What is no buffer stays as it is.
    pub fn free(&mut self, address: Address, len: usize) {
        drop(self.buffers.take(address, len));
    }

    /// Loads the bundle or shared state in the buffer, which becomes the engine's. Returns 0, or the number of the
    /// [`ErrorCode`](selvedge_format::ErrorCode); on refusal the engine keeps what it had.
    pub fn load(&mut self, address: Address, len: usize) -> u32 {
        let bytes = self.buffers.take(address, len);
        self.foreign_buffer = bytes.is_none();
        let loaded = bytes.ok_or(FOREIGN_BUFFER).and_then(|bytes| self.engine.load(bytes));
        loaded.map_or_else(|refusal| refusal.code() as u32, |_| 0)
    }

    /// The decision on the request in the buffer; empty only if there is no such buffer.
    pub fn decide(&mut self, address: Address, len: usize) -> &[u8] {
        let request = self.buffers.get(address, len);
        self.foreign_buffer = request.is_none();
        request.map_or(&[], |request| self.engine.decide(request))
    }

    /// The feature matrix of the request in the buffer: `candidates u32, features u32`, then
    /// `f32[features][candidates]`. Empty if the request is refused.
    pub fn features(&mut self, address: Address, len: usize) -> &[u8] {
        self.answer.clear();
        let request = self.buffers.get(address, len);
        self.foreign_buffer = request.is_none();
        if let Some(Ok(matrix)) = request.map(|request| self.engine.features(request)) {
            matrix.write(&mut self.answer);
        }
        &self.answer
    }

    /// The last stage's score of each candidate, `f32[candidates]`. Empty if the request is refused.
    pub fn score(&mut self, address: Address, len: usize) -> &[u8] {
        self.answer.clear();
        let request = self.buffers.get(address, len);
        self.foreign_buffer = request.is_none();
        if let Some(Ok(scores)) = request.map(|request| self.engine.score(request)) {
            floats(&mut self.answer, scores);
        }
        &self.answer
    }

    /// The last stage's score of each row of a matrix in the buffer, `f32[rows]`: `rows u32, features u32`, then
    /// `f32[rows][features]`. Empty if the matrix is refused.
    pub fn predict(&mut self, address: Address, len: usize) -> &[u8] {
        self.answer.clear();
        // What is not made of words is no matrix, as what has no address is none.
        let matrix = self.buffers.get(address, len).and_then(|bytes| bytemuck::try_cast_slice(bytes).ok());
        let matrix = matrix.and_then(<[u32]>::split_first_chunk);
        self.foreign_buffer = matrix.is_none();
        if let Some(([rows, features], values)) = matrix
            && let Ok(scores) = self.engine.predict(*rows as usize, *features as usize, bytemuck::cast_slice(values))
        {
            floats(&mut self.answer, scores);
        }
        &self.answer
    }

    /// Why the last call refused what it was given: `code u16, zero u16, offset u32, first u64, second u64, place
    /// UTF-8`; empty if it did not. The numbers are those of [`DecodeError::numbers`].
    pub fn last_error(&mut self) -> &[u8] {
        self.answer.clear();
        let refusal = if self.foreign_buffer { Some(&FOREIGN_BUFFER) } else { self.engine.last_error() };
        if let Some(refusal) = refusal {
            let (first, second) = refusal.numbers();
            let halves = |number: u64| [number as u32, (number >> 32) as u32];
            integers(&mut self.answer, &[refusal.code() as u32, refusal.offset() as u32]);
            integers(&mut self.answer, halves(first).as_slice());
            integers(&mut self.answer, halves(second).as_slice());
            self.answer.extend_from_slice(refusal.place().as_bytes());
        }
        &self.answer
    }
}

#[cfg(test)]
mod tests {
    use selvedge_format::ErrorCode;
    use selvedge_format::decision::DecisionView;

    use super::*;

    fn last_code(guest: &mut Guest) -> Option<ErrorCode> {
        let (code, _) = guest.last_error().split_first_chunk()?;
        ErrorCode::from_number(u16::from_le_bytes(*code))
    }

    #[test]
    fn a_buffer_that_was_not_handed_out_is_an_error_and_not_a_fault() {
        let mut guest = Guest::default();
        let address = guest.alloc(8).expect("there is memory");
        for (address, len) in [(0, 0), (address, 9), (address + 16, 4)] {
            assert_eq!(guest.load(address, len), ErrorCode::Invalid as u32);
            assert!(guest.decide(address, len).is_empty());
            assert!(guest.features(address, len).is_empty());
            assert!(guest.score(address, len).is_empty());
            assert!(guest.predict(address, len).is_empty());
            assert_eq!(last_code(&mut guest), Some(ErrorCode::Invalid));
        }
    }

    #[test]
    fn a_buffer_that_is_no_matrix_is_an_error_by_name() {
        let mut guest = Guest::default();
        let address = guest.alloc(64).expect("there is memory");
        for len in 0..=64 {
            assert!(guest.predict(address, len).is_empty(), "{len}");
            let words = len >= 8 && len % 4 == 0;
            assert_eq!(
                last_code(&mut guest),
                Some(if words { ErrorCode::NotLoaded } else { ErrorCode::Invalid }),
                "{len}"
            );
        }
    }

    #[test]
    fn loading_takes_the_buffer_even_when_it_refuses_the_bytes() {
        let mut guest = Guest::default();
        let address = guest.alloc(64).expect("there is memory");
        assert_eq!(guest.load(address, 64), ErrorCode::BadMagic as u32);
        assert!(guest.decide(address, 64).is_empty(), "the buffer is gone");
    }

    #[test]
    fn a_decision_is_made_whatever_the_buffer_holds() {
        let mut guest = Guest::default();
        let address = guest.alloc(100).expect("there is memory");
        for len in 0..=100 {
            let decision = DecisionView::parse(guest.decide(address, len)).expect("a valid decision");
            assert_eq!(decision.status.names(), ("fallback", Some("not-loaded")));
        }
    }
}
