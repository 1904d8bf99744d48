//! Kernel files: an ELF `vmlinux` as it is, or the one packed in a `bzImage`.
//!
//! Purpose: write the uncompressed ELF kernel of either. Invariants: what is
//! written is a 64-bit ELF file for a known machine, as long as its packing
//! claims, and never longer than 512 MiB.
//! Entry points: [`KernelFile`].

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write},
    ops::Range,
};

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    bzimage::{self, BzImage},
    elf,
    fault::Fault,
    inflate::{Compression, Limited, inflate},
    release::find_banner,
    transfer::{Attended, pour},
};
use crate::{
    domain::Digest,
    host_fs::{IoContext as _, PathError},
    step::reached,
};

/// Most bytes an uncompressed kernel may have.
const VMLINUX_LIMIT: u64 = 512 << 20;
/// The magic number of an arm64 `Image` and its place (Linux
/// `Documentation/arch/arm64/booting.rst`).
const ARM64_MAGIC: (usize, &[u8]) = (0x38, b"ARM\x64");

/// A kernel file of a known form.
#[derive(Debug)]
pub(crate) struct KernelFile {
    file: File,
    path: Utf8PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Elf,
    BzImage(BzImage),
}

/// An uncompressed kernel that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vmlinux {
    /// As `uname -m` says it.
    pub(crate) architecture: &'static str,
    /// Digest of the file.
    pub(crate) sha256: Digest,
}

impl KernelFile {
    /// Opens a file and tells its form.
    pub(crate) fn open(path: &Utf8Path) -> Result<Self, Fault> {
        let file = File::open(path).at("open", path)?;
        let metadata = file.metadata().at("inspect", path)?;
        if !metadata.is_file() {
            return Err(Fault::NoKernel(format!("{path} is not a regular file")));
        }
        let start = first_bytes(&file, bzimage::SETUP_LIMIT).at("read", path)?;
        let form = form_of(&start, metadata.len())
            .map_err(|problem| Fault::Malformed(format!("{path}: {problem}")))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            form,
        })
    }

    /// The release the kernel itself tells: in its boot header, else in its
    /// banner.
    pub(crate) fn release(&self, cancelled: &CancellationToken) -> Result<Option<String>, Fault> {
        if let Form::BzImage(BzImage {
            release: Some(release),
            ..
        }) = &self.form
        {
            return Ok(Some(release.clone()));
        }
        let image = Limited::new(self.content(cancelled)?.inflated, VMLINUX_LIMIT);
        let release = find_banner(image);
        release.map_err(|error| self.malformed(&error.to_string()))
    }

    /// Writes the uncompressed kernel to `target`, which must not exist.
    pub(crate) fn write_vmlinux(
        &self,
        target: &Utf8Path,
        cancelled: &CancellationToken,
    ) -> Result<Vmlinux, Fault> {
        let content = self.content(cancelled)?;
        let file = File::create_new(target).at("create", target)?;
        reached("made the file of a kernel");
        let mut sink = HashedFile::new(file);
        let length = pour(content.inflated, &mut sink, target, VMLINUX_LIMIT)?;
        if content.length.is_some_and(|claimed| claimed != length) {
            return Err(self.malformed("its packed kernel is not as long as it claims"));
        }
        let vmlinux = sink.finish().map_err(|problem| self.malformed(&problem))?;
        reached("wrote a kernel");
        Ok(vmlinux)
    }

    fn content(&self, cancelled: &CancellationToken) -> Result<Content, Fault> {
        match &self.form {
            Form::Elf => Ok(Content {
                inflated: Box::new(self.part(0..u64::MAX, cancelled)?),
                length: None,
            }),
            Form::BzImage(image) => self.payload(&image.payload, cancelled),
        }
    }

    /// The packed kernel. All forms but gzip, which ends with its length
    /// anyway, are followed by the inflated length (Linux
    /// `scripts/Makefile.lib`, `size_append`).
    fn payload(&self, place: &Range<u64>, cancelled: &CancellationToken) -> Result<Content, Fault> {
        let magic = self.bytes_at(place.start, Compression::MAGIC_LENGTH)?;
        let compression = Compression::of_magic(&magic).ok_or_else(|| {
            self.malformed(&format!(
                "its kernel is packed in an unknown way (magic {})",
                hex::encode(&magic)
            ))
        })?;
        if compression == Compression::None {
            return Ok(Content {
                inflated: Box::new(self.part(place.clone(), cancelled)?),
                length: None,
            });
        }
        let trailer = place.end - 4;
        let claimed: [u8; 4] = self
            .bytes_at(trailer, 4)?
            .try_into()
            .map_err(|_| self.malformed("its packed kernel ends early"))?;
        let end = match compression {
            Compression::Gzip => place.end,
            _ => trailer,
        };
        Ok(Content {
            inflated: inflate(compression, self.part(place.start..end, cancelled)?),
            length: Some(u64::from(u32::from_le_bytes(claimed))),
        })
    }

    fn part(
        &self,
        place: Range<u64>,
        cancelled: &CancellationToken,
    ) -> Result<io::Take<Attended<File>>, PathError> {
        let mut file = self.file.try_clone().at("open", &self.path)?;
        file.seek(SeekFrom::Start(place.start))
            .at("read", &self.path)?;
        let length = place.end - place.start;
        Ok(Attended::new(file, cancelled.clone()).take(length))
    }

    fn bytes_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, PathError> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| read_up_to(file, length))
            .at("read", &self.path)
    }

    fn malformed(&self, problem: &str) -> Fault {
        Fault::Malformed(format!("{}: {problem}", self.path))
    }
}

/// An uncompressed kernel to be read, and how long it must be.
struct Content {
    inflated: Box<dyn Read>,
    length: Option<u64>,
}

/// Whether the file at `path` starts as an ELF kernel that banger can boot.
pub(crate) fn check_vmlinux(path: &Utf8Path) -> Result<(), String> {
    let start = File::open(path)
        .and_then(|file| first_bytes(&file, bzimage::SETUP_LIMIT))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bzimage::is_bzimage(&start) {
        return Err("is a bzImage, not an uncompressed vmlinux".to_owned());
    }
    elf::architecture(&start)
        .map(drop)
        .map_err(|problem| format!("cannot be booted: {problem}"))
}

fn form_of(start: &[u8], file_length: u64) -> Result<Form, String> {
    let (offset, magic) = ARM64_MAGIC;
    if elf::is_elf(start) {
        elf::architecture(start).map(|_| Form::Elf)
    } else if bzimage::is_bzimage(start) {
        bzimage::parse(start, file_length).map(Form::BzImage)
    } else if start
        .get(offset..)
        .is_some_and(|rest| rest.starts_with(magic))
    {
        Err("it is an arm64 Image, which is not supported: give an ELF vmlinux".to_owned())
    } else {
        Err("it is neither an ELF vmlinux nor a bzImage".to_owned())
    }
}

fn first_bytes(mut file: &File, length: usize) -> io::Result<Vec<u8>> {
    file.rewind()?;
    read_up_to(file, length)
}

fn read_up_to(file: &File, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that is hashed as it is written, and whose head is kept.
struct HashedFile {
    file: File,
    hash: Sha256,
    head: Vec<u8>,
}

impl HashedFile {
    fn new(file: File) -> Self {
        Self {
            file,
            hash: Sha256::new(),
            head: Vec::new(),
        }
    }

    fn finish(self) -> Result<Vmlinux, String> {
        let architecture = elf::architecture(&self.head)?;
        let sha256 = Digest::from_bytes(self.hash.finalize().into());
        Ok(Vmlinux {
            architecture,
            sha256,
        })
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let bytes = &bytes[..written];
        self.hash.update(bytes);
        let missing = elf::HEADER_LENGTH - self.head.len();
        self.head.extend(&bytes[..missing.min(written)]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn extract(image: &[u8]) -> Result<(Vmlinux, Vec<u8>), Fault> {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("image"), image).unwrap();
        let token = CancellationToken::new();
        let kernel = KernelFile::open(&root.join("image"))?;
        let vmlinux = kernel.write_vmlinux(&root.join("vmlinux"), &token)?;
        Ok((vmlinux, fs::read(root.join("vmlinux")).unwrap()))
    }

    fn lz4_payload(kernel: &[u8], claimed: usize) -> Vec<u8> {
        let block = lz4_flex::block::compress(kernel);
        let mut payload = b"\x02\x21\x4c\x18".to_vec();
        payload.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        payload.extend(block);
        payload.extend(u32::try_from(claimed).unwrap().to_le_bytes());
        payload
    }

    fn problem(image: &[u8]) -> String {
        match extract(image) {
            Err(Fault::Malformed(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn packed_and_plain_kernels_come_out() {
        let kernel = elf::fixture::header();
        let packed = bzimage::fixture::image("6.1.0", &lz4_payload(&kernel, kernel.len()));
        let nested = bzimage::fixture::image("6.1.0", &kernel);
        for image in [&packed, &nested, &kernel] {
            let (vmlinux, content) = extract(image).unwrap();
            assert_eq!(content, kernel);
            assert_eq!(vmlinux.architecture, "x86_64");
            assert_eq!(vmlinux.sha256, Digest::of(&kernel));
        }
    }

    #[test]
    fn false_claims_and_foreign_files_are_refused() {
        let kernel = elf::fixture::header();
        let wrong = bzimage::fixture::image("6.1.0", &lz4_payload(&kernel, 65));
        assert!(problem(&wrong).contains("as long as it claims"));
        let unknown = bzimage::fixture::image("6.1.0", b"????????????");
        assert!(problem(&unknown).contains("magic 3f3f"));
        let not_elf = bzimage::fixture::image("6.1.0", &lz4_payload(&[1; 100], 100));
        assert!(problem(&not_elf).contains("not an ELF"));
        let mut arm = vec![0; 64];
        arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert!(problem(&arm).contains("arm64 Image"));
        assert!(problem(b"").contains("neither"));
    }

    #[test]
    fn the_release_comes_from_header_or_banner() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path()).unwrap().join("image");
        let release = |image: &[u8]| {
            fs::write(&path, image).unwrap();
            let token = CancellationToken::new();
            KernelFile::open(&path).unwrap().release(&token).unwrap()
        };
        let mut kernel = elf::fixture::header();
        assert_eq!(release(&kernel), None);
        kernel.extend(b"Linux version 6.2.0 (x)");
        assert_eq!(release(&kernel).as_deref(), Some("6.2.0"));
        let payload = lz4_payload(&kernel, kernel.len());
        let image = bzimage::fixture::image("6.3.0", &payload);
        assert_eq!(release(&image).as_deref(), Some("6.3.0"));
        let image = bzimage::fixture::image("untold", &payload);
        assert_eq!(release(&image).as_deref(), Some("6.2.0"));
    }

    #[test]
    fn only_an_elf_kernel_is_taken_by_path() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path()).unwrap().join("kernel");
        fs::write(&path, elf::fixture::header()).unwrap();
        check_vmlinux(&path).unwrap();
        fs::write(&path, bzimage::fixture::image("6.1.0", b"12345678")).unwrap();
        assert!(check_vmlinux(&path).unwrap_err().contains("bzImage"));
    }
}
