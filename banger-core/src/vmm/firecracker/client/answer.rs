//! An answer of Firecracker's API: a head, and as many bytes as it promises
//! (RFC 9112, sections 4 and 6). Pure.
//!
//! Invariants: nothing is taken that was not all received; sizes are bounded
//! before they count. Entry point: [`Answer::parse`].

use http::{StatusCode, header};

/// Most bytes of an answer's head.
pub(super) const HEAD_LIMIT: usize = 8 * 1024;
/// Most bytes of an answer's body.
pub(super) const BODY_LIMIT: usize = 64 * 1024;
/// Most fields of a head.
const FIELDS: usize = 32;

/// What a request was answered by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

#[cfg(feature = "fuzzing")]
impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(crate) const fn body_length(&self) -> usize {
        self.body.len()
    }
}

impl Answer {
    /// The answer that `received` begins with, and its length; none where more
    /// has to be received. An error says what is wrong.
    pub(crate) fn parse(received: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(received.get(..HEAD_LIMIT).unwrap_or(received));
        let httparse::Status::Complete(head_length) = parsed.map_err(|error| error.to_string())?
        else {
            return if received.len() < HEAD_LIMIT {
                Ok(None)
            } else {
                Err(format!("its head is over {HEAD_LIMIT} bytes"))
            };
        };
        let status = StatusCode::from_u16(head.code.unwrap_or_default());
        let status = status.map_err(|error| error.to_string())?;
        let body_length = body_length(head.headers)?;
        let end = head_length + body_length;
        let body = received.get(head_length..end);
        Ok(body.map(|body| {
            let body = body.to_vec();
            (Self { status, body }, end)
        }))
    }
}

/// The length that a head promises; Firecracker has no other way to end a body.
fn body_length(fields: &[httparse::Header<'_>]) -> Result<usize, String> {
    let mut length = 0;
    for field in fields {
        let is = |name: header::HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
        if is(header::TRANSFER_ENCODING) {
            return Err("its body has an encoding".to_owned());
        }
        if is(header::CONTENT_LENGTH) {
            let text = std::str::from_utf8(field.value).unwrap_or_default();
            length = text
                .parse()
                .map_err(|_| format!("{text:?} is no length of a body"))?;
        }
    }
    if BODY_LIMIT < length {
        return Err(format!("its body is over {BODY_LIMIT} bytes"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_what_follows_them() {
        let first = b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";
        let second = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nwhat";
        let both = [&first[..], second].concat();
        let (answer, length) = Answer::parse(&both).unwrap().unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!((answer.body.as_slice(), length), (&b""[..], first.len()));
        let (answer, length) = Answer::parse(&both[length..]).unwrap().unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            (answer.body.as_slice(), length),
            (&b"what"[..], second.len())
        );
        for end in 0..second.len() {
            assert_eq!(Answer::parse(&second[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_is_too_large_or_no_answer_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_LIMIT));
        let large = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            BODY_LIMIT + 1
        );
        let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        for (received, word) in [
            (long.as_str(), "head"),
            (&large, "body is over"),
            (&fields, "header"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no length"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "encoding",
            ),
            ("HTTP/1.1 099 OK\r\n\r\n", "status"),
            ("what\r\n\r\n", "HTTP"),
        ] {
            let problem = Answer::parse(received.as_bytes()).unwrap_err();
            assert!(problem.contains(word), "{received:?}: {problem}");
        }
    }
}
