//! Kernels: importing, keeping and resolving them.
//!
//! Purpose: turn what a user calls a kernel into checked absolute paths.
//! Invariants: a kernel's directory is published whole, by rename; its record
//! is in the database; resolving is one policy, [`KernelResolver::resolve`].
//! Entry points: [`KernelResolver`], [`LocalKernelResolver`],
//! [`KernelSource`], [`KernelSelection`].

mod apt;
mod ar;
mod bundle;
mod bzimage;
mod deb;
mod directory;
pub(crate) mod elf;
mod error;
mod fault;
pub(crate) mod inflate;
mod local;
mod lz4_legacy;
mod lzo;
mod manifest;
pub(crate) mod module_tree;
mod read_at;
mod release;
mod resolve;
mod selection;
mod shelf;
mod stage;
pub(crate) mod tarball;
pub(crate) mod transfer;
pub(crate) mod vmlinux;

use async_trait::async_trait;

use crate::{
    bundle::Written,
    catalog::Available,
    domain::{Kernel, KernelName, ResolvedKernel},
    host_fs::Output,
    progress::ProgressSink,
};

pub use error::{
    BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, PullKernelError,
    ReconcileKernelsError, ResolveKernelError,
};
pub use local::LocalKernelResolver;
pub(crate) use release::{find_banner, is_release};
pub use selection::{KernelPaths, KernelSelection, KernelSource, KernelSourceParseError};

/// Keeps kernels and answers which files a kernel selection means.
///
/// Every method may be called concurrently, by any number of processes on the
/// same state directory. A cancelled or crashed call leaves no kernel half
/// made.
#[async_trait]
pub trait KernelResolver: Send + Sync + std::fmt::Debug {
    /// The one policy: a name and paths together are refused; a name is looked
    /// up in the store, else in the catalogs, and pulled from there; paths are
    /// taken as given, made absolute and validated (every problem is reported
    /// at once).
    async fn resolve(
        &self,
        selection: &KernelSelection,
        progress: &dyn ProgressSink,
    ) -> Result<ResolvedKernel, ResolveKernelError>;

    /// Imports a kernel under `name`, or under `linux-<release>` when none is
    /// given. A name that exists is refused before any work.
    async fn import(
        &self,
        source: &KernelSource,
        name: Option<KernelName>,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, ImportKernelError>;

    /// Pulls the kernel of that name from the first catalog that has it. One
    /// that is here already is refused, or with `force` replaced; that is
    /// refused while an image was made from it by name. A forced pull that
    /// fails, is cancelled or crashes leaves the old kernel.
    async fn pull(
        &self,
        name: &KernelName,
        force: bool,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, PullKernelError>;

    /// Writes a kernel into a bundle: the same kernel gives the same bytes.
    /// Cancelling leaves nothing at the target.
    async fn bundle(
        &self,
        name: &KernelName,
        target: Output,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleKernelError>;

    /// What the catalogs offer; those that cannot be used are told apart.
    async fn available(&self) -> Available;

    /// Every kernel, by name.
    async fn list(&self) -> Result<Vec<Kernel>, KernelQueryError>;

    /// One kernel.
    async fn show(&self, name: &KernelName) -> Result<Kernel, KernelQueryError>;

    /// Removes a kernel; refused while an image was made from it by name.
    async fn delete(&self, name: &KernelName) -> Result<Kernel, DeleteKernelError>;
}
