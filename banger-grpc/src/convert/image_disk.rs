//! What is on disks of images.

use banger_api::v1::{self, ImageChange, ImageFileKind, ImageFileProperty};
use banger_core::{
    disk::{Change, Difference, DiskEntry, EntryType},
    image::{PrunedCache, SaveFormat},
};

/// Most blobs that are told of.
const MAX_BLOBS: usize = 10_000;

pub(crate) fn file(entry: DiskEntry) -> v1::ImageFile {
    let kind = match entry.kind {
        EntryType::Directory => ImageFileKind::Directory,
        EntryType::File => ImageFileKind::Regular,
        EntryType::Symlink => ImageFileKind::Symlink,
        EntryType::CharDevice => ImageFileKind::CharacterDevice,
        EntryType::BlockDevice => ImageFileKind::BlockDevice,
        EntryType::Fifo => ImageFileKind::Fifo,
        EntryType::Socket => ImageFileKind::Socket,
    };
    let (seconds, nanoseconds) = entry.modified;
    v1::ImageFile {
        path: entry.path.into(),
        kind: kind.into(),
        mode: entry.mode.into(),
        uid: entry.uid,
        gid: entry.gid,
        size_bytes: entry.size,
        modify_time: Some(prost_types::Timestamp {
            seconds,
            nanos: i32::try_from(nanoseconds).unwrap_or(0),
        }),
        target: entry.target.unwrap_or_default().into(),
    }
}

pub(crate) fn difference(difference: Difference) -> v1::ImageDifference {
    let change = match difference.change {
        Change::Added => ImageChange::Added,
        Change::Deleted => ImageChange::Deleted,
        Change::Changed => ImageChange::Changed,
    };
    let properties = difference.properties.into_iter().map(property);
    v1::ImageDifference {
        path: difference.path.into(),
        change: change.into(),
        properties: properties.map(Into::into).collect(),
    }
}

fn property(name: &str) -> ImageFileProperty {
    match name {
        "type" => ImageFileProperty::Kind,
        "mode" => ImageFileProperty::Mode,
        "owner" => ImageFileProperty::Owner,
        "time" => ImageFileProperty::Time,
        "target" => ImageFileProperty::Target,
        "size" => ImageFileProperty::Size,
        "content" => ImageFileProperty::Content,
        _ => ImageFileProperty::Unspecified,
    }
}

/// The sort of archive that a client asks for; none when that is none, or a bundle.
pub(crate) const fn format(format: v1::ImageArchiveFormat) -> Option<SaveFormat> {
    match format {
        v1::ImageArchiveFormat::Unspecified | v1::ImageArchiveFormat::Bundle => None,
        v1::ImageArchiveFormat::Oci => Some(SaveFormat::OciArchive),
        v1::ImageArchiveFormat::Docker => Some(SaveFormat::DockerArchive),
        v1::ImageArchiveFormat::RootfsTar => Some(SaveFormat::RootfsTar),
    }
}

pub(crate) fn pruned(pruned: &PrunedCache) -> v1::PrunedImageCache {
    let told = pruned.removed.iter().take(MAX_BLOBS);
    let blob = |blob: &banger_core::image::PrunedBlob| v1::PrunedBlob {
        digest: blob.digest.to_string(),
        size_bytes: blob.size.get(),
        partial: blob.is_partial,
    };
    v1::PrunedImageCache {
        blobs: told.map(blob).collect(),
        blob_count: pruned.removed.len() as u64,
        freed_bytes: pruned.freed.get(),
        kept_bytes: pruned.kept.get(),
    }
}
