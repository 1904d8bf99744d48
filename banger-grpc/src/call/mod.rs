//! What surrounds every call, whatever its method.
//!
//! Purpose: one layer that lets calls in, bounds them, names them and tells of them.
//! Invariants: a handler runs only for a caller that was let in; every answer has the
//! request's id, and every failure has it among its details; each call ends once,
//! with the code that its client got, or as cancelled when nobody took an answer.
//! Entry points: [`layer::CallLayer`].

mod body;
pub(crate) mod layer;
pub(crate) mod load;
mod names;
mod record;
