//! Saving an image: its disk's tree and its configuration as an archive that
//! other tools read.
//!
//! Invariants: the disk is only read, and is untrusted; what is written is
//! bounded by the limits that loading has; the same disk and record make the
//! same bytes; memory does not grow with the content. A file appears whole, by
//! rename; a stream gets what there is. A crash leaves at most the file in the
//! making, which the next save to the same place takes over.
//! Entry points: [`SaveRequest`], [`SavedImage`], [`write_tree`], [`write_archive`].

mod archive;
mod error;
mod tar;
mod tree;

use std::{
    fs::{File, Metadata},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
};

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use super::LocalImageManager;
use crate::{
    directories::Directories,
    disk::{DiskError, volume::Volume},
    domain::{Bytes, Digest, Image, ImageName, Selector},
    host_fs::{IoContext as _, PathError},
    layer::RootfsLimits,
    oci::Platform,
    task::attended,
};

pub use crate::host_fs::Output as SaveOutput;
pub use error::SaveError;
use tree::{Tree, TreeSummary};

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 18;

/// The form of a saved image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFormat {
    /// An OCI layout in a tar file (OCI image-spec, `image-layout.md`), with
    /// one gzip layer.
    OciArchive,
    /// What `docker save` makes, with one plain layer.
    DockerArchive,
    /// The tree alone.
    RootfsTar,
}

impl SaveFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::OciArchive, Self::DockerArchive, Self::RootfsTar];

    /// The format's name, as in image references.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::RootfsTar => "rootfs-tar",
        }
    }
}

/// How an image is saved.
#[derive(Clone, Debug)]
pub struct SaveRequest {
    /// In which form.
    pub format: SaveFormat,
    /// Where to.
    pub output: SaveOutput,
}

/// An image that was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedImage {
    /// The image.
    pub image: Image,
    /// Bytes that were written.
    pub size: Bytes,
    /// Digest of the manifest in an OCI archive, of the configuration in a
    /// docker archive, of the whole file of a tree.
    pub digest: Digest,
    /// Sockets, which archives cannot hold: they were left out.
    pub sockets: u64,
}

pub(super) async fn save(
    manager: &LocalImageManager,
    selector: &Selector,
    request: SaveRequest,
) -> Result<SavedImage, SaveError> {
    let saving = Saving {
        image: manager.find(selector).await?,
        directories: manager.options.directories.clone(),
        platform: manager.options.platform.clone(),
        limits: manager.options.limits,
        format: request.format,
    };
    attended(move |cancel| saving.save(&request.output, cancel)).await
}

/// Writes the archive of that image to its output, whoever makes it: a file appears
/// whole, or not at all. Holds up its thread.
pub fn write_archive<T>(
    output: &SaveOutput,
    image: &ImageName,
    write: impl FnOnce(&mut dyn Write) -> Result<T, SaveError>,
) -> Result<T, SaveError> {
    output.put(|problem| SaveError::of_output(image, problem), write)
}

/// One image on its way out.
struct Saving {
    image: Image,
    directories: Directories,
    platform: Platform,
    limits: RootfsLimits,
    format: SaveFormat,
}

impl Saving {
    fn save(
        &self,
        output: &SaveOutput,
        cancel: &CancellationToken,
    ) -> Result<SavedImage, SaveError> {
        write_archive(output, &self.image.name, |writer| {
            self.write(writer, cancel)
        })
    }

    /// Writes the archive, unless somebody changes the disk meanwhile.
    fn write(
        &self,
        output: &mut dyn Write,
        cancel: &CancellationToken,
    ) -> Result<SavedImage, SaveError> {
        let path = &self.image.rootfs;
        let disk = File::open(path).at("open", path);
        let disk = disk.map_err(|error| self.io(error))?;
        let watched = disk.try_clone().at("open", path);
        let watched = watched.map_err(|error| self.io(error))?;
        let before = self.version(&watched)?;
        let volume = Volume::open(disk, path)?;
        let tree = Tree {
            volume: &volume,
            limits: &self.limits,
            is_layer: self.format != SaveFormat::RootfsTar,
            cancel,
        };
        let (size, digest, summary) = match self.format {
            SaveFormat::RootfsTar => tar_file(&tree, output)?,
            _ => archive::write(self, &tree, output)?,
        };
        if self.version(&watched)? != before {
            return Err(SaveError::Changed {
                name: self.image.name.clone(),
            });
        }
        Ok(SavedImage {
            image: self.image.clone(),
            size: Bytes::new(size),
            digest,
            sockets: summary.sockets,
        })
    }

    fn version(&self, disk: &File) -> Result<(u64, i64, i64), SaveError> {
        let metadata: Metadata = disk
            .metadata()
            .at("inspect", &self.image.rootfs)
            .map_err(|error| self.io(error))?;
        Ok((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }

    fn io(&self, source: PathError) -> SaveError {
        SaveError::Io {
            name: self.image.name.clone(),
            source,
        }
    }
}

/// Writes the tree of the ext4 file system in `disk` as a tar stream, and
/// answers how many sockets were left out. Holds up its thread; cancelling
/// leaves the stream cut off.
pub fn write_tree(
    disk: &Utf8Path,
    limits: &RootfsLimits,
    cancel: &CancellationToken,
    output: &mut dyn Write,
) -> Result<u64, SaveError> {
    let file = File::open(disk).map_err(|source| DiskError::Io {
        disk: disk.to_owned(),
        source,
    })?;
    let volume = Volume::open(file, disk)?;
    let tree = Tree {
        volume: &volume,
        limits,
        is_layer: false,
        cancel,
    };
    Ok(tree.write(output)?.sockets)
}

fn tar_file(
    tree: &Tree<'_>,
    output: &mut dyn Write,
) -> Result<(u64, Digest, TreeSummary), SaveError> {
    let mut measured = Measured::new(output);
    let summary = tree.write(&mut measured)?;
    let (size, digest) = measured.finish();
    Ok((size, digest, summary))
}

/// Counts and hashes what is written through it.
struct Measured<W> {
    inner: W,
    hasher: sha2::Sha256,
    length: u64,
}

impl<W: Write> Measured<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: sha2::Digest::new(),
            length: 0,
        }
    }

    fn finish(self) -> (u64, Digest) {
        let digest: [u8; 32] = sha2::Digest::finalize(self.hasher).into();
        (self.length, Digest::from_bytes(digest))
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        sha2::Digest::update(&mut self.hasher, &bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
