//! What a tree and its stream may hold.

/// Limits of one transfer, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest path or link target, in bytes.
    pub path: usize,
    /// Most directories within each other: each holds a descriptor while what is
    /// in it is worked on.
    pub depth: usize,
    /// Most entries.
    pub entries: u64,
    /// Most bytes of content.
    pub content: u64,
    /// Most files with several names whose first name is remembered; further
    /// ones are stored once for each name.
    pub links: usize,
    /// Most bytes of one entry's headers.
    pub headers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            path: 4096,
            depth: 256,
            entries: 16 << 20,
            content: 16 << 40,
            links: 1 << 18,
            headers: 256 << 10,
        }
    }
}
