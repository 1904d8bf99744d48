//! Starting machines by banger, and what is made of it beside the bare VMM.

use std::{fs, time::Instant};

use super::{
    host::{Host, Machine, milliseconds},
    report::Row,
    timeline::{self, Phases, now},
};
use crate::{
    Result,
    paths::failed_at,
    run::{capture, say},
};

/// One start by banger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Milliseconds from the start of `banger vm start` to its end point.
    pub(super) total: f64,
    pub(super) phases: Phases,
}

/// Starts a machine; `until` waits for the rest of the end point.
pub(super) fn start(
    host: &Host,
    machine: &Machine<'_>,
    up: &str,
    until: impl FnOnce() -> Result<()>,
) -> Result<Start> {
    let mut command = host.command(&["vm", "start", &machine.name]);
    command.env("BANGER_LOG", timeline::FILTER);
    let (started, began) = (Instant::now(), now());
    capture(&mut command)?;
    until()?;
    let (total, ended) = (milliseconds(started), now());
    Ok(Start {
        total,
        phases: Phases::parse(&log(machine)?, up, (began, ended))?,
    })
}

/// What the machine's monitor logged.
pub(super) fn log(machine: &Machine<'_>) -> Result<String> {
    let path = machine.directory().join("monitor.log");
    fs::read_to_string(&path).map_err(failed_at(&path))
}

/// Starts by banger and by hand, in pairs.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    starts: Vec<Start>,
    by_hand: Vec<f64>,
}

impl Comparison {
    /// Does both so many times, either first in turn.
    pub(super) fn measure(
        what: &str,
        rounds: u16,
        by_banger: impl Fn(u16) -> Result<Start>,
        by_hand: impl Fn(u16) -> Result<f64>,
    ) -> Result<Self> {
        let mut comparison = Self::default();
        for round in 1..=rounds {
            if round % 2 == 1 {
                comparison.starts.push(by_banger(round)?);
                comparison.by_hand.push(by_hand(round)?);
            } else {
                comparison.by_hand.push(by_hand(round)?);
                comparison.starts.push(by_banger(round)?);
            }
            if let (Some(start), Some(bare)) = (comparison.starts.last(), comparison.by_hand.last())
            {
                let total = start.total;
                say(&format!(
                    "round {round}, {what}: banger {total:.1} ms, by hand {bare:.1} ms"
                ));
            }
        }
        Ok(comparison)
    }

    fn of(&self, figure: impl Fn(&Start) -> f64) -> Vec<f64> {
        self.starts.iter().map(figure).collect()
    }

    /// Milliseconds that banger took more, by round.
    fn differences(&self) -> Vec<f64> {
        let pairs = self.starts.iter().zip(&self.by_hand);
        pairs.map(|(start, bare)| start.total - bare).collect()
    }

    /// What was measured; the targets are for the difference of the medians, and for
    /// banger's own parts.
    pub(super) fn rows(
        &self,
        machine: &str,
        difference: Option<f64>,
        own: f64,
    ) -> Result<Vec<Row>> {
        let bare = Row::of("the bare VMM", "ms", &self.by_hand)?;
        let banger = Row::of("banger vm start", "ms", &self.of(|start| start.total))?;
        let banger = banger.against(&bare);
        let added = banger.median() - bare.median();
        let added = Row::single("difference of the medians", "ms", added);
        let row = |name: &str, figure: fn(&Start) -> f64| Row::of(name, "ms", &self.of(figure));
        Ok(vec![
            bare,
            banger,
            match difference {
                Some(target) => added.at_most(target),
                None => added,
            },
            Row::of("difference by round", "ms", &self.differences())?,
            row("  own: until the VMM was started", |start| {
                start.phases.before
            })?,
            Row::of(
                format!("  from there until {machine}"),
                "ms",
                &self.of(|start| start.phases.machine),
            )?,
            row("  own: from there to the end", |start| start.phases.after)?,
            row("  own, both", |start| start.phases.own())?.at_most(own),
        ])
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn both_are_measured_in_turn_and_compared() {
        let order = std::cell::RefCell::new(String::new());
        let by_banger = |round: u16| {
            order.borrow_mut().push('b');
            Ok(Start {
                total: 100.0 + f64::from(round),
                phases: Phases {
                    before: 6.0,
                    machine: 80.0,
                    after: 4.0,
                },
            })
        };
        let by_hand = |_| {
            order.borrow_mut().push('h');
            Ok(90.0)
        };
        let comparison = Comparison::measure("test", 3, by_banger, by_hand).unwrap();
        assert_eq!(*order.borrow(), "bhhbbh");
        assert_eq!(comparison.differences(), [11.0, 12.0, 13.0]);
        let rows = comparison.rows("up", Some(12.0), 12.0).unwrap();
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        assert_eq!(medians, [90.0, 102.0, 12.0, 12.0, 6.0, 80.0, 4.0, 10.0]);
    }
}
