//! Files on their way to their device before anybody waits for it.

use std::{fs::File, os::fd::AsRawFd as _};

/// Has the kernel begin to write a part of a file (sync_file_range(2)), so
/// that flushing it later does not hold everybody else's writes up at once.
/// Only advice: whether it was written the flush tells.
pub(crate) fn begin_write_back(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else {
        return;
    };
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the
    // call touches no memory of ours.
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset,
            length,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}
