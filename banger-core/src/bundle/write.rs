//! Writing a bundle.
//!
//! Every file is read twice: for the manifest, which comes first, and for its
//! own entry, which must be the same then. The bytes depend on nothing but the
//! files' paths and content: times, owners and modes are fixed, the tree is
//! sorted, and one thread compresses. A file is made as `<target>.partial`,
//! locked, and renamed once it is whole and on disk; what a crash leaves of
//! that name, the next bundle of that target takes over.

use std::{
    fs::File,
    io::{self, Read as _, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use tar_core::{EntryType, builder::EntryBuilder};
use tokio_util::sync::CancellationToken;

use super::{
    BundleError, BundlePath, Content, Manifest, ManifestFile, Written, manifest::MANIFEST,
};
use crate::{
    domain::{BootArtifacts, Bytes, Digest},
    error::ErrorKind,
    host_fs::{IoContext as _, Output, OutputProblem, PathError},
    progress::{BundleStep, Meter, ProgressSink},
};

/// Twice as small as the fastest levels make it, and still faster than a disk.
const LEVEL: i32 = 6;
const BUFFER: usize = 1 << 20;
const BLOCK: u64 = 512;
/// What ends a tar file: two blocks of zeros.
const TRAILER: usize = 1024;

/// What a bundle is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleContents {
    /// What it is.
    pub content: Content,
    /// Its architecture, as `uname -m` says it.
    pub architecture: String,
    /// The root disk of an image.
    pub rootfs: Option<Utf8PathBuf>,
    /// The kernel triple; links in its module tree are left out.
    pub boot: Option<BootArtifacts>,
}

/// Writes a bundle to `target`. Holds up its thread; ends soon after `cancelled` was.
pub fn write(
    contents: &BundleContents,
    target: &Output,
    progress: &dyn ProgressSink,
    cancelled: &CancellationToken,
) -> Result<Written, BundleError> {
    let sources = sources(contents).map_err(BundleError::io(target))?;
    let total = total(&sources).map_err(BundleError::io(target))?;
    let mut packer = Packer {
        target,
        cancelled,
        meter: Meter::new(progress, BundleStep::Packing, total.saturating_mul(2)),
    };
    let manifest = packer.manifest(contents, &sources)?;
    let failed = |problem| BundleError::of_output(target, problem);
    let (sha256, size) = target.put(failed, |output| packer.fill(output, &manifest, &sources))?;
    Ok(Written {
        sha256,
        size: Bytes::new(size),
        unpacked: manifest.unpacked(),
    })
}

/// The files of a bundle in its order, and where they are.
fn sources(contents: &BundleContents) -> Result<Vec<(BundlePath, Utf8PathBuf)>, PathError> {
    let mut sources = Vec::new();
    let rootfs = contents.rootfs.iter();
    sources.extend(rootfs.map(|path| (BundlePath::Rootfs, path.clone())));
    let Some(boot) = &contents.boot else {
        return Ok(sources);
    };
    sources.push((BundlePath::Kernel, boot.kernel.clone()));
    let initrd = boot.initrd.iter();
    sources.extend(initrd.map(|path| (BundlePath::Initrd, path.clone())));
    if let Some(modules) = &boot.modules {
        sources.extend(module_files(modules)?);
    }
    Ok(sources)
}

/// Every regular file of a module tree, sorted by path.
fn module_files(tree: &Utf8Path) -> Result<Vec<(BundlePath, Utf8PathBuf)>, PathError> {
    let mut files = Vec::new();
    let mut pending = vec![tree.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in directory.read_dir_utf8().at("read directory", &directory)? {
            let path = entry.at("read directory", &directory)?.into_path();
            let kind = path.symlink_metadata().at("inspect", &path)?.file_type();
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() {
                let below = path.strip_prefix(tree).unwrap_or(&path);
                let name = BundlePath::module(below).ok_or_else(|| unusable(&path))?;
                files.push((name, path));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn unusable(path: &Utf8Path) -> PathError {
    let problem = io::Error::new(io::ErrorKind::InvalidInput, "its path is no module's");
    PathError::new("bundle", path, problem)
}

fn total(sources: &[(BundlePath, Utf8PathBuf)]) -> Result<u64, PathError> {
    let lengths = sources.iter().map(|(_, path)| {
        let metadata = path.metadata().at("inspect", path)?;
        Ok(metadata.len())
    });
    lengths.sum()
}

/// A bundle on its way.
struct Packer<'a> {
    target: &'a Output,
    cancelled: &'a CancellationToken,
    meter: Meter<'a>,
}

impl Packer<'_> {
    fn manifest(
        &mut self,
        contents: &BundleContents,
        sources: &[(BundlePath, Utf8PathBuf)],
    ) -> Result<Manifest, BundleError> {
        let mut files = Vec::with_capacity(sources.len());
        for (path, source) in sources {
            let (size, sha256) = self.copy(source, &mut io::sink())?;
            files.push(ManifestFile {
                path: path.clone(),
                size,
                sha256,
            });
        }
        Ok(Manifest {
            content: contents.content.clone(),
            architecture: contents.architecture.clone(),
            files,
        })
    }

    /// Writes all entries and answers the digest and the length of the
    /// compressed bytes.
    fn fill(
        &mut self,
        output: &mut dyn Write,
        manifest: &Manifest,
        sources: &[(BundlePath, Utf8PathBuf)],
    ) -> Result<(Digest, u64), BundleError> {
        let target = self.target;
        let failed = |error: io::Error| write_failure(target, error);
        let bytes = manifest.to_bytes();
        let bytes = bytes.map_err(|error| failed(error.into()))?;
        let sink = Counting::new(output);
        let mut encoder = zstd::Encoder::new(sink, LEVEL).map_err(failed)?;
        encoder.include_checksum(true).map_err(failed)?;
        write_manifest(&mut encoder, &bytes).map_err(failed)?;
        for (entry, (_, source)) in manifest.files.iter().zip(sources) {
            self.entry(&mut encoder, entry, source)?;
        }
        encoder.write_all(&[0; TRAILER]).map_err(failed)?;
        let mut counting = encoder.finish().map_err(failed)?;
        counting.flush().map_err(failed)?;
        Ok((counting.digest(), counting.length))
    }

    fn entry(
        &mut self,
        sink: &mut impl Write,
        entry: &ManifestFile,
        source: &Utf8Path,
    ) -> Result<(), BundleError> {
        let target = self.target;
        let failed = |error: io::Error| write_failure(target, error);
        write_entry_start(sink, &entry.path.to_string(), entry.size).map_err(failed)?;
        let copied = self.copy(source, sink)?;
        if copied != (entry.size, entry.sha256) {
            return Err(BundleError::changed(target, source));
        }
        write_padding(sink, entry.size).map_err(failed)
    }

    /// Copies a file and answers its length and digest.
    fn copy(
        &mut self,
        source: &Utf8Path,
        sink: &mut impl Write,
    ) -> Result<(u64, Digest), BundleError> {
        let failed = BundleError::io(self.target);
        let mut file = File::open(source).at("open", source).map_err(&failed)?;
        let (mut hasher, mut length) = (Sha256::new(), 0);
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.cancelled.is_cancelled() {
                return Err(BundleError::Cancelled);
            }
            let read = file.read(&mut buffer).at("read", source).map_err(&failed)?;
            if read == 0 {
                return Ok((length, Digest::from_bytes(hasher.finalize().into())));
            }
            hasher.update(&buffer[..read]);
            sink.write_all(&buffer[..read])
                .at("write", self.target.path())
                .map_err(&failed)?;
            length += read as u64;
            self.meter.add(read as u64);
        }
    }
}

fn write_failure(target: &Output, error: io::Error) -> BundleError {
    BundleError::io(target)(PathError::new("write", target.path(), error))
}

fn write_manifest(sink: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len() as u64;
    write_entry_start(sink, MANIFEST, length)?;
    sink.write_all(bytes)?;
    write_padding(sink, length)
}

/// Writes the header of a file that anybody may read.
fn write_entry_start(sink: &mut impl Write, path: &str, size: u64) -> io::Result<()> {
    let mut builder = EntryBuilder::new_gnu();
    builder.path(path).entry_type(EntryType::Regular);
    let header = builder
        .mode(0o644)
        .and_then(|builder| builder.uid(0))
        .and_then(|builder| builder.gid(0))
        .and_then(|builder| builder.mtime(0))
        .and_then(|builder| builder.size(size));
    let bytes = header.map_err(io::Error::other)?.finish_bytes();
    sink.write_all(&bytes)
}

/// Fills an entry's last block.
fn write_padding(sink: &mut impl Write, size: u64) -> io::Result<()> {
    let padding = (BLOCK - size % BLOCK) % BLOCK;
    io::copy(&mut io::repeat(0).take(padding), sink).map(drop)
}

/// Hashes and counts what goes through.
struct Counting<W> {
    inner: W,
    hasher: Sha256,
    length: u64,
}

impl<W> Counting<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            length: 0,
        }
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl BundleError {
    /// What an output's problem is for a bundle that goes there.
    #[must_use]
    pub fn of_output(target: &Output, problem: OutputProblem) -> Self {
        let error = match problem {
            OutputProblem::Busy(_) => {
                let location = target.to_string();
                return Self::Busy { location };
            }
            OutputProblem::Taken(path) => {
                let taken = io::Error::from(io::ErrorKind::AlreadyExists);
                PathError::new("create", &path, taken)
            }
            OutputProblem::File(error) => error,
            OutputProblem::Write(error) => return write_failure(target, error),
        };
        Self::io(target)(error)
    }

    /// Somebody wrote to what was bundled meanwhile.
    #[must_use]
    pub fn changed(target: &Output, what: &Utf8Path) -> Self {
        let changed = io::Error::other("it changed while it was bundled");
        Self::io(target)(PathError::new("bundle", what, changed))
    }

    /// Whether a bundle could not be written because something is in its place.
    #[must_use]
    pub fn is_target_taken(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists)
    }
}
