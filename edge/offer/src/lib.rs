//! Carts and offer tokens: what an offer gives on a cart, what is signed, and who may redeem it.
//!
//! The engine decides *which* offer a user gets and never reads what it says. Everything after that is here: [`cart`]
//! reads a cart from bytes that nobody has checked, [`price`](mod@price) applies offers to it exactly, [`token`]
//! signs an offer for one user and believes it again later, [`assign`] draws who explores, [`decide`] is what
//! host and Worker note, sign and tell alike. Linked into the host and
//! into the Worker, so there is no clock and no I/O: times, secrets and keys are arguments. What a budget has left,
//! and whether a token was used before, is known only where it is written down, and so is no matter of this crate.
#![forbid(unsafe_code)]

pub mod assign;
pub mod cart;
pub mod decide;
mod hex;
pub mod price;
mod split;
pub mod token;

pub use cart::{Cart, CartError, Line};
pub use decide::{Answer, Made, Minting, NoteV1, Said};
pub use price::{Nothing, Presented, Priced, price};
pub use token::{Claims, Keys, TokenRefusal};
