//! What a server's failure means: which error, whether to try again, when.

use std::{error::Error, io, time::Duration};

use http::{HeaderMap, StatusCode, header};
use reqwest::Response;
use serde::Deserialize;

use super::{
    super::{AccessError, SourceError},
    body,
};

/// Longest piece of a registry's answer that is quoted.
const MAX_QUOTE: usize = 200;
/// Longest error body that is looked at.
const MAX_ERROR_BODY: usize = 1 << 14;
/// Longest wait for an error body.
const ERROR_BODY_DEADLINE: Duration = Duration::from_secs(5);

/// A failed attempt.
#[derive(Debug)]
pub(in crate::oci) struct Attempt {
    pub(in crate::oci) error: SourceError,
    transient: bool,
    /// How long the registry asks to be left alone.
    retry_after: Option<Duration>,
}

impl Attempt {
    pub(in crate::oci) const fn new(error: SourceError, transient: bool) -> Self {
        Self {
            error,
            transient,
            retry_after: None,
        }
    }

    pub(in crate::oci) const fn transient(error: SourceError) -> Self {
        Self::new(error, true)
    }

    pub(in crate::oci) const fn permanent(error: SourceError) -> Self {
        Self::new(error, false)
    }

    pub(in crate::oci) const fn is_transient(&self) -> bool {
        self.transient
    }

    pub(super) const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(super) fn access(reference: &str, source: AccessError) -> Self {
        Self::permanent(SourceError::Access {
            reference: reference.to_owned(),
            source,
        })
    }

    pub(super) fn malformed(reference: &str, problem: impl Into<String>) -> Self {
        Self::permanent(SourceError::Malformed {
            reference: reference.to_owned(),
            problem: problem.into(),
        })
    }

    pub(super) fn unauthorised(reference: &str, reason: impl Into<String>) -> Self {
        Self::permanent(SourceError::Unauthorised {
            reference: reference.to_owned(),
            reason: reason.into(),
        })
    }

    /// No answer, or one that broke off. What TLS refuses does not pass.
    pub(in crate::oci) fn of_connection(reference: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let is_refused = error.is_connect() && is_refused_by_tls(&error);
        let transient = !is_refused && !error.is_builder();
        let reason = reasons(&error);
        let reference = reference.to_owned();
        Self::new(SourceError::Unavailable { reference, reason }, transient)
    }

    /// An answer that is no success.
    pub(in crate::oci) async fn of_answer(reference: &str, response: Response) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let said = body::start(response, MAX_ERROR_BODY);
        let said = tokio::time::timeout(ERROR_BODY_DEADLINE, said).await;
        let said = said.map(|body| said_in(&body)).unwrap_or_default();
        let mut attempt = of_status(reference.to_owned(), status, &said);
        attempt.retry_after = retry_after.filter(|_| attempt.transient);
        attempt
    }
}

#[derive(Default)]
pub(super) struct Said {
    pub(super) text: String,
    codes: Vec<String>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<EnvelopeError>,
    /// What token services say, each in its own way.
    #[serde(alias = "details", alias = "error_description")]
    message: Option<serde_json::Value>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct EnvelopeError {
    #[serde(default)]
    code: String,
    message: Option<String>,
}

/// What an error body says: an envelope of the distribution-spec, what token
/// services answer, or a text that is no page for a browser.
pub(super) fn said_in(body: &[u8]) -> Said {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
        let text = String::from_utf8_lossy(body);
        let is_page = text.trim_start().starts_with('<');
        let text = if is_page { "" } else { &*text };
        return Said {
            text: quote(text),
            codes: Vec::new(),
        };
    };
    let texts = envelope.errors.iter();
    let texts = texts.map(|error| error.message.as_deref().unwrap_or(&error.code));
    let mut texts: Vec<&str> = texts.collect();
    let other = envelope.message.as_ref().or(envelope.error.as_ref());
    texts.extend(other.and_then(serde_json::Value::as_str));
    Said {
        text: quote(&texts.join(", ")),
        codes: envelope
            .errors
            .iter()
            .map(|error| error.code.clone())
            .collect(),
    }
}

fn of_status(reference: String, status: StatusCode, said: &Said) -> Attempt {
    let code = status.as_u16();
    let missing = ["NAME_INVALID", "NAME_UNKNOWN", "MANIFEST_UNKNOWN"];
    let is_missing = said
        .codes
        .iter()
        .any(|code| missing.contains(&code.as_str()));
    let reason = match (code, said.text.as_str()) {
        (401, "") => "the server refuses access".to_owned(),
        (403, "") => "the server forbids it".to_owned(),
        (401 | 403, text) => text.to_owned(),
        (429, "") => "the server limits how often it may be asked (status 429)".to_owned(),
        (_, "") => format!("the server answered status {code}"),
        (_, text) => format!("the server answered status {code}: {text}"),
    };
    match code {
        401 | 403 => Attempt::permanent(SourceError::Unauthorised { reference, reason }),
        404 | 410 => Attempt::permanent(SourceError::NotFound { reference }),
        400 if is_missing => Attempt::permanent(SourceError::NotFound { reference }),
        408 | 425 | 429 | 500..=599 => {
            Attempt::transient(SourceError::Unavailable { reference, reason })
        }
        _ => Attempt::permanent(SourceError::Unavailable { reference, reason }),
    }
}

/// RFC 9110, 10.2.3: seconds, or a date, which is compared with the answer's
/// own, so that no clock but the registry's matters.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let asked = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let now = httpdate::parse_http_date(text(header::DATE)?).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// Whether the peer's certificate or its way of TLS was refused: rustls says so
/// by an I/O error of this kind, inside others.
fn is_refused_by_tls(error: &dyn Error) -> bool {
    let mut cause = error.source();
    while let Some(found) = cause {
        let Some(io) = found.downcast_ref::<io::Error>() else {
            cause = found.source();
            continue;
        };
        if io.kind() == io::ErrorKind::InvalidData {
            return true;
        }
        cause = io.get_ref().map(|inner| inner as &dyn Error);
    }
    false
}

/// One line of an error and its causes, innermost last.
pub(super) fn reasons(error: &dyn Error) -> String {
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
pub(in crate::oci) fn quote(text: &str) -> String {
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
            (400, ErrorKind::Unavailable, false),
            (401, ErrorKind::Unauthenticated, false),
            (403, ErrorKind::Unauthenticated, false),
            (404, ErrorKind::NotFound, false),
            (410, ErrorKind::NotFound, false),
            (418, ErrorKind::Unavailable, false),
            (429, ErrorKind::Unavailable, true),
            (503, ErrorKind::Unavailable, true),
        ];
        for (code, kind, transient) in cases {
            let status = StatusCode::from_u16(code).unwrap();
            let attempt = of_status("r".to_owned(), status, &Said::default());
            assert_eq!(
                (attempt.error.kind(), attempt.is_transient()),
                (kind, transient),
                "{code}"
            );
        }
    }

    #[test]
    fn what_a_peer_says_is_found_in_many_forms() {
        let cases = [
            (
                r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"ODD"}]}"#,
                "no, ODD",
            ),
            (
                r#"{"errors":[{"code":"DENIED","message":null,"detail":[1]}]}"#,
                "DENIED",
            ),
            (r#"{"details":"not known"}"#, "not known"),
            (r#"{"error":"invalid_grant"}"#, "invalid_grant"),
            (r#"{"error":"a","error_description":"b"}"#, "b"),
            ("try\nlater", "try later"),
            ("<html>sorry</html>", ""),
            ("", ""),
        ];
        for (body, text) in cases {
            assert_eq!(said_in(body.as_bytes()).text, text, "{body}");
        }
        let said = said_in(br#"{"errors":[{"code":"NAME_INVALID"}]}"#);
        let attempt = of_status("r".to_owned(), StatusCode::BAD_REQUEST, &said);
        assert_eq!(attempt.error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_registry_may_ask_for_seconds_or_until_a_date() {
        let asked = |headers: &[(&'static str, &str)]| {
            let pairs = headers.iter();
            let pairs = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            retry_after(&pairs.collect())
        };
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT");
        let before = ("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT");
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(asked(&[("retry-after", " 7")]), seconds(7));
        assert_eq!(asked(&[date, later]), seconds(30));
        assert_eq!(asked(&[date, before]), seconds(0));
        assert_eq!(asked(&[later]), None);
        for nonsense in ["-1", "soon", ""] {
            assert_eq!(
                asked(&[date, ("retry-after", nonsense)]),
                None,
                "{nonsense}"
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
