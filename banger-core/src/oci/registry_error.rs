//! What a registry's failure means: which error, and whether to try again.

use std::{error::Error, io};

use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope, OciErrorCode};

use super::SourceError;

/// Longest piece of a registry's answer that is quoted.
const MAX_QUOTE: usize = 200;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) error: SourceError,
    transient: bool,
}

impl Attempt {
    pub(super) const fn new(error: SourceError, transient: bool) -> Self {
        Self { error, transient }
    }

    pub(super) const fn transient(error: SourceError) -> Self {
        Self::new(error, true)
    }

    pub(super) const fn permanent(error: SourceError) -> Self {
        Self::new(error, false)
    }

    /// Whether a request for part of a blob may have failed for its range
    /// (RFC 9110, 15.5.17): nothing else says that it is of no use to go on.
    pub(super) const fn is_refused_range(&self) -> bool {
        !self.transient && matches!(self.error, SourceError::Unavailable { .. })
    }

    pub(super) const fn is_transient(&self) -> bool {
        self.transient
    }
}

/// Sorts a failure of the registry client; `refusal` is the reason of one that
/// comes without a reason. The client keeps neither the headers of an answer
/// (so that nobody sees `Retry-After`) nor the status of one with an envelope.
pub(super) fn classify(reference: &str, refusal: &str, error: OciDistributionError) -> Attempt {
    let reference = reference.to_owned();
    match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope_attempt(reference, &envelope)
        }
        OciDistributionError::ServerError { code, message, .. } => {
            status_attempt(reference, code, &message)
        }
        OciDistributionError::ImageManifestNotFoundError(_) => {
            Attempt::permanent(SourceError::NotFound { reference })
        }
        OciDistributionError::UnauthorizedError { .. } => {
            let reason = refusal.to_owned();
            Attempt::permanent(SourceError::Unauthorised { reference, reason })
        }
        OciDistributionError::AuthenticationFailure(reason) => {
            let reason = quote(&reason);
            Attempt::permanent(SourceError::Unauthorised { reference, reason })
        }
        OciDistributionError::RequestError(error) => {
            let reason = reasons(&error.without_url());
            Attempt::transient(SourceError::Unavailable { reference, reason })
        }
        OciDistributionError::IoError(error) => classify_io(&reference, &error),
        OciDistributionError::DigestError(error) => Attempt::permanent(SourceError::Malformed {
            reference,
            problem: quote(&format!(
                "its manifest is not the one that was named: {error}"
            )),
        }),
        other => Attempt::permanent(SourceError::Malformed {
            reference,
            problem: quote(&other.to_string()),
        }),
    }
}

/// Whether a body came to its end and then was not what its digest names.
pub(super) fn is_digest_mismatch(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn Error + Send + Sync>::is::<DigestError>)
}

/// A body that broke off may come whole the next time.
pub(super) fn classify_io(reference: &str, error: &io::Error) -> Attempt {
    let reason = reasons(error);
    Attempt::transient(SourceError::Unavailable {
        reference: reference.to_owned(),
        reason,
    })
}

fn envelope_attempt(reference: String, envelope: &OciEnvelope) -> Attempt {
    let messages: Vec<&str> = envelope
        .errors
        .iter()
        .map(|error| error.message.as_str())
        .collect();
    let reason = quote(&messages.join(", "));
    let codes = || envelope.errors.iter().map(|error| &error.code);
    let missing = |code: &OciErrorCode| {
        use OciErrorCode as C;
        matches!(
            code,
            C::ManifestUnknown | C::NameUnknown | C::NotFound | C::BlobUnknown | C::NameInvalid
        )
    };
    if codes().any(|code| matches!(code, OciErrorCode::Unauthorized | OciErrorCode::Denied)) {
        return Attempt::permanent(SourceError::Unauthorised { reference, reason });
    }
    if codes().any(missing) {
        return Attempt::permanent(SourceError::NotFound { reference });
    }
    let transient = codes().any(|code| *code == OciErrorCode::Toomanyrequests);
    Attempt::new(SourceError::Unavailable { reference, reason }, transient)
}

fn status_attempt(reference: String, code: u16, message: &str) -> Attempt {
    let reason = format!("status {code} {}", quote(message));
    match code {
        401 | 403 => Attempt::permanent(SourceError::Unauthorised { reference, reason }),
        404 => Attempt::permanent(SourceError::NotFound { reference }),
        408 | 425 | 429 | 500..=599 => {
            Attempt::transient(SourceError::Unavailable { reference, reason })
        }
        _ => Attempt::permanent(SourceError::Unavailable { reference, reason }),
    }
}

/// One line of an error and its causes, innermost last.
fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    quote(&text)
}

/// A peer's words on one line, without what could be a secret in a URL.
fn quote(text: &str) -> String {
    let printable = text.replace(char::is_control, " ");
    let words = printable.split_whitespace().map(|word| {
        let is_url = word.contains("://");
        if is_url { "(url)" } else { word }
    });
    let line: String = words.collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn status_codes_are_sorted() {
        let cases = [
            (401, ErrorKind::Unauthenticated, false),
            (403, ErrorKind::Unauthenticated, false),
            (404, ErrorKind::NotFound, false),
            (418, ErrorKind::Unavailable, false),
            (429, ErrorKind::Unavailable, true),
            (503, ErrorKind::Unavailable, true),
        ];
        for (code, kind, transient) in cases {
            let attempt = status_attempt("r".to_owned(), code, "");
            assert_eq!(
                (attempt.error.kind(), attempt.is_transient()),
                (kind, transient),
                "{code}"
            );
        }
    }

    #[test]
    fn quotes_are_one_line_and_hold_no_url() {
        let text = "failed\n for https://user:secret@host/x\t\u{7} end";
        assert_eq!(quote(text), "failed for (url) end");
        assert!(quote(&"x".repeat(1000)).len() <= MAX_QUOTE);
    }
}
