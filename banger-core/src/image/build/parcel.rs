//! Files of the host on their way into a guest: a tar stream in a file without
//! a name.
//!
//! Invariants: owners become root; a file that changes while it is read is
//! refused. Entry points: [`pack`], [`spool`].

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use crate::host_fs::{FileRange, IoContext as _, PathError, nameless_file};

/// Copies a file into one without a name in `scratch`.
pub(super) fn spool(source: &Utf8Path, scratch: &Utf8Path) -> Result<FileRange, PathError> {
    let mut content = File::open(source).at("read", source)?;
    let mut file = nameless_file(scratch)?;
    io::copy(&mut content, &mut file).at("read", source)?;
    FileRange::whole(Arc::new(file)).at("inspect a file in", scratch)
}

/// Packs a file, under `name`, or the content of a directory.
pub(super) fn pack(
    source: &Utf8Path,
    name: Option<&str>,
    scratch: &Utf8Path,
    cancel: &CancellationToken,
) -> Result<FileRange, PathError> {
    let file = nameless_file(scratch)?;
    let mut packer = Packer {
        archive: tar::Builder::new(io::BufWriter::with_capacity(1 << 20, file)),
        cancel,
    };
    let outcome = match name {
        Some(name) => packer.entry(source.as_std_path(), Path::new(name), true),
        None => packer.content(source.as_std_path(), Path::new("")),
    };
    let written = outcome.and_then(|()| {
        packer
            .archive
            .into_inner()?
            .into_inner()
            .map_err(Into::into)
    });
    let file = written.at("pack", source)?;
    FileRange::whole(Arc::new(file)).at("inspect a file in", scratch)
}

struct Packer<'a> {
    archive: tar::Builder<io::BufWriter<File>>,
    cancel: &'a CancellationToken,
}

impl Packer<'_> {
    /// Packs what a directory has, in the order of names.
    fn content(&mut self, directory: &Path, below: &Path) -> io::Result<()> {
        let entries = fs::read_dir(directory).map_err(of(directory))?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(of(directory))?;
        names.sort();
        for name in names {
            self.entry(&directory.join(&name), &below.join(&name), false)?;
        }
        Ok(())
    }

    /// Packs one entry and all below it. The entry that the user named may be a
    /// link to what is meant.
    fn entry(&mut self, path: &Path, name: &Path, follow: bool) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("the build was given up"));
        }
        let inspect = if follow {
            fs::metadata
        } else {
            fs::symlink_metadata
        };
        let metadata = inspect(path).map_err(of(path))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.directory(path, name, &metadata)
        } else if kind.is_file() {
            self.file(path, name, &metadata)
        } else if kind.is_symlink() {
            self.link(path, name, &metadata)
        } else {
            let refusal = io::Error::other("it is not a file, directory or link");
            Err(of(path)(refusal))
        }
    }

    fn directory(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut header = header(metadata, tar::EntryType::Directory, 0);
        self.archive.append_data(&mut header, name, io::empty())?;
        self.content(path, name)
    }

    fn link(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let target: PathBuf = fs::read_link(path).map_err(of(path))?;
        let mut header = header(metadata, tar::EntryType::Symlink, 0);
        self.archive.append_link(&mut header, name, target)
    }

    fn file(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let file = File::open(path).map_err(of(path))?;
        let length = metadata.len();
        let mut header = header(metadata, tar::EntryType::Regular, length);
        let mut content = Content {
            file: file.take(length),
            read: 0,
        };
        self.archive.append_data(&mut header, name, &mut content)?;
        if content.read == length {
            return Ok(());
        }
        Err(of(path)(io::Error::other(
            "it became shorter while it was read",
        )))
    }
}

/// Counts a file's content as it is read.
struct Content {
    file: io::Take<File>,
    read: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read += length as u64;
        Ok(length)
    }
}

fn header(metadata: &Metadata, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.permissions().mode() & 0o7777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

/// Names the entry that failed: a tree has many.
fn of(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{super::packed::InputHasher, *};
    use crate::domain::Digest;

    /// A tree of every kind, the digest of its parcel, and its entries.
    fn packed(change: impl FnOnce(&Utf8Path)) -> (Digest, Vec<(String, u64, u32)>) {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let tree = root.join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("sub/program"), "#!/bin/sh\n").unwrap();
        let mode = fs::Permissions::from_mode(0o4751);
        fs::set_permissions(tree.join("sub/program"), mode).unwrap();
        fs::write(tree.join(format!("{}.txt", "n".repeat(200))), "long").unwrap();
        symlink("/absolute", tree.join("link")).unwrap();
        change(&tree);
        let cancel = CancellationToken::new();
        let parcel = pack(&tree, None, root, &cancel).unwrap();
        let mut hasher = InputHasher::default();
        hasher.parcel(&parcel, &cancel).unwrap();
        let mut archive = tar::Archive::new(parcel.reader());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            (path, entry.size(), header.mode().unwrap())
        });
        let entries = entries.collect();
        (hasher.finish(), entries)
    }

    #[test]
    fn a_tree_is_packed_in_order_with_modes_and_long_names() {
        let (_, entries) = packed(|_| {});
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        let long = format!("{}.txt", "n".repeat(200));
        assert_eq!(names, ["link", long.as_str(), "sub", "sub/program"]);
        assert_eq!((entries[3].1, entries[3].2), (10, 0o4751));
    }

    #[test]
    fn the_digest_knows_content_names_modes_and_links_and_no_times() {
        let (same, _) = packed(|_| {});
        let aged = |tree: &Utf8Path| {
            let file = File::options()
                .write(true)
                .open(tree.join("sub/program"))
                .unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        assert_eq!(packed(aged).0, same);
        let changes: [&dyn Fn(&Utf8Path); 5] = [
            &|tree| fs::write(tree.join("sub/program"), "#!/bin/ksh").unwrap(),
            &|tree| fs::rename(tree.join("sub/program"), tree.join("sub/other")).unwrap(),
            &|tree| {
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(tree.join("sub/program"), mode).unwrap();
            },
            &|tree| {
                fs::remove_file(tree.join("link")).unwrap();
                symlink("/other", tree.join("link")).unwrap();
            },
            &|tree| fs::create_dir(tree.join("more")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(packed(change).0, same, "{number}");
        }
    }

    #[test]
    fn one_file_has_the_name_it_is_given_and_sockets_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("file"), "content").unwrap();
        symlink("file", root.join("link")).unwrap();
        let cancel = CancellationToken::new();
        let pack = |source: &str| pack(&root.join(source), Some("new"), root, &cancel);
        let parcel = pack("link").unwrap();
        let mut archive = tar::Archive::new(parcel.reader());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        assert_eq!(
            (&*entry.path_bytes(), content.as_str()),
            (&b"new"[..], "content")
        );
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        assert!(
            pack("socket")
                .unwrap_err()
                .io_error()
                .to_string()
                .contains("socket")
        );
        cancel.cancel();
        assert!(pack("file").is_err());
    }
}
