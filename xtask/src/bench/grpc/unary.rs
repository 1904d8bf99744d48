//! Calls of one question and one answer.

use super::{
    super::{
        host::Host,
        report::{Row, Section},
    },
    client::{Client, Samples},
    daemon::Daemon,
};
use crate::{Result, run::step};

/// The machine that is asked for.
const VM: &str = "vms/vm-000000";

/// Methods and what they are called; the first is what others are compared with.
const METHODS: [(&str, &str); 3] = [
    ("health", "health check: gRPC alone"),
    ("server-info", "GetServerInfo"),
    ("vm", "GetVm"),
];

pub(super) fn measure(host: &Host, calls: u32, callers: u32) -> Result<Section> {
    let daemon = Daemon::start(host)?;
    let client = Client::of(host, &daemon);
    let (calls, many) = (calls.to_string(), callers.to_string());
    let samples = step("calling", || {
        client.ask(&["unary", VM, "--calls", &calls, "--callers", &many])
    })?;
    Ok(Section {
        title: format!("Calls on the Unix socket, {calls} of each each way"),
        notes: vec![
            "the client is one thread and part of what is measured; ratios are to the health check of the same kind".to_owned(),
        ],
        rows: rows(&samples, callers)?,
    })
}

fn rows(samples: &Samples, callers: u32) -> Result<Vec<Row>> {
    let at_a_time = format!("{callers} at a time");
    let mut rows = Vec::new();
    for (how, words) in [("alone", "one after the other"), ("together", &at_a_time)] {
        let mut base: Option<Row> = None;
        for (method, title) in METHODS {
            let row = samples.times(format!("{title}, {words}"), &format!("{method}/{how}"))?;
            rows.push(match &base {
                Some(base) => row.against(base),
                None => base.insert(row).clone(),
            });
        }
    }
    let mut base: Option<Row> = None;
    for (method, title) in METHODS {
        let rates = samples.of(&format!("{method}/rate"));
        let row = Row::of(format!("{title}, {at_a_time}"), "1/s", rates)?;
        rows.push(match &base {
            Some(base) => row.against(base),
            None => base.insert(row).clone(),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn every_method_is_compared_with_the_health_check() {
        let names = METHODS.iter().flat_map(|(method, _)| {
            ["alone", "together", "rate"].map(|how| format!("{method}/{how}"))
        });
        let names: Vec<String> = names.collect();
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0].map(|value| [value]);
        let pairs = names.iter().zip(&values);
        let taken: Vec<(&str, &[f64])> = pairs
            .map(|(name, values)| (name.as_str(), values.as_slice()))
            .collect();
        let rows = rows(&Samples::from(&taken), 2).unwrap();
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        assert_eq!(medians, [1.0, 4.0, 7.0, 2.0, 5.0, 8.0, 3.0, 6.0, 9.0]);
    }
}
