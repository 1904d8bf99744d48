//! banger's gRPC server.
//!
//! Purpose: the API of `proto/banger/v1` over the core's traits alone, for an
//! orchestrator that retries, crashes and comes back. Invariants: nobody gets an answer
//! but the server's own user, root and whoever has credentials ([`access`]), and
//! nobody but those two learns of what is not their own; whatever fails, fails with a
//! reason ([`fault`]); virtual machines never depend on the server's life.
//! Entry points: [`server::Server`], [`socket::ServerSocket`], [`backend::Backend`].

pub mod access;
pub mod backend;
mod call;
pub mod caller;
pub mod capacity;
mod convert;
pub mod fault;
pub mod metrics;
mod operations;
pub mod phase;
mod request;
pub mod server;
mod services;
mod sessions;
pub mod socket;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod uploads;
