//! Progress as plain lines: one for each new thing, then one every few seconds.

use std::{
    fmt,
    io::Write,
    time::{Duration, Instant},
};

use banger_core::domain::Bytes;

use super::tracker::{Amount, Step};

/// Least time between two lines about the same thing.
const INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Lines {
    output: Box<dyn Write + Send>,
    last: Option<(String, Instant)>,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Lines {
    pub(super) fn new(output: Box<dyn Write + Send>) -> Self {
        Self { output, last: None }
    }

    pub(super) fn show(&mut self, step: &Step, now: Instant) {
        if step.is_boot || !self.is_due(step, now) {
            return;
        }
        self.last = Some((step.text.clone(), now));
        let amount = step.amount.map(describe).unwrap_or_default();
        // progress that cannot be shown is no reason to fail
        let _unseen = writeln!(self.output, "banger: {}{amount}", step.text);
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        // words of a build that cannot be shown are in its log
        let _unseen = self.output.write_all(bytes);
    }

    fn is_due(&self, step: &Step, now: Instant) -> bool {
        match &self.last {
            Some((text, at)) if *text == step.text => INTERVAL <= now.duration_since(*at),
            _ => true,
        }
    }
}

fn describe(amount: Amount) -> String {
    let Amount {
        done,
        total,
        are_bytes,
    } = amount;
    if are_bytes {
        format!(" ({} of {})", Bytes::new(done), Bytes::new(total))
    } else {
        format!(" ({done} of {total})")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn step(text: &str, done: Option<u64>) -> Step {
        let amount = done.map(|done| Amount {
            done,
            total: 4,
            are_bytes: false,
        });
        Step {
            text: text.to_owned(),
            amount,
            is_boot: false,
        }
    }

    #[test]
    fn lines_about_one_thing_come_seldom_and_boots_never() {
        let output = Shared::default();
        let mut lines = Lines::new(Box::new(output.clone()));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        lines.show(&step("resolving x", None), at(0));
        lines.show(&step("reading", Some(1)), at(0));
        lines.show(&step("reading", Some(2)), at(4));
        lines.show(&step("reading", Some(3)), at(5));
        lines.show(
            &Step {
                is_boot: true,
                ..step("booting", None)
            },
            at(20),
        );
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "banger: resolving x\nbanger: reading (1 of 4)\nbanger: reading (3 of 4)\n"
        );
    }
}
