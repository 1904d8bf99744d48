//! The root disk engine: OCI layers in, one ext4 image out.
//!
//! Purpose: merge layers by the overlay rules and write the disk, without
//! root, mounts, temporary trees or child processes. Invariants: entries of a
//! layer never become host files; an entry that cannot be represented is an
//! error; the same layers and options give the same bytes.
//! Entry points: [`RootfsBuilder`], [`Ext4RootfsBuilder`], [`format_empty`].

mod acl;
mod aligned;
mod arriving;
mod assemble;
mod engine;
mod error;
mod from_source;
mod hidden;
mod host_tree;
mod kept;
mod lookup;
mod merge;
mod output;
mod place;
mod placements;
mod reading;
mod size;
mod tree;
mod view;

use std::time::Duration;

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Bytes, ImageSizes},
    oci::LayerBlob,
    progress::ProgressSink,
};

pub use crate::layer::{LimitExceeded, RootfsLimits};
pub(crate) use arriving::{ArrivingError, build_while_arriving};
pub use engine::{Ext4RootfsBuilder, format_empty};
pub use error::{EntryPosition, RootfsError};
pub use from_source::{BuildError, BuildRequest, BuiltRootfs, build_from_source};
pub(crate) use host_tree::disk_of_directory;

/// What to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootfsRequest {
    /// The layers, lowest first.
    pub layers: Vec<LayerBlob>,
    /// The disk's size; max(content x 1.25, 1 GiB) when none is given.
    pub size: Option<Bytes>,
    /// Time of things no layer dates, in seconds since 1970-01-01 UTC.
    pub created_unix: i64,
    /// Whether the disk has a journal.
    pub journal: bool,
    /// What the work may use. It does not show in the disk's bytes.
    pub resources: RootfsResources,
    /// Bounds on what the layers may claim.
    pub limits: RootfsLimits,
}

impl RootfsRequest {
    /// A journaled disk of default size of these layers, lowest first.
    #[must_use]
    pub fn new(layers: Vec<LayerBlob>) -> Self {
        Self {
            layers,
            size: None,
            created_unix: 0,
            journal: true,
            resources: RootfsResources::default(),
            limits: RootfsLimits::default(),
        }
    }
}

/// What building a disk may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootfsResources {
    /// Memory for bytes on their way from the layers to the disk.
    pub memory: Bytes,
    /// Layers that are inflated at the same time, at least 1.
    pub decoders: usize,
}

impl Default for RootfsResources {
    /// 256 MiB and as many decoders as there are cores.
    fn default() -> Self {
        let cores = std::thread::available_parallelism();
        Self {
            memory: Bytes::from_mib(256),
            decoders: cores.map_or(1, std::num::NonZero::get),
        }
    }
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootfsReport {
    /// Bytes of file content in the merged tree, holes not counted.
    pub content: Bytes,
    /// Bytes of the blocks that hold it: whole blocks, and none of zeros.
    pub stored: Bytes,
    /// Bytes of the disk's own structures and of directories, links and
    /// attributes, holes not counted.
    pub metadata: Bytes,
    /// Entries in the merged tree.
    pub entries: u64,
    /// Sizes of the disk.
    pub sizes: ImageSizes,
    /// Bytes written to the disk's file.
    pub written: Bytes,
    /// Where the time went.
    pub timings: RootfsTimings,
}

/// How long the phases of a build took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootfsTimings {
    /// Reading, inflating, verifying and placing the layers.
    pub layers: Duration,
    /// Merging them.
    pub merge: Duration,
    /// Writing the disk's structures.
    pub metadata: Duration,
    /// Waiting until the disk is on stable storage.
    pub sync: Duration,
}

/// Builds root disks.
///
/// `build` holds up its thread. It writes nothing but `output`, which must not
/// exist; on any error, and when `cancel` fires, `output` is removed again. The
/// finished file is synced.
pub trait RootfsBuilder: Send + Sync + std::fmt::Debug {
    /// Builds one disk.
    fn build(
        &self,
        request: &RootfsRequest,
        output: &Utf8Path,
        progress: &dyn ProgressSink,
        cancel: &CancellationToken,
    ) -> Result<RootfsReport, RootfsError>;
}
