//! The agent on one end of a socket pair, the generated client on the other.
//!
//! The agent changes users as it does in a machine: these tests need root, and
//! the programs of a Debian base system.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod client;
mod failures;
mod lifetime;
mod processes;
mod sessions;
mod streams;
mod terminals;
mod turns;
