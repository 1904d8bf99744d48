//! A call that goes on, until it ends once.
//!
//! Entry points: [`Record`].

use std::{sync::Arc, time::Instant};

use tonic::Code;
use tracing::Span;

use super::load::Counted;
use crate::{access::methods::Method, metrics::Metrics};

/// A call that goes on. Dropped before it ended, it counts as cancelled: its client
/// went away, or its time was up.
#[derive(Debug)]
pub(super) struct Record {
    span: Span,
    metrics: Arc<Metrics>,
    method: usize,
    started: Instant,
    /// Gone when the call has ended.
    counted: Option<Counted>,
    is_quiet: bool,
    over: bool,
}

impl Record {
    pub(super) fn new(
        span: Span,
        metrics: Arc<Metrics>,
        method: Option<&Method>,
        is_quiet: bool,
    ) -> Self {
        Self {
            span,
            method: metrics.begin(method),
            metrics,
            started: Instant::now(),
            counted: None,
            is_quiet,
            over: false,
        }
    }

    /// Keeps a caller's call counted until this one ends.
    pub(super) fn keep(&mut self, counted: Counted) {
        self.counted = Some(counted);
    }

    pub(super) const fn span(&self) -> &Span {
        &self.span
    }

    /// The call ended with that code.
    pub(super) fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.counted = None;
        let took = self.started.elapsed();
        self.metrics.end(self.method, code, took);
        let _entered = self.span.enter();
        let milliseconds = took.as_secs_f64() * 1000.0;
        if self.is_quiet {
            tracing::debug!(?code, milliseconds, "call ended");
        } else {
            tracing::info!(?code, milliseconds, "call ended");
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
