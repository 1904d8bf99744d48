//! The parsers of what VMMs say, for `fuzz/` alone.

use super::{VmmMetrics, firecracker::metrics::parse};

/// What a line of Firecracker's metrics says.
#[must_use]
pub fn metrics(line: &[u8]) -> Option<VmmMetrics> {
    parse(line)
}
