//! Little-endian fields in a block.

/// Puts numbers where the format wants them. Offsets are constants of the
/// format, always within the slice.
pub(super) trait Fields {
    fn put_u16(&mut self, at: usize, value: u16);
    fn put_u32(&mut self, at: usize, value: u32);
    fn put_bytes(&mut self, at: usize, bytes: &[u8]);

    /// The low 16 bits of a number at one place, the next 16 at another.
    fn put_split_u32(&mut self, low: usize, high: usize, value: u32) {
        self.put_u16(low, low_u16(value));
        self.put_u16(high, low_u16(value >> 16));
    }

    /// The low 32 bits of a number at one place, the high 32 at another.
    fn put_split_u64(&mut self, low: usize, high: usize, value: u64) {
        self.put_u32(low, low_u32(value));
        self.put_u32(high, low_u32(value >> 32));
    }

    /// The low 32 bits of a number at one place, the next 16 at another.
    fn put_split_u48(&mut self, low: usize, high: usize, value: u64) {
        self.put_u32(low, low_u32(value));
        self.put_u16(high, low_u16(low_u32(value >> 32)));
    }
}

impl Fields for [u8] {
    fn put_u16(&mut self, at: usize, value: u16) {
        self.put_bytes(at, &value.to_le_bytes());
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.put_bytes(at, &value.to_le_bytes());
    }

    fn put_bytes(&mut self, at: usize, bytes: &[u8]) {
        self[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// The low 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the bits above are wanted elsewhere"
)]
pub(super) const fn low_u16(value: u32) -> u16 {
    value as u16
}

/// The low 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the bits above are wanted elsewhere"
)]
pub(super) const fn low_u32(value: u64) -> u32 {
    value as u32
}
