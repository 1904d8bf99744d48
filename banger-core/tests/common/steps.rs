//! Hears, in this process, of each step that would outlive a crash.

use std::fmt;

use banger_core::step::TARGET;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::set_global_default,
};

/// Calls `told` with the name of each step, in whatever thread makes it.
pub(crate) fn watch(told: impl Fn(&str) + Send + Sync + 'static) {
    set_global_default(Watch(told)).unwrap();
}

struct Watch<F>(F);

impl<F: Fn(&str) + Send + Sync + 'static> Subscriber for Watch<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Name(&self.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Hands the one field of an event on.
struct Name<'a, F>(&'a F);

impl<F: Fn(&str)> Visit for Name<'_, F> {
    fn record_str(&mut self, _: &Field, name: &str) {
        (self.0)(name);
    }

    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        unreachable!("a step has a name and nothing else, not {field}");
    }
}
