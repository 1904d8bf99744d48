//! Kernel records.

use std::time::SystemTime;

use camino::Utf8PathBuf;

use super::{BootArtifacts, Digest, KernelName, Verdict};
use crate::bundle::BundleReference;

/// An imported kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Unique name.
    pub name: KernelName,
    /// Distribution it comes from, if known.
    pub distribution: Option<String>,
    /// Architecture, as `uname -m` says it.
    pub architecture: String,
    /// The kernel's release (`uname -r`).
    pub version: String,
    /// Digest of the `vmlinux`.
    pub sha256: Digest,
    /// Where it came from.
    pub origin: KernelOrigin,
    /// Its directory, which holds `vmlinux`, optionally `initrd.img` and
    /// `modules/`, and `manifest.json`.
    pub directory: Utf8PathBuf,
    /// The triple inside that directory.
    pub boot: BootArtifacts,
    /// What a policy decided when it was let in; none when none was asked.
    pub verdict: Option<Verdict>,
    /// When it was imported.
    pub imported: SystemTime,
}

/// Where a kernel came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelOrigin {
    /// A directory with a kernel and perhaps modules.
    Directory(Utf8PathBuf),
    /// A Debian package file.
    DebFile(Utf8PathBuf),
    /// A package fetched through the host's own apt.
    AptPackage(String),
    /// A single `vmlinux` or `bzImage` file.
    File(Utf8PathBuf),
    /// A bundle, with the digest it had.
    Bundle(BundleReference),
}

/// What the one resolve policy answers: checked absolute paths, and the
/// reference they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedKernel {
    /// The kernel triple.
    pub boot: BootArtifacts,
    /// The reference, when the user gave one.
    pub name: Option<KernelName>,
}
