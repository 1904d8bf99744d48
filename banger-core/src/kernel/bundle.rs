//! Kernels from bundles and catalogs, and into bundles.
//!
//! Invariants: what the policy asks holds before a file is kept; a pull by
//! name is one at a time for each name, between processes too, so that whoever
//! waited finds the kernel there.

use std::time::Duration;

use camino::Utf8Path;

use super::{
    BundleKernelError, ImportKernelError, KernelResolver as _, KernelSource, LocalKernelResolver,
    PullKernelError, ResolveKernelError,
    fault::Fault,
    local::{absolute_source, report},
    manifest,
    shelf::Claim,
    vmlinux::check_vmlinux,
};
use crate::{
    bundle::{
        BundleContents, BundleError, BundleReference, Content, KernelFacts, Opened, Written, write,
    },
    catalog::{CatalogEntry, EntrySource, SupplyError},
    domain::{Bytes, Digest, Kernel, KernelName, KernelOrigin, Verdict},
    host_fs::{FileLock, LockError, Output, Staging},
    progress::ProgressSink,
    task::telling,
    trust::Admission,
};

/// How long a pull waits for another pull of the same name to end.
const NAME_LOCK_DEADLINE: Duration = Duration::from_hours(1);

/// A bundle that is to be imported.
struct Wanted<'a> {
    reference: &'a BundleReference,
    size: Option<Bytes>,
    name: Option<KernelName>,
    claim: Claim,
}

/// What the record of a bundle's kernel is made of, besides its files.
struct Facts {
    kernel: KernelFacts,
    name: KernelName,
    architecture: String,
    verdict: Option<Verdict>,
}

impl LocalKernelResolver {
    /// What is asked of a source; an error when it is refused.
    pub(super) fn admit(&self, source: &KernelSource) -> Result<Admission, ImportKernelError> {
        let source = absolute_source(source);
        let rules = self.supply.policy.kernels.as_ref();
        let subject = source.to_string();
        let failed = |error: crate::trust::TrustError| ImportKernelError::Supply {
            source_name: subject.clone(),
            source: error.into(),
        };
        if let KernelSource::Bundle(reference) = &source {
            let (subject, untagged) = reference.subjects();
            return Admission::of(rules, &subject, Some(&untagged)).map_err(failed);
        }
        let admission = Admission::of(rules, &source.subject(), None).map_err(failed)?;
        // only a bundle can be signed
        admission.unsigned().map_err(failed)?;
        Ok(admission)
    }

    /// Gets a bundle and unpacks it into a staging directory.
    pub(super) async fn stage_bundle(
        &self,
        reference: &BundleReference,
        size: Option<Bytes>,
        (name, claim): (Option<KernelName>, Claim),
        progress: &dyn ProgressSink,
    ) -> Result<(Staging, Kernel), ImportKernelError> {
        let wanted = Wanted {
            reference,
            size,
            name,
            claim,
        };
        let (opened, facts) = self.open_bundle(wanted, progress).await?;
        let staging = self.shelf.reserve(&facts.name, claim).await?;
        let release = &facts.kernel.version;
        report(progress, format!("unpacking kernel {release}"));
        let (name, imported) = (reference.to_string(), self.clock.now());
        let location = reference.location.clone();
        let staged = telling(progress, move |progress, cancelled| {
            let directory = staging.path();
            let unpacked = opened.unpack(directory, |_| true, progress, cancelled);
            let unpacked = unpacked.map_err(|error| failed(&name)(error.into()))?;
            let origin = KernelOrigin::Bundle(BundleReference {
                location,
                digest: Some(unpacked.sha256),
            });
            let sha256 = unpacked.vmlinux.unwrap_or(unpacked.sha256);
            let kernel = Kernel {
                imported,
                ..record(&staging, &opened, facts, (origin, sha256))
            };
            check_staged(directory, &name)?;
            manifest::write(&kernel, directory).map_err(ImportKernelError::Io)?;
            Ok((staging, kernel))
        });
        staged.await
    }

    async fn open_bundle(
        &self,
        wanted: Wanted<'_>,
        progress: &dyn ProgressSink,
    ) -> Result<(Opened, Facts), ImportKernelError> {
        let source = KernelSource::Bundle(wanted.reference.clone());
        let admission = self.admit(&source)?;
        let opened = self
            .supply
            .open(wanted.reference, wanted.size, &admission, progress);
        let opened = opened.await.map_err(failed(&source.to_string()))?;
        let manifest = opened.manifest().clone();
        let Content::Kernel(kernel) = manifest.content else {
            let problem = "it is the bundle of an image".to_owned();
            return Err(Fault::NoKernel(problem).of(&source));
        };
        let facts = Facts {
            name: wanted.name.unwrap_or_else(|| kernel.name.clone()),
            architecture: manifest.architecture,
            verdict: admission.verdict(),
            kernel,
        };
        self.shelf.check(&facts.name, wanted.claim).await?;
        Ok((opened, facts))
    }

    /// See [`super::KernelResolver::pull`].
    pub(super) async fn pull_named(
        &self,
        name: &KernelName,
        force: bool,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, PullKernelError> {
        let _lock = self.lock_name(name).await?;
        let present = self.store.kernel(name).await;
        let present = present.map_err(ImportKernelError::Store)?;
        if present.is_some() && !force {
            return Err(ImportKernelError::AlreadyExists { name: name.clone() }.into());
        }
        if present.is_none() {
            let entry = self.entry(name).await?;
            return self.import_entry(entry, name, progress).await;
        }
        self.shelf.refuse_in_use(name).await?;
        let entry = self.entry(name).await?;
        let staged = self.stage_entry(entry, name, Claim::Successor, progress);
        let (staging, kernel) = staged.await?;
        self.replace(staging, kernel).await
    }

    /// Pulls a kernel that is not here, or takes the one that another process
    /// pulled meanwhile.
    pub(super) async fn pull_missing(
        &self,
        name: &KernelName,
        progress: &dyn ProgressSink,
    ) -> Result<(), ResolveKernelError> {
        let pulled = async {
            let _lock = self.lock_name(name).await?;
            let present = self.store.kernel(name).await;
            if present.map_err(ImportKernelError::Store)?.is_some() {
                return Ok(());
            }
            let entry = self.entry(name).await?;
            self.import_entry(entry, name, progress).await.map(drop)
        };
        pulled.await.map_err(|error| match error {
            PullKernelError::NotInCatalog { name } => ResolveKernelError::NotFound { name },
            source => ResolveKernelError::Pull {
                name: name.clone(),
                source: Box::new(source),
            },
        })
    }

    async fn lock_name(&self, name: &KernelName) -> Result<FileLock, PullKernelError> {
        let path = self.shelf.locks().join(format!("kernel-{name}.lock"));
        let lock: Result<FileLock, LockError> = FileLock::acquire(&path, NAME_LOCK_DEADLINE).await;
        lock.map_err(|error| ImportKernelError::Lock(error).into())
    }

    async fn entry(&self, name: &KernelName) -> Result<CatalogEntry, PullKernelError> {
        let found = self.supply.catalogs.kernel(name).await;
        found?.ok_or_else(|| PullKernelError::NotInCatalog { name: name.clone() })
    }

    async fn import_entry(
        &self,
        entry: CatalogEntry,
        name: &KernelName,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, PullKernelError> {
        self.shelf.refuse_taken(name).await?;
        let staged = self.stage_entry(entry, name, Claim::First, progress);
        let (staging, kernel) = staged.await?;
        Ok(self.keep(staging, kernel).await?)
    }

    async fn stage_entry(
        &self,
        entry: CatalogEntry,
        name: &KernelName,
        claim: Claim,
        progress: &dyn ProgressSink,
    ) -> Result<(Staging, Kernel), ImportKernelError> {
        let named = (Some(name.clone()), claim);
        match entry.source {
            EntrySource::Apt(package) => {
                let source = KernelSource::AptPackage(package);
                self.stage(&source, named, progress).await
            }
            EntrySource::Bundle { reference, size } => {
                self.stage_bundle(&reference, Some(size), named, progress)
                    .await
            }
        }
    }

    /// See [`super::KernelResolver::bundle`].
    pub(super) async fn write_bundle(
        &self,
        name: &KernelName,
        target: Output,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleKernelError> {
        let kernel = self.show(name).await?;
        let contents = BundleContents {
            content: Content::Kernel(KernelFacts {
                name: kernel.name,
                version: kernel.version,
                distribution: kernel.distribution,
            }),
            architecture: kernel.architecture,
            rootfs: None,
            boot: Some(kernel.boot),
        };
        let written = telling(progress, move |progress, cancelled| {
            let written = write(&contents, &target, progress, cancelled);
            written.map_err(|source| (target, source))
        });
        let name = name.clone();
        written
            .await
            .map_err(|(target, error)| BundleKernelError::of_bundle(name, &target, error))
    }
}

/// What was signed and hashed may still be no kernel.
fn check_staged(directory: &Utf8Path, name: &str) -> Result<(), ImportKernelError> {
    check_vmlinux(&directory.join("vmlinux")).map_err(|problem| {
        let error = BundleError::malformed(&name, format!("its kernel {problem}"));
        failed(name)(error.into())
    })
}

fn record(
    staging: &Staging,
    opened: &Opened,
    facts: Facts,
    (origin, sha256): (KernelOrigin, Digest),
) -> Kernel {
    let directory = staging.target().to_owned();
    Kernel {
        name: facts.name,
        distribution: facts.kernel.distribution,
        architecture: facts.architecture,
        version: facts.kernel.version,
        sha256,
        origin,
        boot: opened.boot_in(&directory).unwrap_or_default(),
        directory,
        verdict: facts.verdict,
        imported: std::time::UNIX_EPOCH,
    }
}

fn failed(source_name: &str) -> impl Fn(SupplyError) -> ImportKernelError {
    let source_name = source_name.to_owned();
    move |source| ImportKernelError::Supply {
        source_name: source_name.clone(),
        source,
    }
}
