//! Sizes in bytes, and the one way users write them.

use std::{fmt, str::FromStr};

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(u64);

/// A text that is not a positive size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSizeError {
    /// Not a number followed by a known unit.
    #[error(
        "size {text:?} is not a number with an optional unit (B, K, M, G, T, KiB, MiB, GiB, TiB)"
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// Zero.
    #[error("size {text:?} is zero")]
    Zero {
        /// What was given.
        text: String,
    },
    /// More than 64 bits.
    #[error("size {text:?} is too large")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

impl Bytes {
    /// One KiB.
    pub const KIB: u64 = 1024;
    /// One MiB.
    pub const MIB: u64 = 1024 * Self::KIB;
    /// One GiB.
    pub const GIB: u64 = 1024 * Self::MIB;

    /// This many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many MiB.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(Self::MIB))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of MiB, rounded up.
    #[must_use]
    pub const fn to_mib_ceiling(self) -> u64 {
        self.0.div_ceil(Self::MIB)
    }

    /// The next multiple of `unit`, saturating.
    #[must_use]
    pub const fn round_up_to(self, unit: u64) -> Self {
        Self(self.0.div_ceil(unit).saturating_mul(unit))
    }
}

impl fmt::Display for Bytes {
    /// Three significant digits in the largest binary unit that fits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(Self::GIB, "GiB"), (Self::MIB, "MiB"), (Self::KIB, "KiB")];
        match units.into_iter().find(|(unit, _)| *unit <= self.0) {
            Some((unit, name)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(unit);
                write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} B", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = ParseSizeError;

    /// Units are binary, in either case (`4G`, `4GiB`, `512m`); a bare number
    /// is MiB, as for `docker`'s and QEMU's memory options of old.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let owned = || text.chars().take(100).collect::<String>();
        let unit = unit_bytes(unit).filter(|_| !number.is_empty());
        let unit = unit.ok_or_else(|| ParseSizeError::Malformed { text: owned() })?;
        let number: Option<u64> = number.parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(unit));
        match bytes {
            None => Err(ParseSizeError::TooLarge { text: owned() }),
            Some(0) => Err(ParseSizeError::Zero { text: owned() }),
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" | "kib" => Bytes::KIB,
        "" | "m" | "mib" => Bytes::MIB,
        "g" | "gib" => Bytes::GIB,
        "t" | "tib" => 1024 * Bytes::GIB,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_as_users_write_them() {
        let cases = [
            ("4G", 4 * Bytes::GIB),
            ("4GiB", 4 * Bytes::GIB),
            ("512MiB", 512 * Bytes::MIB),
            ("512m", 512 * Bytes::MIB),
            ("100", 100 * Bytes::MIB),
            ("1b", 1),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Bytes::new(bytes)), "{text}");
        }
    }

    #[test]
    fn nonsense_zero_and_overflow_are_told_apart() {
        for text in ["", "G", "-1G", "1.5G", "4GB", "4 G", "x"] {
            assert!(
                matches!(text.parse::<Bytes>(), Err(ParseSizeError::Malformed { .. })),
                "{text}"
            );
        }
        assert!(matches!(
            "0".parse::<Bytes>(),
            Err(ParseSizeError::Zero { .. })
        ));
        assert!(matches!(
            "99999999999T".parse::<Bytes>(),
            Err(ParseSizeError::TooLarge { .. })
        ));
    }

    #[test]
    fn sizes_print_in_their_largest_unit() {
        assert_eq!(Bytes::new(1023).to_string(), "1023 B");
        assert_eq!(Bytes::from_mib(1536).to_string(), "1.5 GiB");
    }
}
