//! What the service has for streams on which nothing happens.

use super::{
    super::{
        host::Host,
        report::{Row, Section},
    },
    client::{Client, Samples},
    daemon::Daemon,
};
use crate::{Result, run::step};

/// One of so many watchers is told every machine first: that takes long.
const TOLD_ALL_SHARE: u32 = 10;

pub(super) fn measure(host: &Host, count: u32, idle: u32) -> Result<Section> {
    let daemon = Daemon::start(host)?;
    let client = Client::of(host, &daemon);
    let told_all = count.div_ceil(TOLD_ALL_SHARE);
    let process = daemon.process().to_string();
    let options = [count, told_all, idle].map(|number| number.to_string());
    let samples = step("holding streams", || {
        client.ask(&[
            "streams",
            &process,
            "--resumed",
            &options[0],
            "--told-all",
            &options[1],
            "--idle",
            &options[2],
        ])
    })?;
    let mut rows = Vec::new();
    for (name, count, what) in [
        ("resumed", count, "WatchVms from a token"),
        ("told-all", told_all, "WatchVms, every machine told"),
    ] {
        rows.extend(of(&samples, name, (count, what))?);
    }
    Ok(Section {
        title: "Memory of idle streams".to_owned(),
        notes: vec![format!(
            "resident memory of the service without parts of files; streams are idle for {idle} s; 125 of them on a connection"
        )],
        rows,
    })
}

fn of(samples: &Samples, name: &str, (count, what): (u32, &str)) -> Result<Vec<Row>> {
    let kibibytes = |when: &str| samples.single(&format!("{name}/{when}"));
    let (none, idle) = (kibibytes("none")?, kibibytes("idle")?);
    let mebibytes = |when: &str, value: f64| Row::single(when, "MiB", value / 1024.0);
    let cpu = kibibytes("cpu")?;
    Ok(vec![
        mebibytes(&format!("{what}: with 0 streams"), none),
        mebibytes(&format!("  with {count} streams"), idle),
        Row::single("  of each stream", "KiB", (idle - none) / f64::from(count)),
        mebibytes("  when they are closed", kibibytes("closed")?),
        Row::single(format!("  CPU for {count} streams"), "%", cpu),
    ])
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_stream_has_its_share_of_what_came_with_all() {
        let samples = Samples::from(&[
            ("a/none", &[1024.0]),
            ("a/idle", &[3072.0]),
            ("a/closed", &[2048.0]),
            ("a/cpu", &[1.5]),
        ]);
        let rows = of(&samples, "a", (100, "streams")).unwrap();
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        assert_eq!(medians, [1.0, 3.0, 20.48, 2.0, 1.5]);
        assert!(of(&samples, "b", (1, "")).is_err());
    }
}
