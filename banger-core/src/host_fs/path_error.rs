//! I/O errors that say which file and what was being done to it.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::ErrorKind;

/// An I/O failure on a named file.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {path}")]
pub struct PathError {
    action: &'static str,
    path: Utf8PathBuf,
    source: io::Error,
}

impl PathError {
    /// A failure to `action` (an infinitive: "create", "lock") the file at `path`.
    pub fn new(action: &'static str, path: &Utf8Path, source: impl Into<io::Error>) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::of_io(&self.source)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The cause.
    #[must_use]
    pub const fn io_error(&self) -> &io::Error {
        &self.source
    }
}

/// Adds the action and the path to a result's error.
pub trait IoContext<T> {
    /// Names what was being done (an infinitive) and to which file.
    fn at(self, action: &'static str, path: &Utf8Path) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Utf8Path) -> Result<T, PathError> {
        self.map_err(|source| PathError::new(action, path, source))
    }
}
