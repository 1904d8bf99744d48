//! What a copy moved.

use banger_core::vm::Copied;
use serde::Serialize;

/// A copy, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopiedOutput {
    entries: u64,
    content_bytes: u64,
}

impl From<&Copied> for CopiedOutput {
    fn from(copied: &Copied) -> Self {
        Self {
            entries: copied.entries,
            content_bytes: copied.content_bytes,
        }
    }
}
