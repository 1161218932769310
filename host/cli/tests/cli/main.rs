//! What a person or a script sees of each command: help, output, errors and exit codes, exactly.
//!
//! The binary runs as it ships, in a directory of its own, on a shop of five products. `cargo insta review` shows what a
//! change does to the words.

mod channel;
mod decide;
mod declare;
mod learn;
mod look;
mod manners;
mod offers;
mod shop;
mod storefront;
mod value;
