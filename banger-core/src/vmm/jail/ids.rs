//! The ids that jailed VMMs may have.

use std::{fmt, str::FromStr};

/// A range of user ids, which are taken as group ids, too. Nobody else may have
/// any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JailIds {
    first: u32,
    last: u32,
}

/// A text is no range of ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a range of user ids for jails: write FIRST-LAST, of ids from 1000 to 4294967294"
)]
pub struct JailIdsParseError {
    text: String,
}

/// Below are those of the system's own users.
const LEAST: u32 = 1000;
/// The next one means "no user" (setresuid(2)).
const GREATEST: u32 = u32::MAX - 1;

impl JailIds {
    /// The range from the first to the last id; none unless a user may have them.
    #[must_use]
    pub const fn new(first: u32, last: u32) -> Option<Self> {
        if LEAST <= first && first <= last && last <= GREATEST {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The first id.
    #[must_use]
    pub const fn first(self) -> u32 {
        self.first
    }

    /// The last id.
    #[must_use]
    pub const fn last(self) -> u32 {
        self.last
    }
}

impl Default for JailIds {
    /// Ids that neither people, nor services, nor containers are given
    /// (systemd's `UIDS-GIDS.md`).
    fn default() -> Self {
        Self {
            first: 1_900_000_000,
            last: 1_900_065_535,
        }
    }
}

impl FromStr for JailIds {
    type Err = JailIdsParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bounds = text.split_once('-').and_then(|(first, last)| {
            let id = |text: &str| text.trim().parse().ok();
            Some((id(first)?, id(last)?))
        });
        let range = bounds.and_then(|(first, last)| Self::new(first, last));
        range.ok_or_else(|| JailIdsParseError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for JailIds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written_alike() {
        let usual = JailIds::default();
        assert_eq!(usual.to_string().parse(), Ok(usual));
        assert_eq!("1000-1000".parse(), Ok(JailIds::new(1000, 1000).unwrap()));
        for text in [
            "",
            "1000",
            "999-2000",
            "2000-1999",
            "1000-4294967295",
            "a-b",
        ] {
            let refused = text.parse::<JailIds>().unwrap_err();
            assert!(refused.to_string().contains(text), "{refused}");
        }
    }
}
