//! Directories: the blocks their names take, and their content (kernel,
//! `directory.rst`).
//!
//! What fits one block is a plain list in the tree's order; anything longer
//! gets an index, see [`super::htree`].

use super::{
    BLOCK, InodeProblem, Options, Tree,
    checksum::Checksum,
    fields::{Fields as _, low_u16, low_u32},
    hash::start,
    htree::Index,
    inode::{FIRST_INODE, LOST_AND_FOUND, inode_number},
    tree::Kind,
};

/// Where the checksum's own entry begins in a block of names.
pub(super) const NAMES_END: usize = BLOCK - 12;
/// Bytes of an entry before its name.
const ENTRY_HEADER: usize = 8;
/// Type of the entry that holds the checksum.
const CHECKSUM_TYPE: u8 = 0xde;
/// Blocks that `lost+found` has from the start, as mke2fs makes it.
const LOST_AND_FOUND_BLOCKS: u64 = 4;
const LOST_AND_FOUND_NAME: &[u8] = b"lost+found";
/// Longest name (kernel, `EXT4_NAME_LEN`).
const MAX_NAME: usize = 255;

/// A name with what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) file_type: u8,
}

impl Entry<'_> {
    /// Bytes it takes in a block.
    pub(super) const fn size(&self) -> usize {
        entry_size(self.name.len())
    }
}

pub(super) const fn entry_size(name: usize) -> usize {
    (ENTRY_HEADER + name).next_multiple_of(4)
}

/// How a directory's names are laid out.
pub(super) enum Directory<'a> {
    Plain(Vec<Entry<'a>>),
    Indexed(Index<'a>),
    LostAndFound,
}

/// Which directory it is, and which one it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) inode: u32,
    pub(super) parent: u32,
}

impl<'a> Directory<'a> {
    /// Lays out the names in `directory`.
    pub(super) fn of(
        tree: &'a impl Tree,
        directory: usize,
        options: &Options,
    ) -> Result<Self, InodeProblem> {
        let mut entries = Vec::new();
        for (name, child) in tree.entries(directory) {
            check_name(name)?;
            entries.push(Entry {
                name,
                inode: inode_number(child),
                file_type: file_type(&tree.inode(child).kind),
            });
        }
        if directory == 0 {
            entries.push(Entry {
                name: LOST_AND_FOUND_NAME,
                inode: LOST_AND_FOUND,
                file_type: 2,
            });
        }
        let size: usize = entries.iter().map(Entry::size).sum();
        if entry_size(1) + entry_size(2) + size <= NAMES_END {
            return Ok(Self::Plain(entries));
        }
        Index::of(entries, start(&options.hash_seed)).map(Self::Indexed)
    }

    pub(super) fn block_count(&self) -> u64 {
        match self {
            Self::Plain(_) => 1,
            Self::Indexed(index) => index.block_count(),
            Self::LostAndFound => LOST_AND_FOUND_BLOCKS,
        }
    }

    pub(super) const fn is_indexed(&self) -> bool {
        matches!(self, Self::Indexed(_))
    }

    /// Hands its blocks to `emit`, in order.
    pub(super) fn write<E>(
        &self,
        identity: Identity,
        checksum: Checksum,
        emit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let checksum = checksum.of_inode(identity.inode);
        let dots = dots(identity);
        match self {
            Self::Plain(entries) => {
                let all: Vec<_> = dots.iter().chain(entries).copied().collect();
                emit(&names_block(&all, checksum))
            }
            Self::Indexed(index) => index.write(identity, checksum, emit),
            Self::LostAndFound => {
                emit(&names_block(&dots, checksum))?;
                (1..LOST_AND_FOUND_BLOCKS).try_for_each(|_| emit(&names_block(&[], checksum)))
            }
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), InodeProblem> {
    let bad = name.is_empty()
        || MAX_NAME < name.len()
        || name == b"."
        || name == b".."
        || name.iter().any(|byte| *byte == b'/' || *byte == 0);
    if bad {
        let name = name.escape_ascii().to_string();
        return Err(InodeProblem::Name { name });
    }
    Ok(())
}

pub(super) const fn dots(identity: Identity) -> [Entry<'static>; 2] {
    let dot = Entry {
        name: b".",
        inode: identity.inode,
        file_type: 2,
    };
    let parent = Entry {
        name: b"..",
        inode: identity.parent,
        ..dot
    };
    [dot, parent]
}

/// The type byte of an entry (`directory.rst`, "file_type").
const fn file_type(kind: &Kind<'_>) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Directory => 2,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

/// A block of names that fit it.
pub(super) fn names_block(entries: &[Entry<'_>], checksum: Checksum) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    for (index, entry) in entries.iter().enumerate() {
        // the last one takes all the room there is
        let last = index + 1 == entries.len();
        let size = if last { NAMES_END - at } else { entry.size() };
        put_entry(&mut block, at, entry, size);
        at += size;
    }
    if entries.is_empty() {
        block.put_u16(4, length_field(NAMES_END));
    }
    block.put_u16(NAMES_END + 4, 12);
    block[NAMES_END + 7] = CHECKSUM_TYPE;
    let sum = checksum.add(&block[..NAMES_END]).get();
    block.put_u32(NAMES_END + 8, sum);
    block
}

pub(super) fn put_entry(block: &mut [u8], at: usize, entry: &Entry<'_>, size: usize) {
    block.put_u32(at, entry.inode);
    block.put_u16(at + 4, length_field(size));
    block[at + 6] = u8::try_from(entry.name.len()).unwrap_or(u8::MAX);
    block[at + 7] = entry.file_type;
    block.put_bytes(at + ENTRY_HEADER, entry.name);
}

/// Lengths within a block fit 16 bits.
pub(super) const fn length_field(length: usize) -> u16 {
    low_u16(low_u32(length as u64))
}

/// Number of the first inode that is not reserved, for the tests of numbers.
const _: () = assert!(LOST_AND_FOUND == FIRST_INODE);
