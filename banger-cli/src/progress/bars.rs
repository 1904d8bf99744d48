//! Progress as one bar on a terminal, shown only when there is time to read it.

use std::{
    io::{self, Write as _},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tracker::{Amount, Step};

/// What ends sooner than this is not worth a bar.
const DELAY: Duration = Duration::from_millis(250);
/// Time between two turns of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// Most bytes of a line that are kept back until it ends.
const LINE_LIMIT: usize = 16 << 10;

const PLAIN: &str = "{spinner} {wide_msg}";
const COUNTED: &str = "{spinner} {msg} [{bar:30}] {pos}/{len}";
const BYTES: &str = "{spinner} {msg} [{bar:30}] {binary_bytes}/{binary_total_bytes}";

#[derive(Debug)]
pub(super) struct Bars {
    bar: ProgressBar,
    template: &'static str,
    delay: Option<Delay>,
    finished: bool,
    /// What a build said of a line so far.
    unfinished: Vec<u8>,
}

/// Words of a build that cannot be shown are in its log.
fn write_out(bytes: &[u8]) {
    let _unseen = io::stderr().write_all(bytes);
}

/// Shows the bar later, unless it is dropped before.
#[derive(Debug)]
struct Delay {
    cancel: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style(PLAIN));
        Self {
            bar,
            template: PLAIN,
            delay: None,
            finished: false,
            unfinished: Vec::new(),
        }
    }

    pub(super) fn show(&mut self, step: &Step) {
        if self.finished {
            return;
        }
        self.set_template(template(step.amount));
        if let Some(amount) = step.amount {
            self.bar.set_length(amount.total);
            self.bar.set_position(amount.done);
        }
        self.bar.set_message(step.text.clone());
        if self.delay.is_none() {
            self.delay = Some(Delay::start(self.bar.clone()));
        }
    }

    fn set_template(&mut self, template: &'static str) {
        if self.template != template {
            self.template = template;
            self.bar.set_style(style(template));
        }
    }

    /// Writes whole lines above the bar, which is drawn again below.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.unfinished.extend_from_slice(bytes);
        let end = self.unfinished.iter().rposition(|byte| *byte == b'\n');
        let length = match end {
            Some(end) => end + 1,
            None if LINE_LIMIT < self.unfinished.len() => self.unfinished.len(),
            None => return,
        };
        let lines: Vec<u8> = self.unfinished.drain(..length).collect();
        self.bar.suspend(|| write_out(&lines));
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
        drop(self.delay.take());
        self.bar.finish_and_clear();
        write_out(&std::mem::take(&mut self.unfinished));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Delay {
    fn start(bar: ProgressBar) -> Self {
        let (cancel, cancelled) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            if cancelled.recv_timeout(DELAY) == Err(mpsc::RecvTimeoutError::Timeout) {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(TICK);
            }
        });
        Self {
            cancel: Some(cancel),
            thread: Some(thread),
        }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        drop(self.cancel.take());
        if let Some(thread) = self.thread.take() {
            // a bar that could not be shown is no reason to fail
            let _unseen = thread.join();
        }
    }
}

const fn template(amount: Option<Amount>) -> &'static str {
    match amount {
        None => PLAIN,
        Some(Amount {
            are_bytes: true, ..
        }) => BYTES,
        Some(_) => COUNTED,
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_valid() {
        for template in [PLAIN, COUNTED, BYTES] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn short_work_shows_no_bar() {
        let mut bars = Bars::new();
        let step = Step {
            text: "x".into(),
            amount: None,
            is_boot: false,
        };
        bars.show(&step);
        bars.finish();
        assert!(bars.bar.is_hidden());
        assert!(bars.bar.is_finished());
    }
}
