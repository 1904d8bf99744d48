//! Layers made by the tests, and the disks made of them.

use std::{fs, io::Write as _, process::Command};

use banger_core::{
    domain::{Bytes, Digest},
    oci::{Compression, LayerBlob, LayerBytes, LayerDescriptor},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsError, RootfsReport, RootfsRequest},
};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// When the images of the tests were made.
pub(crate) const CREATED: i64 = 1_700_000_000;

/// A tar stream being written.
pub(crate) struct Layer {
    builder: tar::Builder<Vec<u8>>,
}

/// The pax records of an entry.
pub(crate) type Pax<'a> = &'a [(&'a str, &'a [u8])];

impl Layer {
    pub(crate) fn new() -> Self {
        Self {
            builder: tar::Builder::new(Vec::new()),
        }
    }

    /// A header with an owner and a time that tell entries apart.
    pub(crate) fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(2000);
        header.set_mtime(1_600_000_000);
        header.set_size(0);
        header
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(
            path,
            Self::header(tar::EntryType::Directory, mode),
            &[],
            b"",
        )
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(
            path,
            Self::header(tar::EntryType::Regular, 0o644),
            &[],
            content,
        )
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(path, target, tar::EntryType::Symlink)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(path, target, tar::EntryType::Link)
    }

    fn link(mut self, path: &str, target: &str, kind: tar::EntryType) -> Self {
        let mut header = tar::Header::new_gnu();
        header.clone_from(&Self::header(kind, 0o777));
        self.builder.append_link(&mut header, path, target).unwrap();
        self
    }

    pub(crate) fn device(self, path: &str, kind: tar::EntryType, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, 0o600);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.entry(path, header, &[], b"")
    }

    /// An entry whose path is written as given, however odd.
    pub(crate) fn entry(
        mut self,
        path: &str,
        mut header: tar::Header,
        pax: Pax<'_>,
        content: &[u8],
    ) -> Self {
        if !pax.is_empty() {
            self.builder
                .append_pax_extensions(pax.iter().copied())
                .unwrap();
        }
        header.set_size(content.len() as u64);
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        field[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.builder.append(&header, content).unwrap();
        self
    }

    /// An entry with a name of any length.
    pub(crate) fn long_entry(mut self, path: &str, kind: tar::EntryType, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.clone_from(&Self::header(kind, 0o755));
        header.set_size(content.len() as u64);
        self.builder
            .append_data(&mut header, path, content)
            .unwrap();
        self
    }

    /// A file with a name of any bytes.
    pub(crate) fn raw_name(mut self, name: &[u8], content: &[u8]) -> Self {
        let mut header = Self::header(tar::EntryType::Regular, 0o644);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        self.builder.append(&header, content).unwrap();
        self
    }

    /// Records for all entries that follow.
    pub(crate) fn global(mut self, records: Pax<'_>) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = rest + (rest + 2).to_string().len();
            text.extend_from_slice(format!("{length} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        let mut header = Self::header(tar::EntryType::XGlobalHeader, 0o644);
        header.set_path("global").unwrap();
        header.set_size(text.len() as u64);
        header.set_cksum();
        self.builder.append(&header, text.as_slice()).unwrap();
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.builder.into_inner().unwrap()
    }
}

/// A scratch directory with layers and the disk made of them.
pub(crate) struct Bench {
    scratch: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.scratch.path()).unwrap().join(name)
    }

    /// Writes a layer's blob.
    pub(crate) fn blob(&self, tar: &[u8], compression: Compression) -> LayerBlob {
        let bytes = compress(tar, compression);
        let digest = Digest::of(&bytes);
        let path = self.path(&digest.to_hex());
        fs::write(&path, &bytes).unwrap();
        let size = Bytes::new(bytes.len() as u64);
        LayerBlob {
            path,
            bytes: LayerBytes::File,
            descriptor: LayerDescriptor {
                digest,
                size,
                compression,
                diff_id: Digest::of(tar),
            },
            verified: false,
        }
    }

    pub(crate) fn request(layers: Vec<LayerBlob>) -> RootfsRequest {
        RootfsRequest {
            size: Some(Bytes::from_mib(64)),
            created_unix: CREATED,
            ..RootfsRequest::new(layers)
        }
    }

    /// Builds `disk` and checks it.
    pub(crate) fn build(&self, request: &RootfsRequest) -> Result<RootfsReport, RootfsError> {
        Self::build_at(request, &self.path("disk"))
    }

    /// Builds a disk anywhere and checks it.
    pub(crate) fn build_at(
        request: &RootfsRequest,
        disk: &Utf8Path,
    ) -> Result<RootfsReport, RootfsError> {
        let built = Ext4RootfsBuilder.build(request, disk, &NoProgress, &CancellationToken::new());
        match &built {
            Ok(_) => check_disk(disk),
            Err(_) => assert!(!disk.exists(), "a failed build left its disk"),
        }
        built
    }

    /// Builds `disk` of plain layers, lowest first.
    pub(crate) fn build_layers(&self, layers: &[Vec<u8>]) -> Result<RootfsReport, RootfsError> {
        let blobs = layers
            .iter()
            .map(|layer| self.blob(layer, Compression::Gzip))
            .collect();
        self.build(&Self::request(blobs))
    }
}

pub(crate) fn compress(tar: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Gzip => gzip_members(&[tar]),
        Compression::Zstd => zstd::encode_all(tar, 3).unwrap(),
        _ => tar.to_vec(),
    }
}

/// Each part as a gzip member of its own.
pub(crate) fn gzip_members(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        bytes.extend(encoder.finish().unwrap());
    }
    bytes
}

/// Fails unless `e2fsck` finds nothing at all.
pub(crate) fn check_disk(disk: &Utf8Path) {
    let output = run("e2fsck", &["-fn", disk.as_str()]);
    assert!(
        output.status.success(),
        "e2fsck: {}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Runs a tool; a missing one fails the test.
pub(crate) fn run(program: &str, arguments: &[&str]) -> std::process::Output {
    #[expect(clippy::disallowed_methods, reason = "tools that tests compare with")]
    let output = Command::new(program).args(arguments).output();
    output
        .unwrap_or_else(|error| panic!("{program} cannot be run ({error}): use `cargo xtask test`"))
}

/// Runs a tool that must succeed.
pub(crate) fn must(program: &str, arguments: &[&str]) {
    let output = run(program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

/// A mounted file system; unmounted when dropped.
pub(crate) struct Mount {
    pub(crate) path: Utf8PathBuf,
}

impl Mount {
    pub(crate) fn new(disk: &Utf8Path, at: Utf8PathBuf, options: &str) -> Self {
        fs::create_dir(&at).unwrap();
        must("mount", &["-o", options, disk.as_str(), at.as_str()]);
        Self { path: at }
    }

    /// Memory that can neither be written directly nor have holes punched.
    pub(crate) fn ramfs(at: Utf8PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        must("mount", &["-t", "ramfs", "ramfs", at.as_str()]);
        Self { path: at }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        must("umount", &[self.path.as_str()]);
    }
}
