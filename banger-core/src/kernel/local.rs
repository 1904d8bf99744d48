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
use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::task::TaskTracker;

use super::{
    BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, KernelResolver,
    KernelSelection, KernelSource, PullKernelError, ReconcileKernelsError, ResolveKernelError, apt,
    fault::Fault,
    manifest,
    release::default_name,
    resolve::{absolute, resolve},
    shelf::{Claim, Shelf},
    stage::{LocalSource, Located, locate},
};
use crate::{
    bundle::Written,
    catalog::{Available, Supply, SupplyOptions},
    clock::Clock,
    directories::Directories,
    domain::{Kernel, KernelName, KernelOrigin, ResolvedKernel, Verdict},
    host_fs::{Output, Staging},
    oci::SourceOptions,
    progress::{ProgressEvent, ProgressSink},
    rootfs::RootfsLimits,
    store::Store,
    task::{attended, settle},
};

/// Keeps kernels in one state directory. Clones share everything.
#[derive(Clone, Debug)]
pub struct LocalKernelResolver {
    pub(super) store: Store,
    pub(super) shelf: Shelf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) supply: Supply,
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
    /// A resolver over this store and these directories (absolute paths), with
    /// the embedded catalog alone and no policy.
    #[must_use]
    pub fn new(store: Store, directories: Directories, clock: Arc<dyn Clock>) -> Self {
        let options = SupplyOptions::default();
        let sources = SourceOptions::new(directories.clone());
        let supply = Supply::new(sources, RootfsLimits::default(), options);
        Self {
            supply,
            shelf: Shelf::new(store.clone(), directories),
            store,
            clock,
            tasks: TaskTracker::new(),
        }
    }

    /// The same with bundles, catalogs and a policy of the caller's.
    #[must_use]
    pub fn with_supply(self, supply: Supply) -> Self {
        Self { supply, ..self }
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
            KernelSource::Brought { called, file } => match **called {
                KernelSource::DebFile(_) => LocalSource::Deb(file.clone()),
                _ => LocalSource::File(file.clone()),
            },
            KernelSource::AptPackage(package) => {
                return self.fetch_package(source, package, progress).await;
            }
            KernelSource::Bundle(_) => {
                return Err(Fault::NoKernel("it is a bundle".to_owned()).of(source));
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

    /// Publishes a kernel in the place of the one that has its name, likewise.
    pub(super) async fn replace(
        &self,
        staging: Staging,
        kernel: Kernel,
    ) -> Result<Kernel, PullKernelError> {
        let keeper = self.shelf.clone();
        let replaced = async move { keeper.replace(staging, kernel).await };
        settle(self.tasks.spawn(replaced)).await
    }

    /// Gets a kernel that is no bundle's and fills a staging directory with it.
    pub(super) async fn stage(
        &self,
        source: &KernelSource,
        (name, claim): (Option<KernelName>, Claim),
        progress: &dyn ProgressSink,
    ) -> Result<(Staging, Kernel), ImportKernelError> {
        let admission = self.admit(source)?;
        let fetched = self.fetch(source, progress).await?;
        report(progress, format!("reading {source}"));
        let local = fetched.source.clone();
        let located = attended(move |cancelled| locate(&local, cancelled)).await;
        let located = located.map_err(|fault| fault.of(source))?;
        let name = name_of(name, &located.release)?;
        report(progress, format!("unpacking kernel {}", located.release));
        let staging = self.shelf.reserve(&name, claim).await?;
        let named = (name, admission.verdict());
        self.prepare(located, source, staging, named).await
    }

    /// Publishes and records a kernel, in a task that its caller cannot cut.
    pub(super) async fn keep(
        &self,
        staging: Staging,
        kernel: Kernel,
    ) -> Result<Kernel, ImportKernelError> {
        let keeper = self.shelf.clone();
        let kept = async move { keeper.keep(staging, kernel).await };
        settle(self.tasks.spawn(kept)).await
    }

    /// Fills a staging directory and makes the record that goes with it.
    async fn prepare(
        &self,
        located: Located,
        source: &KernelSource,
        staging: Staging,
        (name, verdict): (KernelName, Option<Verdict>),
    ) -> Result<(Staging, Kernel), ImportKernelError> {
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
                verdict,
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
        progress: &dyn ProgressSink,
    ) -> Result<ResolvedKernel, ResolveKernelError> {
        match resolve(&self.store, selection).await {
            Err(ResolveKernelError::NotFound { name }) => {
                self.pull_missing(&name, progress).await?;
                resolve(&self.store, selection).await
            }
            resolved => resolved,
        }
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
        let named = (name, Claim::First);
        let (staging, kernel) = match source {
            KernelSource::Bundle(reference) => {
                self.stage_bundle(reference, None, named, progress).await?
            }
            _ => self.stage(source, named, progress).await?,
        };
        self.keep(staging, kernel).await
    }

    async fn pull(
        &self,
        name: &KernelName,
        force: bool,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, PullKernelError> {
        self.pull_named(name, force, progress).await
    }

    async fn bundle(
        &self,
        name: &KernelName,
        target: Output,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleKernelError> {
        self.write_bundle(name, target, progress).await
    }

    async fn available(&self) -> Available {
        self.supply.catalogs.kernels().await
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

/// The source with an absolute path.
pub(super) fn absolute_source(source: &KernelSource) -> KernelSource {
    match source {
        KernelSource::Directory(path) => KernelSource::Directory(absolute(path)),
        KernelSource::DebFile(path) => KernelSource::DebFile(absolute(path)),
        KernelSource::AptPackage(package) => KernelSource::AptPackage(package.clone()),
        KernelSource::File(path) => KernelSource::File(absolute(path)),
        KernelSource::Bundle(reference) => {
            let here = absolute(Utf8Path::new("."));
            KernelSource::Bundle(reference.absolute(&here))
        }
        KernelSource::Brought { .. } => source.clone(),
    }
}

/// The source as the record keeps it, with an absolute path.
fn origin_of(source: &KernelSource) -> KernelOrigin {
    match absolute_source(source) {
        KernelSource::Directory(path) => KernelOrigin::Directory(path),
        KernelSource::DebFile(path) => KernelOrigin::DebFile(path),
        KernelSource::AptPackage(package) => KernelOrigin::AptPackage(package),
        KernelSource::File(path) => KernelOrigin::File(path),
        KernelSource::Bundle(reference) => KernelOrigin::Bundle(reference),
        KernelSource::Brought { called, .. } => origin_of(&called),
    }
}

pub(super) fn report(progress: &dyn ProgressSink, step: String) {
    progress.emit(ProgressEvent::ImportingKernel { step });
}
