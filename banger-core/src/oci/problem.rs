//! What is wrong with a document, before it is put beside its reference.

use super::SourceError;

/// Why a document cannot be used; each text is a sentence about "it".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Not what the specification says.
    Malformed(String),
    /// More than is read.
    Limit(String),
    /// Well formed, but nothing banger knows.
    Unsupported(String),
    /// Made for another platform.
    Platform { wanted: String, offered: String },
}

impl Problem {
    /// The error that names the reference.
    pub(super) fn of(self, reference: &str) -> SourceError {
        let reference = reference.to_owned();
        match self {
            Self::Malformed(problem) => SourceError::Malformed { reference, problem },
            Self::Limit(problem) => SourceError::Limit { reference, problem },
            Self::Unsupported(problem) => SourceError::Unsupported { reference, problem },
            Self::Platform { wanted, offered } => SourceError::NoPlatform {
                reference,
                platform: wanted,
                available: offered,
            },
        }
    }
}
