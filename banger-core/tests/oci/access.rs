//! Who gets in, and what those read who do not.

use std::net::TcpListener;

use banger_core::{
    ErrorKind,
    domain::Bytes,
    oci::{Compression, ImageSources as _, LayerDescriptor},
    progress::NoProgress,
};

use super::{
    content::{Content, LAYER, Shape},
    registry::{Fault, Gate},
    world::{World, amd64},
};

async fn world(gate: Gate) -> World {
    World::new(Shape::Index, Fault::None, gate).await
}

#[tokio::test]
async fn tokens_are_fetched_and_renewed_when_they_end() {
    for gate in [Gate::Token, Gate::ShortToken] {
        let world = world(gate).await;
        let pulled = world.pull().await;
        pulled.unwrap_or_else(|error| panic!("{gate:?}: {error}"));
        assert_eq!(world.layer_requests().len(), 1, "{gate:?}");
    }
}

#[tokio::test]
async fn layers_are_fetched_without_a_resolve_before() {
    let world = world(Gate::Token).await;
    let layer = LayerDescriptor {
        digest: Content::layer_digest(),
        size: Bytes::new(LAYER.len() as u64),
        compression: Compression::None,
        diff_id: Content::layer_digest(),
    };
    let source = world.source("test/image").unwrap();
    let layers = source.fetch_layers(&[layer], &NoProgress).await;
    assert_eq!(layers.unwrap().len(), 1);
}

#[tokio::test]
async fn credentials_are_used_and_a_refusal_says_why_without_them() {
    let mut world = world(Gate::Login).await;
    world.sign_in("s3cret");
    world.pull().await.unwrap();
    world.sign_in("wr0ng");
    let refused = world.pull().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    assert!(refused.to_string().contains("not known here"), "{refused}");
    let everything = format!("{refused} {refused:?} {:?}", world.options);
    assert!(!everything.contains("wr0ng"), "{everything}");
}

#[tokio::test]
async fn a_registry_that_takes_no_token_refuses() {
    let world = world(Gate::Closed).await;
    let refused = world.pull().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    assert!(refused.to_string().contains("anonymous"), "{refused}");
}

#[tokio::test]
async fn a_token_that_no_request_can_carry_is_an_error() {
    let refused = world(Gate::BrokenToken).await.pull().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains("token"), "{refused}");
}

#[tokio::test]
async fn missing_images_and_tags_are_named() {
    let world = world(Gate::Open).await;
    for name in ["test/other:tag", "test/image:tag"] {
        let source = world.source(name).unwrap();
        let missing = source.resolve(&amd64()).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
        assert!(missing.to_string().contains(name), "{missing}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable() {
    let world = world(Gate::Open).await;
    // nobody listens on a port that was free a moment ago
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reference = format!("{address}/test/image").parse().unwrap();
    let source = world.options.open(&reference).unwrap();
    let error = source.resolve(&amd64()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}
