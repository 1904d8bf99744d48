//! Image references, as skopeo writes them.
//!
//! A registry reference follows the grammar of the distribution project:
//! `host[:port]/path[:tag][@digest]`. The host is never guessed: a short name
//! is refused and the full one suggested.

use std::{fmt, str::FromStr};

use camino::Utf8PathBuf;

use crate::domain::{Digest, ImageName};

/// Where an OCI image is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageReference {
    /// In a registry.
    Registry(RegistryReference),
    /// In an OCI layout directory: `oci:DIR[:TAG]`.
    Layout(LayoutReference),
}

/// An image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    /// `host[:port]`.
    pub(super) registry: String,
    /// The path below the host.
    pub(super) repository: String,
    /// The tag; `latest` when neither tag nor digest was given.
    pub(super) tag: Option<String>,
    /// The digest of the manifest or index, which wins over the tag.
    pub(super) digest: Option<Digest>,
}

/// An image in a layout directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutReference {
    /// The directory.
    pub(super) directory: Utf8PathBuf,
    /// The tag; may be missing when the layout has just one image.
    pub(super) tag: Option<String>,
}

/// A text that is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image reference {text:?} is not valid: {problem}")]
pub struct ReferenceParseError {
    text: String,
    problem: String,
}
