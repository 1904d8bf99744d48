//! What requests of all services have in common.
//!
//! Invariants: every problem of a request is found before one is told, and before
//! the world is looked at. Entry points: [`Checks`], [`caller`], [`name`], [`page`],
//! [`order`], [`mask`], [`filter`].

pub(crate) mod filter;
pub(crate) mod mask;
pub(crate) mod name;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod source;

use std::{str::FromStr, time::Duration};

use tonic::Request;
use uuid::Uuid;

use crate::{
    caller::Caller,
    fault::{Fault, Violation},
};

/// Longest time that a call waits for an operation.
pub(crate) const MAX_WAIT: Duration = Duration::from_mins(10);

/// The problems of a request.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    violations: Vec<Violation>,
}

impl Checks {
    /// Notes a problem.
    pub(crate) fn violated(&mut self, field: &str, problem: impl Into<String>) {
        self.violations.push(Violation {
            field: field.to_owned(),
            problem: problem.into(),
        });
    }

    /// Notes a value that no enum of this build has.
    pub(crate) fn unknown<T>(&mut self, field: &str, value: i32) -> Option<T> {
        self.violated(field, format!("{value} is unknown"));
        None
    }

    /// Parses a text that must be given.
    pub(crate) fn parse<T>(&mut self, field: &str, text: &str) -> Option<T>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.violated(field, format!("{error}"));
                None
            }
        }
    }

    /// The same where none may be given.
    pub(crate) fn parse_given<T>(&mut self, field: &str, text: &str) -> Option<T>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        if text.is_empty() {
            return None;
        }
        self.parse(field, text)
    }

    /// A length of time, if one is given.
    pub(crate) fn duration(
        &mut self,
        field: &str,
        duration: Option<prost_types::Duration>,
    ) -> Option<Duration> {
        let converted = Duration::try_from(duration?);
        if converted.is_err() {
            self.violated(field, "is negative or too long");
        }
        converted.ok()
    }

    /// The id of a request: a UUID in its usual form.
    pub(crate) fn request_id(&mut self, text: &str) {
        let usual = Uuid::try_parse(text).is_ok_and(|id| id.hyphenated().to_string() == text);
        if !usual {
            self.violated("request_id", "is no UUID in its usual form, in lower case");
        }
    }

    /// Notes the problems that something else found; any other failure is one.
    pub(crate) fn absorb<T>(&mut self, checked: Result<T, Fault>) -> Result<(), Fault> {
        match checked.map_err(Fault::into_violations) {
            Ok(_) => Ok(()),
            Err(Ok(violations)) => {
                self.violations.extend(violations);
                Ok(())
            }
            Err(Err(fault)) => Err(*fault),
        }
    }

    /// Fails with all that was noted.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        if self.violations.is_empty() {
            return Ok(());
        }
        Err(Fault::invalid(self.violations))
    }
}

/// Whose request it is: ids of requests are each caller's own, and so is most else.
pub(crate) fn caller<T>(request: &Request<T>) -> Caller {
    let caller = request.extensions().get::<Caller>();
    caller.cloned().unwrap_or_else(Caller::nobody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_requests_are_uuids_in_one_form() {
        let id = "0193-not".to_owned();
        for (text, fine) in [
            ("01936f3e-6b1c-7c5e-9c5a-2f1f5d3c7a10", true),
            ("01936F3E-6B1C-7C5E-9C5A-2F1F5D3C7A10", false),
            ("01936f3e6b1c7c5e9c5a2f1f5d3c7a10", false),
            ("", false),
            (id.as_str(), false),
        ] {
            let mut checks = Checks::default();
            checks.request_id(text);
            assert_eq!(checks.finish().is_ok(), fine, "{text:?}");
        }
    }
}
