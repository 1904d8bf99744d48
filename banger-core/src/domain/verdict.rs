//! What a policy decided when something was let in.

use std::{fmt, str::FromStr};

use super::Digest;

/// Why an image or a kernel was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that decided, for a person.
    pub rule: String,
    /// Whose signature was found good.
    pub vouched: Vouched,
}

/// Whose signature was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vouched {
    /// None was asked for.
    Nobody,
    /// The cosign key with this fingerprint.
    Cosign(Digest),
    /// This minisign key.
    Minisign(String),
}

/// A text that is no signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signer {text:?} is not none, cosign:DIGEST or minisign:KEY")]
pub struct VouchedParseError {
    text: String,
}

impl fmt::Display for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("none"),
            Self::Cosign(fingerprint) => write!(f, "cosign:{fingerprint}"),
            Self::Minisign(key) => write!(f, "minisign:{key}"),
        }
    }
}

impl FromStr for Vouched {
    type Err = VouchedParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fingerprint = |digest: &str| digest.parse().ok().map(Self::Cosign);
        let vouched = match text.split_once(':') {
            None if text == "none" => Some(Self::Nobody),
            Some(("cosign", digest)) => fingerprint(digest),
            Some(("minisign", key)) => Some(Self::Minisign(key.to_owned())),
            _ => None,
        };
        vouched.ok_or_else(|| VouchedParseError {
            text: text.chars().take(100).collect(),
        })
    }
}
