//! What is on disks of images.

use banger_api::v1::{self, ImageChange, ImageFileKind, ImageFileProperty};
use banger_core::{
    disk::{Change, Difference, DiskEntry, EntryType},
    domain::{Bytes, Digest},
    image::{PrunedBlob, PrunedCache},
};

use super::parse;
use crate::Failure;

pub(in crate::services) fn digest(what: &str, text: &str) -> Result<Digest, Failure> {
    parse(what, text)
}

pub(in crate::services) fn disk_entry(file: v1::ImageFile) -> Result<DiskEntry, Failure> {
    let kind = match file.kind() {
        ImageFileKind::Directory => EntryType::Directory,
        ImageFileKind::Regular => EntryType::File,
        ImageFileKind::Symlink => EntryType::Symlink,
        ImageFileKind::CharacterDevice => EntryType::CharDevice,
        ImageFileKind::BlockDevice => EntryType::BlockDevice,
        ImageFileKind::Fifo => EntryType::Fifo,
        ImageFileKind::Socket => EntryType::Socket,
        ImageFileKind::Unspecified => return Err(confused("a file has no known kind")),
    };
    let time = file.modify_time.unwrap_or_default();
    let nanoseconds = u32::try_from(time.nanos);
    let mode = u16::try_from(file.mode);
    Ok(DiskEntry {
        path: file.path.into(),
        kind,
        mode: mode.map_err(|_| confused("a file has no possible mode"))?,
        uid: file.uid,
        gid: file.gid,
        size: file.size_bytes,
        modified: (
            time.seconds,
            nanoseconds.map_err(|_| confused("a file has no possible time"))?,
        ),
        target: (kind == EntryType::Symlink).then(|| file.target.into()),
    })
}

fn confused(problem: &str) -> Failure {
    Failure::confused("an image's disk", problem)
}

pub(in crate::services) fn difference(
    difference: v1::ImageDifference,
) -> Result<Difference, Failure> {
    let change = match difference.change() {
        ImageChange::Added => Change::Added,
        ImageChange::Deleted => Change::Deleted,
        ImageChange::Changed => Change::Changed,
        ImageChange::Unspecified => return Err(confused("a path has no known change")),
    };
    Ok(Difference {
        change,
        properties: difference.properties().filter_map(property).collect(),
        path: difference.path.into(),
    })
}

/// The core's word for a property; none for one that a newer server has.
const fn property(property: ImageFileProperty) -> Option<&'static str> {
    match property {
        ImageFileProperty::Unspecified => None,
        ImageFileProperty::Kind => Some("type"),
        ImageFileProperty::Mode => Some("mode"),
        ImageFileProperty::Owner => Some("owner"),
        ImageFileProperty::Time => Some("time"),
        ImageFileProperty::Target => Some("target"),
        ImageFileProperty::Size => Some("size"),
        ImageFileProperty::Content => Some("content"),
    }
}

pub(in crate::services) fn pruned(pruned: v1::PrunedImageCache) -> Result<PrunedCache, Failure> {
    let blob = |blob: v1::PrunedBlob| {
        Ok(PrunedBlob {
            digest: digest("a blob", &blob.digest)?,
            size: Bytes::new(blob.size_bytes),
            is_partial: blob.partial,
        })
    };
    let removed = pruned.blobs.into_iter().map(blob);
    Ok(PrunedCache {
        removed: removed.collect::<Result<_, Failure>>()?,
        freed: Bytes::new(pruned.freed_bytes),
        kept: Bytes::new(pruned.kept_bytes),
    })
}
