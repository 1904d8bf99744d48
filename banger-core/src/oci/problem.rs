//! What is wrong with a document, before it is put beside its reference.

use super::SourceError;

/// Most tags that a message lists.
const MAX_LISTED_TAGS: usize = 20;

/// Why a document cannot be used; each text is a sentence about "it".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Not what the specification says.
    Malformed(String),
    /// More than is read.
    Limit(String),
    /// Well formed, but nothing banger knows.
    Unsupported(String),
    /// Made for another platform.
    Platform { wanted: String, offered: String },
}

impl Problem {
    /// The error that names the reference.
    pub(super) fn of(self, reference: &str) -> SourceError {
        let reference = reference.to_owned();
        match self {
            Self::Malformed(problem) => SourceError::Malformed { reference, problem },
            Self::Limit(problem) => SourceError::Limit { reference, problem },
            Self::Unsupported(problem) => SourceError::Unsupported { reference, problem },
            Self::Platform { wanted, offered } => SourceError::NoPlatform {
                reference,
                platform: wanted,
                available: offered,
            },
        }
    }
}

/// Tags, for a message.
pub(super) fn listed_tags<'a>(tags: impl Iterator<Item = &'a str>) -> String {
    let escape = |tag: &str| {
        let shown = tag.chars().take(128);
        shown.flat_map(char::escape_default).collect()
    };
    let tags: Vec<String> = tags.take(MAX_LISTED_TAGS).map(escape).collect();
    match tags.as_slice() {
        [] => "no tags".to_owned(),
        [only] => format!("the tag {only}"),
        several => format!("the tags {}", several.join(", ")),
    }
}
