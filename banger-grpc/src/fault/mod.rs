//! What a client learns of a failure.
//!
//! Purpose: the one way from errors to answers. Invariants: every answer carries
//! an `ErrorInfo` with a reason, and the code that belongs to it
//! ([`banger_api::reason`]); a message has at most
//! [`MAX_ERROR_MESSAGE`] bytes; the map from kinds to reasons has no wildcard arm.
//! Entry points: [`Fault`], [`reason_of_kind`].

/// Makes faults of errors of the core, by kind, words and what [`core::Refine`] adds.
macro_rules! faults {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                error.refine(Self::of(error.kind(), &error))
            }
        }
    )*};
}

mod core;
mod guest;
mod image;
mod life;
mod snapshot;
#[cfg(test)]
mod tests;
mod volume;

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    time::Duration,
};

use banger_api::{
    ERROR_DOMAIN, MAX_ERROR_MESSAGE, reason,
    v1::{ErrorReason, Failure},
};
use banger_core::{
    ErrorKind,
    domain::{VmName, VmState},
    error::in_words,
};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

pub(crate) use life::{session_not_found, session_over};
pub(crate) use volume::volume_not_found;

/// Most bytes of one value beside the message.
const MAX_VALUE: usize = 256;
/// Most bytes of a text that is told beside the message.
const MAX_TAIL: usize = 2048;
/// The fact that names what a failure is about.
const OBJECT: &str = "object";
/// The fact that says how many bytes of the message are the failure's own words, and
/// those of each of its causes; they are joined by a colon and a space.
const WORDS: &str = "words";
/// Most fields that are complained of at once.
const MAX_VIOLATIONS: usize = 16;
/// When to try again that there was no room for.
const ROOM: Duration = Duration::from_secs(5);
/// When to try again that a server was starting or draining.
const SOON: Duration = Duration::from_secs(1);

/// A failure as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    reason: ErrorReason,
    message: String,
    metadata: BTreeMap<String, String>,
    violations: Vec<Violation>,
    resource: Option<Resource>,
    short: Vec<Short>,
    retry_after: Option<Duration>,
}

/// A field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Something that there is too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Whose it is, and what.
    pub subject: String,
    /// What.
    pub what: &'static str,
    /// How much there is, and how much was asked for.
    pub problem: String,
}

/// What a failure is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    kind: &'static str,
    name: String,
}

impl Fault {
    /// A failure with this reason.
    #[must_use]
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: capped(message.into(), MAX_ERROR_MESSAGE),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            resource: None,
            short: Vec::new(),
            retry_after: None,
        }
    }

    /// A failure of that kind, with the error and its causes as the message.
    #[must_use]
    pub fn of(kind: ErrorKind, error: &dyn Error) -> Self {
        let fault = Self::new(reason_of_kind(kind), in_words(error));
        match lengths(error) {
            Some(lengths) => fault.fact(WORDS, &lengths),
            None => fault,
        }
    }

    /// The request's form is wrong, in all these ways.
    #[must_use]
    pub fn invalid(mut violations: Vec<Violation>) -> Self {
        violations.truncate(MAX_VIOLATIONS);
        for violation in &mut violations {
            violation.field = capped(std::mem::take(&mut violation.field), MAX_VALUE);
            violation.problem = capped(std::mem::take(&mut violation.problem), MAX_VALUE);
        }
        let all: Vec<String> = violations
            .iter()
            .map(|one| format!("{}: {}", one.field, one.problem))
            .collect();
        let mut fault = Self::new(ErrorReason::InvalidRequest, all.join("; "));
        fault.violations = violations;
        fault
    }

    pub(crate) fn starting() -> Self {
        let message = "the server is starting: try again";
        Self::new(ErrorReason::ServerStarting, message).retry_after(SOON)
    }

    pub(crate) fn draining() -> Self {
        let message = "the server is about to end and begins nothing new";
        Self::new(ErrorReason::ServerDraining, message).retry_after(SOON)
    }

    /// The host has too little of this.
    pub(crate) fn host_full(short: Vec<Short>) -> Self {
        Self::short(ErrorReason::HostFull, "the host has no room", short)
    }

    /// The caller has too much of this already.
    pub(crate) fn quota_exceeded(short: Vec<Short>) -> Self {
        Self::short(ErrorReason::QuotaExceeded, "the quota is used up", short)
    }

    fn short(reason: ErrorReason, message: &str, short: Vec<Short>) -> Self {
        let problem = |one: &Short| format!("{}: {}", one.what, one.problem);
        let problems: Vec<String> = short.iter().map(problem).collect();
        let what: Vec<&str> = short.iter().map(|one| one.what).collect();
        let message = format!("{message}: {}", problems.join("; "));
        let fault = Self::new(reason, message).fact("short", &what.join(","));
        Self { short, ..fault }.retry_after(ROOM)
    }

    /// Says when it makes sense to try again.
    #[must_use]
    pub const fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Says which field of the request is wrong.
    #[must_use]
    pub(crate) fn violated(mut self, field: &str, problem: &str) -> Self {
        self.violations.push(Violation {
            field: field.to_owned(),
            problem: problem.to_owned(),
        });
        self
    }

    /// Gives it another reason.
    #[must_use]
    pub(crate) const fn with_reason(mut self, reason: ErrorReason) -> Self {
        self.reason = reason;
        self
    }

    /// Says what it is about.
    #[must_use]
    pub(crate) fn about(mut self, kind: &'static str, name: &(impl ToString + ?Sized)) -> Self {
        let name = capped(name.to_string(), MAX_VALUE);
        self.metadata.insert(OBJECT.to_owned(), name.clone());
        self.resource = Some(Resource { kind, name });
        self
    }

    /// The same words with another name for something.
    #[must_use]
    pub(crate) fn renamed(mut self, from: &str, to: &str) -> Self {
        let lengths = self.metadata.get(WORDS).map_or("", String::as_str);
        let mut lengths = lengths.split(',').filter_map(|one| one.parse().ok());
        let (mut rest, mut parts) = (self.message.as_str(), Vec::new());
        while let Some((part, left)) = lengths.next().and_then(|one| rest.split_at_checked(one)) {
            parts.push(part.replace(from, to));
            rest = left.strip_prefix(": ").unwrap_or(left);
        }
        if !rest.is_empty() {
            parts.push(rest.replace(from, to));
        }
        let lengths: Vec<String> = parts.iter().map(|one| one.len().to_string()).collect();
        let has_words = self.metadata.contains_key(WORDS);
        self.message = capped(parts.join(": "), MAX_ERROR_MESSAGE);
        if has_words {
            return self.fact(WORDS, &lengths.join(","));
        }
        self
    }

    /// Says that a machine's state does not allow what was asked for.
    #[must_use]
    fn in_wrong_state(self, vm: &VmName, state: VmState) -> Self {
        self.with_reason(ErrorReason::VmWrongState)
            .about(core::VM, vm)
            .fact("state", state.as_str())
    }

    /// Adds the end of a text for people.
    #[must_use]
    pub(crate) fn tail(mut self, key: &'static str, text: &str) -> Self {
        let start = text.len().saturating_sub(MAX_TAIL);
        let tail = &text[text.ceil_char_boundary(start)..];
        if !tail.is_empty() {
            self.metadata.insert(key.to_owned(), tail.to_owned());
        }
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub(crate) fn fact(mut self, key: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        let value = capped(value.to_string(), MAX_VALUE);
        self.metadata.insert(key.to_owned(), value);
        self
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// What is wrong with the request, if that is all that is.
    pub(crate) fn into_violations(self) -> Result<Vec<Violation>, Box<Self>> {
        if self.violations.is_empty() {
            return Err(Box::new(self));
        }
        Ok(self.violations)
    }

    /// Why, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Facts for programs.
    #[must_use]
    pub const fn facts(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn details(&self) -> ErrorDetails {
        let facts: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        let mut details =
            ErrorDetails::with_error_info(reason::name(self.reason), ERROR_DOMAIN, facts);
        for violation in &self.violations {
            details.add_bad_request_violation(&violation.field, &violation.problem);
        }
        if let Some(Resource { kind, name }) = &self.resource {
            if reason::code(self.reason) == tonic::Code::FailedPrecondition {
                details.add_precondition_failure_violation(
                    reason::name(self.reason),
                    format!("{kind}/{name}"),
                    self.message.clone(),
                );
            }
            details.set_resource_info(*kind, name, "", self.message.clone());
        }
        for short in &self.short {
            let subject = capped(short.subject.clone(), MAX_VALUE);
            details.add_quota_failure_violation(subject, &short.problem);
        }
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        details
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = reason::code(fault.reason);
        Self::with_error_details(code, fault.message.clone(), fault.details())
    }
}

impl From<&Fault> for Failure {
    /// The same where it is remembered, or one of several.
    fn from(fault: &Fault) -> Self {
        Self {
            code: reason::code(fault.reason).into(),
            reason: fault.reason.into(),
            message: fault.message.clone(),
            metadata: fault.metadata.clone(),
        }
    }
}

/// The reason of a failure of which nothing but the kind is known.
#[must_use]
pub const fn reason_of_kind(kind: ErrorKind) -> ErrorReason {
    match kind {
        ErrorKind::NotFound => ErrorReason::ObjectNotFound,
        ErrorKind::AlreadyExists => ErrorReason::ObjectExists,
        ErrorKind::InvalidInput => ErrorReason::InvalidRequest,
        ErrorKind::Unauthenticated => ErrorReason::PeerUnauthenticated,
        ErrorKind::PermissionDenied => ErrorReason::Forbidden,
        ErrorKind::Unavailable => ErrorReason::PeerUnavailable,
        ErrorKind::ResourceExhausted => ErrorReason::HostExhausted,
        ErrorKind::Conflict => ErrorReason::WrongState,
        ErrorKind::Corrupt => ErrorReason::CorruptData,
        ErrorKind::Timeout => ErrorReason::WorkTimedOut,
        ErrorKind::Unsupported => ErrorReason::Capability,
        ErrorKind::Cancelled => ErrorReason::Cancelled,
        ErrorKind::Internal => ErrorReason::Internal,
    }
}

/// How long an error's words are, and those of its causes; none without a cause.
fn lengths(error: &dyn Error) -> Option<String> {
    let mut lengths = vec![error.to_string().len().to_string()];
    let mut cause = Some(error.source()?);
    while let Some(error) = cause {
        lengths.push(error.to_string().len().to_string());
        cause = error.source();
    }
    Some(lengths.join(","))
}

/// The text, cut between characters so that it has at most `most` bytes.
fn capped(mut text: String, most: usize) -> String {
    const MARK: &str = "…";
    if most < text.len() {
        text.truncate(text.floor_char_boundary(most - MARK.len()));
        text.push_str(MARK);
    }
    text
}
