//! Writing what was planned.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{
    Allocator, BLOCK_SIZE, Ext4Error, Inode, Kind, Options, Plan, Run, Timestamp, Tree,
    block_map::BlockMap,
    checksum::Checksum,
    directory::{Directory, Identity},
    extents::{self, ROOT_SIZE},
    geometry::{GROUP_BLOCKS, descriptor_blocks, has_superblock},
    groups::{GroupWriter, Groups},
    inode::{
        Area, DIRECTORY, FIRST_INODE, INODE_SIZE, JOURNAL, LOST_AND_FOUND, REGULAR, ROOT, Record,
        attributes, device, fast_target, inode_number, type_bits,
    },
    journal,
    layout::Layout,
    plan::Decision,
    resize::Reserve,
    sequential::Sequential,
    superblock::{SUPERBLOCK_SIZE, Superblock},
    tree::Xattr,
    xattr::seal,
};

/// Where a file system goes. What is not written reads as zeros: the file has
/// its size already.
pub trait Disk {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

impl Disk for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes written beside content.
    pub metadata_bytes: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Inodes there are, used and free.
    pub inodes: u64,
}

/// Writes an empty file system of `size` bytes, in whole blocks.
pub fn format_empty(options: &Options, size: u64, disk: &impl Disk) -> Result<Summary, Ext4Error> {
    let tree = Empty(options.created);
    Plan::new(options, Allocator::new(options), &tree)?.write(size, disk)
}

/// A tree of nothing but its root.
struct Empty(Timestamp);

impl Tree for Empty {
    fn inode_count(&self) -> usize {
        1
    }

    fn inode(&self, _number: usize) -> Inode<'_> {
        const NONE: &[Xattr] = &[];
        Inode {
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: self.0,
            xattrs: NONE,
        }
    }

    fn entries(&self, _directory: usize) -> impl Iterator<Item = (&[u8], usize)> {
        std::iter::empty()
    }
}

impl<T: Tree> Plan<'_, T> {
    /// Writes everything beside content to a disk of `size` bytes, in whole
    /// blocks.
    pub fn write(self, size: u64, disk: &impl Disk) -> Result<Summary, Ext4Error> {
        if self.options.largest < size {
            return Err(Ext4Error::TooLarge {
                largest: self.options.largest,
            });
        }
        let needed = self.smallest();
        if size / BLOCK_SIZE * BLOCK_SIZE < needed {
            return Err(Ext4Error::TooSmall { needed });
        }
        let layout = self.demand.place(size / BLOCK_SIZE);
        let writer = Writer {
            directories: vec![0; layout.groups()],
            table: Sequential::new(disk),
            blocks: Sequential::new(disk),
            checksum: Checksum::of_file_system(&self.options.uuid),
            plan: &self,
            layout: &layout,
        };
        writer.write()
    }

    fn reserve(&self, layout: &Layout) -> Reserve {
        let groups = layout.groups() as u64;
        let descriptor_blocks = descriptor_blocks(groups);
        Reserve {
            groups,
            descriptor_blocks,
            kept: layout.allocator.descriptor_area() - descriptor_blocks,
            doubly_indirect: self.resize_block,
        }
    }
}

struct Writer<'a, 'd, T, D: ?Sized> {
    plan: &'a Plan<'a, T>,
    layout: &'a Layout,
    checksum: Checksum,
    /// Directories by group.
    directories: Vec<u32>,
    /// Writes of inodes.
    table: Sequential<'d, D>,
    /// Writes of all else.
    blocks: Sequential<'d, D>,
}

impl<T: Tree, D: Disk> Writer<'_, '_, T, D> {
    fn write(mut self) -> Result<Summary, Ext4Error> {
        let journal = self.write_own()?;
        for number in 1..self.plan.tree.inode_count() {
            self.write_inode(number)?;
        }
        let map = BlockMap::new(self.layout.allocator.clone(), self.layout.blocks);
        debug_assert_eq!(map.group_count(), self.layout.groups() as u64);
        let groups = GroupWriter {
            layout: self.layout,
            map: &map,
            inodes: self.plan.demand.inodes,
            directories: &self.directories,
            checksum: self.checksum,
            disk: &mut self.blocks,
        };
        let groups = groups.write()?;
        let summary = self.write_superblocks(&groups, journal)?;
        let metadata_bytes = self.table.finish()? + self.blocks.finish()?;
        Ok(Summary {
            metadata_bytes,
            ..summary
        })
    }

    /// The inodes with reserved numbers, in order; answers what the superblock
    /// says of the journal.
    fn write_own(&mut self) -> Result<Option<([u8; ROOT_SIZE], u64)>, Ext4Error> {
        self.write_inode(0)?;
        let reserve = self.plan.reserve(self.layout);
        for (block, bytes) in reserve.blocks() {
            if bytes.iter().any(|byte| *byte != 0) {
                self.blocks.put(block * BLOCK_SIZE, &bytes)?;
            }
        }
        self.put_record(&reserve.inode(&self.plan.options))?;
        let journal = self.write_journal()?;
        self.write_lost_and_found()?;
        Ok(journal)
    }

    fn write_journal(&mut self) -> Result<Option<([u8; ROOT_SIZE], u64)>, Ext4Error> {
        let layout = self.layout;
        let Some(first) = layout.journal.first() else {
            return Ok(None);
        };
        let blocks: u64 = layout.journal.iter().map(|run| run.length).sum();
        let superblock = journal::superblock(u32::try_from(blocks).unwrap_or(u32::MAX));
        self.blocks.put(first.start * BLOCK_SIZE, &superblock)?;
        let extents = extents::of_runs(&layout.journal);
        let checksum = self.checksum.of_inode(JOURNAL);
        let (root, tree) = extents::build(&extents, layout.journal_tree.into_iter(), checksum);
        for block in &tree {
            self.blocks.put(block.block * BLOCK_SIZE, &block.bytes)?;
        }
        self.put_record(&Record {
            size: blocks * BLOCK_SIZE,
            blocks: blocks + u64::from(layout.journal_tree.is_some()),
            area: Area::Extents(root),
            ..Record::own(JOURNAL, REGULAR, 0o600, self.plan.options.created)
        })?;
        Ok(Some((root, blocks * BLOCK_SIZE)))
    }

    fn write_lost_and_found(&mut self) -> Result<(), Ext4Error> {
        let runs = &self.plan.lost_and_found;
        let identity = Identity {
            inode: LOST_AND_FOUND,
            parent: ROOT,
        };
        self.write_names(&Directory::LostAndFound, identity, runs)?;
        let blocks = Directory::LostAndFound.block_count();
        let record = Record {
            links: 2,
            size: blocks * BLOCK_SIZE,
            blocks,
            area: Area::Extents(self.tree_of(runs, LOST_AND_FOUND)),
            ..Record::own(LOST_AND_FOUND, DIRECTORY, 0o700, self.plan.options.created)
        };
        self.put_record(&record)
    }

    /// The root of the extent tree of blocks in few runs.
    fn tree_of(&self, runs: &[Run], inode: u32) -> [u8; ROOT_SIZE] {
        let checksum = self.checksum.of_inode(inode);
        extents::build(&extents::of_runs(runs), std::iter::empty(), checksum).0
    }

    fn write_names(
        &mut self,
        directory: &Directory<'_>,
        identity: Identity,
        runs: &[Run],
    ) -> io::Result<()> {
        let mut places = blocks_of(runs);
        directory.write(identity, self.checksum, &mut |bytes: &[u8]| {
            let block = places.next().ok_or(io::ErrorKind::InvalidData)?;
            self.blocks.put(block * BLOCK_SIZE, bytes)
        })
    }

    fn write_inode(&mut self, number: usize) -> Result<(), Ext4Error> {
        let problem = |problem| Ext4Error::Inode {
            inode: number,
            problem,
        };
        let plan = self.plan;
        let decision = plan.decisions[number];
        let inode = plan.tree.inode(number);
        let attributes = attributes(inode.xattrs).map_err(problem)?;
        let shared = plan.attribute_block(decision);
        if let (Some(shared), Some(attributes)) = (shared, &attributes)
            && shared.owner == number
        {
            let mut block = attributes.block();
            seal(&mut block, shared.block, shared.shared, self.checksum);
            self.blocks.put(shared.block * BLOCK_SIZE, &block)?;
        }
        let (area, size, blocks) = self.write_area(number, &inode, decision)?;
        let record = Record {
            number: inode_number(number),
            file_type: type_bits(&inode.kind),
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            modified: inode.modified,
            links: decision.links,
            size,
            blocks: blocks + u64::from(shared.is_some()),
            area,
            attributes: attributes.as_ref(),
            attribute_block: shared.map_or(0, |shared| shared.block),
        };
        self.put_record(&record)
    }

    /// Writes what belongs to an inode; answers its block area, its size, and
    /// the blocks it takes.
    fn write_area(
        &mut self,
        number: usize,
        inode: &Inode<'_>,
        decision: Decision,
    ) -> Result<(Area, u64, u64), Ext4Error> {
        Ok(match inode.kind {
            Kind::Directory => self.write_directory(number, decision)?,
            Kind::File { size, extents } => {
                let content = extents.iter().map(|extent| u64::from(extent.length));
                let content: u64 = content.sum();
                let (root, tree) = self.write_tree(number, extents, decision)?;
                (Area::Extents(root), size, content + tree)
            }
            Kind::Symlink(target) => self.write_target(number, target, decision)?,
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                (Area::Other(device(major, minor)), 0, 0)
            }
            Kind::Fifo | Kind::Socket => (Area::Other([0; ROOT_SIZE]), 0, 0),
        })
    }

    fn write_tree(
        &mut self,
        number: usize,
        extents: &[super::Extent],
        decision: Decision,
    ) -> Result<([u8; ROOT_SIZE], u64), Ext4Error> {
        let places = blocks_of(self.plan.runs_of(decision));
        let checksum = self.checksum.of_inode(inode_number(number));
        let (root, tree) = extents::build(extents, places, checksum);
        for block in &tree {
            self.blocks.put(block.block * BLOCK_SIZE, &block.bytes)?;
        }
        Ok((root, tree.len() as u64))
    }

    fn write_directory(
        &mut self,
        number: usize,
        decision: Decision,
    ) -> Result<(Area, u64, u64), Ext4Error> {
        let plan = self.plan;
        let directory = Directory::of(plan.tree, number, &plan.options);
        let directory = directory.map_err(|problem| Ext4Error::Inode {
            inode: number,
            problem,
        })?;
        let identity = Identity {
            inode: inode_number(number),
            parent: decision.parent,
        };
        let runs = plan.runs_of(decision);
        self.write_names(&directory, identity, runs)?;
        let blocks = directory.block_count();
        let root = self.tree_of(runs, identity.inode);
        let area = if directory.is_indexed() {
            Area::Index(root)
        } else {
            Area::Extents(root)
        };
        Ok((area, blocks * BLOCK_SIZE, blocks))
    }

    fn write_target(
        &mut self,
        number: usize,
        target: &[u8],
        decision: Decision,
    ) -> Result<(Area, u64, u64), Ext4Error> {
        let size = target.len() as u64;
        if let Some(area) = fast_target(target) {
            return Ok((Area::Other(area), size, 0));
        }
        let runs = self.plan.runs_of(decision);
        for block in blocks_of(runs) {
            let mut bytes = vec![0; super::BLOCK];
            bytes[..target.len()].copy_from_slice(target);
            self.blocks.put(block * BLOCK_SIZE, &bytes)?;
        }
        let root = self.tree_of(runs, inode_number(number));
        Ok((Area::Extents(root), size, 1))
    }

    fn put_record(&mut self, record: &Record<'_>) -> Result<(), Ext4Error> {
        let index = u64::from(record.number) - 1;
        let (group, within) = (
            index / self.layout.inodes_per_group,
            index % self.layout.inodes_per_group,
        );
        let group = usize::try_from(group).unwrap_or(usize::MAX);
        if record.file_type == DIRECTORY {
            self.directories[group] += 1;
        }
        let offset = self.layout.tables[group] * BLOCK_SIZE + within * INODE_SIZE as u64;
        Ok(self.table.put(offset, &record.encode(self.checksum))?)
    }

    /// The superblocks, each with the descriptors behind it.
    fn write_superblocks(
        &mut self,
        groups: &Groups,
        journal: Option<([u8; ROOT_SIZE], u64)>,
    ) -> Result<Summary, Ext4Error> {
        let count = self.layout.groups() as u64;
        let inodes = self.layout.inodes_per_group * count;
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let superblock = Superblock {
            options: &self.plan.options,
            blocks: self.layout.blocks,
            free_blocks: groups.free_blocks,
            inodes: number(inodes),
            free_inodes: number(inodes - self.plan.demand.inodes),
            inodes_per_group: number(self.layout.inodes_per_group),
            kept_descriptor_blocks: number(self.plan.reserve(self.layout).kept),
            journal,
        };
        for group in (0..count).filter(|group| has_superblock(*group)) {
            let start = group * GROUP_BLOCKS * BLOCK_SIZE;
            // the first kilobyte of a disk is not the file system's
            let offset = if group == 0 {
                SUPERBLOCK_SIZE as u64
            } else {
                0
            };
            let copy = superblock.encode(u16::try_from(group).unwrap_or(u16::MAX));
            self.blocks.put(start + offset, &copy)?;
            self.blocks.put(start + BLOCK_SIZE, &groups.descriptors)?;
        }
        Ok(Summary {
            metadata_bytes: 0,
            free_blocks: groups.free_blocks,
            inodes,
        })
    }
}

/// The blocks of runs, one by one.
fn blocks_of(runs: &[Run]) -> impl Iterator<Item = u64> {
    runs.iter().flat_map(|run| run.start..run.end())
}

/// Reserved numbers end where the first own directory begins.
const _: () = assert!(FIRST_INODE == LOST_AND_FOUND);
