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
        for text in ["", "1", "v1.12.0", "one.two"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
