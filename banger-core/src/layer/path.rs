//! Paths inside an archive: bytes, normalised.

use std::fmt;

use super::{LimitExceeded, RootfsLimits};

/// Longest name of an ext4 directory entry (kernel, `EXT4_NAME_LEN`).
const MAX_NAME: usize = 255;

/// A path below the image's root: components parted by single slashes, none
/// of them `.`, `..`, empty or with a NUL. The root itself is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerPath(Box<[u8]>);

/// A path that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It leaves the root.
    #[error("the path has a .. component")]
    ParentComponent,
    /// It cannot be a file name.
    #[error("the path holds a NUL byte")]
    Nul,
    /// A name ext4 cannot hold.
    #[error("a name has {0} bytes, more than {MAX_NAME}")]
    LongName(usize),
    /// It exceeds a limit.
    #[error("it exceeds the limit on {0}")]
    Limit(LimitExceeded),
}

impl LayerPath {
    /// Normalises what an archive says: absolute paths, `./` and doubled
    /// slashes mean what they mean below the root; `..` is refused.
    pub fn parse(bytes: &[u8], limits: &RootfsLimits) -> Result<Self, PathError> {
        if limits.path_bytes < bytes.len() {
            let exceeded = LimitExceeded::PathBytes(limits.path_bytes);
            return Err(PathError::Limit(exceeded));
        }
        let mut path = Vec::with_capacity(bytes.len());
        let mut depth = 0_usize;
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::ParentComponent),
                name if name.contains(&0) => return Err(PathError::Nul),
                name if MAX_NAME < name.len() => return Err(PathError::LongName(name.len())),
                name => {
                    if depth != 0 {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                    depth += 1;
                }
            }
        }
        if limits.path_depth < depth {
            let exceeded = LimitExceeded::PathDepth(limits.path_depth);
            return Err(PathError::Limit(exceeded));
        }
        Ok(Self(path.into()))
    }

    /// The components, parted by slashes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory and the name in it; none for the root.
    #[must_use]
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        let path = &self.0;
        match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((&path[..slash], &path[slash + 1..])),
            None if path.is_empty() => None,
            None => Some((&[], path)),
        }
    }

    /// The path and its parents, the topmost first; not the root.
    pub fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = self.0.iter().enumerate();
        let slashes = slashes.filter_map(|(at, byte)| (*byte == b'/').then_some(at));
        let whole = (!self.0.is_empty()).then_some(self.0.len());
        slashes.chain(whole).map(|end| &self.0[..end])
    }
}

impl fmt::Display for LayerPath {
    /// The path with bytes that are not printable ASCII escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_or_refused() {
        let limits = RootfsLimits {
            path_bytes: 300,
            path_depth: 3,
            ..RootfsLimits::default()
        };
        let parse = |text: &[u8]| LayerPath::parse(text, &limits).map(|path| path.to_string());
        assert_eq!(parse(b"./a//b/./c/"), Ok("/a/b/c".to_owned()));
        assert_eq!(parse(b"/a"), Ok("/a".to_owned()));
        assert_eq!(parse(b"./"), Ok("/".to_owned()));
        let path = LayerPath::parse(b"a/b/c", &limits).unwrap();
        assert_eq!(path.split(), Some((&b"a/b"[..], &b"c"[..])));
        let prefixes: Vec<&[u8]> = path.prefixes().collect();
        assert_eq!(prefixes, [&b"a"[..], b"a/b", b"a/b/c"]);
        assert_eq!(parse(b"\xff"), Ok("/\\xff".to_owned()));
        assert_eq!(parse(b"a/../b"), Err(PathError::ParentComponent));
        assert_eq!(parse(b"a\0b"), Err(PathError::Nul));
        assert_eq!(parse(&[b'x'; 256]), Err(PathError::LongName(256)));
        assert!(matches!(parse(&[b'x'; 301]), Err(PathError::Limit(_))));
        assert!(matches!(parse(b"a/b/c/d"), Err(PathError::Limit(_))));
    }
}
