//! From a local source to the files of a kernel's directory.
//!
//! Purpose: look at a source (cheap: its release), then write its kernel,
//! initrd, configuration and modules. Invariants: the target holds nothing
//! but what is named here; when [`Located::stage`] answers, all is on disk.
//! Entry points: [`locate`], [`Located`].

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;

use super::{
    deb,
    directory::{self, copy_modules},
    fault::Fault,
    transfer::sync_file_system,
    vmlinux::{KernelFile, Vmlinux},
};
use crate::{
    domain::BootArtifacts,
    host_fs::{IoContext as _, copy_file},
    step::reached,
};

/// A source on the host's own disk.
#[derive(Clone, Debug)]
pub(crate) enum LocalSource {
    Directory(Utf8PathBuf),
    Deb(Utf8PathBuf),
    File(Utf8PathBuf),
}

/// A source whose kernel is known and not yet copied.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) release: String,
    pub(crate) distribution: Option<&'static str>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Deb(Utf8PathBuf),
    Files {
        kernel: Utf8PathBuf,
        initrd: Option<Utf8PathBuf>,
        modules: Option<Utf8PathBuf>,
    },
}

/// What was written.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) vmlinux: Vmlinux,
    pub(crate) has_initrd: bool,
    pub(crate) has_modules: bool,
}

impl Staged {
    /// The kernel triple once the directory is at `directory`.
    pub(crate) fn boot_in(&self, directory: &Utf8Path) -> BootArtifacts {
        BootArtifacts {
            kernel: directory.join("vmlinux"),
            initrd: self.has_initrd.then(|| directory.join("initrd.img")),
            modules: self.has_modules.then(|| directory.join("modules")),
        }
    }
}

/// Looks at a source. Holds up its thread.
pub(crate) fn locate(
    source: &LocalSource,
    cancelled: &CancellationToken,
) -> Result<Located, Fault> {
    match source {
        LocalSource::Deb(package) => Ok(Located {
            release: deb::release(package, cancelled)?,
            distribution: Some("debian"),
            content: Content::Deb(package.clone()),
        }),
        LocalSource::Directory(directory) => {
            let found = directory::find(directory, cancelled)?;
            Ok(Located {
                release: found.release,
                distribution: None,
                content: Content::Files {
                    kernel: found.kernel,
                    initrd: found.initrd,
                    modules: found.modules,
                },
            })
        }
        LocalSource::File(kernel) => locate_file(kernel, cancelled),
    }
}

fn locate_file(kernel: &Utf8Path, cancelled: &CancellationToken) -> Result<Located, Fault> {
    let release = KernelFile::open(kernel)?.release(cancelled)?;
    let release =
        release.ok_or_else(|| Fault::malformed("the kernel does not tell its release"))?;
    Ok(Located {
        release,
        distribution: None,
        content: Content::Files {
            kernel: kernel.to_owned(),
            initrd: None,
            modules: None,
        },
    })
}

impl Located {
    /// Writes the kernel's files into `target`, an empty directory, and
    /// flushes them. Holds up its thread.
    pub(crate) fn stage(
        &self,
        target: &Utf8Path,
        cancelled: &CancellationToken,
    ) -> Result<Staged, Fault> {
        let staged = match &self.content {
            Content::Deb(package) => self.stage_package(package, target, cancelled)?,
            Content::Files {
                kernel,
                initrd,
                modules,
            } => {
                let vmlinux =
                    KernelFile::open(kernel)?.write_vmlinux(&target.join("vmlinux"), cancelled)?;
                if let Some(initrd) = initrd {
                    copy_file(initrd, &target.join("initrd.img"))?;
                }
                if let Some(modules) = modules {
                    copy_modules(modules, &target.join("modules"), cancelled)?;
                }
                Staged {
                    vmlinux,
                    has_initrd: initrd.is_some(),
                    has_modules: modules.is_some(),
                }
            }
        };
        sync_file_system(target)?;
        reached("flushed a kernel");
        Ok(staged)
    }

    fn stage_package(
        &self,
        package: &Utf8Path,
        target: &Utf8Path,
        cancelled: &CancellationToken,
    ) -> Result<Staged, Fault> {
        let packed = target.join("vmlinuz");
        let targets = deb::Targets {
            kernel: &packed,
            config: &target.join("config"),
            modules: &target.join("modules"),
        };
        let extracted = deb::extract(package, &self.release, &targets, cancelled)?;
        reached("unpacked a kernel's package");
        let vmlinux =
            KernelFile::open(&packed)?.write_vmlinux(&target.join("vmlinux"), cancelled)?;
        fs::remove_file(&packed).at("remove", &packed)?;
        reached("removed a packed kernel");
        Ok(Staged {
            vmlinux,
            has_initrd: false,
            has_modules: extracted.modules,
        })
    }
}
