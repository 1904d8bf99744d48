//! Entries of tar files: ustar with pax headers where ustar has no room (POSIX
//! pax; `SCHILY.xattr` as GNU tar and libarchive have it).

use std::io::{self, Write};

use tar_core::{EntryType as TarType, builder::EntryBuilder};

use crate::disk::{
    EntryType,
    volume::{Node, Xattr},
};

const BLOCK: usize = 512;

/// Why something has no form in a tar file.
pub(super) type Problem = &'static str;

/// The headers of an entry; `target` is what a link says.
pub(super) fn headers(
    node: &Node,
    attributes: &[Xattr],
    target: Option<&[u8]>,
) -> Result<Vec<u8>, Problem> {
    let inode = &node.inode;
    let mut entry = EntryBuilder::new_ustar();
    entry.entry_type(tar_type(node));
    entry.path(tar_path(node));
    if let Some(target) = node.first.as_deref().or(target) {
        entry.link_name(target);
    }
    let number = |_| "a number does not fit";
    entry.mode(inode.mode.into()).map_err(number)?;
    entry.uid(inode.uid.into()).map_err(number)?;
    entry.gid(inode.gid.into()).map_err(number)?;
    entry.size(content(node)).map_err(number)?;
    add_time(&mut entry, inode.modified)?;
    if matches!(inode.kind, EntryType::CharDevice | EntryType::BlockDevice) {
        let (major, minor) = inode.device();
        entry.device(major, minor).map_err(number)?;
    }
    // the first name of an inode carries its attributes
    for (name, value) in attributes.iter().filter(|_| node.first.is_none()) {
        entry.add_pax(&key(name)?, value);
    }
    Ok(entry.finish_bytes())
}

/// Bytes that follow an entry's headers.
pub(super) fn content(node: &Node) -> u64 {
    let is_first_file = node.inode.kind == EntryType::File && node.first.is_none();
    if is_first_file { node.inode.size } else { 0 }
}

/// The headers of a regular file that is no part of a tree.
pub(super) fn plain_headers(name: &str, size: u64, modified_unix: u64) -> io::Result<Vec<u8>> {
    let mut entry = EntryBuilder::new_ustar();
    entry.entry_type(TarType::Regular);
    entry.path(name);
    let filled = (|| {
        entry.mode(0o644)?.uid(0)?.gid(0)?;
        entry.size(size)?.mtime(modified_unix)?;
        Ok::<_, tar_core::HeaderError>(())
    })();
    filled.map_err(io::Error::other)?;
    Ok(entry.finish_bytes())
}

/// Fills the last block of content up.
pub(super) fn pad(output: &mut dyn Write, length: u64) -> io::Result<()> {
    let within = usize::try_from(length % BLOCK as u64).unwrap_or(0);
    output.write_all(&[0; BLOCK][..(BLOCK - within) % BLOCK])
}

/// Two empty blocks end a tar file.
pub(super) fn end(output: &mut dyn Write) -> io::Result<()> {
    output.write_all(&[0; 2 * BLOCK])
}

const fn tar_type(node: &Node) -> TarType {
    if node.first.is_some() {
        return TarType::Link;
    }
    match node.inode.kind {
        EntryType::Directory => TarType::Directory,
        EntryType::Symlink => TarType::Symlink,
        EntryType::CharDevice => TarType::Char,
        EntryType::BlockDevice => TarType::Block,
        EntryType::Fifo => TarType::Fifo,
        EntryType::File | EntryType::Socket => TarType::Regular,
    }
}

fn tar_path(node: &Node) -> Vec<u8> {
    match (node.path.as_slice(), node.inode.kind) {
        ([], _) => b"./".to_vec(),
        (path, EntryType::Directory) => [path, b"/"].concat(),
        (path, _) => path.to_vec(),
    }
}

/// Seconds that ustar can say go into the header, all else into a record.
fn add_time(entry: &mut EntryBuilder, (seconds, nanoseconds): (i64, u32)) -> Result<(), Problem> {
    let number = |_| "a number does not fit";
    match u64::try_from(seconds) {
        Ok(whole) if nanoseconds == 0 => drop(entry.mtime(whole).map_err(number)?),
        _ => {
            entry.mtime(0).map_err(number)?;
            entry.add_pax("mtime", time(seconds, nanoseconds));
        }
    }
    Ok(())
}

/// Seconds with a fraction. A time before 1970 counts back from there: -1.5
/// is half a second before -1.
fn time(seconds: i64, nanoseconds: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (seconds, rest) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}");
    }
    let text = format!("{sign}{seconds}.{rest:09}");
    text.trim_end_matches('0').to_owned()
}

fn key(name: &[u8]) -> Result<String, Problem> {
    let name = str::from_utf8(name).map_err(|_| "the name of an attribute is not UTF-8")?;
    if name.contains('=') {
        return Err("the name of an attribute has an equals sign");
    }
    Ok(format!("SCHILY.xattr.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_to_the_nanosecond() {
        assert_eq!(time(5, 0), "5");
        assert_eq!(time(5, 500_000_000), "5.5");
        assert_eq!(time(1, 1), "1.000000001");
        assert_eq!(time(-2, 500_000_000), "-1.5");
        assert_eq!(time(-1, 900_000_000), "-0.1");
        assert_eq!(time(-7, 0), "-7");
    }

    #[test]
    fn attributes_without_a_key_are_refused() {
        assert_eq!(key(b"user.a").unwrap(), "SCHILY.xattr.user.a");
        assert!(key(b"user.a=b").is_err());
        assert!(key(b"user.\xff").is_err());
    }

    #[test]
    fn blocks_are_filled_up() {
        for (length, padding) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
            let mut bytes = Vec::new();
            pad(&mut bytes, length).unwrap();
            assert_eq!(bytes.len(), padding, "{length}");
        }
    }
}
