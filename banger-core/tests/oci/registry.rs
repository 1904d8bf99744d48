//! A small registry on the loopback interface that misbehaves as told.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use banger_core::domain::Digest;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    content::{Content, LAYER, Shape},
    peer::{self, Body, json, unknown, whole},
};

/// What the registry does wrong with the first requests for a layer, or, where
/// it says so, with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Answers this status this many times.
    Status(u16, usize),
    /// Breaks off in the middle, this many times.
    Cut(usize),
    /// Breaks off once, and then ignores the range that is asked for.
    CutOnceIgnoreRange,
    /// Breaks off once, and then refuses every range.
    CutOnceRefuseRange,
    /// Breaks off once, and then sends other bytes than the range has.
    CutOnceWrongRange,
    /// Breaks off once, and then sends another range than was asked for.
    CutOnceOtherRange,
    /// Sends half, and then nothing more, once.
    StallOnce,
    /// Always sends other bytes of the same length.
    WrongBytes,
    /// Always sends more bytes than announced in the manifest.
    TooLong,
    /// Always sends fewer bytes than announced in the manifest.
    TooShort,
}

/// Who gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Wants a token, which everybody gets.
    Token,
    /// Wants a token, which ends before the layer is asked for.
    ShortToken,
    /// Wants a token, which only user `ann` with secret `s3cret` gets.
    Login,
    /// Gives out a token that cannot stand in a header.
    BrokenToken,
    /// Gives out tokens and takes none.
    Closed,
}

pub(crate) struct State {
    fault: Fault,
    gate: Gate,
    content: Content,
    tokens: usize,
    /// Requests for the layer that were let in, with the range asked for.
    pub(crate) layer_requests: Vec<Option<String>>,
}

pub(crate) struct Registry {
    pub(crate) host: String,
    pub(crate) state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Registry {
    /// Serves `test/image:latest`.
    pub(crate) async fn start(shape: Shape, fault: Fault, gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            fault,
            gate,
            content: Content::new(shape),
            tokens: 0,
            layer_requests: Vec::new(),
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, host.clone(), Arc::clone(&state)));
        Self {
            host,
            state,
            _tasks: tasks,
        }
    }
}

async fn serve(listener: TcpListener, host: String, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (state, host) = (Arc::clone(&state), host.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = state.lock().unwrap().answer(&host, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // a cut body ends its connection with an error, as it should
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

impl State {
    fn answer(&mut self, host: &str, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/token" {
            return self.token(request);
        }
        if !self.lets_in(request, &path) {
            return challenge(host);
        }
        match path.strip_prefix("/v2/") {
            Some("") => json(StatusCode::OK, "{}"),
            Some("test/image/manifests/latest") => {
                let (media_type, bytes) = self.content.root.clone();
                whole(StatusCode::OK, &media_type, bytes)
            }
            Some(rest) => {
                let digest = rest.strip_prefix("test/image/manifests/");
                let digest = digest.or_else(|| rest.strip_prefix("test/image/blobs/"));
                self.blob(digest.and_then(|digest| digest.parse().ok()), request)
            }
            None => unknown(),
        }
    }

    fn token(&mut self, request: &Request<Incoming>) -> Response<Body> {
        let authorization = request.headers().get(header::AUTHORIZATION);
        // "ann:s3cret"
        let is_ann = authorization.is_some_and(|value| value == "Basic YW5uOnMzY3JldA==");
        if self.gate == Gate::Login && !is_ann {
            return json(
                StatusCode::UNAUTHORIZED,
                r#"{"details":"ann is not known here"}"#,
            );
        }
        if self.gate == Gate::BrokenToken {
            return json(StatusCode::OK, r#"{"token":"let\nme\u0000in"}"#);
        }
        self.tokens += 1;
        let token = format!(r#"{{"token":"let-me-in-{}"}}"#, self.tokens);
        json(StatusCode::OK, &token)
    }

    fn lets_in(&self, request: &Request<Incoming>, path: &str) -> bool {
        let authorization = request.headers().get(header::AUTHORIZATION);
        let newest = format!("Bearer let-me-in-{}", self.tokens);
        let has_newest = authorization.is_some_and(|value| *value == newest);
        let is_layer = path.ends_with(&Content::layer_digest().to_string());
        match self.gate {
            Gate::Open => true,
            Gate::Closed | Gate::BrokenToken => false,
            Gate::Token | Gate::Login => has_newest,
            Gate::ShortToken => has_newest && (self.tokens != 1 || !is_layer),
        }
    }

    fn blob(&mut self, digest: Option<Digest>, request: &Request<Incoming>) -> Response<Body> {
        if digest == Some(Content::layer_digest()) {
            let range = request.headers().get(header::RANGE);
            let range = range.map(|range| range.to_str().unwrap().to_owned());
            self.layer_requests.push(range.clone());
            return self.layer(range.as_deref());
        }
        let found = digest.and_then(|digest| self.content.blobs.get(&digest));
        found.map_or_else(unknown, |(media_type, bytes)| {
            whole(StatusCode::OK, media_type, bytes.clone())
        })
    }

    fn layer(&self, range: Option<&str>) -> Response<Body> {
        let octets =
            |bytes: &[u8]| whole(StatusCode::OK, "application/octet-stream", bytes.to_vec());
        let asked = self.layer_requests.len();
        match (self.fault, range.map(first_byte)) {
            (Fault::Status(status, times), _) if asked <= times => whole(
                StatusCode::from_u16(status).unwrap(),
                "text/plain",
                Vec::new(),
            ),
            (Fault::Cut(times), start) if asked <= times => cut(start.unwrap_or(0)),
            (
                Fault::CutOnceIgnoreRange
                | Fault::CutOnceRefuseRange
                | Fault::CutOnceWrongRange
                | Fault::CutOnceOtherRange,
                None,
            ) if asked == 1 => cut(0),
            (Fault::StallOnce, None) => stall(),
            (Fault::WrongBytes, _) => octets(&vec![8; LAYER.len()]),
            (Fault::TooLong, _) => octets(&[LAYER, b"more"].concat()),
            (Fault::TooShort, _) => octets(&LAYER[1..]),
            (Fault::CutOnceRefuseRange, Some(_)) => {
                whole(StatusCode::RANGE_NOT_SATISFIABLE, "text/plain", Vec::new())
            }
            (Fault::CutOnceWrongRange, Some(start)) => partial(vec![9; LAYER.len() - start], start),
            (Fault::CutOnceOtherRange, Some(start)) => {
                partial(LAYER[start + 1..].to_vec(), start + 1)
            }
            (Fault::CutOnceIgnoreRange, _) | (_, None) => octets(LAYER),
            (_, Some(start)) => partial(LAYER[start..].to_vec(), start),
        }
    }
}

/// The start of `bytes=START-`.
fn first_byte(range: &str) -> usize {
    let start = range.strip_prefix("bytes=").unwrap();
    start.strip_suffix('-').unwrap().parse().unwrap()
}

fn challenge(host: &str) -> Response<Body> {
    peer::challenge(&format!(
        "Bearer realm=\"http://{host}/token\",service=\"test\""
    ))
}

fn partial(content: Vec<u8>, start: usize) -> Response<Body> {
    let range = content_range(start);
    let mut response = whole(
        StatusCode::PARTIAL_CONTENT,
        "application/octet-stream",
        content,
    );
    response.headers_mut().insert(header::CONTENT_RANGE, range);
    response
}

fn content_range(start: usize) -> HeaderValue {
    let (last, all) = (LAYER.len() - 1, LAYER.len());
    format!("bytes {start}-{last}/{all}").parse().unwrap()
}

/// About half of what is missing, and an error, which ends the connection. How
/// much of the half gets out before that is left to the kernel.
fn cut(start: usize) -> Response<Body> {
    let end = std::io::Error::other("cut");
    unfinished(start, stream::iter([Err(end)]).boxed())
}

/// Half of the layer, and then nothing more.
fn stall() -> Response<Body> {
    unfinished(0, stream::pending().boxed())
}

fn unfinished(
    start: usize,
    end: stream::BoxStream<'static, std::io::Result<Frame<Bytes>>>,
) -> Response<Body> {
    let half = usize::midpoint(start, LAYER.len());
    let head = Frame::data(Bytes::from_static(&LAYER[start..half]));
    let frames = stream::iter([Ok(head)]).chain(end);
    let status = if start == 0 {
        StatusCode::OK
    } else {
        StatusCode::PARTIAL_CONTENT
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_LENGTH, LAYER.len() - start)
        .header(header::CONTENT_RANGE, content_range(start))
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}
