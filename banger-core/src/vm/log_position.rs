//! Places in console logs.

use std::{fmt, str::FromStr};

/// A place in a console log, which rotations do not change. As a text it is
/// `LOG-OFFSET`, in hexadecimal digits and in decimal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// Which log: each boot begins one.
    pub log: u64,
    /// Bytes of it before the place, kept or not.
    pub offset: u64,
}

/// A text is no place in a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place in a log")]
pub struct LogPositionParseError(String);

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.log, self.offset)
    }
}

impl FromStr for LogPosition {
    type Err = LogPositionParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (log, offset) = text.split_once('-')?;
            let position = Self {
                log: u64::from_str_radix(log, 16).ok()?,
                offset: offset.parse().ok()?,
            };
            (position.to_string() == text).then_some(position)
        };
        parse().ok_or_else(|| LogPositionParseError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_text() {
        let position = LogPosition {
            log: 0xab,
            offset: u64::MAX,
        };
        let text = "00000000000000ab-18446744073709551615";
        assert_eq!(position.to_string(), text);
        assert_eq!(text.parse(), Ok(position));
        for wrong in ["", "-", "ab-1", "00000000000000ab-+1", "00000000000000ab"] {
            assert!(wrong.parse::<LogPosition>().is_err(), "{wrong}");
        }
    }
}
