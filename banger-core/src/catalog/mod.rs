//! Catalogs: kernels and images that can be had by a short name.
//!
//! Purpose: find a name in the catalogs of the configuration, in their order,
//! and then in the one that is part of banger. Invariants: a catalog is used
//! only when it has the digest it is pinned to and a signature by its key,
//! where it has one; a catalog that cannot be used ends the search, because it
//! might have had the name; every bundle is pinned by digest and size.
//! Entry points: [`Catalogs`], [`Supply`].

mod document;
mod error;

use std::sync::Arc;

use crate::{
    bundle::{
        BundleReference, DocumentKind, FetchLimits, Fetcher, Location, Opened, SignedDocument,
        Unvouched,
    },
    domain::{Bytes, Digest, ImageName, KernelName},
    oci::SourceOptions,
    progress::ProgressSink,
    rootfs::RootfsLimits,
    task::attended,
    trust::{Admission, MinisignKey, Policy},
};

use document::Document;

pub use document::{CatalogEntry, EntrySource};
pub use error::{CatalogError, SupplyError};

/// The catalog that is part of banger.
const EMBEDDED: &[u8] = include_bytes!("embedded.json");
const EMBEDDED_NAME: &str = "banger";
const DOCUMENT: DocumentKind = DocumentKind {
    limit: Bytes::new(8 * Bytes::MIB),
    media_type: "application/vnd.banger.catalog.v1+json",
};

/// A catalog of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogOptions {
    /// How it is called.
    pub name: String,
    /// Where it is; a file by an absolute path.
    pub location: Location,
    /// The digest it must have, if it is pinned.
    pub sha256: Option<Digest>,
    /// The key that must have signed it (`<location>.minisig`, or a file of
    /// the same artifact), if it has one.
    pub key: Option<MinisignKey>,
}

/// Where short names are looked up.
#[derive(Clone, Debug)]
pub struct Catalogs {
    fetcher: Fetcher,
    configured: Arc<[CatalogOptions]>,
}

/// What the catalogs offer.
#[derive(Debug, Default)]
pub struct Available {
    /// The entries, by catalog.
    pub entries: Vec<CatalogEntry>,
    /// The catalogs that cannot be used.
    pub failures: Vec<CatalogError>,
}

/// Which of a catalog's two lists.
type List = fn(Document) -> Vec<CatalogEntry>;

impl Catalogs {
    /// The catalogs of a configuration, and the embedded one.
    #[must_use]
    pub fn new(fetcher: Fetcher, configured: Vec<CatalogOptions>) -> Self {
        Self {
            fetcher,
            configured: configured.into(),
        }
    }

    /// The kernel of that name for this machine's architecture.
    pub async fn kernel(&self, name: &KernelName) -> Result<Option<CatalogEntry>, CatalogError> {
        self.find(name.as_str(), |document| document.kernels).await
    }

    /// The image of that name for this machine's architecture.
    pub async fn image(&self, name: &ImageName) -> Result<Option<CatalogEntry>, CatalogError> {
        self.find(name.as_str(), |document| document.images).await
    }

    /// Every kernel there is.
    pub async fn kernels(&self) -> Available {
        self.list(|document| document.kernels).await
    }

    /// Every image there is.
    pub async fn images(&self) -> Available {
        self.list(|document| document.images).await
    }

    async fn find(&self, name: &str, list: List) -> Result<Option<CatalogEntry>, CatalogError> {
        for catalog in self.configured.iter() {
            let found = choose(list(self.read(catalog).await?), name);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(choose(list(embedded()?), name))
    }

    async fn list(&self, list: List) -> Available {
        let mut available = Available::default();
        let mut add = |read: Result<Document, CatalogError>| match read {
            Ok(document) => available.entries.extend(list(document)),
            Err(error) => available.failures.push(error),
        };
        for catalog in self.configured.iter() {
            add(self.read(catalog).await);
        }
        add(embedded());
        available
    }

    async fn read(&self, catalog: &CatalogOptions) -> Result<Document, CatalogError> {
        let is_signed = catalog.key.is_some();
        let read = self
            .fetcher
            .document(&catalog.location, DOCUMENT, is_signed);
        let document = read.await.map_err(|source| CatalogError::Fetch {
            catalog: catalog.name.clone(),
            source,
        })?;
        let actual = Digest::of(&document.bytes);
        if let Some(expected) = catalog.sha256.filter(|expected| *expected != actual) {
            return Err(CatalogError::Digest {
                catalog: catalog.name.clone(),
                expected,
                actual,
            });
        }
        let held = check_signature(catalog, &document);
        held.map_err(|problem| CatalogError::Unsigned {
            catalog: catalog.name.clone(),
            problem,
        })?;
        let parsed = document::parse(&catalog.name, Some(&catalog.location), &document.bytes);
        parsed.map_err(|problem| CatalogError::Malformed {
            catalog: catalog.name.clone(),
            problem,
        })
    }
}

/// Whether a catalog's key signed it, if it has one.
fn check_signature(catalog: &CatalogOptions, document: &SignedDocument) -> Result<(), String> {
    let Some(key) = &catalog.key else {
        return Ok(());
    };
    let signature = document.signature.as_ref();
    let signature = signature.ok_or_else(|| "it has no signature".to_owned())?;
    key.verify(document.bytes.as_slice(), signature)
}

fn embedded() -> Result<Document, CatalogError> {
    let parsed = document::parse(EMBEDDED_NAME, None, EMBEDDED);
    parsed.map_err(|problem| CatalogError::Malformed {
        catalog: EMBEDDED_NAME.to_owned(),
        problem,
    })
}

fn choose(entries: Vec<CatalogEntry>, name: &str) -> Option<CatalogEntry> {
    let here = std::env::consts::ARCH;
    let fits = |entry: &CatalogEntry| entry.name == name && entry.architecture == here;
    entries.into_iter().find(fits)
}

/// How what is not here is had, and what is let in.
#[derive(Clone, Debug)]
pub struct Supply {
    /// Gets bundles.
    pub fetcher: Fetcher,
    /// Finds short names.
    pub catalogs: Catalogs,
    /// Decides what is let in.
    pub policy: Arc<Policy>,
}

/// What a [`Supply`] is configured with. By default: the embedded catalog
/// alone, and no policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupplyOptions {
    /// Catalogs besides the embedded one, which they come before.
    pub catalogs: Vec<CatalogOptions>,
    /// What is let in.
    pub policy: Policy,
}

impl Supply {
    /// A supply that gets what it fetches as `sources` says, within what images
    /// may claim.
    #[must_use]
    pub fn new(sources: SourceOptions, limits: RootfsLimits, options: SupplyOptions) -> Self {
        let limits = FetchLimits {
            bundle: limits.layer_bytes,
            unpacked: limits.total_bytes,
        };
        let fetcher = Fetcher::new(sources, limits);
        Self {
            catalogs: Catalogs::new(fetcher.clone(), options.catalogs),
            fetcher,
            policy: Arc::new(options.policy),
        }
    }
}

impl Supply {
    /// Opens a bundle whose bytes match its digest and that is signed as the
    /// policy asks.
    pub(crate) async fn open(
        &self,
        reference: &BundleReference,
        size: Option<Bytes>,
        admission: &Admission,
        progress: &dyn ProgressSink,
    ) -> Result<Opened, SupplyError> {
        // what cannot hold is known before anything is fetched
        let key = admission.minisign()?.cloned();
        let opened = self.fetcher.open(reference, size, progress).await?;
        let Some(key) = key else {
            return Ok(opened);
        };
        let signature = self.fetcher.signature(reference).await?;
        let signature =
            signature.ok_or_else(|| admission.unvouched("it has no signature".to_owned()))?;
        let checked = attended(move |cancelled| opened.signed_by(&key, &signature, cancelled));
        checked.await.map_err(|error| match error {
            Unvouched::Signature(problem) => admission.unvouched(problem).into(),
            Unvouched::Bundle(error) => error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalog_is_sound_and_serves_this_machine() {
        let document = embedded().unwrap();
        assert!(
            document
                .kernels
                .iter()
                .all(|entry| entry.description.is_some())
        );
        if cfg!(target_arch = "x86_64") {
            assert!(choose(document.kernels, "debian-cloud").is_some());
        }
    }
}
