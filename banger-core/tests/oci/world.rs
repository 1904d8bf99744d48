//! A registry, an empty cache and somebody who pulls.

use std::{sync::Mutex, time::Duration};

use banger_core::{
    directories::Directories,
    oci::{
        ImageSource, ImageSources as _, LayerBlob, Platform, RegistryCredentials, SourceError,
        SourceOptions,
    },
    progress::{NoProgress, ProgressEvent, ProgressSink},
};
use camino::Utf8Path;
use tempfile::TempDir;

use super::{
    content::Shape,
    registry::{Fault, Gate, Registry},
};

pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) options: SourceOptions,
    _scratch: TempDir,
}

impl World {
    pub(crate) async fn new(shape: Shape, fault: Fault, gate: Gate) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        Self {
            registry: Registry::start(shape, fault, gate).await,
            options: options(root),
            _scratch: scratch,
        }
    }

    pub(crate) async fn with_fault(fault: Fault) -> Self {
        Self::new(Shape::Index, fault, Gate::Open).await
    }

    /// Signs `ann` in with this secret from now on.
    pub(crate) fn sign_in(&mut self, secret: &str) {
        self.options.registries.credentials.given = vec![RegistryCredentials {
            registry: self.registry.host.clone(),
            user: "ann".into(),
            secret: secret.into(),
        }];
    }

    pub(crate) fn source(&self, name: &str) -> Result<Box<dyn ImageSource>, SourceError> {
        let reference = format!("{}/{name}", self.registry.host);
        self.options.open(&reference.parse().unwrap())
    }

    pub(crate) async fn pull(&self) -> Result<Vec<LayerBlob>, SourceError> {
        self.pull_with(&NoProgress).await
    }

    pub(crate) async fn pull_with(
        &self,
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        pull(self.source("test/image")?.as_ref(), progress).await
    }

    pub(crate) fn layer_requests(&self) -> Vec<Option<String>> {
        self.registry.state.lock().unwrap().layer_requests.clone()
    }

    /// Files of the cache with this extension; blobs have none.
    pub(crate) fn cached(&self, extension: Option<&str>) -> usize {
        let Ok(entries) = self.options.directories.blobs().read_dir_utf8() else {
            return 0;
        };
        let extensions = entries.map(|entry| entry.unwrap().path().extension().map(str::to_owned));
        extensions
            .filter(|found| found.as_deref() == extension)
            .count()
    }
}

/// Options for tests: pauses are short, and all files lie below `root`.
pub(crate) fn options(root: &Utf8Path) -> SourceOptions {
    let mut options = SourceOptions::new(Directories {
        state: root.join("state"),
        cache: root.join("cache"),
        runtime: root.join("run"),
    });
    options.registries.retry_pause = Duration::from_millis(1);
    options
}

pub(crate) fn amd64() -> Platform {
    Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: None,
    }
}

/// Pulls one image whole.
pub(crate) async fn pull(
    source: &dyn ImageSource,
    progress: &dyn ProgressSink,
) -> Result<Vec<LayerBlob>, SourceError> {
    let image = source.resolve(&amd64()).await?;
    assert_eq!(image.run_config.cmd, ["sh"]);
    source.fetch_layers(&image.layers, progress).await
}

/// Keeps all events.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) events: Mutex<Vec<ProgressEvent>>,
}

impl ProgressSink for Recorder {
    fn emit(&self, event: ProgressEvent) {
        self.events.lock().unwrap().push(event);
    }
}
