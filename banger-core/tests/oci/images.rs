//! What images may look like, and what is refused.

use banger_core::ErrorKind;

use super::{
    content::Shape,
    registry::{Fault, Gate},
    world::World,
};

#[tokio::test]
async fn images_are_found_behind_indexes_and_without() {
    for shape in [
        Shape::Index,
        Shape::IndexInIndex,
        Shape::Manifest("amd64"),
        Shape::DockerManifest,
    ] {
        let world = World::new(shape, Fault::None, Gate::Open).await;
        let pulled = world.pull().await;
        pulled.unwrap_or_else(|error| panic!("{shape:?}: {error}"));
    }
}

#[tokio::test]
async fn unusable_images_are_refused_before_a_layer_is_fetched() {
    for (shape, kind) in [
        (Shape::DeepIndexes, ErrorKind::ResourceExhausted),
        (Shape::HugeManifest, ErrorKind::ResourceExhausted),
        (Shape::HugeConfig, ErrorKind::ResourceExhausted),
        (Shape::Manifest("arm64"), ErrorKind::NotFound),
        (Shape::WrongManifest, ErrorKind::Corrupt),
        (Shape::WrongConfig, ErrorKind::Corrupt),
    ] {
        let world = World::new(shape, Fault::None, Gate::Open).await;
        let error = world.pull().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shape:?}: {error}");
        assert!(world.layer_requests().is_empty(), "{shape:?}");
        assert_eq!(world.cached(None), 0, "{shape:?}");
    }
}
