//! What operations tell, as the core's progress. Pure.

use banger_api::v1::{self, operation_event::Event};
use banger_core::{
    domain::{BackendKind, Bytes},
    progress::{BundleStep, ProgressEvent},
};

/// What is said in the place of output that is missing.
const MISSING: &str = "\n[banger: some of the output is missing here: its log has it]\n";

/// What comes before an event of a build, when the events before it are not all there.
pub(super) fn missing(event: &Event, has_gap: bool) -> Option<ProgressEvent> {
    let is_missing = match event {
        Event::BuildOutput(output) => has_gap || output.left_out_bytes != 0,
        Event::BuildStep(_) => has_gap,
        _ => false,
    };
    is_missing.then(|| ProgressEvent::BuildOutput {
        bytes: MISSING.into(),
    })
}

/// The event; none for what the core does not tell, or what makes no sense.
pub(super) fn event(event: Event) -> Option<ProgressEvent> {
    let count = |number: u64| usize::try_from(number).ok();
    Some(match event {
        Event::Began(_) | Event::Ended(_) => return None,
        Event::Resolving(v1::Resolving { reference }) => ProgressEvent::Resolving { reference },
        Event::Resolved(resolved) => ProgressEvent::Resolved {
            manifest: resolved.manifest_digest.parse().ok()?,
            layers: count(resolved.layers)?,
            bytes: Bytes::new(resolved.total_bytes),
        },
        Event::Layer(layer) if layer.cached => ProgressEvent::LayerCached {
            layer: layer.digest.parse().ok()?,
        },
        Event::Layer(layer) => ProgressEvent::LayerProgress {
            layer: layer.digest.parse().ok()?,
            done: Bytes::new(layer.done_bytes),
            total: Bytes::new(layer.total_bytes),
        },
        Event::ReadingLayers(v1::Counted { done, total }) => ProgressEvent::ReadingLayers {
            done: count(done)?,
            total: count(total)?,
        },
        Event::WritingDisk(v1::Counted { done, total }) => ProgressEvent::WritingDisk {
            done: Bytes::new(done),
            total: Bytes::new(total),
        },
        Event::Bundle(v1::Counted { done, total }) => ProgressEvent::Bundle {
            step: BundleStep::Fetching,
            done: Bytes::new(done),
            total: Bytes::new(total),
        },
        Event::Kernel(v1::KernelStep { step }) => ProgressEvent::ImportingKernel { step },
        Event::PreparingDisks(_) => ProgressEvent::PreparingDisks,
        Event::Backend(v1::BackendChosen { backend, why }) => {
            let mut all = BackendKind::ALL.into_iter();
            ProgressEvent::BackendChosen {
                backend: all.find(|kind| kind.as_str() == backend)?.as_str(),
                reason: why,
            }
        }
        Event::BuildStep(v1::BuildStep { step }) => ProgressEvent::BuildStep { step },
        Event::BuildOutput(v1::BuildOutput { data, .. }) => {
            ProgressEvent::BuildOutput { bytes: data }
        }
        Event::Booting(_) => ProgressEvent::Booting,
        Event::AgentReady(_) => ProgressEvent::AgentReady,
    })
}
