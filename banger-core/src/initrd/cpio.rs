//! The archive format of initrds: cpio, `newc` (Linux
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Purpose: write such an archive in memory. Invariants: inode numbers count
//! up from 1 and times are zero, so that equal entries give equal bytes.
//! Entry points: [`CpioWriter`].

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
/// Unit in which archives may follow one another.
const BLOCK: usize = 512;

const DIRECTORY: u32 = 0o040_000;
const REGULAR_FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive in the making. Paths are relative; a directory comes before
/// what is in it. No content may have 4 GiB or more.
#[derive(Debug, Default)]
pub(super) struct CpioWriter {
    archive: Vec<u8>,
    entries: u32,
}

struct Entry<'a> {
    path: &'a str,
    mode: u32,
    links: u32,
    device: (u32, u32),
    content: &'a [u8],
}

impl CpioWriter {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn directory(&mut self, path: &str, permissions: u32) {
        self.entry(&Entry {
            path,
            mode: DIRECTORY | permissions,
            links: 2,
            device: (0, 0),
            content: &[],
        });
    }

    pub(super) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(&Entry {
            path,
            mode: REGULAR_FILE | permissions,
            links: 1,
            device: (0, 0),
            content,
        });
    }

    /// A character device of this (major, minor).
    pub(super) fn character_device(&mut self, path: &str, permissions: u32, device: (u32, u32)) {
        self.entry(&Entry {
            path,
            mode: CHARACTER_DEVICE | permissions,
            links: 1,
            device,
            content: &[],
        });
    }

    /// Ends the archive and answers its bytes, padded to 512.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entries = 0;
        self.write(
            0,
            &Entry {
                path: TRAILER,
                mode: 0,
                links: 1,
                device: (0, 0),
                content: &[],
            },
        );
        self.pad(BLOCK);
        self.archive
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        self.write(self.entries, entry);
    }

    fn write(&mut self, inode: u32, entry: &Entry<'_>) {
        let (major, minor) = entry.device;
        let (mode, links) = (entry.mode, entry.links);
        let (size, path_size) = (entry.content.len(), entry.path.len() + 1);
        // inode, mode, uid, gid, links, mtime, size, device, the device it
        // is, length of the path with its NUL, checksum
        let header = format!(
            "{MAGIC}{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}\
             {0:08x}{0:08x}{major:08x}{minor:08x}{path_size:08x}{0:08x}",
            0
        );
        self.archive.extend(header.bytes());
        self.archive.extend(entry.path.bytes());
        self.archive.push(0);
        self.pad(4);
        self.archive.extend(entry.content);
        self.pad(4);
    }

    fn pad(&mut self, unit: usize) {
        let length = self.archive.len().next_multiple_of(unit);
        self.archive.resize(length, 0);
    }
}
