//! What can go wrong with the database.

use camino::Utf8PathBuf;

use crate::{
    error::ErrorKind,
    host_fs::{LockError, PathError},
};

/// The database failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be opened or made.
    #[error("failed to open database {path}")]
    Open {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer banger wrote it.
    #[error(
        "database {path} has schema {found}, newer than the {known} this banger knows: use a newer banger"
    )]
    TooNew {
        /// The file.
        path: Utf8PathBuf,
        /// Its schema.
        found: i64,
        /// The newest known schema.
        known: i64,
    },
    /// The linked SQLite has a known fault.
    #[error("SQLite {found} can corrupt a database: at least {needed} is needed")]
    UnsafeSqlite {
        /// The linked version.
        found: String,
        /// The oldest safe version.
        needed: &'static str,
    },
    /// The schema could not be brought up to date.
    #[error("failed to migrate database {path}")]
    Migrate {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A statement failed.
    #[error("failed to {action}")]
    Query {
        /// What was being done.
        action: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row does not hold a valid record.
    #[error("the record of {object} is damaged: {problem}")]
    Damaged {
        /// Which record.
        object: String,
        /// What is wrong.
        problem: String,
    },
    /// A file beside the database failed.
    #[error("failed to prepare the database's directory")]
    Io(#[source] PathError),
    /// Another process migrates for too long.
    #[error("failed to lock the database's schema")]
    Lock(#[source] LockError),
}

impl StoreError {
    /// Names what a statement was for.
    pub(super) fn query(action: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| Self::Query {
            action,
            source: source.into(),
        }
    }

    /// A column that holds no valid value.
    pub(super) fn damaged(object: &str, problem: &impl std::fmt::Display) -> Self {
        Self::Damaged {
            object: object.to_owned(),
            problem: problem.to_string(),
        }
    }

    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. } | Self::Migrate { .. } | Self::Query { .. } => ErrorKind::Internal,
            Self::TooNew { .. } | Self::UnsafeSqlite { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Io(error) => error.kind(),
            Self::Lock(error) => error.kind(),
        }
    }
}

/// A record could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// Its name or id is taken.
    #[error("a record of that name exists already")]
    Taken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl InsertError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Taken => ErrorKind::AlreadyExists,
            Self::Store(error) => error.kind(),
        }
    }

    /// Tells a taken name from a failing database.
    pub(super) fn of(action: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |error| match error.as_database_error() {
            Some(database) if database.is_unique_violation() => Self::Taken,
            _ => Self::Store(StoreError::query(action)(error)),
        }
    }
}
