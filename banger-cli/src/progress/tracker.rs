//! What an operation is doing, from the events it sent so far. Pure.

use std::collections::HashMap;

use banger_core::{
    domain::{Bytes, Digest},
    progress::{BundleStep, ProgressEvent},
};

use crate::error::one_line;

/// What is to be shown after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What is being done.
    pub(super) text: String,
    /// How much of it is done, and of how much.
    pub(super) amount: Option<Amount>,
    /// Part of a boot, which takes seconds: for a bar, not for a log. Its
    /// lines would mix with the guest's own standard error.
    pub(super) is_boot: bool,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) are_bytes: bool,
}

/// The layers that are being fetched. The disk is built meanwhile, which is
/// told once they are there.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Bytes by layer, and of how many.
    fetched: HashMap<Digest, (Bytes, Bytes)>,
    layers: usize,
    cached: usize,
    total: u64,
}

impl Tracker {
    /// What an event changes; nothing for an event of no interest.
    pub(super) fn apply(&mut self, event: ProgressEvent) -> Option<Step> {
        use ProgressEvent as Event;
        Some(match event {
            Event::Resolving { reference } => plain(format!("resolving {}", one_line(&reference))),
            Event::Resolved { layers, bytes, .. } => self.start_layers(layers, bytes),
            Event::LayerProgress { layer, done, total } => self.fetch(layer, done, total),
            Event::LayerCached { .. } => {
                self.cached += 1;
                plain(format!(
                    "fetching layers: {} of {} cached",
                    self.cached, self.layers
                ))
            }
            Event::ReadingLayers { .. } | Event::WritingDisk { .. } if self.is_fetching() => {
                return None;
            }
            Event::ReadingLayers { done, total } => {
                counted("reading layers", as_u64(done), as_u64(total), false)
            }
            Event::WritingDisk { done, total } => {
                counted("writing the disk", done.get(), total.get(), true)
            }
            Event::Bundle { step, done, total } => {
                counted(bundle_step(step), done.get(), total.get(), true)
            }
            Event::StagingKernel => plain("copying the kernel".to_owned()),
            Event::ImportingKernel { step } | Event::BuildStep { step } => plain(one_line(&step)),
            event => return boot(&event),
        })
    }

    fn start_layers(&mut self, layers: usize, bytes: Bytes) -> Step {
        *self = Self {
            layers,
            total: bytes.get(),
            ..Self::default()
        };
        plain(format!("fetching {layers} layers, {bytes}"))
    }

    fn fetch(&mut self, layer: Digest, done: Bytes, total: Bytes) -> Step {
        self.fetched.insert(layer, (done, total));
        let done = self.fetched.values().map(|(done, _)| done.get()).sum();
        counted("fetching layers", done, self.total, true)
    }

    fn is_fetching(&self) -> bool {
        let fetched = self.fetched.values();
        let whole = fetched.filter(|(done, total)| done == total).count();
        !self.fetched.is_empty() && whole + self.cached < self.layers
    }
}

const fn bundle_step(step: BundleStep) -> &'static str {
    match step {
        BundleStep::Fetching => "fetching the bundle",
        BundleStep::Verifying => "verifying the bundle",
        BundleStep::Packing => "packing",
        BundleStep::Unpacking => "unpacking",
        _ => "working on the bundle",
    }
}

fn boot(event: &ProgressEvent) -> Option<Step> {
    let text = match event {
        ProgressEvent::PreparingDisks => "preparing the disks".to_owned(),
        ProgressEvent::BackendChosen { backend, reason } => {
            format!("using {backend}: {}", one_line(reason))
        }
        ProgressEvent::Booting => "booting".to_owned(),
        ProgressEvent::AgentReady => "ready".to_owned(),
        _ => return None,
    };
    Some(Step {
        text,
        amount: None,
        is_boot: true,
    })
}

fn plain(text: String) -> Step {
    Step {
        text,
        amount: None,
        is_boot: false,
    }
}

fn counted(text: &str, done: u64, total: u64, are_bytes: bool) -> Step {
    Step {
        text: text.to_owned(),
        amount: Some(Amount {
            done,
            total,
            are_bytes,
        }),
        is_boot: false,
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_add_up() {
        let mut tracker = Tracker::default();
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let resolved = ProgressEvent::Resolved {
            manifest: Digest::of(b"m"),
            layers: 2,
            bytes: Bytes::new(100),
        };
        assert_eq!(
            tracker.apply(resolved).unwrap().text,
            "fetching 2 layers, 100 B"
        );
        for (layer, done, expected) in [(first, 10, 10), (second, 5, 15), (first, 60, 65)] {
            let event = ProgressEvent::LayerProgress {
                layer,
                done: Bytes::new(done),
                total: Bytes::new(60),
            };
            let amount = tracker.apply(event).unwrap().amount.unwrap();
            assert_eq!((amount.done, amount.total), (expected, 100));
        }
        let cached = tracker
            .apply(ProgressEvent::LayerCached { layer: first })
            .unwrap();
        assert_eq!(cached.text, "fetching layers: 1 of 2 cached");
    }

    #[test]
    fn the_disk_is_told_of_when_the_layers_are_there() {
        let mut tracker = Tracker::default();
        let layer = Digest::of(b"1");
        let progress = |done| ProgressEvent::LayerProgress {
            layer,
            done: Bytes::new(done),
            total: Bytes::new(9),
        };
        let writing = ProgressEvent::WritingDisk {
            done: Bytes::new(1),
            total: Bytes::new(2),
        };
        tracker.apply(ProgressEvent::Resolved {
            manifest: Digest::of(b"m"),
            layers: 2,
            bytes: Bytes::new(10),
        });
        tracker.apply(ProgressEvent::LayerCached { layer });
        for (done, is_told) in [(8, false), (9, true)] {
            tracker.apply(progress(done));
            assert_eq!(tracker.apply(writing.clone()).is_some(), is_told, "{done}");
        }
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        let reference = "x\u{1b}[2J\n".to_owned();
        let step = Tracker::default()
            .apply(ProgressEvent::Resolving { reference })
            .unwrap();
        assert_eq!(step.text, "resolving x [2J");
    }
}
