//! Reading one OCI layer: from a blob on disk to its entries.
//!
//! Purpose: the one tar parser of banger (OCI image-spec, `layer.md`).
//! Invariants: limits are checked before a claimed length is believed; the
//! inflated stream is hashed to its very end; nothing here touches host files
//! but the blob. Entry points: [`LayerReader`], [`Archive`], [`Entry`].

mod archive;
mod budget;
mod entry;
mod hashing;
mod limits;
mod path;
mod permits;
mod reader;
mod sparse;
mod stream;
mod xattr;

pub(crate) use stream::{
    LANES, LayerStream, StreamDigests, StreamError, StreamResources, Streams, with_streams,
};

pub(crate) use archive::pass;
pub use archive::{Archive, ArchiveError};
pub use entry::{Content, Entry, EntryKind, Metadata, Timestamp, Xattrs};
pub use limits::{LimitExceeded, RootfsLimits};
pub use path::{LayerPath, PathError};
pub use reader::{LayerReader, Stopped, claimed_length};
pub use sparse::{DataRun, Expand, block_runs};
