//! Bundles: an image or a kernel in one compressed file.
//!
//! Purpose: write a bundle of files that are here, and make files of a bundle
//! again. A bundle is a zstd-compressed tar file: `manifest.json` first, then
//! exactly the files that the manifest lists, in its order, each with size and
//! sha256. Invariants: the same files give the same bytes; holes are zeros in
//! the bundle, and blocks of zeros become holes again; nothing that was
//! unpacked may be used before [`Opened::unpack`] answered; no entry's path
//! becomes a host path unless it is one of the few that a bundle may have.
//! A crash leaves what the caller's staging directory holds, and a partial
//! download that goes on later.
//! Entry points: [`BundleReference`], [`write()`], [`Fetcher`], [`Opened`].

mod error;
mod fetch;
mod manifest;
mod open;
mod reference;
mod write;

use crate::domain::{Bytes, Digest};

pub use error::BundleError;
pub(crate) use fetch::{DocumentKind, SignedDocument};
pub use fetch::{FetchLimits, Fetcher};
pub use manifest::{BundlePath, Content, KernelFacts, Manifest, ManifestFile};
pub use open::{Opened, Unpacked, Unvouched};
pub use reference::{BroughtFile, BundleReference, BundleReferenceParseError, Location};
pub use write::{BundleContents, write};

/// A bundle that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Digest of the whole file, by which catalogs pin it.
    pub sha256: Digest,
    /// Length of the whole file.
    pub size: Bytes,
    /// Bytes of all files inside, holes counted.
    pub unpacked: Bytes,
}
