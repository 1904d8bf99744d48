//! Speaking to a registry: the OCI distribution-spec, as far as pulling goes;
//! and to a server of plain files.
//!
//! Purpose: documents and blobs of one repository, from its mirrors or itself,
//! and what a URL names.
//! Invariants: no answer is read past its limit; every wait has a deadline;
//! what may pass is tried again, with growing pauses or as long as the
//! registry asks for; credentials go to the registry's own host and to the
//! token service that it names, never in the clear except to this machine or
//! a registry configured so, and never along with a redirect. Nothing is kept
//! but tokens in memory, so that a crash leaves nothing.
//! Entry points: [`Session`], [`Endpoint`], [`Link`].

mod authenticator;
mod blob;
mod body;
mod challenge;
mod endpoint;
mod failure;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod link;
mod patience;
mod peer;
mod session;
mod token;
mod transport;

pub(super) use blob::{BlobAnswer, BlobPlace, Chunks};
pub(super) use endpoint::Endpoint;
pub(super) use failure::{Attempt, quote};
pub(super) use link::Link;
pub(super) use session::Session;
