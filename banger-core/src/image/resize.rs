//! Changing the size of a root disk, by e2fsprogs.
//!
//! Invariants: a disk is never smaller than its content; [`resize_rootfs`]
//! works on a copy beside the disk (by reflink where possible), which takes its
//! place by one rename once e2fsck found it whole, so that the disk is at any
//! moment the old or the new one. A crash leaves the disk as it was, and
//! perhaps the copy, a hidden `.tmp` file. Entry points: [`resize_rootfs`].

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    domain::Bytes,
    error::ErrorKind,
    host_fs::{
        IoContext as _, PathError, copy_file, remove_tree_if_present, sync_directory, sync_file,
        temporary_beside,
    },
    process::{ChildError, command, run_accepting},
    step::reached,
    task::off_thread,
};

/// What checking or resizing a disk may take: disks of many GiB on slow hosts.
const DEADLINE: Duration = Duration::from_mins(30);
/// Where e2fsprogs lies where `PATH` does not lead to it, as for users of Debian.
const SYSTEM_PROGRAMS: &str = "/usr/sbin";
/// e2fsck: nothing was wrong, or all of it was put right (e2fsck(8)).
const WHOLE: [i32; 2] = [0, 1];
/// Where a superblock tells the size of blocks: the kernel's
/// `Documentation/filesystems/ext4/super.rst`, `s_log_block_size`.
const LOG_BLOCK_SIZE_OFFSET: u64 = 1024 + 0x18;
/// The largest ext4 block, and what sizes are rounded up to.
const LARGEST_LOG_BLOCK_SIZE: u32 = 6;
const GRANULE: u64 = 4096;
/// What comes before the number in the answer of `resize2fs -P`.
const MINIMUM_LABEL: &str = "minimum size of the filesystem:";

/// A root disk could not be given another size.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeRootfsError {
    /// Its content needs more.
    #[error("size {size} is less than the {needed} that the content of {path} needs")]
    TooSmall {
        /// The disk.
        path: Utf8PathBuf,
        /// What was asked for.
        size: Bytes,
        /// What its content needs.
        needed: Bytes,
    },
    /// Its file system is damaged beyond what e2fsck repairs unasked.
    #[error("the file system of {path} is damaged")]
    Damaged {
        /// The disk.
        path: Utf8PathBuf,
        /// What e2fsck said.
        source: ChildError,
    },
    /// A program of e2fsprogs failed, or is missing.
    #[error("failed to resize {path}")]
    Child {
        /// The disk.
        path: Utf8PathBuf,
        /// The cause.
        source: ChildError,
    },
    /// A host file failed.
    #[error("failed to resize {path}")]
    Io {
        /// The disk.
        path: Utf8PathBuf,
        /// The cause.
        source: PathError,
    },
}

impl ResizeRootfsError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooSmall { .. } => ErrorKind::InvalidInput,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Child { source, .. } => source.kind(),
            Self::Io { source, .. } => source.kind(),
        }
    }

    fn io(path: &Utf8Path) -> impl Fn(PathError) -> Self {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Gives an ext4 root disk that no machine uses another size, rounded up to
/// 4 KiB; larger or smaller, but never too small for its content. Needs
/// e2fsprogs on the host. Cancelling leaves the disk as it was.
pub async fn resize_rootfs(rootfs: &Utf8Path, size: Bytes) -> Result<(), ResizeRootfsError> {
    let failed = ResizeRootfsError::io(rootfs);
    let (from, copy) = (rootfs.to_owned(), Temporary(temporary_beside(rootfs)));
    // the thread owns the copy meanwhile: it is removed after its last byte
    let copied = off_thread(move || copy_file(&from, &copy.0).map(|_| copy)).await;
    let copy = copied.map_err(&failed)?;
    resize_in_place(&copy.0, size)
        .await
        .map_err(|error| about(rootfs, error))?;
    let renamed = fs::rename(&copy.0, rootfs).at("rename into place", rootfs);
    let synced = renamed.and_then(|()| rootfs.parent().map_or(Ok(()), sync_directory));
    synced.map_err(failed)
}

/// A file that goes unless it was renamed.
struct Temporary(Utf8PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove_tree_if_present(&self.0) {
            tracing::warn!(%error, "the copy of a disk is left");
        }
    }
}

/// The same failure, of the disk the user knows.
fn about(rootfs: &Utf8Path, mut error: ResizeRootfsError) -> ResizeRootfsError {
    use ResizeRootfsError as Error;
    match &mut error {
        Error::TooSmall { path, .. }
        | Error::Damaged { path, .. }
        | Error::Child { path, .. }
        | Error::Io { path, .. } => rootfs.clone_into(path),
    }
    error
}

/// Resizes a disk that nobody else knows yet: a crash leaves it half resized.
pub(crate) async fn resize_in_place(disk: &Utf8Path, size: Bytes) -> Result<(), ResizeRootfsError> {
    let size = size.round_up_to(GRANULE);
    check_rootfs(disk).await?;
    let failed = ResizeRootfsError::io(disk);
    let present = disk.metadata().at("inspect", disk).map_err(&failed)?.len();
    if present <= size.get() {
        set_length(disk, size).map_err(&failed)?;
        reached("set the length of a disk");
        resize2fs(disk, &[disk.as_str()]).await?;
    } else {
        refuse_too_small(disk, size).await?;
        let sectors = format!("{}s", size.get() / 512);
        resize2fs(disk, &[disk.as_str(), &sectors]).await?;
        set_length(disk, size).map_err(&failed)?;
    }
    reached("resized a disk");
    check_rootfs(disk).await?;
    sync_file(disk).map_err(failed)
}

/// Checks a disk that no machine uses; its journal is replayed, and what can
/// be repaired without a question is.
pub(crate) async fn check_rootfs(disk: &Utf8Path) -> Result<(), ResizeRootfsError> {
    e2fsck(disk, &[]).await
}

/// The same, and what is free becomes a hole of the file where it can.
pub(crate) async fn check_and_trim_rootfs(disk: &Utf8Path) -> Result<(), ResizeRootfsError> {
    e2fsck(disk, &["-E", "discard"]).await
}

async fn e2fsck(disk: &Utf8Path, more: &[&str]) -> Result<(), ResizeRootfsError> {
    let arguments = [&["-f", "-p"], more, &[disk.as_str()]].concat();
    let checked = e2fsprogs("e2fsck", &arguments, &WHOLE).await;
    match checked {
        Ok(_) => Ok(()),
        Err(source @ ChildError::Failed { .. }) => Err(ResizeRootfsError::Damaged {
            path: disk.to_owned(),
            source,
        }),
        Err(source) => Err(ResizeRootfsError::Child {
            path: disk.to_owned(),
            source,
        }),
    }
}

async fn refuse_too_small(disk: &Utf8Path, size: Bytes) -> Result<(), ResizeRootfsError> {
    let answer = resize2fs(disk, &["-P", disk.as_str()]).await?;
    let block = block_size(disk).map_err(ResizeRootfsError::io(disk))?;
    let blocks = minimum_blocks(&String::from_utf8_lossy(&answer));
    let needed = Bytes::new(blocks.unwrap_or(0).saturating_mul(block));
    if needed <= size {
        return Ok(());
    }
    Err(ResizeRootfsError::TooSmall {
        path: disk.to_owned(),
        size,
        needed,
    })
}

fn minimum_blocks(answer: &str) -> Option<u64> {
    let (_, number) = answer.split_once(MINIMUM_LABEL)?;
    number.trim().parse().ok()
}

fn block_size(disk: &Utf8Path) -> Result<u64, PathError> {
    let mut log = [0; 4];
    let file = File::open(disk).at("open", disk)?;
    file.read_exact_at(&mut log, LOG_BLOCK_SIZE_OFFSET)
        .at("read", disk)?;
    Ok(1024 << u32::from_le_bytes(log).min(LARGEST_LOG_BLOCK_SIZE))
}

fn set_length(disk: &Utf8Path, size: Bytes) -> Result<(), PathError> {
    let file = OpenOptions::new().write(true).open(disk).at("open", disk)?;
    file.set_len(size.get()).at("set the length of", disk)
}

async fn resize2fs(disk: &Utf8Path, arguments: &[&str]) -> Result<Vec<u8>, ResizeRootfsError> {
    let resized = e2fsprogs("resize2fs", arguments, &[0]).await;
    resized.map_err(|source| ResizeRootfsError::Child {
        path: disk.to_owned(),
        source,
    })
}

/// Runs a program of e2fsprogs, wherever it lies.
pub(crate) async fn e2fsprogs(
    program: &str,
    arguments: &[&str],
    accepted: &[i32],
) -> Result<Vec<u8>, ChildError> {
    let start = |program: &str| {
        let mut child = command(program);
        child.env("LC_ALL", "C").args(arguments);
        run_accepting(child, accepted, DEADLINE)
    };
    match start(program).await {
        Err(ChildError::Spawn { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            start(&format!("{SYSTEM_PROGRAMS}/{program}")).await
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_size_is_read_from_the_answer() {
        let answer = "resize2fs 1.47.0\nEstimated minimum size of the filesystem: 1234\n";
        assert_eq!(minimum_blocks(answer), Some(1234));
        assert_eq!(minimum_blocks("nothing"), None);
    }
}
