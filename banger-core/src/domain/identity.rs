//! Ids and names of images, kernels and VMs, and how a user selects one.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// Longest name of any object.
const MAX_NAME_LENGTH: usize = 63;

/// A name outside its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} name {text:?} is not {grammar}")]
pub struct NameParseError {
    what: &'static str,
    text: String,
    grammar: &'static str,
}

/// A text that is not a lower-case UUID in its standard form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} id {text:?} is not a UUID")]
pub struct IdParseError {
    what: &'static str,
    text: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $grammar:literal, $extra:pat) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let follows = |byte: u8| is_leading(byte) || matches!(byte, $extra);
                if is_name(text, follows) {
                    return Ok(Self(text.to_owned()));
                }
                Err(NameParseError {
                    what: $what,
                    text: text.chars().take(100).collect(),
                    grammar: $grammar,
                })
            }
        }
    };
}

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Uuid);

        impl $type {
            /// A fresh id that sorts after the ones made before it (UUID version 7).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The last 12 hexadecimal digits: all random, for short file names.
            #[must_use]
            pub fn short(&self) -> String {
                let text = self.0.simple().to_string();
                text[20..].to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let refused = || IdParseError { what: $what, text: text.chars().take(100).collect() };
                let id = Uuid::try_parse(text).map(Self).map_err(|_| refused())?;
                if id.to_string() == text { Ok(id) } else { Err(refused()) }
            }
        }
    };
}

name!(
    /// The name of an image, unique among images.
    ImageName, "image", "[a-z0-9][a-z0-9._-]{0,62}", b'.' | b'_' | b'-'
);
name!(
    /// The name of a kernel, unique among kernels.
    KernelName, "kernel", "[a-z0-9][a-z0-9._-]{0,62}", b'.' | b'_' | b'-'
);
name!(
    /// The name of a VM, unique among VMs; also its host name.
    VmName, "VM", "[a-z0-9][a-z0-9-]{0,62}", b'-'
);
name!(
    /// The name of a volume, unique among volumes.
    VolumeName, "volume", "[a-z0-9][a-z0-9-]{0,62}", b'-'
);
name!(
    /// The name of a session, unique among its client's.
    SessionName, "session", "[a-z0-9][a-z0-9-]{0,62}", b'-'
);
id!(
    /// The id of a session.
    SessionId, "session"
);
id!(
    /// The id of an image.
    ImageId, "image"
);
id!(
    /// The id of a VM.
    VmId, "VM"
);
id!(
    /// The id of a snapshot.
    SnapshotId, "snapshot"
);
id!(
    /// The id of an operation.
    OperationId, "operation"
);

const fn is_leading(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9')
}

fn is_name(text: &str, follows: impl Fn(u8) -> bool) -> bool {
    text.len() <= MAX_NAME_LENGTH
        && text.bytes().next().is_some_and(is_leading)
        && text.bytes().all(follows)
}

/// How a user points at an image or VM: a name, an id, or the start or the
/// end of an id. A name wins over an id part; an id part must be unique and
/// have at least four characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector(String);

impl Selector {
    /// Shortest part of an id that selects.
    const MIN_ID_PART: usize = 4;

    /// The text as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is long enough to be taken for part of an id.
    #[must_use]
    pub fn may_be_id_part(&self) -> bool {
        Self::MIN_ID_PART <= self.0.len()
            && self
                .0
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
    }
}

impl From<&str> for Selector {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<ImageId> for Selector {
    /// The image with that id and no other.
    fn from(id: ImageId) -> Self {
        Self::from(id.to_string().as_str())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl VmId {
    /// The last 32 bits: all random.
    pub(crate) const fn tail(&self) -> u32 {
        let [.., a, b, c, d] = *self.0.as_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_grammar() {
        let long = "a".repeat(MAX_NAME_LENGTH);
        for text in ["a", "0", "debian-bookworm", long.as_str()] {
            assert_eq!(
                text.parse::<VmName>().map(|name| name.to_string()),
                Ok(text.to_owned())
            );
        }
        let too_long = "a".repeat(MAX_NAME_LENGTH + 1);
        for text in ["", "-a", "A", "a.b", "a/b", "é", "a\n", too_long.as_str()] {
            assert!(text.parse::<VmName>().is_err(), "{text:?} was accepted");
        }
        assert!("6.1.0-37_cloud".parse::<KernelName>().is_ok());
        assert!("../x".parse::<ImageName>().is_err());
    }

    #[test]
    fn ids_are_ordered_and_round_trip() {
        let first = ImageId::generate();
        let second = ImageId::generate();
        assert!(first < second);
        assert_eq!(first.to_string().parse(), Ok(first));
        assert!(first.to_string().to_uppercase().parse::<ImageId>().is_err());
        assert_eq!(first.short().len(), 12);
    }
}
