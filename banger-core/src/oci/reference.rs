//! Image references, as skopeo writes them.
//!
//! A registry reference follows the grammar of the distribution project
//! (`host[:port]/path[:tag][@digest]`, distribution/reference). The host is
//! never guessed: a short name is refused and the full one suggested.

use std::{fmt, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};

use super::archive_reference::{DockerArchiveReference, OciArchiveReference, RootfsTarReference};
use crate::domain::{Digest, ImageName};

/// Longest repository name of the distribution grammar.
const MAX_REPOSITORY_LENGTH: usize = 255;
/// Longest tag of the distribution grammar.
const MAX_TAG_LENGTH: usize = 128;
const DEFAULT_TAG: &str = "latest";
/// What stands before what was brought, in subjects of policies.
pub(crate) const BROUGHT: &str = "upload:";

/// Where an OCI image is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageReference {
    /// In a registry.
    Registry(RegistryReference),
    /// In an OCI layout directory: `oci:DIR[:TAG]`.
    Layout(LayoutReference),
    /// In an OCI layout inside a tar file: `oci-archive:FILE[:TAG]`.
    OciArchive(OciArchiveReference),
    /// In a file of `docker save`: `docker-archive:FILE[:REF]`.
    DockerArchive(DockerArchiveReference),
    /// A tree in a tar file: `rootfs-tar:FILE`.
    RootfsTar(RootfsTarReference),
}

/// An image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// An image in a layout directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutReference {
    directory: Utf8PathBuf,
    tag: Option<String>,
    /// The archive of it that was brought here, and is read.
    pub(super) brought: Option<Utf8PathBuf>,
}

/// A text that is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image reference {text:?} is not valid: {problem}")]
pub struct ReferenceParseError {
    text: String,
    problem: String,
}

impl ImageReference {
    /// The same of files that were brought here from elsewhere, where they are called as
    /// the reference says: an archive's to `file`, a layout's as an archive of all of it.
    /// What is in a registry is there still.
    #[must_use]
    pub fn brought_to(mut self, file: &Utf8Path) -> Self {
        if let Some(brought) = self.brought_mut() {
            *brought = Some(file.to_owned());
        }
        self
    }

    const fn brought_mut(&mut self) -> Option<&mut Option<Utf8PathBuf>> {
        match self {
            Self::Registry(_) => None,
            Self::Layout(layout) => Some(&mut layout.brought),
            Self::OciArchive(archive) => Some(&mut archive.brought),
            Self::DockerArchive(archive) => Some(&mut archive.brought),
            Self::RootfsTar(tar) => Some(&mut tar.brought),
        }
    }

    /// What a policy is asked about. How files were called elsewhere is only what
    /// somebody says: no rule for files of this host is for them.
    #[must_use]
    pub fn subject(&self) -> String {
        let brought = match self {
            Self::Registry(_) => &None,
            Self::Layout(layout) => &layout.brought,
            Self::OciArchive(archive) => &archive.brought,
            Self::DockerArchive(archive) => &archive.brought,
            Self::RootfsTar(tar) => &tar.brought,
        };
        match brought {
            Some(_) => format!("{BROUGHT}{self}"),
            None => self.to_string(),
        }
    }

    /// The name an image gets when the user gives none: the repository's last
    /// component (or the name of the directory or file) and the tag, unless it is
    /// `latest`, or the first digits of the digest. None when nothing valid
    /// is left.
    #[must_use]
    pub fn default_name(&self) -> Option<ImageName> {
        let ((base, tag), digest) = match self {
            Self::Registry(reference) => {
                let base = reference.repository.rsplit('/').next();
                ((base, reference.tag.as_deref()), reference.digest.as_ref())
            }
            Self::Layout(layout) => ((layout.directory.file_name(), layout.tag.as_deref()), None),
            Self::OciArchive(archive) => (archive.name_parts(), None),
            Self::DockerArchive(archive) => (archive.name_parts(), None),
            Self::RootfsTar(tar) => (tar.name_parts(), None),
        };
        let suffix = match (tag, digest) {
            (Some(tag), _) if tag != DEFAULT_TAG => format!("-{tag}"),
            (None, Some(digest)) => format!("-{}", &digest.to_hex()[..12]),
            _ => String::new(),
        };
        to_name(&format!("{}{suffix}", base?))
    }
}

/// Replaces what the name grammar lacks.
fn to_name(text: &str) -> Option<ImageName> {
    let mapped: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if matches!(c, 'a'..='z' | '0'..='9' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect();
    mapped.trim_matches('-').parse().ok()
}

impl RegistryReference {
    /// `host[:port]`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the host.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given; `latest` when neither tag nor digest was.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index, which wins over the tag.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

impl LayoutReference {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Utf8Path {
        &self.directory
    }

    /// The tag; may be missing when the layout has just one image.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Layout(layout) => layout.fmt(f),
            Self::OciArchive(archive) => archive.fmt(f),
            Self::DockerArchive(archive) => archive.fmt(f),
            Self::RootfsTar(tar) => tar.fmt(f),
        }
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LayoutReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci:{}", self.directory)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

impl FromStr for RegistryReference {
    type Err = ReferenceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_registry(text).map_err(|problem| ReferenceParseError::new(text, problem))
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(':') {
            Some(("oci", rest)) => parse_layout(rest).map(Self::Layout),
            Some(("oci-archive", rest)) => OciArchiveReference::parse(rest).map(Self::OciArchive),
            Some(("docker-archive", rest)) => {
                DockerArchiveReference::parse(rest).map(Self::DockerArchive)
            }
            Some(("rootfs-tar", rest)) => RootfsTarReference::parse(rest).map(Self::RootfsTar),
            _ => {
                let rest = text.strip_prefix("docker://").unwrap_or(text);
                parse_registry(rest).map(Self::Registry)
            }
        };
        parsed.map_err(|problem| ReferenceParseError::new(text, problem))
    }
}

impl ReferenceParseError {
    fn new(text: &str, problem: String) -> Self {
        Self {
            text: text.chars().take(300).collect(),
            problem,
        }
    }
}

fn parse_layout(text: &str) -> Result<LayoutReference, String> {
    let (directory, tag) = match text.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag)),
        _ => (text, None),
    };
    if directory.is_empty() || text.contains(char::is_control) {
        return Err(
            "oci: is followed by a directory and, optionally, a colon and a tag".to_owned(),
        );
    }
    if tag.is_some_and(|tag| !is_layout_tag(tag)) {
        return Err(tag_problem(tag.unwrap_or_default()));
    }
    Ok(LayoutReference {
        directory: directory.into(),
        tag: tag.map(str::to_owned),
        brought: None,
    })
}

/// The value of `org.opencontainers.image.ref.name` (OCI image-spec,
/// `annotations.md`), without the separators that a reference needs itself.
fn is_layout_tag(tag: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@');
    !tag.is_empty() && tag.len() <= MAX_TAG_LENGTH && tag.chars().all(allowed)
}

pub(super) fn tag_problem(tag: &str) -> String {
    format!("tag {tag:?} is not valid")
}

/// A name as docker itself writes it into archives, where short ones are those
/// of Docker Hub: nothing is looked up by it but a text.
pub(super) fn normalised(text: &str) -> Result<RegistryReference, String> {
    let first = text.split_once('/').map(|(first, _)| first);
    if first.is_some_and(is_hostlike) {
        parse_registry(text)
    } else {
        parse_registry(&format!("docker.io/{text}"))
    }
}

fn parse_registry(text: &str) -> Result<RegistryReference, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(
                digest
                    .parse::<Digest>()
                    .map_err(|error| error.to_string())?,
            ),
        ),
        None => (text, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(tag_problem(tag.unwrap_or_default()));
    }
    let (registry, repository) = split_host(path, text)?;
    if !is_repository(repository) {
        return Err(format!("repository {repository:?} is not valid"));
    }
    let default_tag = (digest.is_none()).then_some(DEFAULT_TAG);
    Ok(RegistryReference {
        registry: registry.to_owned(),
        repository: full_repository(registry, repository),
        tag: tag.or(default_tag).map(str::to_owned),
        digest,
    })
}

/// Docker Hub's own images have short names there, too, as docker and skopeo
/// write them.
fn full_repository(registry: &str, repository: &str) -> String {
    if registry == "docker.io" && !repository.contains('/') {
        return format!("library/{repository}");
    }
    repository.to_owned()
}

/// Splits the host off `path`, which is `text` without tag and digest. As
/// docker does, the first component is a host when it has a dot or a port, or
/// is `localhost`; the name is short otherwise.
fn split_host<'a>(path: &'a str, text: &str) -> Result<(&'a str, &'a str), String> {
    let (first, rest) = path.split_once('/').unwrap_or(("", path));
    if !is_hostlike(first) {
        let library = if path.contains('/') { "" } else { "library/" };
        return Err(format!(
            "it names no registry; did you mean docker.io/{library}{text}?"
        ));
    }
    if is_host(first) {
        Ok((first, rest))
    } else {
        Err(format!("registry {first:?} is not valid"))
    }
}

fn is_hostlike(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

/// A domain name, IPv4 address or bracketed IPv6 address with an optional port.
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner
            .strip_suffix(']')
            .map(str::parse::<std::net::Ipv6Addr>);
        return matches!(address, Some(Ok(_)));
    }
    host.split('.').all(is_domain_component)
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn is_repository(text: &str) -> bool {
    text.len() <= MAX_REPOSITORY_LENGTH && text.split('/').all(is_path_component)
}

/// Lower-case letters and digits, parted by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators_fit = text
        .split(|c: char| c.is_ascii() && alphanumeric(c as u8))
        .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'));
    let bytes = text.as_bytes();
    separators_fit
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
}

fn is_tag(text: &str) -> bool {
    let leading = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG_LENGTH
        && text.bytes().next().is_some_and(leading)
        && text
            .bytes()
            .all(|byte| leading(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ImageReference, ReferenceParseError> {
        text.parse()
    }

    #[test]
    fn references_print_in_their_canonical_form() {
        let digest = Digest::of(b"x");
        let cases = [
            ("docker.io/library/debian:bookworm".to_owned(), None),
            (
                "localhost/a".to_owned(),
                Some("localhost/a:latest".to_owned()),
            ),
            ("127.0.0.1:5000/a/b__c:T_1.x-y".to_owned(), None),
            ("[::1]:5000/a:1".to_owned(), None),
            (format!("ghcr.io/a/b@{digest}"), None),
            (format!("ghcr.io/a/b:t@{digest}"), None),
            (
                "docker://ghcr.io/a/b:t".to_owned(),
                Some("ghcr.io/a/b:t".to_owned()),
            ),
            (
                "docker.io/debian:12".to_owned(),
                Some("docker.io/library/debian:12".to_owned()),
            ),
            ("oci:/layout".to_owned(), None),
            ("oci:./dir/x:tag".to_owned(), None),
        ];
        for (text, canonical) in cases {
            let printed = parse(&text).unwrap().to_string();
            assert_eq!(printed, canonical.unwrap_or_else(|| text.clone()));
        }
    }

    #[test]
    fn short_names_are_refused_with_the_full_name() {
        let error = parse("debian:bookworm").unwrap_err().to_string();
        assert!(
            error.contains("docker.io/library/debian:bookworm?"),
            "{error}"
        );
        let error = parse("me/app").unwrap_err().to_string();
        assert!(error.contains("docker.io/me/app"), "{error}");
    }

    #[test]
    fn malformed_references_are_refused() {
        let texts = [
            "",
            "oci:",
            "oci::t",
            "oci:d:b d",
            "a.b/",
            "a.b/C",
            "a.b/c:",
            "a.b/c:-x",
            "a.b/c@sha256:12",
            "a.b:x/c",
            "a..b/c",
            "-a.b/c",
            "a.b/c..d",
            "a.b/c___d",
            "a.b//c",
            "a.b/../c",
            "a.b/c d",
            "a.b/_c",
            "[::x]:1/c",
        ];
        for text in texts {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn default_names_come_from_the_last_component_and_the_tag() {
        let digest = Digest::of(b"x");
        let by_digest = format!("docker.io/library/debian@{digest}");
        let digest_name = format!("debian-{}", &digest.to_hex()[..12]);
        let cases = [
            ("docker.io/library/debian:bookworm", "debian-bookworm"),
            ("docker.io/library/debian", "debian"),
            ("ghcr.io/a/b_x", "b-x"),
            ("localhost/a:V1.2", "a-v1-2"),
            (by_digest.as_str(), digest_name.as_str()),
            ("oci:/x/my.layout:1", "my-layout-1"),
        ];
        for (text, name) in cases {
            assert_eq!(
                parse(text).unwrap().default_name().unwrap().as_str(),
                name,
                "{text}"
            );
        }
        assert_eq!(parse("oci:/").unwrap().default_name(), None);
    }

    proptest! {
        #[test]
        fn what_is_accepted_round_trips(text in "((oci|oci-archive|docker-archive|rootfs-tar):)?[a-z0-9.:/@_\\-\\[\\]]{0,60}") {
            if let Ok(reference) = parse(&text) {
                prop_assert_eq!(parse(&reference.to_string()), Ok(reference));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            drop(parse(&text));
        }
    }
}
