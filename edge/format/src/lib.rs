//! Byte formats of Selvedge: bytes in, validated views out.
//!
//! This crate knows *layouts* and nothing else: no arithmetic on features, no policy, no I/O. Every reader here
//! treats its input as hostile. A successful parse is a proof that the engine may index without further checks, which
//! is what lets the decision path be free of error handling.
//!
//! | bytes | module | page |
//! |---|---|---|
//! | Bundle, SharedState | [`container`], [`program`], [`policy`], [`explore`], [`model`], [`graph`], [`shared`] | `docs/format/bundle.md`, `docs/format/shared-state.md` |
//! | UserState | [`state`] | `docs/format/user-state.md` |
//! | Request, Decision | [`message`], [`request`], [`decision`] | `docs/format/request.md`, `docs/format/decision.md` |
//! | DecisionRecord | [`record`] | `docs/format/decision-record.md` |
//! | ChannelHead, Delta | [`head`], [`delta`] | `docs/format/channel-head.md`, `docs/format/delta.md` |
//!
//! The idea of a compiled artefact that is validated once and then read in place is regex-automata's `wire` module;
//! the section table is that of object files.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("Selvedge reads little-endian sections in place; big-endian targets are not supported");

extern crate alloc;

mod aligned;
pub mod campaign;
pub mod container;
pub mod decision;
pub mod delta;
mod error;
pub mod explore;
pub mod graph;
mod hash;
pub mod head;
pub mod message;
pub mod meta;
pub mod model;
mod packed;
pub mod policy;
pub mod program;
mod read;
pub mod record;
pub mod request;
pub mod shared;
pub mod state;
pub mod terms;

pub use aligned::AlignedBytes;
pub use error::{DecodeError, DecodeErrorKind, ErrorCode};
pub use hash::{key, key32};
pub use read::{F32s, F64s, I64s, U16s, U32s, U64s};
