//! Names of sessions.

use std::{fmt, str::FromStr};

/// Longest id.
const LIMIT: usize = 63;
/// Characters of an id that is made up.
const LENGTH: usize = 12;

/// What a session is called: 1 to 63 of a-z, 0-9 and `-`. Starting a command
/// twice under one id starts it once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecId(String);

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of a command has 1 to 63 of a-z, 0-9 and -")]
pub struct ExecIdParseError;

impl ExecId {
    /// One that nobody else has.
    #[must_use]
    pub fn generate() -> Self {
        let all = uuid::Uuid::now_v7().simple().to_string();
        // the end is random, the beginning is the time
        let start = all.len().saturating_sub(LENGTH);
        Self(all.get(start..).unwrap_or(&all).to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExecId {
    type Err = ExecIdParseError;

    fn from_str(text: &str) -> Result<Self, ExecIdParseError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=LIMIT).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_owned())).ok_or(ExecIdParseError)
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_plain() {
        let made_up = ExecId::generate();
        assert_eq!(made_up.as_str().parse(), Ok(made_up.clone()));
        assert_eq!(made_up.as_str().len(), LENGTH);
        assert_ne!(made_up, ExecId::generate());
        let long = "x".repeat(LIMIT + 1);
        for text in ["", "A", "a b", "a/b", &long] {
            assert_eq!(text.parse::<ExecId>(), Err(ExecIdParseError));
        }
    }
}
