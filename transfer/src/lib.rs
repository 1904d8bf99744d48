//! Trees of files as tar streams, the same on host and guest.
//!
//! Purpose: what `vm cp` moves. [`pack`] reads a file or a tree into a tar
//! stream, [`unpack`] makes files of one. Invariants: a stream is untrusted: its
//! limits come before its meaning, and no entry of it leads out of the directory
//! it is unpacked in, whatever links are there or in the stream; a file is
//! replaced whole or not at all; an entry that cannot be made is an error that
//! names it; memory is bounded by limits, not by the tree.
//! Entry points: [`pack`], [`unpack`], [`piece_channel`].
//!
//! Everything blocks: callers give it a thread. A stream that is given up makes
//! the next read or write fail, and the work ends there.

mod archive;
mod beneath;
mod draft;
mod error;
mod header;
mod limits;
mod names;
mod pack;
mod pieces;
mod unpack;

pub use error::{Failure, TransferError};
pub use limits::Limits;
pub use pack::{Mounts, Packed, Packing, pack};
pub use pieces::{MAX_PIECE, Piece, PieceReader, PieceWriter, piece_channel};
pub use unpack::{Origin, Owners, Unpacked, Unpacking, unpack};
