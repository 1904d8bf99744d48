//! Bounds on what untrusted layers may claim.

use crate::domain::Bytes;

/// Bounds on untrusted layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootfsLimits {
    /// Inflated bytes of one layer.
    pub layer_bytes: Bytes,
    /// Inflated bytes of all layers together.
    pub total_bytes: Bytes,
    /// Entries of all layers together.
    pub entries: u64,
    /// Bytes of one path.
    pub path_bytes: usize,
    /// Components of one path.
    pub path_depth: usize,
    /// Bytes of one entry's extended headers.
    pub header_bytes: usize,
    /// Bytes of one extended attribute's value.
    pub xattr_bytes: usize,
    /// Inflated bytes for each compressed byte, once a layer passed 64 MiB.
    pub ratio: u64,
}

impl Default for RootfsLimits {
    fn default() -> Self {
        Self {
            layer_bytes: Bytes::new(64 * Bytes::GIB),
            total_bytes: Bytes::new(256 * Bytes::GIB),
            entries: 2_000_000,
            path_bytes: 4096,
            path_depth: 1024,
            header_bytes: 1 << 20,
            // as the kernel's XATTR_SIZE_MAX
            xattr_bytes: 1 << 16,
            ratio: 1000,
        }
    }
}

/// Which limit was exceeded, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// [`RootfsLimits::layer_bytes`].
    #[error("inflated bytes of one layer ({0})")]
    LayerBytes(Bytes),
    /// [`RootfsLimits::total_bytes`].
    #[error("inflated bytes of all layers ({0})")]
    TotalBytes(Bytes),
    /// [`RootfsLimits::entries`].
    #[error("entries of all layers ({0})")]
    Entries(u64),
    /// [`RootfsLimits::path_bytes`].
    #[error("path bytes ({0})")]
    PathBytes(usize),
    /// [`RootfsLimits::path_depth`].
    #[error("path depth ({0})")]
    PathDepth(usize),
    /// [`RootfsLimits::header_bytes`].
    #[error("extended header bytes ({0})")]
    HeaderBytes(usize),
    /// [`RootfsLimits::xattr_bytes`].
    #[error("bytes of an extended attribute ({0})")]
    XattrBytes(usize),
    /// [`RootfsLimits::ratio`].
    #[error("inflated bytes for each compressed byte ({0})")]
    Ratio(u64),
    /// Pieces of one sparse file, which the reader itself bounds.
    #[error("pieces of a sparse file ({0})")]
    SparsePieces(usize),
    /// Extended headers before one entry, which the reader itself bounds.
    #[error("extended headers of an entry ({0})")]
    Headers(usize),
}
