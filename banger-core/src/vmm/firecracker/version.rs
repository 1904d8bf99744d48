//! Versions of Firecracker.

use std::fmt;

/// A version as far as it says what there is. Patches change nothing of the
/// interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// The oldest whose interface and snapshots are known to be what banger needs.
pub(super) const OLDEST: Version = Version {
    major: 1,
    minor: 12,
};

impl Version {
    /// Reads `1.12.1`, `1.13.0-dev` and the like.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-']);
        let mut next = || numbers.next()?.parse().ok();
        Some(Self {
            major: next()?,
            minor: next()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// Whether a version of Firecracker can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It can.
    Good,
    /// This is the oldest that can.
    TooOld(String),
    /// It is no version.
    Unknown,
}

impl Support {
    /// That of what `firecracker --version` says: `Firecracker v1.12.1`. Pure.
    pub(crate) fn of(answer: &str) -> Self {
        let word = answer.split_whitespace().nth(1).unwrap_or_default();
        match Version::parse(word.trim_start_matches('v')) {
            Some(version) if OLDEST <= version => Self::Good,
            Some(_) => Self::TooOld(OLDEST.to_string()),
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (text, is_new_enough) in [
            ("1.12.0", true),
            ("1.12.1", true),
            ("1.17.0-dev", true),
            ("2.0.0", true),
            ("1.9.1", false),
            ("0.25.2", false),
        ] {
            let version = Version::parse(text).unwrap();
            assert_eq!(OLDEST <= version, is_new_enough, "{text}");
        }
        for (answer, support) in [
            ("Firecracker v1.12.1", Support::Good),
            ("Firecracker v1.9.0", Support::TooOld("1.12".to_owned())),
            ("Firecracker", Support::Unknown),
            ("", Support::Unknown),
        ] {
            assert_eq!(Support::of(answer), support, "{answer}");
        }
        for text in ["", "1", "v1.12.0", "one.two"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
