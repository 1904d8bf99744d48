//! What a path is.

use std::os::fd::{AsRawFd as _, OwnedFd};

use banger_proto::guest::v1::{FileKind, StatPathRequest, StatPathResponse};
use banger_transfer::TransferError;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat},
    io::Errno,
};

use super::{FileError, checked};

pub(super) fn look(request: &StatPathRequest) -> Result<StatPathResponse, FileError> {
    let path = checked(&request.path)?;
    let failed = |errno: Errno| TransferError::File {
        action: "find",
        path: path.to_vec(),
        source: errno.into(),
    };
    let follow = if request.follow_link {
        OFlags::empty()
    } else {
        OFlags::NOFOLLOW
    };
    let opened: OwnedFd = openat(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC | follow,
        Mode::empty(),
    )
    .map_err(failed)?;
    let stat = fstat(&opened).map_err(failed)?;
    let place = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let resolved = readlinkat(CWD, place, Vec::new()).map_err(failed)?;
    Ok(StatPathResponse {
        kind: kind(FileType::from_raw_mode(stat.st_mode)).into(),
        mode: stat.st_mode & 0o7777,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        resolved_path: resolved.into_bytes().into(),
    })
}

const fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    }
}
