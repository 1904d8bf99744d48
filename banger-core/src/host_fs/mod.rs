//! Files of the host: errors that name their path, atomic writes, sparse
//! copies and locks.
//!
//! Purpose: what every part of the library does with host files, once.
//! Invariants: no bare I/O error leaves ([`PathError`]); a published file is
//! whole and on disk ([`write_atomically`]); holes stay holes ([`copy_file`]).
//! Entry points: [`IoContext`], [`write_atomically`], [`copy_file`],
//! [`copy_tree`], [`FileLock`], [`Staging`], [`FileRange`], [`Output`].

mod children;
mod copy;
mod lock;
mod nameless;
mod output;
mod path_error;
mod range;
mod staged_file;
mod staging;
mod write;

pub(crate) use children::children;
pub(crate) use copy::shares_blocks;
pub use copy::{CopyMethod, copy_file, copy_open_file, copy_tree};
pub use lock::{FileLock, LockError, lock_deadline};
pub use nameless::nameless_file;
pub use output::{Output, OutputProblem};
pub use path_error::{IoContext, PathError};
pub use range::{FileRange, RangeReader};
pub use staged_file::StagedFile;
pub use staging::Staging;
pub(crate) use write::{check_private_directory, directory_usage, temporary_beside};
pub use write::{
    create_directory, create_private_directory, disk_usage, publish_file, remove_tree_if_present,
    sync_directory, sync_file, write_atomically,
};
