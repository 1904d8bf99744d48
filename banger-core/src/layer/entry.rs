//! What one archive member says.

use super::{LayerPath, sparse::DataRun};

/// A member of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it belongs.
    pub path: LayerPath,
    /// What it is.
    pub kind: EntryKind,
    /// Owner, mode, time.
    pub metadata: Metadata,
    /// Extended attributes by full name, in the form the kernel's system
    /// calls use.
    pub xattrs: Xattrs,
}

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// Another name of the file at this path.
    HardLink(LayerPath),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Where a file's bytes are in the layer's inflated stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Offset of the first stored byte.
    pub offset: u64,
    /// Number of stored bytes.
    pub stored: u64,
    /// The file's size.
    pub size: u64,
    /// For a sparse file, which parts of it are stored, in order; none for a
    /// file that is stored whole.
    pub runs: Option<Vec<DataRun>>,
}

/// Owner, mode and time of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last modification.
    pub mtime: Timestamp,
}

/// A time as seconds since 1970-01-01 UTC and nanoseconds after that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Reads a pax time: decimal seconds, perhaps negative, perhaps with a
    /// fraction (POSIX pax, "pax Extended Header File Times"). Digits beyond
    /// nanoseconds are cut.
    #[must_use]
    pub fn parse_pax(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (negative, digits) = text
            .strip_prefix('-')
            .map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().ok()?;
        Some(match (negative, nanoseconds) {
            (false, _) => Self {
                seconds,
                nanoseconds,
            },
            (true, 0) => Self {
                seconds: -seconds,
                nanoseconds,
            },
            (true, _) => Self {
                seconds: -seconds - 1,
                nanoseconds: 1_000_000_000 - nanoseconds,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_keep_nanoseconds_and_signs() {
        type Case = (&'static [u8], Option<(i64, u32)>);
        let cases: [Case; 9] = [
            (b"0", Some((0, 0))),
            (b"1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            (b"1.5", Some((1, 500_000_000))),
            (b"1.1234567899", Some((1, 123_456_789))),
            (b"-1", Some((-1, 0))),
            (b"-1.25", Some((-2, 750_000_000))),
            (b"", None),
            (b"1e3", None),
            (b"--1", None),
        ];
        for (text, expected) in cases {
            let parsed = Timestamp::parse_pax(text).map(|time| (time.seconds, time.nanoseconds));
            assert_eq!(parsed, expected, "{}", text.escape_ascii());
        }
    }
}
