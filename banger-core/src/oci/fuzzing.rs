//! Parsers of this module for `fuzz/`, which answer what can be checked.
//!
//! Pure. No part of the crate's interface: it is there with the feature
//! `fuzzing` alone. Entry points: the functions.

use super::{
    Compression, Platform, ResolvedImage, config, docker_manifest,
    document::{self, Blob, Document, Manifest},
    signatures,
};
use crate::domain::{Bytes, Digest};

pub use super::{
    credentials::fuzzing::auth_file,
    distribution::fuzzing::{challenge, complaint, first_byte, retry_after, token},
};

/// Entries of an index, or layers of a manifest.
#[must_use]
pub fn document(bytes: &[u8]) -> Option<usize> {
    match document::parse_document(bytes).ok()? {
        Document::Index(entries) => Some(entries.len()),
        Document::Manifest(manifest) => Some(manifest.layers.len()),
    }
}

/// What a configuration says its layers inflate to, and the image of a
/// manifest that has as many.
#[must_use]
pub fn config(bytes: &[u8]) -> Option<(Vec<Digest>, Option<ResolvedImage>)> {
    let diff_ids = config::diff_ids(bytes).ok()?;
    let blob = Blob {
        digest: Digest::of(bytes),
        size: Bytes::new(bytes.len() as u64),
    };
    let manifest = Manifest {
        config: blob,
        layers: vec![(blob, Compression::None); diff_ids.len()],
    };
    let image = config::resolve((blob.digest, &manifest), bytes, &Platform::host());
    Some((diff_ids, image.ok()))
}

/// The digests that the configurations of a docker archive are named by.
#[must_use]
pub fn docker_manifests(bytes: &[u8]) -> Option<Vec<Option<Digest>>> {
    let manifests = docker_manifest::parse_manifests(bytes).ok()?;
    let names = manifests.iter().map(|manifest| manifest.config.as_str());
    Some(names.map(docker_manifest::named_digest).collect())
}

/// How many signatures a manifest lists.
#[must_use]
pub fn signatures(bytes: &[u8]) -> Option<usize> {
    signatures::parse(bytes).ok().map(|listed| listed.len())
}
