//! Somebody who pulls `test/image` from a scripted peer.

use std::{fs, time::Duration};

use banger_core::{
    oci::{ImageSources as _, LayerBlob, RegistryCredentials, SourceError, SourceOptions},
    progress::NoProgress,
};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use super::{
    peer::Peer,
    world::{options, pull},
};

pub(crate) struct Customer {
    pub(crate) options: SourceOptions,
    registry: String,
    scratch: TempDir,
}

impl Customer {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self::of_registry(&peer.host)
    }

    pub(crate) fn of_registry(registry: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut options = options(Utf8Path::from_path(scratch.path()).unwrap());
        options.registries.idle_timeout = Duration::from_secs(30);
        Self {
            options,
            registry: registry.to_owned(),
            scratch,
        }
    }

    pub(crate) fn root(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.scratch.path()).unwrap().to_owned()
    }

    pub(crate) fn reference(&self) -> String {
        format!("{}/test/image:latest", self.registry)
    }

    /// Signs `ann` in with this secret.
    pub(crate) fn sign_in(&mut self, secret: &str) {
        self.options.registries.credentials.given = vec![RegistryCredentials {
            registry: self.registry.clone(),
            user: "ann".into(),
            secret: secret.into(),
        }];
    }

    pub(crate) async fn pull(&self) -> Result<Vec<LayerBlob>, SourceError> {
        let source = self.options.open(&self.reference().parse().unwrap())?;
        pull(source.as_ref(), &NoProgress).await
    }

    /// Names in the cache of blobs that are neither blobs nor locks, which
    /// stay; a partial download stays only where it can be continued.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let Ok(entries) = self.options.directories.blobs().read_dir_utf8() else {
            return Vec::new();
        };
        let entries = entries.map(|entry| entry.unwrap().into_path());
        let left = entries.filter(|path| {
            let is_empty = fs::metadata(path).unwrap().len() == 0;
            !(path.extension() == Some("lock") || is_empty)
        });
        left.map(|path| path.file_name().unwrap().to_owned())
            .collect()
    }
}
