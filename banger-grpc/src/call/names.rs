//! What a request is called in logs and answers.
//!
//! Invariants: what a client sends is taken only in its usual form: it stands in logs
//! and answers. Pure. Entry points: [`Names`].

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header with a request's id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of W3C's trace context.
const TRACEPARENT: &str = "traceparent";
/// Longest id that is taken.
const MAX_ID: usize = 64;

/// The names of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Its id: the client's, or one of our own.
    pub(super) request: String,
    /// The trace that it is part of, if it says so.
    pub(super) trace: Option<Trace>,
}

/// Where in a trace a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) id: String,
    pub(super) parent: String,
}

impl Names {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let request = text(REQUEST_ID.as_str()).filter(|id| is_id(id));
        Self {
            request: request.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
            trace: text(TRACEPARENT).and_then(trace),
        }
    }

    /// The request's id as a header.
    pub(super) fn header(&self) -> HeaderValue {
        // it has been one, or has the form of one
        HeaderValue::from_str(&self.request).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The trace's id, or nothing.
    pub(super) fn trace_id(&self) -> &str {
        self.trace.as_ref().map_or("", |trace| &trace.id)
    }
}

fn is_id(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text.len() <= MAX_ID && text.chars().all(fits)
}

/// A `traceparent` (W3C Trace Context, section 3.2); later versions may add to it.
fn trace(text: &str) -> Option<Trace> {
    let mut parts = text.split('-');
    let version = hexadecimal(parts.next()?, 2)?;
    let id = hexadecimal(parts.next()?, 32)?;
    let parent = hexadecimal(parts.next()?, 16)?;
    hexadecimal(parts.next()?, 2)?;
    let is_whole = parts.next().is_none() || version != "00";
    let is_one = |text: &str| text.bytes().any(|byte| byte != b'0');
    (version != "ff" && is_whole && is_one(id) && is_one(parent)).then(|| Trace {
        id: id.to_owned(),
        parent: parent.to_owned(),
    })
}

fn hexadecimal(text: &str, length: usize) -> Option<&str> {
    let fits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == length && text.bytes().all(fits)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(header: &'static str, value: &str) -> Names {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        Names::of(&HeaderMap::from_iter([(
            HeaderName::from_static(header),
            value,
        )]))
    }

    #[test]
    fn an_id_is_taken_in_its_usual_form_and_made_otherwise() {
        for id in ["a", "01936f3e-6b1c-7c5e-9c5a-2f1f5d3c7a10", "A_b.c"] {
            assert_eq!(names("x-request-id", id).request, id);
        }
        let long = "x".repeat(MAX_ID + 1);
        for id in ["", "a b", "a\"b", "é", &long] {
            let made = names("x-request-id", id).request;
            assert!(made != id && Uuid::try_parse(&made).is_ok(), "{id:?}");
        }
        let (one, two) = (Names::of(&HeaderMap::new()), Names::of(&HeaderMap::new()));
        assert_ne!(one.request, two.request);
    }

    #[test]
    fn a_trace_is_taken_as_the_recommendation_says() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let whole = format!("00-{ID}-00f067aa0ba902b7-01");
        let found = names("traceparent", &whole).trace.unwrap();
        assert_eq!(found.id, ID);
        assert_eq!(found.parent, "00f067aa0ba902b7");
        let later = format!("cc-{ID}-00f067aa0ba902b7-01-more");
        assert_eq!(names("traceparent", &later).trace_id(), ID);
        let zeros = "0".repeat(32);
        for wrong in [
            String::new(),
            format!("{whole}-more"),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
            whole.to_uppercase(),
            whole[1..].to_owned(),
        ] {
            assert_eq!(names("traceparent", &wrong).trace, None, "{wrong}");
        }
    }
}
