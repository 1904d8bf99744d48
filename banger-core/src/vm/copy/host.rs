//! The host's side of a copy. Blocks.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use banger_transfer::{
    Limits, Mounts, Origin, Owners, Packed, Packing, Piece, PieceReader, PieceWriter,
    TransferError, Unpacked, Unpacking, pack, unpack,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::sync::mpsc;

use super::{
    CopyError, bytes_of,
    plan::{self, Destination, Source},
};

/// What a path of the host is, as a source.
pub(super) fn source(path: &Path, follow_link: bool) -> Result<Source, CopyError> {
    let told = bytes_of(path);
    let failed = |error| failed("find", path, error);
    let names_directory = plan::names_directory(&told);
    let resolved = if follow_link || names_directory {
        path.canonicalize().map_err(failed)?
    } else {
        path.to_owned()
    };
    let is_directory = fs::symlink_metadata(&resolved).map_err(failed)?.is_dir();
    // a name for `.` is that of the directory itself
    let absolute = resolved.canonicalize().unwrap_or_else(|_| resolved.clone());
    let source = Source {
        is_directory,
        content_only: plan::means_content(&told),
        name: plan::last_name(&told, &bytes_of(&absolute)),
        path: bytes_of(&resolved),
    };
    source.check(&told)?;
    Ok(source)
}

/// What is at a destination on the host.
pub(super) fn destination(path: &Path) -> Result<Destination, CopyError> {
    let told = bytes_of(path);
    match path.canonicalize() {
        Ok(resolved) if resolved.is_dir() => Ok(Destination::Directory {
            path: bytes_of(&resolved),
        }),
        Ok(resolved) => Ok(Destination::Other {
            path: bytes_of(&resolved),
            named_as_directory: plan::names_directory(&told),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let without_slash = told.strip_suffix(b"/").unwrap_or(&told);
            Ok(Destination::Other {
                path: without_slash.to_vec(),
                named_as_directory: true,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (_, name) = plan::split(&told);
            let parent = path.parent().unwrap_or(Path::new("."));
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            let parent = parent.canonicalize().ok().filter(|parent| parent.is_dir());
            Ok(Destination::Missing {
                path: told,
                parent: parent.as_deref().map(bytes_of),
                name,
            })
        }
        Err(error) => Err(failed("find", path, error)),
    }
}

/// Sends a tree of the host, and that it is whole.
pub(super) fn pack_into(
    path: &Path,
    archived_as: Option<&[u8]>,
    pieces: mpsc::Sender<Piece>,
) -> Result<Packed, TransferError> {
    let packing = Packing {
        path,
        archived_as,
        mounts: Mounts::Enter,
        limits: Limits::default(),
    };
    let mut output = PieceWriter::new(pieces);
    let packed = pack(&packing, &mut output)?;
    output.finish().map_err(TransferError::Stream)?;
    Ok(packed)
}

/// Makes files of what a guest sends.
pub(super) fn unpack_from(
    directory: &Path,
    pieces: mpsc::Receiver<Piece>,
    keep_owners: bool,
) -> Result<Unpacked, TransferError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty());
    let opened: OwnedFd = opened.map_err(|errno| TransferError::File {
        action: "open the directory",
        path: bytes_of(directory),
        source: errno.into(),
    })?;
    let unpacking = Unpacking {
        owners: if keep_owners {
            Owners::Archive
        } else {
            Owners::Receiver
        },
        origin: Origin::Untrusted,
        limits: Limits::default(),
    };
    unpack(PieceReader::new(pieces), opened.as_fd(), unpacking)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> CopyError {
    CopyError::Host(TransferError::File {
        action,
        path: bytes_of(path),
        source,
    })
}
