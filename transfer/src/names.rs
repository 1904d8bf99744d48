//! Paths of entries as the names they are made of. Pure.

use std::ffi::CString;

use super::{Limits, TransferError};

/// The names of a path, none for the directory itself. Slashes in front are
/// taken as nothing, as tar does; whatever leads upwards is refused.
pub(crate) fn names(path: &[u8], limits: &Limits) -> Result<Vec<CString>, TransferError> {
    check_length(path, limits)?;
    let parts = path.split(|byte| *byte == b'/');
    let mut names = Vec::new();
    for part in parts.filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err(TransferError::entry(path, "its path leads upwards"));
        }
        let name = CString::new(part);
        names.push(name.map_err(|_| TransferError::entry(path, "its path holds a zero byte"))?);
    }
    if limits.depth < names.len() {
        let depth = limits.depth as u64;
        return Err(TransferError::limit(path, depth, "directories"));
    }
    Ok(names)
}

pub(crate) fn check_length(path: &[u8], limits: &Limits) -> Result<(), TransferError> {
    if limits.path < path.len() {
        let limit = limits.path as u64;
        return Err(TransferError::limit(path, limit, "bytes of path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(path: &[u8]) -> Option<Vec<Vec<u8>>> {
        let names = names(path, &Limits::default()).ok()?;
        Some(names.into_iter().map(CString::into_bytes).collect())
    }

    #[test]
    fn only_names_below_the_directory_are_left() {
        let cases: [(&[u8], &[&[u8]]); 6] = [
            (b"a/b", &[b"a", b"b"]),
            (b"/a//b/", &[b"a", b"b"]),
            (b"./a/./b/.", &[b"a", b"b"]),
            (b"./", &[]),
            (b"", &[]),
            (b"...\xff/ ", &[b"...\xff", b" "]),
        ];
        for (path, expected) in cases {
            let expected: Vec<Vec<u8>> = expected.iter().map(|name| name.to_vec()).collect();
            assert_eq!(names_of(path), Some(expected), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn ways_out_and_endless_paths_are_refused() {
        let deep = b"a/".repeat(300);
        for path in [&b".."[..], b"a/../b", b"/..", b"a\0b", &[b'a'; 5000], &deep] {
            assert_eq!(names_of(path), None, "{}", path.escape_ascii());
        }
    }
}
