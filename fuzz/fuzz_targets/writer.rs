//! The ext4 writer, fed with any tree.
#![no_main]

use std::io;

use arbitrary::Arbitrary;
use banger_core::ext4::{
    Allocator, Disk, Ext4Error, Extent, Inode, Kind, Options, Plan, Timestamp, Tree, Xattr,
};
use libfuzzer_sys::fuzz_target;

const LARGEST: u64 = 1 << 32;

/// An inode below the root, and the directory it is in.
#[derive(Arbitrary, Debug)]
struct Node {
    parent: u8,
    name: Vec<u8>,
    shape: Shape,
    mode: u16,
    owner: (u32, u32),
    time: (i64, u32),
    xattrs: Vec<(u8, Vec<u8>, Vec<u8>)>,
}

#[derive(Arbitrary, Debug)]
enum Shape {
    Directory,
    /// Blocks and the holes before them.
    File(u64, Vec<(u16, u8)>),
    Symlink(Vec<u8>),
    Device(bool, u32, u32),
    Fifo,
    Socket,
}

struct Forest {
    nodes: Vec<Node>,
    extents: Vec<Vec<Extent>>,
    xattrs: Vec<Vec<Xattr>>,
    /// By directory: names and inodes.
    entries: Vec<Vec<(Vec<u8>, usize)>>,
}

impl Forest {
    fn new(nodes: Vec<Node>, allocator: &mut Allocator) -> Self {
        let mut entries = vec![Vec::new(); nodes.len() + 1];
        let mut extents = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            // only inodes before this one can be its directory: no loops
            let mut parent = usize::from(node.parent) % (index + 1);
            while parent != 0 && !matches!(nodes[parent - 1].shape, Shape::Directory) {
                parent -= 1;
            }
            entries[parent].push((node.name.clone(), index + 1));
            extents.push(place(&node.shape, allocator));
        }
        let xattrs = nodes.iter().map(xattrs).collect();
        Self {
            nodes,
            extents,
            xattrs,
            entries,
        }
    }
}

fn place(shape: &Shape, allocator: &mut Allocator) -> Vec<Extent> {
    let Shape::File(_, pieces) = shape else {
        return Vec::new();
    };
    let mut logical = 0;
    let mut extents = Vec::new();
    for (hole, length) in pieces {
        let run = allocator.next_run(u64::from(*length));
        extents.push(Extent {
            logical: logical + u32::from(*hole),
            length: u32::try_from(run.length).unwrap(),
            start: run.start,
        });
        logical += u32::from(*hole) + u32::try_from(run.length).unwrap();
    }
    extents
}

fn xattrs(node: &Node) -> Vec<Xattr> {
    let prefixes = [
        "user.",
        "trusted.",
        "security.",
        "system.posix_acl_access",
        "odd.",
    ];
    let xattrs = node.xattrs.iter().map(|(prefix, name, value)| {
        let prefix = prefixes[usize::from(*prefix) % prefixes.len()];
        let name = [prefix.as_bytes(), name].concat();
        (name.into(), value.clone().into())
    });
    xattrs.collect()
}

impl Tree for Forest {
    fn inode_count(&self) -> usize {
        self.nodes.len() + 1
    }

    fn inode(&self, number: usize) -> Inode<'_> {
        let Some(index) = number.checked_sub(1) else {
            return Inode {
                kind: Kind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                modified: Timestamp::default(),
                xattrs: &[],
            };
        };
        let node = &self.nodes[index];
        let kind = match &node.shape {
            Shape::Directory => Kind::Directory,
            Shape::File(size, _) => Kind::File {
                size: *size,
                extents: &self.extents[index],
            },
            Shape::Symlink(target) => Kind::Symlink(target),
            Shape::Device(true, major, minor) => Kind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            Shape::Device(false, major, minor) => Kind::CharDevice {
                major: *major,
                minor: *minor,
            },
            Shape::Fifo => Kind::Fifo,
            Shape::Socket => Kind::Socket,
        };
        Inode {
            kind,
            mode: node.mode,
            uid: node.owner.0,
            gid: node.owner.1,
            modified: Timestamp {
                seconds: node.time.0,
                nanoseconds: node.time.1,
            },
            xattrs: &self.xattrs[index],
        }
    }

    fn entries(&self, directory: usize) -> impl Iterator<Item = (&[u8], usize)> {
        let entries = self.entries[directory].iter();
        entries.map(|(name, number)| (name.as_slice(), *number))
    }
}

/// Takes everything within its size.
struct Bounded(u64);

impl Disk for Bounded {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset + bytes.len() as u64 <= self.0);
        Ok(())
    }
}

fuzz_target!(|nodes: Vec<Node>| {
    let options = Options {
        uuid: [1; 16],
        hash_seed: [2; 16],
        created: Timestamp::default(),
        journal: nodes.len() % 2 == 0,
        largest: LARGEST,
    };
    let mut allocator = Allocator::new(&options);
    let forest = Forest::new(nodes, &mut allocator);
    match Plan::new(&options, allocator, &forest) {
        Ok(plan) => {
            let size = plan.smallest();
            plan.write(size, &Bounded(size)).unwrap();
        }
        Err(Ext4Error::Inode { inode, .. }) => assert!(inode <= forest.nodes.len()),
        Err(error) => panic!("{error}"),
    }
});
