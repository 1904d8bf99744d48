//! Indexes of directories over one block: leaves sorted by hash below one or
//! two levels of index (kernel, `directory.rst`, "Hash Tree Directories").

use super::{
    BLOCK, InodeProblem,
    checksum::Checksum,
    directory::{Entry, Identity, NAMES_END, dots, length_field, names_block, put_entry},
    fields::{Fields as _, low_u16, low_u32},
    hash::{HALF_MD4, name_hash},
};

/// Where the entries of an index root and of an inner node begin.
const ROOT_ENTRIES: usize = 0x20;
const NODE_ENTRIES: usize = 8;
/// Where the checksum's own field begins in an index block.
const INDEX_END: usize = BLOCK - 8;
/// Entries that a root and a node hold.
const ROOT_LIMIT: usize = (INDEX_END - ROOT_ENTRIES) / 8;
const NODE_LIMIT: usize = (INDEX_END - NODE_ENTRIES) / 8;
/// Set in a leaf's hash when its names begin with the last hash of the leaf
/// before.
const CONTINUED: u32 = 1;

/// A directory's names by hash.
pub(super) struct Index<'a> {
    names: Vec<(u32, Entry<'a>)>,
    leaves: Vec<Leaf>,
}

/// A block of names.
#[derive(Clone, Copy)]
struct Leaf {
    hash: u32,
    /// The first of its names.
    first: usize,
}

impl<'a> Index<'a> {
    pub(super) fn of(entries: Vec<Entry<'a>>, start: [u32; 4]) -> Result<Self, InodeProblem> {
        let hashed = entries.into_iter();
        let hashed = hashed.map(|entry| (name_hash(start, entry.name), entry));
        let mut names: Vec<_> = hashed.collect();
        names.sort_unstable_by_key(|(hash, entry)| (*hash, entry.name));
        let leaves = leaves(&names);
        if ROOT_LIMIT * NODE_LIMIT < leaves.len() {
            return Err(InodeProblem::Directory);
        }
        Ok(Self { names, leaves })
    }

    /// Inner nodes, where the root alone does not hold all leaves.
    const fn node_count(&self) -> usize {
        if self.leaves.len() <= ROOT_LIMIT {
            0
        } else {
            self.leaves.len().div_ceil(NODE_LIMIT)
        }
    }

    pub(super) const fn block_count(&self) -> u64 {
        (1 + self.node_count() + self.leaves.len()) as u64
    }

    /// The root, the nodes, the leaves.
    pub(super) fn write<E>(
        &self,
        identity: Identity,
        checksum: Checksum,
        emit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let nodes = self.node_count();
        let leaves = numbered(&self.leaves, 1 + nodes);
        if nodes == 0 {
            emit(&root(identity, &leaves, 0, checksum))?;
        } else {
            let parts: Vec<_> = leaves.chunks(NODE_LIMIT).collect();
            let hashes = parts.iter().map(|part| part[0].0);
            let pointers: Vec<_> = hashes.zip(1..).collect();
            emit(&root(identity, &pointers, 1, checksum))?;
            for part in parts {
                emit(&node(part, checksum))?;
            }
        }
        for (index, leaf) in self.leaves.iter().enumerate() {
            let end = self.leaves.get(index + 1);
            let end = end.map_or(self.names.len(), |next| next.first);
            let names = self.names[leaf.first..end].iter();
            let names: Vec<_> = names.map(|(_, entry)| *entry).collect();
            emit(&names_block(&names, checksum))?;
        }
        Ok(())
    }
}

/// Fills leaves with names in the order of their hashes.
fn leaves(names: &[(u32, Entry<'_>)]) -> Vec<Leaf> {
    let mut leaves = vec![Leaf { hash: 0, first: 0 }];
    let mut filled = 0;
    for (index, (hash, entry)) in names.iter().enumerate() {
        if NAMES_END < filled + entry.size() {
            let continued = names[index - 1].0 == *hash;
            leaves.push(Leaf {
                hash: hash | if continued { CONTINUED } else { 0 },
                first: index,
            });
            filled = 0;
        }
        filled += entry.size();
    }
    leaves
}

/// Hash and block number of each leaf.
fn numbered(leaves: &[Leaf], first_block: usize) -> Vec<(u32, u32)> {
    let first_block = low_u32(first_block as u64);
    leaves
        .iter()
        .map(|leaf| leaf.hash)
        .zip(first_block..)
        .collect()
}

fn root(identity: Identity, pointers: &[(u32, u32)], levels: u8, checksum: Checksum) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let [dot, parent] = dots(identity);
    put_entry(&mut block, 0, &dot, 12);
    put_entry(&mut block, 12, &parent, BLOCK - 12);
    // reserved, hash version, length of this information, levels, flags
    block.put_bytes(0x1c, &[HALF_MD4, 8, levels, 0]);
    put_pointers(&mut block, ROOT_ENTRIES, ROOT_LIMIT, pointers);
    seal(&mut block, ROOT_ENTRIES, pointers.len(), checksum);
    block
}

fn node(pointers: &[(u32, u32)], checksum: Checksum) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block.put_u16(4, length_field(BLOCK));
    put_pointers(&mut block, NODE_ENTRIES, NODE_LIMIT, pointers);
    seal(&mut block, NODE_ENTRIES, pointers.len(), checksum);
    block
}

/// The first entry's hash is implied; limit and count take its place.
fn put_pointers(block: &mut [u8], at: usize, limit: usize, pointers: &[(u32, u32)]) {
    for (index, (hash, target)) in pointers.iter().enumerate() {
        block.put_u32(at + 8 * index, *hash);
        block.put_u32(at + 8 * index + 4, *target);
    }
    block.put_u16(at, low_u16(low_u32(limit as u64)));
    block.put_u16(at + 2, low_u16(low_u32(pointers.len() as u64)));
}

/// The checksum covers what is used, the reserved word, and itself as zero.
fn seal(block: &mut [u8], at: usize, count: usize, checksum: Checksum) {
    let sum = checksum.add(&block[..at + 8 * count]).add(&[0; 8]);
    block.put_u32(INDEX_END + 4, sum.get());
}
