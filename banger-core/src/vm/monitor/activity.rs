//! What clients do in the guest, as far as it passes through the monitor.
//!
//! Invariants: a call counts from its request to the end of its answer,
//! however it ends; the time since the last one starts anew with each.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Counts calls. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<Count>>);

#[derive(Debug)]
struct Count {
    calls: u32,
    last_end: Instant,
}

/// A call that is being served.
#[derive(Debug)]
pub(super) struct ActiveCall(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Count {
            calls: 0,
            last_end: Instant::now(),
        })))
    }

    /// A call begins; it ends when what is answered is dropped.
    pub(super) fn begin(&self) -> ActiveCall {
        self.with(|count| count.calls += 1);
        ActiveCall(self.clone())
    }

    /// Calls being served now.
    pub(super) fn calls(&self) -> u32 {
        self.with(|count| count.calls)
    }

    /// Since when there is none; no time at all while there is one.
    pub(super) fn idle(&self) -> Duration {
        self.with(|count| match count.calls {
            0 => count.last_end.elapsed(),
            _ => Duration::ZERO,
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Count) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        self.0.with(|count| {
            count.calls -= 1;
            count.last_end = Instant::now();
        });
    }
}

/// An answer whose end is the end of its call.
#[derive(Debug)]
pub(super) struct CountedBody<B> {
    body: B,
    _call: ActiveCall,
}

impl<B> CountedBody<B> {
    pub(super) const fn new(body: B, call: ActiveCall) -> Self {
        Self { body, _call: call }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_keeps_from_being_idle_until_it_ends() {
        let activity = Activity::new();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(activity.idle(), Duration::from_secs(5));
        let (one, two) = (activity.begin(), activity.begin());
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(one);
        assert_eq!((activity.calls(), activity.idle()), (1, Duration::ZERO));
        drop(two);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(
            (activity.calls(), activity.idle()),
            (0, Duration::from_secs(2))
        );
    }
}
