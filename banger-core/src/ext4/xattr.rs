//! Extended attributes: in the inode as far as they fit, the rest in one block
//! (kernel, `attributes.rst`).

use super::{
    BLOCK, InodeProblem, Xattr,
    checksum::Checksum,
    fields::{Fields as _, low_u16, low_u32},
};

const MAGIC: u32 = 0xea02_0000;
/// Bytes of an entry before its name.
const ENTRY_HEADER: usize = 16;
/// Bytes of a block before its entries.
const BLOCK_HEADER: usize = 32;
/// Where the block's checksum is.
const CHECKSUM_AT: usize = 16;
/// Bytes of an inode for attributes, the magic included.
pub(super) const INODE_AREA: usize = 96;
/// Bytes of the inode's area before its entries.
const AREA_HEADER: usize = 4;
/// Entries end with four zero bytes.
const TERMINATOR: usize = 4;
/// Inodes that may share a block (kernel, `EXT4_XATTR_REFCOUNT_MAX`).
pub(super) const MAX_SHARED: u32 = 1024;

/// Prefixes that are not stored but numbered, the longer ones first.
const PREFIXES: [(&[u8], u8); 6] = [
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
    (b"system.", 7),
];

/// An attribute as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stored<'a> {
    prefix: u8,
    name_length: u8,
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Stored<'a> {
    fn of((name, value): &'a Xattr) -> Result<Self, InodeProblem> {
        let known = PREFIXES.iter().find_map(|(prefix, number)| {
            let rest = name.strip_prefix(*prefix)?;
            // the names of ACLs are whole, the others go on
            (matches!(*number, 2 | 3) == rest.is_empty()).then_some((*number, rest))
        });
        let unknown = || InodeProblem::AttributeName {
            name: name.escape_ascii().to_string(),
        };
        let (prefix, rest) = known.ok_or_else(unknown)?;
        Ok(Self {
            prefix,
            name_length: u8::try_from(rest.len()).map_err(|_| unknown())?,
            name: rest,
            value,
        })
    }

    /// Bytes that entry and value take.
    const fn size(&self) -> usize {
        (ENTRY_HEADER + self.name.len()).next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }

    /// The hash of name and value: see `ext4_xattr_hash_entry` in the kernel.
    fn hash(&self) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(name, |hash, word| {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            hash.rotate_left(16) ^ u32::from_le_bytes(bytes)
        })
    }
}

/// The attributes of an inode, in the order readers want them.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    in_inode: Vec<Stored<'a>>,
    in_block: Vec<Stored<'a>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(xattrs: &'a [Xattr]) -> Result<Self, InodeProblem> {
        let mut all = xattrs
            .iter()
            .map(Stored::of)
            .collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable();
        let mut attributes = Self::default();
        let mut room = INODE_AREA - AREA_HEADER - TERMINATOR;
        for attribute in all {
            if let Some(left) = room.checked_sub(attribute.size()) {
                room = left;
                attributes.in_inode.push(attribute);
            } else {
                attributes.in_block.push(attribute);
            }
        }
        let block: usize = attributes.in_block.iter().map(Stored::size).sum();
        if BLOCK - BLOCK_HEADER - TERMINATOR < block {
            return Err(InodeProblem::Attributes);
        }
        Ok(attributes)
    }

    pub(super) const fn needs_block(&self) -> bool {
        !self.in_block.is_empty()
    }

    /// Fills the inode's area, which is zero.
    pub(super) fn put_in_inode(&self, area: &mut [u8]) {
        if !self.in_inode.is_empty() {
            area.put_u32(0, MAGIC);
            // values are counted from the first entry
            put_all(&mut area[AREA_HEADER..], 0, &self.in_inode);
        }
    }

    /// The block without its number and how many share it.
    pub(super) fn block(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block.put_u32(0, MAGIC);
        block.put_u32(8, 1);
        put_all(&mut block, BLOCK_HEADER, &self.in_block);
        let hashes = self.in_block.iter().map(Stored::hash);
        let hash = hashes.fold(0_u32, |hash, entry| hash.rotate_left(16) ^ entry);
        block.put_u32(12, hash);
        block
    }
}

/// Completes a block of attributes.
pub(super) fn seal(block: &mut [u8], number: u64, shared: u32, checksum: Checksum) {
    block.put_u32(4, shared);
    let sum = checksum.add(&number.to_le_bytes()).add(block);
    block.put_u32(CHECKSUM_AT, sum.get());
}

/// Entries from `at` on, values from the end of `target` down.
fn put_all(target: &mut [u8], at: usize, attributes: &[Stored<'_>]) {
    let mut entry = at;
    let mut value_end = target.len();
    for attribute in attributes {
        let value = value_end - attribute.value.len().next_multiple_of(4);
        let offset = if attribute.value.is_empty() { 0 } else { value };
        target[entry] = attribute.name_length;
        target[entry + 1] = attribute.prefix;
        target.put_u16(entry + 2, low_u16(low_u32(offset as u64)));
        target.put_u32(entry + 8, low_u32(attribute.value.len() as u64));
        target.put_u32(entry + 12, attribute.hash());
        target.put_bytes(entry + ENTRY_HEADER, attribute.name);
        target.put_bytes(value, attribute.value);
        entry += (ENTRY_HEADER + attribute.name.len()).next_multiple_of(4);
        value_end = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattr(name: &str, value: usize) -> Xattr {
        (name.as_bytes().into(), vec![7; value].into())
    }

    fn placed(xattr: Xattr) -> Result<bool, InodeProblem> {
        Attributes::of(&[xattr]).map(|attributes| attributes.needs_block())
    }

    #[test]
    fn attributes_fill_the_inode_then_a_block_and_no_more() {
        assert_eq!(placed(xattr("security.capability", 20)), Ok(false));
        // header 32, terminator 4, entry 16 + 4
        let most = BLOCK - 32 - 4 - 20;
        assert_eq!(placed(xattr("user.a", most)), Ok(true));
        assert_eq!(
            placed(xattr("user.a", most + 1)),
            Err(InodeProblem::Attributes)
        );
    }

    #[test]
    fn only_known_namespaces_are_stored() {
        for name in ["other.x", "user.", "trusted"] {
            let refused = placed(xattr(name, 1));
            let name = name.to_owned();
            assert_eq!(refused, Err(InodeProblem::AttributeName { name }));
        }
        // a name in the namespace `system`
        assert_eq!(placed(xattr("system.posix_acl_access.x", 1)), Ok(false));
    }
}
