//! banger's gRPC server.
//!
//! Purpose: the API of `proto/banger/v1` over the core's traits alone, for an
//! orchestrator that retries, crashes and comes back. Invariants: nobody but the
//! server's own user and root gets an answer; whatever fails, fails with a reason
//! ([`fault`]); virtual machines never depend on the server's life.
//! Entry points: [`server::Server`], [`socket::ServerSocket`], [`backend::Backend`].

pub mod backend;
pub mod capacity;
mod convert;
pub mod fault;
mod operations;
pub mod phase;
mod request;
pub mod server;
mod services;
mod sessions;
pub mod socket;
#[cfg(test)]
mod testing;
