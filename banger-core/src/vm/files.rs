//! A VM's files on the host, each in a place that is known before it is made.

use std::{io, os::unix::fs::MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    directories::Directories,
    domain::{Bytes, VmId},
    host_fs::{PathError, remove_tree_if_present},
    vmm,
};

/// Longest path of a Unix socket, without its final NUL (unix(7)).
const SOCKET_PATH_LIMIT: usize = 107;

/// What the kernel counts a file's space in (stat(2), `st_blocks`).
const BLOCK: u64 = 512;

/// Where one VM's files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VmFiles {
    /// Its directory; the lock on it makes the one writer.
    pub(super) directory: Utf8PathBuf,
    /// Private directory of its socket, there only while it runs.
    pub(super) runtime: Utf8PathBuf,
    /// Its own copy of the image's disk, where it has one.
    pub(super) root_disk: Utf8PathBuf,
}

impl VmFiles {
    pub(super) fn new(directories: &Directories, id: VmId) -> Self {
        Self {
            directory: directories.vm(id),
            runtime: directories.vm_runtime(id),
            root_disk: directories.vm_root_disk(id),
        }
    }

    /// The disk that takes the guest's writes.
    pub(super) fn writable_disk(&self) -> Utf8PathBuf {
        self.directory.join("writable.ext4")
    }

    /// The copy of a directory that is the VM's volume with this number.
    pub(super) fn volume_disk(&self, index: usize) -> Utf8PathBuf {
        self.directory.join(format!("volume-{index}.ext4"))
    }

    /// The initrd of the present or last boot.
    pub(super) fn initrd(&self) -> Utf8PathBuf {
        self.directory.join("initrd.img")
    }

    /// The newer part of the console log.
    pub(super) fn console_log(&self) -> Utf8PathBuf {
        self.directory.join("console.log")
    }

    /// The older part of the console log.
    pub(super) fn older_console_log(&self) -> Utf8PathBuf {
        self.directory.join("console.log.1")
    }

    /// When the newer part of the console log was written.
    pub(super) fn console_times(&self) -> Utf8PathBuf {
        self.directory.join("console.times")
    }

    /// When the older part of the console log was written.
    pub(super) fn older_console_times(&self) -> Utf8PathBuf {
        self.directory.join("console.times.1")
    }

    /// The lock of a creator who keeps the VM until it is started.
    pub(super) fn creator_lock(&self) -> Utf8PathBuf {
        self.directory.join("creator.lock")
    }

    /// The lock of a caller who is about to start the VM again.
    pub(super) fn restart_lock(&self) -> Utf8PathBuf {
        self.directory.join("restart.lock")
    }

    /// What the monitor is to run.
    pub(super) fn launch(&self) -> Utf8PathBuf {
        self.directory.join("launch.json")
    }

    /// What the monitor itself had to say.
    pub(super) fn monitor_log(&self) -> Utf8PathBuf {
        self.directory.join("monitor.log")
    }

    /// The monitor's socket.
    pub(super) fn socket(&self) -> Utf8PathBuf {
        self.runtime.join("monitor.sock")
    }

    /// Refuses the path of a socket, ours or a VMM's, that the kernel would
    /// refuse with less clear words.
    pub(super) fn check_socket_path(&self) -> Result<(), PathError> {
        let mut sockets = vmm::sockets(&self.runtime);
        sockets.insert(0, self.socket());
        let is_too_long = |socket: &Utf8PathBuf| SOCKET_PATH_LIMIT < socket.as_str().len();
        let Some(socket) = sockets.into_iter().find(is_too_long) else {
            return Ok(());
        };
        let problem = format!(
            "its {} bytes are more than the {SOCKET_PATH_LIMIT} a socket's path may have: choose a shorter runtime directory",
            socket.as_str().len()
        );
        let refusal = io::Error::new(io::ErrorKind::InvalidFilename, problem);
        Err(PathError::new("bind socket", &socket, refusal))
    }

    /// What removing everything would free; what cannot be read counts nothing.
    pub(super) fn size_on_disk(&self) -> Bytes {
        let entries = self.directory.read_dir_utf8().into_iter().flatten();
        let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
        let own = files.filter(|metadata| metadata.is_file() && metadata.nlink() == 1);
        Bytes::new(own.map(|metadata| metadata.blocks() * BLOCK).sum())
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> Result<(), PathError> {
        remove_tree_if_present(&self.runtime)?;
        remove_tree_if_present(&self.directory)
    }
}

/// Refuses a runtime directory in which a VM's sockets would have too long paths.
pub(crate) fn check_socket_paths(directories: &Directories) -> Result<(), PathError> {
    // the names of all are of one length
    VmFiles::new(directories, VmId::generate()).check_socket_path()
}

/// The last `limit` bytes of a file as text; empty when it cannot be read.
pub(super) fn tail_of(path: &Utf8Path, limit: usize) -> String {
    let content = std::fs::read(path).unwrap_or_default();
    let start = content.len().saturating_sub(limit);
    String::from_utf8_lossy(&content[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_over_the_limit_is_refused_by_name() {
        let mut files = VmFiles {
            directory: "/d".into(),
            root_disk: "/d/root.ext4".into(),
            runtime: format!("/{}", "r".repeat(93)).into(),
        };
        assert_eq!(files.socket().as_str().len(), SOCKET_PATH_LIMIT);
        files.check_socket_path().unwrap();
        files.runtime = format!("{}r", files.runtime).into();
        let error = files.check_socket_path().unwrap_err();
        assert!(error.io_error().to_string().contains("108 bytes"));
    }
}
