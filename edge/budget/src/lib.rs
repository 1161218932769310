//! Budgets that cannot be overspent, though hundreds of edges spend them at once and none of them can be trusted to
//! answer.
//!
//! ```text
//!            host: ledger                              edge: holder
//!   total ─► free ──grant──► lease ───────────────────► left ──reserve──► offer, signed elsewhere
//!             ▲                │ ▲                                          │
//!             │   reclaim      │ └───── report: face minted, by expiry ─────┤
//!             └────────────────┤                                            ▼
//!                              └────────────── redeem ◄───────────────── an order
//!                                                │
//!                                             settled
//! ```
//!
//! | module | what it decides |
//! |---|---|
//! | [`ledger`] | the host's side: `settled + held <= total` in every transaction |
//! | [`holder`] | the edge's side: an offer leaves only against money of a lease |
//! | [`price`] | what a unit of budget must bring, so that the budget lasts and goes to those who are worth it |
//!
//! All of it is functions of their arguments: no clock, no I/O, no randomness. The host keeps its rows in a database and a
//! simulator keeps them in memory, behind [`ledger::LedgerTx`]; both run this code. What is refused to be known here: what
//! an offer is, who asked for it, how it is signed.
//!
//! The scheme is that of escrow transactions (O'Neil, 1986): whoever is far away gets a part of the total to decide about
//! alone. Leases that end by themselves (Gray and Cheriton, 1989) bring back what the lost ones hold.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod holder;
mod id;
mod lease;
pub mod ledger;
mod money;
pub mod price;

pub use lease::{GrantRequest, Lease, LeaseReport, MAX_BUCKETS, Reported};
pub use money::{Amounts, BadAmounts, MAX_NAME, Minor, is_name};
