//! A small HTTP server on the loopback interface that a test scripts.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use banger_core::domain::Digest;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use super::content::Content;

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// "ann:s3cret", as it is sent.
pub(crate) const ANN: &str = "Basic YW5uOnMzY3JldA==";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Where it was meant for: the target, with a host if it came to a proxy.
    pub(crate) target: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION)
    }
}

type Handler = dyn Fn(&Asked, &[Asked]) -> Response<Body> + Send + Sync;

pub(crate) struct Peer {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// Answers every request as `handler` says, which is given those before.
    pub(crate) async fn start(
        handler: impl Fn(&Asked, &[Asked]) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(handler), Arc::clone(&asked)));
        Self {
            host,
            asked,
            _tasks: tasks,
        }
    }

    /// An open registry.
    pub(crate) async fn open(content: Content) -> Self {
        Self::start(move |asked, _| content.answer(&asked.path)).await
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests so far had this in their path.
    pub(crate) fn count(&self, part: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked.path.contains(part))
            .count()
    }
}

async fn serve(listener: TcpListener, handler: Arc<Handler>, all: Arc<Mutex<Vec<Asked>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (handler, all) = (Arc::clone(&handler), Arc::clone(&all));
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (handler, all) = (Arc::clone(&handler), Arc::clone(&all));
                async move {
                    let asked = read(request).await;
                    let mut all = all.lock().unwrap();
                    let answer = handler(&asked, &all);
                    all.push(asked);
                    Ok::<_, Infallible>(answer)
                }
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

async fn read(request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Asked {
        target: head.uri.to_string(),
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

impl Content {
    /// What a registry without a lock answers; every repository is the same.
    pub(crate) fn answer(&self, path: &str) -> Response<Body> {
        if path == "/v2/" {
            return json(StatusCode::OK, "{}");
        }
        if path.ends_with("/manifests/latest") {
            let (media_type, bytes) = self.root.clone();
            return whole(StatusCode::OK, &media_type, bytes);
        }
        let digest = path
            .rsplit_once('/')
            .map(|(_, last)| last.parse::<Digest>());
        let found = match digest {
            Some(Ok(digest)) => self.blobs.get(&digest),
            _ => None,
        };
        found.map_or_else(unknown, |(media_type, bytes)| {
            whole(StatusCode::OK, media_type, bytes.clone())
        })
    }
}

pub(crate) fn unknown() -> Response<Body> {
    json(
        StatusCode::NOT_FOUND,
        r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#,
    )
}

pub(crate) fn json(status: StatusCode, text: &str) -> Response<Body> {
    whole(status, "application/json", text.to_owned().into())
}

pub(crate) fn whole(status: StatusCode, media_type: &str, content: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(content))
        .map_err(|never| match never {})
        .boxed_unsync();
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .body(body)
        .unwrap()
}

pub(crate) fn with_header(
    mut response: Response<Body>,
    name: header::HeaderName,
    value: &str,
) -> Response<Body> {
    let value = HeaderValue::try_from(value).unwrap();
    response.headers_mut().insert(name, value);
    response
}

/// 401, with a challenge.
pub(crate) fn challenge(text: &str) -> Response<Body> {
    let error = r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
    with_header(
        json(StatusCode::UNAUTHORIZED, error),
        header::WWW_AUTHENTICATE,
        text,
    )
}

/// 307.
pub(crate) fn redirect(location: &str) -> Response<Body> {
    let response = json(StatusCode::TEMPORARY_REDIRECT, "");
    with_header(response, header::LOCATION, location)
}

/// A body without end, and how much of it was asked for.
pub(crate) fn endless(status: u16, sent: Arc<Mutex<u64>>) -> Response<Body> {
    const CHUNK: &[u8] = &[b' '; 1 << 16];
    let frames = stream::repeat_with(move || {
        *sent.lock().unwrap() += CHUNK.len() as u64;
        Ok(Frame::data(Bytes::from_static(CHUNK)))
    });
    streamed(status, frames.boxed())
}

/// A body that begins and then is silent.
pub(crate) fn silent(status: u16, start: &'static [u8]) -> Response<Body> {
    let head = stream::iter([Ok(Frame::data(Bytes::from_static(start)))]);
    streamed(status, head.chain(stream::pending()).boxed())
}

fn streamed(
    status: u16,
    frames: stream::BoxStream<'static, std::io::Result<Frame<Bytes>>>,
) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}
