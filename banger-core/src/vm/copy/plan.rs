//! Where a copy goes, by `docker cp`'s rules. Pure.

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Its path without links.
    pub(super) path: Vec<u8>,
    pub(super) is_directory: bool,
    /// What the directory holds, not itself.
    pub(super) content_only: bool,
    /// The last part of its path; none for a root directory.
    pub(super) name: Option<Vec<u8>>,
}

/// What is at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A directory, by its path without links.
    Directory { path: Vec<u8> },
    /// Something else, by its path without links.
    Other {
        path: Vec<u8>,
        /// The path was given with a slash at its end.
        named_as_directory: bool,
    },
    /// Nothing.
    Missing {
        /// As it was given.
        path: Vec<u8>,
        /// The directory that it would be in, if there is one.
        parent: Option<Vec<u8>>,
        /// Its last part.
        name: Vec<u8>,
    },
}

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A directory that exists.
    pub(super) directory: Vec<u8>,
    /// The copy's name in it; none: what the source holds goes there.
    pub(super) name: Option<Vec<u8>>,
}

/// A copy makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A directory is named, and something else is there.
    #[error("{} is not a directory", path.escape_ascii())]
    NotADirectory {
        /// The source or the destination.
        path: Vec<u8>,
    },
    /// A directory cannot take the place of what is there.
    #[error("{} is not a directory, and a directory is copied there", path.escape_ascii())]
    OntoOther {
        /// The destination.
        path: Vec<u8>,
    },
    /// A directory is named that does not exist.
    #[error("the directory {} does not exist", path.escape_ascii())]
    NoDirectory {
        /// The destination.
        path: Vec<u8>,
    },
}

impl Source {
    pub(super) fn check(&self, path: &[u8]) -> Result<(), PlanError> {
        if names_directory(path) && !self.is_directory {
            return Err(PlanError::NotADirectory {
                path: path.to_vec(),
            });
        }
        Ok(())
    }

    /// Its name in an archive that is not unpacked here.
    pub(super) fn archive_name(&self) -> Vec<u8> {
        match &self.name {
            Some(name) if !self.content_only => name.clone(),
            _ => b".".to_vec(),
        }
    }
}

pub(super) fn plan(source: &Source, destination: &Destination) -> Result<Target, PlanError> {
    match destination {
        Destination::Directory { path } => Ok(Target {
            directory: path.clone(),
            name: source.name.clone().filter(|_| !source.content_only),
        }),
        Destination::Other {
            path,
            named_as_directory,
        } => {
            if source.is_directory {
                return Err(PlanError::OntoOther { path: path.clone() });
            }
            if *named_as_directory {
                return Err(PlanError::NotADirectory { path: path.clone() });
            }
            let (directory, name) = split(path);
            Ok(Target {
                directory,
                name: Some(name),
            })
        }
        Destination::Missing { path, parent, name } => {
            let missing = || PlanError::NoDirectory { path: path.clone() };
            let named = names_directory(path);
            if named && (!source.is_directory || !path.ends_with(b"/")) {
                return Err(missing());
            }
            let no_parent = || PlanError::NoDirectory {
                path: split(path).0,
            };
            Ok(Target {
                directory: parent.clone().ok_or_else(no_parent)?,
                name: Some(name.clone()),
            })
        }
    }
}

/// Whether a path can only mean a directory.
pub(super) fn names_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || matches!(last_part(path), b"." | b"..")
}

/// Whether a path means what a directory holds.
pub(super) fn means_content(path: &[u8]) -> bool {
    last_part(path) == b"."
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The last part of a path; that of the resolved one where it is `.` or `..`.
pub(super) fn last_name(path: &[u8], resolved: &[u8]) -> Option<Vec<u8>> {
    let name = |path: &[u8]| {
        let mut parts = path.split(|byte| *byte == b'/');
        parts.rfind(|part| !part.is_empty()).map(<[u8]>::to_vec)
    };
    name(path)
        .filter(|name| name != b"." && name != b"..")
        .or_else(|| name(resolved))
}

/// The directory of an absolute path, and its last part.
pub(super) fn split(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let path = path.get(..end).unwrap_or_default();
    let start = path
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let (directory, name) = path.split_at(start);
    let directory = if directory.is_empty() {
        b"/"
    } else {
        directory
    };
    (directory.to_vec(), name.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: fn() -> Source = || source("/s/file", false, false);
    const TREE: fn() -> Source = || source("/s/tree", true, false);
    const CONTENT: fn() -> Source = || source("/s/tree", true, true);

    fn source(path: &str, is_directory: bool, content_only: bool) -> Source {
        Source {
            path: path.into(),
            is_directory,
            content_only,
            name: last_name(path.as_bytes(), b""),
        }
    }

    fn missing(path: &str, parent: Option<&str>) -> Destination {
        Destination::Missing {
            path: path.into(),
            parent: parent.map(Into::into),
            name: split(path.as_bytes()).1,
        }
    }

    fn other(named_as_directory: bool) -> Destination {
        Destination::Other {
            path: b"/d/x".to_vec(),
            named_as_directory,
        }
    }

    fn directory() -> Destination {
        Destination::Directory {
            path: b"/d".to_vec(),
        }
    }

    #[test]
    fn the_table_of_docker_cp() {
        let cases = [
            (FILE(), directory(), Some(("/d", Some("file")))),
            (FILE(), other(false), Some(("/d/", Some("x")))),
            (FILE(), other(true), None),
            (
                FILE(),
                missing("/d/new", Some("/d")),
                Some(("/d", Some("new"))),
            ),
            (FILE(), missing("/d/new/", Some("/d")), None),
            (FILE(), missing("/no/new", None), None),
            (TREE(), directory(), Some(("/d", Some("tree")))),
            (TREE(), other(false), None),
            (
                TREE(),
                missing("/d/new", Some("/d")),
                Some(("/d", Some("new"))),
            ),
            (
                TREE(),
                missing("/d/new/", Some("/d")),
                Some(("/d", Some("new"))),
            ),
            (TREE(), missing("/no/new", None), None),
            (CONTENT(), directory(), Some(("/d", None))),
            (CONTENT(), other(false), None),
            (
                CONTENT(),
                missing("/d/new", Some("/d")),
                Some(("/d", Some("new"))),
            ),
        ];
        for (source, destination, expected) in cases {
            let expected = expected.map(|(directory, name)| Target {
                directory: directory.into(),
                name: name.map(Into::into),
            });
            let planned = plan(&source, &destination);
            assert_eq!(planned.ok(), expected, "{source:?} {destination:?}");
        }
    }

    #[test]
    fn what_paths_mean() {
        for (path, directory, content) in [
            ("a", false, false),
            ("a/", true, false),
            ("a/.", true, true),
            (".", true, true),
            ("a/..", true, false),
            ("/", true, false),
            ("a.", false, false),
        ] {
            assert_eq!(names_directory(path.as_bytes()), directory, "{path}");
            assert_eq!(means_content(path.as_bytes()), content, "{path}");
        }
        let split_text = |path: &str| {
            let (directory, name) = split(path.as_bytes());
            (
                String::from_utf8(directory).unwrap(),
                String::from_utf8(name).unwrap(),
            )
        };
        assert_eq!(split_text("/a/b//"), ("/a/".into(), "b".into()));
        assert_eq!(split_text("/a"), ("/".into(), "a".into()));
        assert_eq!(split_text("/"), ("/".into(), String::new()));
        assert_eq!(last_name(b"/a/b/..", b"/a"), Some(b"a".to_vec()));
        assert_eq!(last_name(b"/", b"/"), None);
    }
}
