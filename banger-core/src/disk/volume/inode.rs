//! Inodes (kernel, `inodes.rst`).

use super::{
    Volume,
    blocks::Run,
    fields::{Fields as _, checksum},
};
use crate::disk::{DiskError, EntryType};

/// The root directory's number.
pub(super) const ROOT: u32 = 2;

const ENCRYPTED: u32 = 0x800;
pub(super) const INDEXED: u32 = 0x1000;
pub(super) const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;

/// Bytes that every inode has.
const CORE: usize = 128;
/// Bytes that hold a short target, an extent tree's root or block numbers.
const AREA: usize = 60;
const AREA_AT: usize = 0x28;
/// Longest target of a symbolic link (`PATH_MAX`).
const MAX_TARGET: u64 = 4096;

/// An inode, as far as it is of interest.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    /// Its number.
    pub(crate) number: u32,
    /// Its type.
    pub(crate) kind: EntryType,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Size in bytes.
    pub(crate) size: u64,
    /// How many names it has; directories count otherwise.
    pub(crate) links: u16,
    /// Seconds since 1970-01-01 UTC and nanoseconds.
    pub(crate) modified: (i64, u32),
    pub(super) flags: u32,
    pub(super) area: [u8; AREA],
    /// The block of its attributes; 0 when there is none.
    pub(super) attribute_block: u64,
    /// What follows its fields: attributes.
    pub(super) tail: Vec<u8>,
    /// What checksums of its blocks start from.
    pub(super) seed: Option<u32>,
}

impl Inode {
    /// Major and minor number of a device (kernel, `new_encode_dev`).
    pub(crate) fn device(&self) -> (u32, u32) {
        let old = self.area.u32_at(0).unwrap_or(0);
        if old != 0 {
            return (old >> 8 & 0xff, old & 0xff);
        }
        let new = self.area.u32_at(4).unwrap_or(0);
        (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00)
    }
}

impl Volume {
    /// Reads an inode.
    pub(crate) fn inode(&self, number: u32) -> Result<Inode, DiskError> {
        let bytes = self.inode_bytes(number)?;
        let mode = self.field(bytes.u16_at(0))?;
        let unknown = || self.damaged(format!("inode {number} has no type"));
        let inode = Inode {
            number,
            kind: entry_type(mode).ok_or_else(unknown)?,
            mode: mode & 0o7777,
            uid: self.field(split_u32(&bytes, 0x2, 0x78))?,
            gid: self.field(split_u32(&bytes, 0x18, 0x7a))?,
            size: self.field(size(&bytes))?,
            links: self.field(bytes.u16_at(0x1a))?,
            modified: self.field(modified(&bytes))?,
            flags: self.field(bytes.u32_at(0x20))?,
            area: self.field(bytes.bytes_at(AREA_AT))?,
            attribute_block: self.field(attribute_block(&bytes))?,
            tail: tail(&bytes).to_vec(),
            seed: self.verified_seed(number, &bytes)?,
        };
        for (flag, feature) in [
            (ENCRYPTED, "encrypted files"),
            (INLINE, "content in inodes"),
        ] {
            if inode.flags & flag != 0 {
                return Err(self.unsupported(feature));
            }
        }
        Ok(inode)
    }

    fn inode_bytes(&self, number: u32) -> Result<Vec<u8>, DiskError> {
        let size = self.geometry.inode_size;
        let missing = || self.damaged(format!("there is no inode {number}"));
        let index = number.checked_sub(1).ok_or_else(missing)?;
        let group = index / self.geometry.inodes_per_group;
        let table = self.tables.get(group as usize).ok_or_else(missing)?;
        let within = u64::from(index % self.geometry.inodes_per_group) * size as u64;
        let at = table.checked_mul(self.geometry.block_size);
        let at = at
            .and_then(|at| at.checked_add(within))
            .ok_or_else(missing)?;
        let mut bytes = vec![0; size];
        self.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// What checksums of the inode's blocks start from, once its own is right.
    fn verified_seed(&self, number: u32, bytes: &[u8]) -> Result<Option<u32>, DiskError> {
        let Some(seed) = self.geometry.seed else {
            return Ok(None);
        };
        let generation = self.field(bytes.bytes_at::<4>(0x64))?;
        let seed = checksum(checksum(seed, &number.to_le_bytes()), &generation);
        let mut blank = bytes.to_vec();
        for at in [0x7c, 0x82] {
            if let Some(sum) = blank.get_mut(at..at + 2) {
                sum.fill(0);
            }
        }
        let sum = checksum(seed, &blank);
        let (low, high) = (bytes.u16_at(0x7c), bytes.u16_at(0x82));
        let is_short = bytes.len() == CORE;
        let same = low == Some(low_u16(sum)) && (is_short || high == Some(low_u16(sum >> 16)));
        if same {
            return Ok(Some(seed));
        }
        Err(self.damaged(format!("inode {number} does not match its checksum")))
    }

    /// What a symbolic link says.
    pub(crate) fn target(&self, inode: &Inode) -> Result<Vec<u8>, DiskError> {
        let wrong = || self.damaged(format!("the target of link {} is not valid", inode.number));
        if inode.size == 0 || MAX_TARGET < inode.size {
            return Err(wrong());
        }
        let length = usize::try_from(inode.size).map_err(|_| wrong())?;
        if let Some(target) = inode.area.get(..length).filter(|_| length < AREA) {
            return Ok(target.to_vec());
        }
        let mut target = Vec::new();
        for run in self.runs(inode)? {
            self.read_run(inode, run, &mut |bytes| {
                target.extend_from_slice(bytes);
                true
            })?;
        }
        if target.len() == length {
            return Ok(target);
        }
        Err(wrong())
    }

    /// Hands the bytes of a run, as far as they belong to the file, to `sink`,
    /// piece by piece; `sink` answers whether to go on.
    pub(crate) fn read_run(
        &self,
        inode: &Inode,
        run: Run,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), DiskError> {
        const PIECE: u64 = 1 << 20;
        let block = self.geometry.block_size;
        let mut at = run.start * block;
        let mut left = (run.length * block).min(inode.size.saturating_sub(run.logical * block));
        let mut buffer = vec![0; usize::try_from(left.min(PIECE)).unwrap_or(0)];
        while 0 < left {
            let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            self.read_at(at, &mut buffer[..length])?;
            if !sink(&buffer[..length]) {
                return Ok(());
            }
            at += length as u64;
            left -= length as u64;
        }
        Ok(())
    }
}

const fn entry_type(mode: u16) -> Option<EntryType> {
    Some(match mode & 0o170_000 {
        0o010_000 => EntryType::Fifo,
        0o020_000 => EntryType::CharDevice,
        0o040_000 => EntryType::Directory,
        0o060_000 => EntryType::BlockDevice,
        0o100_000 => EntryType::File,
        0o120_000 => EntryType::Symlink,
        0o140_000 => EntryType::Socket,
        _ => return None,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the bits above are compared elsewhere"
)]
const fn low_u16(value: u32) -> u16 {
    value as u16
}

fn split_u32(bytes: &[u8], low: usize, high: usize) -> Option<u32> {
    let (low, high) = (bytes.u16_at(low)?, bytes.u16_at(high)?);
    Some(u32::from(high) << 16 | u32::from(low))
}

fn size(bytes: &[u8]) -> Option<u64> {
    let (low, high) = (bytes.u32_at(0x4)?, bytes.u32_at(0x6c)?);
    Some(u64::from(high) << 32 | u64::from(low))
}

fn attribute_block(bytes: &[u8]) -> Option<u64> {
    let (low, high) = (bytes.u32_at(0x68)?, bytes.u16_at(0x76)?);
    Some(u64::from(high) << 32 | u64::from(low))
}

/// Small inodes count seconds in 32 bits; larger ones have two bits more, and
/// nanoseconds.
fn modified(bytes: &[u8]) -> Option<(i64, u32)> {
    let seconds = i64::from(bytes.bytes_at(0x10).map(i32::from_le_bytes)?);
    let has_extra = 0x8c - CORE <= extra_size(bytes);
    let extra = bytes.u32_at(0x88).filter(|_| has_extra).unwrap_or(0);
    Some((seconds + (i64::from(extra & 3) << 32), extra >> 2))
}

/// Bytes of fields behind the first 128.
fn extra_size(bytes: &[u8]) -> usize {
    let stored = bytes.get(CORE..).and_then(|extra| extra.u16_at(0));
    stored.map_or(0, usize::from)
}

fn tail(bytes: &[u8]) -> &[u8] {
    let start = CORE + extra_size(bytes);
    bytes
        .get(start..)
        .filter(|_| CORE < start)
        .unwrap_or_default()
}
