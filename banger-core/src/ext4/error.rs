//! Why a file system cannot be written.

use std::io;

/// A file system cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ext4Error {
    /// The size cannot hold the tree.
    #[error("the tree needs {needed} bytes")]
    TooSmall {
        /// The smallest size that can, in bytes.
        needed: u64,
    },
    /// The tree needs more than the largest size the options allow.
    #[error("the tree needs more than {largest} bytes")]
    TooLarge {
        /// The largest size.
        largest: u64,
    },
    /// An inode cannot be represented.
    #[error("inode {inode} of the tree cannot be stored: {problem}")]
    Inode {
        /// Its number in the tree.
        inode: usize,
        /// What is wrong.
        problem: InodeProblem,
    },
    /// The disk's file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why an inode cannot be represented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InodeProblem {
    /// A name in a directory is none.
    #[error("{name:?} cannot be a name")]
    Name {
        /// The name, escaped.
        name: String,
    },
    /// The time is outside 34 bits.
    #[error("its time is outside 1901 to 2446")]
    Time,
    /// More than 65,000 names.
    #[error("it has {0} names, more than 65000")]
    Links(u64),
    /// A symbolic link's target does not fit its block.
    #[error("its link target is empty or has more than 4095 bytes")]
    Target,
    /// A device number is too large.
    #[error("its device number {major}:{minor} has more than 32 bits")]
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A file has more blocks than can be numbered, or its extents are not in
    /// order within it.
    #[error("its extents do not describe a file of its size")]
    Extents,
    /// A directory needs more index levels than there may be.
    #[error("it has too many names for a directory")]
    Directory,
    /// An extended attribute of no namespace that ext4 knows.
    #[error("attribute {name:?} has no namespace that ext4 knows")]
    AttributeName {
        /// The attribute's name, escaped.
        name: String,
    },
    /// Extended attributes that do not fit.
    #[error("its extended attributes do not fit one block beside the inode")]
    Attributes,
}
