//! All that an ext4 disk says of its tree: what the listing reader does not
//! tell is inode numbers, links, devices, attributes and holes.
//!
//! Invariants: the disk is untrusted: every length is checked before memory is
//! taken for it, checksums are compared where the disk has them, and every
//! walk ends. A disk whose journal must be replayed is refused: what lies on
//! it is not what a kernel would show. Format: the kernel's
//! `Documentation/filesystems/ext4`.
//! Entry points: [`Volume`], [`Walk`].

mod attributes;
mod blocks;
mod directory;
mod fields;
mod inode;
mod walk;

use std::{fs::File, io, os::unix::fs::FileExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use super::DiskError;

pub(crate) use attributes::Xattr;
use fields::Fields;
pub(crate) use inode::Inode;
pub(crate) use walk::{Node, Walk};

/// Where the superblock begins, and how long it is.
const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_SIZE: usize = 1024;

const MAGIC: u16 = 0xef53;
const MAGIC_AT: usize = 0x38;
const CHECKSUM_AT: usize = 0x3fc;
const DESCRIPTOR_CHECKSUM_AT: usize = 0x1e;

const NEEDS_RECOVERY: u32 = 0x4;
const WIDE: u32 = 0x80;
const SEED_IS_STORED: u32 = 0x2000;
const METADATA_CHECKSUMS: u32 = 0x400;
/// filetype, recovery, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed,
/// largedir, inline_data, encrypt, casefold. What some of these bring with
/// them is refused where an inode uses it.
const READABLE: u32 = 0x2
    | 0x4
    | 0x40
    | 0x80
    | 0x100
    | 0x200
    | 0x400
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000;

/// An ext4 disk, open for reading.
#[derive(Debug)]
pub(crate) struct Volume {
    file: File,
    path: Utf8PathBuf,
    geometry: Geometry,
    /// The first block of each group's inode table.
    tables: Vec<u64>,
}

/// What the superblock says.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    block_size: u64,
    blocks: u64,
    first_block: u64,
    blocks_per_group: u64,
    inodes_per_group: u32,
    inode_size: usize,
    descriptor_size: usize,
    /// What checksums of metadata start from, when there are any.
    seed: Option<u32>,
    created_unix: i64,
}

impl Volume {
    /// Opens the disk in `file`, which is called `path` in messages.
    pub(crate) fn open(file: File, path: &Utf8Path) -> Result<Self, DiskError> {
        let mut superblock = [0; SUPERBLOCK_SIZE];
        let read = file.read_exact_at(&mut superblock, SUPERBLOCK_AT);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DiskError::Damaged {
                disk: path.to_owned(),
                problem: "it is too short for an ext4 file system".to_owned(),
            },
            _ => io_error(path, error),
        })?;
        let mut volume = Self {
            file,
            path: path.to_owned(),
            geometry: geometry(&superblock, path)?,
            tables: Vec::new(),
        };
        volume.tables = volume.read_tables()?;
        Ok(volume)
    }

    /// When the file system was made, in seconds since 1970-01-01 UTC.
    pub(crate) const fn created_unix(&self) -> i64 {
        self.geometry.created_unix
    }

    /// How the disk is called in messages.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.path
    }

    pub(crate) const fn block_size(&self) -> u64 {
        self.geometry.block_size
    }

    fn read_tables(&self) -> Result<Vec<u64>, DiskError> {
        let geometry = &self.geometry;
        let groups = (geometry.blocks - geometry.first_block).div_ceil(geometry.blocks_per_group);
        let size = geometry.descriptor_size;
        let at = (geometry.first_block + 1) * geometry.block_size;
        let length = self.file.metadata().map_err(|error| self.io(error))?.len();
        if length.saturating_sub(at) / (size as u64) < groups {
            return Err(self.damaged("it ends within the descriptors of its groups"));
        }
        let mut descriptor = vec![0; size];
        let mut tables = Vec::new();
        for group in 0..groups {
            self.read_at(at + group * size as u64, &mut descriptor)?;
            self.verify_descriptor(group, &descriptor)?;
            let low = self.field(descriptor.u32_at(0x8))?;
            let wide = 0x28 + 4 <= size;
            let high = if wide {
                self.field(descriptor.u32_at(0x28))?
            } else {
                0
            };
            tables.push(u64::from(high) << 32 | u64::from(low));
        }
        Ok(tables)
    }

    fn verify_descriptor(&self, group: u64, descriptor: &[u8]) -> Result<(), DiskError> {
        let Some(seed) = self.geometry.seed else {
            return Ok(());
        };
        let number = u32::try_from(group).unwrap_or(u32::MAX);
        let (before, rest) = descriptor.split_at(DESCRIPTOR_CHECKSUM_AT);
        let mut sum = fields::checksum(seed, &number.to_le_bytes());
        for bytes in [before, &[0, 0], &rest[2..]] {
            sum = fields::checksum(sum, bytes);
        }
        if descriptor.u16_at(DESCRIPTOR_CHECKSUM_AT).map(u32::from) == Some(sum & 0xffff) {
            return Ok(());
        }
        Err(self.damaged(format!("block group {group} does not match its checksum")))
    }

    /// Reads one whole block.
    fn block(&self, number: u64) -> Result<Vec<u8>, DiskError> {
        if number == 0 || self.geometry.blocks <= number {
            return Err(self.damaged(format!("there is no block {number}")));
        }
        let size = usize::try_from(self.geometry.block_size).unwrap_or(usize::MAX);
        let mut block = vec![0; size];
        self.read_at(number * self.geometry.block_size, &mut block)?;
        Ok(block)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let read = self.file.read_exact_at(buffer, at);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends before its blocks do"),
            _ => self.io(error),
        })
    }

    fn io(&self, error: io::Error) -> DiskError {
        io_error(&self.path, error)
    }

    fn damaged(&self, problem: impl Into<String>) -> DiskError {
        DiskError::Damaged {
            disk: self.path.clone(),
            problem: problem.into(),
        }
    }

    fn unsupported(&self, feature: impl Into<String>) -> DiskError {
        DiskError::Unsupported {
            disk: self.path.clone(),
            feature: feature.into(),
        }
    }

    /// A field that is there unless a structure is cut off.
    fn field<T>(&self, field: Option<T>) -> Result<T, DiskError> {
        field.ok_or_else(|| self.damaged("a structure is cut off"))
    }
}

fn io_error(path: &Utf8Path, source: io::Error) -> DiskError {
    DiskError::Io {
        disk: path.to_owned(),
        source,
    }
}

fn geometry(superblock: &[u8; SUPERBLOCK_SIZE], path: &Utf8Path) -> Result<Geometry, DiskError> {
    let word = |at| superblock.u32_at(at).unwrap_or(0);
    let half = |at| superblock.u16_at(at).unwrap_or(0);
    let damaged = |problem: &str| DiskError::Damaged {
        disk: path.to_owned(),
        problem: problem.to_owned(),
    };
    if half(MAGIC_AT) != MAGIC {
        return Err(damaged("it holds no ext4 file system"));
    }
    let features = word(0x60);
    let has_checksum = word(0x64) & METADATA_CHECKSUMS != 0;
    let sum = fields::checksum(u32::MAX, &superblock[..CHECKSUM_AT]);
    if has_checksum && word(CHECKSUM_AT) != sum {
        return Err(damaged("its superblock does not match its checksum"));
    }
    if features & NEEDS_RECOVERY != 0 {
        return Err(DiskError::NeedsRecovery {
            disk: path.to_owned(),
        });
    }
    if features & !READABLE != 0 {
        let feature = format!("features {:#x}", features & !READABLE);
        return Err(DiskError::Unsupported {
            disk: path.to_owned(),
            feature,
        });
    }
    let wide = features & WIDE != 0;
    let high = if wide { word(0x150) } else { 0 };
    let geometry = Geometry {
        block_size: 1024_u64.checked_shl(word(0x18)).unwrap_or(0),
        blocks: u64::from(high) << 32 | u64::from(word(0x4)),
        first_block: u64::from(word(0x14)),
        blocks_per_group: u64::from(word(0x20)),
        inodes_per_group: word(0x28),
        inode_size: usize::from(half(0x58)),
        descriptor_size: if wide { usize::from(half(0xfe)) } else { 32 },
        seed: seed(superblock, features),
        created_unix: i64::from(superblock.u8_at(0x276).unwrap_or(0)) << 32
            | i64::from(word(0x108)),
    };
    if is_sound(&geometry) {
        return Ok(geometry);
    }
    Err(damaged("its superblock is not valid"))
}

/// Whether all that follows can count on these numbers.
fn is_sound(geometry: &Geometry) -> bool {
    let block = geometry.block_size;
    (1024..=65_536).contains(&block)
        && geometry.first_block < geometry.blocks
        && geometry.first_block <= 1
        && geometry.blocks.checked_mul(block).is_some()
        && geometry.blocks_per_group != 0
        && geometry.inodes_per_group != 0
        && geometry.inode_size.is_power_of_two()
        && (128..=1024).contains(&geometry.inode_size)
        && (32..=1024).contains(&geometry.descriptor_size)
}

fn seed(superblock: &[u8; SUPERBLOCK_SIZE], features: u32) -> Option<u32> {
    if superblock.u32_at(0x64)? & METADATA_CHECKSUMS == 0 {
        return None;
    }
    if features & SEED_IS_STORED != 0 {
        return superblock.u32_at(0x270);
    }
    Some(fields::checksum(u32::MAX, superblock.get(0x68..0x78)?))
}
