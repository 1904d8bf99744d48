//! Building a disk: content first, as it arrives; the file system's structures
//! last, in one sweep.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    time::Instant,
};

use camino::Utf8Path;
use rustix::fs::{FallocateFlags, fallocate};
use tokio_util::sync::CancellationToken;

use super::{
    RootfsBuilder, RootfsError, RootfsReport, RootfsRequest, RootfsTimings,
    assemble::{Assembled, Assembly},
    output::with_output,
    size::{chosen_size, surely_fits},
    view::View,
};
use crate::{
    domain::{Bytes, Digest, ImageSizes},
    ext4::{self, BLOCK_SIZE, Ext4Error, Plan, Run, Timestamp},
    host_fs::{FileLock, IoContext as _, PathError, disk_usage, remove_tree_if_present},
    progress::{ProgressEvent, ProgressSink},
    step::reached,
};

/// How large a disk may become whose size is not given.
pub(super) const LARGEST: Bytes = Bytes::new(1 << 40);

/// Builds ext4 disks.
///
/// Each layer is read once: verified, inflated, and its files put into their
/// places, all at the same time. Only when a size is asked for that may be too
/// small are the layers read through before, so that nothing is written in
/// vain.
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
        let options = options(request);
        let build = Build {
            assembly: Assembly {
                request,
                options: &options,
                progress,
                cancel,
            },
            output,
        };
        build.survey()?;
        with_new_disk(output, |disk| build.write(disk))
    }
}

/// Makes an empty, journaled ext4 file system of `size` (rounded down to whole
/// blocks, at least 8 MiB) in a sparse file that must not exist. Takes
/// milliseconds whatever the size; holds up its thread.
pub fn format_empty(path: &Utf8Path, size: Bytes, uuid: [u8; 16]) -> Result<(), RootfsError> {
    let size = whole_blocks(size);
    let options = ext4::Options {
        uuid,
        hash_seed: uuid,
        created: Timestamp::default(),
        journal: true,
        largest: size.get(),
    };
    with_new_disk(path, |disk| {
        disk.set_len(size.get()).at("size", path)?;
        let formatted = ext4::format_empty(&options, size.get(), disk);
        formatted.map_err(|error| disk_error(error, size, path, |_| "/".to_owned()))?;
        disk.sync_all().at("sync", path)?;
        Ok(())
    })
}

/// Makes a file for `work` to fill, and removes it again when that fails.
pub(super) fn with_new_disk<T>(
    path: &Utf8Path,
    work: impl FnOnce(&File) -> Result<T, RootfsError>,
) -> Result<T, RootfsError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(path);
    let file = file.at("create", path)?;
    // says that somebody works on it; a file just made is nobody else's
    let _lock = FileLock::try_acquire_existing(path)?;
    reached("made the file of a root disk");
    let worked = work(&file);
    if worked.is_err() {
        remove_tree_if_present(path)?;
    }
    worked
}

fn options(request: &RootfsRequest) -> ext4::Options {
    let identity = identity(request);
    let (uuid, hash_seed) = halves(identity.as_bytes());
    ext4::Options {
        uuid: version_8(uuid),
        hash_seed,
        created: Timestamp {
            seconds: request.created_unix.clamp(0, i64::from(u32::MAX)),
            nanoseconds: 0,
        },
        journal: request.journal,
        largest: request.size.map_or(LARGEST, whole_blocks).get(),
    }
}

/// What UUID and hash seed are derived from: the layers' content, however they
/// are compressed.
fn identity(request: &RootfsRequest) -> Digest {
    let diff_ids = request.layers.iter().map(|layer| layer.descriptor.diff_id);
    let chain: Vec<[u8; 32]> = diff_ids.map(|digest| *digest.as_bytes()).collect();
    Digest::of(&chain.concat())
}

fn halves(bytes: &[u8; 32]) -> ([u8; 16], [u8; 16]) {
    let mut halves = ([0; 16], [0; 16]);
    halves.0.copy_from_slice(&bytes[..16]);
    halves.1.copy_from_slice(&bytes[16..]);
    halves
}

/// A version 8 UUID (RFC 9562, 5.8).
const fn version_8(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

const fn whole_blocks(size: Bytes) -> Bytes {
    Bytes::new(size.get() / BLOCK_SIZE * BLOCK_SIZE)
}

/// One disk on its way.
struct Build<'a> {
    assembly: Assembly<'a>,
    output: &'a Utf8Path,
}

impl Build<'_> {
    /// Refuses an asked size that is too small before a byte is written.
    fn survey(&self) -> Result<(), RootfsError> {
        let request = self.assembly.request;
        let Some(size) = request.size else {
            return Ok(());
        };
        if surely_fits(&request.layers, size) {
            return Ok(());
        }
        let assembled = with_output(None, |output| self.assembly.run(output));
        let assembled = assembled.at("write", self.output)??;
        let plan = self.plan(&assembled)?;
        chosen_size(request.size, assembled.content, plan.smallest())?;
        Ok(())
    }

    fn plan<'t>(&self, assembled: &'t Assembled) -> Result<Plan<'t, View>, RootfsError> {
        let options = self.assembly.options;
        let planned = Plan::new(options, assembled.allocator.clone(), &assembled.view);
        planned.map_err(|error| self.failed(error, assembled))
    }

    fn failed(&self, error: Ext4Error, assembled: &Assembled) -> RootfsError {
        let size = self.assembly.request.size.unwrap_or(LARGEST);
        disk_error(error, size, self.output, |inode| assembled.view.path(inode))
    }

    fn write(&self, disk: &File) -> Result<RootfsReport, RootfsError> {
        let wrote = with_output(Some(disk), |output| {
            let assembled = self.assembly.run(output);
            assembled.map(|assembled| (assembled, output.written()))
        });
        let (assembled, content_written) = wrote.at("write", self.output)??;
        let planning = Instant::now();
        for run in &assembled.dead {
            erase(disk, *run).at("write", self.output)?;
        }
        let plan = self.plan(&assembled)?;
        let asked = self.assembly.request.size;
        let size = chosen_size(asked, assembled.content, plan.smallest())?;
        disk.set_len(size.get()).at("size", self.output)?;
        let summary = plan.write(size.get(), disk);
        let summary = summary.map_err(|error| self.failed(error, &assembled))?;
        let timings = self.sync(disk, &assembled, planning)?;
        self.report_end(&assembled);
        Ok(RootfsReport {
            content: Bytes::new(assembled.content),
            stored: Bytes::new(assembled.stored),
            metadata: Bytes::new(summary.metadata_bytes),
            entries: assembled.view.entry_count(),
            sizes: ImageSizes {
                apparent: size,
                on_disk: disk_usage(self.output)?,
            },
            written: Bytes::new(content_written + summary.metadata_bytes),
            timings,
        })
    }

    fn sync(
        &self,
        disk: &File,
        assembled: &Assembled,
        planning: Instant,
    ) -> Result<RootfsTimings, RootfsError> {
        let metadata = planning.elapsed();
        let syncing = Instant::now();
        disk.sync_all().at("sync", self.output)?;
        let (layers, merge) = assembled.timings;
        Ok(RootfsTimings {
            layers,
            merge,
            metadata,
            sync: syncing.elapsed(),
        })
    }

    fn report_end(&self, assembled: &Assembled) {
        let content = Bytes::new(assembled.content);
        self.assembly.progress.emit(ProgressEvent::WritingDisk {
            done: content,
            total: content,
        });
    }
}

/// Takes back what was written to blocks that are free after all.
fn erase(disk: &File, run: Run) -> io::Result<()> {
    let (offset, length) = (run.start * BLOCK_SIZE, run.length * BLOCK_SIZE);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if fallocate(disk, punch, offset, length).is_ok() {
        return Ok(());
    }
    // not every file system can punch holes
    let zeros = vec![0; 1 << 20];
    let mut at = offset;
    while at < offset + length {
        let now = (offset + length - at).min(zeros.len() as u64);
        disk.write_all_at(&zeros[..usize::try_from(now).unwrap_or(0)], at)?;
        at += now;
    }
    Ok(())
}

pub(super) fn disk_error(
    error: Ext4Error,
    size: Bytes,
    path: &Utf8Path,
    path_of: impl FnOnce(usize) -> String,
) -> RootfsError {
    match error {
        Ext4Error::TooSmall { needed } => RootfsError::TooSmall {
            size,
            needed: Bytes::new(needed),
        },
        Ext4Error::TooLarge { largest } => RootfsError::TooLarge {
            largest: Bytes::new(largest),
        },
        Ext4Error::Inode { inode, problem } => RootfsError::Unrepresentable {
            path: path_of(inode),
            problem: problem.to_string(),
        },
        Ext4Error::Io(error) => RootfsError::Io(PathError::new("write", path, error)),
    }
}

impl From<PathError> for RootfsError {
    fn from(error: PathError) -> Self {
        Self::Io(error)
    }
}
