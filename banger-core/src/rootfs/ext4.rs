//! Building a disk: read and merge every layer, lay the tree out, fill it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
};

use camino::Utf8Path;
use mkext4::{FsBuilder, Options, RegionSink, build::ImageWriter};
use tokio_util::sync::CancellationToken;

use super::{
    RootfsBuilder, RootfsError, RootfsReport, RootfsRequest, RootfsTimings,
    layout::{Pending, Plan, layout_error, plan},
    merge::apply_layer,
    size::{BLOCK, Census},
    tree::Tree,
};
use crate::{
    domain::{Bytes, Digest, ImageSizes},
    host_fs::{IoContext as _, disk_usage, remove_tree_if_present},
    layer::{Archive, ArchiveError, Entry, Expand, LayerReader},
    oci::LayerBlob,
    progress::{ProgressEvent, ProgressSink},
};

/// Bytes written between two progress events.
const PROGRESS_STEP: u64 = 16 * Bytes::MIB;

/// Builds ext4 disks.
///
/// Each layer is read twice: for its entries, verifying the stream's digest,
/// and for the content of the files that survived the merge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ext4RootfsBuilder;

impl RootfsBuilder for Ext4RootfsBuilder {
    fn build(
        &self,
        request: &RootfsRequest,
        output: &Utf8Path,
        progress: &dyn ProgressSink,
        cancel: &CancellationToken,
    ) -> Result<RootfsReport, RootfsError> {
        let build = Build {
            request,
            progress,
            cancel,
        };
        let tree = build.merge()?;
        let census = Census::of(&tree);
        let size = chosen_size(request.size, &census)?;
        let plan = plan(&tree, request, &census, size)?;
        let written = build.write(&plan, output, &census);
        if written
            .as_ref()
            .is_err_and(|error| error.kind() != crate::ErrorKind::AlreadyExists)
        {
            remove_tree_if_present(output).map_err(RootfsError::Io)?;
        }
        written?;
        let on_disk = disk_usage(output).map_err(RootfsError::Io)?;
        Ok(RootfsReport {
            content: Bytes::new(census.content),
            metadata: Bytes::new(on_disk.get().saturating_sub(census.content)),
            entries: census.inodes,
            written: on_disk,
            timings: RootfsTimings::default(),
            sizes: ImageSizes {
                apparent: size,
                on_disk,
            },
        })
    }
}

/// The asked size, in whole blocks, if the tree fits; else the default.
fn chosen_size(asked: Option<Bytes>, census: &Census) -> Result<Bytes, RootfsError> {
    let Some(asked) = asked else {
        return Ok(census.default_size());
    };
    let size = Bytes::new(asked.get() / BLOCK * BLOCK);
    let needed = census.smallest();
    if size < needed {
        return Err(RootfsError::TooSmall {
            size: asked,
            needed,
        });
    }
    Ok(size)
}

struct Build<'a> {
    request: &'a RootfsRequest,
    progress: &'a dyn ProgressSink,
    cancel: &'a CancellationToken,
}

impl Build<'_> {
    /// A layer that was read through once reads differently only when it was
    /// changed meanwhile, or the work was given up.
    fn fill_error(&self, layer: usize, problem: String) -> RootfsError {
        if self.cancel.is_cancelled() {
            return RootfsError::Cancelled;
        }
        RootfsError::CorruptLayer {
            layer: self.request.layers[layer].descriptor.digest,
            problem,
        }
    }

    fn merge(&self) -> Result<Tree, RootfsError> {
        let mut tree = Tree::new(self.request.created_unix);
        let total = self.request.layers.len();
        let mut entries_left = self.request.limits.entries;
        for (number, layer) in self.request.layers.iter().enumerate() {
            self.progress.emit(ProgressEvent::ReadingLayers {
                done: number,
                total,
            });
            let entries = self.read_layer(layer, &mut entries_left)?;
            apply_layer(&mut tree, number, entries, self.request.created_unix).map_err(
                |error| {
                    let (path, problem) = (error.path.to_string(), error.problem);
                    RootfsError::UnusableEntry {
                        layer: layer.descriptor.digest,
                        path,
                        problem,
                    }
                },
            )?;
        }
        self.progress
            .emit(ProgressEvent::ReadingLayers { done: total, total });
        Ok(tree)
    }

    /// All entries of a layer, whose stream is the one its image names.
    fn read_layer(
        &self,
        layer: &LayerBlob,
        entries_left: &mut u64,
    ) -> Result<Vec<Entry>, RootfsError> {
        let digest = layer.descriptor.digest;
        let failed = |error| layer_error(digest, error);
        let limits = &self.request.limits;
        let compression = layer.descriptor.compression;
        let reader = LayerReader::open(&layer.path, compression, limits, self.cancel);
        let mut archive = Archive::new(reader.map_err(RootfsError::Io)?, limits);
        let mut entries = Vec::new();
        while let Some(entry) = archive.next_entry().map_err(failed)? {
            let left = entries_left.checked_sub(1);
            *entries_left = left.ok_or_else(|| entry_limit(digest, limits.entries))?;
            entries.push(entry);
        }
        let finished = archive.into_reader().finish();
        verify_diff_id(layer, finished.map_err(|error| failed(error.into()))?)?;
        Ok(entries)
    }

    fn write(&self, plan: &Plan, output: &Utf8Path, census: &Census) -> Result<(), RootfsError> {
        let file = create_disk(output, plan.layout.image_len())?;
        let mut writer = plan.layout.writer(Disk(&file)).map_err(layout_error)?;
        let mut filled = Filled {
            done: 0,
            reported: 0,
            total: census.content,
        };
        let mut source: Option<(usize, LayerReader)> = None;
        for pending in &plan.pending {
            let reader = self.source(&mut source, pending.layer)?;
            let filled_one = fill(&mut writer, reader, pending);
            filled_one.map_err(|problem| self.fill_error(pending.layer, problem))?;
            filled.report(pending.content.stored, self.progress);
        }
        writer.finish().map_err(layout_error)?;
        self.progress.emit(filled.event());
        file.sync_all().at("sync", output).map_err(RootfsError::Io)
    }

    /// The reader of a layer, opened when the last one was of another.
    fn source<'s>(
        &self,
        source: &'s mut Option<(usize, LayerReader)>,
        number: usize,
    ) -> Result<&'s mut LayerReader, RootfsError> {
        if source.as_ref().is_none_or(|(open, _)| *open != number) {
            let layer = &self.request.layers[number];
            let compression = layer.descriptor.compression;
            let limits = &self.request.limits;
            let reader = LayerReader::open_verified(&layer.path, compression, limits, self.cancel);
            *source = Some((number, reader.map_err(RootfsError::Io)?));
        }
        source
            .as_mut()
            .map(|(_, reader)| reader)
            .ok_or(RootfsError::Cancelled)
    }
}

/// Bytes filled so far.
struct Filled {
    done: u64,
    reported: u64,
    total: u64,
}

impl Filled {
    fn report(&mut self, bytes: u64, progress: &dyn ProgressSink) {
        self.done += bytes;
        if self.reported + PROGRESS_STEP <= self.done {
            self.reported = self.done;
            progress.emit(self.event());
        }
    }

    const fn event(&self) -> ProgressEvent {
        ProgressEvent::WritingDisk {
            done: Bytes::new(self.done),
            total: Bytes::new(self.total),
        }
    }
}

/// The disk's file; what is never written reads as zeros.
struct Disk<'a>(&'a File);

impl RegionSink for Disk<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zeros(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Makes an empty, journaled ext4 file system of `size` (rounded down to whole
/// blocks, at least 8 MiB) in a sparse file that must not exist. Takes
/// milliseconds whatever the size; holds up its thread.
pub fn format_empty(path: &Utf8Path, size: Bytes, uuid: [u8; 16]) -> Result<(), RootfsError> {
    let written = format(path, size, uuid);
    if written
        .as_ref()
        .is_err_and(|error| error.kind() != crate::ErrorKind::AlreadyExists)
    {
        remove_tree_if_present(path).map_err(RootfsError::Io)?;
    }
    written
}

fn format(path: &Utf8Path, size: Bytes, uuid: [u8; 16]) -> Result<(), RootfsError> {
    let size = size.get() / BLOCK * BLOCK;
    let layout = FsBuilder::new(Options::new(size, uuid, 0))
        .and_then(FsBuilder::seal)
        .map_err(layout_error)?;
    let file = create_disk(path, layout.image_len())?;
    layout
        .writer(Disk(&file))
        .and_then(ImageWriter::finish)
        .map_err(layout_error)?;
    file.sync_all().at("sync", path).map_err(RootfsError::Io)
}

fn create_disk(path: &Utf8Path, length: u64) -> Result<File, RootfsError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let file = file.at("create", path).map_err(RootfsError::Io)?;
    file.set_len(length)
        .at("size", path)
        .map_err(RootfsError::Io)?;
    Ok(file)
}

/// Copies one file's bytes to their place.
fn fill(
    writer: &mut ImageWriter<'_, Disk<'_>>,
    reader: &mut LayerReader,
    pending: &Pending,
) -> Result<(), String> {
    let ahead = pending.content.offset.checked_sub(reader.position());
    let ahead = ahead.ok_or("its entries overlap")?;
    reader.skip(ahead).map_err(|error| error.to_string())?;
    let mut stored = reader.by_ref().take(pending.content.stored);
    let filled = match (&pending.content.runs, &pending.blocks) {
        (Some(runs), Some(blocks)) => {
            writer.fill(pending.handle, &mut Expand::new(stored, runs, blocks))
        }
        _ => writer.fill(pending.handle, &mut stored),
    };
    filled.map_err(|error| error.to_string())
}

fn verify_diff_id(layer: &LayerBlob, actual: Option<Digest>) -> Result<(), RootfsError> {
    let expected = layer.descriptor.diff_id;
    match actual {
        Some(actual) if actual != expected => Err(RootfsError::WrongDiffId {
            layer: layer.descriptor.digest,
            expected,
            actual,
        }),
        _ => Ok(()),
    }
}

fn layer_error(layer: Digest, error: ArchiveError) -> RootfsError {
    match error {
        ArchiveError::Cancelled => RootfsError::Cancelled,
        ArchiveError::Corrupt(problem) => RootfsError::CorruptLayer { layer, problem },
        ArchiveError::Limit(limit) => RootfsError::Limit { layer, limit },
        ArchiveError::Entry { path, problem } => RootfsError::UnusableEntry {
            layer,
            path,
            problem,
        },
    }
}

fn entry_limit(layer: Digest, limit: u64) -> RootfsError {
    RootfsError::Limit {
        layer,
        limit: format!("entries ({limit})"),
    }
}
