//! Ways to sign in, and whom secrets are told.

use std::fs;

use banger_core::{
    ErrorKind,
    domain::Bytes,
    oci::{AuthFile, Compression, ImageSources as _, LayerDescriptor, SourceError},
    progress::NoProgress,
};
use http::StatusCode;

use super::{
    content::{Content, Shape},
    customer::Customer,
    peer::{ANN, Asked, Body, Peer, challenge, json, redirect, whole, with_header},
};

fn content() -> Content {
    Content::new(Shape::Manifest("amd64"))
}

/// Lets in who sends this header, and sends others to the challenge.
async fn guarded(authorization: &'static str, asks: String) -> Peer {
    let content = content();
    Peer::start(move |asked, _| {
        if asked.authorization() == Some(authorization) {
            content.answer(&asked.path)
        } else {
            challenge(&asks)
        }
    })
    .await
}

fn bearer(realm: &str) -> String {
    format!(r#"Bearer realm="{realm}",service="test""#)
}

/// A token service that hands out `t` with what else it says.
async fn token_service(answer: &'static str) -> (Peer, String) {
    let peer = Peer::start(move |_, _| json(StatusCode::OK, answer)).await;
    let realm = format!("http://{}/token", peer.host);
    (peer, realm)
}

#[tokio::test]
async fn a_password_is_sent_with_every_request_once_it_was_asked_for() {
    let peer = guarded(ANN, "Basic realm=\"test\"".to_owned()).await;
    let mut customer = Customer::of(&peer);
    customer.sign_in("s3cret");
    customer.pull().await.unwrap();
    let asked = peer.asked();
    assert_eq!(asked[0].authorization(), None);
    assert!(
        asked[1..]
            .iter()
            .all(|asked| asked.authorization() == Some(ANN))
    );
}

#[tokio::test]
async fn a_refused_password_is_not_tried_again_and_not_told() {
    let peer = guarded(ANN, "Basic realm=\"test\"".to_owned()).await;
    let mut customer = Customer::of(&peer);
    customer.sign_in("wr0ng");
    let refused = customer.pull().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    assert!(
        refused.to_string().contains(&customer.reference()),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("credentials given"),
        "{refused}"
    );
    let shown = format!("{refused:?} {:?}", customer.options);
    assert!(!shown.contains("wr0ng"), "{shown}");
    // the root, and the manifest
    assert_eq!(peer.asked().len(), 2);
}

#[tokio::test]
async fn strangers_may_read_where_only_the_root_asks_for_a_password() {
    let content = content();
    let peer = Peer::start(move |asked, _| match asked.path.as_str() {
        "/v2/" => challenge("Basic realm=\"test\""),
        path => content.answer(path),
    })
    .await;
    Customer::of(&peer).pull().await.unwrap();
    assert!(
        peer.asked()
            .iter()
            .all(|asked| asked.authorization().is_none())
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_never_shown_to_the_registry() {
    let (service, realm) = token_service(r#"{"access_token":"t","expires_in":300}"#).await;
    let peer = guarded("Bearer t", bearer(&realm)).await;
    let mut customer = Customer::of(&peer);
    let file = customer.root().join("auth.json");
    let auths = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"s3cret&"}}}}}}"#,
        peer.host
    );
    fs::write(&file, auths).unwrap();
    customer.options.registries.credentials.auth_files = vec![AuthFile {
        path: file,
        must_exist: true,
    }];
    customer.pull().await.unwrap();
    let asked = service.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].body,
        "grant_type=refresh_token&service=test&client_id=banger\
         &scope=repository%3Atest%2Fimage%3Apull&refresh_token=s3cret%26"
    );
    assert!(
        peer.asked()
            .iter()
            .all(|asked| !format!("{asked:?}").contains("s3cret"))
    );
}

#[tokio::test]
async fn secrets_go_to_no_token_service_in_the_clear() {
    for realm in [
        "http://auth.invalid/token",
        "http://10.0.0.1/token",
        "ftp://auth.invalid/token",
    ] {
        let peer = guarded("Bearer t", bearer(realm)).await;
        let mut customer = Customer::of(&peer);
        customer.sign_in("s3cret");
        let refused = customer.pull().await.unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::Unauthenticated,
            "{realm}: {refused}"
        );
        assert!(refused.to_string().contains("HTTPS"), "{realm}: {refused}");
    }
}

#[tokio::test]
async fn secrets_follow_no_redirect_to_another_host() {
    let elsewhere = Peer::start(|_, _| json(StatusCode::OK, r#"{"token":"t"}"#)).await;
    let away = format!("http://{}/token", elsewhere.host);
    let service = Peer::start(move |_, _| redirect(&away)).await;
    let realm = format!("http://{}/token", service.host);
    let peer = guarded("Bearer t", bearer(&realm)).await;
    let mut customer = Customer::of(&peer);
    customer.sign_in("s3cret");
    customer.pull().await.unwrap();
    assert_eq!(service.asked()[0].authorization(), Some(ANN));
    assert_eq!(elsewhere.asked()[0].authorization(), None);
}

#[tokio::test]
async fn parallel_layers_share_one_token() {
    let (service, realm) = token_service(r#"{"token":"t","expires_in":300}"#).await;
    let peer = guarded("Bearer t", bearer(&realm)).await;
    let customer = Customer::of(&peer);
    let layers: Vec<LayerDescriptor> = content().blobs.iter().map(layer).collect();
    assert!(1 < layers.len());
    let source = customer
        .options
        .open(&customer.reference().parse().unwrap())
        .unwrap();
    let blobs = source.fetch_layers(&layers, &NoProgress).await.unwrap();
    assert_eq!(blobs.len(), layers.len());
    assert_eq!(service.asked().len(), 1);
}

fn layer(
    (digest, (_, bytes)): (&banger_core::domain::Digest, &(String, Vec<u8>)),
) -> LayerDescriptor {
    LayerDescriptor {
        digest: *digest,
        size: Bytes::new(bytes.len() as u64),
        compression: Compression::None,
        diff_id: *digest,
    }
}

#[tokio::test]
async fn a_token_is_renewed_when_its_time_is_over() {
    let (service, realm) = token_service(r#"{"token":"t","expires_in":0}"#).await;
    let peer = guarded("Bearer t", bearer(&realm)).await;
    Customer::of(&peer).pull().await.unwrap();
    // manifest, configuration, layer
    assert_eq!(service.asked().len(), 3);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_renewed_once() {
    // the token service numbers its tokens; the registry takes the first for
    // the manifest alone
    let service = Peer::start(|_, before| {
        let answer = format!(r#"{{"token":"t{}"}}"#, before.len());
        json(StatusCode::OK, &answer)
    })
    .await;
    let asks = bearer(&format!("http://{}/token", service.host));
    let content = content();
    let lets_in = |asked: &Asked| match asked.authorization() {
        Some("Bearer t0") => asked.path.contains("manifests"),
        Some("Bearer t1") => true,
        _ => false,
    };
    let peer = Peer::start(move |asked, _| -> http::Response<Body> {
        if lets_in(asked) {
            content.answer(&asked.path)
        } else {
            challenge(&asks)
        }
    })
    .await;
    Customer::of(&peer).pull().await.unwrap();
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn a_token_service_that_fails_says_why() {
    for (status, text, kind, word) in [
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"no rights"}]}"#,
            ErrorKind::Unauthenticated,
            "no rights",
        ),
        (
            400,
            r#"{"error":"invalid_grant"}"#,
            ErrorKind::Unauthenticated,
            "invalid_grant",
        ),
        (404, "", ErrorKind::Unavailable, "token service"),
        (503, "tired", ErrorKind::Unavailable, "tired"),
        (200, "{}", ErrorKind::Corrupt, "no token"),
        (200, "nonsense", ErrorKind::Corrupt, "token service"),
    ] {
        let service = Peer::start(move |_, _| {
            whole(
                StatusCode::from_u16(status).unwrap(),
                "text/plain",
                text.into(),
            )
        })
        .await;
        let asks = bearer(&format!("http://{}/token", service.host));
        let peer = guarded("Bearer t", asks).await;
        let refused = Customer::of(&peer).pull().await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{status}: {refused}");
        assert!(refused.to_string().contains(word), "{status}: {refused}");
        let attempts = if status == 503 { 5 } else { 1 };
        assert_eq!(service.asked().len(), attempts, "{status}");
    }
}

#[tokio::test]
async fn a_redirected_blob_is_fetched_without_credentials() {
    let content = content();
    let store = Peer::open(Content::new(Shape::Manifest("amd64"))).await;
    let away = store.host.clone();
    let peer = Peer::start(move |asked, _| {
        if asked.authorization() != Some(ANN) {
            challenge("Basic realm=\"test\"")
        } else if let Some(path) = asked.path.strip_prefix("/v2/test/image/blobs") {
            // a user in the URL would be sent as credentials
            redirect(&format!("http://u:p@{away}/store{path}"))
        } else if asked.path == "/v2/test/image/manifests/latest" {
            redirect("/moved/manifests/latest")
        } else {
            content.answer(&asked.path)
        }
    })
    .await;
    let mut customer = Customer::of(&peer);
    customer.sign_in("s3cret");
    customer.pull().await.unwrap();
    // on the same host they stay
    assert_eq!(peer.count("/moved/"), 1);
    assert_eq!(store.asked().len(), 2);
    assert!(
        store
            .asked()
            .iter()
            .all(|asked| asked.authorization().is_none())
    );
}

#[tokio::test]
async fn who_was_redirected_to_cannot_ask_for_credentials() {
    let thief = Peer::start(|_, _| challenge("Basic realm=\"mine\"")).await;
    let away = format!("http://{}/x", thief.host);
    let content = content();
    let peer = Peer::start(move |asked, _| match asked.path.contains("/blobs/") {
        true => redirect(&away),
        false if asked.authorization() == Some(ANN) => content.answer(&asked.path),
        false => challenge("Basic realm=\"test\""),
    })
    .await;
    let mut customer = Customer::of(&peer);
    customer.sign_in("s3cret");
    let failed = customer.pull().await.unwrap_err();
    assert!(
        matches!(failed, SourceError::Unavailable { .. }),
        "{failed}"
    );
    assert!(
        thief
            .asked()
            .iter()
            .all(|asked| asked.authorization().is_none())
    );
}

#[tokio::test]
async fn redirects_that_lead_nowhere_end() {
    for location in [
        "/v2/test/image/manifests/latest",
        "ftp://127.0.0.1/x",
        "http://",
        "",
    ] {
        let peer = Peer::start(move |asked, _| match asked.path.as_str() {
            "/v2/" => json(StatusCode::OK, "{}"),
            _ => with_header(redirect("/"), http::header::LOCATION, location),
        })
        .await;
        let failed = Customer::of(&peer).pull().await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Corrupt, "{location}: {failed}");
        assert!(
            failed.to_string().contains("redirects"),
            "{location}: {failed}"
        );
    }
}
