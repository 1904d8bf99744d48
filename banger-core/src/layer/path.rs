//! Paths inside an archive, as components of bytes.

use std::fmt;

use crate::rootfs::RootfsLimits;

/// Longest name of an ext4 directory entry (kernel, `EXT4_NAME_LEN`).
const MAX_NAME: usize = 255;

/// A path below the image's root: components without `.`, `..`, empty ones or
/// NUL. The root itself has no components.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerPath(Vec<Component>);

/// A name in a directory: bytes, as the archive has them.
pub type Component = Box<[u8]>;

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
    #[error("{0}")]
    Limit(String),
}

impl LayerPath {
    /// Normalises what an archive says: absolute paths, `./` and doubled
    /// slashes mean what they mean below the root; `..` is refused.
    pub fn parse(bytes: &[u8], limits: &RootfsLimits) -> Result<Self, PathError> {
        if limits.path_bytes < bytes.len() {
            return Err(PathError::Limit(format!(
                "path bytes ({})",
                limits.path_bytes
            )));
        }
        let mut components = Vec::new();
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::ParentComponent),
                name if name.contains(&0) => return Err(PathError::Nul),
                name if MAX_NAME < name.len() => return Err(PathError::LongName(name.len())),
                name => components.push(name.into()),
            }
        }
        if limits.path_depth < components.len() {
            return Err(PathError::Limit(format!(
                "path depth ({})",
                limits.path_depth
            )));
        }
        Ok(Self(components))
    }

    /// The components, from the root down.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.0
    }

    /// The directory and the name in it; none for the root.
    #[must_use]
    pub fn split(&self) -> Option<(&[Component], &[u8])> {
        self.0
            .split_last()
            .map(|(name, parents)| (parents, name.as_ref()))
    }
}

impl fmt::Display for LayerPath {
    /// The path with bytes that are not printable ASCII escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0
            .iter()
            .try_for_each(|component| write!(f, "/{}", component.escape_ascii()))
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
        assert_eq!(parse(b"\xff"), Ok("/\\xff".to_owned()));
        assert_eq!(parse(b"a/../b"), Err(PathError::ParentComponent));
        assert_eq!(parse(b"a\0b"), Err(PathError::Nul));
        assert_eq!(parse(&[b'x'; 256]), Err(PathError::LongName(256)));
        assert!(matches!(parse(&[b'x'; 301]), Err(PathError::Limit(_))));
        assert!(matches!(parse(b"a/b/c/d"), Err(PathError::Limit(_))));
    }
}
