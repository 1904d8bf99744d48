//! Checksums of metadata (kernel, `checksums.rst`): CRC-32C without the final
//! inversion, each started from what the structure belongs to.

use super::fields::{Fields as _, low_u16};

/// A checksum that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum(u32);

impl Checksum {
    /// Of the superblock alone.
    pub(super) const fn bare() -> Self {
        Self(u32::MAX)
    }

    /// Of everything else: started from the file system's UUID.
    pub(super) fn of_file_system(uuid: &[u8; 16]) -> Self {
        Self::bare().add(uuid)
    }

    /// Of what belongs to an inode, whose generation is always 0.
    pub(super) fn of_inode(self, number: u32) -> Self {
        self.add(&number.to_le_bytes()).add(&[0; 4])
    }

    pub(super) fn add(self, bytes: &[u8]) -> Self {
        // the crate inverts before and after
        Self(!crc32c::crc32c_append(!self.0, bytes))
    }

    pub(super) const fn get(self) -> u32 {
        self.0
    }

    pub(super) const fn low(self) -> u16 {
        low_u16(self.0)
    }

    /// Puts the checksum of all before `at` at that place.
    pub(super) fn seal(self, block: &mut [u8], at: usize) {
        let checksum = self.add(&block[..at]).get();
        block.put_u32(at, checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crc_32c_without_the_final_inversion() {
        // the check value of CRC-32C (RFC 3720, B.4 has more)
        assert_eq!(!Checksum::bare().add(b"123456789").get(), 0xe306_9283);
        let parts = Checksum::bare().add(b"1234").add(b"56789");
        assert_eq!(parts, Checksum::bare().add(b"123456789"));
    }
}
