//! Inodes as they lie in the tables (kernel, `inodes.rst`).

use super::{
    Inode, InodeProblem, Kind, Timestamp,
    checksum::Checksum,
    extents::ROOT_SIZE,
    fields::{Fields as _, low_u32},
    tree::Xattr,
    xattr::{Attributes, INODE_AREA},
};

/// Bytes of an inode.
pub(super) const INODE_SIZE: usize = 256;
/// The first number that is not reserved.
pub(super) const FIRST_INODE: u32 = 11;
/// Numbers that mean something.
pub(super) const ROOT: u32 = 2;
pub(super) const RESIZE: u32 = 7;
pub(super) const JOURNAL: u32 = 8;
pub(super) const LOST_AND_FOUND: u32 = FIRST_INODE;

/// Most names of an inode; a directory with more says 1 (`dir_nlink`).
const MAX_LINKS: u64 = 65_000;
/// Longest target that lies in the inode, without its NUL.
const FAST_TARGET: usize = 59;
/// Longest target in a block, without its NUL.
const MAX_TARGET: usize = 4095;
/// Bytes of the fields behind the first 128.
const EXTRA_SIZE: u16 = 32;
/// Where attributes begin.
const ATTRIBUTES_AT: usize = INODE_SIZE - INODE_AREA;

const EXTENTS_FLAG: u32 = 0x8_0000;
const INDEX_FLAG: u32 = 0x1000;

/// The number of an inode of the tree; the writer's own `lost+found` is the
/// first.
pub(super) const fn inode_number(index: usize) -> u32 {
    if index == 0 {
        ROOT
    } else {
        // an allocator's blocks hold far fewer than 2^32 inodes
        low_u32(index as u64) + LOST_AND_FOUND
    }
}

/// What an inode of the tree needs beside its own 256 bytes.
pub(super) enum Needs {
    Nothing,
    /// A block for a symbolic link's target.
    Target,
    /// Blocks for an extent tree.
    ExtentTree(u64),
    /// Blocks for names.
    Names,
}

/// Checks everything about an inode but its names.
pub(super) fn check(inode: &Inode<'_>) -> Result<Needs, InodeProblem> {
    inode.modified.encode().ok_or(InodeProblem::Time)?;
    match inode.kind {
        Kind::Directory => Ok(Needs::Names),
        Kind::File { size, extents } => {
            super::extents::check(extents, size)?;
            Ok(match super::extents::block_count(extents) {
                0 => Needs::Nothing,
                blocks => Needs::ExtentTree(blocks),
            })
        }
        Kind::Symlink(target) if target.is_empty() || MAX_TARGET < target.len() => {
            Err(InodeProblem::Target)
        }
        Kind::Symlink(target) if FAST_TARGET < target.len() => Ok(Needs::Target),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            if 0xfff < major || 0xf_ffff < minor {
                return Err(InodeProblem::Device { major, minor });
            }
            Ok(Needs::Nothing)
        }
        Kind::Symlink(_) | Kind::Fifo | Kind::Socket => Ok(Needs::Nothing),
    }
}

/// The link count as stored.
pub(super) fn stored_links(links: u64, is_directory: bool) -> Result<u16, InodeProblem> {
    match u16::try_from(links) {
        Ok(stored) if links <= MAX_LINKS => Ok(stored),
        _ if is_directory => Ok(1),
        _ => Err(InodeProblem::Links(links)),
    }
}

/// What an inode's block area holds.
pub(super) enum Area {
    /// The root of an extent tree.
    Extents([u8; ROOT_SIZE]),
    /// The same, of a directory with an index.
    Index([u8; ROOT_SIZE]),
    /// Anything else.
    Other([u8; ROOT_SIZE]),
}

/// An inode with all that was decided about it.
pub(super) struct Record<'a> {
    pub(super) number: u32,
    pub(super) file_type: u16,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Timestamp,
    pub(super) links: u16,
    pub(super) size: u64,
    /// Blocks it takes, of any kind.
    pub(super) blocks: u64,
    pub(super) area: Area,
    pub(super) attributes: Option<&'a Attributes<'a>>,
    /// The block of its attributes; 0 when there is none.
    pub(super) attribute_block: u64,
}

impl Record<'_> {
    /// One of the writer's own.
    pub(super) const fn own(number: u32, file_type: u16, mode: u16, created: Timestamp) -> Self {
        Record {
            number,
            file_type,
            mode,
            uid: 0,
            gid: 0,
            modified: created,
            links: 1,
            size: 0,
            blocks: 0,
            area: Area::Other([0; ROOT_SIZE]),
            attributes: None,
            attribute_block: 0,
        }
    }

    /// The inode's bytes.
    pub(super) fn encode(&self, checksum: Checksum) -> [u8; INODE_SIZE] {
        let mut bytes = [0; INODE_SIZE];
        bytes.put_u16(0x00, self.file_type | self.mode & 0o7777);
        bytes.put_split_u32(0x02, 0x78, self.uid);
        bytes.put_split_u64(0x04, 0x6c, self.size);
        bytes.put_split_u32(0x18, 0x7a, self.gid);
        bytes.put_u16(0x1a, self.links);
        // counted in sectors of 512 bytes
        bytes.put_split_u48(0x1c, 0x74, self.blocks * 8);
        let (flags, area) = match &self.area {
            Area::Extents(area) => (EXTENTS_FLAG, area),
            Area::Index(area) => (EXTENTS_FLAG | INDEX_FLAG, area),
            Area::Other(area) => (0, area),
        };
        bytes.put_u32(0x20, flags);
        bytes.put_bytes(0x28, area);
        bytes.put_split_u48(0x68, 0x76, self.attribute_block);
        bytes.put_u16(0x80, EXTRA_SIZE);
        self.put_times(&mut bytes);
        if let Some(attributes) = self.attributes {
            attributes.put_in_inode(&mut bytes[ATTRIBUTES_AT..]);
        }
        let sum = checksum.of_inode(self.number).add(&bytes);
        bytes.put_split_u32(0x7c, 0x82, sum.get());
        bytes
    }

    fn put_times(&self, bytes: &mut [u8]) {
        // checked before; the writer's own are within reach
        let (low, extra) = self.modified.encode().unwrap_or_default();
        for at in [0x08, 0x0c, 0x10, 0x90] {
            bytes.put_u32(at, low);
        }
        for at in [0x84, 0x88, 0x8c, 0x94] {
            bytes.put_u32(at, extra);
        }
    }
}

/// The type bits of a mode.
pub(super) const fn type_bits(kind: &Kind<'_>) -> u16 {
    match kind {
        Kind::Fifo => 0o010_000,
        Kind::CharDevice { .. } => 0o020_000,
        Kind::Directory => DIRECTORY,
        Kind::BlockDevice { .. } => 0o060_000,
        Kind::File { .. } => REGULAR,
        Kind::Symlink(_) => 0o120_000,
        Kind::Socket => 0o140_000,
    }
}

pub(super) const REGULAR: u16 = 0o100_000;
pub(super) const DIRECTORY: u16 = 0o040_000;

/// A short target, in place of blocks.
pub(super) fn fast_target(target: &[u8]) -> Option<[u8; ROOT_SIZE]> {
    let mut area = [0; ROOT_SIZE];
    (target.len() <= FAST_TARGET).then(|| {
        area.put_bytes(0, target);
        area
    })
}

/// A device number, in place of blocks: small ones in the old form.
pub(super) fn device(major: u32, minor: u32) -> [u8; ROOT_SIZE] {
    let mut area = [0; ROOT_SIZE];
    if major < 256 && minor < 256 {
        area.put_u32(0, major << 8 | minor);
    } else {
        area.put_u32(4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
    }
    area
}

/// Whether attributes can be stored, and whether they need a block.
pub(super) fn attributes(xattrs: &[Xattr]) -> Result<Option<Attributes<'_>>, InodeProblem> {
    if xattrs.is_empty() {
        return Ok(None);
    }
    Attributes::of(xattrs).map(Some)
}
