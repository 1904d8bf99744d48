//! Answers on their way out.
//!
//! Invariants: the bytes of messages are passed on untouched; the end of the body is
//! the end of the call; a stream ends when its caller's credentials do. Entry points: [`Told`], [`complete`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::{names::Names, record::Record};
use crate::access::Revoked;

/// The body of an answer, whose end is told.
pub(super) struct Told {
    /// Gone when it was cut off.
    inner: Option<Body>,
    /// Is ready when the caller is not known any more.
    revoked: Option<Revoked>,
    names: Names,
    record: Record,
}

impl Told {
    pub(super) const fn new(
        inner: Body,
        revoked: Option<Revoked>,
        names: Names,
        record: Record,
    ) -> Self {
        Self {
            inner: Some(inner),
            revoked,
            names,
            record,
        }
    }

    /// The last frame of a stream whose caller is not known any more, once that is so.
    fn cut_off(&mut self, context: &mut Context<'_>) -> Option<Frame<Bytes>> {
        let revoked = self.revoked.as_mut()?;
        let Poll::Ready(fault) = revoked.as_mut().poll(context) else {
            return None;
        };
        (self.inner, self.revoked) = (None, None);
        let mut trailers = HeaderMap::new();
        // this build's own words can be written
        drop(Status::from(fault).add_header(&mut trailers));
        let code = complete(&mut trailers, &self.names);
        self.record.end(code.unwrap_or(Code::Unauthenticated));
        Some(Frame::trailers(trailers))
    }
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(last) = this.cut_off(context) {
            return Poll::Ready(Some(Ok(last)));
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let polled = {
            let _entered = this.record.span().enter();
            Pin::new(inner).poll_frame(context)
        };
        let Poll::Ready(next) = polled else {
            return Poll::Pending;
        };
        Poll::Ready(match next {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    let code = complete(trailers, &this.names);
                    this.record.end(code.unwrap_or(Code::Ok));
                }
                Some(Ok(frame))
            }
            Some(Err(status)) => {
                this.record.end(status.code());
                Some(Err(status))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

/// Adds the request's names to a failure's details. Answers the code, if these
/// headers end a call.
pub(super) fn complete(headers: &mut HeaderMap, names: &Names) -> Option<Code> {
    let status = Status::from_header_map(headers)?;
    let code = status.code();
    if code != Code::Ok {
        let mut details = status.get_error_details();
        details.set_request_info(&names.request, names.trace_id());
        let complete = Status::with_error_details(code, status.message(), details);
        let mut fresh = HeaderMap::new();
        // what cannot be written stays as it was
        if complete.add_header(&mut fresh).is_ok()
            && let Some(details) = fresh.remove(Status::GRPC_STATUS_DETAILS)
        {
            headers.insert(Status::GRPC_STATUS_DETAILS, details);
        }
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    #[test]
    fn a_failure_names_the_request_and_keeps_what_it_said() {
        let names = Names {
            request: "r-1".to_owned(),
            trace: None,
        };
        let status = Status::from(Fault::starting());
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        assert_eq!(complete(&mut headers, &names), Some(Code::Unavailable));
        let told = Status::from_header_map(&headers).unwrap();
        assert_eq!(told.message(), status.message());
        let (before, after) = (status.get_error_details(), told.get_error_details());
        let said = |details: &tonic_types::ErrorDetails| {
            format!("{:?} {:?}", details.error_info(), details.retry_info())
        };
        assert_eq!(said(&before), said(&after));
        assert_eq!(after.request_info().unwrap().request_id, "r-1");

        let mut fine = HeaderMap::new();
        Status::ok("").add_header(&mut fine).unwrap();
        let before = fine.clone();
        assert_eq!(complete(&mut fine, &names), Some(Code::Ok));
        assert_eq!(fine, before);
        assert_eq!(complete(&mut HeaderMap::new(), &names), None);
    }
}
