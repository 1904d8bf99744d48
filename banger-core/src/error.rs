//! The stable classification that every error of the library answers to.
//!
//! Purpose: front ends map errors to exit codes and gRPC codes by kind, in one
//! place each, without knowing every variant.
//! Invariants: a kind is never removed or given another meaning; each public
//! error type has an inherent `kind()`.
//! Entry points: [`ErrorKind`], [`in_words`].

/// What sort of failure an error is.
///
/// Not `non_exhaustive`: a front end's map from kinds to codes has no wildcard
/// arm, so that a new kind cannot get a code by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// An object of that name exists already.
    AlreadyExists,
    /// The request itself cannot be carried out, whatever the state.
    InvalidInput,
    /// The peer asks for credentials, or refused those given.
    Unauthenticated,
    /// The host or peer forbids the operation.
    PermissionDenied,
    /// A peer or helper cannot be reached now; trying again may help.
    Unavailable,
    /// Memory, disk, processes or a configured limit ran out.
    ResourceExhausted,
    /// The object's present state does not allow the operation.
    Conflict,
    /// Data does not match its digest, format or schema.
    Corrupt,
    /// A deadline passed.
    Timeout,
    /// The host, backend or build lacks the feature.
    Unsupported,
    /// The caller gave the work up.
    Cancelled,
    /// A fault of banger or its host that fits nothing above.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::InvalidInput,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Unavailable,
        Self::ResourceExhausted,
        Self::Conflict,
        Self::Corrupt,
        Self::Timeout,
        Self::Unsupported,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The kind's name in snake case, as machines read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::InvalidInput => "invalid_input",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Unavailable => "unavailable",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Timeout => "timeout",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later without a change.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::ResourceExhausted
        )
    }

    /// The kind of a host I/O failure.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => Self::NotFound,
            Io::AlreadyExists => Self::AlreadyExists,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Self::PermissionDenied,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory | Io::FileTooLarge => {
                Self::ResourceExhausted
            }
            Io::TimedOut => Self::Timeout,
            _ => Self::Internal,
        }
    }
}

/// An error and its causes on one line.
#[must_use]
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
