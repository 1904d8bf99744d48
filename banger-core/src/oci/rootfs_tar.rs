//! A tree in a tar file as an image of one layer: `rootfs-tar:`.
//!
//! There is no configuration: the image runs a shell. Its digests are those of
//! its bytes, computed in a pass of their own, since the disk's identity
//! follows from them; whoever builds the disk compares them again.
//! Invariants: standard input is read only where it was handed in.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    sync::Arc,
};

use async_trait::async_trait;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::read,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{
    Compression, ImageSource, LayerBlob, LayerBytes, LayerDescriptor, Platform, ResolvedImage,
    RootfsTarReference, SourceError, SourceOptions, archive_file::ArchiveFile, document::MAX_LAYER,
    members::unreadable, problem::Problem,
};
use crate::{
    domain::{Bytes, Digest, RunConfig},
    host_fs::{FileRange, IoContext as _},
    layer::{Archive, LayerReader, RootfsLimits},
    progress::{ProgressEvent, ProgressSink},
    task::attended,
};

/// What an image without a configuration runs.
const SHELL: &str = "/bin/sh";
/// Bytes inflated at once.
const BUFFER: usize = 1 << 18;
/// How long a pipe is waited for before the caller's patience is looked at.
const PIPE_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A tree in a tar file.
#[derive(Debug)]
pub(super) struct RootfsTarSource {
    tar: Arc<RootfsTar>,
    layer: OnceCell<LayerBlob>,
}

#[derive(Debug)]
struct RootfsTar {
    file: ArchiveFile,
    /// Whether it is the standard input that is meant.
    is_input: bool,
    input: Option<Arc<File>>,
}

impl RootfsTarSource {
    pub(super) fn new(reference: &RootfsTarReference, options: &SourceOptions) -> Self {
        let path = reference.file().unwrap_or_else(|| "standard input".into());
        let tar = RootfsTar {
            file: ArchiveFile::new(reference.to_string(), path, options)
                .brought_to(reference.brought.as_ref()),
            is_input: reference.file().is_none() && reference.brought.is_none(),
            input: options.standard_input.clone(),
        };
        Self {
            tar: Arc::new(tar),
            layer: OnceCell::new(),
        }
    }

    /// The layer, read when it is first asked for.
    async fn layer(&self) -> Result<&LayerBlob, SourceError> {
        let tar = Arc::clone(&self.tar);
        self.layer
            .get_or_try_init(|| attended(move |cancel| tar.layer(cancel)))
            .await
    }
}

impl RootfsTar {
    fn layer(&self, cancel: &CancellationToken) -> Result<LayerBlob, SourceError> {
        let bytes = if self.is_input {
            self.standard_input(cancel)?
        } else {
            self.file.open()?
        };
        let compression = self.file.compression(&bytes, "it")?;
        self.check_start(&bytes, compression, cancel)?;
        let descriptor = self.measure(&bytes, compression, cancel)?;
        Ok(LayerBlob {
            path: self.file.path.clone(),
            bytes: LayerBytes::Range(bytes),
            descriptor,
            verified: false,
        })
    }

    /// What was handed in: in place if it is a file, else kept in one.
    fn standard_input(&self, cancel: &CancellationToken) -> Result<FileRange, SourceError> {
        let Some(input) = &self.input else {
            let problem = "no standard input was handed in".to_owned();
            return Err(self.file.refused(Problem::Unsupported(problem)));
        };
        let inspected = input.metadata().at("inspect", &self.file.path);
        if inspected.map_err(|error| self.file.io(error))?.is_file() {
            let whole = FileRange::whole(Arc::clone(input)).at("inspect", &self.file.path);
            return whole.map_err(|error| self.file.io(error));
        }
        let mut drained = 0_u64;
        self.file.spool(|buffer| {
            let length = read_patiently(input, buffer, cancel).at("read", &self.file.path);
            let length = length.map_err(|error| self.file.io(error))?;
            drained += length as u64;
            if MAX_LAYER < drained {
                let problem = "it has more than 64 GiB".to_owned();
                return Err(self.file.refused(Problem::Limit(problem)));
            }
            Ok(length)
        })
    }

    fn reader(
        &self,
        bytes: &FileRange,
        compression: Compression,
        cancel: &CancellationToken,
    ) -> Result<LayerReader, SourceError> {
        let limits = RootfsLimits::default();
        let reader = LayerReader::of_range(bytes, compression, &limits, cancel);
        let reader = reader.at("read", &self.file.path);
        reader.map_err(|error| self.file.io(error))
    }

    /// Refuses what is no tar file, or one of nothing: a pipe whose writer
    /// failed gives no bytes.
    fn check_start(
        &self,
        bytes: &FileRange,
        compression: Compression,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        let reader = BufReader::new(self.reader(bytes, compression, cancel)?);
        let first = Archive::new(reader, &RootfsLimits::default()).next_entry();
        match first.map_err(|error| self.file.refused(unreadable(error)))? {
            Some(_) => Ok(()),
            None => Err(self.file.malformed("it is a tar archive of nothing")),
        }
    }

    fn measure(
        &self,
        bytes: &FileRange,
        compression: Compression,
        cancel: &CancellationToken,
    ) -> Result<LayerDescriptor, SourceError> {
        let mut reader = self.reader(bytes, compression, cancel)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        let digest = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break reader.finish(),
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) => break Err(error),
            }
        };
        let diff_id = Digest::from_bytes(hasher.finalize().into());
        let digest = digest.map_err(|error| self.file.not_inflated(error))?;
        Ok(LayerDescriptor {
            digest: digest.unwrap_or(diff_id),
            size: Bytes::new(bytes.length()),
            compression,
            diff_id,
        })
    }
}

/// Reads what a pipe has; waits for it, but not when the work was given up.
pub(super) fn read_patiently(
    input: &File,
    buffer: &mut [u8],
    cancel: &CancellationToken,
) -> io::Result<usize> {
    loop {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut waited = [PollFd::new(input, PollFlags::IN)];
        match poll(&mut waited, Some(&PIPE_PAUSE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match read(input, &mut *buffer) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            read => return Ok(read?),
        }
    }
}

#[async_trait]
impl ImageSource for RootfsTarSource {
    async fn resolve(&self, _: &Platform) -> Result<ResolvedImage, SourceError> {
        let layer = self.layer().await?;
        Ok(ResolvedImage {
            root: layer.descriptor.digest,
            manifest: layer.descriptor.digest,
            layers: vec![layer.descriptor.clone()],
            run_config: RunConfig {
                cmd: vec![SHELL.to_owned()],
                ..RunConfig::default()
            },
            created_unix: None,
        })
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        let layer = self.layer().await?;
        let blobs = layers.iter().map(|descriptor| {
            if *descriptor != layer.descriptor {
                let problem = format!("it has no layer {}", descriptor.digest);
                return Err(self.tar.file.malformed(problem));
            }
            progress.emit(ProgressEvent::LayerCached {
                layer: descriptor.digest,
            });
            Ok(layer.clone())
        });
        blobs.collect()
    }
}
