//! What long operations tell while they work.
//!
//! Purpose: typed events from the core; a front end turns them into bars,
//! lines or messages. Invariants: emitting never blocks and never fails; the
//! last event of each counted phase is always sent.
//! Entry points: [`ProgressSink`], [`ProgressEvent`].

use std::fmt;

use crate::{
    domain::{Bytes, Digest},
    vm::BootTimes,
};

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
    /// A bundle is being fetched, checked, written or unpacked.
    Bundle {
        /// Which of these.
        step: BundleStep,
        /// Bytes so far.
        done: Bytes,
        /// Bytes in all.
        total: Bytes,
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
    /// The machine came up.
    Booted {
        /// Where the time went.
        times: BootTimes,
    },
    /// The agent answered.
    AgentReady,
}

/// What is being done with a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleStep {
    /// Its bytes arrive.
    Fetching,
    /// Its bytes are compared with its digest.
    Verifying,
    /// Files are read and packed.
    Packing,
    /// Files are unpacked.
    Unpacking,
}

/// Counts the bytes of one step and tells of it now and then.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    progress: &'a dyn ProgressSink,
    step: BundleStep,
    done: u64,
    told: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    /// Bytes between two events.
    const PAUSE: u64 = 16 * Bytes::MIB;

    pub(crate) const fn new(progress: &'a dyn ProgressSink, step: BundleStep, total: u64) -> Self {
        Self {
            progress,
            step,
            done: 0,
            told: 0,
            total,
        }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.told + Self::PAUSE <= self.done || self.total <= self.done {
            self.told = self.done;
            self.progress.emit(ProgressEvent::Bundle {
                step: self.step,
                done: Bytes::new(self.done),
                total: Bytes::new(self.total),
            });
        }
    }
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn emit(&self, _event: ProgressEvent) {}
}
