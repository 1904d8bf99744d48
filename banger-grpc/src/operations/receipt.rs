//! How long each part of an operation took.
//!
//! Invariants: parts follow one another and do not overlap; what the core tells of
//! its work divides a part into others. Entry points: [`Receipt`].

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use banger_api::v1::{self, PhaseKind};
use banger_core::{
    progress::{BundleStep, ProgressEvent},
    vm::BootTimes,
};

use crate::convert;

/// The parts so far.
#[derive(Debug, Default)]
pub(crate) struct Receipt(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    done: Vec<(PhaseKind, Duration)>,
    now: Option<(PhaseKind, Instant)>,
    /// What the boot that goes on was made of.
    boot: Option<BootTimes>,
}

/// A part that goes on. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Part<'a>(&'a Receipt);

impl Receipt {
    /// A part begins.
    pub(crate) fn begin(&self, kind: PhaseKind) -> Part<'_> {
        self.lock().go_on_with(Some(kind));
        Part(self)
    }

    /// Another part begins within one, if this event says so.
    pub(super) fn hear(&self, event: &ProgressEvent) {
        let mut parts = self.lock();
        if let ProgressEvent::Booted { times } = event {
            parts.boot = Some(*times);
        }
        if parts.now.is_some()
            && let Some(kind) = kind(event)
        {
            parts.go_on_with(Some(kind));
        }
    }

    /// The parts, in order.
    pub(crate) fn phases(&self) -> Vec<v1::Phase> {
        let phase = |(kind, took): &(PhaseKind, Duration)| v1::Phase {
            kind: (*kind).into(),
            duration: convert::duration(*took),
        };
        self.lock().done.iter().map(phase).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn go_on_with(&mut self, kind: Option<PhaseKind>) {
        if kind.is_some() && kind == self.now.map(|(kind, _)| kind) {
            return;
        }
        let next = kind.map(|kind| (kind, Instant::now()));
        if let Some((kind, since)) = std::mem::replace(&mut self.now, next) {
            let took = since.elapsed();
            let boot = self.boot.take_if(|_| kind == PhaseKind::Boot);
            let told = boot.as_ref().map_or(Duration::ZERO, BootTimes::total);
            self.done.push((kind, took.saturating_sub(told)));
            self.done.extend(boot.into_iter().flat_map(of_boot));
        }
    }
}

/// The parts that a machine's monitor tells of.
fn of_boot(times: BootTimes) -> impl Iterator<Item = (PhaseKind, Duration)> {
    let parts = [
        (PhaseKind::Network, times.network),
        (PhaseKind::Vmm, Some(times.vmm)),
        (PhaseKind::Kernel, times.kernel),
        (PhaseKind::Init, times.init),
        (PhaseKind::Agent, times.agent),
    ];
    parts
        .into_iter()
        .filter_map(|(kind, took)| Some((kind, took?)))
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.0.lock().go_on_with(None);
    }
}

const fn kind(event: &ProgressEvent) -> Option<PhaseKind> {
    Some(match event {
        ProgressEvent::Resolving { .. } => PhaseKind::Resolve,
        ProgressEvent::Resolved { .. }
        | ProgressEvent::LayerProgress { .. }
        | ProgressEvent::LayerCached { .. }
        | ProgressEvent::Bundle {
            step: BundleStep::Fetching,
            ..
        } => PhaseKind::Fetch,
        ProgressEvent::Bundle {
            step: BundleStep::Verifying,
            ..
        } => PhaseKind::Verify,
        ProgressEvent::ReadingLayers { .. }
        | ProgressEvent::WritingDisk { .. }
        | ProgressEvent::BuildStep { .. }
        | ProgressEvent::Bundle { .. } => PhaseKind::Build,
        ProgressEvent::StagingKernel => PhaseKind::Pull,
        ProgressEvent::PreparingDisks => PhaseKind::Clone,
        ProgressEvent::Booting => PhaseKind::Boot,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_core_tells_divides_a_part_and_begins_none() {
        let receipt = Receipt::default();
        receipt.hear(&ProgressEvent::Booting);
        let part = receipt.begin(PhaseKind::Create);
        receipt.hear(&ProgressEvent::PreparingDisks);
        receipt.hear(&ProgressEvent::PreparingDisks);
        receipt.hear(&ProgressEvent::AgentReady);
        drop(part);
        receipt.hear(&ProgressEvent::Booting);
        let part = receipt.begin(PhaseKind::Launch);
        receipt.hear(&ProgressEvent::Booting);
        drop(part);
        assert_eq!(
            kinds(&receipt),
            [
                PhaseKind::Create,
                PhaseKind::Clone,
                PhaseKind::Launch,
                PhaseKind::Boot,
            ]
        );
    }

    fn kinds(receipt: &Receipt) -> Vec<PhaseKind> {
        receipt.phases().iter().map(v1::Phase::kind).collect()
    }

    #[test]
    fn a_boot_is_told_by_its_parts() {
        let receipt = Receipt::default();
        let part = receipt.begin(PhaseKind::Launch);
        receipt.hear(&ProgressEvent::Booting);
        let mut times = BootTimes::default();
        times.vmm = Duration::from_nanos(2);
        times.agent = Some(Duration::from_nanos(1));
        receipt.hear(&ProgressEvent::Booted { times });
        drop(part);
        drop(receipt.begin(PhaseKind::Boot));
        assert_eq!(
            kinds(&receipt),
            [
                PhaseKind::Launch,
                PhaseKind::Boot,
                PhaseKind::Vmm,
                PhaseKind::Agent,
                PhaseKind::Boot,
            ]
        );
    }
}
