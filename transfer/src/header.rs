//! Headers of entries: ustar, with pax records where ustar has no room.

use tar_core::{EntryType, HeaderError, builder::EntryBuilder};

use super::TransferError;

/// Bytes of a block, as a length of content and of what is in memory.
pub(crate) const BLOCK: u64 = 512;
pub(crate) const BLOCK_BYTES: usize = 512;

/// What an entry says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Meta<'a> {
    pub(crate) kind: EntryType,
    /// A directory's ends with a slash.
    pub(crate) path: &'a [u8],
    /// What a link says.
    pub(crate) target: Option<&'a [u8]>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) modified: Time,
    /// Major and minor number of a device.
    pub(crate) device: Option<(u32, u32)>,
    /// Extended attributes.
    pub(crate) attributes: &'a [Attribute],
}

/// Seconds since 1970 and nanoseconds.
pub(crate) type Time = (i64, u32);

/// An extended attribute: name and value.
pub(crate) type Attribute = (Vec<u8>, Vec<u8>);

/// Everything in front of an entry's content.
pub(crate) fn headers(meta: &Meta<'_>) -> Result<Vec<u8>, TransferError> {
    let misfit = |_| TransferError::entry(meta.path, "it has a number that tar cannot hold");
    let mut entry = EntryBuilder::new_ustar();
    entry.entry_type(meta.kind);
    entry.path(meta.path);
    if let Some(target) = meta.target {
        entry.link_name(target);
    }
    numbers(&mut entry, meta).map_err(misfit)?;
    for (name, value) in meta.attributes {
        // what has no name in pax stays behind
        if let Some(name) = str::from_utf8(name).ok().filter(|name| !name.contains('=')) {
            entry.add_pax(&format!("SCHILY.xattr.{name}"), value);
        }
    }
    Ok(entry.finish_bytes())
}

fn numbers(entry: &mut EntryBuilder, meta: &Meta<'_>) -> Result<(), HeaderError> {
    entry.mode(meta.mode)?;
    entry.uid(meta.uid.into())?;
    entry.gid(meta.gid.into())?;
    entry.size(meta.size)?;
    if let Some((major, minor)) = meta.device {
        entry.device(major, minor)?;
    }
    let (seconds, nanoseconds) = meta.modified;
    match u64::try_from(seconds) {
        Ok(whole) if nanoseconds == 0 => {
            entry.mtime(whole)?;
        }
        _ => {
            entry.mtime(0)?;
            entry.add_pax("mtime", time_text(meta.modified));
        }
    }
    Ok(())
}

/// Seconds with a fraction; a time before 1970 counts back from there.
fn time_text((seconds, nanoseconds): Time) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, rest) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    format!("{sign}{whole}.{rest:09}")
}

/// The time that a pax record tells; none when it tells none.
pub(crate) fn parse_time(text: &str) -> Option<Time> {
    let (negative, text) = text
        .strip_prefix('-')
        .map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let nanoseconds: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let total = i128::from(whole) * 1_000_000_000 + i128::from(nanoseconds);
    let total = if negative { -total } else { total };
    let seconds = i64::try_from(total.div_euclid(1_000_000_000)).ok()?;
    let rest = u32::try_from(total.rem_euclid(1_000_000_000)).ok()?;
    Some((seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for time in [
            (0, 0),
            (5, 1),
            (-2, 500_000_000),
            (-1, 999_999_999),
            (1 << 40, 7),
        ] {
            assert_eq!(parse_time(&time_text(time)), Some(time), "{time:?}");
        }
        assert_eq!(parse_time("1.5"), Some((1, 500_000_000)));
        assert_eq!(parse_time("7"), Some((7, 0)));
        assert_eq!(parse_time("1.12345678999"), Some((1, 123_456_789)));
        for wrong in ["", "-", "a", "1.a", "--1", "1e5", "99999999999999999999"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
