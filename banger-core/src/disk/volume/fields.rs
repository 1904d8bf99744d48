//! Little-endian fields of structures that may be cut off, and their checksum.

/// Reads numbers where the format puts them; none beyond the end.
pub(super) trait Fields {
    fn bytes_at<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    fn u8_at(&self, at: usize) -> Option<u8> {
        self.bytes_at(at).map(u8::from_le_bytes)
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        self.bytes_at(at).map(u16::from_le_bytes)
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        self.bytes_at(at).map(u32::from_le_bytes)
    }
}

impl Fields for [u8] {
    fn bytes_at<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }
}

/// CRC-32C without the final inversion, going on from `start` (kernel,
/// `checksums.rst`).
pub(super) fn checksum(start: u32, bytes: &[u8]) -> u32 {
    // the crate inverts before and after
    !crc32c::crc32c_append(!start, bytes)
}
