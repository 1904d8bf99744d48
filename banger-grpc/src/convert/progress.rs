//! What the core tells while it works, as events of operations.

use banger_api::v1::{self, operation_event::Event};
use banger_core::{
    domain::{Bytes, Digest},
    progress::ProgressEvent,
};

/// The event, and what it takes the place of while nobody has seen that: counts
/// are only told as they are. None for what a client does not get.
pub(crate) fn event(progress: ProgressEvent) -> Option<(Event, Option<String>)> {
    let counted = |key: &str| Some(key.to_owned());
    Some(match progress {
        ProgressEvent::Resolving { reference } => {
            (Event::Resolving(v1::Resolving { reference }), None)
        }
        ProgressEvent::Resolved {
            manifest,
            layers,
            bytes,
        } => (resolved(&manifest, layers, bytes), None),
        ProgressEvent::LayerProgress { layer, done, total } => {
            let digest = layer.to_string();
            let key = counted(&digest);
            let progress = layer_progress(digest, (done.get(), total.get()), false);
            (Event::Layer(progress), key)
        }
        ProgressEvent::LayerCached { layer } => {
            let progress = layer_progress(layer.to_string(), (0, 0), true);
            (Event::Layer(progress), None)
        }
        ProgressEvent::ReadingLayers { done, total } => {
            let (done, total) = (done as u64, total as u64);
            (
                Event::ReadingLayers(v1::Counted { done, total }),
                counted("reading"),
            )
        }
        ProgressEvent::WritingDisk { done, total } => {
            let (done, total) = (done.get(), total.get());
            (
                Event::WritingDisk(v1::Counted { done, total }),
                counted("writing"),
            )
        }
        ProgressEvent::Bundle { done, total, .. } => {
            let (done, total) = (done.get(), total.get());
            (
                Event::Bundle(v1::Counted { done, total }),
                counted("bundle"),
            )
        }
        ProgressEvent::ImportingKernel { step } => (Event::Kernel(v1::KernelStep { step }), None),
        ProgressEvent::PreparingDisks => (Event::PreparingDisks(v1::PreparingDisks {}), None),
        ProgressEvent::BackendChosen { backend, reason } => {
            let chosen = v1::BackendChosen {
                backend: backend.to_owned(),
                why: reason,
            };
            (Event::Backend(chosen), None)
        }
        ProgressEvent::Booting => (Event::Booting(v1::Booting {}), None),
        ProgressEvent::BuildStep { step } => (Event::BuildStep(v1::BuildStep { step }), None),
        ProgressEvent::AgentReady => (Event::AgentReady(v1::AgentReady {}), None),
        _ => return None,
    })
}

fn resolved(manifest: &Digest, layers: usize, bytes: Bytes) -> Event {
    Event::Resolved(v1::Resolved {
        manifest_digest: manifest.to_string(),
        layers: layers as u64,
        total_bytes: bytes.get(),
    })
}

const fn layer_progress(
    digest: String,
    (done, total): (u64, u64),
    cached: bool,
) -> v1::LayerProgress {
    v1::LayerProgress {
        digest,
        done_bytes: done,
        total_bytes: total,
        cached,
    }
}
