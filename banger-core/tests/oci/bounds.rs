//! What becomes of a registry's answers that are too long, too slow, or say
//! to come back later.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use banger_core::ErrorKind;
use http::{StatusCode, header};

use super::{
    content::{Content, LAYER, Shape},
    customer::Customer,
    peer::{Peer, challenge, endless, json, silent, whole, with_header},
};

/// More than any limit of a document, and what a connection holds besides.
const MUCH: u64 = 32 << 20;

fn content() -> Content {
    Content::new(Shape::Index)
}

#[tokio::test]
async fn answers_without_an_end_are_read_no_further_than_their_limit() {
    for (part, status, kind) in [
        ("/manifests/", 200, ErrorKind::ResourceExhausted),
        ("/manifests/", 418, ErrorKind::Unavailable),
        ("/manifests/", 401, ErrorKind::Unauthenticated),
        ("/blobs/", 200, ErrorKind::Corrupt),
        ("/token", 200, ErrorKind::ResourceExhausted),
        ("/token", 403, ErrorKind::Unauthenticated),
    ] {
        let sent = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&sent);
        let content = content();
        let peer = Peer::start(move |asked, _| {
            let host = asked.header(header::HOST).unwrap();
            if asked.path.contains(part) {
                endless(status, Arc::clone(&counter))
            } else if part == "/token" {
                challenge(&format!("Bearer realm=\"http://{host}/token\""))
            } else {
                content.answer(&asked.path)
            }
        })
        .await;
        let customer = Customer::of(&peer);
        let error = customer.pull().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{part} {status}: {error}");
        assert_eq!(customer.leftovers(), [""; 0], "{part} {status}");
        let sent = *sent.lock().unwrap();
        assert!(sent < MUCH, "{part} {status}: {sent}");
    }
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_given_up_after_all_attempts() {
    for part in ["/v2/", "/manifests/", "/blobs/"] {
        let content = content();
        let peer = Peer::start(move |asked, _| {
            if asked.path.contains(part) {
                silent(200, b"{")
            } else {
                content.answer(&asked.path)
            }
        })
        .await;
        let mut customer = Customer::of(&peer);
        customer.options.registries.idle_timeout = Duration::from_millis(50);
        let error = customer.pull().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{part}: {error}");
        assert!(error.to_string().contains("timed out"), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up() {
    // connections are made, and nobody takes them
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let mut customer = Customer::of_registry(&host);
    customer.options.registries.idle_timeout = Duration::from_millis(50);
    let error = customer.pull().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("timed out"), "{error}");
}

#[tokio::test]
async fn a_layer_that_falls_silent_is_continued() {
    let content = content();
    let path = format!("/blobs/{}", Content::layer_digest());
    let peer = Peer::start(move |asked, before| {
        let is_first = !before.iter().any(|asked| asked.path.ends_with(&path));
        match asked.header(header::RANGE) {
            None if asked.path.ends_with(&path) && is_first => silent(200, &LAYER[..1000]),
            Some("bytes=1000-") => {
                let rest = whole(StatusCode::PARTIAL_CONTENT, "x/y", LAYER[1000..].to_vec());
                with_header(rest, header::CONTENT_RANGE, "bytes 1000-7999999/8000000")
            }
            _ => content.answer(&asked.path),
        }
    })
    .await;
    let mut customer = Customer::of(&peer);
    customer.options.registries.idle_timeout = Duration::from_millis(500);
    customer.pull().await.unwrap();
    assert_eq!(peer.count(&Content::layer_digest().to_string()), 2);
}

#[tokio::test]
async fn a_registry_that_asks_for_a_moment_is_granted_it() {
    for asks in ["1", "0"] {
        let content = content();
        let peer = Peer::start(move |asked, before| {
            if before.len() < 2 {
                let busy = json(StatusCode::TOO_MANY_REQUESTS, "");
                with_header(busy, header::RETRY_AFTER, asks)
            } else {
                content.answer(&asked.path)
            }
        })
        .await;
        Customer::of(&peer).pull().await.unwrap();
    }
}

#[tokio::test]
async fn a_registry_that_asks_for_much_time_is_not_asked_again() {
    for asks in ["86400", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        for status in [429, 503] {
            let peer = Peer::start(move |_, _| {
                let status = StatusCode::from_u16(status).unwrap();
                with_header(json(status, ""), header::RETRY_AFTER, asks)
            })
            .await;
            let customer = Customer::of(&peer);
            let error = customer.pull().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let text = error.to_string();
            assert!(
                text.contains("left alone") && text.contains("test/image"),
                "{text}"
            );
            assert_eq!(peer.asked().len(), 1, "{asks}");
        }
    }
}

#[tokio::test]
async fn every_refusal_names_registry_and_repository() {
    for (status, kind) in [
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::Unauthenticated),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::Unavailable),
        (500, ErrorKind::Unavailable),
        (502, ErrorKind::Unavailable),
    ] {
        let peer = Peer::start(move |_, _| json(StatusCode::from_u16(status).unwrap(), "")).await;
        let customer = Customer::of(&peer);
        let error = customer.pull().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        let text = error.to_string();
        assert!(text.contains(&customer.reference()), "{status}: {text}");
        assert!(!text.contains('\n'), "{status}: {text}");
        assert_eq!(customer.leftovers(), [""; 0], "{status}");
    }
}
