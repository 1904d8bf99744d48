//! A small registry on the loopback interface that misbehaves as told.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use banger_core::domain::Digest;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

/// What the registry does wrong with the first requests for a layer, or, where
/// it says so, with all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Answers this status this many times.
    Status(u16, usize),
    /// Breaks off in the middle, once.
    CutOnce,
    /// The same, and then ignores the range that is asked for.
    CutOnceIgnoreRange,
    /// Always sends other bytes of the same length.
    WrongBytes,
    /// Always sends more bytes than announced in the manifest.
    TooLong,
    /// Always sends fewer bytes than announced in the manifest.
    TooShort,
    /// Wants a bearer token.
    Token,
    /// Refuses everybody.
    Refused,
}

type Body = BoxBody<Bytes, std::io::Error>;

pub(crate) struct State {
    fault: Fault,
    documents: HashMap<String, (String, Vec<u8>)>,
    layer: String,
    /// Requests for the layer, with the range asked for.
    pub(crate) layer_requests: Vec<Option<String>>,
}

pub(crate) struct Registry {
    pub(crate) host: String,
    pub(crate) state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

/// Larger than what a server holds back before it writes.
pub(crate) const LAYER: &[u8] = &[7; 8_000_000];

impl Registry {
    /// Serves `test/image:latest`, an index with one image of one layer.
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::new(fault)));
        let mut tasks = JoinSet::new();
        let (shared, address) = (Arc::clone(&state), host.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, host) = (Arc::clone(&shared), address.clone());
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
        });
        Self {
            host,
            state,
            _tasks: tasks,
        }
    }
}

impl State {
    fn new(fault: Fault) -> Self {
        let mut documents = HashMap::new();
        let mut put = |kind: &str, media_type: &str, content: Vec<u8>| {
            let digest = Digest::of(&content).to_string();
            let descriptor = serde_json::json!({"mediaType": media_type, "digest": digest, "size": content.len()});
            documents.insert(
                format!("/v2/test/image/{kind}/{digest}"),
                (media_type.to_owned(), content),
            );
            descriptor
        };
        let layer = put(
            "blobs",
            "application/vnd.oci.image.layer.v1.tar",
            LAYER.to_vec(),
        );
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = put(
            "blobs",
            "application/vnd.oci.image.config.v1+json",
            config.to_string().into(),
        );
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer],
            "mediaType": "application/vnd.oci.image.manifest.v1+json"});
        let mut manifest = put(
            "manifests",
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().into(),
        );
        manifest["platform"] = serde_json::json!({"os": "linux", "architecture": "amd64"});
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [manifest]});
        let index = (media_type.to_owned(), index.to_string().into());
        documents.insert("/v2/test/image/manifests/latest".to_owned(), index);
        let layer = format!("/v2/test/image/blobs/{}", layer["digest"].as_str().unwrap());
        Self {
            fault,
            documents,
            layer,
            layer_requests: Vec::new(),
        }
    }

    fn answer(&mut self, host: &str, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if path == "/token" {
            return whole(
                StatusCode::OK,
                "application/json",
                br#"{"token":"let-me-in"}"#.to_vec(),
            );
        }
        if self.fault == Fault::Refused || (self.fault == Fault::Token && !has_token(request)) {
            return challenge(host);
        }
        if path == "/v2/" {
            return whole(StatusCode::OK, "application/json", b"{}".to_vec());
        }
        if path == self.layer {
            let range = request
                .headers()
                .get(header::RANGE)
                .map(|range| range.to_str().unwrap().to_owned());
            self.layer_requests.push(range.clone());
            return self.layer_answer(range.as_deref());
        }
        if let Some((media_type, content)) = self.documents.get(path) {
            return whole(StatusCode::OK, media_type, content.clone());
        }
        let error = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#;
        whole(StatusCode::NOT_FOUND, "application/json", error.to_vec())
    }

    fn layer_answer(&self, range: Option<&str>) -> Response<Body> {
        let octets = "application/octet-stream";
        let asked = self.layer_requests.len();
        match self.fault {
            Fault::Status(status, times) if asked <= times => {
                whole(StatusCode::from_u16(status).unwrap(), octets, Vec::new())
            }
            Fault::CutOnce | Fault::CutOnceIgnoreRange if asked == 1 => cut(&LAYER[..6_000_000]),
            Fault::CutOnce => {
                let start = range
                    .unwrap()
                    .trim_start_matches("bytes=")
                    .trim_end_matches('-');
                let rest = &LAYER[start.parse().unwrap()..];
                whole(StatusCode::PARTIAL_CONTENT, octets, rest.to_vec())
            }
            Fault::WrongBytes => whole(StatusCode::OK, octets, vec![8; LAYER.len()]),
            Fault::TooLong => whole(StatusCode::OK, octets, [LAYER, b"more"].concat()),
            Fault::TooShort => whole(StatusCode::OK, octets, LAYER[1..].to_vec()),
            _ => whole(StatusCode::OK, octets, LAYER.to_vec()),
        }
    }
}

fn has_token(request: &Request<Incoming>) -> bool {
    request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == "Bearer let-me-in")
}

fn challenge(host: &str) -> Response<Body> {
    let realm = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
    let error = br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
    let mut response = whole(StatusCode::UNAUTHORIZED, "application/json", error.to_vec());
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, realm.parse().unwrap());
    response
}

fn whole(status: StatusCode, media_type: &str, content: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(content))
        .map_err(|never| match never {})
        .boxed();
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .body(body)
        .unwrap()
}

/// A body that ends in an error, which ends its connection.
fn cut(head: &'static [u8]) -> Response<Body> {
    let frames = [
        Ok(Frame::data(Bytes::from_static(head))),
        Err(std::io::Error::other("cut")),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    Response::builder()
        .header(header::CONTENT_LENGTH, LAYER.len())
        .body(body)
        .unwrap()
}
