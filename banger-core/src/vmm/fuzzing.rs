//! The parsers of what VMMs say, for `fuzz/` alone.

use super::{
    VmmMetrics,
    firecracker::{Answer, metrics::parse},
};

/// What a line of Firecracker's metrics says.
#[must_use]
pub fn metrics(line: &[u8]) -> Option<VmmMetrics> {
    parse(line)
}

/// Status, and lengths of the body and of the whole, of the answer that these
/// bytes of Firecracker's API begin with; none where more is to come.
///
/// # Errors
/// They begin with no answer.
pub fn answer(received: &[u8]) -> Result<Option<(u16, usize, usize)>, String> {
    let parsed = Answer::parse(received)?;
    Ok(parsed.map(|(answer, length)| (answer.status(), answer.body_length(), length)))
}
