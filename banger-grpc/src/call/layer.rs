//! The layer around all services.
//!
//! Entry points: [`CallLayer`].

use std::{
    future::{Ready, ready},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument as _, field::Empty, info_span};

use super::{
    body::{Told, complete},
    load::{Counted, Load},
    names::{Names, REQUEST_ID},
    record::Record,
};
use crate::{
    access::{
        Gate, Revoked,
        methods::{Method, Need},
    },
    caller::Caller,
    fault::Fault,
    metrics::Metrics,
    transport::connection::Peer,
};

/// Surrounds services with what every call needs.
#[derive(Clone, Debug)]
pub(crate) struct CallLayer {
    gate: Arc<Gate>,
    load: Load,
    metrics: Arc<Metrics>,
}

impl CallLayer {
    /// One that lets a caller have so many calls at a time.
    pub(crate) fn new(gate: Gate, calls_per_caller: u32) -> Self {
        Self {
            metrics: Arc::new(Metrics::new(&gate.methods)),
            gate: Arc::new(gate),
            load: Load::new(calls_per_caller),
        }
    }

    /// What is counted of calls.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Who calls, counted, if they may.
    fn admit<B>(
        &self,
        method: Option<&Method>,
        request: &Request<B>,
    ) -> Result<(Caller, Counted), Fault> {
        let peer = request.extensions().get::<Peer>();
        let caller = self.gate.admit(method, request.headers(), peer)?;
        let counted = self.load.count(&caller)?;
        Ok((caller, counted))
    }

    /// What is told of a call, from now on.
    fn record(&self, method: Option<&Method>, names: &Names) -> Record {
        let (service, name) = method.map_or(("unknown", "unknown"), |method| {
            (method.service.as_str(), method.name.as_str())
        });
        let span = info_span!(
            "call",
            service,
            method = name,
            caller = Empty,
            request_id = names.request,
            trace_id = Empty,
            parent_id = Empty,
        );
        if let Some(trace) = &names.trace {
            span.record("trace_id", &trace.id);
            span.record("parent_id", &trace.parent);
        }
        // probes of health come all the time
        let is_quiet = method.is_some_and(|method| method.need == Need::Nothing);
        Record::new(span, self.metrics(), method, is_quiet)
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls {
            layer: self.clone(),
            inner,
        }
    }
}

/// Services, surrounded.
#[derive(Clone, Debug)]
pub(crate) struct Calls<S> {
    layer: CallLayer,
    inner: S,
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B> Service<Request<B>> for Calls<S>
where
    S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static, Error: Send>
        + Clone
        + Send
        + 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let names = Names::of(request.headers());
        let method = self.layer.gate.methods.find(request.uri().path());
        let mut record = self.layer.record(method, &names);
        match self.layer.admit(method, &request) {
            Err(fault) => {
                let refused: Ready<Result<_, S::Error>> =
                    ready(Ok(Status::from(fault).into_http()));
                Box::pin(tell(refused, None, names, record))
            }
            Ok((caller, counted)) => {
                record.span().record("caller", caller.identity());
                record.keep(counted);
                let revoked = self.layer.gate.revoked(&caller);
                request.extensions_mut().insert(caller);
                // the one that is ready answers; its clone may not be
                let next = self.inner.clone();
                let mut inner = mem::replace(&mut self.inner, next);
                let answering = inner.call(request).instrument(record.span().clone());
                Box::pin(tell(answering, revoked, names, record))
            }
        }
    }
}

/// Names the request in the answer, and tells of its end.
async fn tell<E>(
    answering: impl Future<Output = Result<Response<Body>, E>>,
    revoked: Option<Revoked>,
    names: Names,
    mut record: Record,
) -> Result<Response<Body>, E> {
    let mut answer = match answering.await {
        Ok(answer) => answer,
        Err(error) => {
            record.end(Code::Unknown);
            return Err(error);
        }
    };
    answer.headers_mut().insert(REQUEST_ID, names.header());
    match complete(answer.headers_mut(), &names) {
        Some(code) => {
            record.end(code);
            Ok(answer)
        }
        None => Ok(answer.map(|body| Body::new(Told::new(body, revoked, names, record)))),
    }
}
