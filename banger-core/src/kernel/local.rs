//! Kernels kept in the state directory and the database.
//!
//! Purpose: the [`KernelResolver`] that banger itself uses. Invariants: a
//! kernel's directory is made beside its final place and appears there whole;
//! the lock between processes covers only the making of a staging directory,
//! and recheck + rename + insert; what must not be cut in two runs in a task
//! of the resolver, not of the caller.
//! Entry points: [`LocalKernelResolver`].

use std::sync::Arc;

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio_util::task::TaskTracker;

use super::{
    DeleteKernelError, ImportKernelError, KernelQueryError, KernelResolver, KernelSelection,
    KernelSource, ReconcileKernelsError, ResolveKernelError, apt,
    fault::Fault,
    manifest,
    release::default_name,
    resolve::{absolute, resolve},
    shelf::Shelf,
    stage::{LocalSource, Located, locate},
};
use crate::{
    clock::Clock,
    directories::Directories,
    domain::{Kernel, KernelName, KernelOrigin, ResolvedKernel},
    host_fs::Staging,
    progress::{ProgressEvent, ProgressSink},
    store::Store,
    task::{attended, settle},
};

/// Keeps kernels in one state directory. Clones share everything.
#[derive(Clone, Debug)]
pub struct LocalKernelResolver {
    store: Store,
    shelf: Shelf,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
}

/// A source that lies on this host's disk, and the directory that goes with
/// it when it was fetched.
#[derive(Debug)]
struct Fetched {
    source: LocalSource,
    _download: Option<Staging>,
}

impl LocalKernelResolver {
    /// A resolver over this store and these directories (absolute paths).
    #[must_use]
    pub fn new(store: Store, directories: Directories, clock: Arc<dyn Clock>) -> Self {
        Self {
            shelf: Shelf::new(store.clone(), directories),
            store,
            clock,
            tasks: TaskTracker::new(),
        }
    }

    /// Removes what crashes left: staging directories whose maker is gone,
    /// and kernel directories without a record. Answers what was removed.
    /// Work of living processes is left alone.
    pub async fn reconcile(&self) -> Result<Vec<Utf8PathBuf>, ReconcileKernelsError> {
        self.shelf.reconcile().await
    }

    async fn fetch(
        &self,
        source: &KernelSource,
        progress: &dyn ProgressSink,
    ) -> Result<Fetched, ImportKernelError> {
        let local = match source {
            KernelSource::Directory(path) => LocalSource::Directory(absolute(path)),
            KernelSource::DebFile(path) => LocalSource::Deb(absolute(path)),
            KernelSource::File(path) => LocalSource::File(absolute(path)),
            KernelSource::AptPackage(package) => {
                return self.fetch_package(source, package, progress).await;
            }
        };
        Ok(Fetched {
            source: local,
            _download: None,
        })
    }

    async fn fetch_package(
        &self,
        source: &KernelSource,
        package: &str,
        progress: &dyn ProgressSink,
    ) -> Result<Fetched, ImportKernelError> {
        let failed = |source| ImportKernelError::Fetch {
            package: package.to_owned(),
            source,
        };
        report(progress, format!("asking apt for {package}"));
        let found = apt::find_kernel_package(package).await.map_err(failed)?;
        let download = self.shelf.download_area().await?;
        report(
            progress,
            format!("fetching {} {}", found.name, found.version),
        );
        let file = apt::download(&found, download.path())
            .await
            .map_err(failed)?;
        let missing = || Fault::NoKernel("apt fetched no file".to_owned()).of(source);
        Ok(Fetched {
            source: LocalSource::Deb(file.ok_or_else(missing)?),
            _download: Some(download),
        })
    }

    /// Fills a staging directory and makes the record that goes with it.
    async fn prepare(
        &self,
        located: Located,
        source: &KernelSource,
        name: KernelName,
    ) -> Result<(Staging, Kernel), ImportKernelError> {
        let staging = self.shelf.reserve(&name).await?;
        let (imported, origin) = (self.clock.now(), origin_of(source));
        let prepared = attended(move |cancelled| {
            let staged = located.stage(staging.path(), cancelled)?;
            let directory = staging.target().to_owned();
            let kernel = Kernel {
                name,
                distribution: located.distribution.map(str::to_owned),
                architecture: staged.vmlinux.architecture.to_owned(),
                version: located.release,
                sha256: staged.vmlinux.sha256,
                origin,
                boot: staged.boot_in(&directory),
                directory,
                imported,
            };
            manifest::write(&kernel, staging.path())?;
            Ok((staging, kernel))
        });
        prepared.await.map_err(|fault: Fault| fault.of(source))
    }
}

#[async_trait]
impl KernelResolver for LocalKernelResolver {
    async fn resolve(
        &self,
        selection: &KernelSelection,
    ) -> Result<ResolvedKernel, ResolveKernelError> {
        resolve(&self.store, selection).await
    }

    async fn import(
        &self,
        source: &KernelSource,
        name: Option<KernelName>,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, ImportKernelError> {
        if let Some(name) = &name {
            self.shelf.refuse_taken(name).await?;
        }
        let fetched = self.fetch(source, progress).await?;
        report(progress, format!("reading {source}"));
        let local = fetched.source.clone();
        let located = attended(move |cancelled| locate(&local, cancelled)).await;
        let located = located.map_err(|fault| fault.of(source))?;
        let name = name_of(name, &located.release)?;
        report(progress, format!("unpacking kernel {}", located.release));
        let (staging, kernel) = self.prepare(located, source, name).await?;
        let keeper = self.shelf.clone();
        let kept = async move { keeper.keep(staging, kernel).await };
        settle(self.tasks.spawn(kept)).await
    }

    async fn list(&self) -> Result<Vec<Kernel>, KernelQueryError> {
        self.store.kernels().await.map_err(KernelQueryError::Store)
    }

    async fn show(&self, name: &KernelName) -> Result<Kernel, KernelQueryError> {
        let found = self.store.kernel(name).await;
        found
            .map_err(KernelQueryError::Store)?
            .ok_or_else(|| KernelQueryError::NotFound { name: name.clone() })
    }

    async fn delete(&self, name: &KernelName) -> Result<Kernel, DeleteKernelError> {
        let (keeper, name) = (self.shelf.clone(), name.clone());
        settle(self.tasks.spawn(async move { keeper.remove(&name).await })).await
    }
}

fn name_of(given: Option<KernelName>, release: &str) -> Result<KernelName, ImportKernelError> {
    let no_name = || ImportKernelError::NoDefaultName {
        release: release.to_owned(),
    };
    given.or_else(|| default_name(release)).ok_or_else(no_name)
}

/// The source as the record keeps it, with an absolute path.
fn origin_of(source: &KernelSource) -> KernelOrigin {
    match source {
        KernelSource::Directory(path) => KernelOrigin::Directory(absolute(path)),
        KernelSource::DebFile(path) => KernelOrigin::DebFile(absolute(path)),
        KernelSource::AptPackage(package) => KernelOrigin::AptPackage(package.clone()),
        KernelSource::File(path) => KernelOrigin::File(absolute(path)),
    }
}

fn report(progress: &dyn ProgressSink, step: String) {
    progress.emit(ProgressEvent::ImportingKernel { step });
}
