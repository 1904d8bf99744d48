//! The tree to write, as its owner describes it.

/// A tree, inode by inode.
///
/// Inodes are `0..inode_count()`; 0 is the root directory. Every directory but
/// the root has exactly one name, everything else at least one; more are hard
/// links. The root holds no `lost+found`: the writer makes it.
pub trait Tree {
    /// How many inodes there are, at least the root.
    fn inode_count(&self) -> usize;

    /// What an inode is.
    fn inode(&self, number: usize) -> Inode<'_>;

    /// The names in a directory with their inodes, without `.` and `..`, always
    /// in the same order.
    fn entries(&self, directory: usize) -> impl Iterator<Item = (&[u8], usize)>;
}

/// An extended attribute: full name (`security.capability`), and its value in
/// the form it has on disk.
pub type Xattr = (Box<[u8]>, Box<[u8]>);

/// What an inode is.
#[derive(Clone, Copy, Debug)]
pub struct Inode<'a> {
    /// Its type, with what belongs to it.
    pub kind: Kind<'a>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All four of its times.
    pub modified: Timestamp,
    /// Its extended attributes, no name twice.
    pub xattrs: &'a [Xattr],
}

/// The type of an inode.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Where its content is; what no extent covers is a hole.
        extents: &'a [Extent],
    },
    /// A symbolic link to these bytes.
    Symlink(&'a [u8]),
    /// A character device.
    CharDevice {
        /// Major number, 12 bits.
        major: u32,
        /// Minor number, 20 bits.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number, 12 bits.
        major: u32,
        /// Minor number, 20 bits.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Blocks of a file, in order, not overlapping, of any length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first block in the file.
    pub logical: u32,
    /// How many blocks.
    pub length: u32,
    /// The first block on the disk.
    pub start: u64,
}

/// Seconds since 1970-01-01 UTC and nanoseconds after that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The low 32 bits of the seconds, and the word with the other two and the
    /// nanoseconds (kernel, `inodes.rst`, "Inode Timestamps"); none outside
    /// 1901 to 2446.
    pub(super) fn encode(self) -> Option<(u32, u32)> {
        const EARLIEST: i64 = -(1 << 31);
        const LATEST: i64 = (3 << 32) + (1 << 31) - 1;
        if !(EARLIEST..=LATEST).contains(&self.seconds) || 999_999_999 < self.nanoseconds {
            return None;
        }
        // 2^31 seconds are added so that the epoch is what lies above 32 bits
        let shifted = u64::try_from(self.seconds - EARLIEST).ok()?;
        let epoch = u32::try_from(shifted >> 32).ok()?;
        let low = u32::try_from(self.seconds & 0xffff_ffff).ok()?;
        Some((low, self.nanoseconds << 2 | epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_34_bits_and_nanoseconds() {
        let encode = |seconds, nanoseconds| {
            Timestamp {
                seconds,
                nanoseconds,
            }
            .encode()
        };
        // the table of `inodes.rst`
        assert_eq!(encode(-1, 1), Some((0xffff_ffff, 4)));
        assert_eq!(encode(-0x8000_0000, 0), Some((0x8000_0000, 0)));
        assert_eq!(encode(0x7fff_ffff, 0), Some((0x7fff_ffff, 0)));
        assert_eq!(encode(0x8000_0000, 0), Some((0x8000_0000, 1)));
        assert_eq!(encode(0x1_0000_0000, 0), Some((0, 1)));
        assert_eq!(encode(0x3_7fff_ffff, 0), Some((0x7fff_ffff, 3)));
        assert_eq!(encode(0x3_8000_0000, 0), None);
        assert_eq!(encode(-0x8000_0001, 0), None);
        assert_eq!(encode(0, 1_000_000_000), None);
    }
}
