//! Progress on standard error.
//!
//! Purpose: turn the library's events into bars on a terminal, into a few plain
//! lines elsewhere, or into nothing. Invariants: [`Progress::finish`] leaves a
//! clean line, and is called before anything else is written.
//! Entry points: [`Progress`].

mod bars;
mod lines;
mod tracker;

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use banger_core::progress::{ProgressEvent, ProgressSink};

use bars::Bars;
use lines::Lines;
use tracker::Tracker;

/// Where events go.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tracker: Tracker,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Silent,
    Lines(Lines),
    Bars(Bars),
}

impl Target {
    /// Passes on what a build says, as it is.
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Silent => {}
            Self::Lines(lines) => lines.write(bytes),
            Self::Bars(bars) => bars.write(bytes),
        }
    }
}

impl Progress {
    /// Nowhere.
    #[must_use]
    pub fn silent() -> Self {
        Self::to(Target::Silent)
    }

    /// Plain lines, not too many.
    pub fn lines(output: impl Write + Send + 'static) -> Self {
        Self::to(Target::Lines(Lines::new(Box::new(output))))
    }

    /// A bar on standard error, which is a terminal.
    #[must_use]
    pub fn bars() -> Self {
        Self::to(Target::Bars(Bars::new()))
    }

    fn to(target: Target) -> Self {
        let tracker = Tracker::default();
        Self {
            state: Mutex::new(State { tracker, target }),
        }
    }

    /// Takes away what is still to be seen.
    pub fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Target::Bars(bars) = &mut state.target {
            bars.finish();
        }
    }
}

impl ProgressSink for Progress {
    fn emit(&self, event: ProgressEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { tracker, target } = &mut *state;
        if let ProgressEvent::BuildOutput { bytes } = &event {
            return target.write(bytes);
        }
        let Some(step) = tracker.apply(event) else {
            return;
        };
        match target {
            Target::Silent => {}
            Target::Lines(lines) => lines.show(&step, Instant::now()),
            Target::Bars(bars) => bars.show(&step),
        }
    }
}
