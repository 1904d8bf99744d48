//! What a server said went wrong, for implementations of the traits over a network.
//!
//! Purpose: an implementation that is elsewhere fails with the errors of this
//! library: with the same ones where they can be told, else with one of these.
//! Invariants: the words are those of the error itself, and its causes are apart.
//! Entry points: [`RemoteError`].

use std::{collections::BTreeMap, error::Error, fmt};

use crate::error::ErrorKind;

/// A server said that it failed, or there was none to say anything.
#[derive(Debug)]
pub struct RemoteError {
    kind: ErrorKind,
    said: Box<Said>,
}

#[derive(Debug)]
struct Said {
    words: Words,
    reason: Option<String>,
    facts: BTreeMap<String, String>,
}

/// An error's words, and its causes'.
#[derive(Debug)]
struct Words {
    text: String,
    cause: Option<Box<Self>>,
}

impl RemoteError {
    /// A failure of that kind, with its words and those of its causes.
    #[must_use]
    pub fn new(kind: ErrorKind, text: impl Into<String>, causes: Vec<String>) -> Self {
        let mut cause = None;
        for text in causes.into_iter().rev() {
            cause = Some(Box::new(Words { text, cause }));
        }
        let text = text.into();
        Self {
            kind,
            said: Box::new(Said {
                words: Words { text, cause },
                reason: None,
                facts: BTreeMap::new(),
            }),
        }
    }

    /// The service cannot be asked for something.
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        let text = format!("the service has no {what} yet");
        Self::new(ErrorKind::Unsupported, text, Vec::new())
    }

    /// Adds why, as a name that programs know, and facts of that.
    #[must_use]
    pub fn because(mut self, reason: Option<String>, facts: BTreeMap<String, String>) -> Self {
        self.said.reason = reason;
        self.said.facts = facts;
        self
    }

    /// The classification of the failure.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Why, as a name that programs know (`VM_NOT_FOUND`); none when no server of
    /// banger's said so.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.said.reason.as_deref()
    }

    /// A fact of the reason.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.said.facts.get(key).map(String::as_str)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said.words.fmt(to)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.said.words.source()
    }
}

impl fmt::Display for Words {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl Error for Words {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::in_words;

    #[test]
    fn words_and_causes_are_apart_and_in_order() {
        let causes = vec!["b".to_owned(), "c".to_owned()];
        let error = RemoteError::new(ErrorKind::NotFound, "a", causes);
        assert_eq!(error.to_string(), "a");
        assert_eq!(in_words(&error), "a: b: c");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = RemoteError::unsupported("builds");
        assert_eq!(in_words(&error), "the service has no builds yet");
    }
}
