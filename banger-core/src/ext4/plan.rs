//! Deciding everything about a tree that does not depend on the disk's size.
//!
//! Invariants: inodes keep the order of the tree; all blocks beside content
//! are handed out here, inode by inode; whatever cannot be represented is
//! found here, before a byte is written.

use std::collections::HashMap;

use super::{
    Allocator, BLOCK_SIZE, Ext4Error, InodeProblem, Options, Run, Tree,
    directory::Directory,
    extents,
    inode::{Needs, attributes, check, inode_number, stored_links},
    layout::{Demand, runs},
    tree::Kind,
    xattr::MAX_SHARED,
};

/// A tree with the places of all it needs.
pub struct Plan<'t, T> {
    pub(super) tree: &'t T,
    pub(super) options: Options,
    pub(super) demand: Demand,
    pub(super) decisions: Vec<Decision>,
    /// Blocks of names, targets and extent trees.
    pub(super) runs: Vec<Run>,
    pub(super) attribute_blocks: Vec<AttributeBlock>,
    pub(super) lost_and_found: Vec<Run>,
    /// The resize inode's doubly indirect block.
    pub(super) resize_block: u64,
}

/// What was decided about an inode.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decision {
    pub(super) links: u16,
    /// The directory it is in, where it is one itself.
    pub(super) parent: u32,
    /// Which of the plan's runs are its own.
    first_run: u32,
    run_count: u32,
    /// One more than its place among the blocks of attributes; 0 for none.
    attribute_block: u32,
}

/// A block of attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttributeBlock {
    pub(super) block: u64,
    /// The first inode that has it.
    pub(super) owner: usize,
    /// How many have it.
    pub(super) shared: u32,
}

impl<T> std::fmt::Debug for Plan<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("inodes", &self.decisions.len())
            .finish_non_exhaustive()
    }
}

impl<'t, T: Tree> Plan<'t, T> {
    /// Decides about every inode. `allocator` is the one that handed out the
    /// blocks of the content, made with the same options.
    pub fn new(options: &Options, allocator: Allocator, tree: &'t T) -> Result<Self, Ext4Error> {
        let mut planner = Planner {
            tree,
            options,
            allocator,
            decisions: links(tree)?,
            runs: Vec::new(),
            attribute_blocks: Vec::new(),
            sharing: HashMap::new(),
        };
        for number in 0..tree.inode_count() {
            let decided = planner.decide(number);
            decided.map_err(|problem| Ext4Error::Inode {
                inode: number,
                problem,
            })?;
        }
        Ok(planner.finish())
    }

    /// Bytes of the smallest disk that holds everything.
    #[must_use]
    pub fn smallest(&self) -> u64 {
        self.demand.smallest() * BLOCK_SIZE
    }

    /// Blocks of an inode's own beside its content.
    pub(super) fn runs_of(&self, decision: Decision) -> &[Run] {
        let first = decision.first_run as usize;
        &self.runs[first..first + decision.run_count as usize]
    }

    pub(super) fn attribute_block(&self, decision: Decision) -> Option<AttributeBlock> {
        let place = (decision.attribute_block as usize).checked_sub(1)?;
        self.attribute_blocks.get(place).copied()
    }
}

/// Counts the names of every inode.
fn links(tree: &impl Tree) -> Result<Vec<Decision>, Ext4Error> {
    let count = tree.inode_count();
    let mut names = vec![0_u64; count];
    let mut decisions = vec![Decision::default(); count];
    decisions[0].parent = inode_number(0);
    // the root's own `.`, and `lost+found`'s `..`
    names[0] = 2;
    for number in 0..count {
        if !is_directory(tree, number) {
            continue;
        }
        names[number] += 1;
        for (_, child) in tree.entries(number) {
            names[child] += 1;
            if is_directory(tree, child) {
                names[number] += 1;
                decisions[child].parent = inode_number(number);
            }
        }
    }
    for (number, decision) in decisions.iter_mut().enumerate() {
        let stored = stored_links(names[number], is_directory(tree, number));
        decision.links = stored.map_err(|problem| Ext4Error::Inode {
            inode: number,
            problem,
        })?;
    }
    Ok(decisions)
}

fn is_directory(tree: &impl Tree, number: usize) -> bool {
    matches!(tree.inode(number).kind, Kind::Directory)
}

struct Planner<'a, 't, T> {
    tree: &'t T,
    options: &'a Options,
    allocator: Allocator,
    decisions: Vec<Decision>,
    runs: Vec<Run>,
    attribute_blocks: Vec<AttributeBlock>,
    /// The last block with the same attributes.
    sharing: HashMap<Vec<u8>, usize>,
}

impl<'t, T: Tree> Planner<'_, 't, T> {
    fn decide(&mut self, number: usize) -> Result<(), InodeProblem> {
        let inode = self.tree.inode(number);
        let blocks = match check(&inode)? {
            Needs::Nothing => 0,
            Needs::Target => 1,
            Needs::ExtentTree(blocks) => blocks,
            Needs::Names => Directory::of(self.tree, number, self.options)?.block_count(),
        };
        if let Some(attributes) = attributes(inode.xattrs)?
            && attributes.needs_block()
        {
            self.share_or_add(number, attributes.block());
        }
        let runs = runs(&mut self.allocator, blocks);
        let is_directory = matches!(inode.kind, Kind::Directory);
        if is_directory && extents::block_count(&extents::of_runs(&runs)) != 0 {
            return Err(InodeProblem::Directory);
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let decision = &mut self.decisions[number];
        decision.first_run = count(self.runs.len());
        decision.run_count = count(runs.len());
        self.runs.extend(runs);
        Ok(())
    }

    fn share_or_add(&mut self, number: usize, block: Vec<u8>) {
        let known = self.sharing.get(&block).copied();
        let shareable = known.filter(|place| self.attribute_blocks[*place].shared < MAX_SHARED);
        let place = shareable.unwrap_or_else(|| {
            self.attribute_blocks.push(AttributeBlock {
                block: self.allocator.next_run(1).start,
                owner: number,
                shared: 0,
            });
            let place = self.attribute_blocks.len() - 1;
            self.sharing.insert(block, place);
            place
        });
        self.attribute_blocks[place].shared += 1;
        self.decisions[number].attribute_block = u32::try_from(place + 1).unwrap_or(0);
    }

    fn finish(mut self) -> Plan<'t, T> {
        let lost_and_found = Directory::LostAndFound.block_count();
        let lost_and_found = runs(&mut self.allocator, lost_and_found);
        let resize_block = self.allocator.next_run(1).start;
        // the reserved numbers, `lost+found` among them, stand before the tree
        let last = inode_number(self.decisions.len().max(2) - 1);
        let inodes = if self.decisions.len() < 2 {
            last - 1
        } else {
            last
        };
        Plan {
            tree: self.tree,
            options: self.options.clone(),
            demand: Demand {
                allocator: self.allocator,
                inodes: u64::from(inodes),
                journal: self.options.journal,
            },
            decisions: self.decisions,
            runs: self.runs,
            attribute_blocks: self.attribute_blocks,
            lost_and_found,
            resize_block,
        }
    }
}
