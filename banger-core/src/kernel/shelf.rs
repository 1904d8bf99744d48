//! The directory and the records of kernels, kept in step.
//!
//! Purpose: reserve, publish, remove and repair kernels. Invariants: whoever
//! makes, renames or sweeps a directory of `kernels/` holds the one lock
//! between processes, and holds it for moments; a directory that no record
//! names is nobody's. A kernel that replaces another one has a directory of
//! its own, `<name>@<id>`, and one transaction changes the record from one to
//! the other: a crash leaves the old kernel or the new one, and perhaps a
//! directory, which reconcile removes.
//! Entry points: [`Shelf`].

use std::{collections::BTreeSet, io};

use camino::{Utf8Path, Utf8PathBuf};
use uuid::Uuid;

use super::{DeleteKernelError, ImportKernelError, PullKernelError, ReconcileKernelsError};
use crate::{
    directories::Directories,
    domain::{Kernel, KernelName},
    host_fs::{
        FileLock, IoContext as _, LockError, PathError, Staging, lock_deadline,
        remove_tree_if_present, sync_directory,
    },
    step::reached,
    store::{InsertError, Store},
    task::off_thread,
};

/// What is between the name and the id of a kernel's directory; no name has it.
const SUCCESSOR: char = '@';

/// What a kernel in the making is to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The first one; a name that is taken is refused.
    First,
    /// It replaces the kernel that has the name.
    Successor,
}

/// The kernels of one state directory.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    store: Store,
    directories: Directories,
}

impl Shelf {
    pub(super) const fn new(store: Store, directories: Directories) -> Self {
        Self { store, directories }
    }

    /// Where the files of a new kernel shall be.
    fn target(&self, name: &KernelName, claim: Claim) -> Utf8PathBuf {
        let directory = self.directories.kernel(name);
        match claim {
            Claim::First => directory,
            Claim::Successor => {
                let id = Uuid::now_v7().simple();
                Utf8PathBuf::from(format!("{directory}{SUCCESSOR}{id}"))
            }
        }
    }

    /// Where the files of a kernel are: below `kernels/`, whatever the record
    /// says.
    fn home(&self, kernel: &Kernel) -> Utf8PathBuf {
        let name = kernel.directory.file_name();
        let kernels = self.directories.kernels();
        kernels.join(name.unwrap_or(kernel.name.as_str()))
    }

    /// Where locks are.
    pub(super) fn locks(&self) -> Utf8PathBuf {
        self.directories.locks()
    }

    /// Refuses a name that cannot be given to a new kernel.
    pub(super) async fn refuse_taken(&self, name: &KernelName) -> Result<(), ImportKernelError> {
        if Staging::is_staging_name(name.as_str()) {
            return Err(ImportKernelError::ReservedName { name: name.clone() });
        }
        match self.store.kernel(name).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(ImportKernelError::AlreadyExists { name: name.clone() }),
            Err(error) => Err(ImportKernelError::Store(error)),
        }
    }

    /// Refuses a name that a kernel cannot claim so.
    pub(super) async fn check(
        &self,
        name: &KernelName,
        claim: Claim,
    ) -> Result<(), ImportKernelError> {
        match claim {
            Claim::First => self.refuse_taken(name).await,
            Claim::Successor => Ok(()),
        }
    }

    /// Refuses to take a kernel away that an image was made from by name.
    pub(super) async fn refuse_in_use(&self, name: &KernelName) -> Result<(), DeleteKernelError> {
        let images = self.store.images_of_kernel(name).await;
        let images = images.map_err(DeleteKernelError::Store)?;
        if images.is_empty() {
            return Ok(());
        }
        Err(DeleteKernelError::InUse {
            name: name.clone(),
            images,
        })
    }

    /// A staging directory for a kernel of that name.
    pub(super) async fn reserve(
        &self,
        name: &KernelName,
        claim: Claim,
    ) -> Result<Staging, ImportKernelError> {
        let _lock = self.lock().await.map_err(ImportKernelError::Lock)?;
        self.check(name, claim).await?;
        let (kernels, target) = (self.directories.kernels(), self.target(name, claim));
        let staging = off_thread(move || {
            Staging::remove_abandoned(&kernels)?;
            // what a crash between publishing and recording left
            remove_tree_if_present(&target)?;
            Staging::create(&target)
        });
        staging.await.map_err(|error| {
            if error.io_error().kind() == io::ErrorKind::AlreadyExists {
                ImportKernelError::Busy { name: name.clone() }
            } else {
                ImportKernelError::Io(error)
            }
        })
    }

    /// A directory for a download, removed when dropped and, after a crash,
    /// by the next sweep: it never becomes a kernel's.
    pub(super) async fn download_area(&self) -> Result<Staging, ImportKernelError> {
        let _lock = self.lock().await.map_err(ImportKernelError::Lock)?;
        let area = self.unique("download");
        off_thread(move || Staging::create(&area))
            .await
            .map_err(ImportKernelError::Io)
    }

    /// Publishes a filled staging directory and records its kernel. A task of
    /// its own: a caller that gives up half-way leaves a whole kernel.
    pub(super) async fn keep(
        &self,
        staging: Staging,
        kernel: Kernel,
    ) -> Result<Kernel, ImportKernelError> {
        let _lock = self.lock().await.map_err(ImportKernelError::Lock)?;
        self.refuse_taken(&kernel.name).await?;
        off_thread(move || staging.publish())
            .await
            .map_err(ImportKernelError::Io)?;
        let Err(error) = self.store.insert_kernel(&kernel).await else {
            return Ok(kernel);
        };
        discard(kernel.directory).await;
        Err(match error {
            InsertError::Taken => ImportKernelError::AlreadyExists { name: kernel.name },
            InsertError::Store(error) => ImportKernelError::Store(error),
        })
    }

    /// Publishes a filled staging directory and puts its kernel in the place
    /// of the one that has the name. A task of its own, as [`Self::keep`].
    pub(super) async fn replace(
        &self,
        staging: Staging,
        kernel: Kernel,
    ) -> Result<Kernel, PullKernelError> {
        let former = self.succeed(staging, &kernel).await?;
        if let Some(former) = former {
            discard(former).await;
        }
        Ok(kernel)
    }

    /// Makes the change, and answers the files that nobody needs any more.
    async fn succeed(
        &self,
        staging: Staging,
        kernel: &Kernel,
    ) -> Result<Option<Utf8PathBuf>, PullKernelError> {
        let _lock = self.lock().await.map_err(ImportKernelError::Lock)?;
        let former = self.store.kernel(&kernel.name).await;
        let former = former.map_err(ImportKernelError::Store)?;
        self.refuse_in_use(&kernel.name).await?;
        let published = off_thread(move || staging.publish()).await;
        published.map_err(ImportKernelError::Io)?;
        if let Err(error) = self.store.replace_kernel(kernel).await {
            discard(kernel.directory.clone()).await;
            return Err(ImportKernelError::Store(error).into());
        }
        let Some(former) = former.map(|former| self.home(&former)) else {
            return Ok(None);
        };
        let doomed = Staging::path_for(&self.unique("replaced"));
        let moved = doomed.clone();
        match off_thread(move || set_aside(&former, &moved)).await {
            Ok(()) => Ok(Some(doomed)),
            Err(error) => {
                tracing::warn!(%error, "a kernel directory is left for the next reconcile");
                Ok(None)
            }
        }
    }

    /// Removes a kernel's record, then its files. A task of its own, as
    /// [`Self::keep`].
    pub(super) async fn remove(&self, name: &KernelName) -> Result<Kernel, DeleteKernelError> {
        let (kernel, doomed) = self.withdraw(name).await?;
        off_thread(move || remove_tree_if_present(&doomed))
            .await
            .map_err(|error| io_failure(&kernel, error))?;
        Ok(kernel)
    }

    /// Removes the record and takes the files out of the way, under the lock;
    /// removing thousands of files is left for after it.
    async fn withdraw(
        &self,
        name: &KernelName,
    ) -> Result<(Kernel, Utf8PathBuf), DeleteKernelError> {
        let _lock = self.lock().await.map_err(DeleteKernelError::Lock)?;
        let failed = DeleteKernelError::Store;
        let kernel = self.store.kernel(name).await.map_err(failed)?;
        let kernel = kernel.ok_or_else(|| DeleteKernelError::NotFound { name: name.clone() })?;
        self.refuse_in_use(name).await?;
        self.store.delete_kernel(name).await.map_err(failed)?;
        let directory = self.home(&kernel);
        let doomed = Staging::path_for(&self.unique("deleted"));
        let moved = doomed.clone();
        off_thread(move || set_aside(&directory, &moved))
            .await
            .map_err(|error| io_failure(&kernel, error))?;
        Ok((kernel, doomed))
    }

    /// See [`super::LocalKernelResolver::reconcile`].
    pub(super) async fn reconcile(&self) -> Result<Vec<Utf8PathBuf>, ReconcileKernelsError> {
        let _lock = self.lock().await.map_err(ReconcileKernelsError::Lock)?;
        let kernels = self.store.kernels().await;
        let kernels = kernels.map_err(ReconcileKernelsError::Store)?;
        let recorded = kernels.iter().map(|kernel| self.home(kernel));
        let recorded: BTreeSet<Utf8PathBuf> = recorded.collect();
        let parent = self.directories.kernels();
        off_thread(move || sweep(&parent, &recorded))
            .await
            .map_err(ReconcileKernelsError::Io)
    }

    async fn lock(&self) -> Result<FileLock, LockError> {
        let path = self.directories.locks().join("kernels.lock");
        FileLock::acquire(&path, lock_deadline()).await
    }

    fn unique(&self, purpose: &str) -> Utf8PathBuf {
        let name = format!("{purpose}-{}", Uuid::now_v7().simple());
        self.directories.kernels().join(name)
    }
}

fn io_failure(kernel: &Kernel, source: PathError) -> DeleteKernelError {
    DeleteKernelError::Io {
        name: kernel.name.clone(),
        directory: kernel.directory.clone(),
        source,
    }
}

/// Removes a directory that no record names.
async fn discard(directory: Utf8PathBuf) {
    if let Err(error) = off_thread(move || remove_tree_if_present(&directory)).await {
        tracing::warn!(%error, "a kernel directory is left for the next reconcile");
    }
}

/// Renames a directory; one that is not there is fine.
fn set_aside(directory: &Utf8Path, aside: &Utf8Path) -> Result<(), PathError> {
    match std::fs::rename(directory, aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => {
            renamed.at("set aside", directory)?;
            reached("set a directory aside");
            directory.parent().map_or(Ok(()), sync_directory)
        }
    }
}

fn sweep(
    kernels: &Utf8Path,
    recorded: &BTreeSet<Utf8PathBuf>,
) -> Result<Vec<Utf8PathBuf>, PathError> {
    let mut removed = Staging::remove_abandoned(kernels)?;
    let entries = match kernels.read_dir_utf8() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        entries => entries.at("read directory", kernels)?,
    };
    for entry in entries {
        let path = entry.at("read directory", kernels)?.into_path();
        if is_kernel_directory(&path) && !recorded.contains(&path) {
            remove_tree_if_present(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Whether banger made this path for a kernel; anything else is not touched.
fn is_kernel_directory(path: &Utf8Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let split = name.split_once(SUCCESSOR);
    let (kernel, id) = split.map_or((name, None), |(kernel, id)| (kernel, Some(id)));
    let ours = !Staging::is_staging_name(name)
        && kernel.parse::<KernelName>().is_ok()
        && id.is_none_or(|id| Uuid::try_parse(id).is_ok());
    let is_directory = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_dir());
    ours && is_directory
}
