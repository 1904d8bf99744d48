//! What long operations tell while they work.
//!
//! Purpose: typed events from the core; a front end turns them into bars,
//! lines or messages. Invariants: emitting never blocks and never fails; the
//! last event of each counted phase is always sent.
//! Entry points: [`ProgressSink`], [`ProgressEvent`].

use std::fmt;

use crate::domain::{Bytes, Digest};

/// Receives events. Called from any thread, often: implementations are quick.
pub trait ProgressSink: Send + Sync + fmt::Debug {
    /// Takes one event.
    fn emit(&self, event: ProgressEvent);
}

/// Something that happened during a long operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressEvent {
    /// A reference is being resolved.
    Resolving {
        /// The reference, without credentials.
        reference: String,
    },
    /// The manifest is known.
    Resolved {
        /// Digest of the manifest.
        manifest: Digest,
        /// Number of layers.
        layers: usize,
        /// Compressed bytes of all layers.
        bytes: Bytes,
    },
    /// Bytes of a layer arrived.
    LayerProgress {
        /// Digest of the layer's blob.
        layer: Digest,
        /// Bytes so far.
        done: Bytes,
        /// Bytes in all.
        total: Bytes,
    },
    /// A layer was in the cache already.
    LayerCached {
        /// Digest of the layer's blob.
        layer: Digest,
    },
    /// The layers' entries are being read and merged.
    ReadingLayers {
        /// Layers finished.
        done: usize,
        /// Layers in all.
        total: usize,
    },
    /// The root disk is being written.
    WritingDisk {
        /// Bytes of file content written.
        done: Bytes,
        /// Bytes of file content in all.
        total: Bytes,
    },
    /// The kernel triple is being copied beside the root disk.
    StagingKernel,
    /// A kernel package is being fetched or read.
    ImportingKernel {
        /// What is done, one line.
        step: String,
    },
    /// A build came to a step.
    BuildStep {
        /// What is done, one line.
        step: String,
    },
    /// What the guest or the program that builds an image said.
    BuildOutput {
        /// The bytes, in order.
        bytes: bytes::Bytes,
    },
    /// The VM's own disks are being made.
    PreparingDisks,
    /// A backend was chosen.
    BackendChosen {
        /// Its name.
        backend: &'static str,
        /// Why.
        reason: String,
    },
    /// The machine is booting.
    Booting,
    /// The agent answered.
    AgentReady,
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn emit(&self, _event: ProgressEvent) {}
}
