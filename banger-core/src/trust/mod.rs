//! Whom to believe: signatures, and the policy that asks for them.
//!
//! Purpose: decide before anything is kept whether an image or a kernel is let
//! in, and what must vouch for it. Invariants: pure, no I/O; whatever cannot be
//! checked is refused; what was decided goes into the record.
//! Entry points: [`Policy`], [`Requirement`], [`CosignKey`], [`MinisignKey`].

mod cosign;
mod minisign;
mod policy;

pub use cosign::{CosignKey, CosignSignature};
pub use minisign::MinisignKey;
pub use policy::{Admission, Pattern, Policy, Requirement, Rule, Rules};

use crate::error::ErrorKind;

/// A text that is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {scheme} public key is not valid: {problem}")]
pub struct KeyParseError {
    scheme: &'static str,
    problem: String,
}

/// Something is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The policy refuses it.
    #[error("{subject} is refused by the policy ({rule})")]
    Refused {
        /// What was to be let in.
        subject: String,
        /// The rule, for a person.
        rule: String,
    },
    /// A signature is asked for that it cannot have.
    #[error(
        "{subject} is refused: the policy ({rule}) wants a {scheme} signature, which it cannot have"
    )]
    Inapplicable {
        /// What was to be let in.
        subject: String,
        /// The rule, for a person.
        rule: String,
        /// `cosign` or `minisign`.
        scheme: &'static str,
    },
    /// There is no signature by the key.
    #[error("{subject} is refused: {problem} (key {key})")]
    Unsigned {
        /// What was to be let in.
        subject: String,
        /// What is wrong with its signatures.
        problem: String,
        /// The key that should have signed.
        key: String,
    },
}

impl TrustError {
    /// The classification of the failure.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } | Self::Inapplicable { .. } | Self::Unsigned { .. } => {
                ErrorKind::PermissionDenied
            }
        }
    }
}
