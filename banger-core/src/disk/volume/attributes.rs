//! Extended attributes (kernel, `attributes.rst`): in the inode, and in a block.
//! ACLs come out in the form that the system calls have.

use super::{
    Inode, Volume,
    fields::{Fields as _, checksum},
};
use crate::disk::DiskError;

/// Name and value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

const MAGIC: [u8; 4] = 0xea02_0000_u32.to_le_bytes();
const BLOCK_HEADER: usize = 32;
const CHECKSUM_AT: usize = 16;
const ENTRY_HEADER: usize = 16;

/// What stands before a name, by number.
const PREFIXES: [(u8, &[u8]); 7] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
    (7, b"system."),
    (8, b"system.richacl"),
];
const ACLS: [u8; 2] = [2, 3];

impl Volume {
    /// The attributes of an inode, by name.
    pub(crate) fn attributes(&self, inode: &Inode) -> Result<Vec<Xattr>, DiskError> {
        let mut found = Vec::new();
        if let Some(entries) = inode.tail.strip_prefix(&MAGIC) {
            // values are counted from the first entry
            self.entries(inode, entries, entries, &mut found)?;
        }
        if inode.attribute_block != 0 {
            let block = self.attribute_block(inode)?;
            let entries = self.field(block.get(BLOCK_HEADER..))?;
            self.entries(inode, entries, &block, &mut found)?;
        }
        found.sort();
        Ok(found)
    }

    fn attribute_block(&self, inode: &Inode) -> Result<Vec<u8>, DiskError> {
        let number = inode.attribute_block;
        let block = self.block(number)?;
        if !block.starts_with(&MAGIC) || block.u32_at(8) != Some(1) {
            return Err(self.wrong_attributes(inode));
        }
        if let Some(seed) = self.geometry.seed {
            let mut blank = block.clone();
            blank[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
            let sum = checksum(checksum(seed, &number.to_le_bytes()), &blank);
            if block.u32_at(CHECKSUM_AT) != Some(sum) {
                return Err(self.wrong_attributes(inode));
            }
        }
        Ok(block)
    }

    fn entries(
        &self,
        inode: &Inode,
        entries: &[u8],
        values: &[u8],
        found: &mut Vec<Xattr>,
    ) -> Result<(), DiskError> {
        let wrong = || self.wrong_attributes(inode);
        let mut rest = entries;
        while rest.u32_at(0).is_some_and(|start| start != 0) {
            let name_length = usize::from(rest[0]);
            let (prefix, offset) = (rest[1], rest.u16_at(2).ok_or_else(wrong)?);
            if rest.u32_at(4).ok_or_else(wrong)? != 0 {
                return Err(self.unsupported("attributes in inodes of their own"));
            }
            let size = rest.u32_at(8).ok_or_else(wrong)? as usize;
            let name = rest.get(ENTRY_HEADER..ENTRY_HEADER + name_length);
            let name = whole_name(prefix, name.ok_or_else(wrong)?).ok_or_else(wrong)?;
            let start = usize::from(offset);
            let value = match size {
                0 => &[],
                size => values
                    .get(start..start.saturating_add(size))
                    .ok_or_else(wrong)?,
            };
            let value = if ACLS.contains(&prefix) {
                acl(value).ok_or_else(wrong)?
            } else {
                value.to_vec()
            };
            found.push((name, value));
            let next = (ENTRY_HEADER + name_length).next_multiple_of(4);
            rest = rest.get(next..).ok_or_else(wrong)?;
        }
        Ok(())
    }

    fn wrong_attributes(&self, inode: &Inode) -> DiskError {
        self.damaged(format!(
            "the attributes of inode {} are not valid",
            inode.number
        ))
    }
}

fn whole_name(prefix: u8, name: &[u8]) -> Option<Vec<u8>> {
    let prefixes = [(0, &b""[..])].into_iter().chain(PREFIXES);
    let (_, start) = prefixes.into_iter().find(|(number, _)| *number == prefix)?;
    Some([start, name].concat())
}

/// From the form on disk to that of the system calls (kernel, `fs/ext4/acl.h`
/// and `include/uapi/linux/posix_acl_xattr.h`).
fn acl(disk: &[u8]) -> Option<Vec<u8>> {
    const NAMED: [u16; 2] = [0x02, 0x08];
    const NOBODY: [u8; 4] = [0xff; 4];
    let mut rest = disk.strip_prefix(&1_u32.to_le_bytes())?;
    let mut call = 2_u32.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let is_named = NAMED.contains(&rest.u16_at(0)?);
        let length = if is_named { 8 } else { 4 };
        let (entry, next) = rest.split_at_checked(length)?;
        call.extend_from_slice(entry);
        if !is_named {
            call.extend_from_slice(&NOBODY);
        }
        rest = next;
    }
    Some(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_get_their_ids_back() {
        let disk = [
            1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 5, 0, 0xe8, 3, 0, 0, 4, 0, 0, 0, 16, 0, 4, 0, 32, 0, 1, 0,
        ];
        let call = acl(&disk).unwrap();
        assert_eq!(call.len(), 4 + 5 * 8);
        assert_eq!(call[..4], [2, 0, 0, 0]);
        assert_eq!(call[4..12], [1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(call[12..20], [2, 0, 5, 0, 0xe8, 3, 0, 0]);
        assert_eq!(acl(&disk[..27]), None);
        assert_eq!(acl(&[]), None);
    }
}
