//! Where banger keeps what on the host.
//!
//! Purpose: every path below banger's roots is spelled here and nowhere else.
//! Invariants: the library takes the roots from its caller and never looks at
//! the environment. Entry points: [`Directories`].

use camino::{Utf8Path, Utf8PathBuf};

use crate::domain::{Digest, ImageId, ImageName, KernelName, SnapshotId, VmId, VolumeName};

/// banger's roots on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Database, images, kernels, VMs and locks.
    pub state: Utf8PathBuf,
    /// Blobs by digest; may be lost at any time.
    pub cache: Utf8PathBuf,
    /// Sockets of running VMs; short, private to the user.
    pub runtime: Utf8PathBuf,
}

impl Directories {
    /// The SQLite database.
    #[must_use]
    pub fn database(&self) -> Utf8PathBuf {
        self.state.join("banger.db")
    }

    /// Lock files.
    #[must_use]
    pub fn locks(&self) -> Utf8PathBuf {
        self.state.join("locks")
    }

    /// All images.
    #[must_use]
    pub fn images(&self) -> Utf8PathBuf {
        self.state.join("images")
    }

    /// One image's artifacts.
    #[must_use]
    pub fn image(&self, id: ImageId) -> Utf8PathBuf {
        self.images().join(id.to_string())
    }

    /// All kernels.
    #[must_use]
    pub fn kernels(&self) -> Utf8PathBuf {
        self.state.join("kernels")
    }

    /// One kernel's files.
    #[must_use]
    pub fn kernel(&self, name: &KernelName) -> Utf8PathBuf {
        self.kernels().join(name.as_str())
    }

    /// All VMs.
    #[must_use]
    pub fn vms(&self) -> Utf8PathBuf {
        self.state.join("vms")
    }

    /// One VM's disks, logs and lock.
    #[must_use]
    pub fn vm(&self, id: VmId) -> Utf8PathBuf {
        self.vms().join(id.to_string())
    }

    /// One VM's own copy of its image's disk, where it has one.
    #[must_use]
    pub fn vm_root_disk(&self, id: VmId) -> Utf8PathBuf {
        self.vm(id).join("root.ext4")
    }

    /// All snapshots.
    #[must_use]
    pub fn snapshots(&self) -> Utf8PathBuf {
        self.state.join("snapshots")
    }

    /// One snapshot's files.
    #[must_use]
    pub fn snapshot(&self, id: SnapshotId) -> Utf8PathBuf {
        self.snapshots().join(id.to_string())
    }

    /// All named volumes.
    #[must_use]
    pub fn volumes(&self) -> Utf8PathBuf {
        self.state.join("volumes")
    }

    /// The directory of one named volume.
    #[must_use]
    pub fn volume(&self, name: &VolumeName) -> Utf8PathBuf {
        self.volumes().join(name.as_str())
    }

    /// The disk of one named volume.
    #[must_use]
    pub fn volume_disk(&self, name: &VolumeName) -> Utf8PathBuf {
        self.volume(name).join("disk.ext4")
    }

    /// Logs of image builds that failed, by image.
    #[must_use]
    pub fn build_logs(&self) -> Utf8PathBuf {
        self.state.join("build-logs")
    }

    /// The log of the last failed build of an image.
    #[must_use]
    pub fn build_log(&self, name: &ImageName) -> Utf8PathBuf {
        self.build_logs().join(format!("{name}.log"))
    }

    /// One running VM's sockets.
    #[must_use]
    pub fn vm_runtime(&self, id: VmId) -> Utf8PathBuf {
        self.runtime.join(id.short())
    }

    /// All cached blobs.
    #[must_use]
    pub fn blobs(&self) -> Utf8PathBuf {
        self.cache.join("blobs").join("sha256")
    }

    /// Who needs which cached blobs.
    #[must_use]
    pub fn leases(&self) -> Utf8PathBuf {
        self.cache.join("leases")
    }

    /// One cached blob.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.blobs().join(digest.to_hex())
    }

    /// Whether `path` lies below one of the state directories.
    #[must_use]
    pub fn owns(&self, path: &Utf8Path) -> bool {
        path.starts_with(&self.state)
    }
}
