//! Writing ext4 file systems: content first, structures last.
//!
//! Purpose: a journaled, checksummed ext4 image of a tree that is known only
//! once its content was written. An [`Allocator`] hands out the blocks for
//! content; a [`Plan`] then decides and writes everything else in one sweep.
//! Invariants: the same tree, options and calls give the same bytes; what
//! cannot be represented is an error that names the inode; only blocks that
//! hold something are written, the rest of the file stays a hole; nothing here
//! depends on the rest of banger.
//! Entry points: [`Allocator`], [`Plan`], [`format_empty`].
//!
//! The format is the kernel's, `Documentation/filesystems/ext4/`.

mod allocator;
mod block_map;
mod checksum;
mod directory;
mod error;
mod extents;
mod fields;
mod geometry;
mod groups;
mod hash;
mod htree;
mod inode;
mod journal;
mod layout;
mod plan;
mod resize;
mod sequential;
mod superblock;
mod tree;
mod write;
mod xattr;

pub use allocator::{Allocator, Run};
pub use error::{Ext4Error, InodeProblem};
pub use plan::Plan;
pub use tree::{Extent, Inode, Kind, Timestamp, Tree, Xattr};
pub use write::{Disk, Summary, format_empty};

/// Bytes of a block.
pub const BLOCK_SIZE: u64 = 4096;

/// The same, for slices.
const BLOCK: usize = 4096;

/// What a file system shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its UUID, from which its checksums start.
    pub uuid: [u8; 16],
    /// What the hashes of names start from.
    pub hash_seed: [u8; 16],
    /// When it and what it makes itself were made.
    pub created: Timestamp,
    /// Whether it has a journal. One of less than 8 MiB never has.
    pub journal: bool,
    /// Upper bound of its size, in bytes. It decides how much room is kept for
    /// group descriptors before the first block is handed out.
    pub largest: u64,
}
