//! Where a bundle is, and which bytes it must have.
//!
//! `file:PATH[@sha256:HEX]`, `https://HOST/PATH@sha256:HEX` or
//! `oci://HOST/REPOSITORY[:TAG]@sha256:HEX`. A file of the host may go without
//! a digest: what its manifest says is checked all the same. In a registry, the
//! digest is that of the artifact's manifest, as everywhere in registries; that
//! of the bundle itself may follow it. Plain HTTP is for this machine itself.

use std::{fmt, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    BundleError,
    fetch::{MAX_SIGNATURE, SIGNATURE_SUFFIX, read_file},
    open::open_file,
};
use crate::{
    domain::{Bytes, Digest},
    error::ErrorKind,
    oci::{BROUGHT, Delivery, RegistryReference},
};

/// What the place of an artifact starts with.
const ARTIFACT: &str = "oci://";
const LONGEST: usize = 4096;

/// A place that bytes are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file of the host.
    File(Utf8PathBuf),
    /// A file that was brought here from elsewhere.
    Brought(BroughtFile),
    /// An `https:` URL, or an `http:` one of this machine.
    Url(String),
    /// An artifact in a registry, `oci://HOST/REPOSITORY[:TAG][@sha256:HEX]`.
    Artifact(RegistryReference),
}

/// A file that was brought here from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroughtFile {
    /// How it was called there.
    pub called: Utf8PathBuf,
    /// Where it is here.
    pub file: Utf8PathBuf,
    /// The minisign signature that was beside it.
    pub signature: Option<String>,
}

impl Location {
    /// Reads `file:PATH`, a URL or `oci://HOST/REPOSITORY`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if LONGEST < text.len() || text.contains(char::is_control) {
            return Err("it is too long or has control characters");
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            // more slashes would be those of a URL when it is read again
            let relative = path.trim_start_matches('/');
            return match path {
                "" => Err("file: is followed by a path"),
                path if relative.len() < path.len() => {
                    Ok(Self::File(format!("/{relative}").into()))
                }
                path => Ok(Self::File(path.into())),
            };
        }
        if let Some(image) = text.strip_prefix(ARTIFACT) {
            let image = image.parse::<RegistryReference>();
            return image
                .map(Self::Artifact)
                .map_err(|_| "oci:// is followed by HOST/REPOSITORY[:TAG][@sha256:HEX]");
        }
        let url = reqwest::Url::parse(text).map_err(|_| "it is neither file:PATH nor a URL")?;
        let credentials = !url.username().is_empty() || url.password().is_some();
        match (url.scheme(), url.host_str()) {
            _ if credentials => Err("a URL must not hold credentials"),
            ("https", Some(_)) => Ok(Self::Url(text.to_owned())),
            ("http", Some(host)) if is_this_machine(host) => Ok(Self::Url(text.to_owned())),
            ("http", _) => Err("plain HTTP is for this machine itself: use https"),
            _ => Err("it is neither file:PATH, an https: URL nor oci://HOST/REPOSITORY"),
        }
    }

    /// The place that `text` means in a document that lies here: a place of
    /// its own, or a file beside the document.
    pub(crate) fn join(&self, text: &str) -> Result<Self, &'static str> {
        if text.starts_with("file:") || text.contains("://") {
            return Self::parse(text);
        }
        let special = |c: char| c.is_control() || matches!(c, '\\' | ':');
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(special);
        if !text.split('/').all(plain) {
            return Err("it is neither file:PATH, an https: URL nor a plain relative path");
        }
        match self {
            Self::File(path) => {
                let directory = path.parent().unwrap_or_else(|| Utf8Path::new(""));
                Ok(Self::File(directory.join(text)))
            }
            Self::Brought(_) => Err("its catalog was brought here, and nothing with it"),
            Self::Url(url) => {
                let base = reqwest::Url::parse(url).map_err(|_| "its document has no valid URL")?;
                let joined = base.join(text).map_err(|_| "it makes no valid URL")?;
                Self::parse(joined.as_str())
            }
            Self::Artifact(_) => Err("its catalog is in a registry, where nothing is beside it"),
        }
    }

    /// The same, a relative file's path continued from `directory`.
    #[must_use]
    pub fn absolute(&self, directory: &Utf8Path) -> Self {
        match self {
            Self::File(path) => Self::File(directory.join(path)),
            Self::Brought(_) | Self::Url(_) | Self::Artifact(_) => self.clone(),
        }
    }

    /// The place that all versions of what is there have in common.
    fn without_version(&self) -> String {
        match self {
            Self::Artifact(image) => {
                format!("{ARTIFACT}{}/{}", image.registry(), image.repository())
            }
            Self::Brought(_) | Self::File(_) | Self::Url(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Brought(BroughtFile { called: path, .. }) => {
                write!(f, "file:{path}")
            }
            Self::Url(url) => f.write_str(url),
            Self::Artifact(image) => write!(f, "{ARTIFACT}{image}"),
        }
    }
}

/// `localhost` or a loopback address, as a URL has them.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']);
    let address = address.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A bundle, by its place and, perhaps, its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleReference {
    /// Where it is.
    pub location: Location,
    /// Digest of the whole file; always there for a URL, and for an artifact
    /// whose place has none.
    pub digest: Option<Digest>,
}

/// A text that names no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bundle {text:?} is not valid: {problem}")]
pub struct BundleReferenceParseError {
    text: String,
    problem: String,
}

impl BundleReference {
    /// Whether a text has the form of a bundle's reference, well made or not.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        let schemes = ["file:", "https:", "http:", ARTIFACT];
        let has_scheme = schemes.iter().any(|scheme| text.starts_with(scheme));
        // a layout may lie at an absolute path, however many slashes it has
        has_scheme && !text.starts_with("oci:///")
    }

    /// The same without tag and digests.
    #[must_use]
    pub fn place(&self) -> String {
        self.location.without_version()
    }

    /// The same of a file that was brought here, where it is called as the reference
    /// says; what is no file stays.
    #[must_use]
    pub fn brought_to(self, file: &Utf8Path, signature: Option<String>) -> Self {
        let location = match self.location {
            Location::File(called) => Location::Brought(BroughtFile {
                called,
                file: file.to_owned(),
                signature,
            }),
            other => other,
        };
        Self { location, ..self }
    }

    /// What it names on this host, with the minisign signature beside it; none of what
    /// is elsewhere. Holds up its thread for a moment.
    pub fn delivery(&self) -> Result<Option<(Delivery, Option<String>)>, BundleError> {
        let Location::File(path) = &self.location else {
            return Ok(None);
        };
        let location = self.location.to_string();
        let file = open_file(&location, path, Bytes::new(u64::MAX))?;
        let beside: Utf8PathBuf = format!("{path}{SIGNATURE_SUFFIX}").into();
        let signature = match read_file(&location, &beside, MAX_SIGNATURE) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Some((Delivery::of_range(path, file), signature)))
    }

    /// What a policy is asked about: the reference, and the same without tag and
    /// digests. How a file was called elsewhere is only what somebody says.
    pub(crate) fn subjects(&self) -> (String, String) {
        let (whole, place) = (self.to_string(), self.place());
        match self.location {
            Location::Brought(_) => (format!("{BROUGHT}{whole}"), format!("{BROUGHT}{place}")),
            _ => (whole, place),
        }
    }

    /// The same, a relative file's path continued from `directory`.
    #[must_use]
    pub fn absolute(&self, directory: &Utf8Path) -> Self {
        Self {
            location: self.location.absolute(directory),
            digest: self.digest,
        }
    }
}

impl fmt::Display for BundleReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.location.fmt(f)?;
        let digest = self.digest.as_ref();
        digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for BundleReference {
    type Err = BundleReferenceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|problem| BundleReferenceParseError {
            text: text.chars().take(300).collect(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<BundleReference, String> {
    let (place, digest) = match text.rsplit_once('@') {
        Some((place, digest)) if digest.starts_with("sha256:") => {
            let digest = digest.parse::<Digest>();
            (place, Some(digest.map_err(|error| error.to_string())?))
        }
        _ => (text, None),
    };
    // the first digest of an artifact is a part of its place
    let is_place = place.starts_with(ARTIFACT) && !place.contains('@');
    let (place, own) = if is_place {
        (text, None)
    } else {
        (place, digest)
    };
    if digest.is_none() && !text.starts_with("file:") {
        return Err("it needs the digest of its bytes: put @sha256:HEX behind it".to_owned());
    }
    Ok(BundleReference {
        location: Location::parse(place)?,
        digest: own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_round_trip_and_bad_ones_are_refused() {
        let digest = Digest::of(b"b");
        for text in [
            "file:/b/golden.tar.zst".to_owned(),
            format!("file:golden@1.tar.zst@{digest}"),
            format!("https://example.org/golden.tar.zst@{digest}"),
            format!("http://127.0.0.1:8080/golden.tar.zst@{digest}"),
            format!("oci://example.org/team/golden@{digest}"),
            format!("oci://example.org/golden:1@{digest}"),
            format!("oci://example.org/golden@{digest}@{digest}"),
        ] {
            let reference: BundleReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
        for text in ["file:///b", "file:////b", "file://///b"] {
            let reference: BundleReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), "file:/b", "{text}");
        }
        for text in [
            "file:",
            "https://example.org/golden.tar.zst",
            "golden",
            "oci://example.org/golden:1",
            &format!("oci://golden@{digest}"),
            &format!("oci:///example.org/golden@{digest}"),
            "https://example.org/g@sha256:00",
            &format!("http://example.org/g@{digest}"),
            &format!("https://user:secret@example.org/g@{digest}"),
            &format!("ftp://example.org/g@{digest}"),
        ] {
            assert!(
                text.parse::<BundleReference>().is_err(),
                "{text:?} was accepted"
            );
        }
    }

    #[test]
    fn a_bundle_is_told_from_a_layout_and_has_a_place() {
        assert!(BundleReference::is_one("oci://example.org/golden"));
        for text in ["oci:///srv/layout", "oci:layout", "oci:/srv/layout"] {
            assert!(!BundleReference::is_one(text), "{text}");
        }
        let reference = format!("oci://example.org/golden:1@{}", Digest::of(b"b"));
        let reference: BundleReference = reference.parse().unwrap();
        assert_eq!(reference.place(), "oci://example.org/golden");
    }

    #[test]
    fn files_beside_a_document_are_found_and_no_others() {
        let file = Location::File("/c/catalog.json".into());
        let url = Location::Url("https://example.org/c/catalog.json".into());
        assert_eq!(
            file.join("a/b.zst"),
            Ok(Location::File("/c/a/b.zst".into()))
        );
        assert_eq!(
            url.join("b.zst"),
            Ok(Location::Url("https://example.org/c/b.zst".into()))
        );
        for text in ["../b", "/b", "", "a//b", "a/../../b", "javascript:x"] {
            assert!(file.join(text).is_err(), "{text:?} was accepted");
            assert!(url.join(text).is_err(), "{text:?} was accepted");
        }
        let artifact = Location::parse("oci://example.org/catalog:1").unwrap();
        assert!(artifact.join("b.zst").is_err());
        assert!(artifact.join("oci://example.org/b").is_ok());
    }
}
