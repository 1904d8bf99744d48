//! What is on a disk, and what differs between two.

use banger_core::disk::{Change, Difference, DiskEntry};
use jiff::Timestamp;
use serde::Serialize;

/// Something on a disk, as JSON. Bytes that are not UTF-8 are in the escaped
/// forms alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryOutput {
    path: Option<String>,
    path_escaped: String,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size_bytes: u64,
    modified_seconds: i64,
    modified_nanoseconds: u32,
    target: Option<String>,
    target_escaped: Option<String>,
}

impl From<&DiskEntry> for EntryOutput {
    fn from(entry: &DiskEntry) -> Self {
        let target = entry.target.as_ref();
        Self {
            path: text(&entry.path),
            path_escaped: escaped(&entry.path),
            kind: entry.kind.as_str(),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            size_bytes: entry.size,
            modified_seconds: entry.modified.0,
            modified_nanoseconds: entry.modified.1,
            target: target.and_then(|target| text(target)),
            target_escaped: target.map(|target| escaped(target)),
        }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// What a terminal can show: anything unusual is escaped.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Entries for people, as `ls -ln` has them.
#[must_use]
pub fn entry_lines(entries: &[DiskEntry]) -> String {
    let widths = |number: fn(&DiskEntry) -> u64| {
        let widest = entries.iter().map(number).max().unwrap_or(0);
        widest.to_string().len()
    };
    let owner = widths(|entry| entry.uid.into());
    let group = widths(|entry| entry.gid.into());
    let size = widths(|entry| entry.size);
    let line = |entry: &DiskEntry| {
        let target = entry.target.as_ref();
        let target = target.map(|target| format!(" -> {}", escaped(target)));
        format!(
            "{} {:>owner$} {:>group$} {:>size$} {} {}{}\n",
            mode(entry),
            entry.uid,
            entry.gid,
            entry.size,
            time(entry.modified.0),
            escaped(&entry.path),
            target.unwrap_or_default(),
        )
    };
    entries.iter().map(line).collect()
}

/// Type and permissions as letters (ls(1)).
fn mode(entry: &DiskEntry) -> String {
    let bit = |shift: u16| entry.mode >> shift & 1 == 1;
    let mut letters = entry.kind.letter().to_string();
    // owner, group, others: with setuid, setgid, sticky in place of execute
    for (class, special, marks) in [(6, 11, "sS"), (3, 10, "sS"), (0, 9, "tT")] {
        letters.push(if bit(class + 2) { 'r' } else { '-' });
        letters.push(if bit(class + 1) { 'w' } else { '-' });
        let (with, without) = marks.split_at(1);
        letters += match (bit(special), bit(class)) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => "x",
            (false, false) => "-",
        };
    }
    letters
}

fn time(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds);
    time.map_or_else(
        |_| seconds.to_string(),
        |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// A difference, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DifferenceOutput {
    path: Option<String>,
    path_escaped: String,
    change: &'static str,
    properties: Vec<&'static str>,
}

impl From<&Difference> for DifferenceOutput {
    fn from(difference: &Difference) -> Self {
        Self {
            path: text(&difference.path),
            path_escaped: escaped(&difference.path),
            change: match difference.change {
                Change::Added => "added",
                Change::Deleted => "deleted",
                Change::Changed => "changed",
            },
            properties: difference.properties.clone(),
        }
    }
}

/// Differences for people, as `docker diff` has them.
#[must_use]
pub fn difference_lines(differences: &[Difference]) -> String {
    let line = |difference: &Difference| {
        let letter = match difference.change {
            Change::Added => 'A',
            Change::Deleted => 'D',
            Change::Changed => 'C',
        };
        let properties = difference.properties.join(", ");
        let properties = if properties.is_empty() {
            properties
        } else {
            format!(" ({properties})")
        };
        format!("{letter} {}{properties}\n", escaped(&difference.path))
    };
    differences.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use banger_core::disk::EntryType;

    use super::*;

    #[test]
    fn a_listing_looks_like_that_of_ls() {
        let entry = DiskEntry {
            path: b"/bin/s\xffu".to_vec(),
            kind: EntryType::File,
            mode: 0o4755,
            uid: 0,
            gid: 1000,
            size: 77,
            modified: (0, 5),
            target: None,
        };
        let link = DiskEntry {
            path: b"/l".to_vec(),
            kind: EntryType::Symlink,
            mode: 0o1776,
            target: Some(b"bin/\x1b[2J".to_vec()),
            ..entry.clone()
        };
        assert_eq!(
            entry_lines(&[entry, link]),
            "-rwsr-xr-x 0 1000 77 1970-01-01 00:00:00Z /bin/s\\xffu\n\
             lrwxrwxrwT 0 1000 77 1970-01-01 00:00:00Z /l -> bin/\\x1b[2J\n"
        );
    }
}
