//! What becomes of a pull when its registry misbehaves.

use std::{fs, time::Duration};

use banger_core::{
    ErrorKind,
    directories::Directories,
    oci::{ImageSources as _, LayerBlob, Platform, SourceError, SourceOptions},
    progress::NoProgress,
};
use camino::Utf8Path;
use tempfile::TempDir;

use super::registry::{Fault, LAYER, Registry};

struct World {
    registry: Registry,
    options: SourceOptions,
    _scratch: TempDir,
}

impl World {
    async fn new(fault: Fault) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let directories = Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        };
        let options = SourceOptions {
            retry_pause: Duration::from_millis(1),
            ..SourceOptions::new(directories)
        };
        Self {
            registry: Registry::start(fault).await,
            options,
            _scratch: scratch,
        }
    }

    async fn fetch(&self, name: &str) -> Result<Vec<LayerBlob>, SourceError> {
        let reference = format!("{}/{name}", self.registry.host).parse().unwrap();
        let source = self.options.open(&reference)?;
        let amd64 = Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: None,
        };
        let image = source.resolve(&amd64).await?;
        assert_eq!(image.run_config.cmd, ["sh"]);
        source.fetch_layers(&image.layers, &NoProgress).await
    }

    fn layer_requests(&self) -> Vec<Option<String>> {
        self.registry.state.lock().unwrap().layer_requests.clone()
    }

    /// Blobs under their own names.
    fn published(&self) -> usize {
        let Ok(entries) = self.options.directories.blobs().read_dir_utf8() else {
            return 0;
        };
        entries
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_none())
            .count()
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let cases = [
        (Fault::None, 1),
        (Fault::Status(429, 1), 2),
        (Fault::Status(500, 2), 3),
        (Fault::Token, 1),
    ];
    for (fault, requests) in cases {
        let world = World::new(fault).await;
        let blobs = world
            .fetch("test/image")
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(fs::read(&blobs[0].path).unwrap(), LAYER, "{fault:?}");
        assert_eq!(world.layer_requests().len(), requests, "{fault:?}");
    }
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_broke_off() {
    let world = World::new(Fault::CutOnce).await;
    let blobs = world.fetch("test/image").await.unwrap();
    assert_eq!(fs::read(&blobs[0].path).unwrap(), LAYER);
    let requests = world.layer_requests();
    let [None, Some(range)] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    let start = range.trim_start_matches("bytes=").trim_end_matches('-');
    assert!(0 < start.parse::<usize>().unwrap(), "{range}");
}

#[tokio::test]
async fn a_registry_without_ranges_sends_everything_again() {
    let world = World::new(Fault::CutOnceIgnoreRange).await;
    let blobs = world.fetch("test/image").await.unwrap();
    assert_eq!(fs::read(&blobs[0].path).unwrap(), LAYER);
    assert_eq!(world.layer_requests().len(), 2);
}

#[tokio::test]
async fn wrong_bytes_are_never_published() {
    for fault in [Fault::WrongBytes, Fault::TooLong, Fault::TooShort] {
        let world = World::new(fault).await;
        let error = world.fetch("test/image").await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable),
            "{fault:?}: {error}"
        );
        assert_eq!(world.published(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn refusals_and_missing_images_are_told_apart() {
    let refused = World::new(Fault::Refused)
        .await
        .fetch("test/image")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    let missing = World::new(Fault::None)
        .await
        .fetch("test/other:tag")
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    assert!(missing.to_string().contains("test/other:tag"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_share_one_download_and_later_ones_the_cache() {
    let world = World::new(Fault::None).await;
    let (first, second) = tokio::join!(world.fetch("test/image"), world.fetch("test/image"));
    assert_eq!(first.unwrap(), second.unwrap());
    world.fetch("test/image").await.unwrap();
    assert_eq!(world.layer_requests().len(), 1);
    assert_eq!(world.published(), 1);
}
