//! What is known of a host before anything is concluded from it.

use std::time::SystemTime;

use camino::Utf8PathBuf;

use super::DatabaseFacts;
use crate::vmm::{HostFacts, JailFacts, VmmPrograms};

/// What a look answered, or in words why it did not.
pub type Answer<T> = Result<T, String>;

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The programs that were named.
    pub programs: VmmPrograms,
    /// What the choice of a backend is made of.
    pub host: Answer<HostFacts>,
    /// What the choice of a jail is made of; none without Firecracker.
    pub jail: Option<Answer<JailFacts>>,
    /// What QEMU says of its version; none without QEMU.
    pub qemu: Option<Answer<String>>,
    /// What Firecracker says of its version; none without Firecracker.
    pub firecracker: Option<Answer<String>>,
    /// What a network of Firecracker's needs; none without Firecracker.
    pub helper: Option<HelperFacts>,
    /// The guest program.
    pub guest: GuestFacts,
    /// Where files lie.
    pub directories: DirectoryFacts,
    /// The database; none when there is none yet.
    pub database: Answer<Option<DatabaseFacts>>,
    /// Programs of the host that are called by name.
    pub tools: ToolFacts,
    /// How many files this process may have open; none when that has no limit.
    pub open_files: Option<u64>,
    /// The wall time.
    pub now: SystemTime,
}

/// What carries a network of Firecracker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperFacts {
    /// What slirp4netns says of its version; none when it was not found.
    pub slirp4netns: Option<Answer<String>>,
    /// Whether namespaces with their interfaces can be made.
    pub namespaces: Answer<()>,
}

/// The guest program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFacts {
    /// Where it should be.
    pub path: Utf8PathBuf,
    /// The newest generation of the protocol that it says it speaks.
    pub generation: Answer<u32>,
}

/// Where files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// Records and disks.
    pub state: PlaceFacts,
    /// Blobs.
    pub cache: PlaceFacts,
    /// Sockets.
    pub runtime: PlaceFacts,
    /// Whether the runtime directory is the user's alone, or can become so.
    pub runtime_is_private: Answer<()>,
    /// Whether paths of sockets in it are short enough.
    pub sockets: Answer<()>,
    /// Whether copies in the state directory can share their blocks.
    pub reflinks: Answer<bool>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceFacts {
    /// Where it is, or will be.
    pub path: Utf8PathBuf,
    /// Whether files can be made there, or where it would be made.
    pub writable: Answer<()>,
    /// Bytes that are free for this user.
    pub free: Answer<u64>,
}

/// Programs of the host that are called by name, each with what it says of its
/// version; none when there is no such program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolFacts {
    /// Checks disks.
    pub e2fsck: Option<Answer<String>>,
    /// Grows and shrinks disks.
    pub resize2fs: Option<Answer<String>>,
    /// Fetches kernels of Debian packages.
    pub apt: Option<Answer<String>>,
    /// Those that build Containerfiles and are there, the preferred one first.
    pub container_builders: Vec<String>,
}
