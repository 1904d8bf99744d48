//! References to image files: `oci-archive:`, `docker-archive:` and
//! `rootfs-tar:`, as skopeo writes the first two.
//!
//! As there, the first colon ends the file's path, so that what follows may
//! hold more of them; a path with a colon cannot be written.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use super::reference::{RegistryReference, normalised, tag_problem};

/// Longest reference name that is accepted.
const MAX_REF_NAME: usize = 512;
/// Ends of file names that say what the file is, not what is in it.
const EXTENSIONS: [&str; 7] = [
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.zst",
    ".tzst",
    ".tar.zstd",
    ".oci",
];

/// An image in an OCI layout inside a tar file: `oci-archive:FILE[:TAG]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciArchiveReference {
    file: Utf8PathBuf,
    tag: Option<String>,
    /// Where it was brought to, and is read.
    pub(super) brought: Option<Utf8PathBuf>,
}

/// An image in a file of `docker save`: `docker-archive:FILE[:REF]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerArchiveReference {
    file: Utf8PathBuf,
    image: ArchivedImage,
    /// Where it was brought to, and is read.
    pub(super) brought: Option<Utf8PathBuf>,
}

/// Which image of a docker archive is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchivedImage {
    /// The only one.
    Only,
    /// The one with this name and tag.
    Named(RegistryReference),
    /// The one with this number, from 0: `@0`.
    Numbered(u32),
}

/// A tree in a tar file: `rootfs-tar:FILE`, or `rootfs-tar:-` for the standard
/// input that whoever opens the source hands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootfsTarReference {
    file: Utf8PathBuf,
    /// Where it was brought to, and is read.
    pub(super) brought: Option<Utf8PathBuf>,
}

impl OciArchiveReference {
    /// The tar file.
    #[must_use]
    pub fn file(&self) -> &Utf8Path {
        &self.file
    }

    /// The tag; may be missing when the archive has just one image.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form = "oci-archive: is followed by a file and, optionally, a colon and a tag";
        let (file, tag) = split_file(text, form)?;
        if let Some(tag) = tag.filter(|tag| !is_ref_name(tag)) {
            return Err(tag_problem(tag));
        }
        Ok(Self {
            file: file.into(),
            tag: tag.map(str::to_owned),
            brought: None,
        })
    }

    /// What a name is made of: the tag where that is a whole name itself, else
    /// file and tag.
    pub(super) fn name_parts(&self) -> (Option<&str>, Option<&str>) {
        match self.tag() {
            Some(tag) if tag.contains(['/', ':']) => {
                let last = tag.rsplit('/').next().unwrap_or(tag);
                let (name, tag) = last.split_once(':').unwrap_or((last, ""));
                (Some(name), Some(tag).filter(|tag| !tag.is_empty()))
            }
            tag => (stem(&self.file), tag),
        }
    }
}

impl DockerArchiveReference {
    /// The tar file.
    #[must_use]
    pub fn file(&self) -> &Utf8Path {
        &self.file
    }

    /// Which of its images.
    #[must_use]
    pub const fn image(&self) -> &ArchivedImage {
        &self.image
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form = "docker-archive: is followed by a file and, optionally, a colon and \
                    NAME[:TAG] or @NUMBER";
        let (file, image) = split_file(text, form)?;
        Ok(Self {
            file: file.into(),
            image: image.map_or(Ok(ArchivedImage::Only), ArchivedImage::parse)?,
            brought: None,
        })
    }

    pub(super) fn name_parts(&self) -> (Option<&str>, Option<&str>) {
        match &self.image {
            ArchivedImage::Named(name) => (name.repository().rsplit('/').next(), name.tag()),
            ArchivedImage::Only | ArchivedImage::Numbered(_) => (stem(&self.file), None),
        }
    }
}

impl ArchivedImage {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(number) = text.strip_prefix('@') {
            let parsed = number.parse().ok().filter(|_| !number.starts_with('+'));
            return parsed
                .map(Self::Numbered)
                .ok_or_else(|| format!("{number:?} is not the number of an image"));
        }
        let name = normalised(text)?;
        match name.digest() {
            Some(_) => Err("docker archives have no digests: give a tag".to_owned()),
            None => Ok(Self::Named(name)),
        }
    }
}

impl RootfsTarReference {
    /// The tar file; none for standard input.
    #[must_use]
    pub fn file(&self) -> Option<&Utf8Path> {
        Some(&*self.file).filter(|file| *file != "-")
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(char::is_control) {
            let form = "rootfs-tar: is followed by a file, or by - for standard input";
            return Err(form.to_owned());
        }
        Ok(Self {
            file: text.into(),
            brought: None,
        })
    }

    pub(super) fn name_parts(&self) -> (Option<&str>, Option<&str>) {
        (self.file().and_then(stem), None)
    }
}

impl fmt::Display for OciArchiveReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci-archive:{}", self.file)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

impl fmt::Display for DockerArchiveReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-archive:{}", self.file)?;
        match &self.image {
            ArchivedImage::Only => Ok(()),
            ArchivedImage::Named(name) => write!(f, ":{name}"),
            ArchivedImage::Numbered(number) => write!(f, ":@{number}"),
        }
    }
}

impl fmt::Display for RootfsTarReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rootfs-tar:{}", self.file)
    }
}

/// Splits `FILE[:REST]` at its first colon; `form` says what was expected.
fn split_file<'a>(text: &'a str, form: &str) -> Result<(&'a str, Option<&'a str>), String> {
    let (file, rest) = match text.split_once(':') {
        Some((file, rest)) => (file, Some(rest)),
        None => (text, None),
    };
    if file.is_empty() || rest == Some("") || text.contains(char::is_control) {
        return Err(form.to_owned());
    }
    Ok((file, rest))
}

/// A file's name without what says that it is an archive.
fn stem(file: &Utf8Path) -> Option<&str> {
    let name = file.file_name()?;
    let cut = EXTENSIONS.iter().filter_map(|end| name.strip_suffix(end));
    Some(cut.min_by_key(|rest| rest.len()).unwrap_or(name))
}

/// The value of `org.opencontainers.image.ref.name` (OCI image-spec,
/// `annotations.md`).
fn is_ref_name(text: &str) -> bool {
    text.len() <= MAX_REF_NAME && text.split('/').all(is_ref_component)
}

/// Letters and digits, parted by one of `-._:@+` or by `--`.
fn is_ref_component(text: &str) -> bool {
    let separators_fit = text
        .split(|c: char| c.is_ascii_alphanumeric())
        .all(|run| run.len() <= 1 && run.chars().all(|c| "-._:@+".contains(c)) || run == "--");
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    separators_fit && alphanumeric(text.chars().next()) && alphanumeric(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use crate::{domain::ImageName, oci::ImageReference};

    fn parse(text: &str) -> Result<ImageReference, String> {
        text.parse()
            .map_err(|error: crate::oci::ReferenceParseError| error.to_string())
    }

    #[test]
    fn references_print_in_their_canonical_form() {
        let cases = [
            ("oci-archive:/x/a.tar", "oci-archive:/x/a.tar"),
            ("oci-archive:a.tar:1.0", "oci-archive:a.tar:1.0"),
            (
                "oci-archive:a.tar:docker.io/library/x:1--2",
                "oci-archive:a.tar:docker.io/library/x:1--2",
            ),
            ("docker-archive:a.tar", "docker-archive:a.tar"),
            ("docker-archive:a.tar:@3", "docker-archive:a.tar:@3"),
            (
                "docker-archive:a.tar:debian",
                "docker-archive:a.tar:docker.io/library/debian:latest",
            ),
            (
                "docker-archive:a.tar:me/x:1",
                "docker-archive:a.tar:docker.io/me/x:1",
            ),
            (
                "docker-archive:a.tar:localhost:5000/x:1",
                "docker-archive:a.tar:localhost:5000/x:1",
            ),
            ("rootfs-tar:-", "rootfs-tar:-"),
            ("rootfs-tar:/x/a:b.tar", "rootfs-tar:/x/a:b.tar"),
        ];
        for (text, canonical) in cases {
            let reference = parse(text).unwrap();
            assert_eq!(reference.to_string(), canonical);
            assert_eq!(parse(canonical).unwrap(), reference);
        }
    }

    #[test]
    fn malformed_references_are_refused_with_the_form() {
        let cases = [
            ("oci-archive:", "is followed by a file"),
            ("oci-archive::t", "is followed by a file"),
            ("oci-archive:a:", "is followed by a file"),
            ("oci-archive:a:b c", "tag \"b c\" is not valid"),
            ("oci-archive:a:b//c", "tag \"b//c\" is not valid"),
            ("oci-archive:a:-b", "tag \"-b\" is not valid"),
            ("docker-archive:", "is followed by a file"),
            ("docker-archive:a:", "is followed by a file"),
            ("docker-archive:a:@x", "is not the number of an image"),
            ("docker-archive:a:@+1", "is not the number of an image"),
            (
                "docker-archive:a:UPPER",
                "repository \"UPPER\" is not valid",
            ),
            ("rootfs-tar:", "is followed by a file"),
            ("rootfs-tar:a\nb", "is followed by a file"),
        ];
        for (text, problem) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
        let digest = crate::domain::Digest::of(b"x");
        let error = parse(&format!("docker-archive:a:x@{digest}")).unwrap_err();
        assert!(error.contains("give a tag"), "{error}");
    }

    #[test]
    fn default_names_come_from_the_image_or_the_file() {
        let cases = [
            ("oci-archive:/x/alpine.tar", Some("alpine")),
            ("oci-archive:/x/alpine.tar.gz:3.20", Some("alpine-3-20")),
            ("oci-archive:/x/alpine.oci:latest", Some("alpine")),
            ("oci-archive:x.tar:docker.io/library/a:1", Some("a-1")),
            ("docker-archive:/x/saved.tar", Some("saved")),
            ("docker-archive:/x/saved.tar:debian:12", Some("debian-12")),
            ("docker-archive:/x/saved.tar:debian", Some("debian")),
            ("docker-archive:/x/saved.tar:@1", Some("saved")),
            ("rootfs-tar:/x/tree.tar.zst", Some("tree")),
            ("rootfs-tar:-", None),
        ];
        for (text, name) in cases {
            let found = parse(text).unwrap().default_name();
            assert_eq!(found.as_ref().map(ImageName::as_str), name, "{text}");
        }
    }
}
