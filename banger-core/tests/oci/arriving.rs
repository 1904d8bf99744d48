//! Disks that are built while their layers arrive.

use std::{fs, io::Read as _, os::unix::fs::MetadataExt as _, sync::Arc, time::Duration};

use banger_core::{
    ErrorKind,
    domain::Bytes,
    progress::NoProgress,
    rootfs::{
        BuildError, BuildRequest, BuiltRootfs, Ext4RootfsBuilder, RootfsLimits, RootfsResources,
        build_from_source,
    },
};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use super::{
    content::Content,
    registry::Fault,
    world::{World, amd64},
};

/// Where a disk is built of what a registry serves.
struct Builder {
    world: World,
    directory: TempDir,
}

impl Builder {
    async fn with_fault(fault: Fault) -> Self {
        Self {
            world: World::with_fault(fault).await,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn output(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.directory.path())
            .unwrap()
            .join("disk")
    }

    fn request(&self) -> BuildRequest {
        let reference = format!("{}/test/image", self.world.registry.host);
        BuildRequest {
            reference: reference.parse().unwrap(),
            platform: amd64(),
            output: self.output(),
            size: None,
            journal: true,
            resources: RootfsResources::default(),
            limits: RootfsLimits::default(),
        }
    }

    async fn build(&self, request: BuildRequest) -> Result<BuiltRootfs, BuildError> {
        let builder = Arc::new(Ext4RootfsBuilder);
        build_from_source(&self.world.options, builder, request, &NoProgress).await
    }

    fn is_clean(&self) -> bool {
        fs::read_dir(self.directory.path()).unwrap().count() == 0
    }
}

/// The part of a disk that is not empty: all content, and what describes it.
fn start_of(disk: &Utf8Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(disk).unwrap();
    file.take(48 << 20).read_to_end(&mut bytes).unwrap();
    bytes
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

#[tokio::test]
async fn a_bad_line_does_not_show_in_the_disk() {
    let good = Builder::with_fault(Fault::None).await;
    good.build(good.request()).await.unwrap();
    let expected = start_of(&good.output());
    for fault in [
        Fault::Status(503, 2),
        Fault::Cut(2),
        Fault::CutOnceIgnoreRange,
        Fault::CutOnceRefuseRange,
        Fault::CutOnceWrongRange,
        Fault::CutOnceOtherRange,
    ] {
        let builder = Builder::with_fault(fault).await;
        let built = builder.build(builder.request()).await;
        built.unwrap_or_else(|error| panic!("{fault:?}: {}", chain(&error)));
        let is_equal = start_of(&builder.output()) == expected;
        assert!(is_equal, "{fault:?}");
    }
}

#[tokio::test]
async fn a_size_is_asked_for_of_layers_that_are_on_their_way() {
    let builder = Builder::with_fault(Fault::Cut(1)).await;
    let sized = |size| BuildRequest {
        size: Some(size),
        ..builder.request()
    };
    let error = builder.build(sized(Bytes::from_mib(8))).await.unwrap_err();
    assert!(chain(&error).contains("too small"), "{}", chain(&error));
    assert!(builder.is_clean());
    builder.build(sized(Bytes::from_mib(64))).await.unwrap();
}

#[tokio::test]
async fn the_registry_is_blamed_for_bytes_that_were_built_before_they_turned_out_wrong() {
    for fault in [Fault::WrongBytes, Fault::TooLong, Fault::TooShort] {
        let builder = Builder::with_fault(fault).await;
        let error = builder.build(builder.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{fault:?}");
        let message = chain(&error);
        for part in [
            builder.world.registry.host.clone(),
            Content::layer_digest().to_string(),
        ] {
            assert!(message.contains(&part), "{fault:?}: {message}");
        }
        assert!(builder.is_clean(), "{fault:?}");
    }
}

#[tokio::test]
async fn what_has_arrived_is_on_the_disk_already_and_goes_with_its_builder() {
    let builder = Builder::with_fault(Fault::StallOnce).await;
    let partial = Utf8PathBuf::from(format!("{}.partial", builder.output()));
    let something_is_written = async {
        while fs::metadata(&partial).map_or(0, |file| file.blocks()) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        built = builder.build(builder.request()) => panic!("half a layer is no disk: {built:?}"),
        () = something_is_written => {}
    }
    while !builder.is_clean() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    builder.build(builder.request()).await.unwrap();
}

#[tokio::test]
async fn layers_are_handed_out_before_they_are_there() {
    let world = World::with_fault(Fault::None).await;
    let source = world.source("test/image").unwrap();
    let image = source.resolve(&amd64()).await.unwrap();
    let layers = source.stream_layers(&image.layers, &NoProgress).await;
    let layers = layers.unwrap();
    assert_eq!(world.layer_requests().len(), 0);
    assert_eq!(layers.blobs[0].descriptor, image.layers[0]);
    let there = layers.all().await.unwrap();
    let cached = source.stream_layers(&image.layers, &NoProgress).await;
    assert_eq!(cached.unwrap().all().await.unwrap(), there);
    assert_eq!(world.layer_requests().len(), 1);
}
