//! The image manager over doubles that fail, hang and vanish on demand.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod image {
    mod crash;
    pub(crate) mod doubles;
    mod promote;
    mod prune;
    mod pull;
    mod register;
}
