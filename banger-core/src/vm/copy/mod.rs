//! Copying files between host and guest.
//!
//! Purpose: `docker cp`'s rules over [`VmSupervisor`]'s streams: files of the
//! host on one side, of a guest on the other. Invariants: a guest is untrusted:
//! what it sends never leads out of the destination; each file appears whole;
//! giving a copy up leaves files that are whole, old or new.
//! Entry points: [`copy_in`], [`copy_out`], [`unpack_in`], [`pack_out`].

mod calls;
mod error;
mod host;
mod plan;

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use banger_transfer::{Piece, TransferError, piece_channel};
use tokio::{sync::mpsc, time::sleep};

use super::{
    Copied, GuestFile, GuestFileKind, GuestPath, ReadTree, TreeEvent, TreeRead, TreeStream,
    VmSupervisor, WriteTree,
};
use crate::{
    domain::Selector,
    error::ErrorKind,
    task::{off_thread, settle},
};
use plan::{Destination, Source, Target};

pub(super) use calls::{read_tree, stat_path, write_tree};
pub use error::{CopyError, FileFailure};
pub use plan::PlanError;

/// How often a copy into a guest is begun whose service goes away.
const ATTEMPTS: u32 = 8;
/// How long the first pause between them is; the others grow by as much.
const PAUSE: Duration = Duration::from_millis(100);

/// How to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Files keep their owners, by number, and their extended attributes.
    /// Otherwise they become root's in a guest, and the user's on the host.
    pub keep_owners: bool,
    /// A source that is a link is what it points to.
    pub follow_link: bool,
}

/// Copies a file or a directory of the host into a guest. A source whose last
/// part is `.` is what the directory holds. Cancelling leaves what was copied. Begun
/// again when the way to the guest's host breaks.
pub async fn copy_in(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    source: &Path,
    destination: &[u8],
    options: CopyOptions,
) -> Result<TreeRead, CopyError> {
    let given = source.to_owned();
    let source = off_thread(move || host::source(&given, options.follow_link)).await?;
    let there = look(vms, vm, destination).await?;
    let target = plan::plan(&source, &there)?;
    let path = PathBuf::from(OsString::from_vec(source.path));
    let mut attempt = 0;
    loop {
        let copied = copy_once(vms, vm, path.clone(), target.clone(), options).await;
        attempt += 1;
        match copied {
            Err(error) if is_cut(&error) && attempt < ATTEMPTS => sleep(PAUSE * attempt).await,
            copied => return copied,
        }
    }
}

/// Whether a service, or the way to it, went away. What was written by then is whole,
/// and is written again.
fn is_cut(error: &CopyError) -> bool {
    let CopyError::Remote(error) = error else {
        return false;
    };
    match error.kind() {
        ErrorKind::Unavailable => true,
        // nobody of banger's said that
        ErrorKind::Internal => error.reason().is_none(),
        _ => false,
    }
}

async fn copy_once(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    path: PathBuf,
    target: Target,
    options: CopyOptions,
) -> Result<TreeRead, CopyError> {
    let request = WriteTree {
        directory: target.directory,
        keep_owners: options.keep_owners,
    };
    let (sender, pieces) = piece_channel();
    let packing =
        tokio::task::spawn_blocking(move || host::pack_into(&path, target.name.as_deref(), sender));
    let written = vms.write_tree(vm, request, pieces).await;
    // its end, or the failure of its next write, follows at once
    match (settle(packing).await, written) {
        (Ok(packed), Ok(copied)) => Ok(TreeRead {
            copied,
            sockets_left_out: packed.sockets_left_out,
            mounts_left_out: packed.mounts_left_out,
        }),
        (Err(error), Ok(_)) => Err(CopyError::Host(error)),
        (Err(error), Err(_)) if !matches!(error, TransferError::Stream(_)) => {
            Err(CopyError::Host(error))
        }
        (_, Err(error)) => Err(error),
    }
}

/// Copies a file or a directory of a guest to the host. A source whose last
/// part is `.` is what the directory holds. Cancelling leaves what was copied.
pub async fn copy_out(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    source: &[u8],
    destination: &Path,
    options: CopyOptions,
) -> Result<TreeRead, CopyError> {
    let source = guest_source(vms, vm, source, options).await?;
    let given = destination.to_owned();
    let there = off_thread(move || host::destination(&given)).await?;
    let target = plan::plan(&source, &there)?;
    let request = ReadTree {
        path: source.path,
        archived_as: target.name,
    };
    let mut stream = vms.read_tree(vm, request).await?;
    let (sender, pieces) = piece_channel();
    let directory = PathBuf::from(OsString::from_vec(target.directory));
    let unpacking = tokio::task::spawn_blocking(move || {
        host::unpack_from(&directory, pieces, options.keep_owners)
    });
    let read = feed(&mut stream, sender).await;
    // without an end the thread fails at its next read
    match (read, settle(unpacking).await) {
        (Ok(Some(read)), Ok(_)) => Ok(read),
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(CopyError::Host(error)),
        (Ok(None), Ok(_)) => Err(CopyError::Abandoned),
    }
}

/// Unpacks a tar stream in a directory of a guest.
pub async fn unpack_in(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    destination: &[u8],
    keep_owners: bool,
    pieces: mpsc::Receiver<Piece>,
) -> Result<Copied, CopyError> {
    let directory = match look(vms, vm, destination).await? {
        Destination::Directory { path } => path,
        Destination::Other { path, .. } => return Err(PlanError::NotADirectory { path }.into()),
        Destination::Missing { path, .. } => return Err(PlanError::NoDirectory { path }.into()),
    };
    let request = WriteTree {
        directory,
        keep_owners,
    };
    vms.write_tree(vm, request, pieces).await
}

/// Reads a file or a directory of a guest as a tar stream. Its name in there is
/// the last part of its path.
pub async fn pack_out(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    source: &[u8],
    options: CopyOptions,
) -> Result<TreeStream, CopyError> {
    let source = guest_source(vms, vm, source, options).await?;
    let name = source.archive_name();
    let request = ReadTree {
        path: source.path,
        archived_as: Some(name),
    };
    vms.read_tree(vm, request).await
}

/// Passes pieces on; none when whoever takes them has ended.
async fn feed(
    stream: &mut TreeStream,
    pieces: mpsc::Sender<Piece>,
) -> Result<Option<TreeRead>, CopyError> {
    while let Some(event) = stream.events.recv().await {
        let (piece, end) = match event? {
            TreeEvent::Data(bytes) => (Piece::Data(bytes), None),
            TreeEvent::End(read) => (Piece::End, Some(read)),
        };
        if pieces.send(piece).await.is_err() || end.is_some() {
            return Ok(end);
        }
    }
    Err(CopyError::Abandoned)
}

async fn guest_source(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    path: &[u8],
    options: CopyOptions,
) -> Result<Source, CopyError> {
    let path = absolute(path);
    let follow = options.follow_link || plan::names_directory(&path);
    let found = vms.stat_path(vm, &path, follow).await?;
    let source = Source {
        is_directory: found.kind == GuestFileKind::Directory,
        content_only: plan::means_content(&path),
        name: plan::last_name(&path, &found.resolved),
        path: found.resolved,
    };
    source.check(&path)?;
    Ok(source)
}

/// What is at a destination in a guest.
async fn look(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    path: &[u8],
) -> Result<Destination, CopyError> {
    let path = absolute(path);
    match vms.stat_path(vm, &path, true).await {
        Ok(found) => Ok(existing(found, &path)),
        Err(CopyError::Guest {
            failure: FileFailure::NotFound,
            ..
        }) => {
            let (parent, name) = plan::split(&path);
            let parent = match vms.stat_path(vm, &parent, true).await {
                Ok(found) if found.kind == GuestFileKind::Directory => Some(found.resolved),
                Ok(_)
                | Err(CopyError::Guest {
                    failure: FileFailure::NotFound | FileFailure::NotADirectory,
                    ..
                }) => None,
                Err(error) => return Err(error),
            };
            Ok(Destination::Missing { path, parent, name })
        }
        Err(error) => Err(error),
    }
}

fn existing(found: GuestFile, path: &[u8]) -> Destination {
    if found.kind == GuestFileKind::Directory {
        return Destination::Directory {
            path: found.resolved,
        };
    }
    Destination::Other {
        named_as_directory: plan::names_directory(path),
        path: found.resolved,
    }
}

/// A path of a guest that does not begin at its root does so all the same.
fn absolute(path: &[u8]) -> GuestPath {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    [b"/", path].concat()
}

/// The bytes of a path of the host.
fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
