//! Steps of work on the host's files and records, told as trace events.
//!
//! Purpose: whoever watches sees each change that would outlive a crash; the
//! tests kill a process at every one of them. Invariants: an event is told
//! right after its change, or right before a change that is not atomic, and
//! changes nothing itself.
//! Entry points: [`TARGET`].

/// The target of the events, which have one field, `step`.
pub const TARGET: &str = "banger_core::step";

/// A step was made, or is about to be.
pub(crate) fn reached(step: &'static str) {
    tracing::trace!(target: TARGET, step);
}
