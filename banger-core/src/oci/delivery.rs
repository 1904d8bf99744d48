//! Files of this host that hold images, bundles or kernels, as streams of bytes for
//! somebody elsewhere.
//!
//! Invariants: a file is read once, from its start to its end, and never held; a layout
//! becomes an archive on the way, without a file in between. Entry points: [`Delivery`].

use std::{
    fs::File,
    io::{self, Read as _, Write},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use tar_core::{EntryType, builder::EntryBuilder};
use tokio_util::sync::CancellationToken;

use super::{
    ImageReference, SourceError,
    archive_file::ArchiveFile,
    layout_files::{DirectoryFiles, LayoutFiles as _},
    problem::Problem,
    rootfs_tar::read_patiently,
};
use crate::host_fs::{FileRange, IoContext as _, PathError};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;
const BLOCK: usize = 512;
/// The directory of a layout's blobs.
const BLOBS: &str = "blobs";

/// What is to be read.
#[derive(Debug)]
pub struct Delivery {
    /// How it is called in messages.
    path: Utf8PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Files, one after the other.
    Parts(Vec<FileRange>),
    /// A pipe, which is read to its end.
    Pipe(Arc<File>),
    Layout,
}

/// Why not all of it came.
#[derive(Debug)]
pub enum Undelivered {
    /// It cannot be read.
    Read(PathError),
    /// Nobody takes it.
    Write(io::Error),
}

impl Delivery {
    /// What the reference names on this host; none of what is in a registry. Of a
    /// layout that is all of it, as an archive. Holds up its thread for a moment.
    pub fn of_image(
        reference: &ImageReference,
        standard_input: Option<&Arc<File>>,
    ) -> Result<Option<Self>, SourceError> {
        let path = match reference {
            ImageReference::Registry(_) => return Ok(None),
            ImageReference::Layout(layout) => {
                let path = layout.directory().to_owned();
                if !path.is_dir() {
                    let reference = reference.to_string();
                    return Err(SourceError::NotFound { reference });
                }
                let content = Content::Layout;
                return Ok(Some(Self { path, content }));
            }
            ImageReference::OciArchive(archive) => archive.file(),
            ImageReference::DockerArchive(archive) => archive.file(),
            ImageReference::RootfsTar(tar) => match tar.file() {
                Some(file) => file,
                None => return of_input(reference, standard_input).map(Some),
            },
        };
        let file = ArchiveFile::unread(reference.to_string(), path).open()?;
        Ok(Some(Self::of_range(path, file)))
    }

    /// A file that is open.
    pub(crate) fn of_range(path: &Utf8Path, file: FileRange) -> Self {
        Self::of_parts(path, vec![file])
    }

    /// Files that are open, one after the other.
    pub(crate) fn of_parts(path: &Utf8Path, parts: Vec<FileRange>) -> Self {
        Self {
            path: path.to_owned(),
            content: Content::Parts(parts),
        }
    }

    /// Writes all of it. Holds up its thread; ends soon after `cancelled` was.
    pub fn write_to(
        &self,
        output: &mut dyn Write,
        cancelled: &CancellationToken,
    ) -> Result<(), Undelivered> {
        match &self.content {
            Content::Parts(parts) => {
                for part in parts {
                    let mut reader = part.reader();
                    self.copy(output, cancelled, |buffer| reader.read(buffer))?;
                }
                Ok(())
            }
            Content::Pipe(pipe) => {
                let read = |buffer: &mut [u8]| read_patiently(pipe, buffer, cancelled);
                self.copy(output, cancelled, read).map(drop)
            }
            Content::Layout => self.write_layout(output, cancelled),
        }
    }

    /// Answers how many bytes there were.
    fn copy(
        &self,
        output: &mut dyn Write,
        cancelled: &CancellationToken,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<u64, Undelivered> {
        let (mut buffer, mut total) = (vec![0; BUFFER], 0);
        loop {
            if cancelled.is_cancelled() {
                return Err(Undelivered::Write(io::ErrorKind::Interrupted.into()));
            }
            let length = match read(&mut buffer) {
                Ok(0) => return Ok(total),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let error = PathError::new("read", &self.path, error);
                    return Err(Undelivered::Read(error));
                }
            };
            let written = output.write_all(&buffer[..length]);
            written.map_err(Undelivered::Write)?;
            total += length as u64;
        }
    }

    fn write_layout(
        &self,
        output: &mut dyn Write,
        cancelled: &CancellationToken,
    ) -> Result<(), Undelivered> {
        let names = layout_names(&self.path).map_err(Undelivered::Read)?;
        let files = DirectoryFiles(self.path.clone());
        for name in names {
            // what is missing or no file, whoever reads the archive complains of
            let Ok(file) = files.open(&name) else {
                continue;
            };
            let headers = headers(&name, file.length()).map_err(Undelivered::Write)?;
            output.write_all(&headers).map_err(Undelivered::Write)?;
            let mut reader = file.reader();
            let copied = self.copy(output, cancelled, |buffer| reader.read(buffer))?;
            if copied != file.length() {
                let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                let error = PathError::new("read", &self.path.join(name), error);
                return Err(Undelivered::Read(error));
            }
            let within = usize::try_from(copied % BLOCK as u64).unwrap_or(0);
            let padding = &[0; BLOCK][..(BLOCK - within) % BLOCK];
            output.write_all(padding).map_err(Undelivered::Write)?;
        }
        let end = [0; 2 * BLOCK];
        output.write_all(&end).map_err(Undelivered::Write)
    }
}

/// What `rootfs-tar:-` means.
fn of_input(
    reference: &ImageReference,
    standard_input: Option<&Arc<File>>,
) -> Result<Delivery, SourceError> {
    let path = Utf8Path::new("standard input");
    let file = ArchiveFile::unread(reference.to_string(), path);
    let Some(input) = standard_input else {
        let problem = "no standard input was handed in".to_owned();
        return Err(file.refused(Problem::Unsupported(problem)));
    };
    let inspected = input.metadata().at("inspect", path);
    if !inspected.map_err(|error| file.io(error))?.is_file() {
        return Ok(Delivery {
            path: path.to_owned(),
            content: Content::Pipe(Arc::clone(input)),
        });
    }
    let whole = FileRange::whole(Arc::clone(input)).at("inspect", path);
    let whole = whole.map_err(|error| file.io(error))?;
    Ok(Delivery::of_range(path, whole))
}

/// The files of a layout: what says that it is one, its index, and every blob.
fn layout_names(directory: &Utf8Path) -> Result<Vec<String>, PathError> {
    let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
    let blobs = directory.join(BLOBS);
    for algorithm in entries(&blobs)? {
        let mut digests = entries(&blobs.join(&algorithm))?;
        digests.sort_unstable();
        let paths = digests
            .iter()
            .map(|one| format!("{BLOBS}/{algorithm}/{one}"));
        names.extend(paths);
    }
    Ok(names)
}

/// The names in a directory; none of what is none.
fn entries(directory: &Utf8Path) -> Result<Vec<String>, PathError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in directory.read_dir_utf8().at("read directory", directory)? {
        let entry = entry.at("read directory", directory)?;
        names.push(entry.file_name().to_owned());
    }
    Ok(names)
}

fn headers(name: &str, size: u64) -> io::Result<Vec<u8>> {
    let mut entry = EntryBuilder::new_ustar();
    entry.entry_type(EntryType::Regular);
    entry.path(name);
    let filled = (|| {
        entry.mode(0o644)?.uid(0)?.gid(0)?;
        entry.size(size)?.mtime(0)?;
        Ok::<_, tar_core::HeaderError>(())
    })();
    filled.map_err(io::Error::other)?;
    Ok(entry.finish_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_layout_is_delivered_as_the_archive_of_it() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        fs::write(root.join("oci-layout"), "{}").unwrap();
        fs::write(root.join("blobs/sha256/aa"), vec![7; 100_000]).unwrap();
        fs::write(root.join("blobs/sha256/bb"), "").unwrap();
        let reference = format!("oci:{root}:tag").parse().unwrap();
        let delivery = Delivery::of_image(&reference, None).unwrap().unwrap();
        let (mut archive, cancelled) = (Vec::new(), CancellationToken::new());
        delivery.write_to(&mut archive, &cancelled).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let found = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            (path, entry.size())
        });
        let expected = [
            ("oci-layout", 2),
            ("blobs/sha256/aa", 100_000),
            ("blobs/sha256/bb", 0),
        ];
        let expected = expected.map(|(path, size)| (path.to_owned(), size));
        assert_eq!(found.collect::<Vec<_>>(), expected);

        cancelled.cancel();
        let given_up = delivery.write_to(&mut Vec::new(), &cancelled);
        assert!(matches!(given_up, Err(Undelivered::Write(_))));
        let reference = format!("oci:{root}/none:tag").parse().unwrap();
        let missing = Delivery::of_image(&reference, None).unwrap_err();
        assert!(matches!(missing, SourceError::NotFound { .. }));
    }
}
