//! A directory of the host as a disk.
//!
//! The tree is only read, and no link in it is followed. Owners, modes, times,
//! holes, hard links and the users' own attributes are kept; sockets, which
//! mean nothing elsewhere, are left out. A file that changes meanwhile is taken
//! as it is read, up to the size it had.
//! Entry point: [`disk_of_directory`].

use std::{
    collections::HashMap,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{OFlags, lgetxattr, llistxattr};
use tokio_util::sync::CancellationToken;

use super::{
    RootfsError,
    engine::{LARGEST, disk_error, with_new_disk},
    output::with_output,
    place::{Extents, Placed, Placer},
    size::chosen_size,
};
use crate::{
    ext4::{self, Allocator, Inode, Kind, Plan, Timestamp, Tree, Xattr},
    host_fs::{IoContext as _, PathError},
};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// Most bytes of the names of a file's attributes, and of one value (xattr(7)).
const ATTRIBUTES_LIMIT: usize = 64 * 1024;
/// Attributes that are kept.
const KEPT_ATTRIBUTES: [&[u8]; 2] = [b"user.", b"security.capability"];
/// What the writer itself puts at the top.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Writes the tree below `directory` to a disk with room to grow. `output`
/// must not exist, and is removed again on any error; holds up its thread.
pub(crate) fn disk_of_directory(
    directory: &Utf8Path,
    output: &Utf8Path,
    uuid: [u8; 16],
    cancel: &CancellationToken,
) -> Result<(), RootfsError> {
    let options = ext4::Options {
        uuid,
        hash_seed: uuid,
        created: Timestamp::default(),
        journal: true,
        largest: LARGEST.get(),
    };
    with_new_disk(output, |disk| {
        let mut allocator = Allocator::new(&options);
        let mut extents = Extents::default();
        let read = with_output(Some(disk), |output| {
            let placer = Placer::new(&mut allocator, output, &mut extents);
            Reader::new(placer, cancel).read(directory)
        });
        let (nodes, content) = read.at("write", output)??;
        let tree = HostTree { nodes, extents };
        let failed = |error| disk_error(error, LARGEST, output, |inode| tree.path(inode));
        let plan = Plan::new(&options, allocator, &tree).map_err(failed)?;
        let size = chosen_size(None, content, plan.smallest())?;
        disk.set_len(size.get()).at("size", output)?;
        plan.write(size.get(), disk).map_err(failed)?;
        disk.sync_all().at("sync", output)?;
        Ok(())
    })
}

/// What was found, in the order of its finding.
struct HostTree {
    nodes: Vec<Node>,
    extents: Extents,
}

struct Node {
    /// Where it was found, for errors.
    path: PathBuf,
    kind: NodeKind,
    mode: u16,
    uid: u32,
    gid: u32,
    modified: Timestamp,
    xattrs: Vec<Xattr>,
    entries: Vec<(Vec<u8>, usize)>,
}

enum NodeKind {
    Directory,
    File { size: u64, placed: Placed },
    Symlink(Vec<u8>),
    CharDevice(u64),
    BlockDevice(u64),
    Fifo,
}

impl HostTree {
    fn path(&self, inode: usize) -> String {
        let node = self.nodes.get(inode);
        node.map_or_else(String::new, |node| node.path.display().to_string())
    }
}

impl Tree for HostTree {
    fn inode_count(&self) -> usize {
        self.nodes.len()
    }

    fn inode(&self, number: usize) -> Inode<'_> {
        let node = &self.nodes[number];
        let (major, minor) = (rustix::fs::major, rustix::fs::minor);
        Inode {
            kind: match &node.kind {
                NodeKind::Directory => Kind::Directory,
                NodeKind::File { size, placed } => Kind::File {
                    size: *size,
                    extents: self.extents.of(*placed),
                },
                NodeKind::Symlink(target) => Kind::Symlink(target),
                NodeKind::CharDevice(device) => Kind::CharDevice {
                    major: major(*device),
                    minor: minor(*device),
                },
                NodeKind::BlockDevice(device) => Kind::BlockDevice {
                    major: major(*device),
                    minor: minor(*device),
                },
                NodeKind::Fifo => Kind::Fifo,
            },
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            modified: node.modified,
            xattrs: &node.xattrs,
        }
    }

    fn entries(&self, directory: usize) -> impl Iterator<Item = (&[u8], usize)> {
        let entries = self.nodes[directory].entries.iter();
        entries.map(|(name, inode)| (name.as_slice(), *inode))
    }
}

/// Reads a tree, placing content as it comes.
struct Reader<'a, 'p> {
    placer: Placer<'p>,
    cancel: &'a CancellationToken,
    nodes: Vec<Node>,
    /// Files with several names, by device and inode.
    seen: HashMap<(u64, u64), usize>,
    /// Directories that are still to be read.
    pending: Vec<usize>,
    content: u64,
    buffer: Vec<u8>,
}

impl<'a, 'p> Reader<'a, 'p> {
    fn new(placer: Placer<'p>, cancel: &'a CancellationToken) -> Self {
        Self {
            placer,
            cancel,
            nodes: Vec::new(),
            seen: HashMap::new(),
            pending: Vec::new(),
            content: 0,
            buffer: vec![0; CHUNK],
        }
    }

    /// Answers the nodes and how many bytes their files have.
    fn read(mut self, top: &Utf8Path) -> Result<(Vec<Node>, u64), RootfsError> {
        let metadata = top.metadata().at("inspect", top)?;
        self.add(top.as_std_path(), &metadata, NodeKind::Directory)?;
        self.pending.push(0);
        while let Some(directory) = self.pending.pop() {
            self.read_directory(directory)?;
        }
        Ok((self.nodes, self.content))
    }

    fn read_directory(&mut self, directory: usize) -> Result<(), RootfsError> {
        let path = self.nodes[directory].path.clone();
        let failed = |error| failed("read directory", &path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort_unstable();
        for name in names {
            if self.cancel.is_cancelled() {
                return Err(RootfsError::Cancelled);
            }
            if directory == 0 && name.as_bytes() == LOST_AND_FOUND {
                continue;
            }
            let child = path.join(&name);
            if let Some(number) = self.read_entry(&child)? {
                self.nodes[directory]
                    .entries
                    .push((name.into_vec(), number));
            }
        }
        Ok(())
    }

    /// The node of an entry; none for one that is left out, or gone meanwhile.
    fn read_entry(&mut self, path: &Path) -> Result<Option<usize>, RootfsError> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(|error| failed("inspect", path, error))?,
        };
        let file_type = metadata.file_type();
        let identity = (metadata.dev(), metadata.ino());
        if let Some(number) = self.seen.get(&identity) {
            return Ok(Some(*number));
        }
        let kind = if file_type.is_dir() {
            self.pending.push(self.nodes.len());
            NodeKind::Directory
        } else if file_type.is_symlink() {
            let target = fs::read_link(path).map_err(|error| failed("read link", path, error))?;
            NodeKind::Symlink(target.into_os_string().into_vec())
        } else if file_type.is_char_device() {
            NodeKind::CharDevice(metadata.rdev())
        } else if file_type.is_block_device() {
            NodeKind::BlockDevice(metadata.rdev())
        } else if file_type.is_fifo() {
            NodeKind::Fifo
        } else if file_type.is_file() {
            self.place(path)?
        } else {
            return Ok(None);
        };
        let number = self.add(path, &metadata, kind)?;
        if !file_type.is_dir() && 1 < metadata.nlink() {
            self.seen.insert(identity, number);
        }
        Ok(Some(number))
    }

    /// Copies a file's content to its place.
    fn place(&mut self, path: &Path) -> Result<NodeKind, RootfsError> {
        let failed = |error| failed("read", path, error);
        let file = open(path).map_err(failed)?;
        let mut left = file.metadata().map_err(failed)?.len();
        let mut size = 0;
        while 0 < left {
            if self.cancel.is_cancelled() {
                return Err(RootfsError::Cancelled);
            }
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let got = (&file).read(&mut self.buffer[..want]).map_err(failed)?;
            if got == 0 {
                break;
            }
            self.placer.put(&self.buffer[..got]);
            size += got as u64;
            left -= got as u64;
        }
        self.content += size;
        Ok(NodeKind::File {
            size,
            placed: self.placer.end(),
        })
    }

    fn add(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        kind: NodeKind,
    ) -> Result<usize, RootfsError> {
        let mode = u16::try_from(metadata.mode() & 0o7777).unwrap_or(0);
        let xattrs =
            attributes(path).map_err(|error| failed("read the attributes of", path, error))?;
        self.nodes.push(Node {
            path: path.to_owned(),
            kind,
            mode,
            uid: metadata.uid(),
            gid: metadata.gid(),
            modified: Timestamp {
                seconds: metadata.mtime(),
                nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
            xattrs,
            entries: Vec::new(),
        });
        Ok(self.nodes.len() - 1)
    }
}

/// A regular file, whatever stands at its path by now.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// The attributes that are kept; none where the file system has none.
fn attributes(path: &Path) -> io::Result<Vec<Xattr>> {
    let mut names = vec![0; ATTRIBUTES_LIMIT];
    let length = match llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        length => length?,
    };
    let mut kept = Vec::new();
    let names = names[..length].split(|byte| *byte == 0);
    for name in names.filter(|name| KEPT_ATTRIBUTES.iter().any(|kept| name.starts_with(kept))) {
        let mut value = vec![0; ATTRIBUTES_LIMIT];
        let length = lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        kept.push((name.into(), value.into_boxed_slice()));
    }
    Ok(kept)
}

fn failed(action: &'static str, path: &Path, error: io::Error) -> RootfsError {
    let path = Utf8PathBuf::from(path.to_string_lossy().into_owned());
    RootfsError::Io(PathError::new(action, &path, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::disk::{DiskReader, EntryType};

    const UUID: [u8; 16] = [7; 16];

    fn utf8(path: &Path) -> &Utf8Path {
        Utf8Path::from_path(path).unwrap()
    }

    /// A directory with one of everything.
    fn fill(top: &Path) {
        fs::create_dir_all(top.join("deep/er")).unwrap();
        fs::write(top.join("deep/er/file"), "content").unwrap();
        fs::set_permissions(top.join("deep/er/file"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::hard_link(top.join("deep/er/file"), top.join("twin")).unwrap();
        symlink("/etc/passwd", top.join("link")).unwrap();
        fs::create_dir(top.join("lost+found")).unwrap();
        let sparse = File::create(top.join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        drop(std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap());
        let big = vec![b'x'; 3 << 20];
        fs::write(top.join("big"), big).unwrap();
    }

    #[test]
    fn a_tree_becomes_a_disk() {
        let scratch = tempfile::tempdir().unwrap();
        let (top, disk) = (
            scratch.path().join("top"),
            utf8(scratch.path()).join("disk"),
        );
        fill(&top);
        disk_of_directory(utf8(&top), &disk, UUID, &CancellationToken::new()).unwrap();
        assert_eq!(disk.metadata().unwrap().len(), 1 << 30);
        let reader = DiskReader::open(&disk).unwrap();
        let names: Vec<_> = reader.list(b"/", true).unwrap();
        let names: Vec<_> = names
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
            .collect();
        let expected = [
            "/big",
            "/deep",
            "/deep/er",
            "/deep/er/file",
            "/link",
            "/lost+found",
            "/sparse",
            "/twin",
        ];
        assert_eq!(names, expected);
        let file = reader.entry(b"/deep/er/file").unwrap();
        assert_eq!(
            (file.kind, file.mode, file.size),
            (EntryType::File, 0o4711, 7)
        );
        let link = reader.entry(b"/link").unwrap();
        assert_eq!(link.target.as_deref(), Some(b"/etc/passwd".as_slice()));
        let mut content = Vec::new();
        let collect = |bytes: &[u8]| {
            content.extend_from_slice(bytes);
            true
        };
        reader.read(b"/twin", collect).unwrap();
        assert_eq!(content, b"content");
        check(&disk);
    }

    fn check(disk: &Utf8Path) {
        #[expect(clippy::disallowed_methods, reason = "the tool that knows")]
        let checked = std::process::Command::new("e2fsck")
            .args(["-fn", disk.as_str()])
            .output()
            .expect("install package e2fsprogs");
        assert!(checked.status.success(), "{checked:?}");
    }

    #[test]
    fn what_fails_leaves_no_disk() {
        let scratch = tempfile::tempdir().unwrap();
        let disk = utf8(scratch.path()).join("disk");
        let missing = utf8(scratch.path()).join("missing");
        disk_of_directory(&missing, &disk, UUID, &CancellationToken::new()).unwrap_err();
        assert!(!disk.exists());
        let top = scratch.path().join("top");
        fill(&top);
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let error = disk_of_directory(utf8(&top), &disk, UUID, &cancelled).unwrap_err();
        assert!(matches!(error, RootfsError::Cancelled), "{error:?}");
        assert!(!disk.exists());
    }
}
