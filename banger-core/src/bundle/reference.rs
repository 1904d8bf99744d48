//! Where a bundle is, and which bytes it must have.
//!
//! `file:PATH[@sha256:HEX]` or `https://HOST/PATH@sha256:HEX`. A file of the
//! host may go without a digest: what its manifest says is checked all the
//! same. Plain HTTP is for this machine itself.

use std::{fmt, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};

use crate::domain::Digest;

const LONGEST: usize = 4096;

/// A place that bytes are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file of the host.
    File(Utf8PathBuf),
    /// An `https:` URL, or an `http:` one of this machine.
    Url(String),
}

impl Location {
    /// Reads `file:PATH` or a URL.
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
        let url = reqwest::Url::parse(text).map_err(|_| "it is neither file:PATH nor a URL")?;
        let credentials = !url.username().is_empty() || url.password().is_some();
        match (url.scheme(), url.host_str()) {
            _ if credentials => Err("a URL must not hold credentials"),
            ("https", Some(_)) => Ok(Self::Url(text.to_owned())),
            ("http", Some(host)) if is_this_machine(host) => Ok(Self::Url(text.to_owned())),
            ("http", _) => Err("plain HTTP is for this machine itself: use https"),
            _ => Err("it is neither file:PATH nor an https: URL"),
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
            Self::Url(url) => {
                let base = reqwest::Url::parse(url).map_err(|_| "its document has no valid URL")?;
                let joined = base.join(text).map_err(|_| "it makes no valid URL")?;
                Self::parse(joined.as_str())
            }
        }
    }

    /// The place whose name has `suffix` behind it.
    pub(crate) fn with_suffix(&self, suffix: &str) -> Self {
        match self {
            Self::File(path) => Self::File(format!("{path}{suffix}").into()),
            Self::Url(url) => Self::Url(format!("{url}{suffix}")),
        }
    }

    /// The same, a relative file's path continued from `directory`.
    #[must_use]
    pub fn absolute(&self, directory: &Utf8Path) -> Self {
        match self {
            Self::File(path) => Self::File(directory.join(path)),
            Self::Url(url) => Self::Url(url.clone()),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Url(url) => f.write_str(url),
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
    /// Digest of the whole file; always there for a URL.
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
        ["file:", "https:", "http:"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
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
    let location = Location::parse(place)?;
    if digest.is_none() && matches!(location, Location::Url(_)) {
        return Err("a URL needs the digest of its bytes: put @sha256:HEX behind it".to_owned());
    }
    Ok(BundleReference { location, digest })
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
    }
}
