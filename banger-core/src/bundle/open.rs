//! Reading a bundle that is a file of this host.
//!
//! The compressed bytes are hashed as they are read, to their end; each file is
//! hashed as it is written. What comes out is right only when
//! [`Opened::unpack`] answered: until then it belongs into a staging directory.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt as _,
};

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    BundleError, BundlePath, Manifest, ManifestFile,
    manifest::{MANIFEST, MAX_MANIFEST},
};
use crate::{
    domain::{BootArtifacts, Bytes, Digest},
    host_fs::{FileRange, IoContext as _, PathError, RangeReader, create_directory},
    kernel::{
        tarball::{EntryKind, TarReader},
        transfer::{Attended, sync_file_system},
    },
    progress::{BundleStep, Meter, ProgressSink},
    step::reached,
    trust::MinisignKey,
};

const BUFFER: usize = 1 << 20;
/// What becomes a hole when it is all zeros.
const HOLE: usize = 4096;
static ZEROS: [u8; HOLE] = [0; HOLE];
/// Most bytes behind the archive's end: tar writers pad to a record.
const MAX_TRAILER: u64 = 1 << 20;

/// A bundle whose manifest is known.
#[derive(Clone, Debug)]
pub struct Opened {
    /// How it is called in messages.
    location: String,
    file: FileRange,
    /// The digest it must have.
    expected: Option<Digest>,
    manifest: Manifest,
}

/// Why a bundle is not believed.
#[derive(Debug)]
pub enum Unvouched {
    /// The signature does not hold, and why.
    Signature(String),
    /// The bundle has another digest than it must have.
    Bundle(BundleError),
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the whole bundle.
    pub sha256: Digest,
    /// Digest of the `vmlinux`, if it has one.
    pub vmlinux: Option<Digest>,
}

type Bundle = TarReader<zstd::Decoder<'static, io::BufReader<Hashing>>>;

impl Opened {
    /// Reads the manifest of the bundle in `file`, of which at most `unpacked`
    /// bytes are to come. Holds up its thread for a moment.
    pub(super) fn open(
        location: &str,
        file: FileRange,
        expected: Option<Digest>,
        unpacked: Bytes,
    ) -> Result<Self, BundleError> {
        let malformed = |problem: String| BundleError::malformed(&location, problem);
        let mut reader = start(&file).map_err(|error| malformed(error.to_string()))?;
        let manifest = read_manifest(&mut reader).map_err(malformed)?;
        if unpacked < manifest.unpacked() {
            return Err(BundleError::Limit {
                location: location.to_owned(),
                problem: format!(
                    "it unpacks to {}, more than {unpacked}",
                    manifest.unpacked()
                ),
            });
        }
        Ok(Self {
            location: location.to_owned(),
            file,
            expected,
            manifest,
        })
    }

    /// What it says it holds.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How it is called in messages.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Where the kernel triple will lie in `directory`, if it has one.
    #[must_use]
    pub fn boot_in(&self, directory: &Utf8Path) -> Option<BootArtifacts> {
        let has = |path: &BundlePath| self.manifest.file(path).is_some();
        has(&BundlePath::Kernel).then(|| BootArtifacts {
            kernel: directory.join("vmlinux"),
            initrd: has(&BundlePath::Initrd).then(|| directory.join("initrd.img")),
            modules: (self.manifest.has_modules()).then(|| directory.join("modules")),
        })
    }

    /// Whether `signature` is of this very bundle and by `key`; the bundle that
    /// was checked, to which it is pinned from now on. Holds up its thread.
    pub fn signed_by(
        self,
        key: &MinisignKey,
        signature: &str,
        cancelled: &CancellationToken,
    ) -> Result<Self, Unvouched> {
        let mut source = Hashing::new(self.file.reader());
        let attended = Attended::new(&mut source, cancelled.clone());
        key.verify(attended, signature)
            .map_err(Unvouched::Signature)?;
        let actual = source.digest();
        compare(&self.location, self.expected.unwrap_or(actual), actual)
            .map_err(Unvouched::Bundle)?;
        Ok(Self {
            expected: Some(actual),
            ..self
        })
    }

    /// Unpacks the files that `wanted` says into `directory`, checks all, and
    /// flushes what was written. Holds up its thread.
    pub fn unpack(
        &self,
        directory: &Utf8Path,
        wanted: impl Fn(&BundlePath) -> bool,
        progress: &dyn ProgressSink,
        cancelled: &CancellationToken,
    ) -> Result<Unpacked, BundleError> {
        let mut reader = start(&self.file).map_err(|error| self.malformed(error.to_string()))?;
        let again = read_manifest(&mut reader).map_err(|problem| self.malformed(problem))?;
        if again != self.manifest {
            return Err(self.malformed("it changed while it was read"));
        }
        let mut meter = Meter::new(
            progress,
            BundleStep::Unpacking,
            self.manifest.unpacked().get(),
        );
        for file in &self.manifest.files {
            self.next(&mut reader, file)?;
            let target = target(directory, file, &wanted).map_err(|error| self.io(error))?;
            let copied = copy(&mut reader, &target, &mut meter, cancelled);
            let digest = copied.map_err(|error| error.of(&self.location))?;
            self.compare_file(file, digest)?;
            reached("unpacked a file");
        }
        let sha256 = self.finish(reader)?;
        compare(&self.location, self.expected.unwrap_or(sha256), sha256)?;
        sync_file_system(directory).map_err(|error| self.io(error))?;
        reached("flushed unpacked files");
        let vmlinux = self.manifest.file(&BundlePath::Kernel);
        Ok(Unpacked {
            sha256,
            vmlinux: vmlinux.map(|file| file.sha256),
        })
    }

    /// Goes on to the entry of `file`, which must be the next one.
    fn next(&self, reader: &mut Bundle, file: &ManifestFile) -> Result<(), BundleError> {
        let entry = reader.next_entry().map_err(|error| self.malformed(error))?;
        match entry {
            Some(entry)
                if entry.kind == EntryKind::File
                    && entry.path == file.path.to_string()
                    && reader.content_left() == file.size =>
            {
                Ok(())
            }
            Some(entry) => Err(self.malformed(format!(
                "it holds {:?} where its manifest has {} of {} bytes",
                entry.path, file.path, file.size
            ))),
            None => Err(self.malformed(format!("it lacks {}", file.path))),
        }
    }

    /// Reads what is left and answers the digest of the whole.
    fn finish(&self, mut reader: Bundle) -> Result<Digest, BundleError> {
        if let Some(entry) = reader.next_entry().map_err(|error| self.malformed(error))? {
            let problem = format!("it holds {:?}, which its manifest lacks", entry.path);
            return Err(self.malformed(problem));
        }
        let mut decoder = reader.into_inner();
        let trailer = io::copy(&mut (&mut decoder).take(MAX_TRAILER), &mut io::sink());
        let trailer = trailer.map_err(|error| self.malformed(error.to_string()))?;
        if trailer == MAX_TRAILER {
            return Err(self.malformed("there is too much behind its end"));
        }
        let mut compressed = decoder.finish();
        // what the decoder read ahead was hashed already
        let rest = io::copy(&mut compressed, &mut io::sink());
        rest.map_err(|error| self.malformed(error.to_string()))?;
        Ok(compressed.into_inner().digest())
    }

    fn compare_file(&self, file: &ManifestFile, actual: Digest) -> Result<(), BundleError> {
        let location = format!("{} of {}", file.path, self.location);
        compare(&location, file.sha256, actual)
    }

    fn malformed(&self, problem: impl Into<String>) -> BundleError {
        BundleError::malformed(&self.location, problem)
    }

    fn io(&self, source: PathError) -> BundleError {
        BundleError::io(&self.location)(source)
    }
}

fn start(file: &FileRange) -> io::Result<Bundle> {
    let decoder = zstd::Decoder::new(Hashing::new(file.reader()))?;
    Ok(TarReader::new(decoder))
}

fn read_manifest(reader: &mut Bundle) -> Result<Manifest, String> {
    let entry = reader.next_entry()?;
    if !entry.is_some_and(|entry| entry.kind == EntryKind::File && entry.path == MANIFEST) {
        return Err(format!("it does not start with {MANIFEST}"));
    }
    if MAX_MANIFEST < reader.content_left() {
        return Err(format!("its manifest has more than {MAX_MANIFEST} bytes"));
    }
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Manifest::parse(&bytes)
}

/// Where a file's content goes.
enum Sink {
    Nowhere,
    File { file: File, path: Utf8PathBuf },
}

fn target(
    directory: &Utf8Path,
    file: &ManifestFile,
    wanted: &impl Fn(&BundlePath) -> bool,
) -> Result<Sink, PathError> {
    if !wanted(&file.path) {
        return Ok(Sink::Nowhere);
    }
    let path = directory.join(file.path.to_string());
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let created = File::create_new(&path).at("create", &path)?;
    created.set_len(file.size).at("extend", &path)?;
    reached("made a file to unpack to");
    Ok(Sink::File {
        file: created,
        path,
    })
}

impl Sink {
    /// Writes bytes at their place, but for blocks of zeros.
    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), PathError> {
        let Self::File { file, path } = self else {
            return Ok(());
        };
        let mut at = offset;
        let mut left = bytes;
        while !left.is_empty() {
            let zeros = leading(left, |block| block == &ZEROS[..block.len()]);
            let data = leading(&left[zeros..], |block| block != &ZEROS[..block.len()]);
            let run = &left[zeros..zeros + data];
            file.write_all_at(run, at + zeros as u64)
                .at("write", path)?;
            at += (zeros + data) as u64;
            left = &left[zeros + data..];
        }
        Ok(())
    }
}

/// Bytes of the leading blocks that are as `is` says.
fn leading(bytes: &[u8], is: impl Fn(&[u8]) -> bool) -> usize {
    let blocks = bytes.chunks(HOLE).take_while(|block| is(block));
    blocks.map(<[u8]>::len).sum()
}

enum CopyError {
    Read(io::Error),
    Write(PathError),
    Cancelled,
}

impl CopyError {
    fn of(self, location: &str) -> BundleError {
        match self {
            Self::Read(error) => BundleError::malformed(&location, error.to_string()),
            Self::Write(error) => BundleError::io(&location)(error),
            Self::Cancelled => BundleError::Cancelled,
        }
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Copies all of `source` and answers its digest.
fn copy(
    source: &mut impl Read,
    sink: &Sink,
    meter: &mut Meter<'_>,
    cancelled: &CancellationToken,
) -> Result<Digest, CopyError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut offset = 0;
    loop {
        if cancelled.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        // whole buffers, so that blocks of zeros are seen as such
        let read = fill(source, &mut buffer)?;
        if read == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
        sink.write(&buffer[..read], offset)
            .map_err(CopyError::Write)?;
        offset += read as u64;
        meter.add(read as u64);
    }
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Hashes what is read.
struct Hashing {
    source: RangeReader,
    hasher: Sha256,
}

impl Hashing {
    fn new(source: RangeReader) -> Self {
        Self {
            source,
            hasher: Sha256::new(),
        }
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

fn compare(location: &str, expected: Digest, actual: Digest) -> Result<(), BundleError> {
    if expected == actual {
        return Ok(());
    }
    Err(BundleError::Digest {
        location: location.to_owned(),
        expected,
        actual,
    })
}

/// Hashes a whole file and compares it with the digest it must have. Holds up
/// its thread.
pub(super) fn verify(
    location: &str,
    file: &FileRange,
    expected: Digest,
    progress: &dyn ProgressSink,
    cancelled: &CancellationToken,
) -> Result<(), BundleError> {
    let mut meter = Meter::new(progress, BundleStep::Verifying, file.length());
    let digest = copy(&mut file.reader(), &Sink::Nowhere, &mut meter, cancelled);
    compare(
        location,
        expected,
        digest.map_err(|error| error.of(location))?,
    )
}

/// Opens a bundle's file, of at most `limit` bytes.
pub(super) fn open_file(
    location: &impl ToString,
    path: &Utf8Path,
    limit: Bytes,
) -> Result<FileRange, BundleError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => BundleError::NotFound {
            location: location.to_string(),
        },
        _ => BundleError::io(location)(PathError::new("open", path, error)),
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(BundleError::malformed(location, "it is no regular file"));
    }
    if limit.get() < metadata.len() {
        return Err(BundleError::Limit {
            location: location.to_string(),
            problem: format!("it has more than {limit}"),
        });
    }
    File::open(path).and_then(FileRange::whole).map_err(failed)
}
