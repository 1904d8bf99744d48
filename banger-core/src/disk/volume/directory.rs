//! Names in directories (kernel, `directory.rst`). Blocks of an index read as
//! blocks without names.

use std::collections::BTreeMap;

use super::{
    Inode, Volume,
    fields::{Fields as _, checksum},
    inode::INDEXED,
};
use crate::disk::DiskError;

/// Most names in a directory.
const MAX_NAMES: usize = 4_000_000;
const HEADER: usize = 8;
/// Bytes at the end of a block that hold its checksum, and how they begin: as
/// an entry without an inode or a name, of a type that does not exist.
const TAIL: usize = 12;
const TAIL_START: [u8; 8] = [0, 0, 0, 0, 12, 0, 0, 0xde];

impl Volume {
    /// The names in a directory, in order, and the numbers of their inodes.
    pub(crate) fn names(&self, directory: &Inode) -> Result<BTreeMap<Vec<u8>, u32>, DiskError> {
        let mut names = BTreeMap::new();
        for run in self.runs(directory)? {
            for offset in 0..run.length {
                let block = self.block(run.start + offset)?;
                let is_first = run.logical + offset == 0;
                self.verify_names(directory, &block, is_first)?;
                self.block_names(directory, &block, &mut names)?;
            }
        }
        Ok(names)
    }

    fn verify_names(
        &self,
        directory: &Inode,
        block: &[u8],
        is_first: bool,
    ) -> Result<(), DiskError> {
        let Some(seed) = directory.seed else {
            return Ok(());
        };
        let is_indexed = directory.flags & INDEXED != 0;
        let is_whole = block.u16_at(4).map(usize::from) == Some(block.len());
        if is_indexed && (is_first || is_whole) {
            // a block of the index: it holds no names
            return Ok(());
        }
        let split = block.split_at_checked(block.len().saturating_sub(TAIL));
        let (names, tail) = self.field(split)?;
        if tail.starts_with(&TAIL_START) && tail.u32_at(8) == Some(checksum(seed, names)) {
            return Ok(());
        }
        let number = directory.number;
        Err(self.damaged(format!("directory {number} does not match its checksum")))
    }

    fn block_names(
        &self,
        directory: &Inode,
        block: &[u8],
        names: &mut BTreeMap<Vec<u8>, u32>,
    ) -> Result<(), DiskError> {
        let wrong = || self.damaged(format!("directory {} is not valid", directory.number));
        let mut rest = block;
        while !rest.is_empty() {
            let inode = rest.u32_at(0).ok_or_else(wrong)?;
            // 65536 does not fit
            let length = match rest.u16_at(4).ok_or_else(wrong)? {
                0 | 0xffff => rest.len(),
                length => usize::from(length),
            };
            let name_length = usize::from(rest.u8_at(6).ok_or_else(wrong)?);
            if length < HEADER + name_length || rest.len() < length {
                return Err(wrong());
            }
            let name = &rest[HEADER..HEADER + name_length];
            rest = &rest[length..];
            if inode == 0 || matches!(name, b"." | b"..") {
                continue;
            }
            let is_odd = name.is_empty() || name.contains(&b'/') || name.contains(&0);
            if is_odd || names.insert(name.to_vec(), inode).is_some() || MAX_NAMES < names.len() {
                return Err(wrong());
            }
        }
        Ok(())
    }
}
